"""HL7 v2 bytes to FHIR R4: parse, group, map, identify, link, validate. Pure: no I/O beyond reading tables
once.

Deterministic: the same bytes, sender and key give the same Converted (but for Provenance.recorded when MSH-7
does not tell an instant). DESIGN §3, §4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from hdg.errors import Hl7v2Error, Issue, SourceError
from hdg.fhir.validate import is_accepted, refused
from hdg.ingestion.converted import Converted, JsonObject, Source
from hdg.ingestion.device.pcd_profile import TABLE, profiled
from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.answering import answers_of, is_answer
from hdg.ingestion.hl7v2.deletes import Feeds, deletions
from hdg.ingestion.hl7v2.families import link_families
from hdg.ingestion.hl7v2.filling import fill
from hdg.ingestion.hl7v2.finish import Linker, defaulted, identify
from hdg.ingestion.hl7v2.grammar import requires
from hdg.ingestion.hl7v2.groups import Grouped, group
from hdg.ingestion.hl7v2.message import MessageProgram, answers, message_program, structure_of
from hdg.ingestion.hl7v2.parser import Message, parse
from hdg.ingestion.hl7v2.primitives import plain
from hdg.ingestion.hl7v2.provenance import provenance
from hdg.ingestion.hl7v2.replaced import link_replaced
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.hl7v2.stated import stated_us
from hdg.ingestion.hl7v2.without import Blank, without
from hdg.ingestion.repair import made_valid
from hdg.ingestion.sender import Sender
from hdg.ingestion.times import zone
from hdg.mapping.compile import Compiler
from hdg.mapping.context import Build, Shared
from hdg.mapping.library import Library
from hdg.mapping.remembered import Remembered
from hdg.mapping.views import SHIPPED, Views

if TYPE_CHECKING:
    from hdg.ingestion.device.pcd import Containment

UNSUPPORTED_MESSAGE, UNSUPPORTED_EVENT = "200", "201"
"""HL7 table 0357."""
_SENDERS_MAX: Final = 16
_NOBODY: Final = "the message names no patient: what it says belongs to nobody"


def sender_of(message: Message) -> str:
    """``MSH-3.1|MSH-4.1``: the name by which settings know a sender."""
    return _unknown_sender(message).name


class _Tables:
    """One library with its compiled programs."""

    def __init__(self, library: Library, *, is_tracing: bool) -> None:
        self.library = library
        self.grammar = V2Grammar()
        self.compiler = Compiler(library, self.grammar, is_tracing=is_tracing, answers=answers)
        self._shared: dict[Any, Shared] = {}
        self._fields: dict[Any, Remembered[Any]] = {}
        self._programs: dict[tuple[str, str, str], tuple[str, MessageProgram] | None] = {}

    def program(self, message_type: tuple[str, str, str]) -> tuple[str, MessageProgram] | None:
        """(structure, program) for MSH-9, or None."""
        if message_type not in self._programs:
            if len(self._programs) > 1000:  # MSH-9 is the sender's text: bound what it can make us keep
                self._programs.clear()
            self._programs[message_type] = self._find(message_type)
        return self._programs[message_type]

    def shared(self, sender: Sender) -> Shared:
        """Pure results that messages of one sender share. A hospital's systems send the same patients: what fields'
        texts became is shared by all senders that declare the same.
        """
        authorities = frozenset(sender.authorities.items()) if sender.authorities else None
        key = (sender.name, sender.institution, sender.zone, authorities)
        found = self._shared.get(key)
        if found is None:
            if len(self._shared) >= _SENDERS_MAX:
                self._shared.clear()
                self._fields.clear()
            fields = self._fields.setdefault((sender.zone, authorities), Remembered())
            found = self._shared[key] = Shared(fields)
        return found

    def _find(self, message_type: tuple[str, str, str]) -> tuple[str, MessageProgram] | None:
        found = structure_of(self.library, *message_type)
        program = message_program(found[1], self.compiler, self.grammar) if found else None
        return None if found is None or program is None else (found[0], program)


class Converter:
    """Converts messages with one id key. Tables are read and compiled when a message first needs them.

    May be shared between threads; processes each make their own.
    """

    def __init__(self, *, id_key: bytes, library: Library | None = None, is_tracing: bool = False) -> None:
        self.id_key = id_key
        self._is_tracing = is_tracing
        self._tables = Views("hl7v2", lambda library: _Tables(library, is_tracing=is_tracing))
        if library is not None:
            self._tables[SHIPPED] = _Tables(library, is_tracing=is_tracing)

    def tables(self, override: Path | None, maps: Path | None = None) -> _Tables:
        """The compiled tables seen through an override directory and a site's own concept maps."""
        return self._tables[override, maps]

    def convert(self, data: bytes, sender: Sender | None = None, *, at_us: int | None = None) -> Converted:
        """Convert one message. ``at_us``: time of receipt, µs since the epoch (default: now).

        Raises Hl7v2Error: not a message, no table maps it, or no valid resource can be made of it.
        """
        converted, state = self.run(data, sender, at_us=at_us)
        if state.group is not None:
            state.group.dissolve()
        return converted

    def run(
        self,
        data: bytes,
        sender: Sender | None = None,
        *,
        at_us: int | None = None,
        blanks: Collection[Blank] = (),
    ) -> tuple[Converted, State]:
        """``convert`` that also hands over the state, for coverage and explain. ``blanks``: fields to leave out."""
        message = parse(data, charset=sender.charset if sender else None)
        if blanks:
            message = without(message, blanks)
        sender = sender or _unknown_sender(message)
        tables, found = self._program(message, sender)
        if found is None:
            raise _unsupported(message, tables)
        state = State(message, sender, tables.compiler, self.id_key, zone(sender.zone))
        if self._is_tracing:
            state.memo, state.trace = None, []
        else:
            state.shared = tables.shared(sender)
            state.values = state.shared.fields
            state.speaker = f"{sender.name}|{sender.institution}"
        grouped = group(message.segments, found[0], state.issues)
        if requires(found[0], "MRG"):
            _check_merge(grouped)
        if found[1].is_about_patients and message.first("PID") is None:
            state.issues.append(Issue("warning", "required", "PID", _NOBODY))
        contained = _containment(grouped, state) if found[1].table.name == TABLE else None
        builds = fill(grouped, found[1], state)
        if contained is not None:
            builds = contained.assemble(builds)
        sha256 = hashlib.sha256(data).hexdigest()
        identify(builds, state, sha256)
        linker = Linker(state)
        for build in builds:
            linker.link(build)
        if contained is None or contained.has_parents:
            link_families(builds, state)
        link_replaced(builds, state)
        answered = [build for build in builds if is_answer(build)]
        told = answers_of(answered, grouped, state) if answered else ()
        if answered:
            builds = [build for build in builds if not is_answer(build)]
        begun = _begun(builds)
        things = _things(builds, state)
        resources = [*begun, *things]
        digest = tables.library.digest
        source = provenance(resources, state, sha256, digest, time_ns() // 1000 if at_us is None else at_us)
        _validate(begun, state)
        _validate_things(things, state)
        _validate_source(source, state)
        resources.append(source)
        special = [build for build in builds if ":" in build.label]
        converted = Converted(
            source=_source(message, sender, sha256, state),
            resources=tuple(resources),
            deletions=deletions(builds, state.nulls, found[1], state.taken_back),
            defaulted=defaulted(builds),
            moved=tuple((build.type, build.id) for build in special if build.label.endswith(":moved")),
            deleted=tuple((build.type, build.id) for build in special if build.label.endswith(":deleted")),
            answers=told,
            issues=tuple(dict.fromkeys(state.issues)),
            patient_id=next((build.id for build in builds if build.type == "Patient"), None),
            mapping_digest=digest,
        )
        return converted, state

    def feeds(self, message: Message, sender: Sender) -> Feeds | None:
        """Which fields of a message feed which elements; None when no table maps it."""
        _, found = self._program(message, sender)
        return None if found is None else found[1].feeds()

    def _program(self, message: Message, sender: Sender) -> tuple[_Tables, tuple[str, MessageProgram] | None]:
        tables = self.tables(sender.mappings, sender.terminology)
        return tables, tables.program(profiled(message)) or tables.program(message.message_type)


def _check_merge(grouped: Grouped) -> None:
    """Raises Hl7v2Error for a record with nothing that is merged into it, moved to it or renumbered: the event says
    nothing but that (HL7 v2.9 §3.3.18, §3.3.30 to §3.3.51).
    """
    for segment, place in grouped.placed:
        if segment.name == "PID" and not any(one.first("MRG") for one in (place, *place.children)):
            raise Hl7v2Error("no MRG beside PID: the event names no prior number", "MRG", condition="100")


def _validate(resources: Sequence[JsonObject], state: State) -> None:
    """Validate resources and repair what can be. Raises Hl7v2Error: one cannot be made valid."""
    trusted = None if state.values is None else state.values.trusted
    for index in refused(resources, trusted):
        _repair(resources[index], state)


def _repair(resource: JsonObject, state: State) -> bool:
    """Whether a resource that has to be looked at in full is right as it is."""
    trusted = None if state.values is None else state.values.trusted
    mark = len(state.issues)
    try:
        made_valid(resource, state.issues, trusted)
    except SourceError as error:
        raise Hl7v2Error(error.text, error.place) from None
    return len(state.issues) == mark


def _validate_things(things: Sequence[JsonObject], state: State) -> None:
    """``_validate`` for people and places: what a text made, and nothing else was said about, is validated once for all
    messages that have the text.
    """
    trusted = None if state.values is None else state.values.trusted
    for resource in things:
        part = state.parts.get((resource["resourceType"], resource["id"]))
        if part is not None and part.is_valid:
            continue
        is_valid = is_accepted(resource, trusted) or _repair(resource, state)
        if part is not None:
            part.is_valid = is_valid


def _validate_source(source: JsonObject, state: State) -> None:
    """``_validate`` for the Provenance, whose targets are all written alike, each from a resource that is valid by now:
    one of them speaks for all.
    """
    trusted = None if state.values is None else state.values.trusted
    if not is_accepted({**source, "target": source["target"][:1]}, trusted):
        _repair(source, state)


def _containment(grouped: Grouped, state: State) -> Containment:
    from hdg.ingestion.device.pcd import Containment  # it takes long to import, and few messages need it

    return Containment(grouped, state)


def _unknown_sender(message: Message) -> Sender:
    header = message.segments[0]
    return _sender_named(header.field(3), header.field(4))


@lru_cache(maxsize=_SENDERS_MAX)
def _sender_named(application: str, facility: str) -> Sender:
    name, institution = (text.partition("^")[0].strip() for text in (application, facility))
    return Sender(f"{name}|{institution}", institution or "local")


def _unsupported(message: Message, tables: _Tables) -> Hl7v2Error:
    code, _, _ = message.message_type
    triggers = tables.library.table("messages", "triggers")
    knows_code = any(rule.source.startswith(f"{code}^") for rule in triggers.rules) if triggers else False
    return Hl7v2Error(
        "no table maps this message type",
        "MSH-9",
        condition=UNSUPPORTED_EVENT if knows_code else UNSUPPORTED_MESSAGE,
        is_rejection=True,
    )


def _source(message: Message, sender: Sender, sha256: str, state: State) -> Source:
    return Source(
        format="hl7v2",
        sender=sender.name,
        institution=sender.institution,
        control_id=message.control_id,
        message_type="^".join(part for part in message.message_type if part),
        sha256=sha256,
        stated_us=stated_us(message, state.zone),
    )


def _begun(builds: list[Build]) -> list[JsonObject]:
    """Each resource of segments once, in message order: builds of one id have one resource since they have it."""
    return list({id(build.resource): build.resource for build in builds}.values())


def _things(builds: list[Build], state: State) -> list[JsonObject]:
    """The people and places that no segment began."""
    if not state.things:
        return []
    seen = {build.id for build in builds}  # no two types share an id: hdg.fhir.ids
    return [resource for (_, identity), resource in state.things.items() if identity not in seen]


__all__ = ["Converter", "plain", "sender_of"]
