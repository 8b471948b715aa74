"""The sole joiner of the layers: receive, convert, commit, acknowledge (DESIGN §1).

One unit of work per message (accepting.py): raw bytes, resources, history, index rows, ledger leaves and the inbox row
share one transaction, and the acknowledgement exists only after its commit is durable. A message that
cannot be converted is kept as well (quarantine) before it is answered AE or AR.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hdg.accepting import Accepting
from hdg.converting import Helper
from hdg.errors import Hl7v2Error, LedgerError
from hdg.ingestion import destinations, senders
from hdg.ingestion.converted import Converted
from hdg.ingestion.destinations import DestinationsFile
from hdg.ingestion.hl7v2.ack_mode import AckMode
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.header import Header, peek
from hdg.ingestion.inbox import check_losses, check_type
from hdg.ingestion.lanes import Lanes, Ticket
from hdg.ingestion.received import (
    Received,
    institution_id,
    mode_for,
    origin_of,
    pseudonym,
    receive,
)
from hdg.ingestion.sender import LOCAL, Origin, Sender
from hdg.ingestion.senders import SendersFile, sender_of
from hdg.management.keys import KeyRing
from hdg.management.store.ahead import Expected, Planned
from hdg.management.store.inbox import Entry, mark
from hdg.management.store.meta import index_key
from hdg.management.store.session import WriteSession
from hdg.management.store.unit import inbox_key
from hdg.management.store.writer import NotCommitted, RowsRefused, Store
from hdg.replaying import Replayed, replayed
from hdg.settings import Settings
from hdg.throttle import Throttle

Clock = Callable[[], int]
Work = Callable[[WriteSession], bytes]
"""Stores a message, or why it was refused; its ACK."""

_log = logging.getLogger("hdg.gateway")

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
        self._accepting = Accepting(self._converter, self.destinations)
        """The writer's."""
        self._helper: Helper | None = None
        self.tell = Throttle(_log)
        """For what every message of a fault would say."""
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
            lambda session: self._accepting.accept_helped(session, received, outcome, generation),
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
        return lambda session: self._accepting.quarantine(session, received, failure)

    def _work_for(self, received: Received) -> Work:
        """Converts, and returns the unit of work that stores the outcome, good or bad."""
        try:
            received.check_origin()
        except Hl7v2Error as error:
            foreign, refusal = received.of_origin(), error
            return lambda session: self._accepting.quarantine(session, foreign, refusal)
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
                lambda session: self._accepting.accept(session, received, converted),
            )
        return lambda session: self._accepting.quarantine(session, received, failure)

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
            if entry.status == "accepted":
                self._accepting.state_again(session, received, converted, entry.received_us)
            else:
                self._accepting.admit(session, received, converted)

        return replayed(self.store, entry, converted, take, is_dry=is_dry)

    def keep_edited(self, entry: Entry, raw: bytes) -> int:
        """Puts an operator's correction of a quarantined message beside it, in quarantine; its number."""
        received = self._received(raw, origin_of(entry.origin), entry.received_us)

        def work(session: WriteSession) -> int:
            mark(session, entry.ikey, "edited")
            text = f"edited by the operator from message {entry.ikey}"
            return self._accepting.record(session, received, "quarantined", entry.ack, reason=text)

        return self.store.submit(work).result()

    def ack_mode(self, raw: bytes, origin: Origin) -> AckMode | None:
        """The acknowledgements that are declared for the sender of a message that is not kept; None: as it asks."""
        return mode_for(self.sender(peek(raw), origin))

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


def _check_declared(converted: Converted, sender: Sender) -> None:
    """Raises Hl7v2Error for what the sender's declaration refuses."""
    check_type(converted.source.message_type, sender)
    if sender.is_strict:
        check_losses(converted.issues)


def _origin(error: BaseException) -> str:
    """file:line where an error arose: a place, never a value."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
