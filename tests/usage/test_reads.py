"""Reads that come together share a query on PostgreSQL; each is answered as it would be alone, and so recorded."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from sqlalchemy import select

from hdg.errors import VaultError
from hdg.management.audit import AuditEventRow
from hdg.management.store.read import Reader
from hdg.usage.reads import Reads


def events(world):
    table = AuditEventRow.__table__
    with world.store.engine.connect() as connection:
        return Counter(connection.execute(select(table.c.patient, table.c.agent)).all())


def asked(world):
    """(path, token) of what is visible, hidden, absent, deleted, or about two patients, for three callers."""
    both = world.observation("both", "ann", "718-7", "2024-01-01")
    world.put(both | {"performer": [{"reference": "Patient/bob"}]}, "north", "ann")
    tokens = [
        world.token("clinician", institution="north"),
        world.token("clinician", institution="south"),
        world.token("patient", patient="ann"),
    ]
    paths = [f"/fhir/{name}" for name in ("Patient/ann", "Patient/bob", "Patient/nobody", "Observation/both")]
    return [(path, token) for path in [*paths, "/fhir/Observation/ann-0"] for token in tokens]


def test_reads_that_come_together_are_answered_as_each_alone(either):
    requests = asked(either)
    alone = [either.client.get(path, token) for path, token in requests]
    recorded = events(either)
    together = either.client.gather([*requests, *requests, *requests])
    for answer, expected in zip(together, [*alone, *alone, *alone], strict=True):
        assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
        assert answer.headers.get("etag") == expected.headers.get("etag")
    assert {answer.status_code for answer in alone} == {200, 404}
    assert events(either) == Counter({key: 4 * count for key, count in recorded.items()})


def test_what_is_written_is_seen_by_the_reads_that_come_after_it(either):
    north = either.token("clinician", institution="north")
    for number in range(3):
        either.put(either.observation("new", "ann", f"{number}-1", "2024-01-01"), "north", "ann")
        answers = either.client.gather([("/fhir/Observation/new", north)] * 8)
        assert {answer.json()["meta"]["versionId"] for answer in answers} == {str(number + 1)}


def test_an_error_of_one_query_is_nobody_elses(either, monkeypatch):
    whole = Reader.read_among
    failures = []

    def broken(self, names, predicate):
        failures.append(names)
        raise VaultError("no")

    monkeypatch.setattr(Reader, "read_among", broken)
    monkeypatch.setattr(Reader, "open_awaited", lambda reader: None)
    requests = asked(either)
    answers = either.client.gather(requests * 3)
    assert {answer.status_code for answer in answers} == {200, 404}
    assert bool(failures) == either.store.reader.is_remote
    monkeypatch.setattr(Reader, "read_among", whole)
    assert [one.status_code for one in either.client.gather(requests * 3)] == [
        one.status_code for one in answers
    ]


class Remote:
    """A reader of another process that fails for one name."""

    is_remote = True

    def __init__(self):
        self.asked = []

    async def read_awaited(self, asked):
        return None

    def open_awaited(self):
        pass

    def read(self, type_, id_, visible):
        self.asked.append((id_, visible))
        if id_ == "bad":
            raise VaultError("no")
        return f"{visible}/{id_}"

    def read_among(self, names, visible):
        self.asked.append((sorted(id_ for _, id_ in names), visible))
        if ("Patient", "bad") in names:
            raise VaultError("no")
        return {name: f"{visible}/{name[1]}" for name in names if name[1] != "absent"}


class OwnViews:
    def visible_to(self, who):
        return who

    def among(self, who):
        return who


async def aside(work, *given):
    return await asyncio.to_thread(work, *given)


def test_each_view_has_a_query_of_its_own_and_one_that_fails_fails_alone():
    reader = Remote()
    reads = Reads(reader, OwnViews(), aside)

    async def main():
        names = [("x", "a"), ("x", "absent"), ("y", "a"), ("z", "bad"), ("z", "b"), ("x", "a")]
        calls = (reads.read(who, "Patient", id_) for who, id_ in names)
        return await asyncio.gather(*calls, return_exceptions=True)

    found = asyncio.run(main())
    assert found[:3] == ["x/a", None, "y/a"]
    assert isinstance(found[3], VaultError)
    assert found[4:] == ["z/b", "x/a"]
    assert (["a", "absent"], "x") in reader.asked
    assert ("a", "y") in reader.asked
    assert [one for one in reader.asked if one[1] == "z"] == [(["b", "bad"], "z"), ("bad", "z"), ("b", "z")]


def test_a_caller_that_gives_up_leaves_the_others_their_answers():
    reads = Reads(Remote(), OwnViews(), aside)

    async def main():
        first, second = (asyncio.create_task(reads.read("x", "Patient", id_)) for id_ in "ab")
        await asyncio.sleep(0)
        first.cancel()
        return await second, first

    found, given_up = asyncio.run(main())
    assert found == "x/b"
    assert given_up.cancelled()


def test_when_no_thread_runs_any_more_nobody_waits_for_ever():
    async def ended(work, *given):
        raise RuntimeError("cannot schedule new futures after shutdown")

    reads = Reads(Remote(), OwnViews(), ended)

    async def main():
        return await asyncio.gather(
            *(reads.read("x", "Patient", id_) for id_ in "abc"), return_exceptions=True
        )

    assert all(isinstance(one, RuntimeError) for one in asyncio.run(main()))
    reads._aside = aside
    assert asyncio.run(reads.read("x", "Patient", "a")) == "x/a"


@pytest.mark.parametrize("count", [1, 2, 200])
def test_more_than_a_turn_holds_take_several(count):
    reader = Remote()
    reads = Reads(reader, OwnViews(), aside)

    async def main():
        return await asyncio.gather(*(reads.read("x", "Patient", str(number)) for number in range(count)))

    assert asyncio.run(main()) == [f"x/{number}" for number in range(count)]
    assert len(reader.asked) >= count // 64


def test_on_postgresql_reads_need_no_thread_once_they_are_connected(make_world):
    world = make_world()
    requests = asked(world)
    before = world.client.gather(requests)
    among, alone = Reader.read_among, []
    try:
        Reader.read_among = lambda reader, names, predicate: (
            alone.append(names) or among(reader, names, predicate)
        )
        after = world.client.gather([one for one in requests if "both" not in one[0]])
    finally:
        Reader.read_among = among
    assert alone == []
    kept = [answer for answer, (path, _) in zip(before, requests, strict=True) if "both" not in path]
    assert [(one.status_code, one.content) for one in after] == [
        (one.status_code, one.content) for one in kept
    ]
