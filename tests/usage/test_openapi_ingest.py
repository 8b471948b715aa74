"""What the OpenAPI description says of taking data in is what the routes take and answer, as schemathesis asks."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import given

from hdg import device_api, imaging_api, ingest_api
from hdg.devices import Devices
from hdg.imaging import Imaging
from hdg.usage.fhir_api import openapi_ingest
from hdg.usage.fhir_api.openapi import openapi
from tests.described_bodies import CHECKS, asking
from tests.messages import oru

TAKEN = {
    "/ingest/hl7v2": ingest_api.Ingest.types,
    "/ingest/cda": ingest_api._IngestDocuments.types,
    "/ingest/hl7v3": ingest_api._IngestV3.types,
    "/ingest/device": device_api._IngestDevice.types,
}
PATHS = sorted(openapi_ingest.ingest_paths())


@pytest.fixture
def served(world):
    device_api.mount(world.app, world.gate, world.gateway, Devices(world.gateway))
    imaging_api.mount(world.app, world.gate, Imaging(world.gateway))
    return world


def described(path, answer):
    """Holds an answer to the description: its status, and its media type."""
    responses = openapi()["paths"][path]["post"]["responses"]
    assert str(answer.status_code) in responses, (path, answer.status_code)
    kind = answer.headers.get("content-type", "").partition(";")[0]
    content = {name.partition(";")[0] for name in responses[str(answer.status_code)].get("content", {})}
    assert kind in content if answer.content else not kind, (path, answer.status_code, kind)


def test_the_media_types_of_each_route_are_exactly_those_described():
    paths = openapi()["paths"]
    for path, types in TAKEN.items():
        assert set(paths[path]["post"]["requestBody"]["content"]) == types, path


def test_every_route_that_takes_data_is_described(served):
    taking = {
        route.path
        for route in served.app.router.routes
        if route.path.startswith(("/ingest/", "/dicomweb/")) and "POST" in route.methods
    }
    assert taking == set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_what_schemathesis_asks_of_a_route_is_answered_as_described(served, path):
    who = {"authorization": f"Bearer {served.token('sender', institution='north')}"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", served.app)
    operation = schema[path]["POST"]

    @given(case=operation.as_strategy())
    @asking(8)
    def asked(case):
        case.call_and_validate(headers=who, checks=CHECKS)

    asked()


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({}, oru(), 200),
        ({"accept": "application/fhir+json"}, oru(), 200),
        ({}, b"MSH|^~\\&|A|B|||20260101||XXX^X01|1|P|2.5\r", 422),
        ({"accept": "application/fhir+json"}, b"nonsense", 422),
        ({"accept": "image/png"}, oru(), 406),
        ({}, b"", 400),
        ({"content-type": "image/png"}, oru(), 415),
    ],
)
def test_messages_are_answered_as_described(served, headers, content, status):
    sent = {"content-type": "text/plain", **headers}
    answer = served.client.request("POST", "/ingest/hl7v2", served.token("operator"), sent, content=content)
    assert answer.status_code == status, answer.text
    described("/ingest/hl7v2", answer)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("role", ["", "clinician"])
def test_a_caller_without_right_is_answered_as_described(served, path, role):
    token = served.token(role, institution="north") if role else None
    kind = next(iter(openapi()["paths"][path]["post"]["requestBody"]["content"]))
    answer = served.client.request(
        "POST", path.replace("{study}", "1.2.3"), token, {"content-type": kind}, content=b"x"
    )
    assert answer.status_code == (403 if role else 401)
    described(path, answer)
