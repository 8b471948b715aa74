"""A search that is led by all resources of its type finds what one finds that is led by what its clauses list.

Which way is taken decides what a search costs (R4 search.html says nothing of it), never what it finds or counts.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import ColumnElement, insert, or_, true

from hdg.errors import BadRequest
from hdg.management.consent.decide import AccessRequest
from hdg.management.consent.policy import load_policy
from hdg.management.consent.sql import predicate
from hdg.management.store import Clause, SearchQuery, Store, pages, probe, single
from hdg.management.store.batch import table_of
from hdg.management.store.finding import Finder
from hdg.management.store.index import lookups
from hdg.management.store.probe import MANY, within_bounds
from hdg.management.store.schema import IdxToken, Resource
from hdg.management.store.search import walk_of

RESOURCE = table_of(Resource).c
TOKEN = table_of(IdxToken)
OWN = RESOURCE.institution == "s"
SOME = or_(RESOURCE.institution == "t", RESOURCE.type == "Observation")
"""Neither all results, nor all that they refer to."""

CODE = Clause("code", "token", "", ("1",))
STATUS = Clause("status", "token", "", ("final",))
NAME = Clause("family", "string", "", ("b",))
GENDER = Clause("gender", "token", "", ("female",))
MALE = Clause("gender", "token", "", ("male",))


def chain(param: str, type_: str, inner: Clause) -> Clause:
    return Clause(param, "chain", "", links=((type_, inner),))


def has(param: str, type_: str, inner: Clause) -> Clause:
    return Clause(param, "has", "", links=((type_, inner),))


OF_PLACE = chain(
    "encounter", "Encounter", chain("service-provider", "Organization", Clause("name", "string", "", ("b",)))
)
VISIT = chain("encounter", "Encounter", Clause("status", "token", "", ("finished",)))
MANY_WAYS = Clause("subject", "has", "", links=tuple((type_, VISIT) for type_ in ("Observation",) * 5))
RESULTS = {
    "a code": CODE,
    "two codes": Clause("code", "token", "", ("1", "2")),
    "not a code": Clause("code", "token", "not", ("1",)),
    "a status": STATUS,
    "since": Clause("date", "date", "", ("ge2024-02",)),
    "until": Clause("date", "date", "", ("lt2024-05-02",)),
    "of a quantity": Clause("value-quantity", "quantity", "", ("gt3",)),
    "without a quantity": Clause("value-quantity", "quantity", "missing", ("true",)),
    "with a quantity": Clause("value-quantity", "quantity", "missing", ("false",)),
    "changed": Clause("_lastUpdated", "date", "", ("ge2020",)),
    "of women": chain("subject", "Patient", GENDER),
    "not of women": chain("subject", "Patient", replace(GENDER, modifier="not")),
    "of a name": chain("subject", "Patient", NAME),
    "of a place that has a name": OF_PLACE,
    "with a pair": Clause("code-value-quantity", "composite", "", ("1$gt2",)),
}
PEOPLE = {
    "women": GENDER,
    "men": MALE,
    "a name": NAME,
    "not of a name": Clause("family", "string", "missing", ("true",)),
    "with a result": has("subject", "Observation", CODE),
    "with a final result": has("subject", "Observation", STATUS),
    "with another result": has("subject", "Observation", replace(CODE, modifier="not")),
    "with a result of a visit that is over": has("subject", "Observation", VISIT),
    "with a result of a place that has a name": has("subject", "Observation", OF_PLACE),
    "with a visit that has a result": has("subject", "Encounter", has("encounter", "Observation", CODE)),
}


@pytest.fixture
def filled(store: Store) -> Store:
    """Patients and what refers to them, of two institutions; some is deleted, some is about two, some about none."""
    rng = random.Random(4)

    def work(session: Any) -> None:
        def put(resource: dict[str, Any], patient: str | None = None) -> None:
            session.put(resource, institution=rng.choice("sst"), patient=patient)

        for number in range(3):
            put({"resourceType": "Organization", "id": f"g{number}", "name": "abc"[number]})
        for number in range(12):
            person: dict[str, Any] = {"resourceType": "Patient", "id": f"p{number}"}
            if rng.random() < 0.8:
                person["gender"] = rng.choice(["female", "male"])
            if rng.random() < 0.8:
                person["name"] = [{"family": rng.choice("abc")} for _ in range(rng.choice([1, 2]))]
            put(person)
            visit = {
                "resourceType": "Encounter",
                "id": f"e{number}",
                "status": rng.choice(["finished", "planned"]),
            }
            provider = {"reference": f"Organization/g{rng.randrange(3)}"}
            put({**visit, "subject": {"reference": f"Patient/p{number}"}, "serviceProvider": provider})
        for number in range(90):
            result: dict[str, Any] = {
                "resourceType": "Observation",
                "id": f"o{number}",
                "status": rng.choice(["final", "amended"]),
                "code": {
                    "coding": [
                        {"code": str(rng.randrange(4)), "system": s} for s in "ab"[: rng.choice([1, 2])]
                    ]
                },
            }
            if rng.random() < 0.9:
                result["subject"] = {
                    "reference": f"Patient/p{rng.randrange(14)}"
                }  # two of them are not there
            if rng.random() < 0.6:
                result["encounter"] = {"reference": f"Encounter/e{rng.randrange(12)}"}
            if rng.random() < 0.8:
                result["effectiveDateTime"] = f"2024-{rng.randrange(1, 8):02d}-0{rng.randrange(1, 5)}"
            if rng.random() < 0.7:
                result["valueQuantity"] = {"value": rng.randrange(8)}
            put(result, f"p{rng.randrange(12)}" if rng.random() < 0.1 else None)
        for name in ("Observation/o3", "Observation/o40", "Patient/p5", "Encounter/e2"):
            session.delete(*name.split("/"), institution="s")

    store.submit(work).result(120)
    return store


def drawn(rng: random.Random) -> SearchQuery:
    type_, among = rng.choice([("Observation", RESULTS), ("Patient", PEOPLE)])
    clauses = tuple(among[name] for name in rng.sample(sorted(among), rng.choice([1, 1, 2, 2, 3])))
    with_total = rng.random() < 0.6
    total_max = rng.choice([None, None, 0, 3, 12])
    return SearchQuery(type_, clauses, rng.choice([3, 20]), with_total=with_total, total_max=total_max)


def answers(store: Store, query: SearchQuery, visible: ColumnElement[bool]) -> list[object]:
    """All pages: names and bodies, with the total of each page."""
    found: list[object] = []
    while True:
        page = store.reader.search(query, visible)
        found += [(one.id, one.patients, store.reader.body(one)) for one in page.versions]
        found.append(page.total)
        if not page.next_cursor:
            return found
        query = replace(query, cursor=page.next_cursor)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_leads_the_answers_are_the_same(
    filled: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(pages, "LED_MAX", -1)
    monkeypatch.setattr(pages, "COUNTED_MAX", 4)  # then others count
    walked: list[bool] = []
    within = single.within_bounds

    def heard(*given: Any) -> Any:
        found = within(*given)
        walked.append(found is not None)
        return found

    monkeypatch.setattr(single, "within_bounds", heard)
    for _ in range(40):
        query, visible = drawn(rng), rng.choice([true(), OWN, SOME])
        found = []
        for rows in (0, 50_000):  # never a walk; whenever it can be one
            with monkeypatch.context() as patched:
                patched.setattr(single, "least", lambda *_, rows=rows: rows)
                found.append(answers(filled, query, visible))
                filled.reader._finder.single._statements.forget()
        for place in range(len(query.clauses)):  # each that may lead
            with monkeypatch.context() as patched:
                patched.setattr(single, "least", lambda *_: 0)
                patched.setattr(
                    single, "fewest_of", lambda _, number, __, place=place: min(place, number - 1)
                )
                patched.setattr(probe, "fewest_of", lambda _, number, __, place=place: min(place, number - 1))
                found.append(answers(filled, query, visible))
                filled.reader._finder.single._statements.forget()
        assert all(one == found[0] for one in found), query
    assert walked.count(True) > 20
    assert all(walked)


@pytest.mark.parametrize("name", [*RESULTS, *PEOPLE])
def test_a_walk_finds_what_is_listed_and_so_does_a_count(
    filled: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    type_ = "Observation" if name in RESULTS else "Patient"
    query = SearchQuery(type_, ({**RESULTS, **PEOPLE}[name],), count=90)
    everything = true()
    for visible in (everything, OWN, SOME):
        found = []
        for rows in (0, 50_000):
            with monkeypatch.context() as patched:
                patched.setattr(single, "least", lambda *_, rows=rows: rows)
                found.append(answers(filled, query, visible))
                page = filled.reader.search(replace(query, count=0), visible)
                found[-1].append(page.total)
        assert found[0] == found[1]
        assert found[0][-1] == len(found[0]) - 2
        assert visible is not everything or len(found[0]) > 2


@pytest.mark.parametrize("role", ["clinician", "patient"])
@pytest.mark.parametrize("clause", [OF_PLACE, PEOPLE["with a result of a place that has a name"]])
def test_two_and_three_steps_are_walked_under_the_rules_of_consent(
    filled: Store, monkeypatch: pytest.MonkeyPatch, clause: Clause, role: str
) -> None:
    """Which are as deep as SQLite's parser goes."""
    asked = AccessRequest(
        role, "u", "s", "p1", "TREAT" if role == "clinician" else "PATRQT", "access", at_us=5
    )
    visible = predicate(asked, load_policy(), lambda: 5)
    query = SearchQuery("Observation" if clause is OF_PLACE else "Patient", (clause,), 3)
    walked: list[object] = []
    found = []
    for rows in (0, 50_000):
        with monkeypatch.context() as patched:
            patched.setattr(single, "least", lambda *_, rows=rows: rows)
            within = partial(heard, within_bounds, walked)
            patched.setattr(single, "within_bounds", within)
            found.append(answers(filled, query, visible))
    assert found[0] == found[1]
    assert walked
    assert None not in walked
    assert role == "patient" or len(found[0]) > 2


