"""R4's own examples as a project sees them: no text of them, distances of days kept, and valid R4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from hdg.fhir.definitions import element_info, is_primitive
from hdg.fhir.json import JsonObject, loads
from hdg.fhir.validate import validate
from hdg.usage.research.deidentify import SHOWN, Deidentifier

pytestmark = pytest.mark.corpus
TODAY = date(2026, 11, 21)
OFFSET = -100
PROJECT = Deidentifier(b"p" * 32)
TEXTS = {"string", "markdown", "xhtml", "id", "base64Binary", "uri", "url", "canonical", "oid", "uuid"}
KNOWN = {"system", "url", "resourceType", "code"}
"""Properties of the output whose values come from lists; what they may hold is tested elsewhere."""
PLACES = {
    "state": re.compile("[A-Z]{2}"),
    "country": re.compile("[A-Z]{2}"),
    "postalCode": re.compile("[0-9]{3}"),
}
DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


def examples(folder: Path) -> Iterator[tuple[str, JsonObject]]:
    for path in sorted((folder / "fhir" / "r4-examples").glob("*.json")):
        content = loads(path.read_bytes())
        if content["resourceType"] in SHOWN:
            yield path.name, content


def leaves(kind: str, value: Any, key: str = "") -> Iterator[tuple[str, str, str]]:
    """(type, property, text) of each text in a resource."""
    if isinstance(value, list):
        for item in value:
            yield from leaves(kind, item, key)
    elif isinstance(value, dict):
        kind = value.get("resourceType", kind)
        for name, item in value.items():
            info = None if name == "resourceType" else element_info(kind, name)
            yield from leaves(info.type if info is not None else "code", item, name)
    elif isinstance(value, str) and is_primitive(kind):
        yield kind, key, value


def test_no_text_of_an_example_is_shown(cases: Path) -> None:
    count = 0
    for name, content in examples(cases):
        found = PROJECT.resource(content, OFFSET, TODAY)
        if found is None:
            assert validate(content), f"{name} is hidden though nothing is wrong with it"
            continue
        count += 1
        assert validate(found) == [], name
        kind = content["resourceType"]
        texts = {
            text
            for type_, key, text in leaves(kind, content)
            if type_ in TEXTS and key not in ("system", "url")
        }
        words = {word for text in texts for word in re.findall(r"\w{5,}", text)}
        for type_, key, text in leaves(kind, found):
            if key in KNOWN or type_ in ("code", "date", "dateTime", "instant", "time"):
                continue
            assert key in ("id", "reference", "unit", "data", *PLACES), (name, key)
            assert key not in PLACES or PLACES[key].fullmatch(text), (name, key, text)
            if key in ("id", "reference"):
                assert not words & set(re.findall(r"\w{5,}", text.partition("/")[2])), (name, key, text)
    assert count > 300


def test_days_of_an_example_are_all_moved_by_the_same(cases: Path) -> None:
    for name, content in examples(cases):
        kind = content["resourceType"]
        found = PROJECT.resource(content, OFFSET, TODAY)
        before = {text for _, _, text in leaves(kind, content) if DAY.match(text)}
        for _, _, text in leaves(kind, found):
            if DAY.match(text):
                assert (date.fromisoformat(text) - timedelta(days=OFFSET)).isoformat() in before, name


def test_status_and_negation_of_an_example_stay(cases: Path) -> None:
    for name, content in examples(cases):
        found = PROJECT.resource(content, OFFSET, TODAY)
        for key in ("status", "doNotPerform", "intent", "lifecycleStatus", "active", "actuality", "gender"):
            assert found is None or found.get(key) == content.get(key), (name, key)
        for key in ("clinicalStatus", "verificationStatus"):
            if found is not None and key in content:
                said, shown = ({item["code"] for item in one[key]["coding"]} for one in (content, found))
                assert said == shown, (name, key)
