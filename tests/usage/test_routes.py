"""No route reaches data past the gate: the routes are read from the app, not listed by hand (DESIGN §1)."""

from __future__ import annotations

import re

import pytest
from starlette.routing import WebSocketRoute

from hdg.usage.access import Gate
from hdg.usage.fhir_api.app import PUBLIC_PATHS
from hdg.usage.fhir_api.quick import Choice

VALUES = {
    "type": "Patient",
    "id": "ann",
    "version": "1",
    "target": "Observation",
    "study": "1.2.3",
    "series": "1.2.3.1",
    "instance": "1.2.3.1.1",
    "frames": "1",
    "tag": "7FE00010",
}
QUERIES = {
    "/fhir": "?_type=Patient",
    "/fhir/": "?_type=Patient",
    "/fhir/_search": "?_type=Patient",
    "/ledger/proof": "?type=Patient&id=ann",
    "/fhir/Subscription/$status": "?id=ann",
    "/fhir/Subscription/$get-ws-binding-token": "?id=ann",
}
PATIENT = '{"resourceType":"Patient","id":"ann"}'
BATCH = '{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/ann"}}]}'
META = '{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"code":"x"}]}}]}'
NOTHING = '{"resourceType":"Parameters"}'
BODIES = {"POST": PATIENT, "PUT": PATIENT, "PATCH": NOTHING}
BODIES_OF = {
    "/fhir": BATCH,
    "/fhir/": BATCH,
    "/fhir/{type}/$lastn": NOTHING,
    "/fhir/{type}/$document": NOTHING,
    "/fhir/{type}/$stats": NOTHING,
    "/fhir/{type}/{id}/$document": NOTHING,
    "/fhir/{type}/{id}/$everything": NOTHING,
    **{
        f"/fhir/Subscription/{{id}}/${name}": NOTHING
        for name in ("status", "events", "resend", "get-ws-binding-token")
    },
    **{f"/fhir/Subscription/${name}": NOTHING for name in ("status", "get-ws-binding-token")},
    "/fhir/{type}/{id}/$meta-add": META,
    "/fhir/{type}/{id}/$meta-delete": META,
}
CONDITIONS = {(method, "/fhir/{type}"): "?_id=ann" for method in ("PUT", "PATCH", "DELETE")}
TAKING = {"/ingest/hl7v2", "/ingest/cda", "/ingest/hl7v3"}
"""Routes that take messages: they authenticate, hand nothing out, and so ask the gate for no data."""


SOCKETS = {"/fhir/websocket"}
"""tests/usage/subscriptions binds to it with, without and with other people's tokens."""


def paths(app):
    """(path template, method) of every route. A kind of route that has no methods (a mount) is a failure."""
    sockets = [route for route in app.router.routes if isinstance(route, WebSocketRoute)]
    assert {route.path for route in sockets} == SOCKETS
    routes = [route for route in app.router.routes if route not in sockets and not isinstance(route, Choice)]
    return [(route.path, method) for route in routes for method in sorted(route.methods)]


def concrete(template, method=""):
    if template == "/fhir/{type}/$lastn":
        return "/fhir/Observation/$lastn?patient=ann&code=718-7"
    if template == "/fhir/{type}/$stats":
        asked = "subject=Patient/ann&system=http://loinc.org&code=718-7&statistic=count"
        return f"/fhir/Observation/$stats?{asked}"
    if template.endswith("$document"):
        return (
            "/fhir/Composition/$document?id=ann"
            if "{id}" not in template
            else "/fhir/Composition/ann/$document"
        )
    if method == "POST" and template in ("/fhir", "/fhir/"):
        return template
    return re.sub(r"{(\w+)[^}]*}", lambda match: VALUES[match[1]], template) + QUERIES.get(template, "")


def test_the_public_routes_are_exactly_the_listed_ones(world):
    public = {
        template
        for template, method in paths(world.app)
        if world.client.request(method, concrete(template)).status_code != 401
    }
    assert public == PUBLIC_PATHS


