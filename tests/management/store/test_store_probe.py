"""Before a search SQLite is asked which clause finds the fewest; that decides what it costs, never what it finds."""

from __future__ import annotations

import pytest
from sqlalchemy import func, insert, select, true

from hdg.management.store import Clause, SearchQuery, Store
from hdg.management.store.batch import table_of
from hdg.management.store.index import lookups
from hdg.management.store.probe import fewest, fewest_of
from hdg.management.store.schema import IdxToken, Resource
from hdg.management.store.search import conditions

TOKEN = table_of(IdxToken)
RESOURCE = table_of(Resource)
CODE = Clause("code", "token", "", ("rare",))
STATUS = Clause("status", "token", "", ("final",))
DATE = Clause("date", "date", "", ("2024-01-02",))
CLAUSES = (STATUS, DATE, CODE, Clause("subject", "reference", "", ("Patient/p",)))


def fill(store: Store, clause: Clause, count: int, *, code: str = "", system: int = 0) -> None:
    """Rows of resources that do not exist."""
    hash_ = store.reader._hash
    number = lookups("Observation", clause.param)[0][0]
    rows = [
        {"param": number, "code": hash_(code or clause.values[0]), "system": system, "rkey": 10_000 + at}
        for at in range(count)
    ]
    store.submit(lambda session: session.connection.execute(insert(TOKEN), rows) and None).result(120)


def rows_of(store: Store, clause: Clause):
    number = lookups("Observation", clause.param)[0][0]
    code = TOKEN.c.code == store.reader._hash(clause.values[0])
    return select(TOKEN.c.rkey).where(TOKEN.c.param == number, code)


def observation(number: int, **more):
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": ("final", "amended")[number % 2],
        "code": {"coding": [{"code": ("rare", "usual", "other")[number % 3]}]},
        "subject": {"reference": f"Patient/{'pq'[number % 4 > 1]}"},
        "effectiveDateTime": f"2024-01-0{number % 5 + 1}",
        **more,
    }


def test_the_clause_with_the_fewest_rows_leads_whatever_comes_first(store: Store) -> None:
    fill(store, STATUS, 3_000)
    fill(store, CODE, 5)
    hash_, rare = store.reader._hash, str(store.reader._hash("rare"))
    for clauses in ((STATUS, CODE), (CODE, STATUS)):
        with store.engine.connect() as connection:
            terms = conditions(
                SearchQuery("Observation", clauses), hash_, 0, true(), fewest(connection) or (lambda _: 0)
            )
        leading = str(terms[1].compile(store.engine, compile_kwargs={"literal_binds": True}))
        assert "rkey IN (SELECT" in leading
        assert (rare in leading) == (store.engine.dialect.name == "sqlite" or clauses[0] is CODE)


def test_of_many_rows_and_more_the_many_are_told_from_the_more(store: Store) -> None:
    fill(store, STATUS, 9_000)
    fill(store, CODE, 2_000)
    with store.engine.connect() as connection:
        ask = fewest(connection)
        if store.engine.dialect.name != "sqlite":
            assert ask is None  # it plans for the values at hand
            return
        assert ask([rows_of(store, STATUS), rows_of(store, CODE)]) == 1
        assert ask([rows_of(store, CODE), rows_of(store, STATUS)]) == 0


@pytest.mark.parametrize(
    ("sizes", "fewest_is", "limits"),
    [
        ((1_776, 1_000_000), 0, [1_000, 1_000, 8_000, 2_048]),
        ((1_776, 1_300), 1, [1_000, 1_000, 8_000, 2_048]),
        ((1_776, 2_000), 0, [1_000, 1_000, 8_000, 2_048]),
        ((1_000_000, 1_776, 1_776), 1, [1_000] * 3 + [8_000, 8_000, 2_048]),
        ((7_999, 8_000), 0, [1_000, 1_000, 8_000, 8_000]),
        ((999, 5), 0, [1_000]),
    ],
)
def test_no_more_is_counted_of_the_others_than_the_fewest_has(
    store: Store, sizes: tuple[int, ...], fewest_is: int, limits: list[int]
) -> None:
    asked: list[int] = []

    def count(place: int, limit: int) -> list[tuple[int]]:
        asked.append(limit)
        return [(min(sizes[place], limit),)]

    with store.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            assert fewest_of(connection, len(sizes), count) == fewest_is
            assert asked == limits


def test_what_passes_over_many_rows_does_not_lead_though_it_finds_none(store: Store) -> None:
    fill(store, STATUS, 20_000)
    fill(store, CODE, 500)
    nothing = rows_of(store, STATUS).where(TOKEN.c.system == 7)
    with store.engine.connect() as connection:
        ask = fewest(connection)
        if ask is None:
            return
        for _ in range(3):  # a statement that is kept counts on from where it ended
            assert ask([nothing, rows_of(store, CODE)]) == 1
        counted = connection.execute(select(func.count()).select_from(TOKEN)).scalar_one()
        assert counted >= 20_500  # nothing interrupts what comes after


@pytest.mark.parametrize("reverse", [False, True])
def test_whichever_clause_leads_the_search_finds_the_same(store: Store, reverse: bool) -> None:
    def work(session) -> None:
        for number in range(60):
            session.put(observation(number), institution="s")

    store.submit(work).result(120)
    clauses = tuple(one for one in CLAUSES if one.kind != "reference")  # which leads without a look
    clauses = clauses[::-1] if reverse else clauses
    query = SearchQuery("Observation", clauses)
    asked: list[int] = []
    found: list[list[int]] = []
    with store.engine.connect() as connection:
        for place in range(len(clauses)):

            def choose(queries, place=place) -> int:
                asked.append(len(queries))
                return place

            terms = conditions(query, store.reader._hash, 0, None, choose)
            found.append(sorted(connection.scalars(select(RESOURCE.c.rkey).where(*terms))))
    assert asked == [len(clauses)] * len(clauses)
    assert found[0]
    assert all(one == found[0] for one in found)


def test_an_id_and_a_chain_from_a_number_lead_without_a_look_at_the_rows(store: Store) -> None:
    def never(_queries) -> int:
        raise AssertionError

    patient = Clause("patient", "reference", "", ("Patient/p",))
    conditions(SearchQuery("Observation", (patient, *CLAUSES)), store.reader._hash, 0, None, never)
    number = Clause("identifier", "token", "", ("x",))
    for first in (
        Clause("_id", "token", "", ("o1",)),
        Clause("subject", "chain", "", links=(("Patient", number),)),
    ):
        conditions(SearchQuery("Observation", (STATUS, first, DATE)), store.reader._hash, 0, true(), never)
        conditions(SearchQuery("Observation", (STATUS,)), store.reader._hash, 0, true(), never)
