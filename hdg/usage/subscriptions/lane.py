"""One subscription's deliveries, in order, one at a time, until its lease is lost.

R4 subscription.html. At least once: an event counts as delivered when its endpoint has said so and that is
committed. What cannot be delivered holds back what comes after it; after ``attempts`` failures in a row the
Subscription is in error, and goes on from there when a client asks for it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from hdg.errors import Conflict, NotFound
from hdg.fhir import json, xml
from hdg.management.store import StoredVersion
from hdg.management.store.subscription import Row
from hdg.settings import Settings
from hdg.usage.subscriptions.feed import Feed, Notice, Told, Unusable
from hdg.usage.subscriptions.notification import Status, bundle
from hdg.usage.subscriptions.post import NotDelivered

__all__ = ["Carrier", "Lane", "Pace"]

SAVE_S = 60.0
"""How often the place of a subscription to which nothing happens is written down."""
_log = logging.getLogger("hdg.subscriptions")


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to try. ``poll_s``: a look at the log without being told that there is something new."""

    attempts: int
    backoff_s: float
    backoff_max_s: float
    timeout_s: float
    poll_s: float = 30.0
    random: Callable[[], float] = field(default=random.random)

    @classmethod
    def of(cls, settings: Settings, poll_s: float = 30.0) -> Pace:
        """As the settings say."""
        pauses = settings.subscription_backoff_s, settings.subscription_backoff_max_s
        return cls(settings.subscription_attempts, *pauses, settings.subscription_timeout_s, poll_s)

    def pause_s(self, failures: int) -> float:
        """Exponential, capped, with jitter over its upper half."""
        longest_s = self.backoff_s * 2.0 ** min(failures - 1, 32)
        return min(longest_s, self.backoff_max_s) * (0.5 + 0.5 * self.random())


Make = Callable[[], Awaitable[bytes | None]]


class Carrier(Protocol):
    """The way to a subscriber. ``client``: where it leads, for the audit trail."""

    @property
    def client(self) -> str:
        """Host or address."""

    async def carry(self, told: Told, make: Make, version: StoredVersion | None, limit_s: float) -> bool:
        """Gets ready, has the notification made, sends it; False when there was none to send after all.

        ``make`` is called once there is a way, right before anything is sent. ``version``: of an event; None
        for a handshake or heartbeat. Raises NotDelivered, TimeoutError after ``limit_s``.
        """


