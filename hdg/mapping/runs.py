"""How a rule goes over the texts of its slot: repetitions at the top, single texts inside datatypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hdg.mapping.context import Context, JsonObject

if TYPE_CHECKING:
    from hdg.mapping.actions import Fire
    from hdg.mapping.compile import Slot

Run = Callable[[str, list[str], JsonObject, Any], bool]
"""``(raw slot text, view, root, context)``; True when the rule is settled (something was put or deleted)."""


def defaulted(number: int, run: Run, fallback: Fire) -> Run:
    """Runs on its slot when that holds text; the default steps in when nothing came of it."""

    def with_default(raw: str, view: list[str], out: JsonObject, context: Any) -> bool:
        if number < len(view) and (text := view[number]) and run(text, view, out, context):
            return True
        return fallback("", out, context)

    return with_default


def top(slot: Slot, fire: Fire, null: str, element: str, sharing: frozenset[int]) -> Run:
    """A rule of a segment table: every picked text in turn, problems settled at their repetition."""
    number, pick, separator = slot.number, slot.pick, slot.separator

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        if raw == null:
            delete(number, view, element, sharing, context)
            return True
        if pick is None or (separator and separator not in raw):
            hit = fire(raw, out, context)
            if context.problems:
                context.settle(number, 1)
            return hit
        hit = False
        for repetition, text in enumerate(pick(raw), 1):
            if text and text != null:
                hit = fire(text, out, context) or hit
                if context.problems:
                    context.settle(number, repetition)
        return hit

    return run


def delete(number: int, view: list[str], element: str, sharing: frozenset[int], context: Context) -> None:
    """The sender deletes a field. Where other fields feed the same element and are absent, their part must
    stay.
    """
    for other in sharing:
        if other != number and (other >= len(view) or not view[other]):
            context.problem(f"a delete of only a part of {element} was not carried out", code="not-supported")
            context.settle(number, 1)
            return
    context.delete(element)


def nested(slot: Slot, fire: Fire, null: str) -> Run:
    """A rule of a datatype table."""
    number, pick = slot.number, slot.pick

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        if raw == null:
            return False
        mark = len(context.problems)
        hit = False
        if pick is None:
            hit = fire(raw, out, context)
        else:
            for text in pick(raw):
                if text and text != null:
                    hit = fire(text, out, context) or hit
        if len(context.problems) > mark:
            for problem in context.problems[mark:]:
                problem.path.append(number)
        return hit

    return run
