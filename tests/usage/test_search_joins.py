"""Searches that lead over references, bring others along, are sorted, and reach over types (R4 search.html)."""

from __future__ import annotations

import itertools

import pytest

from hdg.usage.fhir_api.results import RESULTS


@pytest.fixture
def hospital(either):
    """North's and south's: organizations, practitioners, encounters, reports; results that refer to them."""
    for place in ("north", "south"):
        patient = {"north": "ann", "south": "bob"}[place]
        put = lambda resource, owner=None, place=place: either.put(resource, place, owner)  # noqa: E731
        put({"resourceType": "Organization", "id": f"org-{place}", "name": f"{place.title()} Hospital"})
        put({"resourceType": "Practitioner", "id": f"dr-{place}", "name": [{"family": f"Doctor{place}"}]})
        person = either.patient(
            patient, *{"ann": ("Eve", "Featherstonehaugh"), "bob": ("Otto", "Cholmondeley")}[patient]
        )
        put(
            {**person, "managingOrganization": {"reference": f"Organization/org-{place}"},
             "generalPractitioner": [{"reference": f"Practitioner/dr-{place}"}]},
            patient,
        )  # fmt: skip
        put(
            {
                "resourceType": "Encounter",
                "id": f"enc-{place}",
                "status": "finished",
                "class": {"code": "IMP", "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode"},
                "subject": {"reference": f"Patient/{patient}"},
                "serviceProvider": {"reference": f"Organization/org-{place}"},
            },
            patient,
        )
        for number, (code, value) in enumerate([("718-7", 5), ("2345-7", 9), ("718-7", 1)]):
            made = either.observation(f"{patient}-{number}", patient, code, f"2024-01-0{number + 1}")
            put(
                {
                    **made,
                    "encounter": {"reference": f"Encounter/enc-{place}"},
                    "performer": [{"reference": f"Practitioner/dr-{place}"}],
                    "valueQuantity": {**made["valueQuantity"], "value": value},
                },
                patient,
            )
        put(
            {
                "resourceType": "DiagnosticReport",
                "id": f"rep-{place}",
                "status": "final",
                "code": {"coding": [{"code": "58410-2", "system": "http://loinc.org"}]},
                "subject": {"reference": f"Patient/{patient}"},
                "result": [{"reference": f"Observation/{patient}-0"}],
            },
            patient,
        )
    either.put(
        {
            "resourceType": "Composition",
            "id": "note",
            "status": "final",
            "type": {"text": "Letter"},
            "subject": {"reference": "Patient/ann"},
            "date": "2024-01-01",
            "author": [{"reference": "Practitioner/dr-north"}],
            "title": "Letter",
        },
        "north",
        "ann",
    )
    return either


@pytest.fixture
def north(hospital):
    return hospital.token("clinician", user="dr-north", institution="north")


def found(world, token, query, **rest):
    answer = world.client.get(f"/fhir/{query}", token, **rest)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(bundle, mode="match"):
    return [
        entry["resource"]["id"]
        for entry in bundle.get("entry", [])
        if entry["search"]["mode"] == mode and entry["resource"]["resourceType"] != "OperationOutcome"
    ]


ANN = ["ann-0", "ann-1", "ann-2"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Observation?subject:Patient.name=feather", ANN),
        ("Observation?subject.name=feather", ANN),
        ("Observation?patient.identifier=urn:example:mrn|MRN-ann&code=718-7", ["ann-0", "ann-2"]),
        ("Observation?subject:Patient.organization.name=north", ANN),
        ("Observation?encounter.service-provider.name=north&value-quantity=gt4", ["ann-0", "ann-1"]),
        ("Observation?subject:Patient.general-practitioner:Practitioner.family=doctornorth", ANN),
        ("Observation?subject:Patient._id=ann", ANN),
        ("Observation?subject:Patient.name=nobody", []),
        ("Observation?subject:Patient.name=chol", []),  # hidden
        ("DiagnosticReport?result.code=718-7", ["rep-north"]),
        ("DiagnosticReport?result.encounter.status=finished&subject.birthdate=1970", ["rep-north"]),
        ("Patient?_has:Observation:patient:code=2345-7", ["ann"]),
        ("Patient?_has:Observation:patient:code=99-9", []),
        ("Patient?_has:Observation:patient:_has:DiagnosticReport:result:code=58410-2", ["ann"]),
        ("Patient?_has:Encounter:patient:service-provider.name=south", []),
        ("Observation?_has:DiagnosticReport:result:status=final", ["ann-0"]),
        ("Observation?code=718-7&_has:DiagnosticReport:result:status=final", ["ann-0"]),
        ("Practitioner?_has:Observation:performer:patient.name=feather", ["dr-north"]),
        ("Patient?organization:missing=false&name:contains=stone", ["ann"]),
        ("Composition?subject:Patient.name=feather", ["note"]),  # a reference to anything
        ("Composition?subject.birthdate=1970", ["note"]),
        ("Patient?_has:Composition:subject:title=letter", ["ann"]),
    ],
)
def test_chains_lead_over_what_the_caller_may_see(hospital, north, query, expected):
    bundle = found(hospital, north, query)
    assert sorted(ids(bundle)) == expected
    assert bundle["total"] == len(expected)


