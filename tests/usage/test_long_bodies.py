"""What is long keeps the event loop from nobody else: it is converted, validated and laid out on a thread."""

from __future__ import annotations

import threading

import pytest

from hdg.fhir import json, xml
from hdg.usage import access
from hdg.usage.fhir_api import formats, wire

XML = "application/fhir+xml"
JSON = "application/fhir+json"


@pytest.fixture
def threads(monkeypatch):
    """Where each of the steps that take long was done, by name."""
    seen = []

    def watch(module, name):
        done = getattr(module, name)

        def watched(*given):
            seen.append((name, threading.current_thread() is threading.main_thread()))
            return done(*given)

        monkeypatch.setattr(module, name, watched)

    watch(access, "draft")
    watch(formats, "_to_json")
    watch(formats, "_to_xml")
    watch(wire, "pretty")
    return seen


@pytest.mark.parametrize(("count", "on_the_loop"), [(3000, False), (1, True)])
def test_what_is_long_is_done_beside_the_event_loop_and_what_is_short_is_not(
    world, threads, count, on_the_loop
):
    token = world.token("clinician", institution="north")
    names = [{"family": f"Long{number}", "given": ["a", "b"]} for number in range(count)]
    patient = {"resourceType": "Patient", "name": names}
    made = world.client.request(
        "POST", "/fhir/Patient", token, {"content-type": JSON}, content=json.dumps(patient)
    )
    assert made.status_code == 201
    place = f"/fhir/Patient/{made.json()['id']}"
    read = world.client.get(f"{place}?_pretty=true", token)
    assert read.json()["name"] == names
    again = world.client.request(
        "PUT",
        place,
        token,
        {"content-type": XML, "accept": XML},
        content=xml.dumps({**made.json(), "active": True}),
    )
    assert again.status_code == 200
    assert xml.loads(again.content)["active"] is True
    steps = [name for name, _ in threads]
    assert steps == ["draft", "pretty", "_to_json", "draft", "_to_xml"]
    of_json = [is_main for (name, is_main) in threads[:3]]  # an XML body's length is not known before
    assert of_json == [on_the_loop] * 3
