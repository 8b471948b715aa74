"""HL7 v3 registry messages to FHIR R4: read, walk by the tables, identify, validate. Pure, as for CDA.

Deterministic: the same bytes, sender and key give the same Converted. What a registration says is a partial statement:
what it leaves out stays as it is; updateMode D removes (updates.py). DESIGN §3, §4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns

from hdg.errors import Hl7v3Error, Issue, SourceError
from hdg.fhir.urns import spellings
from hdg.ingestion.cda.compile import Compiler
from hdg.ingestion.cda.convert import Converter as CdaConverter
from hdg.ingestion.cda.losses import losses
from hdg.ingestion.cda.roots import make_roots
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import Element, children
from hdg.ingestion.converted import Converted, Defaulted, Deletion, JsonObject, Source
from hdg.ingestion.hl7v3 import named as _named  # noqa: F401  registers its converters
from hdg.ingestion.hl7v3.care_record import CARE_RECORDS, record_in
from hdg.ingestion.hl7v3.carried import DOCUMENT, document_in
from hdg.ingestion.hl7v3.identity import key_of, patient_key, prior_ids
from hdg.ingestion.hl7v3.message import (
    EDITION,
    INTERACTIONS,
    MERGE,
    NULLIFY,
    REGISTERED,
    Message,
    below,
    opened,
    registrations,
)
from hdg.ingestion.hl7v3.provenance import provenance
from hdg.ingestion.hl7v3.updates import deletions, removed
from hdg.ingestion.repair import made_valid
from hdg.ingestion.sender import Declare, Facts, Sender
from hdg.ingestion.times import to_datetime, zone
from hdg.mapping.context import Unfit
from hdg.mapping.library import Library
from hdg.mapping.views import SHIPPED, Views

__all__ = ["FORMAT", "Converter"]

FORMAT = "hl7v3"
_TAKEN = frozenset(name[:EDITION] for name in INTERACTIONS)
_NULLIFIED = REGISTERED | {"nullified"}


@dataclass(frozen=True, slots=True)
class _Tables:
    library: Library
    compiler: Compiler


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said beside resources."""

    focus: list[JsonObject]
    deleted: list[Deletion]
    defaulted: list[Defaulted]
    custodians: list[JsonObject]
    nullified: list[tuple[str, str]]


