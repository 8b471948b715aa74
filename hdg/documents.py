"""CDA documents and HL7 v3 messages through the gateway: converted, stored and answered, one transaction each.

A document is known by who sent it, its custodian and ClinicalDocument/id: what one institution sent is nothing to the
documents of another. The same bytes again are answered from the record;
other bytes under the same id are kept in quarantine, as is what cannot be converted: nothing received is thrown away.
An HL7 v3 message is known by its sending device and its number, and taken in the same way.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from hdg import merged, retraction, statements, superseded
from hdg.accepting import LEFT
from hdg.errors import CdaError, Issue, LedgerError
from hdg.fhir import json
from hdg.gateway import Gateway
from hdg.ingestion.cda.convert import Converter
from hdg.ingestion.cda.original import reference_id, replaced
from hdg.ingestion.converted import Converted, JsonObject
from hdg.ingestion.hl7v3.convert import Converter as Hl7v3Converter
from hdg.ingestion.hl7v3.message import EDITION
from hdg.ingestion.inbox import losses
from hdg.ingestion.received import origin_of, origin_text
from hdg.ingestion.sender import Facts, Origin, Sender
from hdg.ingestion.senders import sender_of
from hdg.ingestion.sniff import format_of
from hdg.management.store.inbox import Entry, mark, note_loss
from hdg.management.store.replaced import is_replaced, note_replaced
from hdg.management.store.session import WriteSession
from hdg.management.store.unit import InboxRow
from hdg.management.store.writer import NotCommitted, RowsRefused
from hdg.replaying import Replayed, replayed

__all__ = ["Documents", "Taken"]

_log = logging.getLogger("hdg.documents")
_PATIENT = "registrationEvent/subject1/patient"
_RELATED = "ClinicalDocument/relatedDocument"


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a document. ``status``: accepted or quarantined; ``resources``: how many it became.

    ``place`` and ``reason`` say why it was not accepted; ``is_repeat``: it was known already.
    """

    status: str
    control_id: str
    resources: int = 0
    place: str = ""
    reason: str = ""
    is_repeat: bool = False
    what: str = "document"

    @property
    def is_accepted(self) -> bool:
        """Stored with all its resources."""
        return self.status == "accepted"

    def issues(self) -> list[Issue]:
        """The outcome as issues, without a patient's value."""
        if self.is_accepted:
            said = "known already" if self.is_repeat else "stored"
            return [
                Issue("information", "informational", "", f"{self.what} {said}: {self.resources} resources")
            ]
        return [Issue("error", "processing", self.place, self.reason)]

    def receipt(self) -> bytes:
        """What the inbox keeps, for repeats."""
        return json.dumps({"status": self.status, "resources": self.resources, "reason": self.reason})