def test_includes_come_once_and_do_not_count(hospital, north):
    bundle = found(
        hospital,
        north,
        "Observation?code=718-7&_include=Observation:subject&_include=Observation:performer:Practitioner",
    )
    assert sorted(ids(bundle)) == ["ann-0", "ann-2"]
    assert bundle["total"] == 2
    assert sorted(ids(bundle, "include")) == ["ann", "dr-north"]


def test_includes_go_on_where_they_are_iterated(hospital, north):
    query = "DiagnosticReport?_include=DiagnosticReport:result"
    query += "&_include{}=Observation:encounter&_include{}=Encounter:service-provider"
    once = found(hospital, north, query.format("", ""))
    assert sorted(ids(once, "include")) == ["ann-0"]
    on = found(hospital, north, query.format(":iterate", ":iterate"))
    assert sorted(ids(on, "include")) == ["ann-0", "enc-north", "org-north"]


def test_a_reverse_include_brings_what_refers_to_the_matches(hospital, north):
    bundle = found(
        hospital, north, "Patient?_id=ann&_revinclude=Observation:subject&_revinclude=Encounter:patient"
    )
    assert sorted(ids(bundle, "include")) == [*ANN, "enc-north"]
    everything = found(hospital, north, "Patient?_id=ann&_revinclude=Observation:*&_include=*")
    assert sorted(ids(everything, "include")) == [*ANN, "dr-north", "org-north"]


def test_what_is_hidden_is_not_included(hospital, north):
    pointing = {**hospital.observation("ann-0", "ann", "718-7", "2024-01-01")}
    pointing["derivedFrom"] = [{"reference": "Observation/bob-0"}, {"reference": "Observation/ann-1"}]
    hospital.put(pointing, "north", "ann")
    bundle = found(hospital, north, "Observation?_id=ann-0&_include=Observation:derived-from")
    assert ids(bundle, "include") == ["ann-1"]


def test_too_much_to_include_is_said(hospital, north, monkeypatch):
    monkeypatch.setattr("hdg.management.store.includes.INCLUDED_MAX", 2)
    bundle = found(hospital, north, "Patient?_id=ann&_revinclude=Observation:subject")
    assert len(ids(bundle, "include")) == 2
    last = bundle["entry"][-1]
    assert (last["search"]["mode"], last["resource"]["issue"][0]["code"]) == ("outcome", "too-costly")


def test_everything_that_refers_to_a_match_comes_along_if_that_is_asked_for(hospital, north):
    bundle = found(hospital, north, "Encounter?_id=enc-north&_revinclude=*")
    assert sorted(ids(bundle, "include")) == ANN
    bundle = found(hospital, north, "Patient?_id=ann&_revinclude=*")
    assert sorted(ids(bundle, "include")) == sorted([*ANN, "enc-north", "note", "rep-north"])
    assert ids(found(hospital, north, "Patient?_id=bob&_revinclude=*"), "include") == []


def test_more_rounds_than_there_may_be_are_said(hospital, north):
    for number in range(12):
        part = {"resourceType": "Organization", "id": f"part-{number}", "name": "Part"}
        hospital.put({**part, "partOf": {"reference": f"Organization/part-{number + 1}"}}, "north", None)
    query = "Organization?_id=part-{}&_include:iterate=Organization:partof"
    cut = found(hospital, north, query.format(0))
    assert ids(cut, "include") == [f"part-{number}" for number in range(1, 9)]
    assert cut["entry"][-1]["search"]["mode"] == "outcome"
    whole = found(hospital, north, query.format(6))
    assert ids(whole, "include") == [f"part-{number}" for number in range(7, 12)]
    assert whole["entry"][-1]["search"]["mode"] == "include"


