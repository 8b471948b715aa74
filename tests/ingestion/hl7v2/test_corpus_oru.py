"""Real ORU messages: nothing is lost; what another engine made of them is a second opinion.

HL7 v2.5.1 §7.3.1.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.batch import split_messages
from hdg.ingestion.hl7v2.convert import Converter

pytestmark = pytest.mark.corpus

OTHER_VALUE = {
    "OBX-to-Observation-sn-as-quantity-value": "a separator that is none: text here",
    "OBX-to-Observation-sn-as-range-value": "a range with a comparator: text here",
    "OBX-to-Observation-sn-as-ratio-value-division": "a ratio with a comparator: text here",
}
"""Cases where the other engine's value[x] has another type, and why ours stays.

Where it has none (an extension of its own for NA, SN, XTN, ED), ours has a value or a document."""
OTHER_STATUS = {("registered", "unknown")}
"""OBX-11 = I (result pending): R4's ``registered`` says just that."""


def messages(cases: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted((cases / "hl7v2").rglob("*.hl7")):
        for message in split_messages(path.read_bytes()):
            if b"|ORU^R01" in message[:300]:
                yield path, message


@pytest.fixture(scope="module")
def converted(cases: Path) -> list[tuple[Path, bytes, Converted]]:
    converter = Converter(id_key=PUBLIC_KEY)
    return [(path, data, converter.convert(data, at_us=0)) for path, data in messages(cases)]


def of_type(resources: Any, kind: str) -> list[dict[str, Any]]:
    return [item for item in resources if item["resourceType"] == kind]


def value_type(item: dict[str, Any]) -> str | None:
    return next((key for key in item if key.startswith("value")), None)


def test_every_obx_becomes_an_observation(converted: list[tuple[Path, bytes, Converted]]) -> None:
    assert len(converted) > 150
    short = []
    for path, data, result in converted:
        sent = sum(line.startswith(b"OBX|") for line in data.replace(b"\n", b"\r").split(b"\r"))
        if len(of_type(result.resources, "Observation")) < sent:
            short.append(path.name)
    assert short == []


def test_every_observation_with_a_value_keeps_it(converted: list[tuple[Path, bytes, Converted]]) -> None:
    lost = []
    for path, data, result in converted:
        fields = [line.split(b"|") for line in data.replace(b"\n", b"\r").split(b"\r")]
        sent = sum(row[0] == b"OBX" and len(row) > 5 and bool(row[5].strip(b'^&~ "')) for row in fields)
        held = sum(
            any(key.startswith("value") or key in ("component", "derivedFrom") for key in item)
            for item in of_type(result.resources, "Observation")
        )
        if held < sent:
            lost.append(f"{path.name}: {sent - held}")
    assert lost == []


def translation(path: Path) -> Path | None:
    """What the other engine made of a message; the two corpora name it differently."""
    stem = path.stem.removesuffix("_0_initial_message")
    names = (f"{path.stem}.fhir", f"{stem}_1_hl7_translation.fhir", f"{stem}_initial_translation.fhir")
    return next((path.parent / name for name in names if (path.parent / name).is_file()), None)


def test_another_engine_reads_the_same_status_and_kind_of_value(
    converted: list[tuple[Path, bytes, Converted]],
) -> None:
    differing, compared = [], 0
    for path, _, result in converted:
        beside = translation(path)
        if beside is None:
            continue
        theirs = defaultdict(list)
        for entry in json.loads(beside.read_text(encoding="utf-8"))["entry"]:
            if entry["resource"]["resourceType"] == "Observation":
                theirs[_code(entry["resource"])].append(entry["resource"])
        for mine in of_type(result.resources, "Observation"):
            other = theirs[_code(mine)].pop(0) if theirs[_code(mine)] else None
            if other is None:
                continue
            compared += 1
            status = mine["status"], other["status"]
            if status[0] != status[1] and status not in OTHER_STATUS:
                differing.append(f"{path.stem}: {status}")
            kind = value_type(other)
            if kind and value_type(mine) != kind and path.stem not in OTHER_VALUE:
                differing.append(f"{path.stem}: {value_type(mine)}, there {kind}")
    assert compared > 1500
    assert differing == []


def _code(item: dict[str, Any]) -> str | None:
    coding: dict[str, Any] = (item.get("code", {}).get("coding") or [{}])[0]
    return coding.get("code")
