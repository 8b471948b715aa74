"""A seeded stream of realistic HL7 v2 traffic about people who do not exist, for demos, tests and load.

Admissions, transfers and discharges, orders, partial, final and corrected results, immunisations, documents
with embedded PDF, merges of records; repeats, overtaken and late messages. 2 to 16 KB mostly, some 100 KB.

    for event in Simulation(seed=1, patients=200).take(1000):
        send(event.raw)
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from hdg.simulate.disorder import ORDERLY, Disorder, disordered
from hdg.simulate.hospital import SENDERS, Event, Hospital, known_triggers

__all__ = ["ORDERLY", "SENDERS", "Disorder", "Event", "Simulation", "known_triggers"]


@dataclass(frozen=True, slots=True)
class Simulation:
    """The stream. The same arguments and the same trigger table make the same bytes.

    ``patients``: how many people it is about (below 100,000); ``seed`` (0 to 499) also keeps the people and
    control ids of different simulations apart.
    """

    seed: int = 1
    patients: int = 500
    senders: int = len(SENDERS)
    disorder: Disorder = field(default_factory=Disorder)
    triggers: frozenset[str] | None = None
    """Trigger events to tell; None: all that the shipped tables convert."""
    prefix: str = "S"
    restless: bool = False
    """Everybody moves house before every message, so that each tells its place in the order; else before updates."""

    def __iter__(self) -> Iterator[Event]:
        triggers = known_triggers() if self.triggers is None else self.triggers
        hospital = Hospital(
            self.seed,
            self.patients,
            triggers=triggers,
            senders=self.senders,
            prefix=self.prefix,
            restless=self.restless,
        )
        return disordered(hospital, random.Random(self.seed ^ 0x5EED), self.disorder)

    def take(self, count: int) -> Iterator[Event]:
        """The first ``count`` messages."""
        return itertools.islice(self, count)
