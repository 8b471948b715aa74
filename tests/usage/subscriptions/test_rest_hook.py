"""rest-hook: what is committed comes to the endpoint, in order, at least once (R4 subscription.html)."""

from __future__ import annotations

from endpoint import Endpoint
from receiver import until

PAYLOAD = {"payload": "application/fhir+json"}
SECRET = "Bearer canary-secret-7f3a"


def test_a_match_is_told_with_the_version_in_a_put_below_the_endpoint(site, endpoint):
    id_ = site.subscribe(endpoint.url, channel={**PAYLOAD, "header": [f"Authorization: {SECRET}"]})
    site.start()
    site.until_status(id_, "active")
    site.observe("x1")
    site.observe("x2", code="2345-7")
    site.observe("x3")
    first, second = endpoint.wait_for(2)
    assert (first.method, first.path) == ("PUT", "/hook/Observation/x1")
    assert second.path == "/hook/Observation/x3"
    assert first.headers["authorization"] == SECRET
    assert first.headers["content-type"] == "application/fhir+json"
    stored = site.world.client.get("/fhir/Observation/x1", site.north)
    assert first.body == stored.content


def test_without_a_payload_a_notification_is_an_empty_post(site, endpoint):
    id_ = site.subscribe(endpoint.url + "?key=1")
    site.start()
    site.until_status(id_, "active")
    site.observe("x1")
    (got,) = endpoint.wait_for(1)
    assert (got.method, got.path, got.body) == ("POST", "/hook?key=1", b"")
    assert "content-type" not in got.headers


def test_every_version_that_matches_is_told_also_one_that_was_changed_meanwhile(lite, endpoint):
    lite.subscribe(endpoint.url, "Observation?status=preliminary", channel=PAYLOAD)
    lite.observe("x1", status="preliminary")
    lite.observe("x1", status="final")
    lite.observe("x1", status="preliminary")
    lite.start()
    got = endpoint.wait_for(2)
    assert [each.json()["meta"]["versionId"] for each in got] == ["1", "3"]


def test_an_endpoint_that_is_down_gets_everything_in_order_when_it_is_up(site, endpoints):
    first, second, third = endpoints
    id_ = site.subscribe(first.url, channel=PAYLOAD)
    site.start()
    site.until_status(id_, "active")
    port = first.port
    first.close()
    for number in range(5):
        site.observe(f"x{number}")
    until(lambda: site.world.gate.feed.now_us() and rows(site)[0].failures >= 3)
    again = Endpoint(port=port)
    try:
        again.wait_for(5)
        assert again.places == [f"/hook/Observation/x{number}" for number in range(5)]
        until(lambda: rows(site)[0].failures == 0)
    finally:
        again.close()
    assert (second.got, third.got) == ([], [])


def rows(site):
    from hdg.management.store import subscription

    return subscription.rows(site.world.store.engine)


def test_after_too_many_failures_it_is_in_error_and_goes_on_when_it_is_asked_for_again(
    tmp_path, lite, endpoint
):
    endpoint.status = 500
    id_ = lite.subscribe(endpoint.url, channel=PAYLOAD)
    lite.start()
    lite.until_status(id_, "active")  # R4's own form: to be connected to is enough
    lite.observe("x1")
    lite.observe("x2")
    lite.until_status(id_, "error")
    assert lite.resource(id_)["error"] == "it answered 500"
    attempts = len(endpoint.got)
    assert attempts == lite.world.settings.subscription_attempts
    assert set(endpoint.places) == {"/hook/Observation/x1"}
    endpoint.status = 200
    assert lite.change(id_, status="requested").status_code == 200
    endpoint.wait_for(attempts + 2)
    assert endpoint.places[attempts:] == ["/hook/Observation/x1", "/hook/Observation/x2"]
    lite.until_status(id_, "active")
    assert "error" not in lite.resource(id_)


def test_one_that_hangs_does_not_hold_up_another(lite, endpoints):
    slow, quick, _ = endpoints
    slow.hold.clear()
    ids = [lite.subscribe(each.url) for each in (slow, quick)]
    lite.start()
    for id_ in ids:
        lite.until_status(id_, "active")
    for number in range(3):
        lite.observe(f"x{number}")
    quick.wait_for(3)
    assert slow.got == []
    slow.hold.set()
    slow.wait_for(3)


def test_off_tells_nothing_and_what_was_meanwhile_is_not_told_later(lite, endpoint):
    id_ = lite.subscribe(endpoint.url, channel=PAYLOAD)
    lite.start()
    lite.until_status(id_, "active")
    assert lite.change(id_, status="off").status_code == 200
    lite.observe("x1")
    assert lite.change(id_, status="requested").status_code == 200
    lite.until_status(id_, "active")
    lite.observe("x2")
    endpoint.wait_for(1)
    assert endpoint.places == ["/hook/Observation/x2"]


def test_its_end_turns_it_off(lite, endpoint):
    id_ = lite.subscribe(endpoint.url, end="2020-01-01T00:00:00Z")
    lite.start()
    lite.until_status(id_, "off")
    assert endpoint.got == []


def test_what_is_deleted_is_told_no_more(lite, endpoints):
    first, second, _ = endpoints
    id_ = lite.subscribe(first.url)
    other = lite.subscribe(second.url)
    lite.start()
    lite.until_status(id_, "active")
    assert lite.world.client.send("DELETE", f"/fhir/Subscription/{id_}", lite.north).status_code == 204
    lite.until_status(other, "active")
    lite.observe("x1")
    second.wait_for(1)
    assert first.got == []
    assert [row.id for row in rows(lite)] == [other]


def test_a_redirect_is_a_failure_and_is_not_followed(lite, endpoints):
    first, second, third = endpoints
    port = first.port
    first.close()
    moved = Endpoint(302, port=port, headers={"location": second.url})
    id_ = lite.subscribe(moved.url)
    other = lite.subscribe(third.url)
    lite.start()
    lite.until_status(id_, "active")
    lite.until_status(other, "active")
    lite.observe("x1")
    third.wait_for(1)
    lite.until_status(id_, "error")
    assert lite.resource(id_)["error"] == "it answered 302"
    moved.close()
    assert second.got == []


def test_the_server_makes_no_index_or_log_of_a_headers_value(lite, endpoint, caplog):
    caplog.set_level("DEBUG")
    endpoint.status = 503
    id_ = lite.subscribe(endpoint.url, channel={"header": [f"X-Key: {SECRET}"]})
    lite.start()
    lite.until_status(id_, "active")
    lite.observe("x1")
    lite.until_status(id_, "error")
    assert SECRET not in caplog.text
    lite.stop()
    lite.world.store.close()
    for path in lite.world.settings.data.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
