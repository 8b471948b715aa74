"""Searches that few rows lead are planned once for all values (PostgreSQL), or led without a probe (SQLite).

They answer as those planned for theirs.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import true

from hdg.errors import BadRequest
from hdg.management.store import Clause, SearchQuery, Store, pages
from hdg.management.store.batch import table_of
from hdg.management.store.schema import Resource
from hdg.management.store.search import Sort, led

OWN = table_of(Resource).c.institution == "s"
CODE = Clause("code", "token", "", ("http://loinc.org|1",))
CODES = Clause("code", "token", "", ("1", "2"))
STATUS = Clause("status", "token", "", ("final",))
OTHER_STATUS = Clause("status", "token", "not", ("final",))
SINCE = Clause("date", "date", "", ("ge2024-03",))
OF_ONE = Clause("patient", "reference", "", ("p1",))
BY_NUMBER = Clause("subject", "chain", "", links=(("Patient", Clause("identifier", "token", "", ("u|n1",))),))
QUERIES = {
    "a code": (CODE,),
    "two codes": (CODES,),
    "a code and a date": (CODE, SINCE),
    "a patient": (OF_ONE,),
    "a patient, a status and a date": (OF_ONE, STATUS, SINCE),
    "a patient, but not a status": (OF_ONE, OTHER_STATUS),
    "a number of a patient": (BY_NUMBER,),
    "a number of a patient, and a code": (BY_NUMBER, CODE),
    "nothing": (Clause("patient", "reference", "", ("nobody",)),),
}


@pytest.fixture
def filled(store: Store) -> Store:
    """Forty results of two patients; every fourth belongs to another institution, every tenth to both patients."""

    def work(session) -> None:
        for number in (1, 2):
            number_of = [{"system": "u", "value": f"n{number}"}]
            patient = {"resourceType": "Patient", "id": f"p{number}", "identifier": number_of}
            session.put(patient, institution="s")
        for number in range(40):
            session.put(
                {
                    "resourceType": "Observation",
                    "id": f"o{number}",
                    "status": ["final", "amended"][number % 3 == 0],
                    "code": {"coding": [{"system": "http://loinc.org", "code": str(number % 3)}]},
                    "subject": {"reference": f"Patient/p{1 + number % 2}"},
                    "effectiveDateTime": f"2024-{1 + number % 6:02d}-01",
                },
                institution="t" if number % 4 == 0 else "s",
                patient="p2" if number % 10 == 0 else None,
            )

    store.submit(work).result()
    return store


def walked(store: Store, query: SearchQuery, visible) -> list[tuple[object, ...]]:
    """All pages: ids, patients, bodies, totals; no statement is kept from before."""
    store.reader._finder.single._statements.forget()
    store.reader._finder.single._scores.clear()
    found: list[tuple[object, ...]] = []
    while True:
        page = store.reader.search(query, visible)
        found += [(one.id, one.patients, store.reader.body(one), page.total) for one in page.versions]
        if not page.next_cursor:
            return [*found, (page.total,)]
        query = replace(query, cursor=page.next_cursor)


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("with_total", [True, False])
def test_it_answers_as_a_search_planned_for_its_values(
    filled: Store, monkeypatch: pytest.MonkeyPatch, name: str, with_total: bool
) -> None:
    query = SearchQuery("Observation", QUERIES[name], count=7, with_total=with_total)
    for visible in (true(), OWN):
        assert led(query, filled.reader._hash, 0, visible) is not None
        found = walked(filled, query, visible)
        for most in (-1, 3):
            with monkeypatch.context() as patched:
                patched.setattr(pages, "LED_MAX", most)
                assert walked(filled, query, visible) == found
    assert len(found) > 1 or name == "nothing"


@pytest.mark.parametrize(
    "query",
    [
        SearchQuery("Observation", (SINCE,)),
        SearchQuery("Observation", (OTHER_STATUS,)),
        SearchQuery("Observation", (Clause("code", "token", "", ("http://loinc.org|",)), SINCE)),
        SearchQuery("Observation", (CODE, Clause("code", "token", "text", ("x",)))),
        SearchQuery("Observation", (CODE, Clause("status", "token", "missing", ("false",)))),
        SearchQuery("Observation", (CODE,), sort=(Sort("date", "date"),)),
        SearchQuery("Observation", (CODE,), compartment="Patient/p1"),
        SearchQuery("Patient", (Clause("patient", "has", "", links=(("Observation", CODE),)),)),
        SearchQuery(
            "Observation", (Clause("subject", "chain", "", links=(("Patient", replace(STATUS)),)), CODE)
        ),
    ],
)
def test_a_search_that_no_few_rows_can_lead_is_none(store: Store, query: SearchQuery) -> None:
    assert led(query, store.reader._hash, 0, true()) is None


def test_it_is_refused_for_what_a_search_is_refused_for(store: Store) -> None:
    for clause in (
        Clause("date", "date", "", ("never",)),
        Clause("patient", "reference", "Nobody", ("p1",)),
        Clause("code", "token", "", ("a|b|c",)),
    ):
        with pytest.raises(BadRequest):
            store.reader.search(SearchQuery("Observation", (CODE, clause)), true())


def test_the_newest_rows_of_a_code_are_read_until_the_page_is_full(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = filled.reader._finder.single
    query = SearchQuery("Observation", (CODE,), count=3, with_total=False)
    found = [one.id for one in filled.reader.search(query, OWN).versions]
    monkeypatch.setattr(pages, "LED_MAX", 6)  # of the thirteen that have the code
    single._statements.forget()
    with filled.engine.connect() as connection:
        assert single._newest(connection, single.asked(query, None, OWN)) is not None
    assert [one.id for one in filled.reader.search(query, OWN).versions] == found


@pytest.mark.parametrize(("most", "is_page"), [(12, False), (13, True), (14, True)])
def test_a_page_that_is_not_full_is_one_if_all_rows_of_the_code_were_read(
    filled: Store, monkeypatch: pytest.MonkeyPatch, most: int, is_page: bool
) -> None:
    single = filled.reader._finder.single
    monkeypatch.setattr(pages, "LED_MAX", most)  # thirteen have the code, ten of them are to be seen
    asked = single.asked(SearchQuery("Observation", (CODE,), count=30, with_total=False), None, OWN)
    with filled.engine.connect() as connection:
        found = single._newest(connection, asked)
    assert (found is not None) == is_page
    assert found is None or len(found[0]) == 10


def test_what_reads_in_vain_too_often_is_read_as_before(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = filled.reader._finder.single
    rare = Clause("date", "date", "", ("lt2024-01-02",))
    query = SearchQuery("Observation", (CODE, rare), count=30, with_total=False)
    asked = single.asked(query, None, OWN)
    found = walked(filled, query, OWN)
    single._statements.forget()
    assert single._is_newest(asked)
    monkeypatch.setattr(pages, "LED_MAX", 6)
    with filled.engine.connect() as connection:
        for _ in range(2):
            assert single._is_newest(asked)
            assert single._newest(connection, asked) is None
        assert not single._is_newest(asked)
    assert [(one.id,) for one in filled.reader.search(query, OWN).versions] == [row[:1] for row in found[:-1]]


def test_sqlite_reads_the_newest_rows_without_a_probe(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    if filled.engine.dialect.name != "sqlite":
        return  # never probes

    def probed(*_: object) -> int:
        raise AssertionError("a probe")

    query = SearchQuery("Observation", (CODE, SINCE), count=3, with_total=False)
    expected = [one.id for one in filled.reader.search(replace(query, with_total=True), OWN).versions]
    monkeypatch.setattr("hdg.management.store.single.fewest_of", probed)
    assert [one.id for one in filled.reader.search(query, OWN).versions] == expected


@pytest.mark.parametrize(
    ("clauses", "is_in_order"),
    [
        ((CODE,), True),
        ((CODE, SINCE), True),
        ((CODES,), False),
        ((OF_ONE, STATUS), False),
        ((BY_NUMBER,), False),
    ],
)
def test_the_rows_of_one_code_lie_in_the_order_of_their_resources(
    store: Store, clauses: tuple[Clause, ...], is_in_order: bool
) -> None:
    found = led(SearchQuery("Observation", clauses), store.reader._hash, 0, true())
    assert found is not None
    assert found.is_in_order == is_in_order
