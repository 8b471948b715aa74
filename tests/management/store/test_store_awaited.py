"""Queries that an event loop asks of PostgreSQL by itself."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import create_engine, text

from hdg.management.store.awaited import Awaited


@pytest.fixture
def awaited(postgres_uri):
    engine = create_engine(postgres_uri.replace("postgresql://", "postgresql+psycopg://"))
    made = Awaited(engine)
    yield made
    made.close()
    engine.dispose()


ADD = "SELECT $1::int + $2::int, $3::text"


def test_each_query_of_an_exchange_has_its_rows(awaited):
    awaited.open()
    queries = [(ADD, [1, 2, "a"]), ("SELECT 1 WHERE $1::int = 0", [5]), (ADD, [3, 4, None])]
    for _ in range(3):
        assert asyncio.run(awaited.rows(queries)) == [[(3, "a")], [], [(7, None)]]
    many = "SELECT g, repeat('x', 1000) FROM generate_series(1, $1::int) AS g"
    (rows,) = asyncio.run(awaited.rows([(many, [5000])]))
    assert [row[0] for row in rows] == list(range(1, 5001))


def test_a_long_value_is_sent_whole(awaited):
    awaited.open()
    assert asyncio.run(awaited.rows([("SELECT length($1::text)", ["x" * 20_000_000])])) == [[(20_000_000,)]]


def test_nothing_is_asked_of_a_connection_that_is_not_open(awaited):
    assert not awaited.is_open
    assert asyncio.run(awaited.rows([(ADD, [1, 2, ""])])) is None


def test_a_refused_query_has_no_rows_and_the_connection_is_given_up(awaited):
    awaited.open()
    queries = [(ADD, [1, 2, ""]), ("SELECT 1 / $1::int", [0]), (ADD, [1, 2, ""])]
    assert asyncio.run(awaited.rows(queries)) is None
    assert not awaited.is_open
    awaited.open()
    assert not awaited.is_open, "one that fails each time is not opened each time"


def test_a_lost_connection_is_given_up_and_opened_again(awaited, monkeypatch):
    monkeypatch.setattr("hdg.management.store.awaited._AGAIN_S", 0.0)
    awaited.open()
    ((own,),) = asyncio.run(awaited.rows([("SELECT pg_backend_pid()", [])]))[0:1]
    with awaited._engine.connect() as other:
        assert other.execute(text("SELECT pg_terminate_backend(:p)"), {"p": own[0]}).scalar()
    assert asyncio.run(awaited.rows([("SELECT pg_sleep($1::float)", [2.0])])) is None
    assert not awaited.is_open
    awaited.open()
    assert asyncio.run(awaited.rows([(ADD, [1, 2, "b"])])) == [[(3, "b")]]


def test_the_loop_goes_on_meanwhile_and_one_exchange_is_under_way_at_a_time(awaited):
    awaited.open()

    async def main():
        slow = asyncio.create_task(awaited.rows([("SELECT $1::int FROM pg_sleep(0.2)", [1])]))
        await asyncio.sleep(0.05)
        assert await awaited.rows([(ADD, [1, 2, ""])]) is None
        assert not slow.done()
        return await slow

    assert asyncio.run(main()) == [[(1,)]]


def test_a_caller_that_gives_up_leaves_no_rows_to_the_next(awaited, monkeypatch):
    monkeypatch.setattr("hdg.management.store.awaited._AGAIN_S", 0.0)
    awaited.open()

    async def main():
        task = asyncio.create_task(awaited.rows([("SELECT 'first' FROM pg_sleep(0.2)", [])]))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        awaited.open()
        return await awaited.rows([("SELECT 'second'", [])])

    assert asyncio.run(main()) == [[("second",)]]


def test_texts_beyond_those_that_are_kept_are_asked_all_the_same(awaited, monkeypatch):
    monkeypatch.setattr("hdg.management.store.awaited._PREPARED_MAX", 2)
    awaited.open()
    for number in range(5):
        assert asyncio.run(awaited.rows([(f"SELECT {number} + $1::int", [1])])) == [[(number + 1,)]]
