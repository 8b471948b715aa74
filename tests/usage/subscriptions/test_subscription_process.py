"""A real gateway process: kill -9 between commit and delivery, two processes, websockets over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from bench.measure import start_gateway
from endpoint import Endpoint
from hdg import operator
from hdg.settings import Settings
from receiver import until

TOPIC = "https://hdg.dev/fhir/SubscriptionTopic/encounter-start"
PAYLOAD_CONTENT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content"
LAB = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}


class Process:
    """``hdg serve`` on a data folder; a clinician of institution local."""

    def __init__(self, data, **environment):
        self.data = data
        self.environment = {
            "HDG_SUBSCRIPTION_BACKOFF_S": "0.05",
            "HDG_SUBSCRIPTION_BACKOFF_MAX_S": "0.2",
            "HDG_SUBSCRIPTION_ATTEMPTS": "1000",
            **environment,
        }
        self.running = None
        self.start()
        self.token = self.mint("c1")

    def mint(self, user, institution="local"):
        settings = Settings(data=self.data)
        return operator.mint_token(settings, role="clinician", hours=1, user=user, institution=institution)

    def start(self):
        self.running = start_gateway(self.data, **self.environment)

    def kill(self):
        self.running.process.send_signal(signal.SIGKILL)
        self.running.process.wait(120)
        self.running.process.stdout.close()

    def stop(self):
        self.running.process.terminate()
        self.running.process.wait(120)
        self.running.process.stdout.close()

    def ask(self, method, path, resource=None, token=None):
        connection = http.client.HTTPConnection(*self.running.http, timeout=120)
        headers = {"authorization": f"Bearer {token or self.token}", "content-type": "application/fhir+json"}
        body = None if resource is None else json.dumps(resource)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        assert answer.status < 300, (answer.status, text)
        return json.loads(text) if text else None

    def subscribe(self, criteria="Observation?code=http://loinc.org|718-7", **channel):
        channel = {"type": "rest-hook", **channel}
        made = {"resourceType": "Subscription", "status": "requested", "reason": "t", "criteria": criteria}
        return self.ask("POST", "/fhir/Subscription", {**made, "channel": channel})["id"]

    def until_active(self, id_):
        until(lambda: self.ask("GET", f"/fhir/Subscription/{id_}")["status"] == "active")

    def patient(self):
        self.ask("PUT", "/fhir/Patient/local.p1", {"resourceType": "Patient", "id": "local.p1"})

    def observe(self, number):
        id_ = f"local.x{number}"
        made = {"resourceType": "Observation", "id": id_, "status": "final", "code": LAB}
        made["subject"] = {"reference": "Patient/local.p1"}
        self.ask("PUT", f"/fhir/Observation/{id_}", made)

    def socket(self, token=None):
        host, port = self.running.http
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return connect(
            f"ws://{host}:{port}/fhir/websocket", additional_headers=headers, proxy=None, open_timeout=120
        )


def allowed(*endpoints):
    return json.dumps([f"http://127.0.0.1:{each.port}/" for each in endpoints])


def database(request, kind, name):
    if kind == "sqlite":
        return {}
    import psycopg

    uri = request.getfixturevalue("postgres_uri")
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = uri.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")
    return {"HDG_DATABASE_URL": url}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_kill_9_between_commit_and_delivery_loses_nothing(tmp_path, request, kind):
    endpoint = Endpoint()
    urls = database(request, kind, "subscription_kill")
    process = Process(tmp_path / "data", HDG_SUBSCRIPTION_ENDPOINTS=allowed(endpoint), **urls)
    try:
        id_ = process.subscribe(endpoint=endpoint.url, payload="application/fhir+json")
        process.until_active(id_)
        process.patient()
        process.observe(0)
        endpoint.wait_for(1)
        endpoint.hold.clear()  # the next one is under way and has no answer
        for number in range(1, 6):
            process.observe(number)
        process.kill()
        endpoint.hold.set()
        process.start()
        until(lambda: "/hook/Observation/local.x5" in endpoint.places)
        told = [place.rpartition("/")[2] for place in endpoint.places]
        assert list(dict.fromkeys(told)) == [f"local.x{number}" for number in range(6)]
        assert told == sorted(told)  # a repeat comes before what comes behind it
        assert len(told) <= 7  # at most what was under way came twice
    finally:
        process.stop()
        endpoint.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_two_processes_one_delivers_and_the_other_takes_over(tmp_path, request, kind):
    endpoint = Endpoint()
    urls = database(request, kind, "subscription_two")
    first = Process(tmp_path / "data", HDG_SUBSCRIPTION_ENDPOINTS=allowed(endpoint), **urls)
    second = Process(tmp_path / "data", HDG_SUBSCRIPTION_ENDPOINTS=allowed(endpoint), **urls)
    try:
        id_ = second.subscribe(endpoint=endpoint.url, payload="application/fhir+json")
        second.until_active(id_)
        second.patient()
        for number in range(4):
            (first, second)[number % 2].observe(number)
        endpoint.wait_for(4)
        first.kill()
        for number in range(4, 8):
            second.observe(number)
        until(lambda: "/hook/Observation/local.x7" in endpoint.places)
        told = [place.rpartition("/")[2] for place in endpoint.places]
        assert list(dict.fromkeys(told)) == [f"local.x{number}" for number in range(8)]
        assert len(told) <= 9
    finally:
        second.stop()
        endpoint.close()


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    made = Process(tmp_path_factory.mktemp("socket") / "data")
    made.patient()
    yield made
    made.stop()


def test_r4_websocket_binds_pings_and_keeps_what_comes_while_it_is_away(process):
    id_ = process.subscribe(type="websocket")
    with process.socket(process.token) as socket:
        socket.send(f"bind {id_}")
        assert socket.recv(120) == f"bound {id_}"
        process.until_active(id_)
        process.observe(1)
        assert socket.recv(120) == f"ping {id_}"
    process.observe(2)
    with process.socket(process.token) as socket:
        socket.send(f"bind {id_}")
        assert [socket.recv(120), socket.recv(120)] == [f"bound {id_}", f"ping {id_}"]


def test_what_a_broken_websocket_missed_is_sent_again_on_request(process):
    id_ = process.subscribe(type="websocket")
    with process.socket(process.token) as socket:
        socket.send(f"bind {id_}")
        assert socket.recv(120) == f"bound {id_}"
        process.until_active(id_)
        for number in (11, 12):  # others than those before
            process.observe(number)
            assert socket.recv(120) == f"ping {id_}"
        asked = {
            "resourceType": "Parameters",
            "parameter": [{"name": "eventsSinceNumber", "valueString": "2"}],
        }
        process.ask("POST", f"/fhir/Subscription/{id_}/$resend", asked)
        with pytest.raises(ConnectionClosed):  # bind again
            socket.recv(120)
    with process.socket(process.token) as socket:
        socket.send(f"bind {id_}")
        assert [socket.recv(120), socket.recv(120)] == [f"bound {id_}", f"ping {id_}"]
        with pytest.raises(TimeoutError):
            socket.recv(0.5)


@pytest.mark.parametrize("first", ["bind {id}", "hello", "bind-with-token x", "bind-with-token"])
def test_a_connection_without_a_token_or_with_a_wrong_word_is_closed(process, first):
    id_ = process.subscribe(type="websocket")
    with process.socket() as socket:
        socket.send(first.format(id=id_))
        with pytest.raises(ConnectionClosed):
            socket.recv(120)


def test_nobody_elses_subscription_can_be_bound(process):
    id_ = process.subscribe(type="websocket")
    for user, institution in (("c2", "local"), ("c1", "elsewhere")):
        with process.socket(process.mint(user, institution)) as socket:
            socket.send(f"bind {id_}")
            with pytest.raises(ConnectionClosed):
                socket.recv(120)


def test_an_invalid_access_token_gets_no_connection(process):
    with pytest.raises(InvalidStatus) as refused, process.socket("nonsense"):
        pass
    assert refused.value.response.status_code == 403


def test_a_connection_that_breaks_off_costs_the_next_one_nothing(process):
    id_ = process.subscribe(type="websocket")
    for number in range(30, 33):
        with process.socket(process.token) as socket:
            socket.send(f"bind {id_}")
            assert socket.recv(120) == f"bound {id_}"
            socket.socket.shutdown(2)
        process.observe(number)
    with process.socket(process.token) as socket:
        socket.send(f"bind {id_}")
        assert socket.recv(120) == f"bound {id_}"
        assert socket.recv(120) == f"ping {id_}"
    assert process.ask("GET", f"/fhir/Subscription/{id_}")["status"] == "active"


def test_the_newest_bind_wins(process):
    id_ = process.subscribe(type="websocket")
    with process.socket(process.token) as old, process.socket(process.token) as new:
        old.send(f"bind {id_}")
        assert old.recv(120) == f"bound {id_}"
        process.until_active(id_)
        new.send(f"bind {id_}")
        assert new.recv(120) == f"bound {id_}"
        process.observe(10)
        assert new.recv(120) == f"ping {id_}"
        with pytest.raises(ConnectionClosed):
            old.recv(120)


def test_a_binding_token_binds_a_topic_and_bundles_come(process):
    content = {"extension": [{"url": PAYLOAD_CONTENT, "valueCode": "id-only"}]}
    id_ = process.subscribe(TOPIC, type="websocket", payload="application/fhir+json", _payload=content)
    given = process.ask("GET", f"/fhir/Subscription/{id_}/$get-ws-binding-token")["parameter"]
    named = {part["name"]: next(v for k, v in part.items() if k.startswith("value")) for part in given}
    host, port = process.running.http
    assert named["subscription"] == id_
    assert named["websocket-url"] == f"ws://{host}:{port}/fhir/websocket"
    encounter = {
        "resourceType": "Encounter",
        "id": "local.e1",
        "status": "in-progress",
        "class": {"code": "AMB"},
        "subject": {"reference": "Patient/local.p1"},
    }
    with connect(named["websocket-url"], proxy=None, open_timeout=120) as socket:
        socket.send(f"bind-with-token {named['token']}")
        assert socket.recv(120) == f"bound {id_}"
        handshake = json.loads(socket.recv(120))
        assert kind(handshake) == "handshake"
        process.ask("PUT", "/fhir/Encounter/local.e1", encounter)
        event = json.loads(socket.recv(120))
        assert kind(event) == "event-notification"
        assert len(event["entry"]) == 1  # id-only
        assert f"http://{host}:{port}/fhir/Encounter/local.e1" in json.dumps(event)


def kind(bundle):
    parameters = bundle["entry"][0]["resource"]["parameter"]
    return next(part["valueCode"] for part in parameters if part["name"] == "type")
