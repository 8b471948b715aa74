"""What holds of every interaction alike: XML, Prefer, shapes over pages, times of histories (R4 http.html)."""

from __future__ import annotations

import pytest

from hdg.fhir import xml

XML = "application/fhir+xml"
BASE = "https://gateway.example"
PATCH = "application/json-patch+json"


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


@pytest.fixture
def letter(either):
    content = {
        "resourceType": "Composition",
        "id": "letter",
        "status": "final",
        "type": {"text": "Letter"},
        "subject": {"reference": "Patient/ann"},
        "date": "2024-01-05",
        "author": [{"reference": "Patient/ann"}],
        "title": "Letter",
        "section": [{"title": "Results", "entry": [{"reference": "Observation/ann-1"}]}],
    }
    either.put(content, "north", "ann")
    return either


def get(world, token, path, status=200):
    answer = world.client.get(path.removeprefix(BASE), token)
    assert answer.status_code == status, answer.text
    return answer.json()


def linked(bundle, relation="next"):
    return next((link["url"] for link in bundle["link"] if link["relation"] == relation), "")


def pages(world, token, path):
    """All Bundles of a search or history."""
    found = []
    while path:
        found.append(get(world, token, path))
        path = linked(found[-1])
    return found


# --- XML --------------------------------------------------------------------------------------------------------

READS = [
    "Patient/ann",
    "Patient/ann/_history/1",
    "Patient/ann/_history",
    "Patient/_history?_count=1",
    "_history?_count=3",
    "Observation?code=718-7&_include=Observation:subject&_sort=-date",
    "Observation?code=718-7&_summary=true&_count=2",
    "?_type=Patient,Observation&_count=2",
    "Patient/ann/Observation?_elements=code",
    "Patient/ann/*",
    "Patient/ann/$everything",
    "Observation/$lastn?patient=ann&code=718-7",
    "Observation/$stats?subject=Patient/ann&coding=http://loinc.org|718-7&statistic=average",
    "Patient/ann/$meta",
    "Patient/ann/$validate",
    "metadata",
    "Patient/nobody",
    "Patient?colour=x",
]


def test_every_read_says_the_same_in_xml(letter, north):
    for path in READS:
        plain = letter.client.get(f"/fhir/{path}", north)
        told = letter.client.get(f"/fhir/{path}", north, headers={"accept": XML})
        assert told.status_code == plain.status_code, path
        assert told.headers["content-type"].startswith(XML), path
        assert xml.loads(told.content) == plain.json(), path
    document = letter.client.get("/fhir/Composition/letter/$document?_format=xml", north)
    assert (
        xml.loads(document.content)["entry"]
        == get(letter, north, "/fhir/Composition/letter/$document")["entry"]
    )


