"""History of a resource, a type and the server; by time; paged while others write (R4 http.html#history)."""

from __future__ import annotations

import itertools

import pytest

from hdg.fhir.validate import validate


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def get(world, token, path, status=200):
    answer = world.client.get(f"/fhir/{path}", token)
    assert answer.status_code == status, answer.text
    return answer.json()


def versions(bundle):
    """Type/id/version of each entry."""
    return [
        f"{entry['request']['url']}/{entry['response']['etag'][3:-1]}" for entry in bundle.get("entry", [])
    ]


def walked(world, token, path, between=lambda: None):
    seen, url = [], path
    while url:
        bundle = get(world, token, url.removeprefix("https://gateway.example/fhir/"))
        seen += versions(bundle)
        between()
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    return seen


@pytest.fixture
def changed(either):
    """ann-0 has three versions, ann-1 is deleted; bob's are hidden from north."""
    for day in ("2024-02-01", "2024-02-02"):
        either.put(either.observation("ann-0", "ann", "718-7", day), "north", "ann")
    either.delete("Observation", "ann-1", "north")
    either.put(either.observation("bob-0", "bob", "718-7", "2024-02-01"), "south", "bob")
    return either


NEWEST_FIRST = [
    "Observation/ann-1/2",
    "Observation/ann-0/3",
    "Observation/ann-0/2",
    "Observation/ann-2/1",
    "Observation/ann-1/1",
    "Observation/ann-0/1",
]


def test_a_types_history_holds_all_visible_versions_newest_first(changed, north):
    bundle = get(changed, north, "Observation/_history")
    assert validate(bundle) == []
    assert versions(bundle) == NEWEST_FIRST
    assert bundle["entry"][0]["request"]["method"] == "DELETE"
    assert get(changed, north, "Patient/_history")["entry"][0]["resource"]["id"] == "ann"
    get(changed, north, "Colour/_history", 404)


def test_the_servers_history_holds_all_types(changed, north):
    assert versions(get(changed, north, "_history")) == [*NEWEST_FIRST, "Patient/ann/1"]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_pages_neither_lose_nor_double_a_version_while_others_write(changed, north, count):
    numbers = itertools.count()

    def write():
        number = next(numbers)
        changed.put(changed.observation(f"new-{number}", "ann", "718-7", "2024-03-03"), "north", "ann")
        changed.put(changed.observation("ann-2", "ann", "718-7", f"2024-04-{number + 1:02d}"), "north", "ann")

    assert walked(changed, north, f"Observation/_history?_count={count}", write) == NEWEST_FIRST


def test_since_and_at_choose_by_time(changed, north):
    first, second, third = (
        get(changed, north, f"Observation/ann-0/_history/{number}")["meta"]["lastUpdated"] for number in (1, 2, 3)
    )  # fmt: skip
    assert versions(get(changed, north, f"Observation/_history?_since={second}")) == NEWEST_FIRST[:3]
    assert versions(get(changed, north, f"Observation/ann-0/_history?_since={third}")) == [
        "Observation/ann-0/3"
    ]
    assert versions(get(changed, north, f"Observation/ann-0/_history?_at={second}")) == [
        "Observation/ann-0/2"
    ]
    assert get(changed, north, "Observation/ann-0/_history?_since=2999")["total"] == 0
    assert first < second < third
    get(changed, north, "Observation/nobody/_history?_since=2999", 404)
    get(changed, north, "Observation/bob-0/_history?_since=2999", 404)
    for bad in ("_since=yesterday", "_at=x", "_count=x", "code=1", "_since=2024&_since=2025"):
        get(changed, north, f"Observation/_history?{bad}", 400)
        get(changed, north, f"Observation/ann-0/_history?{bad}", 400)


def test_what_is_hidden_changes_no_byte_of_a_history(changed, north):
    before = [
        changed.client.get(f"/fhir/{path}", north).content for path in ("_history", "Observation/_history")
    ]
    changed.put(changed.observation("bob-9", "bob", "718-7", "2024-02-01"), "south", "bob")
    changed.delete("Observation", "bob-1", "south")
    after = [
        changed.client.get(f"/fhir/{path}", north).content for path in ("_history", "Observation/_history")
    ]
    assert after == before


def test_a_result_that_was_another_patients_hides_its_past(changed, north):
    moved = changed.observation("bob-2", "ann", "718-7", "2024-05-05")
    changed.put(moved, "north", "ann")
    found = versions(get(changed, north, "Observation/_history"))
    assert found[0] == "Observation/bob-2/2"
    assert "Observation/bob-2/1" not in found


def test_histories_are_audited_with_their_patients(changed, north):
    from hdg.management.audit import AuditEventRow

    def patients():
        with changed.store.engine.connect() as connection:
            return [row.patient for row in connection.execute(AuditEventRow.__table__.select())]

    before = len(patients())
    get(changed, north, "_history")
    assert patients()[before:] == ["ann"] or set(patients()[before:]) == {"ann"}
