"""Search and history on both databases (R4 search.html).

Kinds, prefixes, modifiers, predicates, stable paging.
"""

from __future__ import annotations

import pytest
from sqlalchemy import true

from hdg.errors import BadRequest
from hdg.fhir import json
from hdg.management.store import Clause, SearchQuery, Sort, Store
from hdg.management.store.batch import table_of
from hdg.management.store.schema import Resource

TRUE = true()
RESOURCE = table_of(Resource).c
LOINC = "http://loinc.org"

PATIENTS = [
    {
        "resourceType": "Patient",
        "id": "p1",
        "active": True,
        "identifier": [{"system": "urn:oid:1.2", "value": "007"}, {"value": "bare"}],
        "name": [{"family": "Müller-Şen", "given": ["Ana", "María"]}],
        "telecom": [{"system": "phone", "value": "555"}],
        "gender": "female",
        "birthDate": "1980-02",
        "generalPractitioner": [{"reference": "Practitioner/d1"}],
        "managingOrganization": {"reference": "https://example.org/fhir/Organization/o9"},
    },
    {
        "resourceType": "Patient",
        "id": "p2",
        "identifier": [{"system": "urn:oid:9.9", "value": "007"}],
        "name": [{"family": "Mullerova"}, {"text": "100% o_k"}],
        "gender": "male",
        "birthDate": "1980-02-29",
        "deceasedBoolean": True,
    },
    {"resourceType": "Patient", "id": "p3", "name": [{"family": "Other"}], "birthDate": "2001"},
]


def observation(number: int, **more):
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "718-7"}, {"system": "urn:local", "code": "HB"}]},
        "subject": {"reference": "Patient/p1"},
        **more,
    }


OBSERVATIONS = [
    observation(
        1,
        effectiveDateTime="2026-03-01T10:00:00+01:00",
        valueQuantity={
            "value": json.decimal("7.20"),
            "unit": "mmol per litre",
            "system": "http://unitsofmeasure.org",
            "code": "mmol/L",
        },
    ),
    observation(
        2, effectiveDateTime="2026-03", valueCodeableConcept={"coding": [{"system": "urn:x", "code": "POS"}]}
    ),
    observation(
        3,
        effectivePeriod={"start": "2026-02-28"},
        valueString="Trace seen",
        subject={"reference": "Group/p1"},
    ),
    {
        "resourceType": "Observation",
        "id": "o4",
        "status": "amended",
        "code": {"coding": [{"code": "BP"}]},
        "subject": {"reference": "Patient/p2"},
        "component": [
            {
                "code": {"coding": [{"system": LOINC, "code": "8480-6"}]},
                "valueQuantity": {"value": 120, "code": "mm[Hg]"},
            },
            {
                "code": {"coding": [{"system": LOINC, "code": "8462-4"}]},
                "valueQuantity": {"value": 80, "code": "mm[Hg]"},
            },
        ],
    },
]

OTHERS = [
    {
        "resourceType": "RiskAssessment",
        "id": "r1",
        "status": "final",
        "subject": {"reference": "Patient/p1"},
        "prediction": [{"probabilityDecimal": json.decimal("0.50")}],
    },
    {"resourceType": "ValueSet", "id": "v1", "status": "active", "url": "http://example.org/vs/one"},
    {
        "resourceType": "Organization",
        "id": "og",
        "name": "ACME Clinic",
        "meta": {"tag": [{"system": "urn:t", "code": "x"}]},
    },
]


@pytest.fixture
def full(store: Store, do) -> Store:
    def work(session):
        for resource in (*PATIENTS, *OBSERVATIONS, *OTHERS):
            session.put(resource, institution="site")

    do(work)
    return store


def ids(store: Store, type_: str, *clauses: tuple[str, str, str], **more) -> list[str]:
    made = []
    for name, kind, values in clauses:
        param, _, modifier = name.partition(":")
        made.append(Clause(param, kind, modifier, tuple(values.split(","))))
    page = store.reader.search(SearchQuery(type_, tuple(made), **more), TRUE)
    assert page.total == len(page.versions)
    return sorted(version.id for version in page.versions)


