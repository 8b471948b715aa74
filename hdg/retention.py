"""Retention: what the gateway keeps no longer than it must (docs/hl7v2-transport.md, "What is kept").

Once a day in ``hdg serve``, and by ``hdg prune``. Age is told by the gateway's clock, and nothing can be put
back, so a clock that was set ahead must not empty the store: when it stands more than GAP_US after the last
look, nothing is removed this time, and what is found a day later is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from hdg.gateway import Gateway
from hdg.management.store import WriteSession, keep

__all__ = ["DAY_US", "GAP_US", "Removed", "daily", "is_due", "prune"]

DAY_US = 86_400_000_000
GAP_US = 8 * DAY_US
"""The clock moves on by a day between two looks; a gateway may stand still for a week."""
_LOOK_S = 3_600.0
_log = logging.getLogger("hdg.retention")


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed (or would be). ``is_held``: nothing, since the clock has moved too far.

    ``is_first``: nothing either, since nobody has looked before.
    """

    messages: int = 0
    outbox: int = 0
    work: int = 0
    files: int = 0
    is_held: bool = False
    is_first: bool = False

    def __str__(self) -> str:
        return (
            f"raw bytes of {self.messages} messages, {self.outbox} outbox rows, "
            f"{self.work} closed work items, {self.files} vault files without an owner"
        )


def is_due(gateway: Gateway) -> bool:
    """A day has passed since the last look (of any process on this database)."""
    with gateway.store.engine.connect() as connection:
        last_us = keep.last_run_us(connection)
    now_us = gateway.clock()
    return last_us is None or not 0 <= now_us - last_us < DAY_US


def prune(
    gateway: Gateway,
    *,
    is_dry: bool = False,
    is_clock_trusted: bool = False,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Removed:
    """Removes what is older than the settings say. ``is_clock_trusted``: also after a leap of the clock.

    Raises NotCommitted; what was removed until then is.
    """
    now_us = gateway.clock()
    if is_dry:
        return _counted(gateway, now_us)
    with gateway.store.engine.connect() as connection:
        last_us = keep.last_run_us(connection)
    if is_clock_trusted or (last_us is not None and now_us - last_us <= GAP_US):
        removed = _pruned(gateway, now_us, is_stopping)
    else:
        removed = Removed(is_held=last_us is not None, is_first=last_us is None)
    gateway.store.submit(lambda session: keep.note_run(session, now_us)).result()
    return removed


def _counted(gateway: Gateway, now_us: int) -> Removed:
    settings, declared = gateway.settings, gateway.destinations.current().tables
    removed = Removed()
    with gateway.store.engine.connect() as connection:
        if before_us := _before(now_us, settings.keep_messages_days):
            removed = replace(removed, messages=keep.count_messages(connection, before_us))
        if before_us := _before(now_us, settings.keep_outbox_days):
            removed = replace(removed, outbox=keep.count_sent(connection, before_us, declared))
        if before_us := _before(now_us, settings.keep_work_days):
            removed = replace(removed, work=keep.count_work(connection, before_us))
    return removed


def _pruned(gateway: Gateway, now_us: int, is_stopping: Callable[[], bool]) -> Removed:
    settings, home = gateway.settings, gateway.settings.institution
    declared = frozenset(gateway.destinations.current().tables)

    def pages(work: Callable[[WriteSession], int]) -> int:
        total = 0
        while not is_stopping():
            count = gateway.store.submit(work).result()
            total += count
            if count < keep.PAGE:
                break
        return total

    outbox = work = messages = 0
    sent_us, closed_us, received_us = (
        _before(now_us, days)
        for days in (settings.keep_outbox_days, settings.keep_work_days, settings.keep_messages_days)
    )
    if sent_us:
        outbox = pages(lambda session: keep.drop_sent(session, sent_us, declared, home))
    if closed_us:
        work = pages(lambda session: keep.drop_work(session, closed_us, home))
    if received_us:
        messages = pages(lambda session: keep.drop_messages(session, received_us, home))
    return Removed(messages, outbox, work, gateway.store.collect_orphans())


def _before(now_us: int, days: float) -> int:
    """The time from before which things go; 0: nothing goes."""
    return max(now_us - round(days * DAY_US), 0) if days else 0


async def daily(gateway: Gateway, stopping: asyncio.Event, *, look_s: float = _LOOK_S) -> None:
    """Prunes whenever a day has passed, until ``stopping``. Never raises."""
    while not stopping.is_set():
        try:
            await asyncio.to_thread(_when_due, gateway, stopping.is_set)
        except Exception as error:  # the store's troubles: they pass, and the rows are there
            _log.error("retention: %s; tried again within the hour", type(error).__name__)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), look_s)


def _when_due(gateway: Gateway, is_stopping: Callable[[], bool]) -> None:
    if not is_due(gateway):
        return
    removed = prune(gateway, is_stopping=is_stopping)
    if removed.is_held:
        _log.warning("retention: the clock has moved by days since the last look: nothing is removed today")
    elif not removed.is_first:
        _log.info("retention: removed %s", removed)