def test_every_write_is_taken_and_answered_in_xml(either, north):
    def send(method, path, content, **headers):
        sent = {"content-type": XML, "accept": XML, **headers}
        answer = either.client.request(method, f"/fhir/{path}", north, sent, content=xml.dumps(content))
        told = xml.loads(answer.content) if answer.content else None
        return answer.status_code, told

    made = either.observation("ann-0", "ann", "718-7", "2024-02-02")
    status, told = send("PUT", "Observation/ann-0", made)
    assert (status, told["effectiveDateTime"], told["meta"]["versionId"]) == (200, "2024-02-02", "2")
    operation = [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": "Observation.status"},
        {"name": "value", "valueCode": "amended"},
    ]
    patch = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": operation}]}
    status, told = send("PATCH", "Observation/ann-0", patch)
    assert (status, told["status"]) == (200, "amended")
    tag = {
        "resourceType": "Parameters",
        "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "x"}]}}],
    }
    status, told = send("POST", "Observation/ann-0/$meta-add", tag)
    assert (status, told["parameter"][0]["valueMeta"]["tag"]) == (200, [{"code": "x"}])
    del made["id"]
    status, told = send("POST", "Observation", made, **{"if-none-exist": "_id=ann-0"})
    assert (status, told["id"]) == (200, "ann-0")
    status, told = send("PUT", "Observation?_id=ann-0", made)
    assert (status, told["status"]) == (200, "final")
    status, told = send("POST", "Observation/$validate", {**made, "status": "final"})
    assert (status, told["resourceType"]) == (200, "OperationOutcome")
    entries = [
        {"resource": made, "request": {"method": "POST", "url": "Observation"}},
        {"request": {"method": "GET", "url": "Patient/ann"}},
    ]
    for kind in ("batch", "transaction"):
        status, told = send("POST", "", {"resourceType": "Bundle", "type": kind, "entry": entries})
        assert (status, told["type"]) == (200, f"{kind}-response")
        assert [one["response"]["status"][:3] for one in told["entry"]] == ["201", "200"]
        assert told["entry"][1]["resource"]["id"] == "ann"
    asked = {"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "Patient"}]}
    status, told = send("POST", "Patient/ann/$everything", asked)
    assert [one["resource"]["id"] for one in told["entry"]] == ["ann"]
    status, told = send("PUT", "Observation/ann-1", {**made, "id": "ann-1", "status": "nonsense"})
    assert (status, told["resourceType"]) == (422, "OperationOutcome")
    deleted = either.client.request("DELETE", "/fhir/Observation/ann-2", north, {"accept": XML})
    assert (deleted.status_code, deleted.content) == (204, b"")


# --- Prefer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefer", "kind"),
    [("minimal", None), ("representation", "Observation"), ("OperationOutcome", "OperationOutcome")],
)
def test_prefer_return_is_heeded_by_every_write(either, north, prefer, kind):
    made = either.observation("ann-0", "ann", "718-7", "2024-02-02")
    new = {name: value for name, value in made.items() if name != "id"}
    replace = [{"op": "replace", "path": "/status", "value": "amended"}]
    operation = [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": "Observation.status"},
        {"name": "value", "valueCode": "corrected"},
    ]
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": operation}]}
    for method, path, content, status, headers in (
        ("POST", "Observation", new, 201, {}),
        ("POST", "Observation", new, 200, {"if_none_exist": "_id=ann-0"}),
        ("PUT", "Observation/north.own", {**made, "id": "north.own"}, 201, {}),
        ("PUT", "Observation/ann-0", made, 200, {}),
        ("PUT", "Observation/ann-0", made, 200, {"if_match": 'W/"2"'}),
        ("PUT", "Observation?_id=ann-0", new, 200, {}),
        ("PUT", "Observation?_id=nobody", new, 201, {}),
        ("PATCH", "Observation/ann-0", replace, 200, {"content_type": PATCH}),
        ("PATCH", "Observation/ann-0", parameters, 200, {}),
        ("PATCH", "Observation?_id=ann-0", replace, 200, {"content_type": PATCH}),
    ):
        answer = either.client.send(
            method, f"/fhir/{path}", north, content, prefer=f"return={prefer}", **headers
        )
        assert answer.status_code == status, (method, path, answer.text)
        assert (answer.json()["resourceType"] if answer.content else None) == kind, (method, path)
        assert answer.headers["etag"], (method, path)
        assert answer.headers["last-modified"], (method, path)


def test_prefer_handling_is_heeded_by_every_search(either, north):
    lenient = {"prefer": "handling=lenient"}
    for path in (
        "Observation?x=secret&code=718-7",
        "?_type=Observation&x=secret",
        "Patient/ann/Observation?x=secret",
    ):
        assert either.client.get(f"/fhir/{path}", north).status_code == 400
        strict = either.client.get(f"/fhir/{path}", north, headers={"prefer": "handling=strict"})
        assert strict.status_code == 400
        bundle = either.client.get(f"/fhir/{path}", north, headers=lenient).json()
        assert bundle["total"] == 3, path
        assert bundle["entry"][-1]["search"]["mode"] == "outcome"
    form = {"x": "secret", "code": "718-7"}
    posted = either.client.request("POST", "/fhir/Observation/_search", north, lenient, data=form)
    assert posted.json()["total"] == 3
    assert "secret" not in posted.text
    # A condition of a write is never wider than what was asked.
    made = either.observation("x", "ann", "718-7", "2024-02-02")
    refused = either.client.send(
        "POST", "/fhir/Observation", north, made, if_none_exist="colour=secret&code=718-7", **lenient
    )
    assert refused.status_code == 400


