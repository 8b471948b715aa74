"""The log in a database: batches, rollbacks, restarts, proofs (RFC 6962 §2.1, C2SP tlog-tiles)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, create_engine, delete, func, select
from sqlmodel import SQLModel

from hdg.errors import LedgerError
from hdg.management.ledger import merkle
from hdg.management.ledger.log import ENTRY_MAX_BYTES, Log
from hdg.management.ledger.proof import is_consistent, is_included, tlog_proof
from hdg.management.ledger.schema import LedgerCheckpoint, LedgerLeaf, LedgerTile

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TABLES = [model.__table__ for model in (LedgerLeaf, LedgerTile, LedgerCheckpoint)]


def root_of(entries: list[bytes]) -> bytes:
    return merkle.extend(merkle.EMPTY_EDGE, map(merkle.leaf_hash, entries))[0].root()


def new_log() -> Log:
    return Log("example.org/log", SIGNER)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'log.db'}")
    SQLModel.metadata.create_all(made, tables=TABLES)
    yield made
    made.dispose()


def entries_of(*numbers: int) -> list[bytes]:
    return [f"leaf {number}".encode() for number in numbers]


def test_each_batch_gets_one_checkpoint_that_covers_it(engine: Engine) -> None:
    log, entries = new_log(), []
    with engine.begin() as connection:
        for count in (1, 255, 1, 300, 256):
            batch = entries_of(*range(len(entries), len(entries) + count))
            checkpoint = log.append(connection, batch, 1_000)
            assert checkpoint.first_index(count) == len(entries)
            entries += batch
            assert (checkpoint.size, checkpoint.root) == (len(entries), root_of(entries))
        assert connection.execute(select(func.count()).select_from(TABLES[2])).scalar() == 5
        widths = dict(
            connection.execute(
                select(TABLES[1].c.position, TABLES[1].c.hashes).where(TABLES[1].c.level == 0)
            ).all()
        )
        assert [len(widths[position]) // 32 for position in range(4)] == [256, 256, 256, 45]
        assert log.leaf(connection, 300) == b"leaf 300"


def test_a_rolled_back_batch_leaves_no_trace(engine: Engine) -> None:
    log = new_log()
    with engine.begin() as connection:
        kept = log.append(connection, entries_of(*range(300)), 1)
    with engine.connect() as connection:
        lost = log.append(connection, entries_of(900, 901), 2)
        connection.rollback()
    with engine.begin() as connection:
        assert log.checkpoint(connection) == kept
        after = log.append(connection, entries_of(300, 301), 3)
    assert (after.size, after.root) == (302, root_of(entries_of(*range(302))))
    assert after.parent == kept.digest != lost.digest


def test_a_batch_that_failed_but_persisted_is_continued(engine: Engine) -> None:
    log, twin = new_log(), new_log()
    with engine.begin() as connection:
        log.append(connection, entries_of(*range(10)), 1)
    with engine.begin() as connection:
        # Committed, though the first log object never learned of it.
        twin.append(connection, entries_of(*range(10, 300)), 2)
    with engine.begin() as connection:
        after = log.append(connection, entries_of(300), 3)
    assert (after.size, after.root) == (301, root_of(entries_of(*range(301))))


def test_every_kind_of_interruption_gives_the_same_tree(engine: Engine) -> None:
    random, log, entries = Random(3), new_log(), []
    for step in range(150):
        batch = entries_of(*range(len(entries), len(entries) + random.choice([1, 2, 3, 40, 255, 256, 257])))
        with engine.connect() as connection:
            log.append(connection, batch, step)
            if random.random() < 0.4:
                connection.rollback()
            else:
                connection.commit()
                entries += batch
        if random.random() < 0.2:
            log = new_log()
    with engine.begin() as connection:
        checkpoint = log.checkpoint(connection)
        assert checkpoint is not None
        assert (checkpoint.size, checkpoint.root) == (len(entries), root_of(entries))
        for _ in range(40):
            old = random.randrange(1, len(entries))
            index = random.randrange(old)
            old_root = root_of(entries[:old])
            assert is_included(entries[index], index, old, log.proof(connection, index, old), old_root)
            steps = log.consistency(connection, old, len(entries))
            assert is_consistent(old, old_root, len(entries), checkpoint.root, steps)


def test_no_leaves_make_no_checkpoint(engine: Engine) -> None:
    log = new_log()
    with engine.begin() as connection:
        with pytest.raises(LedgerError):
            log.append(connection, [], 1)
        made = log.append(connection, entries_of(0), 1)
        assert log.append(connection, [], 2) == made


def test_time_never_runs_backwards(engine: Engine) -> None:
    log = new_log()
    with engine.begin() as connection:
        log.append(connection, entries_of(0), 5_000_000)
        assert log.append(connection, entries_of(1), 4_000_000).at_us == 5_000_000


def test_a_leaf_that_no_entry_bundle_can_hold_is_refused(engine: Engine) -> None:
    with engine.begin() as connection, pytest.raises(LedgerError):
        new_log().append(connection, [bytes(ENTRY_MAX_BYTES + 1)], 1)


def test_a_restarted_log_refuses_tiles_that_do_not_make_the_signed_root(engine: Engine) -> None:
    with engine.begin() as connection:
        new_log().append(connection, entries_of(*range(3)), 1)
        connection.execute(TABLES[1].update().values(hashes=bytes(96)))
        with pytest.raises(LedgerError):
            new_log().append(connection, entries_of(3), 2)
        connection.execute(delete(TABLES[1]))
        with pytest.raises(LedgerError):
            new_log().append(connection, entries_of(3), 2)


@pytest.mark.parametrize(("index", "size"), [(-1, 2), (2, 2), (0, 0)])
def test_a_proof_of_what_is_not_there_is_refused(engine: Engine, index: int, size: int) -> None:
    with engine.begin() as connection, pytest.raises(LedgerError):
        new_log().proof(connection, index, size)


@pytest.mark.parametrize("origin", ["", "with space", "with+plus", "line\nbreak"])
def test_an_origin_that_no_note_can_carry_is_refused(origin: str) -> None:
    with pytest.raises(LedgerError):
        Log(origin, SIGNER)


def test_a_proof_file_holds_index_path_and_checkpoint(engine: Engine) -> None:
    log = new_log()
    with engine.begin() as connection:
        checkpoint = log.append(connection, entries_of(*range(5)), 1)
        text = tlog_proof(3, log.proof(connection, 3, 5), checkpoint.note)
    head, _, note = text.partition("\n\n")
    assert head.startswith("c2sp.org/tlog-proof@v1\nindex 3\n")
    assert len(head.splitlines()) == 2 + 3
    assert note == checkpoint.note
    assert hashlib.sha256(note.encode()).digest() == checkpoint.digest
