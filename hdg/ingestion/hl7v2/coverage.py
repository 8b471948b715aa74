"""What a conversion carried over: every valued place of a message, and what became of it.

From the tracing compilation, so the hot path pays nothing. A place is *mapped* (a rule put something made of
it), *unmapped* (a row says why not), *reported* (an Issue says what went wrong) or *lost*: no rule looked at
it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import Decimal
from hdg.ingestion.coverage import Coverage, Place
from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.encoding import NULL, unescape
from hdg.ingestion.hl7v2.grammar import SourceError, parse_source, width
from hdg.ingestion.hl7v2.message import POINTER
from hdg.ingestion.hl7v2.parser import Message, Segment
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.sender import Sender
from hdg.mapping.context import Choice, Event
from hdg.mapping.table import Rule
from hdg.mapping.when import compared, parse_when

_DELIMITERS = {("MSH", 1), ("MSH", 2)}
_UNREAD = frozenset({"not-supported", "structure", "not-found"})
"""Codes of Issues that say that nothing reads a segment."""
_ENCODES = frozenset({"hl7v2.encapsulated_data", "hl7v2.document_text"})
"""Converters whose value is base64."""
_SEPARATED = {"Range": "-", "Ratio": "/:"}
"""Types that say what the separator of an SN says."""
_CODE_ALONE = "becomes a code of a fixed value set: its text, system and alternatives have no place there"
_URI_TYPES = {
    "urn:oid:": ("ISO",),
    "urn:uuid": ("UUID", "GUID"),
    "https://": ("URI",),
    "http://": ("URI",),
}
"""How a URI begins, and the universal id types (table 0301) that it carries."""


@cache
def tracing_converter() -> Converter:
    """A Converter over the tracing compilation; its ids are those of the public key."""
    return Converter(id_key=PUBLIC_KEY, is_tracing=True)


def coverage(data: bytes, sender: Sender | None = None) -> Coverage:
    """What the tables make of one message. Raises what Converter.convert raises."""
    converted, state = tracing_converter().run(data, sender, at_us=0)
    events: dict[int, list[Event]] = {}
    for event in state.trace or ():
        events.setdefault(event.origin.position, []).append(event)
    reported = {issue.place for issue in converted.issues if "-" in issue.place}
    unread = {issue.place for issue in converted.issues if issue.code in _UNREAD}
    read = state.read | _deciding(state.trace or (), state.message)
    places: list[Place] = []
    for segment in state.message.segments:
        judge = _Judge(segment, events.get(segment.position, []), state)
        judge.note = state.skipped.get(segment.position)
        judge.is_unread = segment.place() in unread
        for leaf, names in _leaves(segment):
            if {(segment.position, leaf[0], 0), (segment.position, leaf[0], leaf[2])} & read:
                places.append(Place(names[-1], "mapped"))
            else:
                places.append(judge.place(leaf, names, reported))
    return Coverage(tuple(places))


def _deciding(events: Sequence[Event], message: Message) -> set[tuple[int, int, int]]:
    """Places by whose text (not mere presence) a fired row was chosen: what they say is in the choice."""
    found: set[tuple[int, int, int]] = set()
    for event in events:
        rule = event.rule
        if not event.outcome or not rule.when:
            continue
        unit = rule.source.rpartition(".")[2].partition("-")[0]
        for operand in compared(parse_when(rule.when)):
            try:
                source = parse_source(operand, unit)
            except SourceError:
                continue  # of a datatype: its own row speaks for it
            named = [event.origin] if source.unit == event.origin.name else message.all(source.unit)
            if len(named) == 1:
                found.add((named[0].position, source.number, source.component))
    return found


def _leaves(segment: Segment) -> Iterator[tuple[tuple[int, int, int, int], list[str]]]:
    """Each valued text with its position and its place, from the field down to the text itself."""
    for number, raw in enumerate(segment.fields):
        if not number or not raw or (segment.name, number) in _DELIMITERS:
            continue
        field = segment.place(number)
        repetitions = raw.split("~")
        for repetition, text in enumerate(repetitions, 1):
            here = f"{field}[{repetition}]" if repetition > 1 else field
            components = text.split("^")
            for component, part in enumerate(components, 1):
                below = f"{here}.{component}" if len(components) > 1 else here
                pieces = part.split("&")
                for piece, value in enumerate(pieces, 1):
                    if value.strip() and value != NULL:
                        leaf = f"{below}.{piece}" if len(pieces) > 1 else below
                        names = [field, here, below, leaf]
                        if (
                            len(components) == 1 or len(pieces) == 1
                        ):  # one text, by whatever name it is reported
                            names[:0] = [f"{here}.{component}", f"{here}.{component}.{piece}"]
                        yield (number, repetition, component, piece), names


class _Judge:
    """What became of the places of one segment."""

    def __init__(self, segment: Segment, events: list[Event], state: State) -> None:
        self.segment = segment
        self.events = events
        self.state = state
        self.note: str | None = None
        """Why the message table leaves the segment out."""
        self.is_unread = False
        """Whether an Issue says that nothing reads the segment."""

    def place(self, leaf: tuple[int, int, int, int], names: list[str], reported: set[str]) -> Place:
        """The judgement of one place. ``names``: the place and those around it."""
        why, is_dropped, has_failed, depth = self.note, False, False, 0
        for event in self.events:
            trail = event.trail
            if not trail or not trail[0] or leaf[: len(trail)] != trail[:4]:
                continue
            if event.outcome is None:
                if len(trail) >= depth and not POINTER.match(event.rule.note):
                    why, depth = event.rule.note, len(trail)
            elif not event.outcome:
                is_dropped |= event.is_dropped
                has_failed |= event.is_dropped or _is_terminal(event.rule)
            elif _is_terminal(event.rule):
                if self._carries(event, leaf):
                    return Place(names[-1], "mapped")
                if event.rule.as_ == "code":
                    why = why or _CODE_ALONE
        is_reported = bool(reported.intersection(names)) or (
            leaf[0] >= width(self.segment.name) and self.segment.name[0] != "Z"
        )
        if why is not None and not (has_failed and is_reported):
            return Place(names[-1], "unmapped", why)
        return Place(names[-1], "reported" if is_reported or is_dropped or self.is_unread else "lost")

    def _carries(self, event: Event, leaf: tuple[int, int, int, int]) -> bool:
        """Whether a rule's value holds the text of a place; one that read more must show it."""
        text = _text_at(self.segment, leaf)
        if _text_at(self.segment, event.trail) == text:
            return True
        text = unescape(text, self.state.charset)
        shown = _flat(event.made)
        if text.strip() in shown or (_folded(text) and _folded(text) in _folded(shown)):
            return True
        if event.rule.as_ in _ENCODES and _folded(text) in _folded(_decoded(shown)):
            return True
        if (
            isinstance(event.made, Choice)
            and event.made.type in _SEPARATED
            and text in _SEPARATED[event.made.type]
        ):
            return True
        uri = self.state.systems.uri(text.strip())
        return text.strip().upper() in _URI_TYPES.get(shown[:8].lower(), ()) or bool(uri and uri in shown)


def _text_at(segment: Segment, trail: Sequence[int]) -> str:
    """The raw text at a trail: field, repetition, component, subcomponent."""
    text = segment.field(trail[0])
    for separator, number in zip("~^&", trail[1:4], strict=False):
        parts = text.split(separator)
        text = parts[number - 1] if 0 < number <= len(parts) else ""
    return text


def _flat(made: Any) -> str:
    """All texts in a value."""
    if isinstance(made, Choice):
        return _flat(made.value)
    if isinstance(made, dict):
        return " ".join(_flat(part) for part in made.values())
    if isinstance(made, list | tuple):
        return " ".join(_flat(part) for part in made)
    if isinstance(made, Decimal):
        return made.literal
    return str(made)


def _decoded(text: str) -> str:
    """What base64 stands for, as text."""
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except ValueError:
        return ""


def _folded(text: str) -> str:
    """Letters and digits alone: dates and numbers are written differently in FHIR."""
    return "".join(char for char in text.casefold() if char.isalnum())


def _is_terminal(rule: Rule) -> bool:
    """Whether a rule takes its text as it is; a table's own rows speak for their components."""
    return rule.as_ in V2Grammar.primitives or V2Grammar.converters.get(rule.as_) is not None