class Converter:
    """Converts messages with one id key. Tables are read and compiled when a message first needs them.

    ``compiler``: for senders without tables of their own, in place of the shipped tables.
    """

    def __init__(self, *, id_key: bytes, compiler: Compiler | None = None) -> None:
        self.id_key = id_key
        self._documents = CdaConverter(id_key=id_key)
        self._tables = Views(FORMAT, lambda library: _Tables(library, Compiler(library)))
        if compiler is not None:
            self._tables[SHIPPED] = _Tables(compiler.library, compiler)

    def tables(self, override: Path | None, maps: Path | None = None) -> _Tables:
        """The compiled tables seen through an override directory and a site's own concept maps."""
        return self._tables[override, maps]

    def convert(
        self,
        data: bytes,
        sender: Sender | Declare | None = None,
        *,
        at_us: int | None = None,
        with_original: bool = False,
    ) -> Converted:
        """Convert one message. ``at_us``: time of receipt, µs since the epoch (default: now).

        A message that carries a document becomes what the document becomes; ``with_original`` is for that one.

        ``sender``: as for a document; one without a name is called by the sending device, without institution by the
        custodian.

        Raises Hl7v3Error: no XML, no message that is taken in, no patient in it, or nothing valid can be made of it.
        """
        return self.run(data, sender, at_us=at_us, with_original=with_original)[0]

    def run(
        self,
        data: bytes,
        sender: Sender | Declare | None = None,
        *,
        at_us: int | None = None,
        with_original: bool = False,
    ) -> tuple[Converted, State | None]:
        """``convert``, and the state in which it ended; None for a document that a message carries."""
        issues: list[Issue] = []
        message = opened(data, issues)
        message.check_name()
        if message.interaction.startswith((DOCUMENT, *CARE_RECORDS)):
            return self._document(data, message, sender, issues, at_us, with_original), None
        events = _events(message)
        if callable(sender):
            sender = sender(_facts(message))
        make_roots(message.tree)
        sender = _sender(sender or Sender("", ""), message)
        tables = self.tables(sender.mappings, sender.terminology)
        state = State(message.tree, sender, tables.library, self.id_key, zone(sender.zone), issues)
        state.build_resource = tables.compiler.resource
        sha256 = hashlib.sha256(data).hexdigest()
        state.known["sha256"] = sha256
        said = _Said([], [], [], [], [])
        head = tables.compiler.resource("message.MessageHeader", message.root, state)
        for event in events:
            if message.interaction.startswith(NULLIFY):
                _nullify(event, tables.compiler, state, said)
            else:
                _register(event, tables.compiler, state, said)
        issues.extend(losses(state))
        issues.extend(_undated(state))
        resources = _headed(state, head, said.focus)
        stated = state.stated("creationTime")
        recorded = None if stated is None else stated[0]
        recorded_us = time_ns() // 1000 if at_us is None else at_us
        digest = tables.library.digest
        resources.append(
            provenance(resources, state, message, sha256, digest, recorded, recorded_us, said.custodians)
        )
        _made_valid(resources, issues)
        patients = [one["reference"].partition("/")[2] for one in said.focus]
        stated_us = None if stated is None else stated[1]
        number, kind = message.control_id, message.interaction
        converted = Converted(
            source=Source(FORMAT, sender.name, sender.institution, number, kind, sha256, stated_us),
            resources=tuple(resources),
            deletions=tuple(said.deleted),
            defaulted=tuple(said.defaulted),
            deleted=tuple(said.nullified),
            issues=tuple(dict.fromkeys(issues)),
            patient_id=patients[0] if len(events) == 1 else None,
            mapping_digest=digest,
        )
        return converted, state

    def _document(
        self,
        data: bytes,
        message: Message,
        sender: Sender | Declare | None,
        issues: list[Issue],
        at_us: int | None,
        with_original: bool,
    ) -> Converted:
        """What the document that a message carries becomes; known by the number of the message."""
        is_record = message.interaction.startswith(CARE_RECORDS)
        inner = record_in(message) if is_record else document_in(message)
        device = _facts(message)["device"]
        make_roots(message.tree)

        def named(said: Facts) -> Sender:
            """The sender of the document: what the message around it says counts too."""
            by_message = {**said, "device": device}
            declared = sender(by_message) if callable(sender) else sender or Sender("", "")
            return replace(declared, name=_sender(declared, message).name)

        found = self._documents.convert(
            inner, named, at_us=at_us, with_original=with_original and not is_record
        )
        what = "care record, which was read as a document" if is_record else "document"
        text = f"the message around the {what} was not carried over"
        issues.append(Issue("information", "informational", "controlActProcess", text))
        source = replace(
            found.source,
            format=FORMAT,
            control_id=message.control_id,
            message_type=message.interaction,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        return replace(found, source=source, issues=tuple(dict.fromkeys((*issues, *found.issues))))


def _facts(message: Message) -> Facts:
    """What a message says of who sends it."""
    numbers = {"device": message.sender, "custodian": message.keeper}
    return {name: _spelled(text.replace("^", "|")) if text else [] for name, text in numbers.items()}


def _spelled(number: str) -> list[str]:
    """A root, and with its extension if it has one; UUIDs in each letter case in which senders.toml may have them."""
    root, bar, extension = number.partition("|")
    return [*spellings(root), *(f"{one}{bar}{extension}" for one in spellings(root))]


def _sender(sender: Sender, message: Message) -> Sender:
    return replace(
        sender,
        name=sender.name or f"hl7v3|{message.sender or 'unnamed'}",
        institution=sender.institution or message.keeper or "local",
    )


def _events(message: Message) -> list[Element]:
    """The registrations of a message. Raises Hl7v3Error for one that cannot be taken in."""
    if message.interaction[:EDITION] not in _TAKEN:
        raise Hl7v3Error(f"the interaction {message.interaction} is not supported", "/")
    events = registrations(message.root)
    if not events:
        codes = [
            one.get("code", "") for one in below(message.root, *_RESPONSE) if one.get("code", "").isalpha()
        ]
        answer = f" (queryResponseCode {codes[0]})" if codes else ""
        raise Hl7v3Error(f"the message holds no patient{answer}", "controlActProcess/subject")
    for event in events:
        status = next((one.get("code", "").lower() for one in children(event, "statusCode")), "")
        if status not in (_NULLIFIED if message.interaction.startswith(NULLIFY) else REGISTERED):
            text = "a registration that is not active is not supported"
            raise Hl7v3Error(text, f"{message.tree.place_of(event)}/statusCode")
        if len(list(below(event, "subject1", "patient"))) != 1:
            raise Hl7v3Error("a registration is of one patient", f"{message.tree.place_of(event)}/subject1")
        _check_merge(event, message)
    kept = [patient_key(patient) for event in events for patient in below(event, "subject1", "patient")]
    for one in (one for event in events for one in prior_ids(event)):
        if key_of(one) in kept:
            raise Hl7v3Error("a record cannot be merged and stay at once", message.tree.place_of(one))
    return events


def _check_merge(event: Element, message: Message) -> None:
    """Raises Hl7v3Error unless each earlier registration says whose it was; also where it is no message of merges."""
    prior = list(below(event, "replacementOf", "priorRegistration"))
    if prior and message.interaction.startswith(NULLIFY):
        text = "a registration in error cannot stand in the place of another one"
        raise Hl7v3Error(text, message.tree.place_of(prior[0]))
    if not prior and message.interaction.startswith(MERGE):
        raise Hl7v3Error(
            "nothing says which record was merged", f"{message.tree.place_of(event)}/replacementOf"
        )
    for one in prior:
        if not any(key_of(id_) for id_ in below(one, "subject1", "priorRegisteredRole", "id")):
            raise Hl7v3Error("no usable prior patient identifier", message.tree.place_of(one))


_RESPONSE = ("controlActProcess", "queryAck", "queryResponseCode")


def _register(event: Element, compiler: Compiler, state: State, said: _Said) -> None:
    """One registration: the patient, who belongs to them, and the records in whose place this one stands."""
    for status in (
        *children(event, "statusCode"),
        *below(event, "replacementOf", "priorRegistration", "statusCode"),
    ):
        state.mark(status)
    (patient,) = below(event, "subject1", "patient")
    state.subject = None
    known_by = patient_key(patient)
    names = removed(patient, compiler.program("patient.Patient"), state)
    if patient_key(patient) != known_by:
        text = "the number that the record is known by is to be removed: a merge would say what becomes of it"
        raise Hl7v3Error(text, state.place_of(patient))
    made = _patient(patient, compiler, state)
    state.subject = made
    _focus(made, said)
    said.deleted.extend(deletions("Patient", made["reference"], names, state))
    for relation in below(patient, "patientPerson", "personalRelationship"):
        if relation.get("updateMode") == "I":
            state.mark(relation)
            continue
        table = "personalRelationship.RelatedPerson"
        names = removed(relation, compiler.program(table), state)
        related = compiler.resource(table, relation, state)
        if related is not None:
            said.deleted.extend(deletions("RelatedPerson", related["reference"], names, state))
    for one in prior_ids(event):
        prior = compiler.resource("prior.Patient", one, state)
        if prior is not None:
            _focus(prior, said)
            id_ = prior["reference"].partition("/")[2]
            said.defaulted.append(Defaulted("Patient", id_, "identifier"))
    _custodians(event, compiler, state, said)


def _custodians(event: Element, compiler: Compiler, state: State, said: _Said) -> None:
    for keeper in below(event, "custodian", "assignedEntity"):
        organization = compiler.resource("custodian.Organization", keeper, state)
        if organization is not None and organization not in said.custodians:
            said.custodians.append(organization)


def _patient(patient: Element, compiler: Compiler, state: State) -> JsonObject:
    made = compiler.resource("patient.Patient", patient, state)
    if made is None:
        raise Hl7v3Error("nothing is said of the patient", state.place_of(patient))
    return made


def _nullify(event: Element, compiler: Compiler, state: State, said: _Said) -> None:
    """A registration that was made in error: its record is deleted, as A29 of HL7 v2 does."""
    for status in children(event, "statusCode"):
        state.mark(status)
    (patient,) = below(event, "subject1", "patient")
    made = _patient(patient, compiler, state)
    _focus(made, said)
    said.nullified.append(("Patient", made["reference"].partition("/")[2]))
    _custodians(event, compiler, state, said)


def _undated(state: State) -> Iterator[Issue]:
    """A creationTime that is no time, so that the message counts as one of the time when it came in."""
    for time in children(state.root, "creationTime"):
        try:
            to_datetime(time.get("value", "").strip(), state.zone)
        except Unfit as unfit:
            if unfit.kept is None and time.get("nullFlavor") is None:
                text = "no time: the message counts as if it had been made when it came in"
                yield Issue("warning", "value", state.place_of(time), text)


def _focus(reference: JsonObject, said: _Said) -> None:
    if reference not in said.focus:
        said.focus.append(reference.copy())


def _headed(state: State, head: JsonObject | None, focus: list[JsonObject]) -> list[JsonObject]:
    """All resources, the message first, which says whom it is about."""
    if head is None:
        return list(state.resources.values())
    key = ("MessageHeader", head["reference"].partition("/")[2])
    first = state.resources[key]
    first["focus"] = focus
    return [first, *(one for name, one in state.resources.items() if name != key)]


def _made_valid(resources: list[JsonObject], issues: list[Issue]) -> None:
    """Mends what can be mended. Raises Hl7v3Error."""
    for resource in resources:
        try:
            made_valid(resource, issues)
        except SourceError as error:
            raise Hl7v3Error(error.text, error.place) from None
