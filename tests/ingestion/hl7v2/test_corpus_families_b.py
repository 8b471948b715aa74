"""Real orders: all convert, every OBX and every value of it is kept, nothing refers into the void.

HL7 v2.5.1 §4.4.1, §4.4.6. What another engine made of the same orders is a second opinion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.batch import split_messages
from hdg.ingestion.hl7v2.convert import Converter

pytestmark = pytest.mark.corpus

KINDS = (b"|ORM^O01", b"|OML^O21")
NOT_A_MESSAGE = {"msh_present_but_missing_msh-2.hl7"}
_REFERENCE = re.compile(rb'"reference":"([A-Za-z]+/[a-z0-9]+)"')


def messages(cases: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted((cases / "hl7v2").rglob("*.hl7")):
        for message in split_messages(path.read_bytes()):
            if any(kind in message[:300] for kind in KINDS) and path.name not in NOT_A_MESSAGE:
                yield path, message


@pytest.fixture(scope="module")
def converted(cases: Path) -> list[tuple[Path, bytes, Converted]]:
    converter = Converter(id_key=PUBLIC_KEY)
    return [(path, data, converter.convert(data, at_us=0)) for path, data in messages(cases)]


def rows(data: bytes, name: bytes) -> list[list[bytes]]:
    lines = data.replace(b"\n", b"\r").split(b"\r")
    return [line.split(b"|") for line in lines if line.startswith(name + b"|")]


def answers(data: bytes) -> set[tuple[bytes, ...]]:
    """OBX with an OBX-5, each with its order; a copy under another set id is the same statement."""
    found, order = set(), b""
    for line in data.replace(b"\n", b"\r").split(b"\r"):
        row = line.split(b"|")
        if row[0] == b"OBR":
            order = line
        elif row[0] == b"OBX" and len(row) > 5 and row[5].strip(b'^&~ "'):
            found.add((order, *row[2:]))
    return found


def of_type(result: Converted, kind: str) -> list[dict[str, Any]]:
    return [item for item in result.resources if item["resourceType"] == kind]


def test_every_order_and_every_obx_is_there(converted: list[tuple[Path, bytes, Converted]]) -> None:
    assert len(converted) >= 40
    assert sum(len(rows(data, b"OBX")) for _, data, _ in converted) > 250
    short = []
    for path, data, result in converted:
        if len(of_type(result, "ServiceRequest")) != max(len(rows(data, b"OBR")), len(rows(data, b"ORC"))):
            short.append(f"{path.name}: orders")
        if len(of_type(result, "Observation")) < len(rows(data, b"OBX")):
            short.append(f"{path.name}: observations")
    assert short == []


def test_every_answer_keeps_its_value_and_its_order(converted: list[tuple[Path, bytes, Converted]]) -> None:
    lost = []
    for path, data, result in converted:
        sent = len(answers(data))
        told = {
            reference["reference"]
            for order in of_type(result, "ServiceRequest")
            for reference in order.get("supportingInfo", ())
        }
        held = sum(
            any(key.startswith("value") or key in ("component", "derivedFrom") for key in item)
            for item in of_type(result, "Observation")
            if f"Observation/{item['id']}" in told
        )
        if held < sent:
            lost.append(f"{path.name}: {sent - held}")
    assert lost == []


def test_everything_is_valid_and_refers_to_what_is_there(
    converted: list[tuple[Path, bytes, Converted]],
) -> None:
    for path, _, result in converted:
        assert [issue for item in result.resources for issue in validate(item)] == [], path.name
        there = {f"{item['resourceType']}/{item['id']}" for item in result.resources}
        named = {found.decode() for item in result.resources for found in _REFERENCE.findall(dumps(item))}
        assert named - there == set(), path.name


def translation(path: Path) -> Path | None:
    """What the other engine made of a message; the two corpora name it differently."""
    stem = path.stem.removesuffix("_0_initial_message")
    names = (f"{path.stem}.fhir", f"{stem}_1_hl7_translation.fhir", f"{stem}_initial_translation.fhir")
    return next((path.parent / name for name in names if (path.parent / name).is_file()), None)


def test_another_engine_reads_the_same_orders(converted: list[tuple[Path, bytes, Converted]]) -> None:
    """As many orders, and every code that it finds in orders and answers."""
    differing, compared = [], 0
    for path, _, result in converted:
        beside = translation(path)
        if beside is None:
            continue
        theirs = [entry["resource"] for entry in json.loads(beside.read_text(encoding="utf-8"))["entry"]]
        compared += 1
        for kind in ("ServiceRequest", "Observation"):
            mine = of_type(result, kind)
            other = [item for item in theirs if item["resourceType"] == kind]
            missing = {code for item in other for code in codes(item)} - {
                code for item in mine for code in codes(item)
            }
            if missing:
                differing.append(f"{path.name}: {kind} {sorted(missing)}")
            if kind == "ServiceRequest" and len(mine) != len(other):
                differing.append(f"{path.name}: {len(mine)} orders, there {len(other)}")
    assert compared >= 10
    assert differing == []


def codes(item: dict[str, Any]) -> set[str]:
    return {coding["code"] for coding in item.get("code", {}).get("coding", ()) if "code" in coding}
