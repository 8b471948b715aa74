"""One DICOM object's header to FHIR R4: by the tables, identified, validated. Pure: no I/O beyond reading tables once.

Deterministic: the same header, sender and key give the same Converted. DESIGN §3, §4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta, timezone, tzinfo
from pathlib import Path
from time import time_ns
from typing import Any

from hdg.errors import DicomError, Issue, SourceError
from hdg.fhir.times import instant
from hdg.ingestion.converted import Converted, JsonObject, Source
from hdg.ingestion.dicom.compile import Compiler, readers
from hdg.ingestion.dicom.dictionary import shown
from hdg.ingestion.dicom.directory import is_directory
from hdg.ingestion.dicom.document import Encapsulated
from hdg.ingestion.dicom.header import Header
from hdg.ingestion.dicom.losses import losses
from hdg.ingestion.dicom.modules import modules
from hdg.ingestion.dicom.state import State
from hdg.ingestion.dicom.values import clock_of, date_of, is_uid, moment_of
from hdg.ingestion.provenance import ASSEMBLER, provenance
from hdg.ingestion.repair import made_valid
from hdg.ingestion.sender import Sender
from hdg.ingestion.times import latest_us, zone
from hdg.mapping.context import Unfit
from hdg.mapping.library import Library
from hdg.mapping.table import Rule
from hdg.mapping.views import SHIPPED, Views
from hdg.mapping.when import Test, compile_when, parse_when

__all__ = ["DISPATCH", "Converter", "dispatched"]

DISPATCH = ("dispatch", "objects")
PATIENT = "object.Patient"
_STUDY_UID, _SERIES_UID = 0x0020000D, 0x0020000E
_SOP_CLASS, _SOP_UID = 0x00080016, 0x00080018
_OFFSET = 0x00080201
_OFFSET_TEXT = re.compile(r"(?!-00:?00|-00$)([+-])(\d\d):?([0-5]\d)?", re.ASCII)
_OFFSET_LENGTH = len("+hhmm")
_OFFSET_MIN, _OFFSET_MAX = -720, 840
"""Minutes (PS3.3 §C.12.1.1.8)."""
"""PS3.3 C.12.1.1.8: -1200 to +1400."""
_STATED = ((0x00080012, 0x00080013), (0x00080023, 0x00080033))
"""Instance Creation, Content: when the object was made."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A row of the table of objects: which table reads which objects."""

    rule: Rule
    table: str
    test: Test | None


@dataclass(frozen=True, slots=True)
class _Tables:
    library: Library
    compiler: Compiler
    objects: tuple[Dispatched, ...]
    tags: frozenset[int]


def dispatched(library: Library) -> tuple[Dispatched, ...]:
    """The rows of the table of objects. Raises TableError."""
    table = library.table(*DISPATCH)
    found = []
    for rule in table.rules if table is not None else ():
        try:
            test = compile_when(parse_when(rule.when), readers) if rule.when else None
        except ValueError as error:
            raise rule.error(str(error)) from error
        found.append(Dispatched(rule, rule.as_, test))
    return tuple(found)


