"""A sorted page that is read from the end of an index is the one that all matches, sorted, begin with.

Which way is taken decides what a search costs (R4 search.html#sort), never what it finds or in which order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import or_, true

from hdg.management.store import Clause, SearchQuery, Store, ends, probe, single
from hdg.management.store.batch import table_of
from hdg.management.store.ends import end_of, sizes
from hdg.management.store.finding import Finder
from hdg.management.store.probe import MANY
from hdg.management.store.schema import Resource
from hdg.management.store.search import Sort

RESOURCE = table_of(Resource).c
VIEWS = [true(), RESOURCE.institution == "s", or_(RESOURCE.institution == "t", RESOURCE.type == "Patient")]
SORTS = {
    "Observation": [
        Sort("date", "date"),
        Sort("value-quantity", "quantity"),
        Sort("_lastUpdated", "date"),
        Sort("_id", "token"),
    ],
    "Patient": [Sort("family", "string"), Sort("birthdate", "date"), Sort("name", "string")],
    "RiskAssessment": [Sort("probability", "number"), Sort("date", "date")],
    "ValueSet": [Sort("url", "uri"), Sort("name", "string")],
}
FINAL = Clause("status", "token", "", ("final",))
CLAUSES: dict[str, list[tuple[Clause, ...]]] = {
    "Observation": [
        (),
        (FINAL,),
        (Clause("code", "token", "", ("1", "2")),),
        (replace(FINAL, modifier="not"),),
        (Clause("value-quantity", "quantity", "missing", ("true",)),),
        (FINAL, Clause("date", "date", "", ("ge2024-02",))),
        (
            Clause(
                "subject",
                "chain",
                "",
                links=(("Patient", Clause("family", "string", "", ("b",))),),
            ),
        ),
    ],
    "Patient": [(), (Clause("gender", "token", "", ("female",)),)],
    "RiskAssessment": [()],
    "ValueSet": [(), (Clause("status", "token", "", ("active",)),)],
}


def time_of(rng: random.Random) -> str:
    month, day = rng.randrange(1, 4), rng.randrange(1, 5)
    exact = f"2024-{month:02d}-0{day}T{rng.choice(['08:30:00Z', '23:59:59.5Z', '00:00:00+02:00'])}"
    return rng.choice(["2024", f"2024-{month:02d}", f"2024-{month:02d}-0{day}", exact, exact])


def when_of(rng: random.Random) -> dict[str, Any]:
    """A moment, a period (open at an end, or one that ends before it begins), several events, or nothing."""
    match rng.randrange(8):
        case 0:
            return {}
        case 1:
            return {"effectivePeriod": {"start": time_of(rng)}}
        case 2:
            return {"effectivePeriod": {"end": time_of(rng)}}
        case 3:
            return {"effectivePeriod": {"start": time_of(rng), "end": time_of(rng)}}
        case 4:
            return {"effectiveTiming": {"event": [time_of(rng), time_of(rng)]}}
        case _:
            return {"effectiveDateTime": time_of(rng)}


def quantity_of(rng: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"value": rng.choice([0.5, 1, 2, 5, 1000])}
    unit = rng.choice(["g", "mg", "mg", "", "drop"])
    if unit:
        system = "http://unitsofmeasure.org" if unit != "drop" else "urn:own"
        found |= {"unit": unit, "code": unit, "system": system}
    if rng.random() < 0.3:
        found["comparator"] = rng.choice(["<", ">", "<=", ">="])
    return found


def observation(number: int, rng: random.Random) -> dict[str, Any]:
    codes = [{"code": str(rng.randrange(4))} for _ in range(rng.choice([1, 2]))]
    made = {
        "resourceType": "Observation",
        "id": f"o{number:02d}",
        "status": rng.choice(["final", "amended"]),
        "code": {"coding": codes},
        "subject": {"reference": f"Patient/p{rng.randrange(10)}"},
        **when_of(rng),
    }
    return made | ({"valueQuantity": quantity_of(rng)} if rng.random() < 0.8 else {})


def others(rng: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(20):
        names = [{"family": rng.choice("abcÉ")} for _ in range(rng.choice([0, 1, 2]))]
        person = {"resourceType": "Patient", "id": f"p{number}", "gender": rng.choice(["female", "male"])}
        yield person | ({"name": names} if names else {}) | {"birthDate": f"19{rng.randrange(50, 54)}"}
    for number in range(20):
        risk = {"resourceType": "RiskAssessment", "id": f"r{number}", "status": "final"}
        subject = {"subject": {"reference": "Patient/p1"}}
        prediction = [{"probabilityDecimal": rng.choice([0.1, 0.25, 0.5])} for _ in range(rng.randrange(3))]
        yield risk | subject | ({"prediction": prediction} if prediction else {})
    for number in range(20):
        made = {"resourceType": "ValueSet", "id": f"v{number}", "status": "active", "name": rng.choice("AB")}
        yield made | ({"url": f"urn:{rng.choice('xyz')}"} if rng.random() < 0.8 else {})


@pytest.fixture
def filled(store: Store) -> Store:
    rng = random.Random(5)

    def work(session: Any) -> None:
        for number in range(70):
            session.put(observation(number, rng), institution=rng.choice("sst"))
        for resource in others(rng):
            session.put(resource, institution=rng.choice("sst"))
        for name in ("Observation/o03", "Observation/o40", "Patient/p5"):
            session.delete(*name.split("/"), institution="s")

    store.submit(work).result(120)
    return store


def answers(store: Store, query: SearchQuery, visible: Any) -> list[object]:
    """All pages: names and bodies, with the total of each page."""
    found: list[object] = []
    while True:
        page = store.reader.search(query, visible)
        found += [(one.id, one.patients, store.reader.body(one)) for one in page.versions]
        found.append((page.total, len(page.versions)))
        if not page.next_cursor:
            return found
        query = replace(query, cursor=page.next_cursor)


def drawn(rng: random.Random) -> SearchQuery:
    type_ = rng.choice(["Observation", "Observation", *SORTS])
    keys = rng.sample(SORTS[type_], rng.choice([1, 1, 2]))
    sort = tuple(replace(key, is_descending=rng.random() < 0.5) for key in keys)
    total_max = rng.choice([None, 3])
    count = rng.choice([1, 3, 8])
    return SearchQuery(type_, rng.choice(CLAUSES[type_]), count, sort=sort, total_max=total_max)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_page_that_all_matches_sorted_begin_with(
    filled: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    read: list[bool] = []
    from_end = Finder._from_end

    def heard(*given: Any) -> Any:
        found = from_end(*given)
        read.append(found is not None)
        return found

    monkeypatch.setattr(Finder, "_from_end", heard)
    for _ in range(30):
        query, visible = drawn(rng), rng.choice(VIEWS)
        found = []
        for rows in (0, 50_000):  # never from the end of an index; whenever that can be
            with monkeypatch.context() as patched:
                patched.setattr(single, "least", lambda *_, rows=rows: rows)
                patched.setattr(ends, "_FIRST", rng.choice([1, 2, 5]))
                patched.setattr(ends, "_GROWTH", 2)
                found.append(answers(filled, query, visible))
        assert found[0] == found[1], query
    assert read.count(True) > 100


@pytest.mark.parametrize("key", [*SORTS["Observation"], Sort("date", "date", is_descending=True)])
def test_it_is_read_so_where_many_match_and_only_there(
    filled: Store, monkeypatch: pytest.MonkeyPatch, key: Sort
) -> None:
    finder = filled.reader._finder

    def found(query: SearchQuery) -> bool:
        asked = finder.single.asked(query, None, true())
        walked = filled.reader._connections.snapshot(lambda connection: finder._walked(connection, asked))
        return walked is not None and len(walked[0]) == query.count + 1

    of_all = SearchQuery("Observation", (), 3, sort=(key,))
    of_one = replace(of_all, clauses=(Clause("patient", "reference", "", ("p1",)),))
    assert not found(of_all)
    monkeypatch.setattr(probe, "MANY", 20)
    monkeypatch.setattr(ends, "_FIRST", 20)  # and bounds that go by so few rows are too narrow
    monkeypatch.setattr("hdg.management.store.finding.within_bounds", lambda _, __, ask: ask())
    assert found(of_all)
    assert found(replace(of_all, clauses=(FINAL,)))
    assert not found(replace(of_all, clauses=(FINAL, Clause("code", "token", "", ("9",)))))
    assert not found(of_one)


@pytest.mark.parametrize(
    "query",
    [
        SearchQuery("Observation", ()),
        SearchQuery("Observation", (), sort=(Sort("status", "token"),)),
        SearchQuery("Observation", (), sort=(Sort("date", "date"), Sort("status", "token"))),
        SearchQuery("RiskAssessment", (), sort=(Sort("probability", "number", is_descending=True),)),
        SearchQuery("", (), types=("Observation", "Patient"), sort=(Sort("_id", "token"),)),
    ],
)
def test_no_index_has_every_order(query: SearchQuery) -> None:
    assert end_of(query) is None


@pytest.mark.parametrize("passed", [0, 700, 10**6])
def test_no_more_rows_are_read_than_would_be_listed(passed: int) -> None:
    found = list(sizes(50_000, passed))
    assert sum(found) <= 50_000
    assert bool(found) == (passed < 10**6)
    assert found == sorted(found)
    assert all(size > passed for size in found)


def test_what_takes_too_long_is_found_by_sorting_all(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    query = SearchQuery("Observation", (FINAL,), 4, sort=(Sort("date", "date", is_descending=True),))
    expected = answers(filled, query, true())
    monkeypatch.setattr(single, "least", lambda *_: MANY)
    monkeypatch.setattr("hdg.management.store.finding.within_bounds", lambda *_: None)
    assert answers(filled, query, true()) == expected
