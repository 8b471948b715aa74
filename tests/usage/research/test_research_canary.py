"""No text that a resource may hold comes through: a token in each place of every R4 type, and none in what is shown.

Issue "Researchers, narrow but real": the canary test.
"""

from __future__ import annotations

import random
import re
from datetime import date
from typing import Any

import pytest
from canaries import BASE, DATES, TOKEN, Maker

from hdg.fhir import definitions
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.usage.research import deidentify
from hdg.usage.research.deidentify import SHOWN, Deidentifier
from hdg.usage.research.elements import shape

TODAY = date(2026, 11, 21)
PROJECT = Deidentifier(bytes(range(32)), BASE)
VARIANTS = 8  # ways to write a reference


def variants(kind: str) -> range:
    """Observation.value, which even variants have, has the longest choice."""
    return range(22 if kind == "Observation" else VARIANTS)


@pytest.mark.parametrize("kind", sorted(SHOWN))
def test_no_token_of_a_shown_type_comes_through(kind: str) -> None:
    for variant in variants(kind):
        content = Maker(variant).resource(kind)
        before = dumps(content)
        shown = PROJECT.resource(content, -100, TODAY)
        assert dumps(content) == before, "the input is left as it was"
        assert shown is not None, variant
        text = dumps(shown).decode()
        assert not re.findall(TOKEN, text, re.IGNORECASE), (variant, text)
        assert not any(moment in text for moment in DATES.values() if moment != DATES["time"])
        assert validate(shown) == []


@pytest.mark.parametrize("kind", sorted(SHOWN))
def test_no_token_comes_through_where_only_a_code_or_a_date_may_stand(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deidentify, "validate", lambda _: [])  # what is wrong must not be what hides a token
    for variant in variants(kind):
        content = Maker(variant, is_hostile=True).resource(kind)
        text = dumps(PROJECT.resource(content, -100, TODAY)).decode()
        assert not re.findall(TOKEN, text, re.IGNORECASE), (variant, text)
        # Once more without what makes the whole resource hidden.
        plain = Maker(variant).resource(kind)
        mixed = {
            key: value if _decides(kind, key) else content.get(key, value) for key, value in plain.items()
        }
        text = dumps(PROJECT.resource(mixed, -100, TODAY)).decode()
        assert not re.findall(TOKEN, text, re.IGNORECASE), (variant, text)


def _decides(kind: str, key: str) -> bool:
    member = shape(kind).members.get(key)
    return key == "resourceType" or (member is not None and member.is_modifier)


def test_nothing_is_shown_of_other_types() -> None:
    for kind in sorted(definitions.resource_types() - set(SHOWN)):
        assert PROJECT.resource(Maker().resource(kind), -100, TODAY) is None
    assert PROJECT.resource({"resourceType": ["Patient"]}, -100, TODAY) is None
    assert PROJECT.resource({}, -100, TODAY) is None


@pytest.mark.parametrize("kind", sorted(SHOWN))
def test_a_modifier_that_is_not_listed_hides_the_resource(kind: str) -> None:
    content = Maker().resource(kind)
    assert PROJECT.resource(content, -100, TODAY) is not None
    extension = [{"url": "http://example.org/not", "valueBoolean": True}]
    assert PROJECT.resource(content | {"modifierExtension": extension}, -100, TODAY) is None
    assert PROJECT.resource(content | {"implicitRules": "http://example.org/rules"}, -100, TODAY) is None
    for name, value in content.items():
        member = shape(kind).members.get(name)
        if member is not None and member.is_backbone:
            inner = value[0] if member.is_list else value
            changed = {**inner, "modifierExtension": extension}
            assert (
                PROJECT.resource(content | {name: [changed] if member.is_list else changed}, -100, TODAY)
                is None
            )


@pytest.mark.parametrize("kind", sorted(SHOWN))
def test_whatever_json_stands_anywhere_what_is_shown_is_valid(kind: str) -> None:
    wrong: tuple[Any, ...] = (
        None,
        True,
        7,
        "",
        "zq000000x",
        [],
        {},
        [None],
        [[7]],
        {"": 7},
        [{"reference": []}],
    )
    draw = random.Random(kind)
    for _ in range(40):
        content = Maker(draw.randrange(VARIANTS)).resource(kind)
        where: Any = content
        for _ in range(draw.randrange(5)):
            inner = [item for item in (where.values() if isinstance(where, dict) else where) if item]
            inner = [item for item in inner if isinstance(item, dict | list)]
            where = draw.choice(inner) if inner else where
        key = draw.choice(list(where)) if isinstance(where, dict) else draw.randrange(len(where))
        where[key] = draw.choice(wrong)
        shown = PROJECT.resource(content, -100, TODAY)
        assert shown is None or (validate(shown) == [] and not re.findall(TOKEN, str(shown)))
