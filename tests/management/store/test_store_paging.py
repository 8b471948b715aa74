"""Sorted pages: the order is the one that the contents say, and what nobody changes comes exactly once while others
write (R4 search.html#sort, http.html#paging), on both databases.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import true

from hdg.errors import BadRequest
from hdg.management.store import Clause, SearchQuery, Store
from hdg.management.store.search import Sort

TRUE = true()
KINDS = {
    "family": "string",
    "birthdate": "date",
    "gender": "token",
    "identifier": "token",
    "general-practitioner": "reference",
    "_id": "token",
    "_lastUpdated": "date",
}


def content(chance: random.Random, id_: str) -> dict[str, Any]:
    """A Patient, any of whose values may be missing, equal to another's, or there twice."""
    made: dict[str, Any] = {"resourceType": "Patient", "id": id_, "active": True}
    if chance.random() < 0.8:
        made["name"] = [{"family": chance.choice("ABCDÉé")} for _ in range(chance.choice((1, 1, 2)))]
    if chance.random() < 0.8:
        made["birthDate"] = f"19{chance.randrange(50, 56)}"
    if chance.random() < 0.7:
        made["gender"] = chance.choice(("male", "female", "other"))
    if chance.random() < 0.7:
        made["identifier"] = [{"value": str(chance.randrange(5))} for _ in range(chance.choice((1, 2)))]
    if chance.random() < 0.7:
        made["generalPractitioner"] = [{"reference": f"Practitioner/{chance.choice('xyz')}"}]
    return made


def values(resource: dict[str, Any], param: str) -> list[Any]:
    """What a resource is sorted by, said anew and simply."""
    match param:
        case "family":
            return [name["family"].lower().replace("é", "e") for name in resource.get("name", ())]
        case "birthdate":
            return [resource["birthDate"]] if "birthDate" in resource else []
        case "gender":
            return [resource["gender"]] if "gender" in resource else []
        case "identifier":
            return [each["value"] for each in resource.get("identifier", ())]
        case "general-practitioner":
            return [each["reference"].lower() for each in resource.get("generalPractitioner", ())]
        case _:
            return [resource["id"]]


def keys(chance: random.Random, names: list[str]) -> tuple[Sort, ...]:
    chosen = chance.sample(names, chance.choice((1, 1, 2, 3)))
    return tuple(Sort(name, KINDS[name], chance.random() < 0.5) for name in chosen)


def walk(store: Store, sort: tuple[Sort, ...], count: int, between: Any = None) -> list[str]:
    """The ids of all pages; ``between`` is called after each."""
    seen: list[str] = []
    active = Clause("active", "token", "", ("true",))
    query = SearchQuery("Patient", (active,), count, sort=sort)
    while True:
        page = store.reader.search(query, TRUE)
        seen += [version.id for version in page.versions]
        if between is not None:
            between()
        if not page.next_cursor:
            return seen
        query = SearchQuery("Patient", (active,), count, page.next_cursor, sort)


@pytest.fixture(params=["all sorted", "from the end of an index"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How sorted pages are found."""
    if request.param != "all sorted":
        monkeypatch.setattr("hdg.management.store.single.least", lambda *_: 50_000)
        monkeypatch.setattr("hdg.management.store.ends._FIRST", 2)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_pages_have_the_order_that_the_contents_say(store: Store, do) -> None:
    chance = random.Random(7)
    made = [content(chance, f"p{number:02d}") for number in range(40)]
    do(lambda s: [s.put(resource, institution="s") for resource in made] and None)
    for _ in range(25):
        sort = keys(chance, [name for name in KINDS if name != "_lastUpdated"])
        expected = sorted(made, key=lambda resource: resource["id"], reverse=sort[0].is_descending)
        for key in reversed(sort):
            pick = max if key.is_descending else min
            known = [resource for resource in expected if values(resource, key.param)]
            rest = [resource for resource in expected if not values(resource, key.param)]
            known.sort(key=lambda r, k=key, p=pick: p(values(r, k.param)), reverse=key.is_descending)
            expected = known + rest
        found = walk(store, sort, chance.choice((1, 3, 7, 50)))
        assert found == [resource["id"] for resource in expected], sort


@pytest.mark.parametrize("most", [0, 3, 12, 13, 1000])
def test_the_total_is_the_same_however_it_is_counted(store: Store, do, monkeypatch, most: int) -> None:
    monkeypatch.setattr("hdg.management.store.pages.COUNTED_MAX", most)
    chance = random.Random(3)
    made = [content(chance, f"p{number:02d}") for number in range(13)]
    do(lambda s: [s.put(resource, institution="s") for resource in made] and None)
    for sort in ((), (Sort("birthdate", "date"),), (Sort("active", "token"),)):
        for count in (0, 1, 5, 12, 13, 50):
            query = SearchQuery("Patient", (), count, sort=sort)
            first = store.reader.search(query, TRUE)
            assert (first.total, len(first.versions)) == (13, min(count, 13)), (sort, count)
            if first.next_cursor:
                second = store.reader.search(replace(query, cursor=first.next_cursor), TRUE)
                assert second.total == 13
            if count:
                assert store.reader.search(replace(query, with_total=False), TRUE).total is None
        nobody = Clause("_id", "", "", ("nobody",))
        assert store.reader.search(SearchQuery("Patient", (nobody,), 5, sort=sort), TRUE).total == 0


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(3))
def test_what_nobody_changes_comes_once_and_in_order_while_others_write(store: Store, do, seed: int) -> None:
    chance = random.Random(seed)
    quiet = {f"q{number:02d}" for number in range(25)}
    busy = [f"b{number:02d}" for number in range(15)]
    do(lambda s: [s.put(content(chance, id_), institution="s") for id_ in sorted(quiet) + busy] and None)
    fresh = iter(range(1000))

    def between() -> None:
        def work(session: Any) -> None:
            for id_ in chance.sample(busy, 5):
                if chance.random() < 0.3 and session.current("Patient", id_) is not None:
                    session.delete("Patient", id_, institution="s")
                else:
                    session.put(content(chance, id_), institution="s")
            session.put(content(chance, f"n{next(fresh)}"), institution="s")

        do(work)

    for _ in range(3):
        sort = keys(chance, list(KINDS))
        still = [id_ for id_ in walk(store, sort, 50) if id_ in quiet]
        seen = walk(store, sort, chance.choice((1, 2, 5)) + 2, between)
        assert [id_ for id_ in seen if id_ in quiet] == still, sort
    unsorted = walk(store, (), 3, between)
    assert len(unsorted) == len(set(unsorted))
    assert set(unsorted) >= quiet


def test_too_many_matches_are_not_sorted_by_codes(store: Store, do, monkeypatch) -> None:
    monkeypatch.setattr("hdg.management.store.pages.READ_MAX", 3)
    chance = random.Random(1)
    do(lambda s: [s.put(content(chance, f"p{number}"), institution="s") for number in range(4)] and None)
    with pytest.raises(BadRequest) as caught:
        walk(store, (Sort("gender", "token"),), 2)
    assert caught.value.code == "too-costly"
    assert len(walk(store, (Sort("family", "string"),), 2)) == 4
