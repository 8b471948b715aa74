"""Reports of storage commitment that their association did not take: kept, and sent on one of our own. PS3.4 §J.3.3.

The promise is on disk before the request is answered, and goes when the report was taken: a gateway that was killed
sends what it owes when it starts again. What is told is what is so when it is sent.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from hdg.errors import DicomError
from hdg.gateway import Gateway
from hdg.ingestion.dicom import scp_commitment as commitment
from hdg.ingestion.dicom.association import Peer
from hdg.ingestion.dicom.scu import send_reports
from hdg.management.store import imaging_commitment as rows
from hdg.management.store.imaging_commitment import Promise
from hdg.management.store.session import WriteSession

__all__ = ["PAUSES_S", "Commitments", "TooMany"]

_log = logging.getLogger("hdg.imaging")

PAUSES_S = (1.0, 10.0, 60.0, 600.0, 3600.0)
"""Between two attempts; the last one over and over."""
_GIVE_UP_US = 7 * 86_400 * 1_000_000
_PROMISES_MAX = 1_000
"""Promises to one AE title that wait; further requests are refused until some are taken."""
_PEERS_MAX = 4
"""Peers that are told at a time."""
_CLAIM_US = 20 * 1_000_000
"""For so long no other gateway sends what is being sent: what was being sent in a crash is sent again then."""
_GRACE_S = 5.0
_LOOK_S = 30.0

Failures = Callable[[Peer, Sequence[commitment.Reference]], list[int]]
Key = tuple[str, str]


class TooMany(Exception):
    """More promises wait for one peer than may."""


class Commitments:
    """Keeps the promises of one gateway. ``start``, then ``stop``; the other methods may be called from any thread."""

    def __init__(self, gateway: Gateway, failures: Failures) -> None:
        self._gateway, self._store, self._failures = gateway, gateway.store, failures
        self._lock = threading.Condition()
        self._busy: set[Key] = set()
        self._is_awake = self._is_stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on what is due is sent, what a former run left too."""
        self._thread = threading.Thread(target=self._run, name="hdg-commitments", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends; what is not taken yet waits for the next run."""
        with self._lock:
            self._is_stopping = True
            self._lock.notify_all()
        if self._thread is not None:
            self._thread.join(_GRACE_S)

    def _address(self, title: str) -> str | None:
        declared = self._gateway.settings.dicom_peers.get(title)
        return None if declared is None else declared.address

    # --- the association's side -----------------------------------------------------------------------------

    def promise(self, peer: Peer, request: commitment.Request, institution: str) -> int:
        """Keeps a promise; returns its key after the commit. 0: no address is declared, so none can be kept.

        It is due once its association must have ended. Raises NotCommitted, TooMany.
        """
        if self._address(peer.calling) is None:
            return 0
        if rows.count(self._store.engine, peer.calling) >= _PROMISES_MAX:
            raise TooMany
        due_us = self._store.now_us() + int((self._gateway.settings.dicom_idle_s + _GRACE_S) * 1e6)

        def work(session: WriteSession) -> int:
            return rows.add(
                session,
                calling=peer.calling,
                called=peer.called,
                institution=institution,
                due_us=due_us,
                transaction=request.transaction,
                references=request.references,
            )

        return self._store.submit(work).result()

    def taken(self, ckey: int) -> None:
        """The report has arrived."""
        if ckey:
            self._store.submit(lambda session: rows.drop(session, ckey))

    def untaken(self, ckey: int) -> None:
        """The association has ended without it: it is sent now."""
        if not ckey:
            _log.warning("a report of storage commitment was not taken, and no address is declared for it")
            return
        now_us = self._store.now_us()
        self._store.submit(lambda session: rows.postpone(session, ckey, now_us, 0)).result()
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            self._is_awake = True
            self._lock.notify_all()

    # --- sending --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            pause_s = _LOOK_S
            try:
                pause_s = self._begin()
            except Exception as error:  # the store's troubles: they pass, and the promises are kept
                _log.error("storage commitment: %s; tried again soon", type(error).__name__)
            with self._lock:
                if not self._is_awake and not self._is_stopping:
                    self._lock.wait(pause_s)
                self._is_awake = False
                if self._is_stopping:
                    return

    def _begin(self) -> float:
        """Begins with what is due, a thread for each peer; seconds until there may be more."""
        now_us = self._store.now_us()
        owed: dict[Key, list[Promise]] = {}
        for one in rows.due(self._store.engine, self._store.reader, now_us):
            owed.setdefault((one.calling, one.called), []).append(one)
        for key, promises in owed.items():
            with self._lock:
                if key in self._busy or len(self._busy) >= _PEERS_MAX:
                    continue
                self._busy.add(key)
            thread = threading.Thread(
                target=self._tell, args=(key, promises), name="hdg-commitment", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads: they pass
                self._done(key)
        if owed:
            return 1.0 if self._busy else 0.1
        due_us = rows.next_due_us(self._store.engine)
        return _LOOK_S if due_us is None else min(max((due_us - now_us) / 1e6, 0.05), _LOOK_S)

    def _done(self, key: Key) -> None:
        with self._lock:
            self._busy.discard(key)
        self._wake()

    def _tell(self, key: Key, promises: Sequence[Promise]) -> None:
        try:
            mine = self._claimed(promises)
            if mine:
                self._note(mine, self._sent(key, mine))
        except Exception as error:  # the store's troubles, or its end
            _log.error("storage commitment: %s; tried again soon", type(error).__name__)
        finally:
            self._done(key)

    def _claimed(self, promises: Sequence[Promise]) -> list[Promise]:
        until_us = self._store.now_us() + _CLAIM_US

        def work(session: WriteSession) -> list[Promise]:
            return [one for one in promises if rows.claim(session, one, until_us)]

        return self._store.submit(work).result()

    def _sent(self, key: Key, promises: Sequence[Promise]) -> list[bool]:
        """Which reports were taken."""
        calling, called = key
        address = self._address(calling)
        if address is None:
            return [False] * len(promises)
        peer = Peer(calling, called, "")
        reports = [
            commitment.Report(
                commitment.Request(one.transaction, one.references),
                tuple(self._failures(peer, one.references)),
            )
            for one in promises
        ]
        try:
            return send_reports(address, called, calling, reports)
        except (DicomError, OSError, ValueError) as error:
            _log.warning("reports of storage commitment were not taken: %s", type(error).__name__)
            return [False] * len(promises)

    def _note(self, promises: Sequence[Promise], taken: Sequence[bool]) -> None:
        now_us = self._store.now_us()

        def work(session: WriteSession) -> None:
            for one, is_taken in zip(promises, taken, strict=True):
                if is_taken:
                    rows.drop(session, one.ckey)
                elif now_us - one.created_us > _GIVE_UP_US:
                    _log.warning("a report of storage commitment is given up: nobody took it for a week")
                    rows.drop(session, one.ckey)
                else:
                    pause_s = PAUSES_S[min(one.tries, len(PAUSES_S) - 1)]
                    rows.postpone(session, one.ckey, now_us + int(pause_s * 1e6), one.tries + 1)

        self._store.submit(work).result()