CASES = [
    # _id and _lastUpdated
    ("Patient", [("_id", "token", "p1,p3,absent")], "p1 p3"),
    ("Patient", [("_lastUpdated", "date", "ge2020")], "p1 p2 p3"),
    ("Patient", [("_lastUpdated", "date", "lt2020")], ""),
    ("Organization", [("_tag", "token", "urn:t|x")], "og"),
    # token
    ("Patient", [("identifier", "token", "urn:oid:1.2|007")], "p1"),
    ("Patient", [("identifier", "token", "007")], "p1 p2"),
    ("Patient", [("identifier", "token", "|007")], ""),
    ("Patient", [("identifier", "token", "|bare")], "p1"),
    ("Patient", [("identifier", "token", "urn:oid:1.2|")], "p1"),
    ("Patient", [("identifier", "token", "urn:oid:1.2|007,urn:oid:9.9|007")], "p1 p2"),
    ("Patient", [("gender", "token", "female")], "p1"),
    ("Patient", [("gender:not", "token", "female")], "p2 p3"),
    ("Patient", [("gender:missing", "token", "true")], "p3"),
    ("Patient", [("gender:missing", "token", "false")], "p1 p2"),
    ("Patient", [("active", "token", "true")], "p1"),
    ("Patient", [("deceased", "token", "true")], "p2"),
    ("Patient", [("phone", "token", "555")], "p1"),
    ("Patient", [("email", "token", "555")], ""),
    ("Observation", [("code", "token", "718-7"), ("status", "token", "final")], "o1 o2 o3"),
    ("Observation", [("code", "token", "8480-6")], ""),
    ("Observation", [("combo-code", "token", "8480-6")], "o4"),
    ("Observation", [("combo-code", "token", "http://loinc.org|718-7")], "o1 o2 o3"),
    ("Observation", [("value-concept", "token", "POS")], "o2"),
    # string
    ("Patient", [("family", "string", "mull")], "p1 p2"),
    ("Patient", [("family", "string", "MÜLLER-SEN")], "p1"),
    ("Patient", [("family:exact", "string", "Müller-Şen")], "p1"),
    ("Patient", [("family:exact", "string", "müller-şen")], ""),
    ("Patient", [("family:contains", "string", "ler")], "p1 p2"),
    ("Patient", [("name", "string", "maria")], "p1"),
    ("Patient", [("name:contains", "string", "0% o_")], "p2"),
    ("Patient", [("name:contains", "string", "%")], "p2"),
    ("Observation", [("value-string", "string", "trace")], "o3"),
    # reference
    ("Observation", [("subject", "reference", "Patient/p1")], "o1 o2"),
    ("Observation", [("subject", "reference", "p1")], "o1 o2 o3"),
    ("Observation", [("patient", "reference", "p1")], "o1 o2"),
    ("Observation", [("patient", "reference", "Patient/p1,Patient/p2")], "o1 o2 o4"),
    ("Observation", [("subject:Group", "reference", "p1")], "o3"),
    ("Patient", [("organization", "reference", "https://example.org/fhir/Organization/o9")], "p1"),
    ("Patient", [("organization", "reference", "o9")], ""),
    ("Patient", [("general-practitioner:missing", "reference", "true")], "p2 p3"),
    # date: 1980-02 (month), 1980-02-29 (day), 2001 (year)
    ("Patient", [("birthdate", "date", "1980")], "p1 p2"),
    ("Patient", [("birthdate", "date", "1980-02-29")], "p2"),
    ("Patient", [("birthdate", "date", "ne1980-02-29")], "p1 p3"),
    ("Patient", [("birthdate", "date", "gt1980-02-29")], "p3"),
    ("Patient", [("birthdate", "date", "gt1980-02-28")], "p1 p2 p3"),
    ("Patient", [("birthdate", "date", "ge2001")], "p3"),
    ("Patient", [("birthdate", "date", "lt1980-02-29")], "p1"),
    ("Patient", [("birthdate", "date", "le1980-02")], "p1 p2"),
    ("Patient", [("birthdate", "date", "sa1980-02")], "p3"),
    ("Patient", [("birthdate", "date", "eb2001")], "p1 p2"),
    ("Patient", [("birthdate", "date", "ap1980")], "p1 p2"),
    ("Observation", [("date", "date", "2026-03-01")], "o1"),
    ("Observation", [("date", "date", "2026-03")], "o1 o2"),
    ("Observation", [("date", "date", "2026-03-01T09:00:00Z")], "o1"),
    ("Observation", [("date", "date", "ge2026-03-01T08:59"), ("date", "date", "lt2026-03-02")], "o1 o2 o3"),
    ("Observation", [("date", "date", "eb2026-03")], ""),
    # number and quantity
    ("RiskAssessment", [("probability", "number", "0.5")], "r1"),
    ("RiskAssessment", [("probability", "number", "gt0.5")], ""),
    ("RiskAssessment", [("probability", "number", "ge0.5")], "r1"),
    ("RiskAssessment", [("probability", "number", "ap0.52")], "r1"),
    ("Observation", [("value-quantity", "quantity", "7.2")], "o1"),
    ("Observation", [("value-quantity", "quantity", "7.21")], ""),
    ("Observation", [("value-quantity", "quantity", "7")], "o1"),
    ("Observation", [("value-quantity", "quantity", "ne7")], ""),
    ("Observation", [("value-quantity", "quantity", "gt7|http://unitsofmeasure.org|mmol/L")], "o1"),
    ("Observation", [("value-quantity", "quantity", "gt7|http://unitsofmeasure.org|g/L")], ""),
    ("Observation", [("value-quantity", "quantity", "7.2||mmol/L")], "o1"),
    ("Observation", [("value-quantity", "quantity", "7.2||mmol per litre")], "o1"),
    ("Observation", [("combo-value-quantity", "quantity", "gt100")], "o4"),
    ("Observation", [("component-value-quantity", "quantity", "le80")], "o4"),
    # uri
    ("ValueSet", [("url", "uri", "http://example.org/vs/one")], "v1"),
    ("ValueSet", [("url", "uri", "http://example.org/vs")], ""),
    ("ValueSet", [("url:below", "uri", "http://example.org/")], "v1"),
    # composite
    ("Observation", [("code-value-quantity", "composite", "http://loinc.org|718-7$gt7")], "o1"),
    ("Observation", [("code-value-quantity", "composite", "HB$7.2||mmol/L")], "o1"),
    ("Observation", [("code-value-quantity", "composite", "HB$lt7")], ""),
    ("Observation", [("code-value-concept", "composite", "718-7$POS")], "o2"),
    ("Observation", [("code-value-string", "composite", "HB$trace")], "o3"),
    ("Observation", [("component-code-value-quantity", "composite", "8480-6$gt100")], "o4"),
    ("Observation", [("component-code-value-quantity", "composite", "8462-4$gt100")], ""),
    ("Observation", [("combo-code-value-quantity", "composite", "8480-6$gt100")], "o4"),
    ("Observation", [("combo-code-value-quantity", "composite", "718-7$gt7")], "o1"),
]


