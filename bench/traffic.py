"""A seeded stream of ADT, ORU and VXU of 2 to 3 KB: the even load that the figures are measured with.

The messages are hdg.simulate's; what differs is that nothing has a course: every message stands alone, so
that each costs the same. The same seed makes the same stream. Patients recur (as they do in a hospital), so
that re-statements of a known Patient, Practitioner or Organization are part of the load. Control ids are
unique within one stream.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from hdg.simulate import messages, people
from hdg.simulate.people import EPOCH, GIVEN, Person


@dataclass
class Traffic:
    """The stream. ``patients`` is how many people it is about; ``mix`` weighs ADT, ORU, VXU."""

    seed: int = 1
    patients: int = 500
    mix: tuple[int, int, int] = (3, 6, 1)
    prefix: str = "T"
    _people: dict[int, Person] = field(default_factory=dict)

    def __iter__(self) -> Iterator[bytes]:
        rng = random.Random(self.seed)
        builders = (self.adt, self.oru, self.vxu)
        serial = 0
        while True:
            serial += 1
            person = self.person(rng.randrange(self.patients))
            (build,) = rng.choices(builders, self.mix)
            yield build(rng, person, serial)

    def take(self, count: int) -> list[bytes]:
        """The first ``count`` messages."""
        stream = iter(self)
        return [next(stream) for _ in range(count)]

    def person(self, number: int) -> Person:
        """The person of that number; the same one for the same seed."""
        if number not in self._people:
            self._people[number] = people.person(self.seed, number)
        return self._people[number]

    def _header(self, serial: int, app: str) -> messages.Header:
        return messages.Header(
            EPOCH + timedelta(seconds=serial * 7), f"{self.prefix}{self.seed}-{serial:08d}", app
        )

    def adt(self, rng: random.Random, person: Person, serial: int) -> bytes:
        """An ADT of about 2 KB: admission or update, with kin, allergies, diagnoses and insurance."""
        event = rng.choice(["A01", "A08", "A08", "A04", "A31"])
        return messages.adt(self._header(serial, "REGISTRATION"), person, event, rng.choice(GIVEN))

    def oru(self, rng: random.Random, person: Person, serial: int) -> bytes:
        """An ORU of 15 segments and about 2.4 KB: one order, nine results, a comment."""
        header = self._header(serial, "LAB")
        return messages.oru(header, person, [messages.Order(serial, header.stamp, messages.results(rng))])

    def vxu(self, rng: random.Random, person: Person, serial: int) -> bytes:
        """A VXU of about 2 KB: two given doses and one refusal."""
        return messages.vxu(self._header(serial, "IMMS"), person, rng, serial)
