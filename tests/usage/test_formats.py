"""XML on every route: asked for by _format or Accept, given by Content-Type (R4 http.html#mime-type)."""

from __future__ import annotations

import pytest
from lxml import etree

from hdg.fhir import xml

XML = "application/fhir+xml"


@pytest.fixture
def north(world):
    return world.token("clinician", user="dr-north", institution="north")


def get(world, token, path, **headers):
    return world.client.get(
        f"/fhir/{path}", token, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("Patient/ann?_format=xml", {}),
        ("Patient/ann?_format=application/fhir%2Bxml", {}),
        ("Patient/ann?_format=application/fhir+xml", {}),
        ("Patient/ann", {"accept": XML}),
        ("Patient/ann", {"accept": "text/html, application/xml;q=0.9, application/json;q=0.5"}),
        ("Patient/ann?_format=xml", {"accept": "application/fhir+json"}),
    ],
)
def test_a_client_that_asks_for_xml_gets_xml(world, north, path, headers):
    answer = get(world, north, path, **headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(XML)
    assert xml.loads(answer.content) == get(world, north, "Patient/ann").json()
    assert answer.headers["etag"] == 'W/"1"'


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/xml;q=0.1, */*", "application/fhir+json", "application/xml;q=0, application/json"],
)
def test_json_is_what_everybody_else_gets(world, north, accept):
    assert "json" in get(world, north, "Patient/ann", accept=accept).headers["content-type"]


def test_bundles_errors_and_the_statement_are_xml_too(world, north):
    for path, status in (
        ("Observation?code=718-7&_count=1", 200),
        ("Patient/ann/_history", 200),
        ("Patient/nobody", 404),
        ("Patient?colour=x", 400),
        ("metadata", 200),
    ):
        answer = get(world, north, path, accept=XML)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith(XML)
        assert (
            int(answer.headers.get("content-length", 0)) == len(answer.content)
            or "content-encoding" in answer.headers
        )
        etree.fromstring(answer.content)
    assert get(world, None, "Patient/ann", accept=XML).status_code == 401


def test_paging_goes_on_in_xml(world, north):
    first = get(world, north, "Observation?_count=2", accept=XML)
    namespace = {"f": "http://hl7.org/fhir"}
    (url,) = etree.fromstring(first.content).xpath(
        "//f:link[f:relation/@value='next']/f:url/@value", namespaces=namespace
    )
    second = get(world, north, url.removeprefix("https://gateway.example/fhir/") + "&_format=xml")
    assert len(etree.fromstring(second.content).findall("{http://hl7.org/fhir}entry")) == 1


def test_resources_are_written_in_xml_and_answered_in_either_form(world, north):
    body = xml.dumps({"resourceType": "Patient", "name": [{"family": "Ixemel"}]})
    made = world.client.request(
        "POST", "/fhir/Patient", north, {"content-type": XML, "accept": "application/fhir+json"}, content=body
    )
    assert made.status_code == 201
    assert made.json()["name"] == [{"family": "Ixemel"}]
    again = world.client.request(
        "POST", "/fhir/Patient", north, {"content-type": XML, "accept": XML}, content=body
    )
    assert xml.loads(again.content)["name"] == [{"family": "Ixemel"}]
    bundle = xml.dumps(
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [
                {
                    "resource": {"resourceType": "Patient", "name": [{"family": "Ixemel"}]},
                    "request": {"method": "POST", "url": "Patient"},
                }
            ],
        }
    )
    done = world.client.request("POST", "/fhir", north, {"content-type": XML}, content=bundle)
    assert done.json()["entry"][0]["response"]["status"] == "201 Created"
    assert get(world, north, "Patient?name=ixemel").json()["total"] == 3


@pytest.mark.parametrize(
    "body",
    [
        b"<Patient",
        b"",
        b'<Patient xmlns="http://hl7.org/fhir"><colour value="SECRET"/></Patient>',
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        b'<Patient xmlns="http://hl7.org/fhir"><id value="&e;"/></Patient>',
    ],
)
def test_xml_that_is_no_fhir_is_refused_without_its_values(world, north, body):
    answer = world.client.request("POST", "/fhir/Patient", north, {"content-type": XML}, content=body)
    assert answer.status_code == 400
    assert "SECRET" not in answer.text
    assert "root:" not in answer.text
    stranger = world.client.request("POST", "/fhir/Patient", None, {"content-type": XML}, content=body)
    assert stranger.status_code == 401


def test_a_body_over_the_limit_is_refused_in_xml_too(make_world):
    world = make_world(ingest_max_bytes=65_536)
    token = world.token("clinician", institution="north")
    body = b'<Patient xmlns="http://hl7.org/fhir">' + b" " * 70_000 + b"</Patient>"
    answer = world.client.request("POST", "/fhir/Patient", token, {"content-type": XML}, content=body)
    assert answer.status_code in (400, 413)


def test_entities_in_one_narrative_do_not_take_a_page_in_xml_away(world, north):
    div = '<div xmlns="http://www.w3.org/1999/xhtml">5&nbsp;mg &unheard;</div>'
    basic = {
        "resourceType": "Basic",
        "text": {"status": "generated", "div": div},
        "code": {"coding": [{"system": "urn:x", "code": "nbsp"}]},
    }
    made = world.client.send("POST", "/fhir/Basic", north, basic, accept=XML)
    assert made.status_code == 201
    assert "5\xa0mg &amp;unheard;" in made.text
    page = get(world, north, "Basic?code=nbsp&_format=xml")
    assert page.status_code == 200
    assert xml.loads(page.content)["total"] == 1


def test_long_bodies_come_and_go_in_xml(world, north):
    names = [{"family": f"Long{number}", "given": ["a", "b"]} for number in range(3000)]
    patient = {"resourceType": "Patient", "name": names}
    body = xml.dumps(patient)
    made = world.client.request(
        "POST", "/fhir/Patient", north, {"content-type": XML, "accept": XML}, content=body
    )
    assert made.status_code == 201
    assert xml.loads(made.content)["name"] == names
    broken = world.client.request("POST", "/fhir/Patient", north, {"content-type": XML}, content=body[:-20])
    assert broken.status_code == 400
