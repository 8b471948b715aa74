"""A notification passes the gate of the subscription's own principal when it leaves; what is hidden leaves no trace."""

from __future__ import annotations

import pytest

from endpoint import Endpoint
from hdg.management import revocation
from hdg.management.store import subscription
from receiver import until

PAYLOAD = {"payload": "application/fhir+json"}
TOPIC = "https://hdg.dev/fhir/SubscriptionTopic/result"
BUNDLES = {
    "payload": "application/fhir+json",
    "_payload": {
        "extension": [
            {
                "url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content",
                "valueCode": "full-resource",
            }
        ]
    },
}


def test_only_what_its_principal_may_read_is_told_and_hidden_events_take_no_number(site, endpoint):
    id_ = site.subscribe(endpoint.url, TOPIC, channel=BUNDLES)
    site.start()
    site.until_status(id_, "active")
    site.observe("x1")
    site.observe("hidden", "bob", institution="south")
    site.observe("x2")
    handshake, first, second = endpoint.wait_for(3)
    assert handshake.kind == "handshake"
    assert [first.number, second.number] == ["1", "2"]
    assert second.parameters["events-since-subscription-start"] == "2"
    assert b"hidden" not in b"".join(got.body for got in endpoint.got)
    events = subscription.events(site.world.store.engine, id_)
    assert [(event.number, event.resource) for event in events] == [(1, "x1"), (2, "x2")]


def test_a_consent_that_is_revoked_between_change_and_delivery_keeps_the_change_in(site, endpoints):
    first = endpoints[0]
    consent = site.world.grant("bob", "Organization/north")
    id_ = site.subscribe(first.url, channel=PAYLOAD)
    site.start()
    site.until_status(id_, "active")
    port = first.port
    first.close()
    site.observe("b1", "bob", institution="south")
    until(lambda: subscription.one(site.world.store.engine, id_).failures >= 2)
    site.world.revoke(consent)
    site.observe("a1", "ann")
    again = Endpoint(port=port)
    try:
        again.wait_for(1)
        assert again.places == ["/hook/Observation/a1"]
    finally:
        again.close()
    assert subscription.event_count(site.world.store.engine, id_) == 1
    assert [event for event in site.audited() if event == ("n1", "bob")] == []


def test_a_consent_lets_what_another_institution_sent_through(lite, endpoint):
    lite.world.grant("bob", "Organization/north")
    id_ = lite.subscribe(endpoint.url, channel=PAYLOAD)
    lite.start()
    lite.until_status(id_, "active")
    lite.observe("b1", "bob", institution="south")
    endpoint.wait_for(1)
    assert endpoint.places == ["/hook/Observation/b1"]


def test_each_delivery_is_audited_before_its_bytes_leave(site, endpoint):
    id_ = site.subscribe(endpoint.url, channel=PAYLOAD)
    site.start()
    site.until_status(id_, "active")
    endpoint.hold.clear()
    before = site.audited().count(("n1", "ann"))
    site.observe("x1")
    until(lambda: site.audited().count(("n1", "ann")) > before)  # the endpoint has not answered yet
    assert endpoint.got == []
    endpoint.hold.set()
    endpoint.wait_for(1)


def test_nothing_leaves_when_the_audit_trail_cannot_be_written(lite, endpoint, monkeypatch):
    from hdg.usage.trail import Trail

    id_ = lite.subscribe(endpoint.url, channel=PAYLOAD)
    lite.start()
    lite.until_status(id_, "active")
    original = Trail.write

    def broken(self, session, caller, access, patients):
        if access.query.startswith("Subscription/"):
            raise OSError("no room")
        original(self, session, caller, access, patients)

    monkeypatch.setattr(Trail, "write", broken)
    lite.observe("x1")
    tries = []
    monkeypatch.setattr(lite.world.gate.feed, "_again", spy(lite.world.gate.feed._again, tries))
    until(lambda: len(tries) >= 2)
    assert endpoint.got == []
    monkeypatch.setattr(Trail, "write", original)
    endpoint.wait_for(1)


def spy(original, calls):
    def called(*arguments):
        calls.append(arguments)
        return original(*arguments)

    return called


