"""The verifier finds every kind of tampering, and says where (DESIGN §6, Ledger)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Table, create_engine, delete, insert, select, update
from sqlmodel import SQLModel

from hdg.errors import VaultError
from hdg.management.ledger import merkle
from hdg.management.ledger.checkpoint import sign
from hdg.management.ledger.leaf import Leaf, commit
from hdg.management.ledger.log import Log
from hdg.management.ledger.schema import LedgerCheckpoint, LedgerLeaf, LedgerTile
from hdg.management.ledger.verify import Report, SealedVersion, Trust, verify
from hdg.management.store.schema import Resource, Version

ORIGIN = "example.org/log"
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUST = Trust(ORIGIN, SIGNER.public_key().public_bytes_raw())
RESOURCE, VERSION, LEAF, TILE, HEAD = (
    model.__table__ for model in (Resource, Version, LedgerLeaf, LedgerTile, LedgerCheckpoint)
)


class MiniStore:
    """What the store's writer does, without encryption: 'sealed' is salt and body."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.log = Log(ORIGIN, SIGNER)
        self.at_us = 1_000_000
        self.numbers: dict[str, tuple[int, int]] = {}

    def commit(self, *writes: tuple[str, bytes], others: tuple[Leaf, ...] = ()) -> None:
        """One group: each write is (key, body)."""
        self.at_us += 1_000_000
        leaves, rows = [], []
        for key, body in writes:
            rkey, version = self.numbers.get(key, (len(self.numbers) + 1, 0))
            self.numbers[key] = rkey, version + 1
            salt = secrets.token_bytes(32)
            kind = "consent" if key.startswith("Consent") else "resource"
            leaves.append(Leaf(kind, "code", key, version + 1, "clinic", self.at_us, commit(salt, body)))
            type_, _, id_ = key.partition("/")
            rows.append(
                {
                    "rkey": rkey,
                    "version": version + 1,
                    "type": type_,
                    "id": id_,
                    "updated_us": self.at_us,
                    "institution": "clinic",
                    "deleted": False,
                    "patient_code": "code",
                    "body": salt + body,
                }
            )
        encoded = [leaf.encode() for leaf in (*leaves, *others)]
        first = self.log.append(self.connection, encoded, self.at_us).first_index(len(encoded))
        for offset, row in enumerate(rows):
            self.connection.execute(insert(VERSION), [row | {"leaf_index": first + offset}])
            current = {name: row[name] for name in row if name not in ("patient_code", "body")}
            self.connection.execute(delete(RESOURCE).where(RESOURCE.c.rkey == row["rkey"]))
            self.connection.execute(insert(RESOURCE), [current | {"patient": None, "patients": 0}])


def opened(version: SealedVersion) -> tuple[bytes, bytes] | None:
    if version.sealed.startswith(b"destroyed"):
        raise VaultError("the owner's key was destroyed")
    return version.sealed[:32], version.sealed[32:]


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(engine, tables=[RESOURCE, VERSION, LEAF, TILE, HEAD])
    with engine.connect() as made:
        yield made
    engine.dispose()


@pytest.fixture
def store(connection: Connection) -> MiniStore:
    made = MiniStore(connection)
    for group in range(30):
        access = Leaf("access", "code", f"AuditEvent/a{group}", 0, "clinic", made.at_us, bytes(32))
        writes = [(f"Observation/o{group}-{n}", b"body %d" % n) for n in range(11)]
        made.commit((f"Patient/p{group % 7}", b"version of %d" % group), *writes, others=(access,))
    made.commit(("Consent/c", b"consent"))
    return made


def check(connection: Connection, **options: Any) -> Report:
    return verify(connection, TRUST, opened, **options)


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def places(report: Report, code: str) -> list[str]:
    return [finding.place for finding in report.findings if finding.code == code]


def leaf_of(connection: Connection, key: str, version: int = 1) -> int:
    type_, _, id_ = key.partition("/")
    query = select(VERSION.c.leaf_index).where(
        VERSION.c.type == type_, VERSION.c.id == id_, VERSION.c.version == version
    )
    return int(connection.execute(query).scalar_one())


def change(connection: Connection, table: Table, condition: Any, **values: Any) -> None:
    assert connection.execute(update(table).where(condition).values(**values)).rowcount >= 1