def heard(within: Any, walked: list[object], *given: Any) -> Any:
    walked.append(within(*given))
    return walked[-1]


def fill(store: Store, clause: Clause, type_: str, count: int) -> None:
    """Rows of resources that do not exist."""
    hash_, number = store.reader._hash, lookups(type_, clause.param)[0][0]
    rows = [
        {"param": number, "code": hash_(clause.values[0]), "system": 0, "rkey": 100_000 + at}
        for at in range(count)
    ]
    store.submit(lambda session: session.connection.execute(insert(TOKEN), rows) and None).result(120)


def would_list(store: Store, query: SearchQuery) -> int:
    """How many rows would be listed if there were no walk, 0 for few."""
    finder: Finder = store.reader._finder
    asked = finder.single.asked(query, None, true())
    return store.reader._connections.snapshot(lambda connection: finder.single.walked(connection, asked))


def test_a_walk_leads_where_all_clauses_find_many_and_only_there(filled: Store) -> None:
    fill(filled, STATUS, "Observation", MANY + 7)
    of_status = SearchQuery("Patient", (has("subject", "Observation", STATUS),))
    assert MANY < would_list(filled, SearchQuery("Observation", (STATUS,))) < MANY + 100
    assert MANY < would_list(filled, of_status) < MANY + 100
    assert would_list(filled, SearchQuery("Observation", (STATUS, CODE))) == 0
    assert would_list(filled, replace(of_status, clauses=(*of_status.clauses, NAME))) == 0
    assert would_list(filled, SearchQuery("Patient", (has("subject", "Observation", CODE),))) == 0