def test_every_kind_prefix_and_modifier_finds_what_r4_says(full: Store) -> None:
    found = {f"{type_} {clauses}": " ".join(ids(full, type_, *clauses)) for type_, clauses, _ in CASES}
    assert found == {f"{type_} {clauses}": expected for type_, clauses, expected in CASES}


@pytest.mark.parametrize(
    ("clause", "code"),
    [
        (Clause("birthdate", "date", "", ("yesterday",)), "value"),
        (Clause("birthdate", "date", "", ("2026-02-30",)), "value"),
        (Clause("birthdate", "date", "exact", ("2026",)), "not-supported"),
        (Clause("gender", "token", "text", ("x",)), "not-supported"),
        (Clause("identifier", "token", "", ("a|b|c",)), "value"),
        (Clause("identifier", "token", "", ("|",)), "value"),
        (Clause("gender", "token", "missing", ("maybe",)), "value"),
        (Clause("nonsense", "token", "", ("x",)), "not-supported"),
        (Clause("organization", "reference", "of-type", ("x",)), "not-supported"),
        (Clause("gender", "token", "in", ("x",)), "not-supported"),
        (Clause("_list", "_list", "", ("x",)), "not-supported"),
        (Clause("organization", "reference", "Organization", ("Patient/1",)), "value"),
        (Clause("family", "string", "above", ("x",)), "not-supported"),
        (Clause("_id", "token", "not", ("x",)), "not-supported"),
        (Clause("x", "special", "", ("x",)), "not-supported"),
    ],
)
def test_what_is_not_understood_is_a_bad_request_without_the_value(
    settings, keys, clock, clause, code
) -> None:
    if settings.database_url is not None:
        return  # refused before any SQL is made
    with Store.open(settings, keys, clock) as store, pytest.raises(BadRequest) as caught:
        store.reader.search(SearchQuery("Patient", (clause,)), TRUE)
    assert caught.value.code == code
    assert not any(len(value) > 1 and value in str(caught.value) for value in clause.values)


