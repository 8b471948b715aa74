"""A row for a choice element does what any other row would do with the same values."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.mapping.actions import _fire, assign_of, fire_of
from hdg.mapping.context import Choice, Context, JsonObject, Several, Unfit
from hdg.mapping.target import parse_target

GIVEN: dict[str, list[Any]] = {
    "one": [Choice("Quantity", {"value": 1})],
    "the same twice": [Choice("string", "a"), Choice("string", "a")],
    "another value": [Choice("string", "a"), Choice("string", "b")],
    "another type": [Choice("string", "a"), Choice("dateTime", "2026")],
    "nothing": [None],
    "several": [Several([Choice("string", "a"), Choice("string", "b"), Choice("time", "10:00:00")])],
    "several of one": [Several([Choice("string", "a")])],
    "none of several": [Several()],
    "unfit": [Unfit("no value")],
    "unfit, with what is kept": [Choice("date", "2026"), Unfit("cut", kept=Choice("date", "2027"))],
}


@pytest.mark.parametrize("values", GIVEN.values(), ids=GIVEN)
def test_what_is_put_told_and_reported_is_the_same(values: list[Any]) -> None:
    steps = parse_target("value[x]")
    found = []
    for fires in (fire_of, lambda convert, *_: _fire(convert, assign_of(steps, None, None))):
        rest = iter(values)

        def convert(text: str, context: Any, rest: Any = rest) -> Any:
            value = next(rest)
            if isinstance(value, Unfit):
                raise value
            return value

        fire = fires(convert, steps, None, None)
        context = Context()
        root: JsonObject = {"status": "final"}
        found.append(([fire("x", root, context) for _ in values], root, context.problems))
    assert found[0] == found[1]
    assert list(found[0][1]) == list(found[1][1])
