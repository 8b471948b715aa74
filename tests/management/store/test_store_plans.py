"""Joins of a search go by indexes, from the side that finds the fewest (R4 search.html#chaining, #has).

Read from the databases' own plans, so that no clock decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import event

from hdg.management.store import Clause, SearchQuery, Store, pages
from hdg.management.store.batch import table_of
from hdg.management.store.connections import BY_KEY, ONCE
from hdg.management.store.schema import Resource
from hdg.management.store.search import CodesOf, Sort, conditions
from hdg.management.store.versions import Span

VISIBLE = table_of(Resource).c.institution == "s"
NAME = Clause("name", "string", "", ("x",))
CODE = Clause("code", "token", "", ("c",))
STATUS = Clause("status", "token", "", ("final",))
PATIENTS = Clause("subject", "chain", "", links=(("Patient", NAME),))
ANYBODY = Clause("subject", "chain", "", links=(("Patient", NAME), ("Location", NAME)))
ORGANIZATION = Clause("organization", "chain", "", links=(("Organization", NAME),))
FAR = Clause("subject", "chain", "", links=(("Patient", ORGANIZATION),))
HAS = Clause("patient", "has", "", links=(("Observation", CODE),))
ENCOUNTER = Clause("encounter", "chain", "", links=(("Encounter", STATUS),))
HAS_FAR = Clause("patient", "has", "", links=(("Observation", ENCOUNTER),))

SOME = (CodesOf("s", ("a", "b")), CodesOf("t", (), is_rest=True))
IN = Clause("code", "token", "in", ("v",), codes=SOME)
NOT_IN = Clause("code", "token", "not-in", ("v",), codes=SOME)
STATUS_IN = Clause("status", "token", "in", ("v",), codes=SOME)
TEXT = Clause("code", "token", "text", ("head",))
WHO = Clause("patient", "reference", "identifier", ("s|v",))
ABOVE = Clause("value-quantity", "quantity", "", ("gt5|http://unitsofmeasure.org|mg",))

NUMBER = Clause("identifier", "token", "", ("s|v",))

QUERIES = {
    "chain": SearchQuery("Observation", (PATIENTS,)),
    "untyped": SearchQuery("Observation", (ANYBODY,)),
    "two steps": SearchQuery("Observation", (FAR,)),
    "chain beside a code": SearchQuery("Observation", (CODE, FAR)),
    "has": SearchQuery("Patient", (HAS,)),
    "has beside a name": SearchQuery("Patient", (NAME, HAS)),
    "has over a chain": SearchQuery("Patient", (HAS_FAR,)),
    "has over a chain beside a chain": SearchQuery("Patient", (ORGANIZATION, HAS_FAR)),
    "compartment": SearchQuery("Observation", (CODE,), compartment="Encounter/e"),
    "value set": SearchQuery("Observation", (IN,)),
    "value set of a plain code": SearchQuery("Observation", (STATUS_IN,)),
    "none of a value set beside a code": SearchQuery("Observation", (CODE, NOT_IN)),
    "text": SearchQuery("Observation", (TEXT,)),
    "text beside a code": SearchQuery("Observation", (CODE, TEXT)),
    "type of an identifier": SearchQuery("Patient", (Clause("identifier", "token", "of-type", ("s|c|v",)),)),
    "reference by identifier": SearchQuery("Observation", (WHO,)),
    "present in any form": SearchQuery(
        "Observation", (Clause("subject", "reference", "missing", ("false",)),)
    ),
    "above a URL": SearchQuery("ValueSet", (Clause("url", "uri", "above", ("http://a/b",)),)),
    "list": SearchQuery("Observation", (Clause("_list", "list", "", ("Observation/a", "Observation/b")),)),
    "list over types": SearchQuery(
        "", (Clause("_list", "list", "", ("Observation/a", "Patient/b")),), types=("Observation", "Patient")
    ),
    "above a quantity": SearchQuery("Observation", (ABOVE,)),
    "about a quantity beside a code": SearchQuery(
        "Observation", (CODE, Clause("value-quantity", "quantity", "", ("ap5",)))
    ),
    "near": SearchQuery("Location", (Clause("near", "special", "", ("50|10|5",)),)),
    "sorted": SearchQuery("Patient", (NAME,), sort=(Sort("family", "string"), Sort("birthdate", "date"))),
}


def test_postgresql_compiles_no_search_and_plans_each_for_its_values(store: Store) -> None:
    if store.engine.dialect.name == "sqlite":
        return  # knows neither

    def asked(connection) -> list[str]:
        return [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("jit", "plan_cache_mode")]

    with store.engine.connect() as connection:
        assert asked(connection) == ["off", "force_custom_plan"]
    with store.reader._connections._autocommit(BY_KEY) as connection:
        assert asked(connection) == ["off", "auto"]
    with store.reader._connections._autocommit(BY_KEY) as connection:
        assert asked(connection) == ["off", "auto"]
    with store.reader._connections._autocommit(ONCE) as connection:
        assert asked(connection) == ["off", "force_generic_plan"]
    jit = store.submit(lambda session: session.connection.exec_driver_sql("SHOW jit").scalar())
    assert jit.result(120) == "off"


def plan(store: Store, query: SearchQuery) -> str:
    """What the database says it does for the page, both with and without knowledge of the values (pages.led_rows)."""
    asker = store.reader._asker
    seen: list[tuple[str, Sequence[object]]] = []

    class Listening(type(asker)):
        def fetched(self, connection, sql, values):
            seen.append((sql, values))
            return super().fetched(connection, sql, values)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pages, "LED_MAX", -1)
        patched.setattr(asker, "__class__", Listening)
        other = planned(store, lambda: store.reader.search(query, VISIBLE))
    is_sqlite = store.engine.dialect.name == "sqlite"
    with store.engine.connect() as connection:
        if not is_sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        explained = [
            row
            for sql, values in seen
            for row in asker.fetched(connection, f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{sql}", values)
        ]
    return "\n".join([other, *(str(row[-1]) for row in explained)])


def planned(store: Store, ask: Callable[[], object]) -> str:
    """The same of the first query of versions that SQLAlchemy runs, if there is one."""
    seen: list[tuple[str, object]] = []

    def listen(_connection, _cursor, statement, parameters, *_rest) -> None:
        seen.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", listen)
    ask()
    event.remove(store.engine, "before_cursor_execute", listen)
    statements = [one for one in seen if "version" in one[0]]
    is_sqlite = store.engine.dialect.name == "sqlite"
    with store.engine.connect() as connection:
        if not is_sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return "\n".join(
            str(row[-1])
            for statement, parameters in statements[:1]
            for row in connection.exec_driver_sql(
                f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{statement}", parameters
            )
        )


@pytest.mark.parametrize("name", QUERIES)
def test_no_table_is_read_through(store: Store, name: str) -> None:
    found = plan(store, QUERIES[name])
    tables = ("resource", "idx_", "version")
    assert not [
        line for line in found.splitlines() if line.startswith("SCAN ") and line[5:].startswith(tables)
    ]
    assert "Seq Scan" not in found


def test_a_chain_beside_what_leads_is_a_test_against_a_list(store: Store) -> None:
    for name in ("chain beside a code", "has over a chain beside a chain"):
        found = plan(store, QUERIES[name])
        if store.engine.dialect.name == "sqlite":
            assert "(code=? AND param=? AND rkey=?" not in found  # every pair of two lists
        else:
            assert "hashed SubPlan" in found


def test_what_a_resource_is_sorted_by_is_looked_up_by_the_resource(store: Store) -> None:
    assert "ix_idx_string_rkey" in plan(store, QUERIES["sorted"])


def test_what_has_none_of_a_value_set_never_leads(store: Store) -> None:
    for clauses, leading in (((NOT_IN, CODE), 1), ((NOT_IN,), 0)):
        terms = [str(term) for term in conditions(SearchQuery("Observation", clauses), hash, 0)]
        assert sum("rkey IN (SELECT" in term for term in terms) == leading
        assert terms[-1].startswith(("NOT EXISTS", "NOT (EXISTS"))


def test_rows_that_no_code_leads_to_are_listed_once_and_not_for_each_resource(store: Store) -> None:
    missing = Clause("code", "token", "missing", ("true",))
    system = Clause("code", "token", "", ("http://loinc.org|",))
    pair = Clause("code-value-quantity", "composite", "", ("a|$gt1",))
    for clauses in ((missing,), (STATUS, system), (STATUS, NOT_IN), (NUMBER, pair)):
        found = plan(store, SearchQuery("Observation", clauses))
        if store.engine.dialect.name == "sqlite":
            each = found.split("CORRELATED SCALAR SUBQUERY")[1:]
            assert all("ix_idx_string_rkey" in part.splitlines()[1] for part in each)


def test_of_a_resource_at_hand_the_rows_of_a_composite_are_found_by_its_code(store: Store) -> None:
    pair = Clause("code-value-quantity", "composite", "", ("a|b$gt1",))
    found = plan(store, SearchQuery("Observation", (NUMBER, pair)))
    if store.engine.dialect.name == "sqlite":
        assert "SEARCH idx_composite USING PRIMARY KEY (param=? AND code=? AND rkey=?" in found


def test_references_are_found_by_what_they_name_by_their_resource_and_by_their_parameter(
    store: Store,
) -> None:
    if store.engine.dialect.name != "sqlite":
        return  # of a table without rows any index will do
    one = Clause("subject", "reference", "", ("Patient/p",))
    some, none = (Clause("encounter", "reference", "missing", (value,)) for value in ("false", "true"))
    found = plan(store, SearchQuery("Observation", (one, none)))
    assert "SEARCH idx_reference USING PRIMARY KEY (code=? AND param=?" in found
    assert "USING COVERING INDEX ix_idx_reference_param (param=? AND rkey=?" in found
    found = plan(store, SearchQuery("Observation", (some,)))
    assert "USING COVERING INDEX ix_idx_reference_param (param=?" in found


def test_what_nothing_leads_to_is_read_in_order_of_creation(store: Store) -> None:
    if store.engine.dialect.name != "sqlite":
        return  # of a table without rows any index will do
    status = Clause("status", "token", "not", ("final",))
    subject = Clause("subject", "reference", "missing", ("true",))
    for clauses in ((), (status,), (subject,)):
        found = plan(store, SearchQuery("Observation", clauses, with_total=False))
        assert "USING INDEX ix_resource_type (type=?" in found
        assert "TEMP B-TREE" not in found


def test_the_newest_rows_of_a_code_are_read_in_the_order_of_its_index(store: Store) -> None:
    if store.engine.dialect.name != "sqlite":
        return  # of a table without rows any index will do
    single, asker = store.reader._finder.single, store.reader._asker
    since = Clause("date", "date", "", ("ge2024",))
    for code, position, behind in (("c", None, ""), ("s|c", None, ""), ("c", [7, None], " AND rkey<?")):
        query = SearchQuery("Observation", (replace(CODE, values=(code,)), since), with_total=False)
        made = asker.bound(single._led_page(VISIBLE, True, query, position))
        assert made is not None
        with store.engine.connect() as connection:
            values = [one.value for one in made[1]]
            found = [row[-1] for row in asker.fetched(connection, f"EXPLAIN QUERY PLAN {made[0]}", values)]
        assert f"SEARCH idx_token USING PRIMARY KEY (param=? AND code=? AND rkey>?{behind})" in found
        assert "SEARCH resource USING INTEGER PRIMARY KEY (rowid=?)" in found
        assert "SEARCH idx_date USING COVERING INDEX ix_idx_date_rkey (rkey=? AND param=?)" in found
        assert [line for line in found if line.startswith(("SCAN", "MATERIALIZE"))] == [
            "MATERIALIZE passed",  # the page
            "SCAN passed",
        ]
        assert not [line for line in found if "TEMP B-TREE" in line]


def test_points_above_a_value_and_ranges_that_reach_above_it_each_have_their_index(store: Store) -> None:
    found = plan(store, QUERIES["above a quantity"])
    if store.engine.dialect.name == "sqlite":
        assert "USING PRIMARY KEY (param=? AND value>?)" in found
        assert "ix_idx_quantity_range" in found


def test_the_history_of_a_type_is_read_by_the_type(store: Store) -> None:
    cursor = pages.encoded([7])
    for ask in (
        lambda: store.reader.changes("Patient", VISIBLE),
        lambda: store.reader.changes("Patient", VISIBLE, 50, cursor, Span(since_us=5)),
        lambda: store.reader.committed("Patient", VISIBLE, 3, 9, 50),
    ):
        found = planned(store, ask)
        assert "ix_version_type_leaf" in found
        assert "TEMP B-TREE" not in found
    if store.engine.dialect.name == "sqlite":  # the other sorts what little an empty table can have
        assert "ix_version_leaf" in planned(store, lambda: store.reader.changes("", VISIBLE))


def test_dates_after_another_are_found_by_their_begin_or_if_they_are_long_by_their_end(store: Store) -> None:
    if store.engine.dialect.name != "sqlite":
        return  # of a table without rows it reads what comes first
    for value in ("ge2030", "gt2030-01-01T00:00:00Z"):
        found = plan(store, SearchQuery("Observation", (Clause("date", "date", "", (value,)),)))
        assert "ix_idx_date_wide" in found
        assert "USING PRIMARY KEY (param=? AND lo>?)" in found


def test_two_bounds_of_a_date_are_one_range(store: Store) -> None:
    if store.engine.dialect.name != "sqlite":
        return
    bounds = tuple(Clause("date", "date", "", (value,)) for value in ("ge2020-01-01", "lt2020-01-02"))
    for clauses in (bounds, bounds[::-1]):
        found = plan(store, SearchQuery("Observation", clauses))
        assert "USING PRIMARY KEY (param=? AND lo>? AND lo<?)" in found
