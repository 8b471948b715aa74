"""How callers learn what became of their works: threads one by one, event loops a group at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hdg.errors import NotFound
from hdg.management.store import Store


def basic(number: int):
    return lambda s: s.put({"resourceType": "Basic", "id": f"b{number}"}, institution="s").id


def missing(session):
    raise NotFound("no such thing")


def stopping(session):
    raise StopIteration


async def held(store: Store) -> threading.Event:
    """Holds the writer until the event is set."""
    free, is_held = threading.Event(), threading.Event()

    def hold(session):
        is_held.set()
        free.wait(120)

    store.submit(hold)
    await asyncio.to_thread(is_held.wait, 120)
    return free


def test_the_outcomes_of_a_group_come_to_an_event_loop_together(store: Store) -> None:
    async def main() -> tuple[list[object], int]:
        loop = asyncio.get_running_loop()
        wakes = 0
        real = loop.call_soon_threadsafe

        def counted(*given, **more):
            nonlocal wakes
            wakes += threading.current_thread().name == "hdg-writer"
            return real(*given, **more)

        free = await held(store)
        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        works = [basic(1), missing, basic(2), stopping, basic(3)]
        performing = [asyncio.ensure_future(store.perform(work)) for work in works]
        while store.queued < len(works):
            await asyncio.sleep(0.001)
        free.set()
        return await asyncio.gather(*performing, return_exceptions=True), wakes

    found, wakes = asyncio.run(main())
    assert found[::2] == ["b1", "b2", "b3"]
    assert isinstance(found[1], NotFound)
    assert isinstance(found[3], RuntimeError)
    assert wakes == 1


def test_a_work_whose_caller_has_given_up_is_not_run(store: Store) -> None:
    ran: list[str] = []

    async def main() -> None:
        free = await held(store)
        given_up = asyncio.ensure_future(store.perform(lambda _: ran.append("given up")))
        kept = asyncio.ensure_future(store.perform(lambda _: ran.append("kept")))
        while store.queued < 2:
            await asyncio.sleep(0.001)
        given_up.cancel()
        await asyncio.sleep(0)
        free.set()
        await kept
        with pytest.raises(asyncio.CancelledError):
            await given_up

    asyncio.run(main())
    assert ran == ["kept"]


def test_a_caller_that_gives_up_while_its_work_runs_harms_nobody(store: Store) -> None:
    free, is_running = threading.Event(), threading.Event()

    def slow(session):
        is_running.set()
        free.wait(120)
        return session.put({"resourceType": "Basic", "id": "slow"}, institution="s")

    async def main() -> str:
        given_up = asyncio.ensure_future(store.perform(slow))
        await asyncio.to_thread(is_running.wait, 120)
        given_up.cancel()
        await asyncio.sleep(0)
        other = asyncio.ensure_future(store.perform(basic(4)))
        free.set()
        return await other

    assert asyncio.run(main()) == "b4"


def test_an_event_loop_that_is_gone_does_not_stop_the_writer(store: Store) -> None:
    free = threading.Event()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(store.perform(lambda _: free.wait(120)))
    loop.run_until_complete(asyncio.sleep(0.01))
    waiting.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    free.set()
    assert store.submit(basic(5)).result(120) == "b5"
