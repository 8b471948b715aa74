"""Refused authentications in the audit trail, at a rate that nobody can fill the disk with.

DESIGN §6; DICOM PS3.15 §A.5.3.12 (User Authentication). Requests without a valid token come from anybody, in
any number: they are counted, and at most one AuditEvent every ``PERIOD_US`` says how many there were and from
where. Nothing was read, so the answer (401) does not wait for it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock

import orjson

from hdg.errors import HdgError
from hdg.management.audit import AuditEventRow, Event, refusal_event, seal_event
from hdg.management.identity import Principal
from hdg.management.store import Store, WriteSession
from hdg.settings import Settings

__all__ = ["PERIOD_US", "Refusals"]

PERIOD_US = 60_000_000
ADDRESSES_MAX = 16
"""Addresses that one event names; refusals from others are counted without."""

_NOBODY = Principal("", "unauthenticated", "", "", "", "", "", 0)
_TABLE = AuditEventRow.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_log = logging.getLogger("hdg.usage")


class Refusals:
    """Counts refusals and has them written. Thread-safe; ``pending``: how many are not written yet.

    What is pending when the process ends is lost: at most what came within ``PERIOD_US``, or since the last
    request of anybody.
    """

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], int]) -> None:
        self._store = store
        self._institution = settings.institution
        self._server = settings.base_url or settings.institution
        self._clock = clock
        self._lock = Lock()
        self._addresses: Counter[str] = Counter()
        self._written_us = -PERIOD_US
        self.pending = 0

    def note(self, address: str) -> None:
        """One more, from that network address ('' unknown)."""
        with self._lock:
            self.pending += 1
            is_room = address in self._addresses or len(self._addresses) < ADDRESSES_MAX
            self._addresses[address if is_room else ""] += 1
        self.write_if_due()

    def write_if_due(self) -> None:
        """Hands what is pending to the store's writer, unless that was done within the last period."""
        with self._lock:
            now_us = self._clock()
            if not self.pending or now_us - self._written_us < PERIOD_US:
                return
            count, addresses = self.pending, self._addresses
            self.pending, self._addresses, self._written_us = 0, Counter(), now_us

        def work(session: WriteSession) -> None:
            self._write(session, count, addresses)

        def done(future: Future[None]) -> None:
            if future.exception() is not None:
                _log.error("%d refused authentications could not be written to the audit trail", count)

        try:
            self._store.submit(work, wait_s=0).add_done_callback(done)
        except HdgError:  # the writer is busy or stopped: they wait for the next chance
            with self._lock:
                self.pending += count
                self._addresses += addresses

    def _write(self, session: WriteSession, count: int, addresses: Counter[str]) -> None:
        def seal(data: bytes, key: str) -> tuple[str, bytes, bytes]:
            return session.seal(data, key, patient=None, institution=self._institution)

        event = refusal_event(count, addresses, at_us=session.at_us, server=self._server)
        sealed = seal_event(
            Event(event["id"], "", orjson.dumps(event)),
            seal,
            at_us=session.at_us,
            principal=_NOBODY,
            institution=self._institution,
        )
        session.leaf(sealed.leaf)
        session.insert_later(_TABLE, sealed.row)