class Documents:
    """Takes documents in for one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._generation = gateway.senders.generation
        self._make_converters()

    def _make_converters(self) -> None:
        id_key = self._gateway.keys.id_key
        self._documents, self._messages = Converter(id_key=id_key), Hl7v3Converter(id_key=id_key)

    async def take(self, raw: bytes, origin: Origin) -> Taken:
        """Stores a document, or why it was refused; returns after the commit. Raises when nothing could be kept."""
        self._gateway.store.space.check()
        at_us = self._gateway.store.now_us()
        work = await asyncio.get_running_loop().run_in_executor(
            self._gateway.off_loop, self.work, raw, origin, at_us
        )
        try:
            return await self._gateway.store.perform(work)
        except Exception as error:
            return await self._gateway.store.perform(self._rescue(raw, origin, at_us, error))

    def take_now(self, raw: bytes, origin: Origin) -> Taken:
        """``take`` for callers without an event loop."""
        self._gateway.store.space.check()
        at_us = self._gateway.store.now_us()
        try:
            return self._gateway.store.submit(self.work(raw, origin, at_us)).result()
        except Exception as error:
            return self._gateway.store.submit(self._rescue(raw, origin, at_us, error)).result()

    def _rescue(
        self, raw: bytes, origin: Origin, at_us: int, error: Exception
    ) -> Callable[[WriteSession], Taken]:
        """The unit of work that keeps a document which cannot be stored as it was converted.

        Raises ``error`` when it is not the document's: then the sender is to send it again.
        """
        if isinstance(error, NotCommitted | LedgerError) and not isinstance(error, RowsRefused):
            raise error
        frames = traceback.extract_tb(error.__traceback__)
        _log.error(
            "storing failed: %s at %s:%s", type(error).__name__, frames[-1].filename, frames[-1].lineno
        )
        failure = CdaError(f"internal error while storing ({type(error).__name__})")
        institution = origin.institution or self._gateway.settings.institution
        return lambda session: self._quarantine(session, raw, origin, at_us, failure, institution=institution)

    def work(self, raw: bytes, origin: Origin, at_us: int) -> Callable[[WriteSession], Taken]:
        """Converts, and returns the unit of work that stores the outcome, good or bad."""
        try:
            converted = self.converted(raw, origin, at_us)
        except CdaError as error:
            failure = error
        except Exception as error:  # a defect of ours: the document is kept all the same
            frames = traceback.extract_tb(error.__traceback__)
            _log.error(
                "conversion failed: %s at %s:%s", type(error).__name__, frames[-1].filename, frames[-1].lineno
            )
            failure = CdaError(f"internal error while converting ({type(error).__name__})")
        else:
            return lambda session: self._accept(session, raw, origin, at_us, converted)
        institution = origin.institution or self._gateway.settings.institution
        return lambda session: self._quarantine(session, raw, origin, at_us, failure, institution=institution)

    def converted(self, raw: bytes, origin: Origin, at_us: int) -> Converted:
        """Raises CdaError."""
        if (
            self._generation != self._gateway.senders.generation
        ):  # tables and maps are read anew with the file
            self._generation = self._gateway.senders.generation
            self._make_converters()
        met: list[Sender] = []

        def declared(said: Facts) -> Sender:
            met.append(self._sender(said, origin))
            return met[-1]

        if format_of(raw) == "hl7v3":
            converted = self._messages.convert(raw, declared, at_us=at_us, with_original=True)
        else:
            converted = self._documents.convert(raw, declared, at_us=at_us, with_original=True)
        for sender in met:
            _check_declared(converted, sender)
        if all(resource["resourceType"] != "Patient" for resource in converted.resources):
            raise CdaError("the document says of nobody whom it is about", "ClinicalDocument/recordTarget")
        return converted

    def _sender(self, said: Facts, origin: Origin) -> Sender:
        """What is declared about the sender; a credential's institution goes before a table's."""
        settings = self._gateway.settings
        _, declared = self._gateway.senders.current().find_document(said, origin)
        found = sender_of(declared, "", origin.institution or settings.institution, settings.zone)
        return replace(found, institution=origin.institution) if origin.institution else found

    # --- replay ---------------------------------------------------------------------------------------------

    def replay(self, entry: Entry, raw: bytes, *, is_dry: bool = False) -> Replayed:
        """As ``Gateway.replay``: takes a document of the inbox again under today's tables."""
        origin = origin_of(entry.origin)
        try:
            converted = self.converted(raw, origin, entry.received_us)
        except CdaError as error:
            return Replayed(error)

        def store(session: WriteSession) -> None:
            if entry.status == "accepted":
                self._store(session, converted, entry.received_us)
                return
            taken = self._accept(session, raw, origin, entry.received_us, converted)
            if not taken.is_accepted:
                raise CdaError(taken.reason, taken.place)

        return replayed(self._gateway.store, entry, converted, store, is_dry=is_dry)

    def keep_edited(self, entry: Entry, raw: bytes) -> int:
        """Puts an operator's correction of a quarantined document beside it, in quarantine; its number."""
        origin = origin_of(entry.origin)
        institution = origin.institution or self._gateway.settings.institution
        text = f"edited by the operator from message {entry.ikey}"
        taken = Taken("quarantined", entry.control_id, reason=text)

        def work(session: WriteSession) -> int:
            mark(session, entry.ikey, "edited")
            return self._record(
                session, raw, origin, entry.received_us, taken, institution, None, sender=entry.sender
            )

        return self._gateway.store.submit(work).result()

    # --- one unit of work -----------------------------------------------------------------------------------

    def _accept(
        self, session: WriteSession, raw: bytes, origin: Origin, at_us: int, converted: Converted
    ) -> Taken:
        source = converted.source
        sender = _inbox_sender(source.institution, source.sender)
        known = session.inbox_find(sender, source.control_id) if source.control_id else None
        is_accepted = known is not None and known.status == "accepted"
        if known is not None and is_accepted and known.sha256 == source.sha256:
            return replace(self._taken(known), is_repeat=True, what=_what(source.format))
        if is_accepted or self._is_taken(session, converted):
            what = _what(source.format)
            place = "ClinicalDocument/id" if what == "document" else "id"
            error = CdaError(f"the id of the {what} was used before for another one", place)
            return self._quarantine(
                session, raw, origin, at_us, error, institution=source.institution, converted=converted
            )
        left = self._store(session, converted, session.in_order(at_us))
        taken = Taken("accepted", source.control_id, len(converted.resources), what=_what(source.format))
        ikey = self._record(session, raw, origin, at_us, taken, source.institution, converted, sender=sender)
        for loss in dict.fromkeys(losses(converted.issues)):
            note_loss(
                session, loss.kind, source.sender, source.message_type, loss.place, loss.text, ikey=ikey
            )
        for text in retraction.left_behind(session, converted):
            note_loss(session, LEFT, source.sender, source.message_type, _PATIENT, text, ikey=ikey)
        for text in left:
            note_loss(session, LEFT, source.sender, source.message_type, _RELATED, text, ikey=ikey)
        return taken

    def _store(self, session: WriteSession, converted: Converted, received_us: int) -> list[str]:
        """What the document states; those in whose place it stands are superseded, here or when they come.

        Those of another patient are left alone: whatever this one says, it is not about them. Returns what people
        should look at.
        """
        source = converted.source
        survivors = {one["id"] for one in converted.resources if merged.is_survivor(one)}
        resources = tuple(_as_it_stands(session, one, survivors) for one in converted.resources)
        statements.store_statements(session, replace(converted, resources=resources), received_us)
        merged.settle(session, converted.resources, survivors)
        composition = converted.resources[0]
        subject = composition.get("subject", {}).get("reference")
        if subject is None:
            return []
        left = []
        before = replaced(composition)
        for identifier in before:
            id_ = reference_id(self._gateway.keys.id_key, source.institution, identifier)
            known = session.current("DocumentReference", id_)
            if known is not None and composition.get("identifier") in _replaced_by(known):
                left.append(
                    "two documents each say that they replace the other: the one that came first stands"
                )
                continue
            note_replaced(session, id_, subject)
            if known is not None and known.get("subject") == composition["subject"]:
                session.statement(
                    {"resourceType": "DocumentReference", "id": id_, "status": "superseded"},
                    sender=source.sender,
                    institution=source.institution,
                    patient=converted.patient_id,
                )
        is_over = any(one is not known for one, known in zip(resources, converted.resources, strict=True))
        if not is_over:
            superseded.restore(session, converted, received_us)
        if (before or is_over) and superseded.withdraw(session, subject, received_us, source.institution):
            left.append(f"what only a replaced document said is {superseded.ERROR} now")
        return left

    def _is_taken(self, session: WriteSession, converted: Converted) -> bool:
        """Whether another document of the institution, of whatever custodian, is stored under this one's id."""
        first = converted.resources[0]
        identifier = first.get("identifier") if first["resourceType"] == "Composition" else None
        if identifier is None:
            return False
        id_ = reference_id(self._gateway.keys.id_key, converted.source.institution, identifier)
        return session.current("DocumentReference", id_) is not None

    @staticmethod
    def _taken(row: InboxRow) -> Taken:
        told = json.loads(row.ack)
        return Taken(row.status, row.control_id, told["resources"], row.place, row.reason)

    def _quarantine(
        self,
        session: WriteSession,
        raw: bytes,
        origin: Origin,
        at_us: int,
        error: CdaError,
        *,
        institution: str,
        converted: Converted | None = None,
    ) -> Taken:
        control_id = converted.source.control_id if converted else hashlib.sha256(raw).hexdigest()
        sender = _inbox_sender(institution, converted.source.sender if converted else _unknown(raw))
        taken = Taken("quarantined", control_id, 0, error.place, error.text)
        known = session.inbox_find(sender, control_id, hashlib.sha256(raw).hexdigest())
        if known is not None and (known.status, known.reason) == ("quarantined", error.text):
            return replace(taken, is_repeat=True)
        self._record(session, raw, origin, at_us, taken, institution, converted, sender=sender)
        return taken

    def _record(
        self,
        session: WriteSession,
        raw: bytes,
        origin: Origin,
        at_us: int,
        taken: Taken,
        institution: str,
        converted: Converted | None,
        *,
        sender: str,
    ) -> int:
        patient = converted.patient_id if converted is not None and taken.is_accepted else None
        return session.inbox_add(
            InboxRow(
                sender=sender,
                control_id=taken.control_id,
                sha256=hashlib.sha256(raw).hexdigest(),
                status=taken.status,
                received_us=at_us,
                blob=session.blob_put(raw, patient=patient, institution=institution),
                ack=taken.receipt(),
                reason=taken.reason,
                place=taken.place,
                origin=origin_text(origin),
            )
        )


