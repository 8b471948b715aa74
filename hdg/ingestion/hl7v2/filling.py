"""Runs the rows of a message table over the segments of a message, in their order: the resources begun, filled.

``mappings/README.md`` explains message tables; DESIGN §4.
"""

from __future__ import annotations

from typing import Final

from hdg.errors import Issue
from hdg.ingestion.hl7v2.grammar import width
from hdg.ingestion.hl7v2.groups import Definition, Group, Grouped
from hdg.ingestion.hl7v2.message import Able, MessageProgram, Row
from hdg.ingestion.hl7v2.nulls import Null, names_nothing, nulls_of
from hdg.ingestion.hl7v2.parser import Segment
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Build, Conflict, Event, JsonObject
from hdg.mapping.tracing import drop

__all__ = ["fill"]

_UNREAD: Final = "no row of this message reads the field: it was left out"
_UNNAMED: Final = "a delete that does not say of which entry was not carried out"
_NOTHING: Final = '^&~" '
"""What a field without a value may consist of."""


def fill(grouped: Grouped, program: MessageProgram, state: State) -> list[Build]:
    """Run the rows of every segment, in message order; what they began, in that order."""
    builds: list[Build] = []
    name, known = "", 0
    definition: Definition | None = None
    rows: tuple[Row, ...] | None = None
    able: tuple[Able, ...] = ()
    able_of = -1
    """The size of the segments whose rows these are."""
    unread: tuple[int, ...] = ()
    unread_of = -2
    """What the rows read whose ``unread`` this is."""
    trace = state.trace
    for segment, place in grouped.placed:
        if place.definition is not definition or segment.name != name:  # sisters have the same rows
            name, definition = segment.name, place.definition
            rows = program.rows(definition, name)
            known, able_of, unread_of = width(name), -1, -2
        if rows is None:
            _without_row(segment, state)
            continue
        state.segment = state.origin = segment
        state.group = place
        view = segment.fields
        size = len(view)
        if size != able_of:
            able, able_of = program.able(definition, name, size), size
        if size > known and any(view[known:]):
            _beyond(segment, state)
        if state.nulls is not None and names_nothing(name, view):
            state.skipped[segment.position] = _UNNAMED
            state.issues.append(Issue("warning", "not-supported", segment.place(), _UNNAMED))
            continue
        is_read = False
        reads = 0
        for row, test in able:
            if row.program is None:
                state.skipped[segment.position] = row.rule.note
                reads = -1
            elif test is None or test(view, state):
                is_read = True
                state.silent = 0
                _run(row, view, segment, place, builds, state)
                reads |= row.reads & ~state.silent if state.silent else row.reads
                if trace is not None:
                    trace.append(Event(row.rule, (), segment, True))
        if is_read:
            if reads != unread_of:
                unread, unread_of = program.unread(name, reads), reads
            for number in unread:
                if number < size and view[number].strip(_NOTHING):
                    state.issues.append(Issue("warning", "incomplete", segment.place(number), _UNREAD))
        elif rows[0].program is not None:
            state.skipped[segment.position] = f"the segment is used only when {rows[0].rule.when}"
    return builds


def _without_row(segment: Segment, state: State) -> None:
    if not segment.name.startswith("Z"):  # grouping has reported local segments
        text = "the message table has no row for the segment"
        state.issues.append(Issue("warning", "not-supported", segment.place(), text))


def _beyond(segment: Segment, state: State) -> None:
    text = "fields that the segment does not have were left out"
    state.issues.append(Issue("information", "incomplete", segment.place(), text))


def _run(
    row: Row, view: list[str], segment: Segment, place: Group, builds: list[Build], state: State
) -> None:
    label, is_part = row.label, row.put is not None
    began = state.began.get(label)
    build = None
    if began is not None and (is_part or began != segment.name):
        build = _existing(row, segment, place)  # else without a walk: there is none that the row could add to
    if build is None:
        if is_part:
            text = f"there is no {label} that it could belong to"
            state.issues.append(Issue("warning", "not-found", segment.place(), text))
            return
        build = _begin(row, segment, place, builds)
        if began is None:
            state.began[label] = segment.name
        elif began != segment.name:
            state.began[label] = ""
    state.build = build
    state.facts = None
    if is_part:
        _part(row, view, segment, place, build, state)
        return
    if state.nulls is not None and (numbers := nulls_of(view)):
        state.nulls.append(Null(build, row.rule.as_, segment, numbers))
    state.labels = build.labels
    if row.program is not None:
        row.program.fill(view, build.resource, state)
    if build.facts is None:
        build.facts = state.found_facts()  # what an id row found
    if row.links:
        build.links.append((row, build.resource, place, segment))


def _part(row: Row, view: list[str], segment: Segment, place: Group, build: Build, state: State) -> None:
    """A row for a part of a resource that is there."""
    out: JsonObject = {}
    state.labels = {}
    state.own[id(out)] = out
    deleted, defaulted = len(build.deletions), len(build.defaulted)
    start = len(state.trace or ())
    if row.program is not None:
        row.program.fill(view, out, state)
    facts = state.found_facts()
    _limit(build, deleted, defaulted, segment, state, is_restated=bool(out))
    if build.facts is None:
        build.facts = facts
    if not (out or row.links):
        return
    _attach(row, out, build, segment, state, start)
    if row.links:
        build.links.append((row, out, place, segment))


def _limit(
    build: Build, deleted: int, defaulted: int, segment: Segment, state: State, *, is_restated: bool
) -> None:
    """What a part's table deletes or fills is an element of the part, not of the resource around it.

    A part that is stated again takes the place of the one that had more.
    """
    while len(build.defaulted) > defaulted:
        build.defaulted.popitem()
    while len(build.deletions) > deleted:
        element, _ = build.deletions.popitem()
        if is_restated:
            continue
        text = f"a delete of {element} inside a part of {build.type} was not carried out"
        state.issues.append(Issue("warning", "not-supported", segment.place(), text))


def _attach(row: Row, out: JsonObject, build: Build, segment: Segment, state: State, start: int) -> None:
    """Put what a row built into the resource that it belongs to."""
    if row.put is None:
        return
    state.labels = build.labels
    try:
        row.put(build.resource, out, state)
    except Conflict as conflict:
        text = f"{conflict.element} has another value already, which stays"
        state.issues.append(Issue("information", "duplicate", segment.place(), text))
        drop(state, start, lambda event: True)


def _existing(row: Row, segment: Segment, place: Group) -> Build | None:
    """The nearest resource of the row's label that the row adds to.

    A row for a part of a resource adds to whatever is nearest; a row for the resource itself only to one that
    another kind of segment began.
    """
    here: Group | None = place
    while here is not None:
        found = here.builds.get(row.label)
        if found:
            nearest = found[-1]
            return nearest if row.put is not None or nearest.source != segment.name else None
        here = here.parent
    return None


def _begin(row: Row, segment: Segment, place: Group, builds: list[Build]) -> Build:
    resource = {"resourceType": row.type, "id": ""}
    build = Build(row.type, row.label, resource, segment.name, place, segment)
    builds.append(build)
    place.take(build)
    return build
