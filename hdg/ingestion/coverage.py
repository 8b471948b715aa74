"""What a conversion carried over, place by place; which places there are, and what became of each, its format knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Coverage", "Place", "Status"]

Status = Literal["mapped", "extension", "unmapped", "reported", "lost"]
"""*mapped*: something was made of it; *extension*: it was put into one; *unmapped*: a row says why not; *reported*: an
Issue says what went wrong; *lost*: nothing speaks of it.
"""


class Place(NamedTuple):
    """One valued place, as deep as its format divides it. ``note``: why it is unmapped."""

    place: str
    status: Status
    note: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """All valued places of one input, in its order."""

    places: tuple[Place, ...]

    def of(self, status: Status) -> tuple[str, ...]:
        """The places of one status."""
        return tuple(place.place for place in self.places if place.status == status)

    @property
    def lost(self) -> tuple[str, ...]:
        """Places that no row, note or Issue speaks of."""
        return self.of("lost")

    @property
    def share(self) -> float:
        """Places carried over among those that no note leaves out, 0 to 1."""
        wanted = [place for place in self.places if place.status != "unmapped"]
        carried = [place for place in wanted if place.status in ("mapped", "extension")]
        return len(carried) / len(wanted) if wanted else 1.0
