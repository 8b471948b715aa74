"""Who has lost the lease of a subscription can neither record, number nor send anything for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hdg.errors import Conflict
from hdg.management.store import subscription
from receiver import until


def test_an_older_lease_admits_no_event_and_moves_nothing(site, endpoint):
    id_ = site.subscribe(endpoint.url)
    site.observe("x1")
    feed = site.world.gate.feed
    engine = site.world.store.engine

    async def two():
        old = await feed.claim(await feed.row(id_))
        new = await feed.claim(old)
        assert new.epoch == old.epoch + 1
        told = feed.told(old)
        audited = len(site.audited())
        (version,), leaf = feed.look(told, old.done_leaf)
        with pytest.raises(Conflict):
            await feed.admit(told, version, "")
        with pytest.raises(Conflict):
            await feed.done(old, leaf)
        with pytest.raises(Conflict):
            await feed.status(old, "active")
        with pytest.raises(Conflict):
            await feed.claim(old)
        await feed.retry(old, 7, 0)
        assert subscription.event_count(engine, id_) == 0
        assert subscription.one(engine, id_) == new
        assert len(site.audited()) == audited
        notice = await feed.admit(feed.told(new), version, "")
        assert notice.event.number == 1
        again = await feed.admit(feed.told(new), version, "")
        assert again.event == notice.event  # a repeat has the number that it had
        await feed.done(new, leaf)
        assert subscription.one(engine, id_).done_leaf == leaf

    asyncio.run(two())


def test_old_events_are_forgotten_and_numbers_go_on(site, endpoint, monkeypatch):
    monkeypatch.setattr(subscription, "KEEP_EVENTS", 2)
    id_ = site.subscribe(endpoint.url)
    for number in range(5):
        site.observe(f"x{number}")
    feed = site.world.gate.feed

    async def all_of_them():
        row = await feed.row(id_)
        told = feed.told(row)
        versions, _ = feed.look(told, row.done_leaf)
        return [(await feed.admit(told, version, "")).event.number for version in versions]

    assert asyncio.run(all_of_them()) == [1, 2, 3, 4, 5]
    kept = subscription.events(site.world.store.engine, id_)
    assert [event.number for event in kept] in ([4, 5], [3, 4, 5])  # pruned with the next one at the latest


def test_the_log_is_read_in_parts_and_nothing_is_left_out(lite, endpoint, monkeypatch):
    from hdg.usage.subscriptions import feed as feed_module

    monkeypatch.setattr(feed_module, "AT_ONCE", 3)
    id_ = lite.subscribe(endpoint.url)
    for number in range(10):
        lite.observe(f"x{number}", code="718-7" if number % 2 else "2345-7")
    feed = lite.world.gate.feed
    row = subscription.one(lite.world.store.engine, id_)
    told, leaf, found = feed.told(row), row.done_leaf, []
    for _ in range(10):
        versions, leaf = feed.look(told, leaf)
        found += [version.id for version in versions]
    assert found == [f"x{number}" for number in range(1, 10, 2)]
    assert leaf == subscription.head(lite.world.store.engine)


def test_what_a_look_saw_that_failed_is_told_by_the_next_one(lite, endpoint, monkeypatch):
    lite.start()
    lite.dispatcher._pace = replace(lite.dispatcher._pace, poll_s=3600.0)  # no lane looks by itself
    id_ = lite.subscribe(endpoint.url, channel={"payload": "application/fhir+json"})
    lite.until_status(id_, "active")
    real, failed = subscription.types_between, []

    def failing(*given):
        if not failed:
            failed.append(True)
            raise OSError
        return real(*given)

    monkeypatch.setattr(subscription, "types_between", failing)
    for number in range(1, 100):  # a lane that is at work anyhow may see it before the dispatcher looks
        lite.observe(f"x{number}")
        assert endpoint.wait_for(number)[-1].json()["id"] == f"x{number}"
        if failed:
            break
    assert failed


def test_what_waits_for_an_endpoint_is_kept_without_its_content(lite, endpoint):
    id_ = lite.subscribe(endpoint.url, channel={"payload": "application/fhir+json"})
    lite.start()
    lite.until_status(id_, "active")
    endpoint.hold.clear()
    for number in range(4):
        lite.observe(f"x{number}")
    lane = lite.dispatcher._lanes[id_][1]
    until(lambda: bool(lane._found))
    assert {version.sealed for version in tuple(lane._found)} == {b""}
    endpoint.hold.set()
    assert [got.json()["id"] for got in endpoint.wait_for(4)] == [f"x{number}" for number in range(4)]
