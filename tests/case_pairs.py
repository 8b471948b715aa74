"""Cases as file pairs: an HL7 v2 message and, beside it, everything it becomes (tests/cases/hl7v2).

The expected file holds the resources with readable ids (``Observation-1``), the deletions and the issues; numbers are
compared digit for digit. The gateway's Provenance is left out, as it names the digest of the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hdg.fhir.json import dumps
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter

CASES = Path(__file__).resolve().parent / "cases" / "hl7v2"


def names_of(*families: str) -> list[str]:
    """The cases of these folders, as ``oru/chemistry``."""
    return sorted(f"{family}/{path.stem}" for family in families for path in (CASES / family).glob("*.hl7"))


def convert(converter: Converter, name: str) -> Converted:
    """The conversion of a case's message, at a fixed time of receipt."""
    return converter.convert((CASES / f"{name}.hl7").read_bytes(), at_us=1_700_000_000_000_000)


def expected(name: str) -> Any:
    """What a case says."""
    return json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"), parse_float=str)


def readable(converted: Converted) -> Any:
    """The whole output with ids by type and order; decimals as their digits."""
    resources = [item for item in converted.resources if item["resourceType"] != "Provenance"]
    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for item in resources:
        kind = item["resourceType"]
        counts[kind] = counts.get(kind, 0) + 1
        names[item["id"]] = f"{kind}-{counts[kind]}"
    gone = [
        f"{item.resource_type}/{item.resource_id} {item.element}{item.source and f' of {item.source}'}"
        for item in converted.deletions
    ]
    issues = [str(issue) for issue in converted.issues]
    text = dumps({"resources": resources, "deletions": gone, "issues": issues}).decode()
    for long, short in names.items():
        text = text.replace(long, short)
    return json.loads(text, parse_float=str)


def of_type(converted: Converted, kind: str) -> list[dict[str, Any]]:
    """The resources of one type."""
    return [item for item in converted.resources if item["resourceType"] == kind]


def references(value: Any) -> Iterator[str]:
    """Every reference in a resource, or in a list of them, as it stands."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)
