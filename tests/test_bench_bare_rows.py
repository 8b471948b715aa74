"""The limit that a sustained run is held against: the rows of a run, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, select

from bench.bare_rows import Row, written_again
from hdg.gateway import Gateway
from hdg.management.ledger.schema import LedgerCheckpoint, LedgerLeaf
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.engine import open_engine
from hdg.settings import Settings
from hdg.simulate import Simulation

MESSAGES = 40
MODELS: list[Any] = [
    schema.OwnerKey,
    schema.Resource,
    schema.Version,
    schema.Compartment,
    schema.Blob,
    schema.Inbox,
    *schema.INDEX_TABLES,
    LedgerLeaf,
    LedgerCheckpoint,
]


def rows_of(engine: Engine, table: Table) -> set[Row]:
    with engine.connect() as connection:
        return {tuple(row) for row in connection.execute(select(table))}


def test_every_row_that_the_messages_left_is_written_again_once(tmp_path: Path) -> None:
    run = Settings(data=tmp_path / "run")
    with Gateway.open(run) as gateway:
        for event in Simulation(seed=3, patients=5).take(MESSAGES):
            gateway.receive_now(event.raw)
    source = open_engine(run, is_writer=False)
    target = open_engine(Settings(data=tmp_path / "again"), is_writer=True)
    bare = written_again(source, target)
    assert bare.messages == len(rows_of(source, table_of(schema.Inbox)))
    written = 0
    for model in MODELS:
        rows = rows_of(source, table_of(model))
        assert rows_of(target, table_of(model)) == rows, model.__tablename__
        written += len(rows)
    assert bare.rows == written > 100 * MESSAGES
    source.dispose()
    target.dispose()


def test_a_run_that_stored_nothing_has_no_limit(tmp_path: Path) -> None:
    run = Settings(data=tmp_path / "run")
    Gateway.open(run).close()
    source = open_engine(run, is_writer=False)
    target = open_engine(Settings(data=tmp_path / "again"), is_writer=True)
    with pytest.raises(ValueError, match="no message"):
        written_again(source, target)
    source.dispose()
    target.dispose()
