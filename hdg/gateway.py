"""The sole joiner of the layers: receive, convert, commit, acknowledge (DESIGN §1).

One unit of work per message: raw bytes, resources, history, index rows, ledger leaves and the inbox row
share one transaction, and the acknowledgement exists only after its commit is durable. A message that
cannot be converted is kept as well (quarantine) before it is answered AE or AR.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hdg import retraction, statements
from hdg.beside import Beside
from hdg.conversions import Conversions, Stated
from hdg.converting import Helper, Outcome
from hdg.emptied import Emptied, emptied
from hdg.errors import Hl7v2Error, LedgerError
from hdg.history import History, Tables
from hdg.ingestion import destinations, senders
from hdg.ingestion.converted import Converted
from hdg.ingestion.destinations import DestinationsFile
from hdg.ingestion.hl7v2.ack import Code, acknowledge
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.header import Header, peek
from hdg.ingestion.inbox import LOST, Receipt, check_losses, check_type, losses, repeat_of
from hdg.ingestion.lanes import Lanes, Ticket
from hdg.ingestion.received import (
    Received,
    institution_id,
    origin_of,
    origin_text,
    pseudonym,
    receive,
)
from hdg.ingestion.sender import LOCAL, Origin, Sender
from hdg.ingestion.senders import SendersFile, sender_of
from hdg.management.keys import KeyRing
from hdg.management.store import outbox
from hdg.management.store.ahead import Expected, Planned
from hdg.management.store.inbox import Entry, mark, note_loss
from hdg.management.store.meta import index_key
from hdg.management.store.ready import Ready
from hdg.management.store.session import WriteSession
from hdg.management.store.unit import InboxRow, inbox_key
from hdg.management.store.writer import NotCommitted, RowsRefused, Store
from hdg.orders import Named, named
from hdg.replaying import Replayed, replayed
from hdg.settings import Settings

Clock = Callable[[], int]
Work = Callable[[WriteSession], bytes]
"""Stores a message, or why it was refused; its ACK."""

_log = logging.getLogger("hdg.gateway")

LEFT = "left behind"
"""Kind of a work item: what a deletion left for people to decide about."""

OFF_LOOP_BYTES = 64 * 1024
"""Messages from this size on that no helper converts are converted in a thread, so that they do not hold up
the event loop; one at a time, since more would only take the interpreter from the writer.
"""
OFF_LOOP_THREADS = 1

_OPEN_LISTENERS = frozenset({"mllp", "mllps"})
"""Where anybody may write anything into MSH-4: who is not declared does not speak for a known institution."""


def now_us() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Answered:
    """``ack``: the application ACK (AA, AE, AR), made after the commit. ``sent``: what the sender asked for."""

    ack: bytes
    sent: tuple[bytes, ...]


class Gateway:
    """Converter and store, joined. Open with ``Gateway.open``; close it, or use it as a context manager."""

    def __init__(self, settings: Settings, keys: KeyRing, store: Store, clock: Clock) -> None:
        self.settings = settings
        self.keys = keys
        self.store = store
        self.clock = clock
        self.senders = SendersFile(settings.data / senders.FILE)
        """What is declared about senders, as it is now."""
        self.destinations = DestinationsFile(settings.data / destinations.FILE)
        """Where accepted messages are sent on to, as it is now."""
        self._lanes = Lanes()
        self._converters = (self.senders.generation, Converter(id_key=keys.id_key))
        self._of_late = Conversions()
        """The writer's."""
        self._helper: Helper | None = None
        self.off_loop = ThreadPoolExecutor(OFF_LOOP_THREADS, thread_name_prefix="hdg-large")
        """Converts what would hold the event loop up."""

    @classmethod
    def open(cls, settings: Settings, clock: Clock = now_us) -> Self:
        """Opens the data folder (making keys and database on first use). Raises SettingsError,
        LedgerError.
        """
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        senders.load(settings.data / senders.FILE)  # a wrong file is refused before anything is opened
        destinations.load(settings.data / destinations.FILE)
        keys = KeyRing.open(settings.data / "keys")
        return cls(settings, keys, Store.open(settings, keys, clock), clock)

    def close(self) -> None:
        """Finishes what is queued and closes the store."""
        self.off_loop.shutdown()
        self.store.close()

    def use_helper(self) -> None:
        """From now on ``receive`` may convert in a helper process, if the settings let it."""
        if self.settings.converter_process:
            self._helper = Helper(self.keys.id_key, index_key(self.keys.root))

    async def end_helper(self) -> None:
        """Ends the helper process, if there is one; call it before the event loop ends."""
        helper, self._helper = self._helper, None
        if helper is not None:
            await helper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- messages -------------------------------------------------------------------------------------------

    async def receive(self, raw: bytes, origin: Origin = LOCAL) -> bytes:
        """Takes one HL7 v2 message; its application ACK. ``exchange`` without what the sender is sent."""
        return (await self.exchange(raw, origin)).ack

    async def exchange(self, raw: bytes, origin: Origin = LOCAL) -> Answered:
        """Takes one HL7 v2 message and answers it, after the commit. Raises only when nothing could be kept."""
        self.store.space.check()
        with self._lanes.ticket(raw) as ticket:
            received = self._received(raw, origin, self.store.now_us())
            if self._helper is None:
                ack = await self._in_turn(ticket, received, await self._work(received))
            else:
                with self._helper as helper:
                    work = await self._helped(helper, received) or await self._work(received)
                    ack = await self._in_turn(ticket, received, work)
        return Answered(ack, received.replies(ack))

    async def _in_turn(self, ticket: Ticket, received: Received, work: Work) -> bytes:
        """Stores a received message behind everybody before it; often in the same transaction."""
        await ticket.turn()
        queued = await self.store.line_up(work)
        ticket.leave()
        try:
            return await queued
        except Exception as error:
            return await self.store.perform(self._rescue(received, error))

    async def _work(self, received: Received) -> Work:
        if len(received.raw) < OFF_LOOP_BYTES:
            return self._work_for(received)
        return await asyncio.get_running_loop().run_in_executor(self.off_loop, self._work_for, received)

    async def _helped(self, helper: Helper, received: Received) -> Work | None:
        """The unit of work of a message that a helper process converted; None for all that is not plain."""
        try:
            received.check_origin()
            generation = self.senders.generation
            outcome = await helper.convert(received.raw, received.sender, received.at_us, generation)
            if outcome is None:
                return None
            converted, made = outcome
            _check_declared(converted, received.sender)
        except Hl7v2Error:
            return None
        return _planned(
            received,
            [(resource.type, resource.id) for resource in made],
            {converted.patient_id}.union(*(resource.patients for resource in made)),
            lambda session: self._accept_helped(session, received, outcome, generation),
        )

    def receive_now(self, raw: bytes, origin: Origin = LOCAL) -> bytes:
        """``receive`` for callers without an event loop."""
        self.store.space.check()
        received = self._received(raw, origin, self.store.now_us())
        try:
            return self.store.submit(self._work_for(received)).result()
        except Exception as error:
            return self.store.submit(self._rescue(received, error)).result()

    def _rescue(self, received: Received, error: Exception) -> Work:
        """The unit of work that keeps a message which cannot be stored as it was converted.

        Raises ``error`` when it is not the message's: then the sender is to send it again.
        """
        if isinstance(error, NotCommitted | LedgerError) and not isinstance(error, RowsRefused):
            raise error
        _log.error("storing failed: %s at %s", type(error).__name__, _origin(error))
        failure = Hl7v2Error(f"internal error while storing ({type(error).__name__})", condition="207")
        return lambda session: self._quarantine(session, received, failure)

    def _work_for(self, received: Received) -> Work:
        """Converts, and returns the unit of work that stores the outcome, good or bad."""
        try:
            received.check_origin()
        except Hl7v2Error as error:
            foreign, refusal = received.of_origin(), error
            return lambda session: self._quarantine(session, foreign, refusal)
        try:
            converted = self._converted(received)
        except Hl7v2Error as error:
            failure = error
        except Exception as error:  # a defect of ours: the message is kept all the same, and answered AE
            _log.error("conversion failed: %s at %s", type(error).__name__, _origin(error))
            failure = Hl7v2Error(f"internal error while converting ({type(error).__name__})", condition="207")
        else:
            return _planned(
                received,
                [(resource["resourceType"], resource["id"]) for resource in converted.resources],
                {converted.patient_id},
                lambda session: self._accept(session, _in_order(session, received), converted),
            )
        return lambda session: self._quarantine(session, received, failure)

    def _received(self, raw: bytes, origin: Origin, at_us: int) -> Received:
        header = peek(raw)
        return receive(raw, header, self.sender(header, origin), at_us, origin)

    def _converted(self, received: Received) -> Converted:
        """Raises Hl7v2Error, also for what the sender's declaration refuses."""
        _, converter = self._converter()
        converted = converter.convert(received.raw, received.sender, at_us=received.at_us)
        _check_declared(converted, received.sender)
        return converted

    def _converter(self) -> tuple[int, Converter]:
        """What converts by the declarations as they are now, and their generation."""
        generation, converter = self._converters
        if generation != self.senders.generation:
            generation = self.senders.generation
            converter = Converter(id_key=self.keys.id_key)  # tables and maps are read anew with the file
            self._converters = (generation, converter)
        return generation, converter

    def _accept_helped(
        self, session: WriteSession, received: Received, outcome: Outcome, generation: int
    ) -> bytes:
        """Stores what the helper has converted, and remembers what the message states."""
        ack = self._accept(session, _in_order(session, received), *outcome)
        self._of_late.keep(Stated(*outcome), received.sender, generation)
        return ack

    def _accept(
        self,
        session: WriteSession,
        received: Received,
        converted: Converted,
        made: Sequence[Ready] | None = None,
    ) -> bytes:
        """``made``: the resources of ``converted``, made ready by the helper."""
        history = self._history(session, received, Stated(converted, made))
        try:
            repeat, left, besides = self._looked_at(session, received, converted, made, history)
        except Hl7v2Error as error:
            return self._quarantine(session, received, error)
        if repeat is not None:
            return repeat.ack
        return self._keep(session, received, converted, made, left, besides, history)

    def _history(self, session: WriteSession, received: Received, stated: Stated) -> History:
        """What its sender had stated: one for each message, so that no kept message is converted twice for it."""
        generation, converter = self._converter()
        return History(session, received, stated, Tables(converter, self._of_late, generation))

    def _looked_at(
        self,
        session: WriteSession,
        received: Received,
        converted: Converted,
        made: Sequence[Ready] | None,
        history: History,
    ) -> tuple[Receipt | None, Emptied | None, Named | None]:
        """Its receipt when it was accepted before; what becomes of fields that it empties; what it says of orders that
        are stored under another id.

        Raises Hl7v2Error for what is not to be accepted, before anything is written.
        """
        repeat = _repeat(session, received)
        if repeat is not None:
            return repeat, None, None
        left = emptied(session, history, converted)
        besides = named(session, converted, made)
        unclear = [
            *(left.unclear if left is not None else ()),
            *(besides.unclear if besides is not None else ()),
        ]
        if unclear and received.sender.is_strict:
            place, reason = unclear[0]
            raise Hl7v2Error(f"strict: {LOST}: {reason}", place, condition="102")
        return None, left, besides

    def _keep(
        self,
        session: WriteSession,
        received: Received,
        converted: Converted,
        made: Sequence[Ready] | None,
        left: Emptied | None,
        besides: Named | None,
        history: History,
    ) -> bytes:
        """Stores an accepted message; its acknowledgement."""
        beside = Beside(history, received, converted)
        beside.leave(left)
        self.store_statements(session, converted, received.at_us, made, left, beside)
        unclear = [*(left.unclear if left is not None else ()), *dict.fromkeys(beside.unclear)]
        if besides is not None:
            besides.state(session, converted, received.at_us)
            unclear += besides.unclear
        ack = acknowledge(received.msh, "AA", control_id=received.ack_id, at_us=received.at_us)
        kind = converted.source.message_type
        ikey = self._record(session, received, "accepted", ack, patient=converted.patient_id, kind=kind)
        for loss in dict.fromkeys(losses(converted.issues)):
            note_loss(session, loss.kind, received.sender.name, kind, loss.place, loss.text, ikey=ikey)
        for place, reason in unclear:
            note_loss(session, LOST, received.sender.name, kind, place, reason, ikey=ikey)
        for text in retraction.left_behind(session, converted):
            note_loss(session, LEFT, received.sender.name, kind, "PID-3", text, ikey=ikey)
        return ack

    def store_statements(
        self,
        session: WriteSession,
        converted: Converted,
        received_us: int,
        made: Sequence[Ready] | None = None,
        left: Emptied | None = None,
        beside: Beside | None = None,
    ) -> None:
        """Stores every statement of a message, under its stamp (management/store/stale.py). ``left``: of elements
        of which single fields were deleted; ``beside``: of those that other fields feed too.
        """
        statements.store_statements(session, converted, received_us, made, left, beside)

    def _quarantine(self, session: WriteSession, received: Received, error: Hl7v2Error) -> bytes:
        """Keeps the raw bytes with the reason, and answers AE, or AR for what will never be accepted.

        A message that is sent again and fails again in the same way is kept once.
        """
        known = session.inbox_find(received.sender.name, received.header.control_id, received.sha256)
        if known is not None and (known.status, known.reason) == ("quarantined", error.text):
            return known.ack
        code: Code = "AR" if error.is_rejection else "AE"
        at_us = received.at_us
        ack = acknowledge(received.msh, code, errors=[error], control_id=received.ack_id, at_us=at_us)
        self._record(
            session, received, "quarantined", ack, patient=None, reason=error.text, place=error.place
        )
        return ack

    def _record(
        self,
        session: WriteSession,
        received: Received,
        status: str,
        ack: bytes,
        *,
        patient: str | None,
        reason: str = "",
        place: str = "",
        kind: str = "",
    ) -> int:
        """The inbox row, and one in the outbox for each destination of an accepted message (``kind``)."""
        blob = session.blob_put(received.raw, patient=patient, institution=received.sender.institution)
        ikey = session.inbox_add(
            InboxRow(
                sender=received.sender.name,
                control_id=received.header.control_id,
                sha256=received.sha256,
                status=status,
                received_us=received.at_us,
                blob=blob,
                ack=ack,
                reason=reason,
                place=place,
                origin=origin_text(received.origin),
            )
        )
        onward = self.destinations.current().receiving(kind, received.header.sender) if kind else ()
        if onward:
            outbox.add(
                session,
                onward,
                blob=blob,
                size=len(received.raw),
                sender=received.header.sender,
                message_type=kind,
                control_id=received.header.control_id,
                message=ikey,
            )
        return ikey

    # --- replay ---------------------------------------------------------------------------------------------

    def replay(self, entry: Entry, raw: bytes, *, is_dry: bool = False) -> Replayed:
        """Takes a message of the inbox again, under today's tables, at the time it was received.

        An accepted message states again what it states (what is newer stays: stale.py); one from quarantine
        is accepted if it can be now. With ``is_dry`` nothing is kept.
        """
        received = self._received(raw, origin_of(entry.origin), entry.received_us)
        try:
            received.check_origin()
            converted = self._converted(received)
        except Hl7v2Error as error:
            return Replayed(error)

        def take(session: WriteSession) -> None:
            history = self._history(session, received, Stated(converted))
            if entry.status == "accepted":
                left = emptied(session, history, converted)
                beside = Beside(history, received, converted)
                beside.leave(left)
                besides = named(session, converted, None)
                self.store_statements(session, converted, entry.received_us, left=left, beside=beside)
                if besides is not None:
                    besides.state(session, converted, entry.received_us)
                return
            repeat, left, besides = self._looked_at(session, received, converted, None, history)
            if repeat is None:
                self._keep(session, received, converted, None, left, besides, history)

        return replayed(self.store, entry, converted, take, is_dry=is_dry)

    def keep_edited(self, entry: Entry, raw: bytes) -> int:
        """Puts an operator's correction of a quarantined message beside it, in quarantine; its number."""
        received = self._received(raw, origin_of(entry.origin), entry.received_us)

        def work(session: WriteSession) -> int:
            mark(session, entry.ikey, "edited")
            text = f"edited by the operator from message {entry.ikey}"
            return self._record(session, received, "quarantined", entry.ack, patient=None, reason=text)

        return self.store.submit(work).result()

    def sender(self, header: Header, origin: Origin = LOCAL) -> Sender:
        """The declared facts about the sender of a message, with the gateway's defaults filled in.

        Its name is what MSH says; of one that a certificate proves also the table that knows the certificate, and of
        one that speaks for somebody else's institution the name under which it is kept: no other sender's messages,
        parts of lists or resources are taken for its own.
        """
        known = self.senders.current()
        table, declared = known.find(header.application, header.facility, origin)
        name = header.sender
        if declared is not None and declared.tls_subject is not None:
            name = f"{name}|{table}"
        institution = institution_id(header.facility) or self.settings.institution
        is_fixed = declared is not None and (declared.institution or declared.facility)
        if origin.listener in _OPEN_LISTENERS and not is_fixed:
            taken = {
                (t.institution or institution_id(t.facility or "")).lower() for t in known.tables.values()
            }
            if header.facility:
                taken.add(self.settings.institution.lower())
            if institution.lower() in taken:
                institution = pseudonym(header.facility)
                name = f"{name}|{institution}"
        return sender_of(declared, name, institution, self.settings.zone)