def test_it_belongs_to_whoever_wrote_it_last_and_another_institution_cannot_touch_it(lite, endpoint):
    south = lite.world.token("clinician", user="s1", institution="south")
    id_ = lite.subscribe(endpoint.url, channel=PAYLOAD)
    assert lite.change(id_, token=south, status="requested").status_code in (404, 405)
    assert lite.world.client.get(f"/fhir/Subscription/{id_}", south).status_code == 404
    colleague = lite.world.token("clinician", user="n2", institution="north")
    assert lite.change(id_, token=colleague, reason="mine now").status_code == 200
    lite.start()
    lite.until_status(id_, "active")
    lite.observe("x1")
    endpoint.wait_for(1)
    until(lambda: ("n2", "ann") in lite.audited())


def test_a_revoked_token_stops_it_and_a_new_one_lets_it_go_on(site, endpoint):
    principal = site.world.gate.caller(f"Bearer {site.north}").principal
    id_ = site.subscribe(endpoint.url, channel=PAYLOAD)
    site.start()
    site.until_status(id_, "active")
    other = site.world.token("clinician", user="n1", institution="north")
    work = lambda s: revocation.revoke(s, principal.token_id, principal.expires_us, institution="north")  # noqa: E731
    assert site.world.store.submit(work).result(120)
    site.observe("x1")
    site.north = other
    site.until_status(id_, "error")
    assert "no longer valid" in site.resource(id_)["error"]
    assert endpoint.got == []
    assert site.change(id_, status="requested").status_code == 200
    endpoint.wait_for(1)
    assert endpoint.places == ["/hook/Observation/x1"]


def test_writing_the_same_content_with_a_new_token_renews_it(lite, endpoint):
    id_ = lite.subscribe(endpoint.url, channel=PAYLOAD)
    lite.start()
    lite.until_status(id_, "active")
    before = lite.resource(id_)
    old = lite.world.gate.caller(f"Bearer {lite.north}").principal
    lite.north = lite.world.token("clinician", user="n1", institution="north")
    assert lite.change(id_).json()["meta"]["versionId"] == before["meta"]["versionId"]
    work = lambda s: revocation.revoke(s, old.token_id, old.expires_us, institution="north")  # noqa: E731
    lite.world.store.submit(work).result(120)
    lite.observe("x1")
    endpoint.wait_for(1)
    assert lite.status(id_) == "active"


def test_an_expired_token_stops_it(lite, endpoint):
    id_ = lite.subscribe(endpoint.url)
    lite.start()
    lite.until_status(id_, "active")
    lite.world.now_us += 25 * 3_600_000_000
    lite.observe("x1")
    until(lambda: subscription.one(lite.world.store.engine, id_).status == "error")
    assert endpoint.got == []


def test_what_was_deleted_meanwhile_is_not_sent(lite, endpoint):
    lite.subscribe(endpoint.url, channel=PAYLOAD)
    lite.observe("x1")
    lite.world.delete("Observation", "x1", "north")
    lite.observe("x2")
    lite.start()
    endpoint.wait_for(1)
    assert endpoint.places == ["/hook/Observation/x2"]


def test_a_row_that_was_changed_in_the_database_delivers_nothing(lite, endpoints):
    first, second, _ = endpoints
    mine = lite.subscribe(first.url)
    south = lite.world.token("clinician", user="s1", institution="south")
    theirs = lite.subscribe(second.url, token=south)

    def swap(session):
        one, other = (subscription.one(lite.world.store.engine, id_) for id_ in (mine, theirs))
        sql = "UPDATE subscription SET owner_code = ?, sealed = ? WHERE id = ?"
        session.change_later(sql, (other.owner_code, other.sealed, one.id))

    lite.world.store.submit(swap).result(120)
    lite.start()
    lite.until_status(mine, "error")
    assert lite.resource(mine)["error"] == "whose it is cannot be read"