def _replaced_by(reference: JsonObject) -> list[JsonObject]:
    """Identifiers of the documents that a stored one replaces."""
    return [
        one["target"].get("identifier", {})
        for one in reference.get("relatesTo", ())
        if one["code"] == "replaces"
    ]


def _as_it_stands(session: WriteSession, resource: JsonObject, survivors: Collection[str]) -> JsonObject:
    """The reference to a document that another one has replaced says so; a record that was merged stays out of use.

    ``survivors``: records into which this input merges others.
    """
    if resource["resourceType"] == "Patient":
        return merged.kept_out(session, resource, survivors)
    subject = resource.get("subject", {}).get("reference")
    if resource["resourceType"] != "DocumentReference" or subject is None:
        return resource
    if not is_replaced(session, resource["id"], subject):
        return resource
    return {**resource, "status": "superseded"}


def _check_declared(converted: Converted, sender: Sender) -> None:
    """Raises CdaError for what the sender's declaration refuses."""
    kind = converted.source.message_type
    if sender.documents and sender.documents.isdisjoint((kind, kind[:EDITION])):
        text = f"this sender is declared not to send a {_what(converted.source.format)} of this type"
        raise CdaError(text, "ClinicalDocument/code" if _what(converted.source.format) == "document" else "/")
    if sender.is_strict:
        for loss in losses(converted.issues):
            raise CdaError(f"strict: {loss.kind}: {loss.text}", loss.place)


def _inbox_sender(institution: str, sender: str) -> str:
    """By what name the inbox knows a sender: the custodian is what a document says of itself, anybody's to claim."""
    return f"{institution}|{sender}"


def _what(format_name: str) -> str:
    return "message" if format_name == "hl7v3" else "document"


def _unknown(raw: bytes) -> str:
    """Who sent what cannot be read."""
    return "hl7v3|unreadable" if format_of(raw) == "hl7v3" else "cda|unreadable"