def test_every_other_route_asks_who_calls_and_then_asks_the_gate_for_data(world, monkeypatch):
    asked = []

    def spied(original):
        async def spy(*arguments, **named):
            asked.append(original.__name__)
            return await original(*arguments, **named)

        return spy

    for name in (
        "read",
        "vread",
        "history",
        "changes",
        "search",
        "everything",
        "document",
        "record",
        "images",
        "proof",
        "write",
        "examined",
    ):
        monkeypatch.setattr(Gate, name, spied(getattr(Gate, name)))
    token = world.token("clinician", institution="north")
    for template, method in paths(world.app):
        asked.clear()
        path = concrete(template, method) + CONDITIONS.get((method, template), "")
        content = BODIES_OF.get(template, BODIES.get(method)) if method in BODIES else None
        body = {} if template.endswith("_search") else {"content": content}
        headers = {"content-type": "application/fhir+json"} if body.get("content") else {}
        answer = world.client.request(method, path, token, headers, **body)
        if template in PUBLIC_PATHS:
            assert asked == []
        elif template in TAKING:
            assert answer.status_code == 403, template
            assert asked == []
        else:
            # What a DELETE of this walk has removed is gone for what comes behind it; it was asked for all the same.
            # There is no Subscription, no Composition and no image: each is asked for like any, and then it is 404.
            is_absent = (
                "/Subscription/" in template
                or template.endswith("$document")
                or (
                    template.startswith("/dicomweb/studies/")
                    and not template.endswith(("/series", "/instances"))
                )
            )
            expected = (404,) if is_absent else (200, 201, 204, 410)
            assert answer.status_code in expected, (method, template)
            assert len(asked) == 1, (method, template)


def test_public_routes_hold_nothing_of_any_patient(world):
    for template in PUBLIC_PATHS:
        answer = world.client.get(template)
        assert answer.status_code == 200, template
        for secret in ("ann", "bob", "Featherstonehaugh", "MRN-"):
            assert not re.search(rf"\b{secret}", answer.text), (template, secret)


def test_health_readiness_and_checkpoint_answer_in_plain_text(world):
    assert world.client.get("/healthz").text == "ok\n"
    assert world.client.get("/readyz").text.startswith("ok\nhdg_disk_free_bytes ")
    checkpoint = world.client.get("/ledger/checkpoint")
    assert checkpoint.headers["content-type"].startswith("text/plain")
    assert checkpoint.text.splitlines()[0] == world.settings.log_origin


def test_readyz_says_no_when_the_database_is_gone(world, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def broken():
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(world.store.engine, "connect", broken)
    answer = world.client.get("/readyz")
    assert (answer.status_code, answer.text.splitlines()[0]) == (503, "not ready")


def test_a_proof_verifies_against_the_public_checkpoint(world):
    from hdg.management.ledger.proof import is_included

    token = world.token("clinician", institution="north")
    proof = world.client.get("/ledger/proof?type=Patient&id=ann", token).json()
    root = __import__("base64").b64decode(proof["checkpoint"].splitlines()[2])
    path = [bytes.fromhex(value) for value in proof["path"]]
    assert is_included(proof["leaf"].encode(), proof["index"], proof["size"], path, root)
    assert not is_included(proof["leaf"].encode() + b" ", proof["index"], proof["size"], path, root)
    versioned = world.client.get("/ledger/proof?type=Patient&id=ann&version=1", token).json()
    assert versioned["leaf"] == proof["leaf"]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_the_description_is_served(world, path):
    assert world.client.get(path).status_code == 200


def test_readyz_says_no_when_the_disk_is_nearly_full(world):
    world.store.space.limit_bytes = 1 << 62
    answer = world.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.text.startswith("not ready\nhdg_disk_free_bytes ")
    refused = world.client.request(
        "POST",
        "/ingest/hl7v2",
        world.token("operator"),
        headers={"content-type": "x-application/hl7-v2+er7"},
        content=b"MSH|^~\\&|LAB|NORTH|||20260101||ADT^A01|1|P|2.5\r",
    )
    assert refused.status_code == 503
    assert "nearly full" in refused.text


@pytest.mark.parametrize(
    "place", [{"type": "AuditEvent"}, {"type": "Patient", "id": "bob", "target": "AuditEvent"}]
)
def test_no_route_hands_out_another_s_trail(world, place):
    """Every route that takes a type, asked for AuditEvents of bob by ann and by a clinician who may not see them."""
    world.client.get("/fhir/Patient/bob", world.token("clinician", user="dr-secret", institution="south"))
    trail = world.client.get("/fhir/AuditEvent", world.token("patient", patient="bob")).json()
    (event,) = [entry["resource"]["id"] for entry in trail["entry"]]
    who = [world.token("patient", patient="ann"), world.token("clinician", institution="north")]
    walked = 0
    for template, method in paths(world.app):
        if not place.keys() - {"id"} <= set(re.findall(r"{(\w+)[^}]*}", template)):
            continue
        values = {**VALUES, "id": event, **place}
        path = re.sub(r"{(\w+)[^}]*}", lambda match, known=values: known[match[1]], template)
        for token, query in [
            (token, query) for token in who for query in ("", "?patient=bob", f"?_id={event}")
        ]:
            content = PATIENT if method in BODIES else None
            headers = {"content-type": "application/fhir+json"} if content else {}
            answer = world.client.request(method, path + query, token, headers, content=content)
            assert answer.status_code < 500, (method, path)
            assert "dr-secret" not in answer.text, (method, path)
            assert '"resourceType":"AuditEvent"' not in answer.text, (method, path)
            walked += 1
    assert walked >= 12
