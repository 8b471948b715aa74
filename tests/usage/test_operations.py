"""$everything, $lastn and $meta under the caller's own view (R4 operations.html)."""

from __future__ import annotations

import pytest

from hdg.fhir.validate import validate


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def ids(bundle, mode="match"):
    return [one["resource"]["id"] for one in bundle.get("entry", []) if one["search"]["mode"] == mode]


def get(world, token, path, status=200):
    answer = world.client.get(f"/fhir/{path}", token)
    assert answer.status_code == status, answer.text
    return answer.json()


def walked(world, token, path):
    seen, included, url = [], [], path
    while url:
        bundle = get(world, token, url.removeprefix("https://gateway.example/fhir/"))
        seen += ids(bundle)
        included += ids(bundle, "include")
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    return seen, included


@pytest.fixture
def stay(either):
    """Ann's encounter at a place, with one of her results in it."""
    either.put({"resourceType": "Location", "id": "ward", "name": "Ward"}, "north", None)
    either.put({"resourceType": "Practitioner", "id": "dr", "name": [{"family": "Doc"}]}, "north", None)
    either.put(
        {
            "resourceType": "Encounter",
            "id": "enc",
            "status": "finished",
            "class": {"code": "IMP"},
            "subject": {"reference": "Patient/ann"},
            "location": [{"location": {"reference": "Location/ward"}}],
        },
        "north",
        "ann",
    )
    made = either.observation("ann-0", "ann", "718-7", "2024-01-01")
    either.put(
        {
            **made,
            "encounter": {"reference": "Encounter/enc"},
            "performer": [{"reference": "Practitioner/dr"}],
        },
        "north",
        "ann",
    )
    return either


def test_everything_of_a_patient_is_the_compartment_and_what_it_names(stay, north):
    bundle = get(stay, north, "Patient/ann/$everything")
    assert validate(bundle) == []
    assert sorted(ids(bundle)) == ["ann", "ann-0", "ann-1", "ann-2", "enc"]
    assert sorted(ids(bundle, "include")) == ["dr", "ward"]
    assert bundle["total"] == 5
    seen, _ = walked(stay, north, "Patient/ann/$everything?_count=2")
    assert sorted(seen) == ["ann", "ann-0", "ann-1", "ann-2", "enc"]


def test_everything_takes_types_and_a_time(stay, north):
    bundle = get(stay, north, "Patient/ann/$everything?_type=Encounter,Location")
    assert (ids(bundle), ids(bundle, "include")) == (["enc"], ["ward"])
    later = get(stay, north, "Encounter/enc")["meta"]["lastUpdated"]
    assert sorted(ids(get(stay, north, f"Patient/ann/$everything?_since={later}"))) == ["ann-0", "enc"]
    parameters = {
        "resourceType": "Parameters",
        "parameter": [{"name": "_type", "valueString": "Encounter"}, {"name": "_count", "valueInteger": 5}],
    }
    posted = stay.client.send("POST", "/fhir/Patient/ann/$everything", north, parameters)
    assert ids(posted.json()) == ["enc"]
    for bad in ("_type=Colour", "_since=yesterday", "_count=0", "start=soon", "end=", "_count=1&_count=2"):
        get(stay, north, f"Patient/ann/$everything?{bad}", 400)


def test_everything_between_two_times_is_about_care_then(stay, north):
    for type_, id_, rest in (
        ("Condition", "old", {"subject": {"reference": "Patient/ann"}, "onsetDateTime": "2010"}),
        ("Condition", "new", {"subject": {"reference": "Patient/ann"}, "onsetDateTime": "2025"}),
        ("Coverage", "paid", {"status": "active", "beneficiary": {"reference": "Patient/ann"},
                              "payor": [{"reference": "Patient/ann"}]}),
        ("Procedure", "long", {"status": "completed", "subject": {"reference": "Patient/ann"},
                               "performedPeriod": {"start": "2023-12-30", "end": "2024-01-02"}}),
    ):  # fmt: skip
        stay.put({"resourceType": type_, "id": id_, **rest}, "north", "ann")
    always = {
        "ann",
        "enc",
        "paid",
    }  # neither the patient nor the encounter or the coverage has a date of care

    def between(query):
        return set(ids(get(stay, north, f"Patient/ann/$everything?{query}"))) - always

    assert always <= set(ids(get(stay, north, "Patient/ann/$everything?start=2024-01-02&end=2024-01-02")))
    assert between("start=2024-01-02&end=2024-01-02") == {"ann-1", "long", "old"}
    assert between("start=2024-01-03") == {"ann-2", "old", "new"}
    assert between("end=2024-01-01") == {"ann-0", "long", "old"}
    assert between("end=2009") == set()
    seen, _ = walked(stay, north, "Patient/ann/$everything?start=2024-01-03&_count=2")
    assert set(seen) - always == {"ann-2", "old", "new"}
    get(stay, north, "Encounter/enc/$everything?start=2024", 400)


def test_everything_of_an_encounter_is_what_belongs_to_it(stay, north):
    bundle = get(stay, north, "Encounter/enc/$everything")
    assert sorted(ids(bundle)) == ["ann-0", "enc"]
    assert sorted(ids(bundle, "include")) == ["dr", "ward"]


def test_everything_follows_the_links_between_records_of_one_person(stay, north):
    other = {**stay.patient("ann2", "Eve", "Featherstonehaugh")}
    stay.put({**other, "link": [{"other": {"reference": "Patient/ann"}, "type": "seealso"}]}, "north", "ann2")
    stay.put(stay.observation("two", "ann2", "718-7", "2024-02-02"), "north", "ann2")
    for start in ("ann", "ann2"):
        assert {"ann", "ann2", "two", "ann-1"} <= set(ids(get(stay, north, f"Patient/{start}/$everything")))