def test_what_has_something_rare_leads_before_what_each_of_many_would_be_looked_at_for(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(session: Any) -> None:
        for number in range(400):
            result = {
                "resourceType": "Observation",
                "id": f"m{number}",
                "status": "final",
                "code": {"text": "other"},
            }
            session.put({**result, "subject": {"reference": f"Patient/p{number % 12}"}}, institution="s")

    filled.submit(work).result(120)
    monkeypatch.setattr(probe, "FEW", 60)
    monkeypatch.setattr(probe, "_LIMIT", 100)
    finder, rare = filled.reader._finder, has("subject", "Observation", replace(CODE, values=("3",)))
    for clauses in ((GENDER, rare), (rare, GENDER)):
        asked = finder.single.asked(SearchQuery("Patient", clauses), None, true())
        where = filled.reader._connections.snapshot(lambda c, asked=asked: finder._where(c, asked))
        leading = [str(one) for one in where if "rkey IN (SELECT" in str(one)]
        assert len(leading) == 1
        assert "idx_reference" in leading[0]
        assert any(str(one).startswith("EXISTS (SELECT 1 \nFROM idx_token") for one in where)


@pytest.mark.parametrize(
    "query",
    [
        SearchQuery("Observation", ()),
        SearchQuery("Observation", (Clause("_id", "token", "", ("o1",)), STATUS)),
        SearchQuery("Observation", (Clause("patient", "reference", "", ("p1",)), STATUS)),
        SearchQuery("Patient", (Clause("identifier", "token", "", ("u|1",)), GENDER)),
        SearchQuery("Observation", (replace(STATUS, modifier="not"),)),
        SearchQuery("Observation", (Clause("code", "token", "", ("http://loinc.org|",)),)),
        SearchQuery("Observation", (Clause("code", "token", "missing", ("false",)),)),
        SearchQuery("Observation", (STATUS,), compartment="Patient/p1"),
        SearchQuery(
            "", (Clause("_lastUpdated", "date", "", ("ge2020",)), STATUS), types=("Observation", "Encounter")
        ),
        SearchQuery("Patient", (has("subject", "Encounter", has("encounter", "Observation", OF_PLACE)),)),
        SearchQuery("Patient", (has("subject", "Observation", chain("subject", "Patient", MANY_WAYS)),)),
        SearchQuery(
            "Observation", (chain("subject", "Patient", Clause("identifier", "token", "", ("u|1",))),)
        ),
    ],
)
def test_what_cannot_be_a_walk_or_finds_few_by_its_kind_is_none(store: Store, query: SearchQuery) -> None:
    assert walk_of(query, store.reader._hash, 0, true()) is None


def test_what_takes_too_long_is_given_up_and_found_in_another_way(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = SearchQuery("Patient", (has("subject", "Observation", STATUS),), total_max=100)
    expected = answers(filled, query, OWN)
    given_up: list[object] = []

    def too_long(connection: Any, rows: int, ask: Any) -> None:
        endless = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
            if connection.dialect.name == "sqlite"
            else "SELECT pg_sleep(60)"
        )
        given_up.append(within_bounds(connection, rows, lambda: connection.exec_driver_sql(endless).all()))

    for module in ("single", "finding"):
        monkeypatch.setattr(f"hdg.management.store.{module}.within_bounds", too_long)
    monkeypatch.setattr(single, "least", lambda *_: MANY)
    monkeypatch.setattr(pages, "COUNTED_MAX", 1)
    assert answers(filled, query, OWN) == expected
    assert given_up == [None, None]  # the page, the number
    assert answers(filled, query, OWN) == expected  # the connection is as it was


def test_bounds_end_with_what_they_are_for(store: Store) -> None:
    with store.engine.connect() as connection, connection.begin():
        assert within_bounds(connection, MANY, lambda: connection.exec_driver_sql("SELECT 7").scalar()) == 7
        if connection.dialect.name == "postgresql":
            for name, value in (
                ("statement_timeout", "0"),
                ("enable_hashjoin", "on"),
                ("enable_seqscan", "on"),
            ):
                assert connection.exec_driver_sql(f"SHOW {name}").scalar() == value
        else:
            endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000) "
            assert connection.exec_driver_sql(f"{endless} SELECT count(*) FROM n").scalar() == 2_000_000