# --- shapes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "has", "lacks"),
    [
        ("_summary=true", "code", "text"),
        ("_summary=text", "text", "valueQuantity"),
        ("_summary=data", "valueQuantity", "text"),
        ("_summary=false", "text", "nothing"),
        ("_elements=code,subject", "subject", "valueQuantity"),
    ],
)
@pytest.mark.parametrize(
    "path", ["Observation?code=718-7", "Observation/_history", "Patient/ann/Observation"]
)
def test_every_page_has_the_shape_that_was_asked_for(either, north, shape, has, lacks, path):
    div = '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'
    for number in range(3):
        made = either.observation(f"ann-{number}", "ann", "718-7", "2024-02-02")
        either.put({**made, "text": {"status": "generated", "div": div}}, "north", "ann")
    sign = "&" if "?" in path else "?"
    since = "&_since=" + get(either, north, "/fhir/Observation/ann-0")["meta"]["lastUpdated"]
    since = since if path.endswith("_history") else ""
    found = pages(either, north, f"/fhir/{path}{sign}{shape}&_count=1{since}")
    shown = [entry["resource"] for page in found for entry in page["entry"]]
    assert sorted(one["id"] for one in shown) == ["ann-0", "ann-1", "ann-2"]
    for one in shown:
        assert has in one
        assert lacks not in one
        assert ("tag" in one["meta"]) == (shape != "_summary=false")


def test_a_count_has_a_total_and_no_entries_whatever_is_searched(either, north):
    for path in ("Observation?code=718-7", "Patient/ann/Observation", "?_type=Observation"):
        sign = "&" if "?" in path else "?"
        bundle = get(either, north, f"/fhir/{path}{sign}_summary=count&_count=1")
        assert (bundle["total"], "entry" in bundle, linked(bundle)) == (3, False, "")


# --- compartments -----------------------------------------------------------------------------------------------


def test_a_search_in_a_compartment_takes_chains_and_all_that_a_search_takes(either, north):
    either.put({"resourceType": "Organization", "id": "org", "name": "Ward"}, "north", None)
    stay = {"resourceType": "Encounter", "id": "enc", "status": "finished", "class": {"code": "IMP"}}
    stay |= {"subject": {"reference": "Patient/ann"}, "serviceProvider": {"reference": "Organization/org"}}
    either.put(stay, "north", "ann")
    made = either.observation("ann-0", "ann", "718-7", "2024-02-02")
    either.put({**made, "encounter": {"reference": "Encounter/enc"}}, "north", "ann")

    def found(query, of="ann"):
        bundle = get(either, north, f"/fhir/Patient/{of}/{query}")
        return [one["resource"]["id"] for one in bundle.get("entry", ())]

    assert found("Observation?encounter.service-provider.name=ward") == ["ann-0"]
    assert found("Observation?encounter:Encounter.status=planned") == []
    assert found("Encounter?_has:Observation:encounter:code=718-7") == ["enc"]
    assert found("Observation?encounter.status=finished&_include=Observation:encounter") == ["ann-0", "enc"]
    assert found("Observation?_sort=-date,_id&_count=2") == ["ann-0", "ann-2"]
    assert found("Observation?_filter=encounter pr false&_sort=date") == ["ann-1", "ann-2"]
    assert found("Observation?subject:Patient.name=feather&_count=1") == ["ann-2"]
    assert found("Observation?encounter.service-provider.name=ward", of="bob") == []