def test_included_patients_are_in_the_audit_trail(hospital, north):
    from hdg.management.audit import AuditEventRow

    def count():
        with hospital.store.engine.connect() as connection:
            rows = connection.execute(AuditEventRow.__table__.select()).all()
            return sum(row.patient == "ann" for row in rows)

    before = count()
    found(hospital, north, "Organization?_id=org-north&_revinclude=Patient:organization")
    assert count() == before + 1


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("date", ["ann-0", "ann-1", "ann-2"]),
        ("-date", ["ann-2", "ann-1", "ann-0"]),
        ("value-quantity", ["ann-2", "ann-0", "ann-1"]),
        ("-value-quantity", ["ann-1", "ann-0", "ann-2"]),
        ("-_id", ["ann-2", "ann-1", "ann-0"]),
        ("code,-date", ["ann-1", "ann-2", "ann-0"]),
        ("-code,_id", ["ann-0", "ann-2", "ann-1"]),
        ("patient,-value-quantity", ["ann-1", "ann-0", "ann-2"]),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 50])
def test_sorted_pages_follow_each_other(hospital, north, sort, expected, count):
    assert walked(hospital, north, f"Observation?_sort={sort}&_count={count}") == expected


def walked(world, token, query):
    seen, url = [], f"/fhir/{query}"
    while url:
        bundle = found(
            world, token, url.removeprefix("https://gateway.example").removeprefix("/fhir").lstrip("/")
        )
        seen += ids(bundle)
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    return seen


def test_several_keys_break_ties_and_what_has_no_value_comes_last(hospital, north):
    families = {"p1": "Beck", "p2": "Adler", "p3": "Beck", "p4": None, "p5": "Adler", "p6": None}
    for number, (id_, family) in enumerate(families.items()):
        made = hospital.patient(id_, "X", family or "-")
        if family is None:
            del made["name"]
        hospital.put({**made, "birthDate": f"19{60 + number}-01-01"}, "north", id_)
    for count in (1, 2, 3):
        query = f"Patient?identifier=urn:example:mrn|&_count={count}&birthdate=le1969&_sort="
        assert walked(hospital, north, query + "family,-birthdate") == ["p5", "p2", "p3", "p1", "p6", "p4"]
        assert walked(hospital, north, query + "-family,birthdate") == ["p1", "p3", "p2", "p5", "p4", "p6"]


def test_no_row_is_lost_or_doubled_in_any_sort_while_others_write(hospital, north):
    for number in range(25):
        made = hospital.patient(f"s{number:02d}", "Given", f"Family{number % 7}")
        hospital.put({**made, "birthDate": f"19{50 + number}-01-01"}, "north", f"s{number:02d}")
    expected = {f"s{number:02d}" for number in range(25)}
    numbers = itertools.count()
    for sort in ("family", "-birthdate", "family,-birthdate", "-_lastUpdated", ""):
        seen, url = [], f"Patient?family=Family&_count=4&_sort={sort}".removesuffix("&_sort=")
        while url:
            bundle = found(hospital, north, url)
            seen += ids(bundle)
            number = next(numbers)
            hospital.put(
                hospital.patient(f"new{number}", "Given", f"Family{number % 7}"), "north", f"new{number}"
            )
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
            url = url.removeprefix("https://gateway.example/fhir/")
        assert len(seen) == len(set(seen)), sort
        assert expected <= set(seen), sort


def test_page_links_hold_no_sort_value(hospital, north):
    bundle = found(hospital, north, "Patient?_sort=family&_count=1&_include=Patient:organization")
    hospital.put(hospital.patient("zed", "Z", "Zzfamily"), "north", "zed")
    bundle = found(hospital, north, "Patient?_sort=family&_count=1")
    for link in bundle["link"]:
        if link["relation"] == "next":
            assert "eather" not in link["url"].lower()


