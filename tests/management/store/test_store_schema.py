"""Migrations make what the models declare.

Alembic stays unloaded on a normal start; an upgrade indexes anew.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
from sqlalchemy import inspect, text, true
from sqlmodel import SQLModel

from hdg.errors import SettingsError
from hdg.management.consent import resource as consents
from hdg.management.consent.decide import AccessRequest
from hdg.management.consent.policy import load_policy
from hdg.management.consent.sql import predicate
from hdg.management.store import Clause, SearchQuery, Store, meta
from hdg.management.store.engine import migrate, open_engine
from hdg.management.store.migrations import run
from hdg.management.store.versions import current
from hdg.settings import Settings

pytestmark = pytest.mark.no_tables

OURS = {
    "audit_access", "audit_event", "audit_patient", "blob", "compartment", "consent_rule", "idx_composite", "idx_date",
    "idx_number",
    "idx_quantity", "idx_reference", "idx_string", "idx_token", "idx_uri", "imaging_due",
    "imaging_instance", "inbox", "ledger_checkpoint", "ledger_leaf", "ledger_tile", "owner_key",
    "replaced_document",
    "resource", "revoked_token", "search_parameter", "store_meta", "subscription", "subscription_event",
    "version", "work_item",
}  # fmt: skip


def test_migrated_tables_are_the_declared_ones(settings, monkeypatch) -> None:
    monkeypatch.setattr(run, "upgrade", run.upgrade.upgrade)  # revision by revision
    for module in (
        "audit",
        "audit_shared",
        "consent.schema",
        "identity",
        "ledger.schema",
        "store.custom_register",
        "store.imaging_schema",
        "store.replaced",
        "store.schema",
        "store.subscription",
    ):
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
        store.submit(lambda s: s.put(patient, institution="s")).result(120)
        store.submit(lambda s: s.put({**patient, "id": "gone"}, institution="s")).result(120)
        store.submit(lambda s: s.delete("Patient", "gone", institution="s")).result(120)
        store.submit(lambda s: s.connection.execute(text("DELETE FROM idx_string")) and None).result(120)
        assert store.reader.search(query, true()).total == 0
    with Store.open(settings, keys, clock) as store:
        assert store.reader.search(query, true()).total == 0
    monkeypatch.setattr(meta, "INDEX_VERSION", "next")
    with Store.open(settings, keys, clock) as store:
        assert store.reader.search(query, true()).total == 1
        tokens = SearchQuery("Patient", (Clause("gender", "token", "", ("other",)),))
        assert [version.id for version in store.reader.search(tokens, true()).versions] == ["p"]


DERIVED = (
    "SELECT rkey, patient FROM compartment ORDER BY rkey, patient",
    "SELECT rkey, patient, patients, id_hash FROM resource ORDER BY rkey",
    "SELECT rkey, version, scope FROM version ORDER BY rkey, version",
    "SELECT * FROM consent_rule ORDER BY rkey, ordinal",
)


def derived(store: Store) -> list[list[tuple[object, ...]]]:
    with store.engine.connect() as connection:
        return [[tuple(row) for row in connection.execute(text(sql))] for sql in DERIVED]


def fill(store: Store) -> None:
    """Resources of one patient, of two, of none; moved, deleted; a Consent."""
    device = {"resourceType": "Device", "id": "d", "patient": {"reference": "Patient/a"}}
    task = {"resourceType": "Task", "id": "t", "status": "draft", "intent": "order"}
    seen = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}}
    both = {"subject": {"reference": "Patient/a"}, "performer": [{"reference": "Patient/b"}]}
    header = {"resourceType": "MessageHeader", "id": "m", "source": {"endpoint": "urn:x"}}
    consent = consents.grant("a", ["Organization/x", "Organization/y"], [], [], from_us=0, until_us=1)
    for resource, patient in (
        (device, None),
        (task, None),
        (seen | both, "a"),
        (seen | {"subject": both["subject"]}, "a"),
        (header | {"eventUri": "urn:x"}, "a"),
        (consent | {"id": "c"}, "a"),
    ):
        store.submit(lambda s, r=resource, p=patient: s.put(r, institution="north", patient=p)).result(120)
    store.submit(lambda s: s.delete("MessageHeader", "m", institution="north")).result(120)


def test_other_rules_make_compartments_scopes_and_consent_rules_anew(
    settings, keys, clock, monkeypatch
) -> None:
    with Store.open(settings, keys, clock) as store:
        fill(store)
        before = derived(store)
        assert all(before)
        assert before[0][0] == (1, "a")  # the Device: R4 gives it no compartment, but it names its patient
        for sql in (
            "DELETE FROM compartment WHERE rkey <> 2",
            "INSERT INTO compartment (rkey, patient) VALUES (2, 'b')",
            "UPDATE resource SET patient = 'b', patients = 1 - patients, id_hash = NULL",
            "UPDATE version SET scope = NULL",
            "DELETE FROM consent_rule WHERE ordinal = 0",
        ):
            store.submit(lambda s, sql=sql: s.connection.execute(text(sql)) and None).result(120)
        assert derived(store) != before
    monkeypatch.setattr(meta, "INDEX_VERSION", "next")
    with Store.open(settings, keys, clock) as store:
        assert derived(store) == before


def test_a_database_of_the_revision_before_gets_its_scopes(settings, keys, clock) -> None:
    with Store.open(settings, keys, clock) as store:
        fill(store)
        before = derived(store)
    engine = open_engine(settings, is_writer=True)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE version DROP COLUMN scope"))
        connection.execute(text("DROP INDEX ix_resource_type_id_hash"))
        connection.execute(text("ALTER TABLE resource DROP COLUMN id_hash"))
        for index in ("ix_idx_reference_param", "ix_idx_string_rkey", "ix_idx_uri_rkey"):
            connection.execute(text(f"DROP INDEX {index}"))
        for table in (
            "outbox",
            "subscription",
            "subscription_event",
            "search_parameter",
            "imaging_instance",
            "imaging_due",
            "imaging_commitment",
            "imaging_made",
            "replaced_document",
            "audit_access",
            "audit_patient",
        ):  # of later revisions
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("ALTER TABLE blob DROP COLUMN dek"))
        for index in (
            "ix_version_leaf",
            "ix_version_type_leaf",
            "ix_idx_date_wide",
            "ix_resource_type",
        ):  # of later revisions
            connection.execute(text(f"DROP INDEX IF EXISTS {index}"))
        connection.execute(text("DROP INDEX ix_inbox_kept"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
        connection.execute(text("UPDATE store_meta SET value = 'old' WHERE name = 'index_digest'"))
    engine.dispose()
    with Store.open(settings, keys, clock) as store:
        assert derived(store) == before
        none_scope = [row for row in before[2] if row[2] is None]
        assert none_scope == []
        visible = text("resource.patient = 'a'")
        assert [v.version for v in store.reader.history("Observation", "o", visible).versions] == [2]
        assert [v.version for v in store.reader.history("Observation", "o", true()).versions] == [2, 1]


OLD_KEYS = {
    "idx_reference": "param, code, rkey, system",
    "idx_composite": "param, code, system, code2, system2, value, high, lo, hi, text, rkey",
}


def in_the_order_of_0019(connection) -> None:
    for table, key in OLD_KEYS.items():
        if connection.dialect.name == "postgresql":
            connection.execute(
                text(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD PRIMARY KEY ({key})")
            )
            continue
        made = connection.execute(text(f"SELECT sql FROM sqlite_master WHERE name = '{table}'")).scalar_one()
        made = re.sub(r"PRIMARY KEY \(.*?\)", f"PRIMARY KEY ({key})", made.replace(table, "before"))
        connection.execute(text(made))
        connection.execute(text(f"INSERT INTO before SELECT * FROM {table}"))
        connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text(f"ALTER TABLE before RENAME TO {table}"))
    connection.execute(text("DROP INDEX IF EXISTS ix_idx_reference_param"))
    connection.execute(text("DROP INDEX ix_resource_type"))  # of a later revision
    connection.execute(text("CREATE INDEX ix_idx_reference_rkey ON idx_reference (rkey, param)"))
    connection.execute(text("UPDATE alembic_version SET version_num = '0019'"))


ORDERED = (
    Clause("subject", "reference", "", ("Patient/p3",)),
    Clause("encounter", "reference", "missing", ("false",)),
    Clause("encounter", "reference", "missing", ("true",)),
    Clause("subject", "chain", "", links=(("Patient", Clause("family", "string", "", ("n3",))),)),
    Clause("code-value-quantity", "composite", "", ("http://loinc.org|c1$gt4",)),
    Clause("code-value-quantity", "composite", "", ("http://loinc.org|$lt4", "c2$ge7")),
    Clause("combo-code-value-quantity", "composite", "", ("c1$5|http://unitsofmeasure.org|g",)),
    Clause("code-value-quantity", "composite", "missing", ("true",)),
)


def answers(store: Store) -> list[list[str]]:
    """Of each clause alone, beside a code and beside a reference."""
    others = (
        (),
        (Clause("code", "token", "", ("c1",)),),
        (Clause("subject", "reference", "", ("Patient/p1",)),),
    )
    queries = [SearchQuery("Observation", (clause, *more), 99) for clause in ORDERED for more in others]
    return [[version.id for version in store.reader.search(query, true()).versions] for query in queries]


@pytest.mark.parametrize("is_sliced", [False, True])
def test_references_and_composites_change_their_order_and_nothing_else(
    settings, keys, clock, monkeypatch, is_sliced: bool
) -> None:
    def put(session) -> None:
        for number in range(5):
            person = {"resourceType": "Patient", "id": f"p{number}", "name": [{"family": f"n{number}"}]}
            session.put(person, institution="s")
        for number in range(60):
            seen = {
                "resourceType": "Observation",
                "id": f"o{number}",
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": f"c{number % 3}"}]},
                "subject": {"reference": f"Patient/p{number % 5}"},
                "valueQuantity": {"value": number % 9, "system": "http://unitsofmeasure.org", "code": "g"},
            }
            if number % 4 == 0:
                seen["encounter"] = {"reference": f"Encounter/e{number}"}
            session.put(seen, institution="s")

    def rows(connection) -> list[set[tuple[object, ...]]]:
        return [
            {tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}"))} for table in OLD_KEYS
        ]

    with Store.open(settings, keys, clock) as store:
        store.submit(put).result(120)
        before = answers(store)
    assert sum(map(bool, before)) > len(before) // 2
    engine = open_engine(settings, is_writer=True)
    with engine.begin() as connection:
        in_the_order_of_0019(connection)
        there = rows(connection)
    assert all(there)
    if is_sliced:
        sliced(engine, monkeypatch)
    with Store.open(settings, keys, clock) as store:
        with store.engine.connect() as connection:
            assert rows(connection) == there
            for table in OLD_KEYS:
                key = [column.name for column in SQLModel.metadata.tables[table].primary_key]
                assert inspect(connection).get_pk_constraint(table)["constrained_columns"] == key
            assert [index["name"] for index in inspect(connection).get_indexes("idx_reference")] == [
                "ix_idx_reference_param"
            ]
        assert answers(store) == before
        store.submit(put).result(120)
        store.submit(lambda s: s.delete("Observation", "o4", institution="s")).result(120)
        gone = [[id_ for id_ in ids if id_ != "o4"] for ids in before]
        assert answers(store) == gone
    engine.dispose()


def sliced(engine, monkeypatch) -> None:
    """The revision by itself, as of a large database, whose rows are not sorted all at once."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    revision = importlib.import_module("hdg.management.store.migrations.versions.0020_few_pages")
    monkeypatch.setattr(revision, "SLICE_ROWS", 7)
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        revision.upgrade()
        connection.execute(text("UPDATE alembic_version SET version_num = '0020'"))