class Converter:
    """Converts headers with one id key. Tables are read and compiled when a header first needs them."""

    def __init__(
        self, *, id_key: bytes, library: Library | None = None, compiler: Compiler | None = None
    ) -> None:
        """``compiler``: of ``library``, when rows are to be watched."""
        self.id_key = id_key
        self._tables = Views("dicom", _tables)
        if library is not None:
            self._tables[SHIPPED] = _tables(library, compiler)

    def tables(self, override: Path | None, maps: Path | None = None) -> _Tables:
        """The compiled tables seen through an override directory and a site's own concept maps."""
        return self._tables[override, maps]

    def convert(
        self,
        header: Header,
        sender: Sender | None = None,
        *,
        at_us: int | None = None,
        sha256: str = "",
        document: Encapsulated | None = None,
    ) -> Converted:
        """What one object states: Patient, ImagingStudy with this series and instance, Device, Practitioner …

        ``at_us``: time of receipt, µs since the epoch (default: now). ``sha256``: hex digest of the whole object as
        received, when the caller has it. ``document``: what ``encapsulated`` gives for this header, when its bytes are
        to be among the resources (a Binary). A sender without name or institution is ``dicom`` and ``local``.
        Raises DicomError: the object is none of a patient's study, or no valid resource can be made of it.
        """
        _check(header)
        sender = sender or Sender("", "")
        if not sender.name or not sender.institution:
            sender = replace(sender, name=sender.name or "dicom", institution=sender.institution or "local")
        header.data.shared.charset = sender.charset or ""
        tables = self.tables(sender.mappings, sender.terminology)
        state = State(header, sender, tables.library, self.id_key, None)
        state.build_resource = tables.compiler.resource
        state.zone = _zone(state)
        state.known["document"] = document
        tables.compiler.resource(PATIENT, header.data, state)
        for row in tables.objects:
            if row.test is None or row.test(header.data, state):
                tables.compiler.resource(row.table, header.data, state)
        state.issues.extend(losses(state, tables.tags))
        return self._finished(state, tables, at_us, sha256)

    def _finished(self, state: State, tables: _Tables, at_us: int | None, sha256: str) -> Converted:
        header, sender = state.header, state.sender
        issues = [*header.issues, *state.issues]
        resources = _valid(list(state.resources.values()), issues)
        stated = _stated(state)
        digest = tables.library.digest
        resources.append(
            provenance(
                resources,
                id_key=self.id_key,
                sender=sender,
                sha256=sha256 or header.sop_uid,
                mapping_digest=digest,
                recorded=stated[0] if stated else instant(time_ns() // 1000 if at_us is None else at_us),
                agents=[ASSEMBLER],
                what="object",
                display=f"DICOM object {header.sop_uid}",
            )
        )
        if not sha256:
            uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{header.sop_uid}"}
            resources[-1]["entity"][0]["what"]["identifier"] = uid
        made_valid(resources[-1], issues)
        return Converted(
            source=Source(
                "dicom",
                sender.name,
                sender.institution,
                header.sop_uid,
                header.sop_class,
                sha256,
                stated[1] if stated else None,
            ),
            resources=tuple(resources),
            issues=tuple(dict.fromkeys(issues)),
            patient_id=None if state.subject is None else state.subject["reference"].partition("/")[2],
            mapping_digest=digest,
        )


def _check(header: Header) -> None:
    """Raises DicomError for what is no object of a patient's study. What only the meta information says stays."""
    for tag, found in ((_SOP_CLASS, header.sop_class), (_SOP_UID, header.sop_uid)):
        if found and not header.data.text(tag):
            header.data.raw[tag] = ("UI", found.encode())
            header.issues.append(
                Issue("warning", "required", shown(tag), "taken from the file meta information")
            )
    if is_directory(header):
        raise DicomError("a directory of objects, not an object", shown(_SOP_CLASS))
    for tag, name, found in (
        (_SOP_CLASS, "SOP Class UID", header.sop_class),
        (_SOP_UID, "SOP Instance UID", header.sop_uid),
        (_STUDY_UID, "Study Instance UID", header.study_uid),
        (_SERIES_UID, "Series Instance UID", header.series_uid),
    ):
        if not found:
            raise DicomError(f"no {name}: this is no object of a patient's study", shown(tag))
        if not is_uid(found) or len(header.data.texts(tag)) > 1:
            raise DicomError(f"the {name} is not a UID", shown(tag))


def _zone(state: State) -> tzinfo | None:
    """Timezone Offset From UTC, else the sender's.

    Other forms of ISO 8601 that mean one offset only are read. One that cannot be read says that the object has an
    offset of its own, so the sender's would be a guess: its times are cut to their dates.
    """
    text = state.root.single(_OFFSET)
    if not text and not state.root.data(_OFFSET).strip(b" \0"):
        return zone(state.sender.zone)
    match = _OFFSET_TEXT.fullmatch("+0000" if text == "Z" else text)
    minutes = 0 if match is None else int(match[2]) * 60 + int(match[3] or 0)
    minutes = -minutes if text.startswith("-") else minutes
    if match is None or not _OFFSET_MIN <= minutes <= _OFFSET_MAX:
        problem = "not an offset from UTC: times without one of their own are cut to their dates"
        state.issues.append(Issue("warning", "value", "TimezoneOffsetFromUTC", problem))
        return None
    if len(text) != _OFFSET_LENGTH:
        problem = "an offset in another form (ISO 8601) was read"
        state.issues.append(Issue("information", "value", "TimezoneOffsetFromUTC", problem))
    return timezone(timedelta(minutes=minutes))


def _stated(state: State) -> tuple[str, int] | None:
    """When the object was made, where it says an instant, and the stamp of what it states."""
    for day, time in _STATED:
        text, clock = state.root.text(day), state.root.text(time)
        if text and state.zone is not None:
            try:
                found = moment_of(text, clock, state)
            except Unfit:
                continue
            if "T" in found:
                return found, latest_us(date_of(text) + clock_of(clock), found, state.zone)
    return None


_NEEDED = frozenset(("Patient", "ImagingStudy"))


def _valid(resources: Sequence[JsonObject], issues: list[Issue]) -> list[JsonObject]:
    """All that is valid, or can be made so; one statement that cannot does not keep the others out.

    Raises DicomError when the patient or the study is not valid.
    """
    kept: list[JsonObject] = []
    gone: set[str] = set()
    for resource in resources:
        try:
            made_valid(resource, issues)
            kept.append(resource)
        except SourceError as error:
            if resource["resourceType"] in _NEEDED:
                raise DicomError(error.text, error.place) from None
            gone.add(f"{resource['resourceType']}/{resource['id']}")
            issues.append(Issue("error", "invariant", error.place, f"left out: {error.text}"))
    return _valid([_without(one, gone) for one in kept], issues) if gone else kept


def _without(value: Any, gone: set[str]) -> Any:
    """A copy without references to what is gone, and without what has nothing else to say."""
    if isinstance(value, dict):
        made = {key: _without(item, gone) for key, item in value.items() if not _is_gone(item, gone)}
        return {key: item for key, item in made.items() if item not in ({}, [])}
    if isinstance(value, list):
        kept = (_without(item, gone) for item in value if not _is_gone(item, gone))
        return [item for item in kept if item != {}]
    return value


def _is_gone(item: Any, gone: set[str]) -> bool:
    return isinstance(item, dict) and item.get("reference") in gone


def _tables(library: Library, compiler: Compiler | None = None) -> _Tables:
    return _Tables(library, compiler or Compiler(library), dispatched(library), frozenset(modules(library)))
