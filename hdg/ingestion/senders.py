"""``senders.toml``: what is declared about each sending system (docs/hl7v2.md); read again when it changes.

A table belongs to a message when everything it names matches: ``application`` (MSH-3.1), ``facility``
(MSH-4.1), ``listener``, ``tls_subject``. A table that names none of the four is known by its own name,
``APPLICATION|FACILITY``. Of several, the one that names most counts; among equals the first in the file. A
wrong file is refused whole, with file and line.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hdg.errors import SettingsError, TableError
from hdg.ingestion.hl7v2.charset_names import resolve
from hdg.ingestion.hl7v2.lint import findings
from hdg.ingestion.hl7v2.times import zone
from hdg.ingestion.sender import Origin, Sender
from hdg.terminology.concepts import load_map
from hdg.terminology.systems import registry

__all__ = ["FILE", "Declared", "Senders", "SendersFile", "load", "sender_of"]

FILE = "senders.toml"
_LOOK_S = 1.0
_TYPE = re.compile(r"[A-Z][A-Z0-9]{2}(\^[A-Z0-9]{3})?", re.ASCII)
_log = logging.getLogger("hdg.senders")


class Declared(BaseModel):
    """One ``[senders."…"]`` table; Sender says what the values mean. Folders are relative to the data
    folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    application: str | None = None
    facility: str | None = None
    listener: Literal["mllp", "mllps", "http", "folder"] | None = None
    tls_subject: str | None = None
    institution: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")
    zone: str | None = None
    charset: str | None = None
    authorities: dict[str, str] = Field(default_factory=dict)
    mappings: Path | None = None
    terminology: Path | None = None
    ack: Literal["message", "original", "enhanced"] = "message"
    strict: bool = False
    messages: tuple[str, ...] = ()

    def matches(self, facts: dict[str, str]) -> int:
        """How many of its own conditions hold; 0 when one does not."""
        given = self.conditions()
        return len(given) if all(facts[name] == value for name, value in given.items()) else 0

    def conditions(self) -> dict[str, str]:
        """What must match, by name."""
        named = {name: getattr(self, name) for name in ("application", "facility", "listener", "tls_subject")}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Senders:
    """The tables of one reading of the file, by name."""

    tables: dict[str, Declared]

    def find(self, application: str, facility: str, origin: Origin) -> tuple[str, Declared | None]:
        """(name, table) of a message's sender; ('', None) when none is declared."""
        facts = {
            "application": application,
            "facility": facility,
            "listener": origin.listener,
            "tls_subject": origin.tls_subject,
        }
        best, name = 0, ""
        for each, table in self.tables.items():
            if (count := table.matches(facts)) > best:
                best, name = count, each
        return name, self.tables.get(name)


def sender_of(declared: Declared | None, name: str, institution: str, default_zone: str | None) -> Sender:
    """The Sender that a table declares; ``institution`` and ``default_zone`` stand in for what it leaves
    out.
    """
    if declared is None:
        return Sender(name=name, institution=institution, zone=default_zone)
    return Sender(
        name=name,
        institution=declared.institution or institution,
        zone=declared.zone or default_zone,
        charset=declared.charset,
        authorities=MappingProxyType(declared.authorities),
        mappings=declared.mappings,
        terminology=declared.terminology,
        ack=declared.ack,
        is_strict=declared.strict,
        messages=frozenset(declared.messages),
    )


