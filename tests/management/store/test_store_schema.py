"""Migrations make what the models declare.

Alembic stays unloaded on a normal start; an upgrade indexes anew.
"""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from sqlalchemy import text, true
from sqlmodel import SQLModel

from hdg.errors import SettingsError
from hdg.management.store import Clause, SearchQuery, Store, meta
from hdg.management.store.engine import migrate, open_engine
from hdg.settings import Settings

OURS = {
    "audit_event", "blob", "compartment", "consent_rule", "idx_composite", "idx_date", "idx_number",
    "idx_quantity", "idx_reference", "idx_string", "idx_token", "idx_uri", "inbox", "ledger_checkpoint",
    "ledger_leaf", "ledger_tile", "owner_key", "resource", "revoked_token", "store_meta", "version",
    "work_item",
}  # fmt: skip


def test_migrated_tables_are_the_declared_ones(settings) -> None:
    for module in ("audit", "consent.schema", "identity", "ledger.schema", "store.schema"):
        importlib.import_module(f"hdg.management.{module}")
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = open_engine(settings, is_writer=True)
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, SQLModel.metadata)
    engine.dispose()
    assert differences == []
    assert set(SQLModel.metadata.tables) >= OURS


def test_a_normal_start_does_not_load_alembic(tmp_path) -> None:
    code = (
        "import sys, pathlib\n"
        "from hdg.management.keys import KeyRing\n"
        "from hdg.management.store import Store\n"
        "from hdg.settings import Settings\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "Store.open(Settings(data=folder), KeyRing.open(folder / 'keys'), lambda: 1).close()\n"
        "print('alembic' in sys.modules)\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in "12"
    ]
    assert [run.stdout.strip() for run in runs] == ["True", "False"]


def test_an_unknown_database_is_a_settings_error(tmp_path) -> None:
    with pytest.raises(SettingsError, match="database_url"):
        open_engine(Settings(data=tmp_path, database_url="mysql://x"), is_writer=True)


def test_other_index_definitions_fill_the_index_anew(settings, keys, clock, monkeypatch) -> None:
    patient = {"resourceType": "Patient", "id": "p", "name": [{"family": "Muster"}], "gender": "other"}
    query = SearchQuery("Patient", (Clause("family", "string", "", ("muster",)),))
    with Store.open(settings, keys, clock) as store:
        store.submit(lambda s: s.put(patient, institution="s")).result(20)
        store.submit(lambda s: s.put({**patient, "id": "gone"}, institution="s")).result(20)
        store.submit(lambda s: s.delete("Patient", "gone", institution="s")).result(20)
        store.submit(lambda s: s.connection.execute(text("DELETE FROM idx_string")) and None).result(20)
        assert store.reader.search(query, true()).total == 0
    with Store.open(settings, keys, clock) as store:
        assert store.reader.search(query, true()).total == 0
    monkeypatch.setattr(meta, "INDEX_VERSION", "next")
    with Store.open(settings, keys, clock) as store:
        assert store.reader.search(query, true()).total == 1
        tokens = SearchQuery("Patient", (Clause("gender", "token", "", ("other",)),))
        assert [version.id for version in store.reader.search(tokens, true()).versions] == ["p"]
