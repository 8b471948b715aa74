"""What a conversion carried over: every valued place of a message, and what became of it.

From the tracing compilation, so the hot path pays nothing. A place is *mapped* (a rule put something made of
it), *unmapped* (a row says why not), *reported* (an Issue says what went wrong) or *lost*: no rule looked at
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.encoding import NULL
from hdg.ingestion.hl7v2.grammar import SourceError, parse_source
from hdg.ingestion.hl7v2.parser import Segment
from hdg.ingestion.sender import Sender
from hdg.mapping.context import Event
from hdg.mapping.table import Rule
from hdg.mapping.when import compared, parse_when

Status = Literal["mapped", "unmapped", "reported", "lost"]
_DELIMITERS = {("MSH", 1), ("MSH", 2)}


class Place(NamedTuple):
    """One valued place, as deep as the message divides it. ``note``: why it is unmapped."""

    place: str
    status: Status
    note: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """All valued places of one message, in message order."""

    places: tuple[Place, ...]

    def of(self, status: Status) -> tuple[str, ...]:
        """The places of one status."""
        return tuple(place.place for place in self.places if place.status == status)

    @property
    def lost(self) -> tuple[str, ...]:
        """Places that no rule, note or Issue speaks of."""
        return self.of("lost")

    @property
    def share(self) -> float:
        """Mapped places among those that no note leaves out, 0 to 1."""
        wanted = [place for place in self.places if place.status != "unmapped"]
        return len(self.of("mapped")) / len(wanted) if wanted else 1.0


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
    reported = {issue.place for issue in converted.issues}
    read = state.read | _deciding(state.trace or ())
    places: list[Place] = []
    for segment in state.message.segments:
        found = events.get(segment.position, [])
        note = state.skipped.get(segment.position)
        for leaf, names in _leaves(segment):
            if {(segment.name, leaf[0], 0), (segment.name, leaf[0], leaf[2])} & read:
                places.append(Place(names[-1], "mapped"))
            else:
                places.append(_judge(leaf, names, found, note, reported))
    return Coverage(tuple(places))


def _deciding(events: Sequence[Event]) -> set[tuple[str, int, int]]:
    """Places by whose text (not mere presence) a fired row was chosen: what they say is in the choice."""
    found: set[tuple[str, int, int]] = set()
    for rule in {event.rule for event in events if event.outcome and event.rule.when}:
        unit = rule.source.rpartition(".")[2].partition("-")[0]
        for operand in compared(parse_when(rule.when)):
            try:
                source = parse_source(operand, unit)
            except SourceError:
                continue  # of a datatype: its own row speaks for it
            found.add((source.unit, source.number, source.component))
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
                        yield (number, repetition, component, piece), [field, here, below, leaf]


def _judge(
    leaf: tuple[int, int, int, int],
    names: list[str],
    events: list[Event],
    note: str | None,
    reported: set[str],
) -> Place:
    place = names[-1]
    why = note
    for event in events:
        trail = event.trail
        if not trail or not trail[0] or leaf[: len(trail)] != trail[:4]:
            continue
        if event.outcome is None:
            why = event.rule.note
        elif event.outcome and _is_terminal(event.rule):
            return Place(place, "mapped")
    if why is not None:
        return Place(place, "unmapped", why)
    segment = place.partition("-")[0]
    return Place(place, "reported" if reported.intersection((*names, segment)) else "lost")


def _is_terminal(rule: Rule) -> bool:
    """Whether a rule takes its text as it is; a table's own rows speak for their components."""
    return rule.as_ in V2Grammar.primitives or V2Grammar.converters.get(rule.as_) is not None
