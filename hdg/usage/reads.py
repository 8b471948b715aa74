"""Reads by name that come while others are under way wait for these, and share a query (DESIGN §6).

PostgreSQL is another process: to wait for each answer on the event loop would hold up all other requests, and to ask
for one resource costs nearly as much as to ask for ten. What each caller may see is in the SQL as it is alone; the
reads of one caller's view share a query, those of others have their own.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hdg.management.identity import Principal
from hdg.management.store import StoredVersion
from hdg.management.store.prepared import Prepared
from hdg.management.store.read import Reader
from hdg.usage.views import Views

__all__ = ["Reads"]

_TOGETHER_MAX = 64
"""Reads of one turn: no body of any is sent before all are there."""
Aside = Callable[..., Awaitable[Any]]
"""Runs a function with arguments on another thread."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    who: Principal
    name: tuple[str, str]
    future: asyncio.Future[StoredVersion | None]


class Reads:
    """For one event loop. ``aside``: as Gate has it."""

    def __init__(self, reader: Reader, views: Views, aside: Aside) -> None:
        self._reader = reader
        self._views = views
        self._aside = aside
        self._waiting: list[_Wanted] = []
        self._turns: asyncio.Task[None] | None = None

    async def read(self, who: Principal, type_: str, id_: str) -> StoredVersion | None:
        """As Reader.read, of what ``who`` may see."""
        if not self._reader.is_remote:
            # On the event loop's own thread: the query takes less time than a hop to another thread and back.
            return self._reader.read(type_, id_, self._views.visible_to(who))
        loop = asyncio.get_running_loop()
        wanted = _Wanted(who, (type_, id_), loop.create_future())
        self._waiting.append(wanted)
        if self._turns is None or self._turns.done() or self._turns.get_loop() is not loop:
            self._turns = loop.create_task(self._take_turns())
        return await wanted.future

    async def _take_turns(self) -> None:
        """One turn after the other while somebody waits."""
        while self._waiting:
            turn, self._waiting = self._waiting[:_TOGETHER_MAX], self._waiting[_TOGETHER_MAX:]
            try:
                outcomes = await self._awaited(turn) or await self._aside(self._found, turn)
            except BaseException as error:  # no thread runs any more, or the loop ends
                turn, self._waiting = [*turn, *self._waiting], []
                _tell(turn, [error] * len(turn))
                if not isinstance(error, Exception):
                    raise
            else:
                _tell(turn, outcomes)

    async def _awaited(self, turn: Sequence[_Wanted]) -> list[StoredVersion | Exception | None] | None:
        """What was found without another thread; None: it takes one, or its connection is opened there."""
        views: defaultdict[Prepared, list[int]] = defaultdict(list)
        for place, wanted in enumerate(turn):
            views[self._views.among(wanted.who)].append(place)
        asked = [({turn[place].name for place in some}, visible) for visible, some in views.items()]
        found = await self._reader.read_awaited(asked)
        if found is None:
            return None
        outcomes: list[StoredVersion | Exception | None] = [None] * len(turn)
        for some, versions in zip(views.values(), found, strict=True):
            for place in some:
                outcomes[place] = versions.get(turn[place].name)
        return outcomes

    def _found(self, turn: Sequence[_Wanted]) -> list[StoredVersion | Exception | None]:
        """What became of each: the version, None, or an error."""
        self._reader.open_awaited()
        views: defaultdict[Prepared, list[int]] = defaultdict(list)
        for place, wanted in enumerate(turn):
            views[self._views.visible_to(wanted.who)].append(place)
        outcomes: list[StoredVersion | Exception | None] = [None] * len(turn)
        for visible, places in views.items():
            some = [turn[place] for place in places]
            for place, outcome in zip(places, self._of_one_view(some, visible), strict=True):
                outcomes[place] = outcome
        return outcomes

    def _of_one_view(
        self, some: Sequence[_Wanted], visible: Prepared
    ) -> list[StoredVersion | Exception | None]:
        if len(some) > 1:
            try:
                found = self._reader.read_among(
                    {wanted.name for wanted in some}, self._views.among(some[0].who)
                )
            except Exception:  # nobody's error is another's: each is asked alone
                found = None
            if found is not None:
                return [found.get(wanted.name) for wanted in some]
        return [self._alone(wanted, visible) for wanted in some]

    def _alone(self, wanted: _Wanted, visible: Prepared) -> StoredVersion | Exception | None:
        try:
            return self._reader.read(*wanted.name, visible)
        except Exception as error:
            return error


def _tell(turn: Sequence[_Wanted], outcomes: Sequence[StoredVersion | BaseException | None]) -> None:
    for wanted, outcome in zip(turn, outcomes, strict=True):
        if wanted.future.done():  # its caller has given up
            continue
        if isinstance(outcome, Exception):
            wanted.future.set_exception(outcome)
        elif isinstance(outcome, BaseException):
            wanted.future.cancel()
        else:
            wanted.future.set_result(outcome)
