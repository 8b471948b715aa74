"""Data of personal health devices through the gateway: converted piece by piece, stored, answered.

An input is known by its digest; the same bytes again are answered from the record. What fits into one piece, as all
that a device's gateway sends does, is one transaction. A larger export is several: each is right by itself, and the
inbox row that makes it accepted is in the last, so that whoever was not answered sends it again and nothing is doubled.
What cannot be converted is kept in quarantine with its reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from hdg import statements
from hdg.documents import Taken
from hdg.errors import DeviceError, LedgerError
from hdg.fhir import json
from hdg.fhir.times import instant
from hdg.gateway import Gateway
from hdg.ingestion.converted import Converted
from hdg.ingestion.device.convert import Converter, Input
from hdg.ingestion.device.kinds import HEAD_BYTES, kind_of
from hdg.ingestion.inbox import losses
from hdg.ingestion.received import origin_of, origin_text
from hdg.ingestion.sender import Origin, Sender
from hdg.management.patient_signature import signature
from hdg.management.store.inbox import Entry, mark, note_loss
from hdg.management.store.session import WriteSession
from hdg.management.store.unit import InboxRow
from hdg.management.store.writer import NotCommitted, RowsRefused
from hdg.replaying import Replayed, replayed

__all__ = ["PREFIX", "Devices", "is_of_device"]

PREFIX = "device|"
"""How the inbox's senders of such data begin, behind their institution."""

_log = logging.getLogger("hdg.devices")
_END = object()


def is_of_device(entry: Entry) -> bool:
    """Whether an inbox row holds data of devices."""
    return entry.sender.partition("|")[2].startswith(PREFIX)


@dataclass(frozen=True, slots=True)
class _Input:
    """What arrived. ``sender``: by what name the inbox knows it."""

    raw: bytes
    sha256: str
    origin: Origin
    institution: str
    sender: str
    at_us: int


