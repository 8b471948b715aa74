"""The second compilation: the same rules, which also record what they made of what. For coverage and explain.

A trail is a place below a segment: slot, repetition, then the slots of nested tables. A converter that takes
a whole field has the trail ``(slot,)``.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hdg.mapping.context import Context, Converter, Event, JsonObject
from hdg.mapping.runs import Run, delete, nested

if TYPE_CHECKING:
    from hdg.mapping.actions import Fire
    from hdg.mapping.compile import Slot
    from hdg.mapping.table import Rule


def watched(convert: Converter) -> Converter:
    """A converter whose values the events show."""

    def watch(text: str, context: Context) -> Any:
        context.made = None
        value = convert(text, context)
        context.made = value
        return value

    return watch


def top_traced(rule: Rule, slot: Slot, fire: Fire, null: str, element: str, sharing: frozenset[int]) -> Run:
    """``runs.top`` that records an Event for each text."""
    number, pick = slot.number, slot.pick

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        if raw == null:
            delete(number, view, element, sharing, context)
            return True
        if pick is None:
            return _traced(rule, (number,), number, raw, fire, out, context)
        hit = False
        for repetition, text in enumerate(pick(raw), 1):
            if text and text != null:
                trail = (number, repetition, *slot.trail)
                hit = _traced(rule, trail, number, text, fire, out, context) or hit
        return hit

    return run


def _traced(
    rule: Rule, trail: tuple[int, ...], number: int, text: str, fire: Fire, out: JsonObject, context: Context
) -> bool:
    context.trail = trail
    context.made = None
    done = fire(text, out, context)
    record(context, rule, trail, done)
    context.trail = ()
    if context.problems:
        context.settle(number, trail[1] if len(trail) > 1 else 1)
    return done


def nested_traced(rule: Rule, slot: Slot, fire: Fire, null: str) -> Run:
    """``runs.nested`` that records an Event."""
    run = nested(slot, fire, null)

    def traced(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        outer = context.trail
        context.trail = (*outer, slot.number, *slot.trail) if slot.number else outer
        context.made = None
        hit = run(raw, view, out, context)
        record(context, rule, context.trail, hit)
        context.trail = outer
        return hit

    return traced


def traced_default(rule: Rule, fire: Fire) -> Fire:
    """A default that records an Event without a place of its own."""

    def traced(text: str, out: JsonObject, context: Context) -> bool:
        done = fire(text, out, context)
        context.made = None
        record(context, rule, (), done)
        return done

    return traced


def skipped(rule: Rule, slot: Slot, *, is_top: bool) -> Run:
    """A deliberately unmapped row."""

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        context.made = None
        if not is_top:
            record(context, rule, (*context.trail, slot.number, *slot.trail), None)
        elif slot.pick is None:
            record(context, rule, (slot.number,), None)
        else:
            for repetition, text in enumerate(slot.pick(raw), 1):
                if text:
                    record(context, rule, (slot.number, repetition, *slot.trail), None)
        return False

    return run


def record(context: Context, rule: Rule, trail: tuple[int, ...], outcome: bool | None) -> None:
    """Keep an Event."""
    if context.trace is not None:
        context.trace.append(Event(rule, trail, context.origin, outcome, deepcopy(context.made)))
