"""What the application's routes answer to is what Starlette's own would; nothing but its answers tells of requests."""

from __future__ import annotations

import itertools

import pytest
from starlette.routing import Match, Route

from hdg.usage.fhir_api.quick import Quick, quick

PARTS = [
    "",
    "fhir",
    "Patient",
    "metadata",
    "x.1-2",
    "$everything",
    "_history",
    "1",
    "_search",
    "ledger",
    "a\n",
    "ü",
]


async def nothing(request):
    return None


def scopes():
    paths = {
        f"/{'/'.join(parts)}" for count in range(1, 5) for parts in itertools.product(PARTS, repeat=count)
    }
    for number, path in enumerate(sorted(paths)):
        yield {"type": "http", "path": path, "method": ("GET", "POST", "DELETE")[number % 3], "headers": []}


def test_a_quick_route_matches_what_it_matched_before(world):
    routes = [route for route in world.app.routes if isinstance(route, Quick)]
    assert len(routes) > 40
    plain = [
        Route(route.path, nothing, methods=route.methods, include_in_schema=route.include_in_schema)
        for route in routes
    ]
    found = 0
    for scope in scopes():
        for route, other in zip(routes, plain, strict=True):
            match, child = route.matches(scope)
            expected, expected_child = other.matches(scope)
            if scope["path"].endswith("\n"):  # which Starlette takes for the end of a path
                continue
            assert match == expected, (route.path, scope["path"])
            assert child.get("path_params") == expected_child.get("path_params")
            found += match != Match.NONE
    assert found > 1_000


def test_a_path_parameter_may_hold_slashes_and_stays_slow():
    route = Route("/files/{rest:path}", nothing)
    assert quick(route) is route
    assert isinstance(quick(Route("/files/{rest}", nothing)), Quick)


def test_under_a_root_path_nothing_is_told_at_a_glance():
    route = quick(Route("/fhir/{type}", nothing))
    scope = {
        "type": "http",
        "path": "/base/fhir/Patient",
        "root_path": "/base",
        "method": "GET",
        "headers": [],
    }
    assert route.matches(scope)[0] == Match.FULL


@pytest.mark.parametrize("name", ["tracing", "metrics", "logs", "auto_configure"])
def test_no_telemetry_is_told_of_requests(world, monkeypatch, name):
    monkeypatch.setattr("fastapi.telemetry._asgi._unconfigured", lambda provider: False)
    assert not world.app._native_telemetry.enabled()
    assert not world.app._telemetry[name]