class Lane:
    """A subscription under the lease of ``row``. ``run`` ends when somebody else has the lease.

    ``is_bound``: over a connection that the subscriber has made: it begins with a handshake, also when it is
    active already, and ends when something cannot be sent.
    """

    def __init__(
        self, feed: Feed, row: Row, carrier: Carrier, pace: Pace, base_url: str, *, is_bound: bool = False
    ) -> None:
        self._feed = feed
        self._row = row
        self._carrier = carrier
        self._pace = pace
        self._base_url = base_url
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._found: deque[StoredVersion] = deque()
        self._leaf = row.done_leaf
        self._saved_s = self._sent_s = self._loop.time()
        self._heartbeat_s = 0
        self._is_bound = self._greets = is_bound
        self._told: Told | None = None
        self.type = ""
        """The type that is watched, '' before that is known."""

    def poke(self) -> None:
        """There may be something new. From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    async def run(self) -> None:
        """Delivers until the lease is lost, the subscription is off or in error, or this is cancelled."""
        with contextlib.suppress(Conflict, NotFound):
            await self._run()

    async def _run(self) -> None:
        failures = 0
        while True:
            self._news.clear()
            try:
                pause_s = await self._step()
                failures = 0
            except (Conflict, NotFound):
                raise
            except NotDelivered as error:
                if self._is_bound:
                    return
                pause_s = await self._failed(str(error))
            except Unusable as error:
                await self._change("error", str(error))
                return
            except Exception as error:  # the store's troubles pass, and the log is there
                failures += 1
                if failures == 1:
                    _log.warning("Subscription/%s waits: %s", self._row.id, type(error).__name__)
                pause_s = self._pace.pause_s(failures)
            if self._row.status not in ("requested", "active"):
                return
            if pause_s < 0:
                await self._wait()
            else:
                await asyncio.sleep(pause_s)

    async def _wait(self) -> None:
        due_s = self._sent_s + self._heartbeat_s - self._loop.time() if self._heartbeat_s else math.inf
        try:
            async with asyncio.timeout(max(min(self._pace.poll_s, due_s), 0.0)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _step(self) -> float:
        """What is next; seconds until the step after it, negative: when there is news."""
        self._row = await self._own_row()
        if self._row.status not in ("requested", "active"):
            return 0.0
        early_us = self._row.next_us - self._feed.now_us()
        if early_us > 0:
            return min(early_us / 1e6, self._pace.backoff_max_s)
        try:
            told = await self._now()
        except Conflict:  # written by another way than the gate, so nobody's; or just now by a client
            self._row = await self._own_row()
            return self._pace.poll_s
        self.type = told.definition.query.type
        self._heartbeat_s = told.definition.heartbeat_s if told.definition.topic is not None else 0
        if self._feed.is_over(told):
            await self._change("off", "")
            return 0.0
        if not self._found:  # else admit checks it
            await self._feed.aside(self._feed.check, told)
        if self._row.status == "requested" or self._greets:
            await self._send(told, "handshake")
            self._greets = False
            if self._row.status == "requested":
                await self._change("active", "")
            return 0.0
        if not self._found:
            found, self._leaf = await self._feed.aside(self._feed.look, told, self._leaf)
            self._found.extend(replace(version, sealed=b"") for version in found)  # admit reads it anew
        if self._found:
            return await self._deliver(told)
        await self._idle(told)
        return -1.0

    async def _now(self) -> Told:
        """The subscription as the row says: read again only when either has changed."""
        known = self._told
        if known is None or known.row.version != self._row.version:
            self._told = known = await self._feed.aside(self._feed.told, self._row)
        return replace(known, row=self._row)

    async def _own_row(self) -> Row:
        row = await self._feed.row(self._row.id)
        if row.epoch != self._row.epoch:
            raise Conflict("another has the lease")
        return row

    async def _deliver(self, told: Told) -> float:
        version = self._found[0]
        if await self._send(told, "event-notification", version):
            await self._feed.done(self._row, version.leaf_index)
            self._saved_s = self._loop.time()
        self._found.popleft()
        return 0.0

    async def _idle(self, told: Told) -> None:
        now_s = self._loop.time()
        if self._leaf > self._row.done_leaf and now_s - self._saved_s >= SAVE_S:
            await self._feed.done(self._row, self._leaf)
            self._saved_s = now_s
        if self._heartbeat_s and now_s - self._sent_s >= self._heartbeat_s:
            await self._send(told, "heartbeat")

    async def _send(self, told: Told, kind: str, version: StoredVersion | None = None) -> bool:
        """Raises NotDelivered. False when the event may not be told any more."""
        limit_s = told.definition.timeout_s or self._pace.timeout_s
        notices: list[Notice] = []

        async def make() -> bytes | None:
            if version is not None:
                notice = await self._feed.admit(told, version, self._carrier.client)
                if notice is None:
                    return None
                notices.append(notice)
            return await self._body(told, kind, notices)

        try:
            is_sent = await self._carrier.carry(told, make, version, limit_s)
        except TimeoutError:
            raise NotDelivered("no answer in time") from None
        self._sent_s = self._loop.time()
        return is_sent

    async def _body(self, told: Told, kind: str, notices: list[Notice]) -> bytes:
        body = await self._json(told, kind, notices)
        is_xml = body and told.definition.format == "application/fhir+xml"
        return await self._feed.aside(_in_xml, body) if is_xml else body

    async def _json(self, told: Told, kind: str, notices: list[Notice]) -> bytes:
        if told.definition.is_bare:
            return notices[0].body if notices else b""
        count = await self._feed.aside(self._feed.count, self._row.id)
        status = Status(self._base_url, self._row.id, self._row.status, kind, count, told.definition)
        return bundle(status, notices, told.definition.content, self._feed.now_us())

    async def _failed(self, text: str) -> float:
        """Notes a failure; how long to wait."""
        failures = self._row.failures + 1
        if failures >= self._pace.attempts:
            await self._change("error", text)
            return 0.0
        pause_s = self._pace.pause_s(failures)
        await self._feed.retry(self._row, failures, self._feed.now_us() + round(pause_s * 1e6))
        _log.info("Subscription/%s: attempt %d: %s", self._row.id, failures, text)
        return pause_s

    async def _change(self, status: str, error: str) -> None:
        """The status, unless somebody else changes the subscription just now."""
        try:
            self._row = await self._feed.status(self._row, status, error)
        except (Conflict, NotFound):
            self._row = await self._feed.row(self._row.id)


def _in_xml(body: bytes) -> bytes:
    return xml.dumps(json.loads(body))
