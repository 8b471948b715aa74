"""Search-parameter expressions as closures over JSON, resolved against the R4 definitions once.

R4 searchparameter-registry.html. Nearly all R4 expressions are unions of plain paths with ``as(T)``,
``where(x='y')`` and a final ``where(resolve() is T)``. Those become chains of dict look-ups keyed by the
first element, so that an element that a resource lacks costs nothing; the few others go through
hdg.fhir.path. A test holds both equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hdg.fhir import definitions
from hdg.management.store.extensions import extension_url, extension_values

__all__ = ["Route", "routes"]

Items = list[Any]
Walk = Callable[[Items], Items]

_STEP = re.compile(
    r"\.(?:(?P<name>[a-z]\w*)(?![\w(])"
    r"|where\((?P<field>[a-z]\w*) ?= ?'(?P<literal>[^']*)'\)"
    r"|(?:as|ofType)\((?P<cast>\w+)\))"
)
_TARGET = re.compile(r"\.where\(resolve\(\) is ([A-Z]\w*)\)$")
_CAST = re.compile(r"\(?([\w.]+) as (\w+)\)?")


@dataclass(frozen=True, slots=True)
class Route:
    """One alternative of an expression: begins at any of ``keys`` ('' is the resource itself), then walks on.

    ``walk`` None: the values at ``keys`` are the result. ``text`` is equal for equal routes. ``type`` is the
    type of the result ('' when it has several). ``target``: only references to this type count (a final
    ``where(resolve() is T)``, which is left to whoever uses the route), '' for no such limit.
    """

    keys: tuple[str, ...]
    walk: Walk | None
    text: str
    type: str
    target: str = ""

    def of(self, item: dict[str, Any]) -> Items:
        """All values that this alternative selects from ``item``."""
        found: Items = []
        for key in self.keys:
            value = item if key == "" else item.get(key)
            if type(value) is list:
                found += value
            elif value is not None:
                found.append(value)
        return found if self.walk is None or not found else self.walk(found)


def routes(type_name: str, expression: str) -> list[Route] | None:
    """The alternatives of ``expression`` on a resource or backbone type.

    None when the subset lacks something.
    """
    found = []
    for part in expression.split("|"):
        route = _route(type_name, part.strip())
        if route is None:
            return None
        found.append(route)
    return found


def _route(type_name: str, text: str) -> Route | None:
    url = extension_url(text)
    if url:
        return Route(("extension",), extension_values(url), text, "")
    path = _CAST.sub(r"\1.as(\2)", text)
    root = type_name.partition(".")[0]
    if path in (type_name, root):
        return Route(("",), None, "", type_name)
    for prefix in (f"{type_name}.", f"{root}.", "Resource.", "DomainResource."):
        if path.startswith(prefix):
            path = path.removeprefix(prefix)
            break
    target = _TARGET.search(path)
    if target is not None:
        path = path[: target.start()]
    steps, final = _steps(type_name, "." + path)
    if not steps or not isinstance(steps[0], tuple):
        return None
    return Route(steps[0], _chain(steps[1:]), path, final, target[1] if target else "")


_Step = tuple[str, ...] | Walk


def _steps(type_name: str, path: str) -> tuple[list[_Step], str]:
    """The steps of a path and the type it ends in; no steps when the subset lacks something."""
    steps: list[_Step] = []
    current, position = type_name, 0
    choice: definitions.ElementInfo | None = None
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            return [], ""
        position = match.end()
        if match["name"]:
            info = definitions.element_info(current, match["name"]) if current else None
            if info is None:
                return [], ""
            steps.append(tuple(name for name, kind in info.definition.json_names() if kind in info.types))
            choice = info if len(info.types) > 1 else None
            current = "" if choice else info.type
        elif match["cast"]:
            if not _cast(steps, choice, match["cast"]):
                return [], ""
            current, choice = match["cast"], None
        else:
            steps.append(_where(match["field"], match["literal"]))
    return steps, current


def _cast(steps: list[_Step], choice: definitions.ElementInfo | None, cast: str) -> bool:
    """Narrows the last step to one type of its choice; a cast of anything else keeps it as it is."""
    if choice is None:
        return True
    names = [name for name, kind in choice.definition.json_names() if kind.lower() == cast.lower()]
    if names:
        steps[-1] = tuple(names)
    return bool(names)


def _chain(steps: list[_Step]) -> Walk | None:
    walks = [_down(step) if isinstance(step, tuple) else step for step in steps]
    if not walks:
        return None
    if len(walks) == 1:
        return walks[0]

    def walk(items: Items) -> Items:
        for each in walks:
            items = each(items)
            if not items:
                break
        return items

    return walk


def _down(keys: tuple[str, ...]) -> Walk:
    def walk(items: Items) -> Items:
        found: Items = []
        for item in items:
            if type(item) is dict:
                for key in keys:
                    value = item.get(key)
                    if type(value) is list:
                        found += value
                    elif value is not None:
                        found.append(value)
        return found

    return walk


def _where(field: str, literal: str) -> Walk:
    return lambda items: [item for item in items if type(item) is dict and item.get(field) == literal]