def swap_leaves(connection: Connection, one: int, two: int) -> None:
    entries = dict(connection.execute(select(LEAF.c.leaf_index, LEAF.c.entry)).all())
    change(connection, LEAF, LEAF.c.leaf_index == one, entry=entries[two])
    change(connection, LEAF, LEAF.c.leaf_index == two, entry=entries[one])


def rebuild_tiles(connection: Connection) -> None:
    """What an intruder with the database does after changing leaves: makes the recorded hashes fit again."""
    entries = connection.execute(select(LEAF.c.entry).order_by(LEAF.c.leaf_index)).scalars().all()
    _, tiles = merkle.extend(merkle.EMPTY_EDGE, map(merkle.leaf_hash, entries))
    connection.execute(delete(TILE))
    connection.execute(
        insert(TILE),
        [{"level": level, "position": at, "hashes": hashes} for (level, at), hashes in tiles.items()],
    )


def test_an_untouched_store_verifies(connection: Connection, store: MiniStore) -> None:
    report = check(connection)
    assert report.findings == ()
    assert report.is_sound
    assert (report.size, report.versions) == (391, 361)
    head = store.log.checkpoint(connection)
    assert head is not None
    assert report.root == head.root.hex()


def test_an_empty_store_verifies(connection: Connection) -> None:
    assert check(connection).is_sound


def test_one_resource_verifies_alone(connection: Connection, store: MiniStore) -> None:
    report = check(connection, only="Patient/p1")
    assert (report.is_sound, report.versions) == (True, 5)


def test_a_changed_body_is_found_at_its_version(connection: Connection, store: MiniStore) -> None:
    where = (VERSION.c.type == "Patient") & (VERSION.c.id == "p1") & (VERSION.c.version == 2)
    body = connection.execute(select(VERSION.c.body).where(where)).scalar_one()
    change(connection, VERSION, where, body=body[:-1] + bytes([body[-1] ^ 1]))
    for report in (check(connection), check(connection, only="Patient/p1")):
        assert codes(report) == {"body-changed"}
        assert places(report, "body-changed") == ["Patient/p1/_history/2"]
    assert check(connection, only="Patient/p2").is_sound


@pytest.mark.parametrize(
    "column", [{"institution": "other"}, {"updated_us": 5}, {"patient_code": "other"}, {"id": "zzz"}]
)
def test_a_changed_version_row_is_found(
    connection: Connection, store: MiniStore, column: dict[str, Any]
) -> None:
    change(connection, VERSION, (VERSION.c.id == "o3-4"), **column)
    report = check(connection)
    assert "version-changed" in codes(report)
    assert next(iter(column)).replace("id", "key").replace("updated_us", "at_us").replace(
        "patient_code", "subject"
    ) in str(report.findings)


@pytest.mark.parametrize("is_thorough", [False, True])
def test_a_changed_leaf_is_found(connection: Connection, store: MiniStore, is_thorough: bool) -> None:
    index = leaf_of(connection, "Observation/o3-4")
    entry = connection.execute(select(LEAF.c.entry).where(LEAF.c.leaf_index == index)).scalar_one()
    change(connection, LEAF, LEAF.c.leaf_index == index, entry=entry.replace(b'"clinic"', b'"clinix"'))
    if is_thorough:
        rebuild_tiles(connection)
    report = check(connection)
    assert codes(report) == {"checkpoint-root" if is_thorough else "leaf-changed", "version-changed"}
    assert places(report, "version-changed") == ["Observation/o3-4/_history/1"]
    if not is_thorough:
        assert places(report, "leaf-changed") == [f"leaf {index}"]


def test_a_consistent_change_of_body_leaf_and_tiles_is_found(
    connection: Connection, store: MiniStore
) -> None:
    index = leaf_of(connection, "Observation/o3-4")
    salt = bytes(32)
    forged = Leaf("resource", "code", "Observation/o3-4", 1, "clinic", 5_000_000, commit(salt, b"forged"))
    change(connection, VERSION, VERSION.c.id == "o3-4", body=salt + b"forged")
    change(connection, LEAF, LEAF.c.leaf_index == index, entry=forged.encode())
    rebuild_tiles(connection)
    report = check(connection, only="Observation/o3-4")
    assert codes(report) == {"checkpoint-root"}
    assert places(report, "checkpoint-root") == ["checkpoint 52"]


