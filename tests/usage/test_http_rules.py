"""Rules of HTTP that clients rely on: what a body says about itself, formats, Allow, conditions of reads."""

from __future__ import annotations

import pytest

from hdg.fhir import json, xml

FHIR_JSON = "application/fhir+json"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def send(world, method, path, token, content, **headers):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return world.client.request(method, path, token, sent, content=content)


OTHERWISE = [
    f"{FHIR_JSON}; fhirVersion=5.0",
    f'{FHIR_JSON}; fhirVersion="3.0"',
    f"{FHIR_JSON}; charset=ISO-8859-1",
    f"{FHIR_JSON};charset=utf-16",
]


@pytest.mark.parametrize("content_type", OTHERWISE)
def test_a_body_in_another_version_or_charset_is_not_read_as_r4_in_utf_8(either, north, content_type) -> None:
    """R4 http.html#version-parameter. C3 BC are two letters in ISO 8859-1, and one in UTF-8."""
    body = '{"resourceType": "Patient", "name": [{"family": "Mü"}]}'.encode()
    for path in ("/fhir/Patient", "/fhir/Patient/$validate"):
        assert send(either, "POST", path, north, body, content_type=content_type).status_code == 415
    in_xml = content_type.replace("json", "xml")
    patient = b'<Patient xmlns="http://hl7.org/fhir"/>'
    assert send(either, "POST", "/fhir/Patient", north, patient, content_type=in_xml).status_code == 415
    right = f'{FHIR_JSON}; fhirVersion=4.0; charset="UTF-8"; other=x'
    assert send(either, "POST", "/fhir/Patient", north, body, content_type=right).status_code == 201


def test_parameters_of_an_operation_count_however_the_body_comes(either, north) -> None:
    """In XML, or without a length: they were passed over once, which widened the answer."""
    asked = {
        "resourceType": "Parameters",
        "parameter": [{"name": "_type", "valueString": "Observation"}, {"name": "_count", "valueInteger": 1}],
    }
    path = "/fhir/Patient/ann/$everything"

    async def parts(body):
        yield body

    as_json, as_xml = json.dumps(asked), xml.dumps(asked)
    wanted = send(either, "POST", path, north, as_json, content_type=FHIR_JSON).json()
    assert (wanted["total"], len(wanted["entry"])) == (3, 1)
    for body, kind in ((as_json, FHIR_JSON), (as_xml, "application/fhir+xml")):
        for content in (body, parts(body)):
            found = send(either, "POST", path, north, content, content_type=kind).json()
            assert (found["total"], len(found["entry"])) == (3, 1)
    assert send(either, "POST", path, north, b"", content_type="text/plain").status_code == 200
    assert send(either, "POST", path, north, as_json, content_type="text/plain").status_code == 415


def test_a_form_may_say_the_format(either, north) -> None:
    asked = b"_id=ann&_format=application/fhir%2Bxml"
    found = send(either, "POST", "/fhir/Patient/_search", north, asked, content_type=FORM)
    assert found.status_code == 200
    assert found.headers["content-type"].startswith("application/fhir+xml")
    assert xml.loads(found.content)["total"] == 1
    plain = send(either, "POST", "/fhir/Patient/_search", north, b"_id=ann&_format=json", content_type=FORM)
    assert plain.json()["total"] == 1
    none = send(either, "POST", "/fhir/Patient/_search", north, b"_format=ttl", content_type=FORM)
    assert none.status_code == 406
    latin = send(
        either, "POST", "/fhir/Patient/_search", north, b"_id=ann", content_type=f"{FORM}; charset=latin1"
    )
    assert latin.status_code == 415
    long = send(either, "POST", "/fhir/Patient/_search", north, b"_id=" + b"a" * 80_000, content_type=FORM)
    assert long.status_code == 413


def test_what_is_not_allowed_says_all_that_is(either, north) -> None:
    for method in ("OPTIONS", "TRACE"):
        refused = either.client.request(method, "/fhir/Patient", north)
        assert refused.status_code == 405
        assert refused.headers["allow"] == "DELETE, GET, HEAD, PATCH, POST, PUT"
    refused = either.client.request("POST", "/fhir/Patient/ann", north)
    assert refused.headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"


def test_if_match_star_asks_that_there_is_one(either, north) -> None:
    patient = {**either.patient("ann", "Eve", "F"), "gender": "female"}
    assert either.client.send("PUT", "/fhir/Patient/ann", north, patient, if_match="*").status_code == 200
    new = {**patient, "id": "north.new"}
    for other in (new, {**patient, "id": "bob"}):
        path = f"/fhir/Patient/{other['id']}"
        assert either.client.send("PUT", path, north, other, if_match="*").status_code == 412
    assert either.client.send("PUT", "/fhir/Patient/north.new", north, new).status_code == 201
    assert either.client.send("DELETE", "/fhir/Patient/north.new", north, if_match="*").status_code == 204
    assert either.client.send("DELETE", "/fhir/Patient/north.new", north, if_match="*").status_code == 412


def test_a_read_in_a_bundle_may_ask_only_for_what_is_newer(either, north) -> None:
    """There it is an instant (R4 bundle-definitions.html), in HTTP a date."""

    def ask(kind, since):
        request = {"method": "GET", "url": "Patient/ann", "ifModifiedSince": since}
        bundle = {"resourceType": "Bundle", "type": kind, "entry": [{"request": request}]}
        return either.client.send("POST", "/fhir", north, bundle)

    for kind in ("batch", "transaction"):
        assert ask(kind, "2050-01-01T00:00:00+01:00").json()["entry"][0]["response"]["status"][:3] == "304"
        assert ask(kind, "2001-01-01T00:00:00.5Z").json()["entry"][0]["response"]["status"][:3] == "200"
    assert ask("transaction", "2050-01-01").status_code == 400


def test_the_text_alone_comes_without_what_is_included(either, north) -> None:
    """R4 search.html#summary."""
    for name, value in (("_include", "Observation:subject"), ("_revinclude", "Provenance:target")):
        asked = f"/fhir/Observation?_summary=text&{name}={value}"
        assert either.client.get(asked, north).status_code == 400
    assert either.client.get("/fhir/Observation?_summary=text", north).status_code == 200
