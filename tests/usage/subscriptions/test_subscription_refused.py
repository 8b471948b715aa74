"""What a Subscription may say, and where notifications may go: everything else is refused when it is written."""

from __future__ import annotations

import pytest

from hdg.errors import BadRequest, SettingsError
from hdg.settings import Settings
from hdg.usage.subscriptions.endpoints import Endpoints
from hdg.usage.subscriptions.topics import topics

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
TOPIC = "https://hdg.dev/fhir/SubscriptionTopic/admission"


@pytest.mark.parametrize(
    "criteria",
    [
        "Observation?nonsense=1",
        "Observation?code:nonsense=1",
        "Observation?date=yesterday",
        "Observation?patient.name=Eve",
        "Observation?_has:Provenance:target:agent=x",
        "Observation?_sort=date",
        "Observation?_include=Observation:subject",
        "Observation?_count=1",
        "Observation?code:in=http://hl7.org/fhir/ValueSet/observation-codes",
        "Observation?code:below=http://loinc.org|1-8",
        "Observation?_list=x",
        "Nonsense?code=1",
        "Observation?code=",
        "AuditEvent?",
        "code=1",
        "https://example.org/SubscriptionTopic/unknown",
    ],
)
def test_criteria_that_are_not_understood_are_a_400_and_nothing_is_stored(lite, endpoint, criteria):
    answer = lite.refused({"criteria": criteria, "channel": {"type": "rest-hook", "endpoint": endpoint.url}})
    assert answer.status_code == 400, answer.text
    assert lite.world.client.get("/fhir/Subscription", lite.north).json()["total"] == 0


@pytest.mark.parametrize(
    "channel",
    [
        {"type": "email", "endpoint": "mailto:a@b.example"},
        {"type": "rest-hook"},
        {"type": "rest-hook", "endpoint": "http://127.0.0.1:1/"},
        {"type": "rest-hook", "endpoint": "http://169.254.169.254/latest"},
        {"type": "rest-hook", "endpoint": "file:///etc/passwd"},
        {"payload": "text/plain"},
        {"header": ["Host: other.example"]},
        {"header": ["Content-Length: 0"]},
        {"header": ["no colon"]},
        {"header": ["Bad Name: x"]},
        {"extension": [{"url": "https://example.org/other", "valueString": "x"}]},
        {"_type": {"extension": [{"url": BACKPORT + "backport-channel-type", "valueCoding": {"code": "x"}}]}},
    ],
)
def test_channels_that_are_not_understood_or_not_allowed_are_a_400(lite, endpoint, channel):
    whole = {"type": "rest-hook", "endpoint": endpoint.url, **channel}
    if channel == {"type": "rest-hook"}:
        del whole["endpoint"]
    answer = lite.refused({"criteria": "Observation?", "channel": whole})
    assert answer.status_code == 400, answer.text
    assert "passwd" not in answer.text


def test_a_header_with_a_line_break_is_refused(lite, endpoint):
    channel = {"type": "rest-hook", "endpoint": endpoint.url, "header": ["X: a\r\nHost: b"]}
    assert lite.refused({"criteria": "Observation?", "channel": channel}).status_code in (400, 422)


def test_a_topic_needs_a_content_level_and_takes_filters_of_its_own_type(lite, endpoint):
    def topic(filters=(), content=(), payload="application/fhir+json", criteria=TOPIC):
        channel = {"type": "rest-hook", "endpoint": endpoint.url, "payload": payload}
        if content:
            levels = [{"url": BACKPORT + "backport-payload-content", "valueCode": level} for level in content]
            channel["_payload"] = {"extension": levels}
        made = {"criteria": criteria, "channel": channel}
        if filters:
            named = [{"url": BACKPORT + "backport-filter-criteria", "valueString": text} for text in filters]
            made["_criteria"] = {"extension": named}
        return lite.refused(made).status_code

    assert topic(content=["id-only"]) == 201
    assert topic(content=["id-only"], filters=["Encounter?patient=Patient/ann"]) == 201
    assert topic() == 400
    assert topic(content=["everything"]) == 400
    assert topic(content=["id-only"], filters=["Observation?patient=Patient/ann"]) == 400
    assert topic(content=["id-only"], filters=["Encounter?nonsense=1"]) == 400
    assert topic(criteria="Encounter?", content=["id-only"]) == 400
    assert topic(criteria="Encounter?", filters=["Encounter?status=planned"]) == 400