def test_a_dropped_leaf_is_found(connection: Connection, store: MiniStore) -> None:
    index = leaf_of(connection, "Observation/o3-4")
    connection.execute(delete(LEAF).where(LEAF.c.leaf_index == index))
    report = check(connection)
    assert codes(report) == {"leaf-missing"}
    assert places(report, "leaf-missing") == [f"leaf {index}", "Observation/o3-4/_history/1"]


def test_a_dropped_leaf_with_the_rest_moved_up_is_found(connection: Connection, store: MiniStore) -> None:
    connection.execute(delete(LEAF).where(LEAF.c.leaf_index == 40))
    for index in range(41, 391):
        change(connection, LEAF, LEAF.c.leaf_index == index, leaf_index=index - 1)
    rebuild_tiles(connection)
    assert {"checkpoint-root", "version-changed"} <= codes(check(connection))


@pytest.mark.parametrize("is_thorough", [False, True])
def test_reordered_leaves_are_found(connection: Connection, store: MiniStore, is_thorough: bool) -> None:
    one, two = leaf_of(connection, "Observation/o3-4"), leaf_of(connection, "Observation/o9-1")
    swap_leaves(connection, one, two)
    if is_thorough:
        rebuild_tiles(connection)
    report = check(connection)
    assert ("checkpoint-root" if is_thorough else "leaf-changed") in codes(report)
    assert places(report, "version-changed") == ["Observation/o3-4/_history/1", "Observation/o9-1/_history/1"]


def test_reordered_leaves_that_no_version_names_are_found(connection: Connection, store: MiniStore) -> None:
    swap_leaves(connection, 12, 25)
    report = check(connection)
    assert places(report, "leaf-changed") == ["leaf 12", "leaf 25"]
    rebuild_tiles(connection)
    assert places(check(connection), "checkpoint-root") == ["checkpoint 13"]


def test_changed_tiles_are_found(connection: Connection, store: MiniStore) -> None:
    tile = connection.execute(
        select(TILE.c.hashes).where(TILE.c.level == 0, TILE.c.position == 1)
    ).scalar_one()
    change(connection, TILE, (TILE.c.level == 0) & (TILE.c.position == 1), hashes=bytes(32) + tile[32:])
    report = check(connection)
    assert [str(finding).split(":")[0] for finding in report.findings] == ["tile-changed at leaf 256"]


def forge(connection: Connection, size: int, **parts: Any) -> None:
    row = connection.execute(select(HEAD).where(HEAD.c.size == size)).one()
    values = {
        "origin": ORIGIN,
        "root": row.root,
        "parent": row.parent,
        "at_us": row.at_us,
        "signer": SIGNER,
    } | parts
    made = sign(size=size, **values)
    change(
        connection,
        HEAD,
        HEAD.c.size == size,
        root=made.root,
        note=made.note,
        at_us=made.at_us,
        parent=made.parent,
    )


