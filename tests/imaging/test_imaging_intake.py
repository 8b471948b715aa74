"""What an object is known by is the same however it comes: in pieces, as a file or from an association."""

from __future__ import annotations

import hashlib
import random

import pytest

from dicom_objects import image, part10
from hdg.imaging_intake import Expected, Intake, Outcome
from hdg.ingestion.dicom.scp_file import data_set_at, file_head
from hdg.ingestion.sender import Sender


class Keeper:
    """Notes what it is given."""

    def __init__(self, site) -> None:
        self.store, self.settings = site.gateway.store, site.gateway.settings
        self.kept: list[tuple[str, str]] = []

    def keep(self, source, content, sha256, sender, expected) -> Outcome:
        self.kept.append((sha256, hashlib.sha256(source.read()).hexdigest()))
        return Outcome(0)


@pytest.mark.parametrize("pixels", [512, 260_000, 263_000, 2_000_000, 3 << 20])
@pytest.mark.parametrize("piece", [1, 143, 131_066, 1 << 20, 9 << 20])
def test_pieces_of_any_length_are_one_object_with_the_digest_of_its_data_set(
    make_site, pixels, piece
) -> None:
    if piece < 1000 and pixels > 1_000_000:
        piece *= 1009
    keeper = Keeper(make_site())
    raw = part10(image(pixels=random.Random(pixels).randbytes(pixels)))
    at = 144 + int.from_bytes(raw[140:144], "little")
    head = file_head("1.2", "1.2.3", "1.2.840.10008.1.2.1", "CT1")
    for start, whole in ((b"", raw), (head, head + raw[at:])):
        intake = Intake(keeper, Sender("s", "c"), Expected(), start)
        rest = memoryview(whole)[len(start) :]
        for begin in range(0, len(rest), piece):
            lent = bytearray(rest[begin : begin + piece])
            intake.write(memoryview(lent))
            lent[:] = bytes(len(lent))
        assert intake.finish().status == 0
        data_set = hashlib.sha256(raw[at:]).hexdigest()
        assert keeper.kept.pop() == (data_set, hashlib.sha256(whole).hexdigest())


def test_the_data_set_begins_behind_a_group_whose_length_is_right_and_nowhere_else() -> None:
    raw = part10(image())
    at = 144 + int.from_bytes(raw[140:144], "little")
    assert data_set_at(raw) == data_set_at(raw[:at]) == at
    assert data_set_at(raw[: at - 1]) == data_set_at(raw[132:]) == data_set_at(b"") == 0
    for wrong in (0, at - 144 - 2, at - 144 + 2, len(raw), 0xFFFFFFFF):
        made = raw[:140] + wrong.to_bytes(4, "little") + raw[144:]
        assert data_set_at(made) == (144 if wrong == 0 else 0)