def test_content_that_its_principal_did_not_write_delivers_nothing(lite, endpoints):
    """Another way than the gate changes the endpoint, and the row is made to fit."""
    first, second, _ = endpoints
    id_ = lite.subscribe(first.url, channel=PAYLOAD)
    content = lite.resource(id_)
    content["channel"]["endpoint"] = second.url
    lite.world.put(content, "north", None)
    sql = "UPDATE subscription SET version = version + 1 WHERE id = ?"
    lite.world.store.submit(lambda session: session.change_later(sql, (id_,))).result(120)
    lite.start()
    lite.until_status(id_, "error")
    assert lite.resource(id_)["error"] == "it is not what was asked for"
    assert second.got == []


def test_what_another_way_than_the_gate_has_changed_rests_and_costs_nothing(lite, endpoints):
    first, second, _ = endpoints
    id_ = lite.subscribe(first.url, channel=PAYLOAD)
    lite.world.put({**lite.resource(id_), "reason": "changed behind the gate"}, "north", None)
    good = lite.subscribe(second.url, channel=PAYLOAD)
    lite.start()
    lite.until_status(good, "active")
    epoch = subscription.one(lite.world.store.engine, id_).epoch
    for number in range(3):
        lite.observe(f"x{number}")
        second.wait_for(number + 1)
    assert subscription.one(lite.world.store.engine, id_).epoch == epoch
    assert first.got == []
    assert lite.change(id_, reason="mine again", status="requested").status_code == 200
    lite.until_status(id_, "active")
    first.wait_for(3)  # nothing was lost meanwhile


def test_no_row_no_deliveries(lite, endpoint):
    """A Subscription that came in by another way than the gate belongs to nobody."""
    wrong = {
        "resourceType": "Subscription",
        "id": "smuggled",
        "status": "active",
        "reason": "test",
        "criteria": "Observation?",
        "channel": {"type": "rest-hook", "endpoint": endpoint.url},
    }
    lite.world.put(wrong, "north", None)
    good = lite.subscribe(endpoint.url + "/good", channel=PAYLOAD)
    lite.start()
    lite.until_status(good, "active")
    lite.observe("x1")
    endpoint.wait_for(1)
    assert endpoint.places == ["/hook/good/Observation/x1"]


CONTENT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content"


def bundles(content):
    return {
        "payload": "application/fhir+json",
        "_payload": {"extension": [{"url": CONTENT, "valueCode": content}]},
    }


@pytest.mark.parametrize(
    ("criteria", "channel"),
    [
        ("Observation?code=http://loinc.org|718-7", {"header": ["X-Site: 7"]}),
        ("Observation?code=http://loinc.org|718-7", PAYLOAD),
        (TOPIC, bundles("empty")),
        (TOPIC, bundles("id-only")),
        (TOPIC, bundles("full-resource")),
    ],
)
def test_what_was_revoked_while_it_waited_is_in_no_id_header_number_or_count(
    lite, endpoints, criteria, channel
):
    """Whatever a notification says: not even that there was something."""
    first = endpoints[0]
    consent = lite.world.grant("bob", "Organization/north")
    id_ = lite.subscribe(first.url, criteria, channel=channel)
    lite.start()
    lite.until_status(id_, "active")
    handshakes = len(first.got)
    port = first.port
    first.close()
    lite.observe("secret1", "bob", institution="south")
    until(lambda: subscription.one(lite.world.store.engine, id_).failures >= 1)
    lite.world.revoke(consent)
    lite.observe("secret2", "bob", institution="south")
    lite.observe("shown", "ann")
    again = Endpoint(port=port)
    try:
        (got,) = again.wait_for(1)
        lite.observe("shown2", "ann")
        again.wait_for(2)
    finally:
        again.close()
    said = b"".join(
        one.path.encode() + repr(sorted(one.headers.items())).encode() + one.body for one in again.got
    )
    assert len(again.got) == 2
    assert b"secret" not in said
    assert b"bob" not in said
    if criteria == TOPIC:
        assert handshakes == 1
        assert [one.number for one in again.got] == ["1", "2"]
        assert got.parameters["events-since-subscription-start"] == "1"
    path = f"/fhir/Subscription/{id_}"
    for name in ("$status", "$events"):
        told = lite.world.client.get(f"{path}/{name}", lite.north).text
        assert "secret" not in told
    assert subscription.event_count(lite.world.store.engine, id_) == 2
