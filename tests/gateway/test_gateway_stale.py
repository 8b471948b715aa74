"""Messages out of order: the time that they state decides, not the time of arrival."""

from __future__ import annotations

import itertools
import random
import shutil
from pathlib import Path

import pytest
from sqlalchemy import true

from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.json import loads
from hdg.gateway import Gateway
from hdg.management.store.search import SearchQuery
from hdg.settings import Settings


def message(control: str, event: str, at: str, pid: str, pv1: str = "") -> bytes:
    structure = {"A03": "ADT_A03", "A31": "ADT_A05"}.get(event, "ADT_A01")
    segments = [
        f"MSH|^~\\&|ADT1|NORTHGEN|HDG|R|20260314235959-0500||ADT^{event}^{structure}|{control}|P|2.5.1",
        f"EVN|{event}|{at}-0500",
        f"PID|1||10042^^^NORTHGEN&2.999.1.1&ISO^MR||{pid}",
        f"PV1|1|{pv1}" + "|" * (19 - 2 - pv1.count("|")) + "V-1^^^NORTHGEN&2.999.1.1&ISO^VN",
    ]
    return "\r".join(segments).encode() + b"\r"


ADMIT = message("M1", "A01", "20260314100000", "Old^Ada||19610412|F", "I|3W^310")
UPDATE = message("M2", "A08", "20260314110000", 'New^Ada||""|F|||1 Street^^Town', "")
MOVE = message("M3", "A08", "20260314120000", "New^Ada||19610413|F", "I|4E^1")
PERSON = message("M4", "A31", "20260314130000", "Newest^Ada", "")


def play(folder: Path, messages) -> dict[str, bytes]:
    keys = folder.parent / "keys"  # the same ids in every folder
    if keys.exists():
        shutil.copytree(keys, folder / "keys")
    with Gateway.open(Settings(data=folder)) as gateway:
        if not keys.exists():
            shutil.copytree(folder / "keys", keys)
        for raw in messages:
            assert b"\rMSA|AA|" in gateway.receive_now(raw)
        found = {}
        for kind in ("Patient", "Encounter"):
            for version in gateway.store.reader.search(SearchQuery(kind, (), 10), true()).versions:
                resource = loads(gateway.store.reader.body(version))
                del resource["meta"]
                found[f"{kind}/{version.id}"] = canonical_bytes(resource)
        return found


def test_a08_before_a01_gives_what_a01_before_a08_gives(tmp_path: Path) -> None:
    in_order = play(tmp_path / "a", [ADMIT, MOVE])
    assert play(tmp_path / "b", [MOVE, ADMIT]) == in_order
    patient = loads(next(body for key, body in in_order.items() if key.startswith("Patient")))
    assert patient["name"][0]["family"] == "New"
    encounter = loads(next(body for key, body in in_order.items() if key.startswith("Encounter")))
    assert encounter["status"] == "in-progress"  # what A01 states is not lost to the A08 that does not say
    assert encounter["class"]["code"] == "IMP"


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_arrival_gives_the_same_record(tmp_path: Path, seed: int) -> None:
    messages = [ADMIT, UPDATE, MOVE, PERSON]
    orders = list(itertools.permutations(messages))
    random.Random(seed).shuffle(orders)
    expected = play(tmp_path / "in-order", messages)
    assert len(expected) == 2
    for number, order in enumerate(orders[:2]):
        assert play(tmp_path / str(number), order) == expected


def test_a_default_does_not_take_the_place_of_what_is_known(tmp_path: Path) -> None:
    found = play(tmp_path / "a", [ADMIT, message("M9", "A08", "20260314180000", "Old^Ada", "")])
    encounter = loads(next(body for key, body in found.items() if key.startswith("Encounter")))
    assert (encounter["status"], encounter["class"]["code"]) == ("in-progress", "IMP")
