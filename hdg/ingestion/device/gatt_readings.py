"""What a characteristic of a BLE health profile says, before it has a subject, a device and a time on our clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from hdg.fhir.json import Decimal
from hdg.ingestion.device.floats import Special

__all__ = ["Amount", "Choice", "Flags", "Intervals", "Pressures", "Reading", "Said"]


@dataclass(frozen=True, slots=True)
class Amount:
    """A number and the UCUM code of its unit."""

    number: Decimal | int | Special
    ucum: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of an enumeration: a key of the map."""

    key: str


@dataclass(frozen=True, slots=True)
class Flags:
    """BITs in MDC's order, bit 0 the highest of 16."""

    value: int


@dataclass(frozen=True, slots=True)
class Pressures:
    """The parts of a blood pressure: (key, amount)."""

    parts: tuple[tuple[str, Amount], ...]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Times between beats, in milliseconds."""

    times: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value. ``key``: of the map. ``stamp``: on the device's clock; None: as it was received.

    ``minutes``: since the start of the session, where the device counts so. ``supplemental``: keys. ``conditions``: by
    the PHD guide's names. ``is_about_first``: it says something of the characteristic's first reading.
    """

    key: str
    value: Amount | Choice | Flags | Pressures | Intervals
    stamp: datetime | None = None
    minutes: int | None = None
    supplemental: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_about_first: bool = False
    is_time_fault: bool = False


@dataclass(slots=True)
class Said:
    """What a characteristic's value says. ``sequence``: the number that ties a glucose context to its measurement."""

    readings: list[Reading]
    issues: list[tuple[str, str]] = field(default_factory=list)
    sequence: int | None = None