def test_what_is_hidden_is_in_no_everything(stay, north):
    get(stay, north, "Patient/bob/$everything", 404)
    get(stay, north, "Patient/nobody/$everything", 404)
    get(stay, north, "Observation/ann-0/$everything", 404)
    before = stay.client.get("/fhir/Patient/ann/$everything", north).content
    linked = {**stay.patient("bob", "Otto", "Cholmondeley"), "link": [
        {"other": {"reference": "Patient/ann"}, "type": "seealso"}]}  # fmt: skip
    stay.put(linked, "south", "bob")
    assert stay.client.get("/fhir/Patient/ann/$everything", north).content == before
    stay.delete("Encounter", "enc", "north")
    get(stay, north, "Encounter/enc/$everything", 410)


def test_lastn_gives_the_newest_of_each_code(stay, north):
    stay.put(stay.observation("other", "ann", "2345-7", "2023-01-01"), "north", "ann")
    bundle = get(stay, north, "Observation/$lastn?patient=ann&code=718-7,2345-7")
    assert ids(bundle) == ["ann-2", "other"]
    two = get(stay, north, "Observation/$lastn?patient=ann&code=718-7,2345-7&max=2")
    assert ids(two) == ["ann-2", "ann-1", "other"]
    empty = get(stay, north, "Observation/$lastn?patient=bob&code=718-7")
    assert ids(empty) == []
    assert validate(two) == validate(empty) == []
    (link,) = two["link"]
    assert link["relation"] == "self"
    assert "718-7" not in link["url"]
    assert (
        get(stay, north, link["url"].removeprefix("https://gateway.example/fhir/"))["entry"] == two["entry"]
    )
    get(stay, north, "Observation/$lastn?patient=ann", 400)
    get(stay, north, "Observation/$lastn?code=718-7", 400)
    get(stay, north, "Observation/$lastn?patient=ann&code=718-7&max=0", 400)


def test_lastn_drops_nothing_that_is_as_new_as_what_it_gives(stay, north):
    """R4 observation-operation-lastn.html: of results with equal times all are returned, also over ``max``."""
    for id_, day in (("b", "2024-05-01"), ("c", "2024-05-01"), ("d", "2024-04-30"), ("e", "2024-04-30")):
        stay.put(stay.observation(id_, "ann", "2345-7", day), "north", "ann")
    period = stay.observation("a", "ann", "2345-7", "2024-05-01")
    period["effectivePeriod"] = {"start": "2024-04-01", "end": period.pop("effectiveDateTime")}
    stay.put(period, "north", "ann")
    undated = stay.observation("u", "ann", "2345-7", "2024-05-01")
    del undated["effectiveDateTime"]
    for id_ in ("u", "v"):
        stay.put({**undated, "id": id_}, "north", "ann")

    def last(most):
        return set(ids(get(stay, north, f"Observation/$lastn?patient=ann&code=2345-7&max={most}")))

    assert last(1) == last(2) == last(3) == {"a", "b", "c"}
    assert last(4) == last(5) == {"a", "b", "c", "d", "e"}
    assert last(6) == {"a", "b", "c", "d", "e", "u", "v"}


def test_lastn_groups_codes_that_a_third_joins_and_each_patients_own(stay, north):
    def put(id_, codes, day, patient="ann"):
        made = stay.observation(id_, patient, "x", day)
        made["code"] = {"coding": [{"system": "urn:x", "code": code} for code in codes], "text": id_}
        stay.put(made, "north", patient)

    put("first", "a", "2024-05-03")
    put("second", "b", "2024-05-02")
    asked = "Observation/$lastn?subject={}&code=urn:x|a,urn:x|b,urn:x|c"
    assert ids(get(stay, north, asked.format("ann"))) == ["first", "second"]
    put("third", "bc", "2024-05-01")
    put("fourth", "ac", "2024-04-30")
    assert ids(get(stay, north, asked.format("ann"))) == ["first"]
    assert ids(get(stay, north, asked.format("ann") + "&max=3")) == ["first", "second", "third"]
    stay.put(stay.patient("cyd", "Eve", "Other"), "north", "cyd")
    put("hers", "a", "2024-01-01", "cyd")
    assert ids(get(stay, north, asked.format("ann,cyd"))) == ["first", "hers"]


def test_meta_is_read_added_to_and_taken_from(stay, north):
    tag = {"system": "urn:example:tag", "code": "a", "display": "A"}
    profile = "http://example.org/StructureDefinition/x"

    def change(name, meta, status=200):
        body = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": meta}]}
        answer = stay.client.send("POST", f"/fhir/Observation/ann-0/${name}", north, body)
        assert answer.status_code == status, answer.text
        return answer.json()["parameter"][0]["valueMeta"] if status == 200 else None

    added = change("meta-add", {"tag": [tag], "profile": [profile]})
    assert (added["tag"], added["profile"]) == ([tag], [profile])
    assert get(stay, north, "Observation/ann-0/$meta")["parameter"][0]["valueMeta"] == added
    assert ids(get(stay, north, "Observation?_tag=urn:example:tag|a")) == ["ann-0"]
    again = change("meta-add", {"tag": [{"system": "urn:example:tag", "code": "a"}]})
    assert again["versionId"] == added["versionId"]
    left = change("meta-delete", {"tag": [{"system": "urn:example:tag", "code": "a"}]})
    assert "tag" not in left
    assert left["profile"] == [profile]
    change("meta-add", {"tag": "x"}, 422)
    south = stay.token("clinician", user="s", institution="south")
    get(stay, south, "Observation/ann-0/$meta", 404)
