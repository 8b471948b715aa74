"""What a network and its queues make of a course of events: repeats, overtakings, latecomers.

A message is sent again with the same bytes (its sender got no acknowledgement in time), arrives a few
messages after its turn, or much later (an interface was down). Nothing is ever lost here.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from hdg.simulate.hospital import Event


@dataclass(frozen=True, slots=True)
class Disorder:
    """Shares of the messages (0 to 1), and by how many messages they are put off at most."""

    repeated: float = 0.02
    overtaken: float = 0.02
    late: float = 0.01
    repeated_within: int = 60
    overtaken_by: int = 6
    late_by: int = 400


ORDERLY = Disorder(repeated=0.0, overtaken=0.0, late=0.0)


def disordered(events: Iterable[Event], rng: random.Random, disorder: Disorder) -> Iterator[Event]:
    """The events as they arrive. At most ``late_by`` are held back at a time, bar rounding."""
    held: list[tuple[int, int, Event]] = []
    for number, event in enumerate(events):
        draw = rng.random()
        if draw < disorder.late:
            due = number + rng.randint(disorder.overtaken_by, disorder.late_by)
            heapq.heappush(held, (due, number, replace(event, fate="late")))
        elif draw < disorder.late + disorder.overtaken:
            due = number + rng.randint(1, disorder.overtaken_by)
            heapq.heappush(held, (due, number, replace(event, fate="late")))
        else:
            yield event
            if rng.random() < disorder.repeated:
                due = number + rng.randint(0, disorder.repeated_within)
                heapq.heappush(held, (due, number, replace(event, fate="repeat")))
        while held and held[0][0] <= number:
            yield heapq.heappop(held)[2]
