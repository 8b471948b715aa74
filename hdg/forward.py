"""Sends what is in the outbox on to its destinations (docs/outbox.md): one thread a destination, in order.

At least once: a message counts as delivered when its acknowledgement is here and that is committed; a gateway
that is killed in between sends the message again. After a negative answer it is tried a few times more, then
parked with a work item, and the next one goes out. Everything else (no connection, no answer, an answer that
acknowledges something else) holds the destination's messages back, in order, for as long as it takes.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hdg.errors import HdgError, VaultError
from hdg.gateway import Gateway
from hdg.ingestion.destinations import Destination
from hdg.ingestion.hl7v2.mllp_client import MllpClient, UnaskedAnswer
from hdg.ingestion.hl7v2.verdict import Verdict, verdict
from hdg.management.store import outbox
from hdg.management.store.inbox import note_loss
from hdg.management.store.lane_lock import LaneLock
from hdg.management.store.session import WriteSession
from hdg.throttle import Throttle

__all__ = ["Forwarder", "Lane"]

POLL_S = 0.1
"""How long a message waits at most before it goes out when nothing is in its way."""
PRUNE_S = 3600.0
GRACE_S = 3.0
"""How long a message that is under way when the gateway stops may wait for its answer."""
_DAY_US = 86_400_000_000
_log = logging.getLogger("hdg.forward")


@dataclass(frozen=True, slots=True)
class _Result:
    """``is_moving``: the next message's turn; otherwise the same one's, after a pause unless
    ``is_at_once``.
    """

    is_moving: bool
    text: str
    is_at_once: bool = False


class Lane(threading.Thread):
    """One destination's messages, in order, until stopped. ``random``: a number from 0 to 1, for jitter."""

    def __init__(
        self,
        gateway: Gateway,
        name: str,
        destination: Destination,
        random: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(name=f"hdg-outbox-{name}", daemon=True)
        self.destination = destination
        self._store = gateway.store
        self._clock = gateway.clock
        self._lane = name
        self._random = random
        self._stopping = threading.Event()
        self._client: MllpClient | None = None
        self._lock = LaneLock(gateway.settings.data, gateway.store.engine, name)
        self._pruned_s = -PRUNE_S
        self._failures = 0
        self._said = ""
        self._owed: Callable[[WriteSession], None] | None = None

    def stop(self) -> None:
        """Asks it to end after the message that is under way."""
        self._stopping.set()

    def abort(self) -> None:
        """Waits for no answer any more."""
        self._stopping.set()
        client = self._client
        if client is not None:
            client.abort()

    def run(self) -> None:
        """Sends until stopped. Never raises."""
        try:
            while not self._stopping.is_set():
                try:
                    pause_s = self._step()
                except Exception as error:  # the store's troubles: they pass, and the messages are there
                    self._failures += 1
                    self._say(type(error).__name__)
                    pause_s = self._pause_s(self._failures)
                if pause_s:
                    self._stopping.wait(pause_s)
        finally:
            self._hang_up()
            self._lock.release()

    def _step(self) -> float:
        """One look at the outbox, and the message that is next; seconds to wait until the next look."""
        if not self._lock.hold():
            return POLL_S * 5
        if self._owed is not None:
            self._commit(self._owed)
        self._prune()
        row = outbox.head(self._store.engine, self._lane)
        if row is None:
            return POLL_S
        result = self._deliver(row)
        if result.is_moving:
            if self._said:
                _log.info("outbox %s: goes on", self._lane)
            self._failures, self._said = 0, ""
            return 0.0
        self._failures += 1
        self._say(result.text)
        return 0.0 if result.is_at_once else self._pause_s(self._failures)

    def _deliver(self, row: outbox.Row) -> _Result:
        try:
            raw = self._store.reader.blob(row.blob)
        except VaultError:
            return self._conclude(row, Verdict("refused", "its bytes cannot be opened (erased?)"))
        is_reused = self._client is not None
        try:
            answers = self._connected().exchange(raw)
        except UnaskedAnswer as error:
            answers = error.answers
            self._hang_up()
        except (OSError, HdgError) as error:  # before ValueError: an SSLCertVerificationError is both
            self._hang_up()
            text = _reason(error)
            if is_reused and not self._failures and isinstance(error, ConnectionError):
                return _Result(False, text, is_at_once=True)  # it was closed while idle, most likely
            return self._wait(row, text)
        except ValueError:
            return self._park(row, "it holds MLLP framing bytes")
        found = verdict(raw, answers, any_control_id=self.destination.any_control_id)
        return self._conclude(row, found)

    def _conclude(self, row: outbox.Row, found: Verdict) -> _Result:
        if found.outcome == "accepted":
            self._commit(lambda session: outbox.noted(session, row.okey, "done", found.text))
            return _Result(True, found.text)
        if found.outcome == "unclear":
            self._hang_up()  # what else comes on it must not be taken for the next message's
            return self._wait(row, found.text)
        if row.refusals + 1 >= self.destination.attempts:
            return self._park(row, found.text, is_refusal=True)
        self._commit(lambda session: outbox.noted(session, row.okey, "queued", found.text, is_refusal=True))
        return _Result(False, f"message {row.okey}: {found.text}")

    def _wait(self, row: outbox.Row, text: str) -> _Result:
        if self._stopping.is_set():
            return _Result(False, text)
        self._commit(lambda session: outbox.noted(session, row.okey, "queued", text))
        return _Result(False, text)

    def _park(self, row: outbox.Row, text: str, *, is_refusal: bool = False) -> _Result:
        said = f"destination {self._lane}: {text}"

        def work(session: WriteSession) -> None:
            outbox.noted(session, row.okey, "refused", text, is_refusal=is_refusal)
            note_loss(session, "not forwarded", row.sender, row.message_type, "", said, ikey=row.message)

        self._commit(work)
        _log.warning("outbox %s: message %d is parked: %s", self._lane, row.okey, text)
        return _Result(True, text)

    def _commit(self, work: Callable[[WriteSession], None]) -> None:
        """Makes what an attempt came to durable.

        While that is impossible (a full disk) it is owed, and nothing is sent again.
        """
        self._owed = work
        self._store.submit(work).result()
        self._owed = None

    def _prune(self) -> None:
        now_s = time.monotonic()
        if now_s - self._pruned_s >= PRUNE_S:
            self._pruned_s = now_s
            before_us = self._clock() - round(self.destination.keep_days * _DAY_US)
            self._commit(lambda session: outbox.prune(session, self._lane, before_us))

    def _connected(self) -> MllpClient:
        if self._client is None:  # made anew each time: certificates are renewed in their files
            self._client = self.destination.peer().client(self.destination.timeout_s)
        return self._client

    def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _pause_s(self, failures: int) -> float:
        """Exponential, capped, with jitter over its upper half."""
        longest_s = self.destination.backoff_s * 2.0 ** min(failures - 1, 32)
        return min(longest_s, self.destination.backoff_max_s) * (0.5 + 0.5 * self._random())

    def _say(self, text: str) -> None:
        """Into the log, once until it changes."""
        if text != self._said:
            self._said = text
            _log.warning("outbox %s: waits: %s", self._lane, text)


def _reason(error: Exception) -> str:
    """Why there was no answer; without what the other side may have written."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error)
    return f"no answer: {text or type(error).__name__}"


class Forwarder:
    """The lanes of all destinations that are declared now; follows ``destinations.toml``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lanes: dict[str, Lane] = {}
        self._stopping = threading.Event()
        self._tell = Throttle(_log)
        self._thread = threading.Thread(target=self._run, name="hdg-outbox", daemon=True)

    def start(self) -> None:
        """Begins sending."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; blocks until what is under way has its answer, or GRACE_S have passed."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._end(list(self._lanes.values()))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as error:  # no thread to be had, a file that cannot be read just now
                self._tell(logging.WARNING, "outbox: its destinations wait: %s", type(error).__name__)
            self._stopping.wait(0.5)

    def _follow(self) -> None:
        """Lanes end and begin as destinations are declared now."""
        declared = self._gateway.destinations.current().tables
        wanted = {name: table for name, table in declared.items() if not table.paused}
        gone = [name for name, lane in self._lanes.items() if wanted.get(name) != lane.destination]
        self._end([self._lanes.pop(name) for name in gone])
        for name, table in wanted.items():
            if name not in self._lanes and not self._stopping.is_set():
                lane = Lane(self._gateway, name, table)
                lane.start()
                self._lanes[name] = lane

    def _end(self, lanes: list[Lane]) -> None:
        for lane in lanes:
            lane.stop()
        deadline_s = time.monotonic() + GRACE_S
        for lane in lanes:
            lane.join(max(deadline_s - time.monotonic(), 0))
            if lane.is_alive():
                lane.abort()
                lane.join(1.0)
