"""``senders.toml``: what is declared about each sending system (docs/hl7v2.md); read again when it changes.

A table belongs to a message when everything it names matches: ``application`` (MSH-3.1), ``facility``
(MSH-4.1), ``listener``, ``tls_subject``; of documents (docs/cda.md) ``custodian``, ``author``, ``device`` and
``credential``. A table that names none of these is known by its own name, ``APPLICATION|FACILITY``. Of several,
one that names what the sender has proved (``tls_subject``, ``credential``) goes before one that does not, then the one
that names most counts; among equals the first in the file. A wrong file is refused whole, with file and line.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hdg.errors import SettingsError, TableError
from hdg.ingestion.hl7v2.charset_names import resolve
from hdg.ingestion.hl7v2.lint import findings
from hdg.ingestion.sender import Facts, Origin, Sender
from hdg.ingestion.times import zone
from hdg.ingestion.toml_tables import Problem, Reloaded, read, validated
from hdg.terminology.concepts import load_map
from hdg.terminology.systems import registry

__all__ = ["FILE", "Declared", "Senders", "SendersFile", "load", "sender_of"]

FILE = "senders.toml"
_CONDITIONS = (
    "application",
    "facility",
    "listener",
    "tls_subject",
    "custodian",
    "author",
    "device",
    "credential",
)
_PROVED = frozenset({"tls_subject", "credential"})
"""What nobody can write into a message."""
_NUMBERS = ("custodian", "author", "device")
_NUMBER = re.compile(
    r"([0-2](\.(0|[1-9][0-9]*))+|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})(\|.+)?", re.ASCII
)
_DOCUMENT = re.compile(r"\d+-\d|[A-Z]{4}_IN\d{6}([A-Z]{2}\d\d)?|[A-Za-z0-9._-]+", re.ASCII)
_TYPE = re.compile(r"[A-Z][A-Z0-9]{2}(\^[A-Z0-9]{3})?", re.ASCII)
_log = logging.getLogger("hdg.senders")


class Declared(BaseModel):
    """One ``[senders."…"]`` table; Sender says what the values mean. Folders are relative to the data
    folder. ``queries``: the sender may ask for what its institution may read (hdg/query_answer.py).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    application: str | None = None
    facility: str | None = None
    listener: Literal["mllp", "mllps", "http", "folder"] | None = None
    tls_subject: str | None = None
    custodian: str | None = None
    author: str | None = None
    device: str | None = None
    credential: str | None = None
    institution: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")
    zone: str | None = None
    charset: str | None = None
    authorities: dict[str, str] = Field(default_factory=dict)
    mappings: Path | None = None
    terminology: Path | None = None
    ack: Literal["message", "original", "enhanced"] = "message"
    strict: bool = False
    queries: bool = False
    messages: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()

    def matches(self, facts: Facts) -> tuple[bool, int]:
        """(Whether it names what is proved, how many of its own conditions hold); the second is 0 when one does not."""
        given = self.conditions()
        if not all(value in facts.get(name, ()) for name, value in given.items()):
            return False, 0
        return not _PROVED.isdisjoint(given), len(given)

    def conditions(self) -> dict[str, str]:
        """What must match, by name."""
        named = {name: getattr(self, name) for name in _CONDITIONS}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Senders:
    """The tables of one reading of the file, by name."""

    tables: dict[str, Declared]

    def find(self, application: str, facility: str, origin: Origin) -> tuple[str, Declared | None]:
        """(name, table) of a message's sender; ('', None) when none is declared."""
        return self._best({"application": (application,), "facility": (facility,), **_way(origin)})

    def find_document(self, said: Facts, origin: Origin) -> tuple[str, Declared | None]:
        """As ``find``, for a document or a message of HL7 v3."""
        return self._best({**said, **_way(origin), "credential": (origin.institution,)})

    def _best(self, facts: Facts) -> tuple[str, Declared | None]:
        best, name = (False, 0), ""
        for each, table in self.tables.items():
            if (found := table.matches(facts)) > best:
                best, name = found, each
        return name, self.tables.get(name)

    def __str__(self) -> str:
        return f"{len(self.tables)} senders"


def _way(origin: Origin) -> Facts:
    return {"listener": (origin.listener,), "tls_subject": (origin.tls_subject,)}


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
        documents=frozenset(declared.documents),
    )


def load(path: Path) -> Senders:
    """Reads and checks the file; none: no sender is declared. Raises SettingsError with ``file:line``."""
    return Senders(read(path, "senders", lambda name, table: _checked(name, table, path.parent)))


def _checked(name: str, table: Any, base: Path) -> tuple[Declared | None, list[Problem]]:
    made, problems = validated(Declared, table)
    if made is None:
        return None, problems
    given: dict[str, Any] = {}
    for key in ("mappings", "terminology"):
        folder = getattr(made, key)
        given[key] = None if folder is None else base / folder
    if not made.conditions():
        given["application"], _, given["facility"] = name.partition("|")
    made = made.model_copy(update=given)
    return made, list(_problems(made))


def _problems(table: Declared) -> Iterator[Problem]:
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
    for kind in table.documents:
        if not _DOCUMENT.fullmatch(kind):
            yield "documents", f"{kind!r} is no type of document such as 34133-9 or PRPA_IN201301UV02"
    for key in _NUMBERS:
        number = getattr(table, key)
        if number is not None and not _NUMBER.fullmatch(number):
            yield key, "an OID or UUID is needed, or that with |extension"
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
    for finding in _findings(table.mappings, table.terminology) if table.mappings else ():
        if str(finding).startswith(str(table.mappings)):  # the shipped tables are not the site's to mend
            yield "mappings", str(finding)


def _findings(mappings: Path, terminology: Path | None) -> Iterator[object]:
    """Those of every format that the folder has tables of; what reads documents is imported when there are some."""
    yield from findings(mappings, terminology)
    if (mappings / "cda").is_dir():
        from hdg.ingestion.cda.lint import findings as cda_findings

        yield from cda_findings(mappings, terminology)
    if (mappings / "hl7v3").is_dir():
        from hdg.ingestion.hl7v3.lint import findings as hl7v3_findings

        yield from hl7v3_findings(mappings, terminology)


class SendersFile(Reloaded[Senders]):
    """The file as it is now (Reloaded)."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises SettingsError when the file is wrong at the start."""
        super().__init__(path, load, _log, clock)
