"""What the writer does with one converted HL7 v2 message: looks at what is stored, stores it, answers it.

All of it runs within the transaction of the message (``session``): its resources, its inbox row, its work items, its
rows in the outbox. A message that is not to be accepted is kept in quarantine with the reason. The rules are those of
docs/hl7v2.md; what a message says of elements that others fed too is in emptied.py, beside.py and orders.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hdg import retraction, statements
from hdg.beside import Beside
from hdg.conversions import Conversions, Stated
from hdg.converting import Outcome
from hdg.emptied import Emptied, emptied
from hdg.errors import Hl7v2Error
from hdg.history import History, Tables
from hdg.ingestion.converted import Converted, JsonObject
from hdg.ingestion.destinations import DestinationsFile
from hdg.ingestion.hl7v2.ack import Code, acknowledge
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.inbox import LOST, Receipt, losses, repeat_of
from hdg.ingestion.received import Received, origin_text
from hdg.management.store import outbox
from hdg.management.store.inbox import note_loss
from hdg.management.store.ready import Ready
from hdg.management.store.session import WriteSession
from hdg.management.store.unit import InboxRow
from hdg.orders import named
from hdg.sayings import Named

__all__ = ["LEFT", "Accepting"]

LEFT = "left behind"
"""Kind of a work item: what a deletion left for people to decide about."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was stored that bears on a message: what its sender had stated, what becomes of fields that it empties,
    what it says of orders that are stored under another id.
    """

    history: History
    left: Emptied | None
    besides: Named | None

    @property
    def unclear(self) -> list[tuple[str, str]]:
        """(place, reason) of what cannot be carried out as the message says."""
        parts = (part.unclear for part in (self.left, self.besides) if part is not None)
        return [one for part in parts for one in part]


class Accepting:
    """Stores converted messages. ``tables``: the number of today's declarations, and what converts by them."""

    def __init__(self, tables: Callable[[], tuple[int, Converter]], destinations: DestinationsFile) -> None:
        self._tables = tables
        self._destinations = destinations
        self._of_late = Conversions()
        """The writer's."""

    def accept_helped(
        self, session: WriteSession, received: Received, outcome: Outcome, generation: int
    ) -> bytes:
        """Stores what the helper has converted, and remembers what the message states; its acknowledgement."""
        ack = self.accept(session, received, *outcome)
        self._of_late.keep(Stated(*outcome), received.sender, generation)
        return ack

    def accept(
        self,
        session: WriteSession,
        received: Received,
        converted: Converted,
        made: Sequence[Ready] | None = None,
    ) -> bytes:
        """Stores a message, or keeps it in quarantine if what is stored forbids it; its acknowledgement.

        ``made``: the resources of ``converted``, made ready by the helper.
        """
        received = received.at(session.in_order(received.at_us))
        try:
            seen = self._looked_at(session, received, converted, made)
        except Hl7v2Error as error:
            return self.quarantine(session, received, error)
        return self._keep(session, received, converted, made, seen)

    def admit(self, session: WriteSession, received: Received, converted: Converted) -> bytes:
        """Takes a message in from quarantine, as at the time when it was received; its acknowledgement.

        Raises Hl7v2Error if what is stored forbids it, before anything is written.
        """
        seen = self._looked_at(session, received, converted, None)
        return self._keep(session, received, converted, None, seen)

    def state_again(
        self, session: WriteSession, received: Received, converted: Converted, received_us: int
    ) -> None:
        """Has an accepted message state once more what it states; its inbox row and acknowledgement stay."""
        history = self._history(session, received, Stated(converted))
        left = emptied(session, history, converted)
        beside = Beside(history, received, converted)
        beside.leave(left)
        besides = named(session, converted, None, received_us)
        if besides is not None:
            converted, _ = besides.attached(converted, None)
        statements.store_statements(session, converted, received_us, left=left, beside=beside)
        if besides is not None:
            besides.state(session, converted, received_us)

    def quarantine(self, session: WriteSession, received: Received, error: Hl7v2Error) -> bytes:
        """Keeps the raw bytes with the reason, and answers AE, or AR for what will never be accepted.

        A message that is sent again and fails again in the same way is kept once; one that an operator has mended
        is answered as its mended bytes were, and as before while these have not been accepted.
        """
        known = session.inbox_find(received.sender.name, received.header.control_id, received.sha256)
        if known is not None and known.status == "edited":
            taken = session.inbox_find(received.sender.name, received.header.control_id)
            return taken.ack if taken is not None and _is_mended(session, received, taken) else known.ack
        if known is not None and (known.status, known.reason) == ("quarantined", error.text):
            return known.ack
        code: Code = "AR" if error.is_rejection else "AE"
        at_us = received.at_us
        ack = acknowledge(received.msh, code, errors=[error], control_id=received.ack_id, at_us=at_us)
        self.record(session, received, "quarantined", ack, reason=error.text, place=error.place)
        return ack

    def record(
        self,
        session: WriteSession,
        received: Received,
        status: str,
        ack: bytes,
        *,
        patient: str | None = None,
        reason: str = "",
        place: str = "",
        kind: str = "",
    ) -> int:
        """Adds the inbox row, and one to the outbox for each destination of an accepted message (``kind``); its
        number.
        """
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
        onward = self._destinations.current().receiving(kind, received.header.sender) if kind else ()
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

    def _history(self, session: WriteSession, received: Received, stated: Stated) -> History:
        """What its sender had stated: one for each message, so that no kept message is converted twice for it."""
        generation, converter = self._tables()
        return History(session, received, stated, Tables(converter, self._of_late, generation))

    def _looked_at(
        self,
        session: WriteSession,
        received: Received,
        converted: Converted,
        made: Sequence[Ready] | None,
    ) -> _Seen | bytes:
        """What is stored that bears on the message; its acknowledgement when it was accepted before.

        Raises Hl7v2Error for what is not to be accepted.
        """
        history = self._history(session, received, Stated(converted, made))
        repeat = _repeat(session, received)
        if repeat is not None:
            return repeat.ack
        left = emptied(session, history, converted)
        besides = named(session, converted, made, received.at_us)
        seen = _Seen(history, left, besides)
        if seen.unclear and received.sender.is_strict:
            place, reason = seen.unclear[0]
            raise Hl7v2Error(f"strict: {LOST}: {reason}", place, condition="102")
        return seen

    def _keep(
        self,
        session: WriteSession,
        received: Received,
        converted: Converted,
        made: Sequence[Ready] | None,
        seen: _Seen | bytes,
    ) -> bytes:
        """Stores an accepted message; its acknowledgement."""
        if isinstance(seen, bytes):
            return seen
        told: Sequence[JsonObject | Ready] | None = made
        if seen.besides is not None:
            converted, told = seen.besides.attached(converted, made)
        beside = Beside(seen.history, received, converted)
        beside.leave(seen.left)
        statements.store_statements(session, converted, received.at_us, told, seen.left, beside)
        unclear = [*(seen.left.unclear if seen.left is not None else ()), *dict.fromkeys(beside.unclear)]
        if seen.besides is not None:
            seen.besides.state(session, converted, received.at_us)
            unclear += seen.besides.unclear
        ack = acknowledge(received.msh, "AA", control_id=received.ack_id, at_us=received.at_us)
        kind, sender = converted.source.message_type, received.sender.name
        ikey = self.record(session, received, "accepted", ack, patient=converted.patient_id, kind=kind)
        for loss in dict.fromkeys(losses(converted.issues)):
            note_loss(session, loss.kind, sender, kind, loss.place, loss.text, ikey=ikey)
        for place, reason in unclear:
            note_loss(session, LOST, sender, kind, place, reason, ikey=ikey)
        for text in retraction.left_behind(session, converted):
            note_loss(session, LEFT, sender, kind, "PID-3", text, ikey=ikey)
        return ack


def _repeat(session: WriteSession, received: Received) -> Receipt | None:
    """The receipt when this very message was accepted before. Raises Hl7v2Error (inbox.repeat_of)."""
    known = session.inbox_find(received.sender.name, received.header.control_id)
    if known is None or known.status != "accepted":
        return None
    if _is_mended(session, received, known):
        return Receipt(received.sha256, known.ack)
    is_named = bool(received.header.control_id)
    return repeat_of(Receipt(known.sha256, known.ack), received.sha256, is_named=is_named)


def _is_mended(session: WriteSession, received: Received, accepted: InboxRow) -> bool:
    """Whether an operator has mended these very bytes into the accepted ones, which keep the time of receipt."""
    if accepted.status != "accepted" or accepted.sha256 == received.sha256:
        return False
    own = session.inbox_find(received.sender.name, received.header.control_id, received.sha256)
    return own is not None and (own.status, own.received_us) == ("edited", accepted.received_us)
