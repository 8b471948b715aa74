"""``hdg verify --objects``: each DICOM object is the one that its leaf in the ledger commits to, or is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import text

from dicom_objects import image, part10
from hdg.management.verify_objects import check_objects
from hdg.operator import verify_store


def checked(site):
    with site.gateway.store.engine.connect() as connection:
        return check_objects(connection, site.gateway.store.reader)


def found(site):
    sound, findings = checked(site)
    return sound, [finding.code for finding in findings.kept]


@pytest.fixture
def filled(site):
    for number, size in ((1, 512), (2, 400_000), (3, 3_000_000)):
        assert site.take(part10(image(number, pixels=bytes([number]) * size))).status == 0
    return site


def change(site, statement, **values):
    """As somebody does who has the database: on SQLite the gateway's own connections only read."""
    if (site.folder / "hdg.db").exists():
        with closing(sqlite3.connect(site.folder / "hdg.db")) as connection, connection:
            assert connection.execute(statement, values).rowcount >= 1
        return
    with site.gateway.store.engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount >= 1


def test_what_nobody_touched_is_sound(filled) -> None:
    assert found(filled) == (3, [])


def test_an_object_of_a_file_without_group_length_is_sound_too(site) -> None:
    raw = part10(image())
    assert site.take(raw[:132] + raw[144:]).status == 0
    assert found(site) == (1, [])


@pytest.mark.parametrize("length", [0, 10, 100_000, 0xFFFFFFFF])
def test_a_group_length_that_is_wrong_hides_nothing_of_the_data_set(site, length) -> None:
    first, other = (bytearray(part10(image(pixels=bytes([number]) * 512))) for number in (1, 2))
    for raw in first, other:
        raw[140:144] = length.to_bytes(4, "little")
    assert not site.take(bytes(first)).is_repeat
    assert site.take(bytes(first)).is_repeat
    assert site.take(bytes(other)).status == 0x0111  # another object under one UID
    assert found(site) == (1, [])


def test_a_data_set_that_begins_like_a_head_is_sound(site) -> None:
    """Illegal, and some send it: elements of group 0002 at the start of the data set of a C-STORE."""
    raw = part10(image())
    end = 144 + int.from_bytes(raw[140:144], "little")
    assert site.take(raw[:end] + b"\x02\0\x16\0AE\x04\0CT1 " + raw[end:]).status == 0
    assert found(site) == (1, [])


def test_a_file_that_is_lost_and_one_that_was_changed_are_named(filled) -> None:
    first, second = sorted(filled.vault_files(), key=lambda path: path.stat().st_size)
    first.unlink()
    raw = bytearray(second.read_bytes())
    raw[-1] ^= 1
    second.chmod(0o600)
    second.write_bytes(raw)
    sound, codes = found(filled)
    assert (sound, codes) == (1, ["object-unreadable"] * 2)


def test_an_object_under_the_row_of_another_is_named(filled) -> None:
    """As whoever has the keys could do it: both open, and neither is what was committed to."""
    blobs = dict(_rows(filled))
    change(filled, "UPDATE imaging_instance SET blob = :blob WHERE inkey = :at", blob=blobs[2], at=1)
    change(filled, "UPDATE imaging_instance SET blob = :blob WHERE inkey = :at", blob=blobs[1], at=2)
    assert found(filled) == (1, ["object-changed"] * 2)


def test_a_row_without_a_leaf_and_a_leaf_without_a_row_are_named(filled) -> None:
    change(filled, "DELETE FROM imaging_instance WHERE inkey = 1")
    assert found(filled) == (2, ["object-missing"])
    change(filled, "UPDATE imaging_instance SET blob = 'none' WHERE inkey = 2")
    assert sorted(found(filled)[1]) == ["object-missing", "object-missing", "object-without-leaf"]


def test_the_command_counts_objects_where_that_is_asked_for(make_site) -> None:
    site = make_site()
    site.take(part10(image()))
    site.gateway.close()
    settings = site.gateway.settings
    report = verify_store(settings, "", with_objects=True)
    assert report.findings == ()
    assert ", 1 objects," in report.summary
    assert "objects" not in verify_store(settings, "").summary


def _rows(site):
    with site.gateway.store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT inkey, blob FROM imaging_instance"))]
