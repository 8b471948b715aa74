"""The reader of each kind of personal health data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from hdg.ingestion.device import apple, csv_home, envelope, health_connect, openmhealth
from hdg.ingestion.device.home import Home
from hdg.ingestion.device.kinds import Kind
from hdg.mapping.context import JsonObject

__all__ = ["Reader", "reader_of"]

Reader = Callable[[Callable[[], BinaryIO], Home, Callable[[int], None] | None], Iterator[JsonObject]]
"""(how to open the input, the reading, whom to tell how many bytes were read) → its resources, one by one."""

_READERS: dict[Kind, Reader] = {
    "apple-health": apple.read,
    "open-mhealth": openmhealth.read,
    "health-connect": health_connect.read,
    "envelope": envelope.read,
    "csv": csv_home.read,
}


def reader_of(kind: Kind) -> Reader:
    """Raises KeyError for a kind that is not built."""
    return _READERS[kind]