def test_a_search_of_the_whole_server_names_its_types(hospital, north):
    bundle = found(hospital, north, "?_type=Patient,Encounter")
    assert sorted(ids(bundle)) == ["ann", "enc-north"]
    assert ids(found(hospital, north, "?_type=Patient,Encounter&_id=ann")) == ["ann"]
    posted = hospital.client.request(
        "POST", "/fhir/_search", north, data={"_type": "Observation,Encounter", "patient": "ann"}
    )
    assert sorted(ids(posted.json())) == [*ANN, "enc-north"]
    assert hospital.client.get("/fhir?_type=Patient,Encounter&birthdate=1970", north).status_code == 400
    assert ids(found(hospital, north, "?_id=ann,dr-north,bob")) == ["dr-north", "ann"]
    assert len(walked(hospital, north, "?_count=3")) == found(hospital, north, "?_count=0")["total"] == 11
    assert hospital.client.get("/fhir?birthdate=1970", north).status_code == 400
    assert hospital.client.get("/fhir?_type=Colour", north).status_code == 400
    paged = walked(hospital, north, "?_type=Patient,Encounter,Observation&_count=2&_sort=-_lastUpdated")
    assert len(paged) == len(set(paged)) == 5


def test_a_compartment_is_searched_by_what_refers_to_its_resource(hospital, north):
    assert sorted(ids(found(hospital, north, "Patient/ann/Observation?code=718-7"))) == ["ann-0", "ann-2"]
    assert sorted(ids(found(hospital, north, "Patient/ann/*"))) == [
        "ann",
        *ANN,
        "enc-north",
        "note",
        "rep-north",
    ]
    assert ids(found(hospital, north, "Patient/ann/*?_type=Encounter")) == ["enc-north"]
    assert found(hospital, north, "Patient/bob/Observation")["total"] == 0
    assert found(hospital, north, "Patient/nobody/Observation")["total"] == 0
    assert hospital.client.get("/fhir/Patient/ann/Colour", north).status_code == 404
    assert ids(found(hospital, north, "Patient/ann/Patient")) == ["ann"]
    assert sorted(ids(found(hospital, north, "Encounter/enc-north/*"))) == [*ANN, "enc-north"]
    performed = found(hospital, north, "Practitioner/dr-north/Observation?code=718-7&_sort=-date")
    assert ids(performed) == ["ann-2", "ann-0"]
    assert found(hospital, north, "Encounter/enc-south/Observation")["total"] == 0
    for path in ("Organization/org-north/Observation", "Encounter/enc-north/Patient"):
        assert hospital.client.get(f"/fhir/{path}", north).status_code == 400
    assert len(walked(hospital, north, "Patient/ann/Observation?_count=1")) == 3


def test_a_search_of_many_types_takes_no_chain(hospital, north):
    for path in ("?_has:Observation:patient:code=718-7", "Patient/ann/*?_has:Observation:patient:code=718-7"):
        answer = hospital.client.get(f"/fhir/{path}", north)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "too-costly")
    assert ids(found(hospital, north, "?_type=Patient,Group&_has:Observation:patient:code=718-7")) == ["ann"]


QUERIES = [
    "Observation?subject:Patient.name=Chol",
    "Observation?subject.birthdate=1970",
    "Observation?patient.organization.name=South",
    "DiagnosticReport?result.value-quantity=gt0",
    "Patient?_has:Observation:patient:code=718-7",
    "Patient?_has:Encounter:patient:service-provider.name=South",
    "Practitioner?_has:Observation:performer:code=718-7",
    "Organization?_has:Patient:organization:birthdate=1970",
    "Organization?_has:Encounter:service-provider:_has:Observation:encounter:code=718-7",
    "Organization?_revinclude=Patient:organization&_revinclude=Encounter:service-provider",
    "Practitioner?_revinclude=Observation:performer&_include:iterate=Observation:subject",
    "Patient?_revinclude=Observation:subject&_include=*",
    "Patient?_sort=family&_count=1",
    "Observation?_sort=-date,value-quantity&_count=2",
    "Observation?_count=0",
    "?_type=Patient,Observation,Encounter&_count=3",
    "Patient/bob/*",
    "Patient/bob/Observation?code=718-7",
]


def test_what_is_hidden_changes_no_answer_by_a_byte(hospital, north):
    with_hidden = [hospital.client.get(f"/fhir/{query}", north).content for query in QUERIES]
    for name in ("Observation/bob-0", "Observation/bob-1", "Observation/bob-2", "Encounter/enc-south",
                 "DiagnosticReport/rep-south", "Patient/bob"):  # fmt: skip
        hospital.delete(*name.split("/"), "south")
    without = [hospital.client.get(f"/fhir/{query}", north).content for query in QUERIES]
    assert without == with_hidden
    assert all(b'"resourceType":"Bundle"' in body for body in without)


def test_every_result_parameter_is_documented():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "fhir-api.md").read_text()
    assert all(f"`{name}`" in text for name in RESULTS)
