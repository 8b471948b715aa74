"""A message as if some of its fields had not been sent: to see what they contribute to what it becomes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from hdg.ingestion.hl7v2.encoding import NULL
from hdg.ingestion.hl7v2.parser import Message, Segment

__all__ = ["Blank", "without"]

_ASKED: Final = {("PV1", 11): NULL}
"""Fields of which a row of another field asks whether they are valued (A09: PV1-3 is the place that the patient has
left for, unless PV1-11 is): they make nothing, and are there. No rule for all fields: of most, what one had hidden by
being there (PID-25 hides PID-24) counts again without it.
"""


class Blank(NamedTuple):
    """A field, 0 for all of the segment; of the ``occurrence``-th segment of that name, 0 for all of them."""

    segment: str
    number: int
    occurrence: int = 0


def without(message: Message, blanks: Collection[Blank]) -> Message:
    """A new message; ``raw`` stays what it was. Fields of the header stay."""
    segments = []
    by_name: dict[str, list[Segment]] = {}
    for segment in message.segments:
        numbers = [
            blank.number
            for blank in blanks
            if blank.segment == segment.name != "MSH" and blank.occurrence in (0, segment.occurrence)
        ]
        if 0 in numbers:
            continue
        if any(segment.field(number) for number in numbers):
            fields = [
                _ASKED.get((segment.name, at), "") if at in numbers and text else text
                for at, text in enumerate(segment.fields)
            ]
            segment = Segment(segment.name, segment.position, segment.occurrence, "|".join(fields))
        segments.append(segment)
        by_name.setdefault(segment.name, []).append(segment)
    return Message(message.raw, segments, message.charset, message.delimiters, list(message.issues), by_name)