# --- histories --------------------------------------------------------------------------------------------------


def versions(bundles):
    entries = [entry for bundle in bundles for entry in bundle.get("entry", ())]
    return {f"{entry['request']['url']}/{entry['response']['etag'][3:-1]}" for entry in entries}


def test_at_a_time_every_history_has_what_was_current_then(either, north):
    """R4 http.html#history: _at, of a resource, a type and everything; on every page."""

    def now():
        either.put(
            {"resourceType": "Basic", "id": "mark", "code": {"text": str(either.now_us)}}, "north", None
        )
        return get(either, north, "/fhir/Basic/mark")["meta"]["lastUpdated"]

    def at(place, moment, count=1):
        return {
            name
            for name in versions(pages(either, north, f"/fhir/{place}_history?_at={moment}&_count={count}"))
            if not name.startswith("Basic")
        }

    begin = now()
    either.put(either.observation("ann-0", "ann", "718-7", "2024-02-02"), "north", "ann")
    middle = now()
    either.put(either.observation("ann-0", "ann", "718-7", "2024-03-03"), "north", "ann")
    either.delete("Observation", "ann-1", "north")
    either.put(either.observation("new", "ann", "718-7", "2024-03-03"), "north", "ann")
    end = now()
    rest = {"Observation/ann-2/1"}
    first = rest | {"Observation/ann-0/1", "Observation/ann-1/1"}
    second = rest | {"Observation/ann-0/2", "Observation/ann-1/1"}
    for moment, expected in ((begin, first), (middle, second)):
        assert at("Observation/", moment) == at("Observation/", moment, 50) == expected
        assert at("", moment) == expected | {"Patient/ann/1"}
        assert at("Observation/ann-0/", moment) == {name for name in expected if "ann-0" in name}
        assert at("Observation/ann-1/", moment) == {"Observation/ann-1/1"}
    last = at("Observation/", end)
    assert last - {"Observation/ann-1/2"} == rest | {"Observation/ann-0/3", "Observation/new/1"}
    assert at("Observation/new/", begin) == set()
    # A span of time has all that was current at some moment of it.
    assert {"Observation/ann-0/1", "Observation/ann-0/2", "Observation/ann-0/3"} <= at(
        "Observation/", begin[:4]
    )


def test_a_change_of_meta_is_a_version_and_the_one_before_stays(either, north):
    tag = {
        "resourceType": "Parameters",
        "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "x"}]}}],
    }
    for name in ("$meta-add", "$meta-delete"):
        assert either.client.send("POST", f"/fhir/Observation/ann-0/{name}", north, tag).status_code == 200
    told = get(either, north, "/fhir/Observation/ann-0/_history")["entry"]
    tags = [entry["resource"]["meta"].get("tag", []) for entry in told]
    assert [entry["resource"]["meta"]["versionId"] for entry in told] == ["3", "2", "1"]
    assert tags == [[], [{"code": "x"}], []]
    assert get(either, north, "/fhir/Observation/ann-0/_history/2")["meta"]["tag"] == [{"code": "x"}]
    stale = either.client.send("POST", "/fhir/Observation/nobody/$meta-add", north, tag)
    assert stale.status_code == 404


@pytest.mark.parametrize("role", ["clinician", "patient", "researcher", "operator"])
def test_there_is_no_graphql(either, role):
    patient = "ann" if role == "patient" else ""
    token = either.token(role, institution="north", patient=patient, project="p1")
    query = '{"query":"{Patient(id:\\"ann\\"){name{family}}}"}'
    for path in ("$graphql", "Patient/ann/$graphql", "Patient/$graphql"):
        for method in ("GET", "POST"):
            content = query if method == "POST" else None
            answer = either.client.request(
                method,
                f"/fhir/{path}?query={{x}}",
                token,
                {"content-type": "application/json"},
                content=content,
            )
            assert answer.status_code in (400, 403, 404, 405), (path, answer.text)
            assert "Featherstonehaugh" not in answer.text