class Devices:
    """Takes data of devices in for one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._generation = gateway.senders.generation
        self._converter = Converter(id_key=gateway.keys.id_key)

    async def take(self, raw: bytes, origin: Origin) -> Taken:
        """Stores the data, or why they were refused; returns after the commit. Raises when nothing could be kept."""
        gateway = self._gateway
        gateway.store.space.check()
        given = self._given(raw, origin, gateway.store.now_us())
        known = await gateway.store.perform(lambda session: self._known(session, given))
        if known is not None:
            return known
        loop = asyncio.get_running_loop()
        pieces = self._pieces(given)
        total, patients = 0, set[str | None]()
        try:
            piece = await loop.run_in_executor(gateway.off_loop, next, pieces, _END)
            while isinstance(piece, Converted):
                following = await loop.run_in_executor(gateway.off_loop, next, pieces, _END)
                total += len(piece.resources)
                patients.add(piece.patient_id)
                owner = (
                    piece.patient_id if len(patients) == 1 else None
                )  # nobody's key for what is several people's
                work = self._work(given, piece, total if following is _END else None, owner)
                taken = await gateway.store.perform(work)
                if following is _END:
                    return taken
                piece = following
        except Exception as error:
            failure = self._failure(error)
            return await gateway.store.perform(lambda session: self._quarantine(session, given, failure))
        raise DeviceError("holds nothing")  # pieces() gives one, or raises

    def _given(self, raw: bytes, origin: Origin, at_us: int) -> _Input:
        institution = origin.institution or self._gateway.settings.institution
        kind = kind_of(raw[:HEAD_BYTES]) or "unreadable"
        who = f"patient|{origin.patient}" if origin.is_patient else origin.listener or "local"
        sha256 = hashlib.sha256(raw).hexdigest()
        return _Input(raw, sha256, origin, institution, f"{institution}|{PREFIX}{kind}|{who}", at_us)

    def _pieces(self, given: _Input) -> Iterator[Converted]:
        if self._generation != self._gateway.senders.generation:  # tables are read anew with the file
            self._generation = self._gateway.senders.generation
            self._converter = Converter(id_key=self._gateway.keys.id_key)
        origin = given.origin
        source = Input.of_bytes(
            given.raw, patient=origin.patient, is_reported=True if origin.is_patient else None
        )
        sender = Sender("", given.institution, zone=self._gateway.settings.zone)
        return self._converter.pieces(source, sender, at_us=given.at_us)

    @staticmethod
    def _failure(error: Exception) -> DeviceError:
        """Why it was refused. Raises ``error`` when it is not the input's: then it is to be sent again."""
        if isinstance(error, DeviceError):
            return error
        if isinstance(error, NotCommitted | LedgerError) and not isinstance(error, RowsRefused):
            raise error
        frames = traceback.extract_tb(error.__traceback__)
        _log.error("failed: %s at %s:%s", type(error).__name__, frames[-1].filename, frames[-1].lineno)
        return DeviceError(f"internal error ({type(error).__name__})")

    # --- replay -----------------------------------------------------------------------------------------------

    def replay(self, entry: Entry, raw: bytes, *, is_dry: bool = False) -> Replayed:
        """As ``Gateway.replay``: takes an input of the inbox again under today's tables, all of it at once."""
        given = self._given(raw, origin_of(entry.origin), entry.received_us)
        try:
            pieces = list(self._pieces(given))
        except DeviceError as error:
            return Replayed(error)
        resources = tuple(chain.from_iterable(piece.resources for piece in pieces))
        several = len({piece.patient_id for piece in pieces}) > 1
        owner = None if several else pieces[0].patient_id
        whole = replace(pieces[0], resources=resources, patient_id=owner)

        def accept(session: WriteSession) -> None:
            for number, piece in enumerate(pieces, 1):
                if entry.status == "accepted":
                    self._store(session, given, piece)
                else:
                    total = len(resources) if number == len(pieces) else None
                    self._work(given, piece, total, owner)(session)

        return replayed(self._gateway.store, entry, whole, accept, is_dry=is_dry)

    def keep_edited(self, entry: Entry, raw: bytes) -> int:
        """Puts an operator's correction of quarantined data beside them, in quarantine; its number."""
        given = replace(self._given(raw, origin_of(entry.origin), entry.received_us), sender=entry.sender)
        text = f"edited by the operator from message {entry.ikey}"
        taken = Taken("quarantined", given.sha256, reason=text, what="data")

        def work(session: WriteSession) -> int:
            mark(session, entry.ikey, "edited")
            return self._record(session, given, taken, None)

        return self._gateway.store.submit(work).result()

    # --- one unit of work ---------------------------------------------------------------------------------------

    def _work(
        self, given: _Input, piece: Converted, total: int | None, owner: str | None
    ) -> Callable[[WriteSession], Taken]:
        """``total``: how many resources the whole input became, with its last piece; ``owner``: whose the input is."""

        def work(session: WriteSession) -> Taken:
            known = self._known(session, given)
            if known is not None:  # the same bytes came twice at once
                return known
            self._store(session, given, piece)
            taken = Taken("accepted", given.sha256, total or 0, what="data")
            ikey = 0
            if total is not None:
                ikey = self._record(session, given, taken, owner)
            for loss in dict.fromkeys(losses(piece.issues)):
                kind, sender = piece.source.message_type, piece.source.sender
                note_loss(session, loss.kind, sender, kind, loss.place, loss.text, ikey=ikey)
            return taken

        return work

    def _store(self, session: WriteSession, given: _Input, piece: Converted) -> None:
        """Stores a piece about a patient who is known here, or whom it brings. Raises DeviceError."""
        resources = list(piece.resources)
        if not resources:
            return
        patient = piece.patient_id or ""
        brought = [one for one in resources if one["resourceType"] == "Patient" and one["id"] == patient]
        is_known = session.current("Patient", patient) is not None
        state = session.batch.states.get(("Patient", patient))
        if (
            is_known
            and state is not None
            and not given.origin.is_patient
            and state.institution != given.institution
        ):
            is_known = False  # another institution's patient, which looks as if there were none
            brought = []
        if not is_known and not brought:
            raise DeviceError("no such patient")
        if is_known and brought:
            resources = [one for one in resources if one not in brought]
        stamped = session.in_order(given.at_us)
        if not given.origin.is_patient:
            statements.store_statements(session, replace(piece, resources=tuple(resources)), stamped)
            return
        targets = [one for one in resources if one["resourceType"] != "Provenance"]
        statements.store_statements(session, replace(piece, resources=tuple(targets)), stamped)
        signed = tuple(
            self._signed(session, one, targets, patient)
            for one in resources
            if one["resourceType"] == "Provenance"
        )
        statements.store_statements(session, replace(piece, resources=signed), stamped)

    def _signed(
        self,
        session: WriteSession,
        provenance: dict[str, object],
        targets: Sequence[dict[str, object]],
        patient: str,
    ) -> dict[str, object]:
        """The Provenance with the patient's signature on what the patient handed in, as it now stands in the store.

        It is stored behind its targets: what it signs are the versions before it in the ledger.
        """
        names = [(str(one["resourceType"]), str(one["id"])) for one in targets]
        stored = [session.current(*name) for name in names]
        contents = [one for one in stored if one is not None]
        made = signature(session, self._gateway.keys.root, patient, contents, instant(session.at_us))
        target = [
            {"reference": "/".join(name)} for name, one in zip(names, stored, strict=True) if one is not None
        ]
        return {**provenance, "target": target, "signature": [made]}

    def _known(self, session: WriteSession, given: _Input) -> Taken | None:
        known = session.inbox_find(given.sender, given.sha256)
        if known is None or known.status != "accepted":
            return None
        told = json.loads(known.ack)
        return Taken("accepted", given.sha256, told["resources"], is_repeat=True, what="data")

    def _quarantine(self, session: WriteSession, given: _Input, error: DeviceError) -> Taken:
        taken = Taken("quarantined", given.sha256, 0, error.place, error.text, what="data")
        known = session.inbox_find(given.sender, given.sha256)
        if known is not None and (known.status, known.reason) == ("quarantined", error.text):
            return replace(taken, is_repeat=True)
        self._record(session, given, taken, given.origin.patient if given.origin.is_patient else None)
        return taken

    def _record(self, session: WriteSession, given: _Input, taken: Taken, patient: str | None) -> int:
        return session.inbox_add(
            InboxRow(
                sender=given.sender,
                control_id=given.sha256,
                sha256=given.sha256,
                status=taken.status,
                received_us=given.at_us,
                blob=session.blob_put(given.raw, patient=patient, institution=given.institution),
                ack=taken.receipt(),
                reason=taken.reason,
                place=taken.place,
                origin=origin_text(given.origin),
            )
        )
