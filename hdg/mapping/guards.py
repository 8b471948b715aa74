"""Slots whose rows all ask for something: what such a slot says when none of them may read it is not lost in silence.

A table has a row for every field, but where each of a field's rows has a ``when`` a message may fulfil none of them. A
guard is a step that runs just then. Fields are reported by whoever knows all tables that read a segment; a part of a
datatype is reported where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

from hdg.mapping.context import Context, JsonObject, Problem
from hdg.mapping.runs import Run
from hdg.mapping.table import Rule, Table
from hdg.mapping.when import All, Leaf, Node, Not, leaves, parse_when, simplified

__all__ = ["UNREAD_PART", "Answers", "field_guard", "guarded", "part_guard"]

Answers = Callable[[Rule], bool]
"""Whether a row says what becomes of its source: all do but notes that only point to another row."""
UNREAD_PART = "a part that no row of its datatype reads beside the others was left out"
_LEAVES_MAX = 8


def guarded(table: Table, slot_of: Callable[[Rule], int], answers: Answers) -> Iterator[tuple[int, Node]]:
    """Slots with the condition under which no row reads them; none for slots that are read in any case."""
    rows: dict[int, list[str]] = {}
    for rule in table.rules:
        if rule.target != "id" and answers(rule):
            rows.setdefault(slot_of(rule), []).append(rule.when)
    for slot, conditions in rows.items():
        if not slot or not all(conditions):
            continue
        nodes = [parse_when(text) for text in dict.fromkeys(conditions)]
        if not _is_exhaustive(nodes):
            yield slot, All(tuple(Not(node) for node in nodes))


def _is_exhaustive(nodes: Sequence[Node]) -> bool:
    """Whether one of the conditions holds whatever their tests come to; False also where there are too many."""
    tests = list(dict.fromkeys(leaf for node in nodes for leaf in leaves(node)))
    if len(tests) > _LEAVES_MAX:
        return False
    for outcome in product((True, False), repeat=len(tests)):
        given: dict[Leaf, bool] = dict(zip(tests, outcome, strict=True))
        if not any(simplified(node, given.get) is True for node in nodes):
            return False
    return True


def field_guard(number: int) -> Run:
    """Notes that no row of this table reads a field."""
    bit = 1 << number

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        context.silent |= bit
        return False

    return run


def part_guard(number: int, null: str) -> Run:
    """Reports a part of a datatype."""

    def run(raw: str, view: list[str], out: JsonObject, context: Any) -> bool:
        if raw != null and raw.strip("&"):
            context.problems.append(Problem("information", "incomplete", UNREAD_PART, [number]))
        return False

    return run