FORGERIES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "by another key": (
        {"signer": Ed25519PrivateKey.from_private_bytes(bytes(32))},
        {"checkpoint-changed", "checkpoint-chain"},
    ),
    "of another log": ({"origin": "example.org/other"}, {"checkpoint-changed", "checkpoint-chain"}),
    "of another tree": ({"root": hashlib.sha256(b"").digest()}, {"checkpoint-root", "checkpoint-chain"}),
    "of another time": ({"at_us": 1}, {"checkpoint-time", "checkpoint-chain"}),
    "with another parent": ({"parent": bytes(32)}, {"checkpoint-chain"}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_replaced_checkpoint_is_found(connection: Connection, store: MiniStore, name: str) -> None:
    parts, expected = FORGERIES[name]
    forge(connection, 130, **parts)
    assert codes(check(connection)) == expected


def test_a_checkpoint_row_that_its_note_does_not_say_is_found(
    connection: Connection, store: MiniStore
) -> None:
    change(connection, HEAD, HEAD.c.size == 130, at_us=11_000_001 + 1_000_000)
    assert places(check(connection), "checkpoint-changed") == ["checkpoint 130"]


def test_a_dropped_checkpoint_is_found(connection: Connection, store: MiniStore) -> None:
    connection.execute(delete(HEAD).where(HEAD.c.size == 130))
    assert codes(check(connection)) == {"checkpoint-chain"}


def test_a_version_without_leaf_is_found(connection: Connection, store: MiniStore) -> None:
    row = connection.execute(select(VERSION).where(VERSION.c.id == "o3-4")).mappings().one()
    connection.execute(insert(VERSION), [dict(row) | {"version": 2, "leaf_index": 10_000}])
    change(connection, RESOURCE, RESOURCE.c.id == "o3-4", version=2)
    assert places(check(connection), "leaf-missing") == ["Observation/o3-4/_history/2"]


def test_a_version_that_borrows_a_leaf_is_found(connection: Connection, store: MiniStore) -> None:
    row = connection.execute(select(VERSION).where(VERSION.c.id == "o3-4")).mappings().one()
    connection.execute(insert(VERSION), [dict(row) | {"rkey": 9_999}])
    assert {"leaf-shared", "current-missing"} == codes(check(connection))


def test_a_leaf_without_version_is_found(connection: Connection, store: MiniStore) -> None:
    connection.execute(delete(VERSION).where(VERSION.c.id == "p1", VERSION.c.version == 5))
    change(connection, RESOURCE, RESOURCE.c.id == "p1", version=4)
    for report in (check(connection), check(connection, only="Patient/p1")):
        assert places(report, "version-missing") == ["Patient/p1/_history/5"]


def test_a_dropped_version_in_the_middle_is_found(connection: Connection, store: MiniStore) -> None:
    connection.execute(delete(VERSION).where(VERSION.c.id == "p1", VERSION.c.version == 2))
    assert codes(check(connection)) == {"version-missing", "version-gap"}


@pytest.mark.parametrize(
    "values", [{"version": 2}, {"version": 99}, {"institution": "other"}, {"deleted": True}]
)
def test_a_current_row_that_is_not_its_newest_version_is_found(
    connection: Connection, store: MiniStore, values: dict[str, Any]
) -> None:
    change(connection, RESOURCE, RESOURCE.c.id == "p1", **values)
    for report in (check(connection), check(connection, only="Patient/p1")):
        assert codes(report) == {"current-wrong"}
        assert places(report, "current-wrong") == ["Patient/p1"]


def test_a_dropped_current_row_is_found(connection: Connection, store: MiniStore) -> None:
    connection.execute(delete(RESOURCE).where(RESOURCE.c.id == "p1"))
    assert places(check(connection), "current-missing") == ["Patient/p1"]


def test_leaves_beyond_the_newest_checkpoint_are_found(connection: Connection, store: MiniStore) -> None:
    connection.execute(delete(HEAD).where(HEAD.c.size > 380))
    assert "leaf-unsigned" in codes(check(connection))


def test_a_cut_off_end_is_found_with_a_checkpoint_kept_elsewhere(
    connection: Connection, store: MiniStore
) -> None:
    kept = store.log.checkpoint(connection)
    assert kept is not None
    store.commit(("Patient/p1", b"later"))
    assert check(connection, known=kept.note).is_sound
    for table, column in ((LEAF, LEAF.c.leaf_index), (HEAD, HEAD.c.size)):
        connection.execute(delete(table).where(column >= 390 + (table is HEAD)))
    connection.execute(delete(VERSION).where(VERSION.c.leaf_index >= 390))
    connection.execute(delete(RESOURCE).where(RESOURCE.c.type == "Consent"))
    change(connection, RESOURCE, RESOURCE.c.id == "p1", version=5, updated_us=31_000_000)
    assert "history-rewritten" in codes(check(connection, known=kept.note))
    assert codes(check(connection, known="nonsense")) >= {"known-checkpoint"}


def test_an_unreadable_body_is_found_unless_its_erasure_is_recorded(
    connection: Connection, store: MiniStore
) -> None:
    change(connection, VERSION, VERSION.c.id == "o3-4", body=b"destroyed")
    assert codes(check(connection)) == {"body-unreadable"}
    store.commit(others=(Leaf("erasure", "code", "Patient/p3", 0, "clinic", store.at_us, b""),))
    report = check(connection)
    assert (report.is_sound, report.erased) == (True, 1)


def test_findings_are_counted_beyond_those_kept(connection: Connection, store: MiniStore) -> None:
    change(connection, VERSION, VERSION.c.version == 1, body=bytes(64))
    report = check(connection)
    assert len(report.findings) == 200
    assert report.total > 300


def test_progress_is_reported(connection: Connection, store: MiniStore) -> None:
    seen: list[tuple[str, int]] = []
    progress: Callable[[str, int], None] = lambda what, count: seen.append((what, count))  # noqa: E731
    check(connection, progress=progress)
    assert seen[0] == ("leaves", 0)
