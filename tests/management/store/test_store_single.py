"""A statement that is kept binds what one that is made anew would; what it finds is what the search is for."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import and_, bindparam, true

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store import Clause, SearchQuery, Store, pages
from hdg.management.store.batch import table_of
from hdg.management.store.kept import Asked
from hdg.management.store.plain import shape_of, twin_of
from hdg.management.store.schema import Resource
from hdg.management.store.single import Single
from hdg.usage.fhir_api import parameters

RESOURCE = table_of(Resource).c
LIMITS = parameters.Limits(50, 1000, "http://gateway/fhir")
DATES = (
    "2024",
    "2023",
    "2024-02",
    "2023-02",
    "2023-11-05",
    "2024-02-29T08:30:00Z",
    "2020-01-01T00:00:01.5+02:00",
)
PREFIXES = ("", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb")
TYPES = ("Observation", "Patient", "Encounter", "Condition", "MedicationRequest", "Organization")


def text_of(rng: random.Random) -> str:
    return rng.choice(["a", "b", "Patient", "Ünder wegs", "x\\|y", "1", "0", f"v{rng.randrange(50)}"])


def value_of(kind: str, rng: random.Random) -> str:
    match kind:
        case "token":
            return rng.choice(["", "|", f"{text_of(rng)}|", "s|", "http://loinc.org|"]) + text_of(rng)
        case "reference":
            return rng.choice(["", "Patient/", "Encounter/", "http://else/Patient/"]) + f"p{rng.randrange(4)}"
        case "date":
            return rng.choice((*PREFIXES, "ap")) + rng.choice(DATES)
        case _:
            return text_of(rng)


def clause_of(type_: str, rng: random.Random) -> Clause:
    kinds = ("token", "reference", "date", "string")
    known = [one for one in definitions.search_parameters(type_) if one.kind in kinds]
    one = rng.choice(known)
    modifiers = {"token": ["", "", "not"], "string": ["", "exact"], "reference": ["", "Patient"]}
    count = rng.choice((1, 1, 1, 2, 3))
    values = tuple(value_of(one.kind, rng) for _ in range(count))
    return Clause(one.code, one.kind, rng.choice(modifiers.get(one.kind, [""])), values)


def query_of(rng: random.Random) -> tuple[SearchQuery, list[Any] | None]:
    type_ = rng.choice(TYPES)
    clauses = [clause_of(type_, rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    if type_ not in ("Patient", "Organization") and rng.random() < 0.4:
        inner = clause_of("Patient", rng)
        links = (("Patient", inner), ("Group", inner))[: rng.choice((1, 1, 2))]
        clauses.append(Clause("subject", "chain", "", links=links))
    if type_ == "Patient" and rng.random() < 0.3:
        clauses.append(Clause("subject", "has", "", links=(("Observation", clause_of("Observation", rng)),)))
    query = SearchQuery(type_, tuple(clauses), rng.choice((1, 50)), with_total=rng.random() < 0.5)
    return query, None if rng.random() < 0.6 else [rng.randrange(1, 40), None]


def visible_to(institution: str, at_us: list[int]) -> Any:
    def now() -> int:
        return at_us[0]

    return and_(
        RESOURCE.institution == institution, RESOURCE.updated_us > bindparam(None, callable_=now, unique=True)
    )


def single_of(store: Store) -> Single:
    return store.reader._finder.single


def bound_anew(single: Single, asked: Asked, build: Any) -> tuple[str, list[Any]]:
    found = single._asker.bound(build(asked.query, asked.position))
    assert found is not None
    return found[0], [one.effective_value for one in found[1]]


def varied(query: SearchQuery, rng: random.Random) -> SearchQuery:
    """The same search for other values, written as in ``value_of``."""

    def other(clause: Clause) -> Clause:
        links = {inner: other(inner) for _, inner in clause.links}
        values = tuple(value_of(clause.kind, rng) for _ in clause.values)
        return replace(
            clause, values=values, links=tuple((type_, links[inner]) for type_, inner in clause.links)
        )

    return replace(query, clauses=tuple(map(other, query.clauses)))


def test_a_kept_statement_binds_what_a_new_one_would(store: Store) -> None:
    single, rng, at_us = single_of(store), random.Random(11), [5]
    visible = visible_to("s", at_us)
    compared = 0
    for _ in range(80):
        query, position = query_of(rng)
        asked = single.asked(query, position, visible)
        if asked.shape is None:
            continue
        build = partial(single._page, visible, 0, False)
        try:
            statement = build(query, position)
        except BadRequest:
            continue
        key = ("page", id(visible), asked.shape.key)
        single._statements._learn(key, asked, asked.shape, statement, build)
        plan = single._statements._plans.all()[key]
        for _ in range(30):
            again = single.asked(
                varied(query, rng), None if position is None else [rng.randrange(40), None], visible
            )
            if again.shape is not None and again.shape.key == asked.shape.key:
                at_us[0] += 1
                if plan.sql:
                    assert (plan.sql, plan.values(again.shape)) == bound_anew(single, again, build)
                    compared += 1
    assert compared > 100


def observation(number: int, rng: random.Random) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": rng.choice(["final", "amended"]),
        "code": {"coding": [{"system": rng.choice(["s", "t"]), "code": rng.choice("abc")}]},
        "subject": {"reference": f"Patient/p{number % 4}"},
        "effectiveDateTime": rng.choice(DATES),
    }


@pytest.fixture
def filled(store: Store) -> Store:
    rng = random.Random(3)

    def work(session: Any) -> None:
        for number in range(4):
            names = [{"family": rng.choice(["Amsel", "Ünder"]), "given": [f"v{number}"]}]
            numbers = [{"system": "s", "value": f"v{number}"}]
            patient = {"resourceType": "Patient", "id": f"p{number}", "identifier": numbers, "name": names}
            session.put({**patient, "birthDate": rng.choice(DATES)[:10]}, institution="s")
        for number in range(48):
            session.put(observation(number, rng), institution="st"[number % 4 == 0])

    store.submit(work).result()
    return store


CODE = ("a", "s|a", "t|b", "|a", "nothing", "x\\|y")


def common(rng: random.Random) -> SearchQuery:
    by_code = Clause("code", "token", "", (rng.choice(CODE),))
    by_date = Clause("date", "date", "", (rng.choice(PREFIXES) + rng.choice(DATES),))
    of_one = Clause("patient", "reference", "", (f"p{rng.randrange(5)}",))
    status = Clause("status", "token", "", (rng.choice(["final", "amended"]), "preliminary"))
    numbered = Clause("identifier", "token", "", (f"s|v{rng.randrange(5)}",))
    chained = Clause("subject", "chain", "", links=(("Patient", numbered),))
    named = Clause(
        "subject",
        "chain",
        "",
        links=(("Patient", Clause("name", "string", "", (rng.choice(["am", "v1"]),))),),
    )
    clauses = rng.choice(
        [
            (by_code,),
            (by_code, by_date),
            (of_one, status, by_date),
            (by_date,),
            (chained,),
            (chained, by_code),
            (named,),
            (status, by_code),
        ]
    )
    return SearchQuery("Observation", clauses, rng.choice((3, 50)), with_total=rng.random() < 0.5)


def test_searches_by_kept_statements_find_what_others_find(filled: Store) -> None:
    rng, at_us = random.Random(8), [0]
    views = [true(), visible_to("s", at_us), visible_to("t", at_us), visible_to("nobody", at_us)]
    reader, finder = filled.reader, filled.reader._finder
    for _ in range(200):
        query, visible = common(rng), rng.choice(views)
        page = reader.search(query, visible)
        asked = finder.single.asked(query, None, visible)
        others = reader._connections.snapshot(partial(finder.by_several, asked=asked))
        assert [one.rkey for one in page.versions] == [one.rkey for one in others.versions]
        assert (page.total, bool(page.next_cursor)) == (others.total, bool(others.next_cursor))
        if page.next_cursor:
            after = replace(query, cursor=page.next_cursor)
            expected = [one.rkey for one in reader.search(replace(query, count=90), visible).versions]
            rest = reader.search(after, visible).versions
            assert [one.rkey for one in rest] == expected[query.count : query.count * 2]
    kept = [plan for plan in single_of(filled)._statements._plans.all().values() if plan.sql]
    assert len(kept) > 10


@pytest.mark.parametrize("few", [0, 20, 2_000])
def test_a_number_by_kept_statements_is_how_many_matches_there_are(
    filled: Store, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(pages, "LED_MAX", few)
    rng, at_us = random.Random(9), [0]
    views = [true(), visible_to("s", at_us), visible_to("t", at_us), visible_to("nobody", at_us)]
    finder = filled.reader._finder
    totals = set()
    for _ in range(120):
        query, visible = replace(common(rng), count=0), rng.choice(views)
        asked = finder.single.asked(replace(query, count=90), None, visible)
        others = filled.reader._connections.snapshot(partial(finder.by_several, asked=asked))
        page = filled.reader.search(query, visible)
        assert (page.versions, page.total, page.next_cursor) == ((), len(others.versions), "")
        totals.add(page.total)
    assert len(totals) > 10
    kept = {key[0][0] for key, plan in single_of(filled)._statements._plans.all().items() if plan.sql}
    assert kept & {"number", "led number"}


def test_a_kept_statement_sees_what_its_caller_may_see_at_that_time(filled: Store) -> None:
    at_us = [0]
    visible = visible_to("s", at_us)
    query = SearchQuery("Observation", (Clause("code", "token", "", ("a",)),))
    found = [len(filled.reader.search(query, visible).versions) for _ in range(4)]
    assert len(set(found)) == 1
    assert found[0]
    number = replace(query, count=0)
    assert [filled.reader.search(number, visible).total for _ in range(4)] == found
    at_us[0] = 2**60
    assert filled.reader.search(number, visible).total == 0
    assert filled.reader.search(number, visible_to("nobody", [0])).total == 0
    assert not filled.reader.search(query, visible).versions
    assert not filled.reader.search(query, visible_to("nobody", [0])).versions
    assert len(filled.reader.search(query, true()).versions) > found[0]


@pytest.mark.parametrize(
    "clause",
    [
        Clause("code", "token", "", ("s|",)),
        Clause("code", "token", "", ("a|b|c",)),
        Clause("code", "token", "not", ("a",)),
        Clause("code", "token", "missing", ("true",)),
        Clause("date", "date", "", ("ap2024",)),
        Clause("date", "date", "", ("yesterday",)),
        Clause("_id", "token", "", ("o1",)),
        Clause("_lastUpdated", "date", "", ("2024",)),
        Clause("subject", "reference", "", ("http://else/Patient/p1",)),
        Clause("subject", "reference", "Nothing", ("p1",)),
        Clause("value-quantity", "quantity", "", ("5",)),
    ],
)
def test_a_search_of_no_common_form_has_no_shape(store: Store, clause: Clause) -> None:
    query = SearchQuery("Observation", (clause,))
    assert shape_of(query, None, store.reader._hash) is None


def test_a_twin_has_the_same_shape_and_no_value_of_its_own(store: Store) -> None:
    rng, hash_ = random.Random(4), store.reader._hash
    found = 0
    for _ in range(500):
        query, position = query_of(rng)
        shape = shape_of(query, position, hash_)
        if shape is None:
            continue
        twin = shape_of(*twin_of(query, position), hash_)
        assert twin is not None
        assert twin.key == shape.key
        assert all(mine != its for mine, its in zip(shape.values, twin.values, strict=True))
        found += 1
    assert found > 100


def test_what_cannot_be_told_apart_is_not_kept(store: Store) -> None:
    """A statement that depends on a value in another way than by binding it is made anew each time."""
    single = single_of(store)
    query = SearchQuery("Observation", (Clause("code", "token", "", ("a",)),))
    asked = single.asked(query, None, true())
    assert asked.shape is not None

    def build(given: SearchQuery, position: Any) -> Any:
        statement = single._page(asked.visible, 0, False, given, position)
        return statement.where(RESOURCE.id != given.clauses[0].values[0])

    single._statements._learn("key", asked, asked.shape, build(query, None), build)
    assert not single._statements._plans.all()["key"].sql
