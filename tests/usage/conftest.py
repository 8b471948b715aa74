"""A real store in a temporary folder, the gate around it, the app, tokens, and a client of the app."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from hdg import ingest_api
from hdg.fhir import json
from hdg.gateway import Gateway
from hdg.management import identity
from hdg.management.consent import resource as consents
from hdg.management.keys import KeyRing
from hdg.management.store import Store
from hdg.settings import Settings
from hdg.usage.access import Gate
from hdg.usage.fhir_api.app import create_app

BASE = "https://gateway.example/fhir"
START_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000


class Client:
    """Sends one request at a time to an ASGI app, without a socket."""

    def __init__(self, app):
        self._runner = asyncio.Runner()
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://gateway.example")

    def request(self, method, path, token=None, headers=None, **rest):
        sent = dict(headers or {})
        if token:
            sent["authorization"] = f"Bearer {token}"
        return self._runner.run(self._http.request(method, path, headers=sent, **rest))

    def get(self, path, token=None, **rest):
        return self.request("GET", path, token, **rest)

    def send(self, method, path, token, resource=None, **headers):
        """A write: the resource as FHIR JSON; ``if_match="…"`` becomes the header If-Match."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if resource is None:
            return self.request(method, path, token, sent)
        sent.setdefault("content-type", "application/fhir+json")
        return self.request(method, path, token, sent, content=json.dumps(resource))

    def gather_all(self, requests):
        """Many requests at once: (method, path, token, headers, content) → responses."""

        async def all_of_them():
            calls = (
                self._http.request(
                    method, path, headers={**headers, "authorization": f"Bearer {token}"}, content=content
                )
                for method, path, token, headers, content in requests
            )
            return await asyncio.gather(*calls)

        return self._runner.run(all_of_them())

    def gather(self, requests):
        """Many GETs at once: (path, token) pairs → responses."""

        async def all_of_them():
            return await asyncio.gather(
                *(
                    self._http.get(path, headers={"authorization": f"Bearer {token}"})
                    for path, token in requests
                )
            )

        return self._runner.run(all_of_them())

    def close(self):
        self._runner.run(self._http.aclose())
        self._runner.close()


class World:
    """Two patients with three Observations each: ``ann`` (sent by north) and ``bob`` (sent by south)."""

    def __init__(self, folder, *, filled=None, **settings):
        """``filled``: a closed world with the same settings, to begin with a copy of."""
        if filled is not None:
            shutil.copytree(filled.settings.data, folder)
        self.now_us = START_US if filled is None else filled.now_us
        self.step_us = 1_000_000
        self.settings = Settings(data=folder, base_url=BASE, institution="north", **settings)
        self.keys = KeyRing.open(folder / "keys")
        self.store = Store.open(self.settings, self.keys, self.clock)
        self.gate = Gate.open(self.settings, self.keys, self.store, self.clock)
        self.app = create_app(self.gate, self.settings)
        self.gateway = Gateway(self.settings, self.keys, self.store, self.clock)
        ingest_api.mount(self.app, self.gate, self.gateway)
        self.client = Client(self.app)
        if filled is None:
            self._fill()

    def _fill(self):
        self.put(patient("ann", "Eve", "Featherstonehaugh"), "north", "ann")
        self.put(patient("bob", "Otto", "Cholmondeley"), "south", "bob")
        for number in range(3):
            self.put(observation(f"ann-{number}", "ann", "718-7", f"2024-01-0{number + 1}"), "north", "ann")
            self.put(observation(f"bob-{number}", "bob", "718-7", f"2024-01-0{number + 1}"), "south", "bob")

    def clock(self):
        self.now_us += self.step_us
        return self.now_us

    def put(self, resource, institution, patient_id):
        work = lambda session: session.put(resource, institution=institution, patient=patient_id)  # noqa: E731
        return self.store.submit(work).result(120)

    def delete(self, type_, id_, institution):
        return self.store.submit(lambda session: session.delete(type_, id_, institution=institution)).result(
            120
        )

    def token(self, role, *, user="u1", institution="", patient="", purpose="", project=""):
        return identity.mint(
            self.keys.token_key,
            role=role,
            user=user,
            institution=institution,
            patient=patient,
            purpose=purpose,
            project=project,
            at_us=START_US,
            lifetime_s=24 * 3600,
        )

    def grant(self, patient_id, *actors, types=(), purposes=("TREAT",), hours=1000):
        """An active Consent of the patient; returns the resource, which ``revoke`` takes."""
        until = START_US + hours * HOUR_US
        consent = consents.grant(patient_id, actors, purposes, types, from_us=START_US, until_us=until)
        self.put(consent, "north", patient_id)
        return consent

    def revoke(self, consent):
        self.put(consents.revoked(consent), "north", consent["patient"]["reference"].removeprefix("Patient/"))

    def close(self):
        self.client.close()
        self.store.close()


def patient(id_, given, family):
    return {
        "resourceType": "Patient",
        "id": id_,
        "identifier": [{"system": "urn:example:mrn", "value": f"MRN-{id_}"}],
        "name": [{"family": family, "given": [given]}],
        "birthDate": "1970-01-01",
    }


def observation(id_, patient_id, code, day):
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{patient_id}"},
        "effectiveDateTime": day,
        "valueQuantity": {"value": 5, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL"},
    }


@contextmanager
def database_of(request, kind):
    """The URL of a database of that kind with nothing in it; on PostgreSQL a schema of its own."""
    if kind == "sqlite":
        yield None
        return
    with request.getfixturevalue("postgres_schemas").one() as url:
        yield url


def _made(folder, **settings):
    made = World(folder, **settings)
    made.observation = observation  # tests cannot import this module: other folders have a conftest too
    made.patient = patient
    return made


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """The world on SQLite, made once: the others begin as copies of it."""
    made = World(tmp_path_factory.mktemp("world") / "data")
    made.close()
    return made


@pytest.fixture
def world(tmp_path, filled):
    made = _made(tmp_path / "data", filled=filled)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def make_world(request, tmp_path):
    """Makes the world on either database, with settings of the test's own; ``keys_of``: a world whose keys it has."""
    made, databases = [], ExitStack()

    def make(keys_of=None, **settings):
        url = databases.enter_context(database_of(request, request.param))
        folder = tmp_path / f"data{len(made)}"
        if keys_of is not None:
            shutil.copytree(keys_of.settings.data / "keys", folder / "keys")
        made.append(_made(folder, database_url=url, **settings))
        return made[-1]

    with databases:
        yield make
        for world in made:
            world.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, tmp_path):
    """The same world on either database."""
    with database_of(request, request.param) as url:
        made = _made(
            tmp_path / "data",
            filled=request.getfixturevalue("filled") if url is None else None,
            database_url=url,
        )
        yield made
        made.close()
