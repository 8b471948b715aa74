"""Delivers to all subscriptions that are sent to (rest-hook, email, sms), in a thread and event loop of its own.

One gateway of all does so. Each subscription has its own lane, so a slow endpoint holds up its own alone; how many
requests are under way at a time is bounded. Several gateways on one database: one has the lock, another takes over
when it ends. Should two ever think that they have it, the lease of each subscription (``epoch``) lets one of them
write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from hdg.errors import Conflict, NotFound
from hdg.management.store import StoredVersion, subscription
from hdg.management.store.lane_lock import LaneLock
from hdg.management.store.subscription import Row
from hdg.settings import Settings
from hdg.throttle import Throttle
from hdg.usage.subscriptions.feed import Feed, Told
from hdg.usage.subscriptions.lane import Carrier, Lane, Make, Pace
from hdg.usage.subscriptions.ways import Ways

__all__ = ["Dispatcher"]

POLL_S = 0.25
AT_ONCE = 256
"""Requests that are under way together at most."""
NAMES_AT_ONCE = 64
"""Look-ups of host names together: one that does not come back takes a thread until the resolver gives up."""
LANES_MAX = 2_000
_LOCK = "_subscriptions"
_log = logging.getLogger("hdg.subscriptions")


class Dispatcher:
    """``start`` and ``stop`` are for any thread. Raises SettingsError for a ``subscription_ca`` that is none."""

    def __init__(self, feed: Feed, settings: Settings) -> None:
        self._feed = feed
        self._pace = Pace.of(settings)
        self._ways = Ways(settings)
        self._base_url = settings.fhir_base
        self._lock = LaneLock(settings.data, feed.engine, _LOCK)
        self._thread = threading.Thread(target=self._main, name="hdg-subscriptions", daemon=True)
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lanes: dict[str, tuple[int, Lane, asyncio.Task[None]]] = {}
        self._head = -1
        self._tell = Throttle(_log)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what is under way is broken off, and sent again by who comes next."""
        if self._thread.ident is None:
            return
        while self._thread.is_alive():
            loop = self._loop
            if loop is not None and not loop.is_closed():
                with contextlib.suppress(RuntimeError):  # it has ended just now
                    loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(POLL_S)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        finally:
            self._feed.settle()
            self._lock.release()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(NAMES_AT_ONCE, "hdg-names"))
        room = asyncio.Semaphore(AT_ONCE)
        while not self._stopping.is_set():
            try:
                await self._look(room)
            except Exception as error:  # the database's troubles pass
                _log.warning("subscriptions wait: %s", type(error).__name__)
                await asyncio.sleep(POLL_S * 4)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), POLL_S)
        await self._end(list(self._lanes))

    async def _look(self, room: asyncio.Semaphore) -> None:
        """One look: what is new, and whose lanes begin or end."""
        head = await self._feed.aside(subscription.head, self._feed.engine)
        before = self._head
        if head != before:
            self._feed.tell()
        if not await self._feed.aside(self._lock.hold):
            await self._end(list(self._lanes))
            self._head = head
            return
        rows = await self._feed.aside(subscription.rows, self._feed.engine)
        wanted = {
            row.id: row
            for row in rows
            if row.channel in self._ways.channels and row.status in ("requested", "active")
        }
        ended = [
            id_
            for id_, (epoch, _, task) in self._lanes.items()
            if task.done() or not _is_in(wanted, id_, epoch)
        ]
        await self._end(ended)
        waiting = [row for row in wanted.values() if row.id not in self._lanes]
        places = LANES_MAX - len(self._lanes)
        for row in waiting[:places]:
            await self._begin(row, room)
        if len(waiting) > places:
            self._tell(logging.ERROR, "%d subscriptions are too many and wait", len(waiting) - places)
        if head != before and self._lanes:
            changed = await self._feed.aside(subscription.types_between, self._feed.engine, before, head)
            for _, lane, _ in self._lanes.values():
                if not lane.type or lane.type in changed:
                    lane.poke()
        self._head = head  # not before: a look that fails is no look

    async def _begin(self, row: Row, room: asyncio.Semaphore) -> None:
        try:
            own = await self._feed.claim(row)
        except (Conflict, NotFound):
            return
        carrier = _Bounded(self._ways.carrier(row.channel), room)
        lane = Lane(self._feed, own, carrier, self._pace, self._base_url)
        self._lanes[row.id] = own.epoch, lane, asyncio.create_task(lane.run())

    async def _end(self, ids: list[str]) -> None:
        tasks = [self._lanes.pop(id_)[2] for id_ in ids]
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                _log.error("a subscription's lane broke off: %s", type(outcome).__name__)


def _is_in(wanted: dict[str, Row], id_: str, epoch: int) -> bool:
    """Whether a lane's lease is still the one that counts."""
    return id_ in wanted and wanted[id_].epoch == epoch


class _Bounded:
    """A Carrier that waits for room."""

    def __init__(self, carrier: Carrier, room: asyncio.Semaphore) -> None:
        self._carrier = carrier
        self._room = room

    @property
    def client(self) -> str:
        """Where it leads."""
        return self._carrier.client

    async def carry(self, told: Told, make: Make, version: StoredVersion | None, limit_s: float) -> bool:
        """As the carrier does; waiting for room is not the endpoint's fault."""
        async with self._room:
            return await self._carrier.carry(told, make, version, limit_s)