def test_escaped_separators_belong_to_the_value(store: Store, do) -> None:
    odd = {"resourceType": "Patient", "id": "odd", "identifier": [{"system": "s|1", "value": "a,b$c\\d"}]}
    do(lambda s: s.put(odd, institution="site"))
    clause = Clause("identifier", "token", "", (r"s\|1|a\,b\$c\\d",))
    assert store.reader.search(SearchQuery("Patient", (clause,)), TRUE).total == 1


def test_the_predicate_applies_before_counting_and_paging(full: Store) -> None:
    visible = RESOURCE.patient == "p1"
    page = full.reader.search(SearchQuery("Observation", count=1), visible)
    assert (page.total, [v.id for v in page.versions]) == (2, ["o2"])
    rest = full.reader.search(SearchQuery("Observation", count=5, cursor=page.next_cursor), visible)
    assert ([v.id for v in rest.versions], rest.total, rest.next_cursor) == (["o1"], 2, "")
    assert full.reader.read("Observation", "o4", visible) is None
    assert full.reader.vread("Observation", "o4", 1, visible) is None
    assert full.reader.history("Observation", "o4", visible) == full.reader.history(
        "Observation", "absent", visible
    )
    assert full.reader.read("Observation", "o1", visible).patients == ("p1",)


def test_count_zero_gives_only_the_total(full: Store) -> None:
    page = full.reader.search(SearchQuery("Patient", count=0), TRUE)
    assert (page.versions, page.total, page.next_cursor) == ((), 3, "")
    without = full.reader.search(SearchQuery("Patient", count=1, with_total=False), TRUE)
    assert without.total is None
    assert full.reader.search(SearchQuery("Patient", cursor=without.next_cursor), TRUE).total is None


def test_paging_loses_and_doubles_no_row_while_others_write(store: Store, do) -> None:
    def patient(number, **more):
        return {"resourceType": "Patient", "id": f"n{number:03d}", **more}

    def add(first, last, **more):
        do(lambda s: [s.put(patient(n, **more), institution="site") for n in range(first, last)] and None)

    add(0, 40)
    seen: list[str] = []
    cursor, fresh = "", 100
    while True:
        page = store.reader.search(SearchQuery("Patient", count=7, cursor=cursor), TRUE)
        seen += [version.id for version in page.versions]
        add(fresh, fresh + 5)
        add(0, 40, birthDate=f"19{fresh // 5:02d}-01-01")  # every row changes between any two pages
        fresh += 5
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == [f"n{number:03d}" for number in reversed(range(40))]
    assert page.total == 40