def test_a_fault_within_bounds_is_no_end_of_time(store: Store) -> None:
    def refused() -> None:
        raise BadRequest("no")

    with store.engine.connect() as connection, connection.begin():
        with pytest.raises(BadRequest):
            within_bounds(connection, MANY, refused)
        assert connection.exec_driver_sql("SELECT 7").scalar() == 7


@pytest.mark.parametrize("rows", [0, 50_000])
@pytest.mark.parametrize("counted", [1, 1_000])
def test_up_to_so_many_are_counted_exactly_and_of_more_there_is_no_total(
    filled: Store, monkeypatch: pytest.MonkeyPatch, counted: int, rows: int
) -> None:
    monkeypatch.setattr(single, "least", lambda *_: rows)
    monkeypatch.setattr(pages, "COUNTED_MAX", counted)
    query = SearchQuery("Observation", (STATUS,), count=2)
    every = filled.reader.search(query, true()).total
    own = filled.reader.search(query, OWN).total
    assert every is not None
    assert own is not None
    assert 2 < own < every
    for most, expected in ((own - 1, None), (own, own), (own + 1, own)):  # whatever is there that is hidden
        page = filled.reader.search(replace(query, total_max=most), OWN)
        assert page.total == expected
        after = filled.reader.search(replace(query, total_max=most, cursor=page.next_cursor), OWN)
        assert after.total == expected
        assert len(page.versions) == len(after.versions) == 2
