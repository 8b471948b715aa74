"""Events that were told before are told again, under their numbers; payloads in XML (docs/subscriptions.md)."""

from __future__ import annotations

from hdg.fhir import json, xml
from hdg.fhir.validate import validate
from receiver import until

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
RESULT = "https://hdg.dev/fhir/SubscriptionTopic/result"
XML = "application/fhir+xml"


def channel(content, payload="application/fhir+json"):
    level = [{"url": BACKPORT + "backport-payload-content", "valueCode": content}]
    return {"payload": payload, "_payload": {"extension": level}}


def told(site, endpoint, count, **more):
    id_ = site.subscribe(endpoint.url, RESULT, channel=channel("id-only"), **more)
    site.start()
    site.until_status(id_, "active")
    for number in range(count):
        site.observe(f"x{number}")
    endpoint.wait_for(count + 1)
    until(lambda: numbers(endpoint) == [str(number + 1) for number in range(count)])
    return id_


def numbers(endpoint):
    return [got.number for got in list(endpoint.got) if got.kind == "event-notification"]


def resend(site, id_, since=None, token=None):
    part = [] if since is None else [{"name": "eventsSinceNumber", "valueString": str(since)}]
    asked = {"resourceType": "Parameters", "parameter": part}
    return site.world.client.send("POST", f"/fhir/Subscription/{id_}/$resend", token or site.north, asked)


def test_events_come_again_under_their_numbers_and_new_ones_behind_them(site, endpoint):
    id_ = told(site, endpoint, 3)
    answer = resend(site, id_, 2)
    assert (answer.status_code, validate(answer.json())) == (200, [])
    until(lambda: numbers(endpoint) == ["1", "2", "3", "2", "3"])
    site.observe("x9")
    until(lambda: numbers(endpoint) == ["1", "2", "3", "2", "3", "4"])
    status = site.world.client.get(f"/fhir/Subscription/{id_}/$status", site.north).json()
    found = {p["name"]: p for p in status["entry"][0]["resource"]["parameter"]}
    assert found["events-since-subscription-start"]["valueString"] == "4"
    assert resend(site, id_).json()["issue"][0]["diagnostics"] == "sent again from number 1"
    until(lambda: numbers(endpoint)[6:] == ["1", "2", "3", "4"])


def test_what_is_hidden_or_deleted_by_now_is_not_sent_again_and_each_is_audited(lite, endpoint):
    site = lite
    consent = site.world.grant("bob", "Organization/north")
    id_ = site.subscribe(endpoint.url, RESULT, channel=channel("id-only"))
    site.start()
    site.until_status(id_, "active")
    for number, (patient, sender) in enumerate((("ann", "north"), ("bob", "south"), ("ann", "north"))):
        site.observe(f"y{number}", patient, institution=sender)
    until(lambda: numbers(endpoint) == ["1", "2", "3"])
    site.world.revoke(consent)
    site.world.delete("Observation", "y0", "north")
    before = len(site.audited())
    assert resend(site, id_).status_code == 200
    until(lambda: numbers(endpoint) == ["1", "2", "3", "3"])
    assert [patient for _, patient in site.audited()[before:]].count("bob") == 0


def test_a_number_that_was_not_told_sends_nothing(lite, endpoint):
    id_ = told(lite, endpoint, 1)
    answer = resend(lite, id_, 2)
    assert answer.json()["issue"][0]["diagnostics"] == "nothing to send again"
    assert resend(lite, id_, "x").status_code == 400
    assert resend(lite, id_, -1).status_code == 400
    assert numbers(endpoint) == ["1"]


def test_only_whose_it_is_has_it_sent_again_and_not_while_it_is_off(lite, endpoint):
    id_ = told(lite, endpoint, 1)
    colleague = lite.world.token("clinician", user="n2", institution="north")
    other = lite.world.token("clinician", user="s1", institution="south")
    absent = resend(lite, "f" * 32, token=other)
    for token in (colleague, other):
        refused = resend(lite, id_, token=token)
        assert (refused.status_code, refused.content) == (404, absent.content)
    assert lite.world.client.get(f"/fhir/Subscription/{id_}/$resend", lite.north).status_code in (404, 405)
    assert lite.change(id_, status="off").status_code == 200
    assert resend(lite, id_).status_code == 409


def test_a_payload_in_xml_is_the_resource_in_xml(site, endpoint):
    id_ = site.subscribe(endpoint.url, channel={"payload": f"{XML};charset=utf-8"})
    site.start()
    site.until_status(id_, "active")
    site.observe("x1", valueQuantity={"value": json.loads("1.50")})
    (got,) = endpoint.wait_for(1)
    assert (got.method, got.path, got.headers["content-type"]) == ("PUT", "/hook/Observation/x1", XML)
    stored = site.world.client.get("/fhir/Observation/x1", site.north)
    assert json.dumps(xml.loads(got.body)) == stored.content
    assert b'"1.50"' in got.body


def test_a_topic_s_notification_in_xml_is_a_valid_bundle(lite, endpoint):
    id_ = lite.subscribe(endpoint.url, RESULT, channel=channel("full-resource", XML))
    lite.start()
    lite.until_status(id_, "active")
    lite.observe("x1")
    for got in endpoint.wait_for(2):
        assert got.headers["content-type"] == XML
        assert validate(xml.loads(got.body)) == []
    bundle = xml.loads(endpoint.got[1].body)
    assert bundle["entry"][1]["resource"]["id"] == "x1"