def _planned(
    received: Received, keys: list[tuple[str, str]], patients: Iterable[str | None], work: Work
) -> Work:
    """A work that tells what it will look up: what the message is about, and whether it came before."""
    message = inbox_key(received.sender.name, received.header.control_id)
    owners = [("patient", patient) for patient in patients if patient]
    owners.append(("institution", received.sender.institution))
    return Planned(work, Expected(keys, [message], owners=owners))


def _in_order(session: WriteSession, received: Received) -> Received:
    """The message, behind all that other processes stored before it (WriteSession.in_order)."""
    return received.at(session.in_order(received.at_us))


def _repeat(session: WriteSession, received: Received) -> Receipt | None:
    """The receipt when this very message was accepted before. Raises Hl7v2Error (inbox.repeat_of)."""
    known = session.inbox_find(received.sender.name, received.header.control_id)
    is_known = known is not None and known.status == "accepted"
    return repeat_of(Receipt(known.sha256, known.ack) if known and is_known else None, received.sha256)


def _check_declared(converted: Converted, sender: Sender) -> None:
    """Raises Hl7v2Error for what the sender's declaration refuses."""
    check_type(converted.source.message_type, sender)
    if sender.is_strict:
        check_losses(converted.issues)


def _origin(error: BaseException) -> str:
    """file:line where an error arose: a place, never a value."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
