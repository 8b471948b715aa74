"""A data folder of the first release's tables is brought to today's: nothing is lost, and the ledger verifies.

``old/revision_0001.json.gz`` is made by scripts/generate_old_data.py with that release's own code.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest
from sqlalchemy import Boolean, MetaData, text, true

from hdg.gateway import Gateway
from hdg.management.keys import KeyRing
from hdg.management.store import Clause, SearchQuery
from hdg.management.store.engine import open_engine
from hdg.management.store.index import Indexer
from hdg.management.store.meta import index_key
from hdg.management.store.migrations import HEAD
from hdg.management.store.migrations.run import config
from hdg.management.store.reindexing import Reindexing, Scope
from hdg.management.store.values import hasher
from hdg.operator import list_consents, verify_store

pytestmark = pytest.mark.no_tables

OLD = json.loads(gzip.decompress((Path(__file__).parent / "old" / "revision_0001.json.gz").read_bytes()))


def plain(value):
    return base64.b64decode(value["bytes"]) if isinstance(value, dict) else value


@pytest.fixture
def old(settings):
    """The folder and database as that release left them."""
    from alembic import command

    for name, data in OLD["files"].items():
        path = settings.data / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))
        path.chmod(0o600)
    engine = open_engine(settings, is_writer=True)
    command.upgrade(config(engine), "0001")
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            rows = [{name: plain(value) for name, value in row.items()} for row in OLD["tables"][table.name]]
            for column in table.columns:
                if isinstance(column.type, Boolean):
                    rows = [{**row, column.name: bool(row[column.name])} for row in rows]
            if rows and table.name != "alembic_version":
                connection.execute(table.insert(), rows)
    engine.dispose()
    return settings


def test_every_version_is_there_and_the_ledger_verifies(old) -> None:
    with Gateway.open(old) as gateway:
        reader = gateway.store.reader
        with gateway.store.engine.connect() as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD
        for type_, id_, number, is_deleted, body in OLD["expected"]:
            version = reader.vread(type_, id_, number, true())
            assert version is not None
            assert (version.deleted, reader.body(version).decode()) == (is_deleted, body)
        count = sum(
            len(reader.history(*key, true(), 100).versions) for key in {(e[0], e[1]) for e in OLD["expected"]}
        )
        assert count == len(OLD["expected"])
    report = verify_store(old, "")
    assert report.findings == ()
    assert report.summary.startswith(f"verified: {len(OLD['expected'])} versions")


def test_it_is_searched_written_to_and_its_inbox_goes_on(old) -> None:
    with Gateway.open(old) as gateway:
        store = gateway.store
        patients = [e for e in OLD["expected"] if e[0] == "Patient"]
        family = json.loads(patients[-1][4])["name"][0]["family"]
        query = SearchQuery("Patient", (Clause("family", "string", "", (family,)),))
        assert {version.id for version in store.reader.search(query, true()).versions} >= {patients[-1][1]}
        chain = Clause("subject", "chain", "", links=(("Patient", query.clauses[0]),))
        assert store.reader.search(SearchQuery("Observation", (chain,)), true()).total
        indexer = Indexer(hasher(index_key(gateway.keys.root)))
        assert Reindexing(store, indexer, Scope()).verify().is_equal
        with store.engine.connect() as connection:
            cids = [row[0] for row in connection.execute(text("SELECT blob FROM inbox WHERE blob <> ''"))]
        assert [store.reader.blob(cid)[:3] for cid in cids] == [b"MSH"] * len(cids)
        for raw in map(store.reader.blob, cids[:2]):
            before = len(OLD["expected"])
            assert b"\rMSA|AA|" in gateway.receive_now(raw)  # known: nothing is stored again
            with store.engine.connect() as connection:
                assert connection.execute(text("SELECT count(*) FROM version")).scalar() == before
        content = json.loads(patients[-1][4]) | {"active": True}
        store.submit(lambda session: session.put(content, institution="other")).result(120)
    assert verify_store(old, "").findings == ()
    assert len(list(list_consents(old, patients[0][1]))) == 2


def test_opening_it_once_more_changes_nothing(old) -> None:
    def everything(gateway):
        engine = gateway.store.engine
        metadata = MetaData()
        metadata.reflect(engine)
        with engine.connect() as connection:
            return {
                table.name: sorted(str(tuple(row)) for row in connection.execute(table.select()))
                for table in metadata.sorted_tables
            }

    with Gateway.open(old) as gateway:
        once = everything(gateway)
    with Gateway.open(old) as gateway:
        assert everything(gateway) == once
        assert KeyRing.open(old.data / "keys").root == gateway.keys.root
