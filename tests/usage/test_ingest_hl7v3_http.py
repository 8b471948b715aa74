"""POST /ingest/hl7v3: a registry message over HTTP, acknowledged in v3 or by an OperationOutcome."""

from __future__ import annotations

import pytest
from lxml import etree

from hdg import ingest_api
from hdg.fhir.validate import validate
from registry_messages import enveloped, message, prior, registration

V3 = "{urn:hl7-org:v3}"
RAW = message(registration())
REFUSED = message(registration(), interaction="PRPA_IN201305UV02")


def post(world, content, accept="application/xml", role="sender", kind="application/xml"):
    headers = {"content-type": kind, **({"accept": accept} if accept else {})}
    token = world.token(role, institution="north") if role else None
    return world.client.request("POST", ingest_api.V3_PATH, token, headers=headers, content=content)


def acknowledged(answer):
    root = etree.fromstring(answer.content)
    ack = next(root.iter(f"{V3}acknowledgement"))
    return root, ack.find(f"{V3}typeCode").get("code"), ack


def test_a_message_is_stored_for_the_institution_of_its_sender_and_acknowledged(either):
    answer = post(either, RAW)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/xml")
    root, code, ack = acknowledged(answer)
    assert (root.tag, code) == (f"{V3}MCCI_IN000002UV01", "AA")
    assert dict(ack.find(f"{V3}targetMessage/{V3}id").attrib) == {"root": "2.999.1", "extension": "m1"}
    assert root.find(f"{V3}receiver/{V3}device/{V3}id").get("root") == "2.999.7"
    assert root.find(f"{V3}sender/{V3}device/{V3}id").get("root") == "2.999.8"
    north, south = (either.token("clinician", institution=name) for name in ("north", "south"))
    query = "/fhir/Patient?identifier=urn:oid:2.999.2|p1"
    assert either.client.get(query, north).json()["total"] == 1
    assert either.client.get(query, south).json()["total"] == 0


def test_a_merged_record_is_found_with_its_link(either):
    raw = message(
        registration(after=prior('<id root="2.999.2" extension="p9"/>')), interaction="PRPA_IN201304UV02"
    )
    assert post(either, raw).status_code == 200
    north = either.token("clinician", institution="north")
    (entry,) = either.client.get("/fhir/Patient?identifier=urn:oid:2.999.2|p9", north).json()["entry"]
    assert entry["resource"]["active"] is False
    assert entry["resource"]["link"][0]["type"] == "replaced-by"


def test_a_registration_in_error_is_gone_and_its_history_stays(either):
    assert post(either, RAW).status_code == 200
    north = either.token("clinician", institution="north")
    query = "/fhir/Patient?identifier=urn:oid:2.999.2|p1"
    (entry,) = either.client.get(query, north).json()["entry"]
    gone = message(
        registration(status="nullified"),
        interaction="PRPA_IN201303UV02",
        number="m2",
        created="20240103030405+0000",
    )
    assert acknowledged(post(either, gone))[1] == "AA"
    assert either.client.get(query, north).json()["total"] == 0
    assert either.client.get(f"/fhir/Patient/{entry['resource']['id']}", north).status_code == 410


def test_a_record_that_was_merged_is_not_found_as_active_again(either):
    merge = message(
        registration(after=prior('<id root="2.999.2" extension="p9"/>')), interaction="PRPA_IN201304UV02"
    )
    late = message(
        registration(ids='<id root="2.999.2" extension="p9"/>'), number="m2", created="20240105030405+0000"
    )
    assert [post(either, raw).status_code for raw in (merge, late)] == [200, 200]
    north = either.token("clinician", institution="north")
    query = "/fhir/Patient?identifier=urn:oid:2.999.2|p9&active={}"
    assert either.client.get(query.format("true"), north).json()["total"] == 0
    assert either.client.get(query.format("false"), north).json()["total"] == 1


def test_what_is_refused_is_acknowledged_with_the_reason_and_kept(either):
    answer = post(either, REFUSED)
    assert answer.status_code == 422
    _, code, ack = acknowledged(answer)
    assert code == "AE"
    assert ack.find(f"{V3}acknowledgementDetail/{V3}text").text.endswith("is not supported")
    broken = post(either, b"<PRPA_IN201301UV02 xmlns='urn:hl7-org:v3'><id root='2.999.1' extension='bad'>")
    assert broken.status_code == 422
    _, code, ack = acknowledged(broken)
    assert (code, ack.find(f"{V3}targetMessage")) == ("AE", None)
    with either.store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT status FROM inbox").all() == [("quarantined",)] * 2


def test_a_message_in_an_envelope_is_answered_in_one(either):
    answer = post(either, enveloped(RAW), kind="application/soap+xml", accept="application/soap+xml")
    assert answer.headers["content-type"].startswith("application/soap+xml")
    root, code, _ = acknowledged(answer)
    assert (root.tag, code) == ("{http://www.w3.org/2003/05/soap-envelope}Envelope", "AA")


@pytest.mark.parametrize(
    "accept", ["", "*/*", "application/fhir+json", "application/xml;q=0.5, application/json"]
)
def test_unless_xml_is_preferred_the_answer_is_an_operation_outcome(either, accept):
    answer = post(either, RAW, accept)
    assert answer.status_code == 200
    assert validate(answer.json()) == []
    assert answer.json()["issue"][0]["diagnostics"].startswith("message stored")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (message(registration(), accept="NE"), 204),
        (message(registration(), accept="ER"), 204),
        (message(registration(), accept="AL"), 200),
        (message(registration(), accept="ER", interaction="PRPA_IN201305UV02"), 422),
    ],
)
def test_who_asks_for_no_acknowledgement_gets_none(either, content, status):
    assert post(either, content).status_code == status


@pytest.mark.parametrize(
    ("content", "accept", "role", "kind", "status"),
    [
        (RAW, "text/xml", "", "text/xml", 401),
        (RAW, "text/xml", "clinician", "text/xml", 403),
        (RAW, "text/xml", "sender", "application/json", 415),
        (RAW, "image/png", "sender", "text/xml", 406),
        (b"", "text/xml", "sender", "text/xml", 400),
    ],
)
def test_requests_that_are_refused(either, content, accept, role, kind, status):
    assert post(either, content, accept, role, kind).status_code == status
