"""Topics: handshake, events, heartbeats as Bundles; $status, $events (Subscriptions R5 Backport)."""

from __future__ import annotations

import json

import pytest

from hdg.fhir.validate import validate
from receiver import until

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
BASE = "https://hdg.dev/fhir/SubscriptionTopic/"


def channel(content, **more):
    return {
        "payload": "application/fhir+json",
        "_payload": {"extension": [{"url": BACKPORT + "backport-payload-content", "valueCode": content}]},
        **more,
    }


def encounter(site, id_, status, code="IMP", patient="ann"):
    system = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    made = {
        "resourceType": "Encounter",
        "id": id_,
        "status": status,
        "class": {"system": system, "code": code},
        "subject": {"reference": f"Patient/{patient}"},
    }
    site.world.put(made, "north", patient)


def focus(got):
    (event,) = [
        p for p in got.json()["entry"][0]["resource"]["parameter"] if p["name"] == "notification-event"
    ]
    parts = {part["name"]: part for part in event["part"]}
    return parts["focus"]["valueReference"]["reference"] if "focus" in parts else None


def test_an_admission_is_an_event_when_the_encounter_becomes_one_and_not_with_each_change(site, endpoint):
    id_ = site.subscribe(endpoint.url, BASE + "admission", channel=channel("id-only"))
    site.start()
    site.until_status(id_, "active")
    encounter(site, "e1", "planned")
    encounter(site, "e1", "in-progress")
    encounter(site, "e1", "finished")
    encounter(site, "e2", "in-progress", code="AMB")
    encounter(site, "e3", "in-progress")
    got = endpoint.wait_for(3)
    assert [each.kind for each in got] == ["handshake", "event-notification", "event-notification"]
    assert [focus(each) for each in got[1:]] == [
        f"{site.world.settings.base_url}/Encounter/{e}" for e in ("e1", "e3")
    ]
    assert got[0].parameters["status"] == "requested"
    assert got[1].parameters["status"] == "active"


@pytest.mark.parametrize(("content", "entries"), [("empty", 1), ("id-only", 1), ("full-resource", 2)])
def test_a_notification_is_a_valid_bundle_and_holds_what_was_asked_for(lite, endpoint, content, entries):
    id_ = lite.subscribe(endpoint.url, BASE + "result", channel=channel(content))
    lite.start()
    lite.until_status(id_, "active")
    lite.observe("x1")
    got = endpoint.wait_for(2)[1]
    bundle = got.json()
    assert validate(bundle) == []
    assert got.headers["content-type"] == "application/fhir+json"
    assert bundle["type"] == "history"
    assert len(bundle["entry"]) == entries
    assert (focus(got) is None) == (content == "empty")
    assert ("x1" in json.dumps(bundle)) == (content != "empty")
    if content == "full-resource":
        stored = lite.world.client.get("/fhir/Observation/x1", lite.north).content
        assert stored in got.body
        assert bundle["entry"][1]["request"] == {"method": "POST", "url": "Observation"}


def test_filters_narrow_a_topic(lite, endpoint):
    filters = [{"url": BACKPORT + "backport-filter-criteria", "valueString": "Encounter?patient=Patient/ann"}]
    lite.world.put(lite.world.patient("cat", "Cat", "Third"), "north", "cat")
    more = {"channel": channel("id-only"), "_criteria": {"extension": filters}}
    id_ = lite.subscribe(endpoint.url, BASE + "encounter-end", **more)
    lite.start()
    lite.until_status(id_, "active")
    encounter(lite, "e1", "finished", patient="cat")
    encounter(lite, "e2", "finished")
    assert focus(endpoint.wait_for(2)[1]).endswith("/e2")


def test_a_patient_that_is_new_and_one_that_is_changed_are_two_topics(lite, endpoints):
    first, second, _ = endpoints
    ids = [
        lite.subscribe(first.url, BASE + "patient-created", channel=channel("id-only")),
        lite.subscribe(second.url, BASE + "patient-updated", channel=channel("id-only")),
    ]
    lite.start()
    for id_ in ids:
        lite.until_status(id_, "active")
    lite.world.put(lite.world.patient("new", "Cat", "Third"), "north", "new")
    lite.world.put(lite.world.patient("new", "Cat", "Fourth"), "north", "new")
    assert focus(first.wait_for(2)[1]).endswith("/new")
    assert focus(second.wait_for(2)[1]).endswith("/new")
    assert (len(first.got), len(second.got)) == (2, 2)


