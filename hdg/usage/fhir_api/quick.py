"""Routes that see at a glance that a path is none of theirs.

Starlette asks one route after the other, and each runs a pattern: of seventy, those before the right one took a tenth
of a read. A path of theirs has as many slashes as the route's own, and its last part, where that is no parameter.
"""

from __future__ import annotations

from starlette.convertors import PathConvertor
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

__all__ = ["Quick", "quick"]


class Quick(Route):
    """A route as it was made, but for the glance."""

    def __init__(self, route: Route) -> None:
        self.__dict__.update(vars(route))
        self._slashes = route.path_format.count("/")
        last = route.path_format.rpartition("/")[2]
        self._end = "" if "{" in last else f"/{last}"

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Route has it."""
        if scope["type"] == "http" and not scope.get("root_path"):
            path = scope["path"]
            if path.count("/") != self._slashes or not path.endswith(self._end):
                return Match.NONE, {}
        return super().matches(scope)


def quick(route: BaseRoute) -> BaseRoute:
    """The same route, quick if its parameters hold no slashes."""
    if type(route) is not Route:
        return route
    is_open = any(isinstance(convertor, PathConvertor) for convertor in route.param_convertors.values())
    return route if is_open else Quick(route)
