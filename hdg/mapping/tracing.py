"""The second compilation: the same rules, which also record what they made of what. For coverage and explain.

A trail is a place below a segment: slot, repetition, then the slots of nested tables. A converter that takes
a whole field has the trail ``(slot,)``.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

from hdg.mapping.context import Context, Converter, Event, JsonObject
from hdg.mapping.runs import Run, nested

if TYPE_CHECKING:
    from hdg.mapping.actions import Fire
    from hdg.mapping.grammar import Slot
    from hdg.mapping.table import Rule


def watched(convert: Converter) -> Converter:
    """A converter whose values the events show."""

    def watch(text: str, context: Context) -> Any:
        context.made = None
        value = convert(text, context)
        context.made = value
        return value

    return watch


def top_traced(rule: Rule, slot: Slot, fire: Fire, null: str, element: str) -> Run:
    """``runs.top`` that records an Event for each text."""
    number, pick = slot.number, slot.pick

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        if raw == null:
            context.empty(element)
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
    # A converter of the whole field has no repetition: what it builds inside has no place of its own.
    context.trail = trail if len(trail) > 1 else (*trail, 0)
    context.made = None
    events, problems = len(context.trace or ()), len(context.problems)
    done = fire(text, out, context)
    record(context, rule, trail, done)
    _mark_dropped(context, rule, events, problems, depth=0)
    context.trail = ()
    if context.problems:
        context.report(number, trail[1] if len(trail) > 1 else 1)
    return done


def nested_traced(rule: Rule, slot: Slot, fire: Fire, null: str) -> Run:
    """``runs.nested`` that records an Event."""
    run = nested(slot, fire, null)

    def traced(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        outer = context.trail
        context.trail = (*outer, slot.number, *slot.trail) if slot.number else outer
        context.made = None
        events, problems = len(context.trace or ()), len(context.problems)
        hit = run(raw, view, out, context)
        record(context, rule, context.trail, hit)
        _mark_dropped(context, rule, events, problems, depth=1)
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


def _mark_dropped(context: Context, rule: Rule, events: int, problems: int, *, depth: int) -> None:
    """What was read since ``events`` and then not put, because another value stays, has come to nothing."""
    for problem in context.problems[problems:]:
        if problem.code == "duplicate" and len(problem.path) <= depth:
            drop(context, events, lambda event: True)
        elif problem.code == "conflict" and problem.elements and len(problem.path) <= depth:
            drop(context, events, partial(_writes_one_of, problem.elements))


def drop(context: Context, start: int, is_meant: Callable[[Event], bool]) -> None:
    """Events from ``start`` on whose value was put and did not stay: as if nothing had come of them."""
    trace = context.trace
    if trace is not None:
        for index in range(start, len(trace)):
            event = trace[index]
            if event.outcome and is_meant(event):
                trace[index] = event._replace(outcome=False, is_dropped=True)


def _writes_one_of(elements: tuple[str, ...], event: Event) -> bool:
    return top_element(event.rule) in elements


def top_element(rule: Rule) -> str:
    """The element of the resource or datatype that a rule writes to."""
    return rule.target.partition(".")[0].partition("[")[0]


def is_rule_of(rule: Rule, kind: str, elements: tuple[str, ...]) -> bool:
    """Whether a rule of a table for resources of type ``kind`` writes to one of their elements."""
    result = rule.file.rpartition("/")[2].split(".")[1]
    return result.partition("-")[0] == kind and top_element(rule) in elements