@pytest.mark.parametrize("sort", ["_lastUpdated", "-_lastUpdated"])
def test_sorting_by_last_update_pages_through_ties(store: Store, do, sort) -> None:
    for group in range(3):
        do(
            lambda s, g=group: (
                [s.put({"resourceType": "Patient", "id": f"g{g}n{n}"}, institution="site") for n in range(4)]
                and None
            )
        )
    seen, cursor = [], ""
    key = Sort(sort.removeprefix("-"), "date", sort.startswith("-"))
    while True:
        page = store.reader.search(SearchQuery("Patient", count=5, sort=(key,), cursor=cursor), TRUE)
        seen += [version.id for version in page.versions]
        cursor = page.next_cursor
        if not cursor:
            break
    expected = [f"g{g}n{n}" for g in range(3) for n in range(4)]
    assert seen == (expected if sort == "_lastUpdated" else expected[::-1])


@pytest.mark.parametrize("cursor", ["x", "bnVsbA", "W10", "WyJhIiwxLDJd", "🙂"])
def test_a_foreign_cursor_is_a_bad_request(full: Store, cursor) -> None:
    with pytest.raises(BadRequest):
        full.reader.search(SearchQuery("Patient", cursor=cursor), TRUE)
    with pytest.raises(BadRequest):
        full.reader.history("Patient", "p1", TRUE, cursor=cursor)


def test_deleted_resources_are_not_found_by_search(full: Store, do) -> None:
    do(lambda s: s.delete("Patient", "p3", institution="site"))
    assert ids(full, "Patient") == ["p1", "p2"]
    assert ids(full, "Patient", ("gender:missing", "token", "true")) == []


def test_history_pages_newest_first(store: Store, do) -> None:
    for year in range(1950, 1957):
        do(
            lambda s, y=year: s.put(
                {"resourceType": "Patient", "id": "p", "birthDate": str(y)}, institution="site"
            )
        )
    first = store.reader.history("Patient", "p", TRUE, 3)
    second = store.reader.history("Patient", "p", TRUE, 3, first.next_cursor)
    third = store.reader.history("Patient", "p", TRUE, 3, second.next_cursor)
    versions = [[version.version for version in page.versions] for page in (first, second, third)]
    assert versions == [[7, 6, 5], [4, 3, 2], [1]]
    assert (first.total, third.next_cursor) == (7, "")
    assert json.loads(store.reader.body(third.versions[0]))["birthDate"] == "1950"


def test_under_a_predicate_versions_of_another_owner_stay_hidden(store: Store, do) -> None:
    """A result filed under the wrong patient first.

    Who may see the right patient's must not get the wrong one's.
    """
    do(lambda s: s.put(observation(1, subject={"reference": "Patient/wrong"}), institution="site"))
    do(lambda s: s.put(observation(1), institution="site"))
    visible = RESOURCE.patient == "p1"
    assert [v.version for v in store.reader.history("Observation", "o1", visible).versions] == [2]
    assert store.reader.history("Observation", "o1", visible).total == 1
    assert store.reader.vread("Observation", "o1", 1, visible) is None
    assert [v.version for v in store.reader.history("Observation", "o1", TRUE).versions] == [2, 1]


def test_a_connection_that_has_read_sees_what_is_written_later(store: Store, do) -> None:
    visible = RESOURCE.patient == "p"
    prepared = store.reader.prepare(visible)
    for number in range(1, 4):
        do(
            lambda s, n=number: s.put(
                {"resourceType": "Patient", "id": "p", "birthDate": f"200{n}"}, institution="s"
            )
        )
        reader = store.reader
        found = [reader.read("Patient", "p", way) for way in (visible, TRUE, prepared)]
        found.append(reader.vread("Patient", "p", number, visible))
        assert [version.version for version in found] == [number] * 4
        assert reader.history("Patient", "p", visible).total == number
