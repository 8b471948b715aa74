"""What is wrong with what became of an input, whatever the format: for fuzzers and comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hdg.fhir.validate import validate


def wrong(resources: Sequence[dict[str, Any]]) -> str:
    """Two resources with one id, one that is not valid, or a reference that leads nowhere; '' for nothing."""
    places = [f"{one['resourceType']}/{one['id']}" for one in resources]
    if len(set(places)) < len(places):
        return "two resources with one id"
    for one in resources:
        issues = validate(one)
        if issues:
            return f"invalid {one['resourceType']}: {issues[0]}"
    dangling = set(references(list(resources))) - set(places)
    return f"dangling: {sorted(dangling)[0].partition('/')[0]}" if dangling else ""


def references(value: Any) -> Iterator[str]:
    """All literal references in a value."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
