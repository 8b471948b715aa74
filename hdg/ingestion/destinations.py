"""``destinations.toml``: where accepted messages are sent on to (docs/outbox.md); read again when it changes.

A wrong file is refused whole, with file and line.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hdg.errors import SettingsError
from hdg.ingestion.hl7v2.send import Peer
from hdg.ingestion.toml_tables import Problem, Reloaded, read, validated

__all__ = ["FILE", "Destination", "Destinations", "DestinationsFile", "load"]

FILE = "destinations.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TYPE = re.compile(r"\*|[A-Z][A-Z0-9]{2}(\^[A-Z0-9]{3})?", re.ASCII)
_ANSWERS = frozenset({"ACK", "MCF"})
_log = logging.getLogger("hdg.destinations")


class Destination(BaseModel):
    """One ``[destinations.NAME]`` table. Times in the unit their name ends with; files relative to the data
    folder. No ``messages``: nothing is sent on by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    messages: tuple[str, ...] = ()
    senders: tuple[str, ...] = ("*",)
    attempts: int = Field(default=3, ge=1)
    backoff_s: float = Field(default=1.0, gt=0)
    backoff_max_s: float = Field(default=60.0, gt=0)
    timeout_s: float = Field(default=30.0, gt=0)
    keep_days: float = Field(default=30.0, ge=0)
    any_control_id: bool = False
    paused: bool = False

    def takes(self, message_type: str, sender: str) -> bool:
        """Whether a message (``ADT^A01``) of a sender (``APPLICATION|FACILITY``) is sent on to it.

        Acknowledgements are only when they are named: ``*`` does not mean them.
        """
        code, trigger = (*message_type.split("^"), "")[:2]
        is_wanted = code in self.messages or f"{code}^{trigger}" in self.messages
        is_wanted = is_wanted or ("*" in self.messages and code not in _ANSWERS)
        return is_wanted and any(fnmatchcase(sender, pattern) for pattern in self.senders)

    def peer(self) -> Peer:
        """Where and how to connect."""
        return Peer(self.address, self.ca, self.cert, self.key)


@dataclass(frozen=True, slots=True)
class Destinations:
    """The tables of one reading of the file, by name."""

    tables: dict[str, Destination]

    def receiving(self, message_type: str, sender: str) -> list[str]:
        """The names of those that a message is sent on to."""
        return [name for name, table in self.tables.items() if table.takes(message_type, sender)]

    def __str__(self) -> str:
        return f"{len(self.tables)} destinations"


def load(path: Path) -> Destinations:
    """Reads and checks the file; none: nothing is sent on. Raises SettingsError with ``file:line``."""
    return Destinations(read(path, "destinations", lambda name, table: _checked(name, table, path.parent)))


def _checked(name: str, table: Any, base: Path) -> tuple[Destination | None, list[Problem]]:
    made, problems = validated(Destination, table)
    if made is None:
        return None, problems
    files = {key: getattr(made, key) for key in ("ca", "cert", "key")}
    files = {key: file and base / file for key, file in files.items()}
    made = made.model_copy(update=files)
    return made, list(_problems(name, made))


def _problems(name: str, made: Destination) -> Iterator[Problem]:
    if not _NAME.fullmatch(name):
        yield "", "a name is letters, digits, dot, dash and underscore, 64 at most"
    for kind in made.messages:
        if not _TYPE.fullmatch(kind):
            yield "messages", f"{kind!r} is no message type such as ADT or ADT^A01, nor *"
    for pattern in made.senders:
        if pattern != "*" and "|" not in pattern:
            yield "senders", f"{pattern!r} is no sender such as LAB|NORTH, LAB|* or *"
    if made.backoff_max_s < made.backoff_s:
        yield "backoff_max_s", "less than backoff_s"
    for key in ("ca", "cert", "key"):
        file = getattr(made, key)
        if file is not None and not file.is_file():
            yield key, f"there is no file {file}"
            return
    try:
        made.peer().client(made.timeout_s)
    except SettingsError as error:
        yield "address", str(error).removeprefix("--to: ")


class DestinationsFile(Reloaded[Destinations]):
    """The file as it is now (Reloaded)."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises SettingsError when the file is wrong at the start."""
        super().__init__(path, load, _log, clock)
