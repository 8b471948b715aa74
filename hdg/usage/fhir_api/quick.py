"""Routes that see at a glance that a path is none of theirs.

Starlette asks one route after the other, and each runs a pattern: of seventy, those before the right one took a tenth
of a read. A path of theirs has as many slashes as the route's own, and its last part, where that is no parameter.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.convertors import PathConvertor
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

__all__ = ["Choice", "Quick", "quick"]

_CHOSEN = "hdg.route"


class Quick(Route):
    """A route as it was made, but for the glance."""

    def __init__(self, route: Route) -> None:
        self.__dict__.update(vars(route))
        self.slashes = route.path_format.count("/")
        last = route.path_format.rpartition("/")[2]
        self.last = "" if "{" in last else last
        """Of its path; '': any."""
        self._end = f"/{self.last}" if self.last else ""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Route has it."""
        if scope["type"] == "http" and not scope.get("root_path"):
            path = scope["path"]
            if path.count("/") != self.slashes or not path.endswith(self._end):
                return Match.NONE, {}
        return super().matches(scope)


def quick(route: BaseRoute) -> BaseRoute:
    """The same route, quick if its parameters hold no slashes."""
    if type(route) is not Route:
        return route
    is_open = any(isinstance(convertor, PathConvertor) for convertor in route.param_convertors.values())
    return route if is_open else Quick(route)


class Choice(BaseRoute):
    """Stands before ``routes`` and hands a request to the first that takes it; to none: then they are asked in turn.

    Only those are asked that might, in their order; found by their number of slashes and their last part.
    """

    path = ""
    """It has none of its own, nor methods."""
    methods: frozenset[str] = frozenset()

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        quicks = [route for route in routes if isinstance(route, Quick)]
        self._found: dict[int, dict[str, list[BaseRoute]]] = {}
        for slashes in {route.slashes for route in quicks}:
            lasts = {route.last for route in quicks if route.slashes == slashes}
            self._found[slashes] = {
                last: [route for route in routes if _may_take(route, slashes, last)] for last in {"", *lasts}
            }

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whole, or not at all."""
        if scope["type"] == "http" and not scope.get("root_path"):
            path: str = scope["path"]
            found = self._found.get(path.count("/"), {})
            for route in found.get(path.rpartition("/")[2]) or found.get("", []):
                match, child = route.matches(scope)
                if match == Match.FULL:
                    return match, {**child, _CHOSEN: route}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By the route that was found."""
        route: BaseRoute = scope[_CHOSEN]
        await route.handle(scope, receive, send)


def _may_take(route: BaseRoute, slashes: int, last: str) -> bool:
    return not isinstance(route, Quick) or (route.slashes == slashes and route.last in ("", last))