def load(path: Path) -> Senders:
    """Reads and checks the file; none: no sender is declared. Raises SettingsError with ``file:line``."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Senders({})
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name}: cannot be read ({type(error).__name__})") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise SettingsError(f"{path.name}:{line[1] if line else text.count(chr(10)) + 1}: {error}") from None
    tables: dict[str, Declared] = {}
    problems = [
        (_line(text, "", name), f"{name}: there are only [senders.…] tables here")
        for name in content
        if name != "senders"
    ]
    named = content.get("senders", {})
    if not isinstance(named, dict):
        raise SettingsError(f"{path.name}:1: senders must be tables")
    for name, table in named.items():
        made, wrong = _checked(name, table, path.parent)
        problems += [(_line(text, name, key), f'senders."{name}".{key}: {problem}') for key, problem in wrong]
        if made is not None:
            tables[name] = made
    if problems:
        raise SettingsError("; ".join(f"{path.name}:{line}: {text}" for line, text in sorted(problems)))
    return Senders(tables)


def _checked(name: str, table: Any, base: Path) -> tuple[Declared | None, list[tuple[str, str]]]:
    try:
        made = Declared.model_validate(table)
    except ValidationError as error:
        return None, [(str((*one["loc"], "")[0]), one["msg"]) for one in error.errors()]
    given: dict[str, Any] = {}
    for key in ("mappings", "terminology"):
        folder = getattr(made, key)
        given[key] = None if folder is None else base / folder
    if not made.conditions():
        given["application"], _, given["facility"] = name.partition("|")
    made = made.model_copy(update=given)
    return made, list(_problems(made))


def _problems(table: Declared) -> Iterator[tuple[str, str]]:
    try:
        zone(table.zone)
    except SettingsError as error:
        yield "zone", str(error)
    try:
        resolve((table.charset or "",))
    except LookupError:
        yield "charset", "no character set of that name is known (HL7 table 0211 or Python's name)"
    for kind in table.messages:
        if not _TYPE.fullmatch(kind):
            yield "messages", f"{kind!r} is no message type such as ADT or ADT^A01"
    for key, folder in (("mappings", table.mappings), ("terminology", table.terminology)):
        if folder is not None and not folder.is_dir():
            yield key, f"there is no folder {folder}"
            return
    for file in sorted(table.terminology.glob("*.csv")) if table.terminology else ():
        try:
            load_map(file, registry())
        except TableError as error:
            yield "terminology", str(error)
            return
    for finding in findings(table.mappings, table.terminology) if table.mappings else ():
        if finding.file.startswith(str(table.mappings)):  # the shipped tables are not the site's to mend
            yield "mappings", str(finding)


def _line(text: str, table: str, key: str) -> int:
    """The line of a key in a table, else of the table, else the first; TOML's reader does not tell."""
    lines = text.splitlines()
    quoted = re.escape(table)
    header = re.compile(rf"""\s*\[\s*senders\s*\.\s*["']?{quoted}["']?\s*(\.|\])""")
    start = next((n for n, line in enumerate(lines) if table and header.match(line)), 0)
    setting = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
    for number in range(start + (1 if table else 0), len(lines)):
        if setting.match(lines[number].lstrip("[")):
            return number + 1
        if table and lines[number].lstrip().startswith("[") and not header.match(lines[number]):
            break
    return start + 1


class SendersFile:
    """The file as it is now. A change is seen within a second; a wrong one leaves the last good reading in
    force.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises SettingsError when the file is wrong at the start: there is no good reading yet."""
        self.path = path
        self.problem = ""
        """What is wrong with the file as it lies there; '' when it is in force."""
        self._clock = clock
        self._lock = threading.Lock()
        self._state = self._look()
        self._looked = clock()
        self.generation = 0
        """Counts the readings in force; whoever caches what follows from one compares it."""
        self._senders = load(path)

    def current(self) -> Senders:
        """The reading in force."""
        if self._clock() - self._looked >= _LOOK_S and self._lock.acquire(blocking=False):
            try:
                self._looked = self._clock()
                self._refresh()
            finally:
                self._lock.release()
        return self._senders

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _refresh(self) -> None:
        state = self._look()
        if state == self._state:
            return
        self._state = state
        try:
            senders = load(self.path)
        except SettingsError as error:
            self.problem = str(error)
            _log.error("%s is wrong and NOT in force, the last good one is: %s", self.path.name, error)
            return
        self._senders, self.problem = senders, ""
        self.generation += 1
        _log.warning("%s is in force: %d senders", self.path.name, len(senders.tables))