ALONE = {"alembic_version", "audit_event", "ledger_checkpoint", "replaced_document", "revoked_token"}
"""Tables whose texts are compared with none of another table."""


@pytest.mark.parametrize("is_stepwise", [False, True])
def test_texts_of_tables_that_are_joined_collate_alike(settings, monkeypatch, is_stepwise: bool) -> None:
    """PostgreSQL has no index for texts of two collations: each read would look at every consent rule."""
    if is_stepwise:
        monkeypatch.setattr(run, "upgrade", run.upgrade.upgrade)
    engine = open_engine(settings, is_writer=True)
    migrate(engine)
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            query = (
                "SELECT DISTINCT table_name FROM information_schema.columns WHERE data_type = 'text' "
                "AND table_schema = current_schema() AND collation_name IS DISTINCT FROM 'C'"
            )
            assert set(connection.execute(text(query)).scalars()) <= ALONE
    engine.dispose()


def test_a_reader_looks_at_the_rules_of_the_patients_at_hand_only(store: Store) -> None:
    """However many Consents others have given."""
    if store.engine.dialect.name != "postgresql":
        return
    rules = (
        "INSERT INTO consent_rule SELECT n, o, 'p' || n, k, 'care', 'Organization/s', 'TREAT', 'access', '*', 0, 9 "
        "FROM generate_series(1, 5000) n, (VALUES (1, 'gate'), (2, 'nested-permit'), (3, 'root-deny')) v (o, k)"
    )
    store.submit(lambda session: session.connection.execute(text(rules)) and None).result(120)
    store.submit(lambda session: session.connection.execute(text("ANALYZE consent_rule")) and None).result(
        120
    )
    request = AccessRequest("clinician", "u", "s", "", "TREAT", "access", at_us=5)
    query = current(predicate(request, load_policy(None))).params(t="Patient", i="p1")
    sql = query.compile(store.engine, compile_kwargs={"literal_binds": True})
    with store.engine.connect() as connection:
        plan = [row[0] for row in connection.execute(text(f"EXPLAIN {sql}".replace(":", "\\:")))]
    looked_up = [line for line in plan if "Index Cond" in line and "kind = ANY" in line]
    assert looked_up
    assert all("patient = " in line for line in looked_up)
    assert not any("Seq Scan on consent_rule" in line for line in plan)
