"""HTTP behaviour of the FHIR API (R4 http.html): headers, conditional reads, errors, negotiation."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdg.fhir.validate import validate
from hdg.management.store import pages
from hdg.usage.fhir_api import results
from hdg.usage.fhir_api.parameters import supported


def read(world, path, **rest):
    return world.client.get(path, world.token("clinician", institution="north"), **rest)


def test_a_read_carries_version_time_type_and_no_store(world):
    answer = read(world, "/fhir/Patient/ann")
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["last-modified"].endswith("GMT")
    assert answer.headers["content-type"] == "application/fhir+json;fhirVersion=4.0"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_client_that_holds_the_version_gets_304(world):
    first = read(world, "/fhir/Patient/ann")
    for headers in (
        {"if-none-match": first.headers["etag"]},
        {"if-none-match": '"0", "1"'},
        {"if-none-match": "*"},
        {"if-modified-since": first.headers["last-modified"]},
    ):
        answer = read(world, "/fhir/Patient/ann", headers=headers)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == first.headers["etag"]
    for headers in (
        {"if-none-match": 'W/"2"'},
        {"if-none-match": 'W/"2"', "if-modified-since": first.headers["last-modified"]},
        {"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"if-modified-since": "yesterday"},
    ):
        assert read(world, "/fhir/Patient/ann", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/fhir/Patient/ann",
        "/fhir/Patient",
        "/fhir/Patient/ann/_history",
        "/fhir/Patient/nobody",
        "/fhir/metadata",
    ],
)
def test_head_is_get_without_the_body(world, path):
    token = world.token("clinician", institution="north")
    plain = {"accept-encoding": "identity"}  # what has no body is not compressed either
    got = world.client.get(path, token, headers=plain)
    headed = world.client.request("HEAD", path, token, plain)
    assert headed.content == b""
    told = [{k: v for k, v in one.headers.items() if k != "vary"} for one in (headed, got)]
    assert (headed.status_code, told[0]) == (got.status_code, told[1])


def test_vread_and_history_show_every_version(world):
    world.put({"resourceType": "Patient", "id": "ann", "birthDate": "1971-01-01"}, "north", "ann")
    assert read(world, "/fhir/Patient/ann/_history/1").json()["birthDate"] == "1970-01-01"
    assert read(world, "/fhir/Patient/ann/_history/2").json()["birthDate"] == "1971-01-01"
    bundle = read(world, "/fhir/Patient/ann/_history").json()
    assert validate(bundle) == []
    assert (bundle["type"], bundle["total"]) == ("history", 2)
    assert [entry["response"]["etag"] for entry in bundle["entry"]] == ['W/"2"', 'W/"1"']
    assert [entry["response"]["status"] for entry in bundle["entry"]] == ["200", "201"]


def test_history_shows_a_deletion_without_a_resource_and_vread_of_it_is_gone(world):
    world.delete("Observation", "ann-0", "north")
    bundle = read(world, "/fhir/Observation/ann-0/_history").json()
    assert validate(bundle) == []
    assert bundle["entry"][0]["request"]["method"] == "DELETE"
    assert "resource" not in bundle["entry"][0]
    assert read(world, "/fhir/Observation/ann-0/_history/2").status_code == 410
    assert read(world, "/fhir/Observation/ann-0/_history/1").status_code == 200


def test_history_is_paged(world):
    for day in range(1, 6):
        world.put({"resourceType": "Patient", "id": "ann", "birthDate": f"1970-02-0{day}"}, "north", "ann")
    assert versions(world, "/fhir/Patient/ann/_history?_count=2") == [f'W/"{n}"' for n in (6, 5, 4, 3, 2, 1)]


def versions(world, path):
    found = []
    while path:
        bundle = read(world, path).json()
        found += [entry["response"]["etag"] for entry in bundle.get("entry", ())]
        path = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
    return found


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/fhir/Patient/nobody", 404),
        ("GET", "/fhir/Patient/no%20id", 404),
        ("GET", "/fhir/Patient/ann/_history/0", 404),
        ("GET", "/fhir/Patient/ann/_history/x", 404),
        ("GET", "/fhir/Patient/ann/_history/99999999999999999999", 404),
        ("GET", "/fhir/Patient/ann/_history/999999999999999999", 404),
        ("GET", "/fhir/Nonsense", 404),
        ("GET", "/fhir/Nonsense/1", 404),
        ("GET", "/fhir?_type=Nonsense", 400),
        ("GET", "/fhir/Patient/ann/x/y/z", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/fhir/Patient/nobody", 404),
        ("DELETE", "/fhir/Patient", 412),
        ("DELETE", "/fhir/Patient?colour=red", 400),
        ("DELETE", "/fhir/Nonsense/1", 404),
        ("PUT", "/fhir/Patient/ann", 415),
        ("PUT", "/fhir/Patient", 412),
        ("POST", "/fhir/Patient", 415),
        ("PUT", "/fhir/Patient/ann/_history/1", 405),
        ("PUT", "/fhir/metadata", 404),
        ("GET", "/fhir/Patient?colour=red", 400),
        ("GET", "/fhir/Patient?name=%FF", 400),
        ("GET", "/fhir/Patient/ann?colour=red", 400),
        ("GET", "/fhir/Patient?_page=made-up", 400),
        ("GET", "/fhir/metadata?mode=terminology", 400),
        ("GET", "/fhir/Patient/ann?_format=ttl", 406),
        ("GET", "/fhir/Patient?_format=ttl", 406),
        ("GET", "/fhir/metadata?_format=ttl", 406),
        ("GET", "/ledger/proof?type=Patient", 400),
        ("GET", "/ledger/proof?type=Patient&id=ann&id=bob", 400),
        ("GET", "/ledger/proof?type=Nonsense&id=ann", 404),
    ],
)
def test_every_error_is_a_valid_operation_outcome(world, method, path, status):
    answer = world.client.request(method, path, world.token("clinician", institution="north"))
    assert answer.status_code == status
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["severity"] == "error"
    assert validate(outcome) == []
    assert answer.headers["cache-control"] == "no-store"


def test_accept_for_another_format_is_406(world):
    answer = read(world, "/fhir/Patient/ann", headers={"accept": "text/turtle"})
    assert answer.status_code == 406
    assert answer.json()["issue"][0]["code"] == "not-supported"


def test_a_fault_in_our_own_code_tells_nothing(world, monkeypatch, caplog):
    def broken(*arguments, **named):
        raise RuntimeError("SECRET inside")

    monkeypatch.setattr(type(world.gate), "read", broken)
    answer = read(world, "/fhir/Patient/ann")
    assert answer.status_code == 500
    assert answer.json()["issue"][0]["code"] == "exception"
    assert "SECRET" not in answer.text + caplog.text
    assert "test_http.py" in caplog.text


def test_post_search_takes_the_body_and_the_query_string(world):
    token = world.token("clinician", institution="north")
    path, form = "/fhir/Observation/_search", {"content-type": "application/x-www-form-urlencoded"}

    def search(body, query="", headers=form):
        return world.client.request("POST", path + query, token, content=body, headers=headers)

    assert search("code=718-7").json()["total"] == 3
    assert search("date=2024-01-01", "?code=718-7").json()["total"] == 1
    assert search("").json()["total"] == 3
    assert search("colour=red").status_code == 400
    assert search("{}", headers={"content-type": "application/json"}).status_code == 415
    assert search("code=" + "x" * 70_000).status_code == 413


def test_a_search_bundle_is_valid_and_links_to_itself(world):
    bundle = read(world, "/fhir/Observation?code=718-7").json()
    assert validate(bundle) == []
    assert bundle["total"] == 3
    for entry in bundle["entry"]:
        assert entry["fullUrl"] == f"https://gateway.example/fhir/Observation/{entry['resource']['id']}"
        assert entry["search"] == {"mode": "match"}
    (self_link,) = bundle["link"]
    assert read(world, self_link["url"]).json() == bundle


def test_total_none_leaves_the_total_out_and_count_0_the_entries(world):
    assert "total" not in read(world, "/fhir/Observation?_total=none").json()
    counted = read(world, "/fhir/Observation?_count=0").json()
    assert counted["total"] == 3
    assert "entry" not in counted
    assert [link["relation"] for link in counted["link"]] == ["self"]


def test_a_total_of_more_than_are_counted_is_left_out_unless_it_is_asked_for(world, monkeypatch):
    monkeypatch.setattr(results, "TOTAL_MAX", 2)
    monkeypatch.setattr(pages, "COUNTED_MAX", 1)
    assert "total" not in read(world, "/fhir/Observation?_count=1").json()
    assert read(world, "/fhir/Observation?_count=1&code=718-7&_id=ann-1").json()["total"] == 1
    for asked in ("_total=accurate", "_total=estimate&_count=1", "_count=0", "_summary=count"):
        assert read(world, f"/fhir/Observation?{asked}").json()["total"] == 3


def walk(world, path, between=lambda: None):
    """The ids of all pages, with ``between`` called after each page; and the URLs that were followed."""
    ids, urls = [], []
    while path:
        bundle = read(world, path).json()
        ids += [entry["resource"]["id"] for entry in bundle.get("entry", ())]
        urls += [link["url"] for link in bundle["link"]]
        path = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        between()
    return ids, urls


def test_no_link_of_ours_holds_anything_of_the_query(world):
    _, urls = walk(world, "/fhir/Patient?name=Featherstonehaugh&identifier=urn:example:mrn|MRN-ann&_count=1")
    assert urls
    for url in urls:
        assert "eather" not in url
        assert "MRN" not in url


def test_paging_loses_and_doubles_nothing_while_others_write(world):
    observation = world.observation
    expected = {f"ann-{number}" for number in range(3)}
    for number in range(20):
        world.put(observation(f"more-{number}", "ann", "718-7", "2024-02-01"), "north", "ann")
        expected.add(f"more-{number}")
    counter = iter(range(1000))

    def others_write():
        number = next(counter)
        world.put(observation(f"new-{number}", "ann", "718-7", "2024-02-01"), "north", "ann")
        world.put(observation("ann-0", "ann", "718-7", f"2024-03-{number % 28 + 1:02d}"), "north", "ann")
        world.put(observation("more-19", "ann", "718-7", f"2024-03-{number % 28 + 1:02d}"), "north", "ann")

    ids, _ = walk(world, "/fhir/Observation?code=718-7&_count=3", others_write)
    assert len(ids) == len(set(ids))
    assert expected <= set(ids)


def test_a_page_link_works_for_its_maker_only_and_takes_no_other_parameter(world):
    _, urls = walk(world, "/fhir/Observation?_count=2")
    stranger = world.token("clinician", user="u2", institution="south")
    assert world.client.get(urls[0], stranger).status_code == 400
    assert read(world, urls[0] + "&code=718-7").status_code == 400
    assert read(world, urls[0].replace("/Observation", "/Patient")).status_code == 400


JOINED = {
    "subject:Patient.name",
    "encounter.service-provider.name",
    "_has:DiagnosticReport:result:code",
    "_has:Observation:derived-from:subject.birthdate",
}
RESULT = {
    "_count",
    "_total",
    "_page",
    "_format",
    "_pretty",
    "_sort",
    "_include",
    "_revinclude",
    "_summary",
    "_elements",
}
NAMES = sorted({*supported("Observation"), *JOINED, *RESULT, "nonsense"})
MODIFIED = st.builds(
    "{}{}".format,
    st.sampled_from(NAMES),
    st.sampled_from(["", ":missing", ":not", ":exact", ":Patient", ":x"]),
)
ODD = [
    *(
        "ge2020",
        "2024-02-30",
        "9999-12-31T23:59:59.999999+14:00",
        "0000",
        "eb0001-01-01",
        "ne9999",
        "sa2024W1",
    ),
    *("2024-01-01T25:00", "gt2024-13", "ap1e308", "lt-1e-400", "1e400", "-0", "NaN", "1" * 400, "a" * 5000),
    *("|", "a|b|c", "5.4|http://unitsofmeasure.org|mg", "Patient/1", "http://x/Patient/1", "$", "a$b", "a,b"),
    *("é", "🜚", "true", "\\", "%", "_", " "),
    *(
        "date,-code",
        "-value-quantity",
        "Observation:subject",
        "Observation:*",
        "*",
        "count",
        "text",
        "subject,code",
    ),
]
VALUES = st.text(max_size=20) | st.sampled_from(ODD)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(MODIFIED | st.text(max_size=10), VALUES), max_size=4))
def test_no_query_string_makes_a_500(world, pairs):
    answer = read(world, "/fhir/Observation", params=pairs)
    assert answer.status_code in (200, 400, 406)
    if answer.status_code == 400:
        text = answer.json()["issue"][0]["diagnostics"]
        names = " ".join(["parameters", "count", *(name for name, _ in pairs)])  # our own words among them
        assert not [value for _, value in pairs if len(value) > 4 and value not in names and value in text]