def test_a_role_that_writes_no_subscriptions_gets_none(lite, endpoint):
    made = {"criteria": "Observation?", "channel": {"type": "rest-hook", "endpoint": endpoint.url}}
    assert lite.refused(made, lite.world.token("patient", patient="ann")).status_code == 403
    researcher = lite.world.token("researcher", project="p")
    assert lite.refused(made, researcher).status_code == 403
    assert lite.refused(made, lite.world.token("sender", institution="north")).status_code == 403


def test_a_subscription_in_a_transaction_is_checked_like_any_other(lite, endpoint):
    bad = {"resourceType": "Subscription", "status": "requested", "reason": "t", "criteria": "Nonsense?"}
    bad["channel"] = {"type": "rest-hook", "endpoint": endpoint.url}
    request = {"method": "POST", "url": "Subscription"}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": bad, "request": request}],
    }
    answer = lite.world.client.send("POST", "/fhir", lite.north, bundle)
    assert answer.status_code == 400
    assert "Bundle.entry[0].resource.criteria" in answer.text


def test_as_shipped_nothing_may_be_sent_anywhere():
    with pytest.raises(BadRequest):
        Endpoints(Settings(data="x").subscription_endpoints).target("https://hub.example/")


@pytest.mark.parametrize(
    ("allowed", "url", "is_fit"),
    [
        ("https://hub.example", "https://hub.example/x", True),
        ("https://hub.example", "https://HUB.example/x", True),
        ("https://hub.example", "http://hub.example/x", False),
        ("https://hub.example", "https://hub.example:8443/x", False),
        ("https://hub.example", "https://hub.example.evil.example/", False),
        ("https://hub.example", "https://hub.example@evil.example/", False),
        ("https://hub.example", "https://evil.example\\@hub.example/", False),
        ("https://hub.example", "https://user:pw@hub.example/", False),
        ("https://hub.example/in", "https://hub.example/in", True),
        ("https://hub.example/in", "https://hub.example/in/a?b=c", True),
        ("https://hub.example/in", "https://hub.example/inner", False),
        ("https://hub.example/in", "https://hub.example/in/../out", False),
        ("https://hub.example/in", "https://hub.example/in/%2e%2e/out", False),
        ("https://hub.example/in", "https://hub.example/in/%2E%2E%2fout", False),
        ("https://*.hub.example", "https://a.hub.example/", True),
        ("https://*.hub.example", "https://hub.example/", False),
        ("https://*.hub.example", "https://evilhub.example/", False),
        ("https://*", "https://anything.example/", True),
        ("https://*", "http://anything.example/", False),
        ("https://hub.example", "ftp://hub.example/", False),
        ("https://hub.example", "https://hub.example/\r\nX: y", False),
        ("https://hub.example", "https://hub.example/#x", False),
        ("https://[::1]:8443", "https://[::1]:8443/x", True),
    ],
)
def test_the_allow_list(allowed, url, is_fit):
    try:
        Endpoints([allowed]).target(url)
        found = True
    except BadRequest:
        found = False
    assert found == is_fit


@pytest.mark.parametrize(
    "entry", ["hub.example", "https://", "https://a*b.example", "https://*.*.example", "ftp://x"]
)
def test_a_wrong_entry_of_the_allow_list_stops_the_start(entry):
    with pytest.raises(SettingsError, match="subscription_endpoints"):
        Endpoints([entry])


@pytest.mark.parametrize(
    ("address", "by_name", "by_wildcard"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True, True),
        ("10.1.2.3", True, False),
        ("127.0.0.1", True, False),
        ("::1", True, False),
        ("192.168.0.1", True, False),
        ("100.64.0.1", True, False),
        ("fd00::1", True, False),
        ("::ffff:10.0.0.1", True, False),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("2002:a9fe:a9fe::1", False, False),  # the same by 6to4
        ("64:ff9b::a9fe:a9fe", False, False),  # and by NAT64
        ("2002:a00:1::1", True, False),
        ("64:ff9b::808:808", True, True),
        ("fe80::1%eth0", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
    ],
)
def test_addresses(address, by_name, by_wildcard):
    assert Endpoints(["https://hub.example"]).target("https://hub.example/").may_use(address) == by_name
    assert Endpoints(["https://*"]).target("https://hub.example/").may_use(address) == by_wildcard


def test_every_topic_of_the_table_is_one_that_the_server_can_tell_of(lite, endpoint):
    reading = lite.world.gate.feed.reading
    for url, topic in topics().items():
        content = {"extension": [{"url": BACKPORT + "backport-payload-content", "valueCode": "empty"}]}
        channel = {"type": "rest-hook", "endpoint": endpoint.url, "payload": "application/fhir+json"}
        definition = reading.read({"criteria": url, "channel": {**channel, "_payload": content}})
        assert definition.query.type == topic.resource
        assert set(topic.on) <= {"create", "update"}
