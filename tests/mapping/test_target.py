"""Target paths: parsing, setting, labels, extensions, choices and conflicts."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.mapping.context import Choice, Conflict, Context
from hdg.mapping.target import TargetError, compile_target, parse_target

URL = "http://example.org/x.y"


def put(*pairs: tuple[str, Any]) -> dict[str, Any]:
    context, root = Context(), {}
    for path, value in pairs:
        compile_target(parse_target(path))(root, value, context)
    return root


def test_plain_paths_make_what_is_missing() -> None:
    assert put(("a.b.c", 1), ("a.d", 2)) == {"a": {"b": {"c": 1}, "d": 2}}


def test_empty_brackets_append_each_time() -> None:
    assert put(("given[]", "A"), ("given[]", "A")) == {"given": ["A", "A"]}
    assert put(("x[].y", 1), ("x[].y", 2)) == {"x": [{"y": 1}, {"y": 2}]}


def test_equal_objects_are_appended_once() -> None:
    assert put(("identifier[]", {"value": "1"}), ("identifier[]", {"value": "1"})) == {
        "identifier": [{"value": "1"}]
    }


def test_a_label_names_one_item() -> None:
    assert put(("p[a].x", 1), ("p[b].x", 2), ("p[a].y", 3)) == {"p": [{"x": 1, "y": 3}, {"x": 2}]}


def test_an_extension_url_names_one_item_and_a_second_bracket_makes_new_ones() -> None:
    assert put((f"extension[{URL}].valueCode", "a"), (f"extension[{URL}].id", "b")) == {
        "extension": [{"url": URL, "valueCode": "a", "id": "b"}]
    }
    assert (
        len(put((f"extension[{URL}][].valueCode", "a"), (f"extension[{URL}][].valueCode", "b"))["extension"])
        == 2
    )


def test_a_choice_takes_its_type_from_the_value() -> None:
    assert put(("value[x]", Choice("dateTime", "2026"))) == {"valueDateTime": "2026"}


def test_a_second_different_value_is_a_conflict_and_an_equal_one_is_not() -> None:
    context, root = Context(), {}
    setter = compile_target(parse_target("gender"))
    setter(root, "male", context)
    setter(root, "male", context)
    with pytest.raises(Conflict):
        setter(root, "female", context)
    assert root == {"gender": "male"}


def test_pairs_are_relative_to_the_item_of_the_last_bracket() -> None:
    context: Context = Context()
    root: dict[str, Any] = {}
    item = compile_target(parse_target("participant[].individual"))(root, {"display": "x"}, context)
    assert item is root["participant"][0]
    assert compile_target(parse_target("period.start"))(root, "2026", context) is root


@pytest.mark.parametrize("text", ["", ".a", "a.", "a[", "a[B]", "a[b][c]", "a[x y]", "a b", "1a", "a[][]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(TargetError):
        parse_target(text)
