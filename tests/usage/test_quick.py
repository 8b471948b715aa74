"""What the application's routes answer to is what Starlette's own would; nothing but its answers tells of requests."""

from __future__ import annotations

import itertools
import re

import pytest
from starlette.routing import Match, Route

from hdg.usage.fhir_api.quick import Choice, Quick, quick

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


def test_a_choice_takes_what_the_first_of_its_routes_takes_when_they_are_asked_in_turn(world):
    (place,) = [number for number, route in enumerate(world.app.routes) if isinstance(route, Choice)]
    choice, routes = world.app.routes[place], world.app.routes[place + 1 :]
    own = [
        {"type": "http", "path": re.sub(r"{[^}]*}", "x1", route.path), "method": method, "headers": []}
        for route in routes
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    ]
    found = set()
    for asked in [*scopes(), *own, {"type": "http", "path": "", "method": "GET", "headers": []}]:
        matches = ((route, *route.matches(asked)) for route in routes)
        expected = next((each for each in matches if each[1] == Match.FULL), None)
        match, child = choice.matches(asked)
        if expected is None:
            assert match == Match.NONE, asked
        else:
            assert (match, child["hdg.route"]) == (Match.FULL, expected[0]), asked
            assert child["path_params"] == expected[2]["path_params"]
            found.add(expected[0].path)
    assert len(found) > 40


def test_a_choice_takes_no_websocket_and_nothing_under_a_root_path(world):
    choice = next(route for route in world.app.routes if isinstance(route, Choice))
    scope = {"type": "http", "path": "/fhir/Patient", "method": "GET", "headers": []}
    assert choice.matches(scope)[0] == Match.FULL
    assert choice.matches({**scope, "root_path": "/fhir"})[0] == Match.NONE
    assert choice.matches({**scope, "type": "websocket"})[0] == Match.NONE


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