def test_heartbeats_come_when_nothing_else_does_and_have_no_number_of_their_own(lite, endpoint):
    beat = [{"url": BACKPORT + "backport-heartbeat-period", "valueUnsignedInt": 1}]
    id_ = lite.subscribe(endpoint.url, BASE + "result", channel=channel("empty", extension=beat))
    lite.start()
    lite.until_status(id_, "active")
    lite.observe("x1")
    until(lambda: [got.kind for got in endpoint.got][-1:] == ["heartbeat"])
    assert endpoint.got[-1].parameters["events-since-subscription-start"] == "1"


def test_a_handshake_that_is_not_answered_well_leads_to_error(lite, endpoint):
    endpoint.status = 404
    id_ = lite.subscribe(endpoint.url, BASE + "result", channel=channel("empty"))
    lite.start()
    lite.until_status(id_, "error")
    assert lite.resource(id_)["error"] == "it answered 404"


def ask(site, path, token=None):
    return site.world.client.get(path, token or site.north)


def test_status_and_events_are_told_to_whose_it_is(site, endpoint):
    id_ = site.subscribe(endpoint.url, BASE + "result", channel=channel("id-only"))
    site.start()
    site.until_status(id_, "active")
    for number in range(3):
        site.observe(f"x{number}")
    endpoint.wait_for(4)
    until(
        lambda: (
            status_of(ask(site, f"/fhir/Subscription/{id_}/$status"))["events-since-subscription-start"]
            == "3"
        )
    )
    whole = ask(site, f"/fhir/Subscription/$status?id={id_}&status=active").json()
    assert validate(whole) == []
    assert whole["total"] == 1
    assert ask(site, f"/fhir/Subscription/$status?id={id_}&status=off").json()["total"] == 0
    events = ask(site, f"/fhir/Subscription/{id_}/$events?eventsSinceNumber=2&content=full-resource")
    assert validate(events.json()) == []
    assert status_of(events)["type"] == "query-event"
    assert [entry["resource"]["id"] for entry in events.json()["entry"][1:]] == ["x1", "x2"]
    colleague = site.world.token("clinician", user="n2", institution="north")
    for path in ("$status", "$events", "$get-ws-binding-token"):
        answer = ask(site, f"/fhir/Subscription/{id_}/{path}", colleague)
        absent = ask(site, f"/fhir/Subscription/none/{path}", colleague)
        assert (answer.status_code, answer.content) == (404, absent.content)


def status_of(answer):
    found = answer.json()["entry"][0]["resource"]["parameter"]
    return {part["name"]: next((v for k, v in part.items() if k.startswith("value")), "") for part in found}


def test_events_that_are_hidden_by_now_are_left_out(lite, endpoint):
    consent = lite.world.grant("bob", "Organization/north")
    id_ = lite.subscribe(endpoint.url, BASE + "result", channel=channel("id-only"))
    lite.start()
    lite.until_status(id_, "active")
    lite.observe("bobs-own", "bob", institution="south")
    lite.observe("a1", "ann")
    endpoint.wait_for(3)
    lite.world.revoke(consent)
    events = ask(lite, f"/fhir/Subscription/{id_}/$events?content=full-resource").json()
    assert [entry["resource"]["id"] for entry in events["entry"][1:]] == ["a1"]
    assert "bobs-own" not in json.dumps(events)


@pytest.mark.parametrize("query", ["?x=1", "?eventsSinceNumber=one", "?content=all"])
def test_what_events_does_not_understand_is_a_400(lite, endpoint, query):
    id_ = lite.subscribe(endpoint.url, BASE + "result", channel=channel("id-only"))
    assert ask(lite, f"/fhir/Subscription/{id_}/$events{query}").status_code == 400


def test_a_hook_has_no_binding_token(lite, endpoint):
    id_ = lite.subscribe(endpoint.url)
    assert ask(lite, f"/fhir/Subscription/{id_}/$get-ws-binding-token").status_code == 400
    assert ask(lite, "/fhir/Subscription/$get-ws-binding-token").status_code == 400
