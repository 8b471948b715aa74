"""The world of the usage tests on either database, an endpoint, and a dispatcher between them."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from pathlib import Path

import pytest

from endpoint import Endpoint
from hdg.usage.subscriptions.dispatcher import Dispatcher
from receiver import kept_port, until

_spec = importlib.util.spec_from_file_location("usage_world", Path(__file__).parents[1] / "conftest.py")
usage_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(usage_world)

FAST = {"subscription_backoff_s": 0.02, "subscription_backoff_max_s": 0.05, "subscription_timeout_s": 60}


class Site:
    """A world whose clinician of north subscribes; the clock is a plain one, for pauses are measured by it."""

    def __init__(self, world):
        self.world = world
        self.north = world.token("clinician", user="n1", institution="north")
        self.dispatcher = None

    def subscribe(self, endpoint, criteria="Observation?code=http://loinc.org|718-7", token=None, **more):
        channel = {"type": "rest-hook", "endpoint": endpoint, **more.pop("channel", {})}
        resource = {
            "resourceType": "Subscription",
            "status": "requested",
            "reason": "test",
            "criteria": criteria,
            "channel": channel,
            **more,
        }
        answer = self.world.client.send("POST", "/fhir/Subscription", token or self.north, resource)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def refused(self, resource, token=None):
        full = {"resourceType": "Subscription", "status": "requested", "reason": "test", **resource}
        return self.world.client.send("POST", "/fhir/Subscription", token or self.north, full)

    def resource(self, id_):
        return self.world.client.get(f"/fhir/Subscription/{id_}", self.north).json()

    def status(self, id_):
        return self.resource(id_)["status"]

    def until_status(self, id_, status):
        until(lambda: self.status(id_) == status)

    def change(self, id_, token=None, **elements):
        resource = {**self.resource(id_), **elements}
        resource.pop("error", None)
        return self.world.client.send("PUT", f"/fhir/Subscription/{id_}", token or self.north, resource)

    def observe(self, id_, patient="ann", code="718-7", institution="north", **more):
        self.world.put(
            {**self.world.observation(id_, patient, code, "2024-02-02"), **more}, institution, patient
        )

    def start(self):
        self.dispatcher = Dispatcher(self.world.gate.feed, self.world.settings)
        self.dispatcher.start()

    def stop(self):
        if self.dispatcher is not None:
            self.dispatcher.stop()
            self.dispatcher = None

    def audited(self):
        """(agent, patient) of the audit events, oldest first."""
        from sqlalchemy import text

        with self.world.store.engine.connect() as connection:
            rows = connection.execute(text("SELECT agent, patient FROM audit_event ORDER BY at_us"))
            return [tuple(row) for row in rows]


@pytest.fixture
def endpoints():
    """Three of them; all may be sent to."""
    with ExitStack() as kept:  # a port that is listened on again later is nobody else's meanwhile
        made = [Endpoint(port=kept.enter_context(kept_port())) for _ in range(3)]
        yield made
        for each in made:
            each.close()


@pytest.fixture
def endpoint(endpoints):
    return endpoints[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request, tmp_path, endpoints):
    yield from _site(request, tmp_path, request.param, endpoints)


@pytest.fixture
def lite(request, tmp_path, endpoints):
    """The same on SQLite only."""
    yield from _site(request, tmp_path, "sqlite", endpoints)


@pytest.fixture
def make_site(request, tmp_path, endpoints):
    """Makes the site on SQLite, with settings of the test's own; once a test."""
    made = []

    def make(**settings):
        world = usage_world._made(tmp_path / "own", **{**FAST, "subscription_attempts": 3, **settings})
        made.append(Site(world))
        return made[0]

    yield make
    for each in made:
        each.stop()
        each.world.close()


def _site(request, tmp_path, kind, endpoints):
    allowed = tuple(f"http://127.0.0.1:{each.port}/" for each in endpoints)
    with usage_world.database_of(request, kind) as url:
        world = usage_world._made(tmp_path / "data", database_url=url, subscription_endpoints=allowed, **FAST)
        made = Site(world)
        yield made
        made.stop()
        world.close()
