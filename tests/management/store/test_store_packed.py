"""Rows packed into one row of SQLite (https://www.sqlite.org/json1.html) come out as they went in."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    select,
    true,
)
from sqlalchemy.exc import DataError

from hdg.management.store import SearchQuery, Store, WriteSession, pages
from hdg.management.store.asking import Asker
from hdg.management.store.packed import packed, unpacked
from tests.management.store.conftest import Do

ROWS = Table(
    "row",
    MetaData(),
    Column("rkey", BigInteger),
    Column("name", Text),
    Column("body", LargeBinary),
    Column("number", BigInteger),
)


def test_integers_of_64_bits_texts_and_any_bytes_come_back_as_they_were() -> None:
    chance = random.Random(5)
    rows = [
        (1, "", b"", -(2**63)),
        (2, 'a "quoted" \\ text\n\t\x01', b"\x00", 2**63 - 1),
        (3, "é 🜚 \u2028", b"\xff\xfe\x00\x80", None),
        (4, None, b'","', 0),
        *(
            (n, f"n{n}", chance.randbytes(chance.randrange(2_000)), chance.getrandbits(62))
            for n in range(5, 99)
        ),
    ]
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        ROWS.create(connection)
        connection.execute(
            ROWS.insert(), [dict(zip((c.name for c in ROWS.c), row, strict=True)) for row in rows]
        )
        text, bodies = connection.execute(packed(select(ROWS))).one()
    engine.dispose()
    assert sorted(map(tuple, unpacked(text, bodies, 2))) == rows


def test_no_rows_are_one_packed_row_of_none() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        ROWS.create(connection)
        text, bodies = connection.execute(packed(select(ROWS))).one()
    engine.dispose()
    assert unpacked(text, bodies, 2) == []


def test_bytes_that_are_not_as_long_as_said_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        unpacked("[[1, 2]]", b"abc", 1)


def test_a_page_is_the_same_packed_and_not_packed(
    store: Store, do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(session: WriteSession) -> None:
        for number in range(120):
            content = {"resourceType": "Basic", "id": f"b{number}", "code": {"text": "é" * number}}
            session.put(content, institution="north")

    do(work)
    queries = [
        SearchQuery("Basic", count=count, with_total=total)
        for count in (1, 50, 119, 120, 500)
        for total in (True, False)
    ]
    shown = [store.reader.search(query, true()) for query in queries]
    assert [len(page.versions) for page in shown] == [1, 1, 50, 50, 119, 119, 120, 120, 120, 120]
    rows = pages.page

    def never_packed(*given: object, is_packed: bool = False, **options: object) -> object:
        if is_packed:
            raise DataError("", None, Exception("string or blob too big"))
        return rows(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pages, "page", never_packed)
    assert [store.reader.search(query, true()) for query in queries] == shown


def test_a_page_on_sqlite_is_one_row_of_the_driver(
    store: Store, do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.engine.dialect.name != "sqlite":
        return
    do(
        lambda session: [
            session.put({"resourceType": "Basic", "id": f"b{n}", "code": {}}, institution="n")
            for n in range(9)
        ]
    )
    said: list[str] = []
    fetched = Asker.fetched

    def noted(self: Asker, connection: Connection, sql: str, values: Any) -> list[Any]:
        said.append(sql)
        return fetched(self, connection, sql, values)

    monkeypatch.setattr(Asker, "fetched", noted)
    assert len(store.reader.search(SearchQuery("Basic"), true()).versions) == 9
    assert any("json_group_array" in text for text in said)
