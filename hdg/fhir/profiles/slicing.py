"""Which slice an item belongs to, and what slicing asks of all items together.

R4 profiling.html#slicing, #discriminator. A discriminator path is ``$this``, element names, ``extension('url')``,
``resolve()`` and ``ofType(Type)``, joined by points. A match is yes, no or not to be told; what cannot be told is
a warning, and what may belong to the slice counts for its least number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hdg.fhir.path_branches import is_subtype
from hdg.fhir.profiles.rules import Check, Known, bound, conformance, type_codes
from hdg.fhir.profiles.run import Run
from hdg.fhir.profiles.tree import Node
from hdg.fhir.profiles.values import Item, fetcher, fits, is_fixed
from hdg.fhir.references import reference_type

__all__ = ["Nodes", "Slicing"]

JsonObject = dict[str, Any]
Match = Callable[[Item, Run], bool | None]
"""Whether an item belongs to a slice; None: not to be told."""
Values = Callable[[Item, Run], list[Item] | None]
"""The items at a discriminator's path; None: not to be told, for a reference leads elsewhere."""

_STEP = re.compile(
    r"(?P<this>\$this)|(?P<resolve>resolve\(\))|extension\(\s*['\"](?P<url>[^'\"]+)['\"]\s*\)"
    r"|(?:ofType|as)\(\s*(?P<type>[A-Za-z]+)\s*\)|(?P<name>[A-Za-z][A-Za-z0-9]*)(?:\[x\])?"
)
_DEEPEST = 12
_DEFAULT = "@default"


class Nodes(Known, Protocol):
    """What slicing asks of the loaded profiles, beyond what rules do."""

    def node(self, canonical: str) -> Node | None:
        """The tree of a loaded profile; None for R4's own types and what is not loaded."""

    def check_of(self, node: Node, type_: str, label: str) -> Check:
        """The check of items of a type by a node."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """``inner``: the slices of the slice."""

    name: str
    node: Node
    match: Match | None
    inner: Slicing | None


class Slicing:
    """The slices of one element. ``check`` gets all its items below one parent."""

    def __init__(self, node: Node, known: Nodes, label: str) -> None:
        self._known, self._label, self._node = known, label, node
        said = node.definition.get("slicing") or {}
        self._rules = said.get("rules", "open")
        self._is_ordered = bool(said.get("ordered"))
        found = said.get("discriminator") or _implied(node)
        self._discriminators = [(str(one.get("type")), str(one.get("path"))) for one in found]
        self._slices = [
            _Slice(
                name,
                node.slices[name],
                self._match_of(node.slices[name]),
                Slicing(node.slices[name], known, label) if node.slices[name].slices else None,
            )
            for name in node.slices
            if name != _DEFAULT
        ]
        self._default = node.slices.get(_DEFAULT)

    # --- all items ------------------------------------------------------------------------------------------

    def check(self, items: Sequence[Item], place: str, run: Run) -> None:
        """Tells the items apart, checks each by its slice, and counts."""
        members: dict[str, list[Item]] = {one.name: [] for one in self._slices}
        doubtful: Counter[str] = Counter()
        latest, is_past = -1, False
        for item in items:
            number = self._slice_of(item, run, doubtful)
            if number is None:
                is_past = True
                self._unmatched(item, run, is_known=not doubtful)
                continue
            one = self._slices[number]
            members[one.name].append(item)
            if is_past and self._rules == "openAtEnd":
                run.add("error", "structure", item.place, f"slices stand before all others [{self._label}]")
            if self._is_ordered and number < latest:
                text = f"slice {one.name} stands behind one that comes after it [{self._label}]"
                run.add("error", "structure", item.place, text)
            latest = max(latest, number)
            self._check(one.node, item, run)
        for one in self._slices:
            self._count(one, len(members[one.name]), doubtful[one.name], place, run)
            if one.inner is not None:
                one.inner.check(members[one.name], place, run)

    def _check(self, node: Node, item: Item, run: Run) -> None:
        self._known.check_of(node, item.type, self._label)(item, run.at(item, node.name))

    def _slice_of(self, item: Item, run: Run, doubtful: Counter[str]) -> int | None:
        found: int | None = None
        for number, one in enumerate(self._slices):
            is_in = None if one.match is None else one.match(item, run)
            if is_in is None:
                doubtful[one.name] += 1
                text = f"slice {one.name} cannot be told from other items: not checked [{self._label}]"
                run.tell("warning", item.place, text)
            elif is_in and found is None:
                found = number
            elif is_in and found is not None:
                names = f"{self._slices[found].name} and {one.name}"
                text = f"it belongs to the slices {names} at once [{self._label}]"
                run.add("error", "structure", item.place, text)
        return found

    def _unmatched(self, item: Item, run: Run, *, is_known: bool) -> None:
        if self._default is not None:
            if is_known:
                self._check(self._default, item, run)
        elif self._rules == "closed" and is_known:
            run.add("error", "structure", item.place, f"it belongs to none of the slices [{self._label}]")

    def _count(self, one: _Slice, count: int, doubtful: int, place: str, run: Run) -> None:
        """Too few is said where even those that may belong to the slice are too few."""
        least, most = one.node.min, one.node.max
        if count + doubtful < least:
            text = f"slice {one.name}: at least {least} needed, {count} found [{self._label}]"
            run.add("error", "required", place, text)
        if most is not None and count > most:
            text = f"slice {one.name}: at most {most} allowed, {count} found [{self._label}]"
            run.add("error", "structure", place, text)

    # --- one slice ------------------------------------------------------------------------------------------

    def _match_of(self, node: Node) -> Match | None:
        """Whether an item belongs to a slice, by all discriminators; None when they do not say."""
        matches = [self._discriminator(kind, path, node) for kind, path in self._discriminators]
        if not matches:
            return self._only(node)
        found = [match for match in matches if match is not None]
        if len(found) < len(matches):
            return None
        return found[0] if len(found) == 1 else _every(found)

    def _only(self, node: Node) -> Match | None:
        """Without discriminators: the one slice of an element that does not repeat is that element."""
        return (lambda item, run: True) if len(self._node.slices) == 1 and not node.is_list else None

    def _discriminator(self, kind: str, path: str, node: Node) -> Match | None:
        steps = _steps(path)
        if steps is None:
            return None
        values, nodes, is_resolved = _walk(steps, [node], self._known)
        if not nodes:
            return None
        if kind in ("value", "pattern"):
            return self._by_value(values, nodes)
        if kind == "exists":
            return _by_presence(values, nodes)
        if kind == "type":
            return self._by_type(steps, values, nodes, is_resolved=is_resolved)
        return self._by_profile(values, nodes, is_resolved=is_resolved) if kind == "profile" else None

    def _by_value(self, values: Values, nodes: list[Node]) -> Match | None:
        tests = [test for node in nodes if (test := _criterion(node, self._known, 0)) is not None]
        if not tests:
            return None

        def match(item: Item, run: Run) -> bool | None:
            found = values(item, run)
            if found is None:
                return None
            return _and(_or(test(one, run) for one in found) for test in tests)

        return match

    def _by_type(
        self, steps: Sequence[re.Match[str]], values: Values, nodes: list[Node], *, is_resolved: bool
    ) -> Match | None:
        types: set[str] = set()
        for node in nodes:
            if is_resolved:
                types |= {self._known.type_of(url) for url in _profiles(node, "targetProfile")}
            else:
                types |= set(type_codes(node)) & set(node.types) or set(type_codes(node)) or set(node.types)
        if not types or "" in types:
            return None
        if is_resolved:
            values, _, _ = _walk(steps[:-1], nodes, self._known)

        def match(item: Item, run: Run) -> bool | None:
            found = values(item, run)
            if found is None:
                return None
            kinds = [reference_type(one.value, run.root) if is_resolved else one.type for one in found]
            if any(kind and any(is_subtype(kind, type_) for type_ in types) for kind in kinds):
                return True
            return None if None in kinds else False

        return match

    def _by_profile(self, values: Values, nodes: list[Node], *, is_resolved: bool) -> Match | None:
        key = "targetProfile" if is_resolved else "profile"
        urls = [url for node in nodes for url in _profiles(node, key)]
        if not urls or any(not self._known.type_of(url) for url in urls):
            return None
        conforms = conformance(urls, self._known, self._label)

        def match(item: Item, run: Run) -> bool | None:
            found = values(item, run)
            if found is None:
                return None
            for one in found:
                trial = run.trial()
                conforms(one, trial)
                if not trial.has_errors:
                    return True
            return False

        return match


# --- discriminators ----------------------------------------------------------------------------------------


def _implied(node: Node) -> list[JsonObject]:
    """What R4 slices by where a profile does not say: extensions by url, choices by type."""
    if node.name in ("extension", "modifierExtension"):
        return [{"type": "value", "path": "url"}]
    return [{"type": "type", "path": "$this"}] if node.name.endswith("[x]") else []


def _steps(path: str) -> list[re.Match[str]] | None:
    """The steps of a path; None for one that is not understood."""
    found: list[re.Match[str]] = []
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        at = step.end()
        if at < len(path) and path[at] != ".":
            return None
        at += 1
        if step["this"] is None:
            found.append(step)
    return found


def _walk(steps: Sequence[re.Match[str]], nodes: list[Node], known: Nodes) -> tuple[Values, list[Node], bool]:
    """(items at a path, what the slice says there, whether the path ends behind a reference).

    Behind a reference that is not followed further the nodes are those of the reference itself.
    """
    getters: list[Values] = []
    is_resolved = False
    for number, step in enumerate(steps):
        is_resolved = step["resolve"] is not None and number == len(steps) - 1
        if step["resolve"] is not None:
            getters.append(_resolving)
            if not is_resolved:
                targets = [known.node(url) for one in nodes for url in _profiles(one, "targetProfile")]
                nodes = [target for target in targets if target is not None]
        elif step["url"] is not None:
            url = step["url"]
            getters.append(_extension(url))
            nodes = [one for node in nodes for one in _extension_nodes(node, url, known)]
        elif step["type"] is not None:
            type_ = step["type"]
            getters.append(_of_type(type_))
            nodes = [
                one for node in nodes for one in (node, *node.slices.values()) if type_ in (*one.types, "")
            ]
        else:
            name = step["name"]
            getters.append(_named(name))
            nodes = [
                child
                for node in nodes
                for one in _expanded(node, known)
                if (child := one.children.get(name) or one.children.get(f"{name}[x]")) is not None
            ]

    def values(item: Item, run: Run) -> list[Item] | None:
        found: list[Item] = [item]
        for getter in getters:
            further: list[Item] = []
            for one in found:
                got = getter(one, run)
                if got is None:
                    return None
                further += got
            found = further
        return found

    return values, nodes, is_resolved


def _named(name: str) -> Values:
    return lambda item, run: fetcher(item.type, name)(item)


def _resolving(item: Item, run: Run) -> list[Item] | None:
    found = run.resolved(item)
    return None if found is None else [found]


def _extension(url: str) -> Values:
    return lambda item, run: [
        one
        for one in fetcher(item.type, "extension")(item)
        if type(one.value) is dict and one.value.get("url") == url
    ]


def _of_type(type_: str) -> Values:
    return lambda item, run: [item] if is_subtype(item.type, type_) else []


def _extension_nodes(node: Node, url: str, known: Nodes) -> Iterator[Node]:
    """The slices of a node's extensions that are for one url."""
    for one in _expanded(node, known):
        extensions = one.children.get("extension")
        for slice_ in extensions.slices.values() if extensions is not None else ():
            fixed = slice_.children["url"].value("fixed") if "url" in slice_.children else None
            if url in _profiles(slice_, "profile") or (fixed is not None and fixed[1] == url):
                yield slice_


def _expanded(node: Node, known: Nodes) -> Iterator[Node]:
    """A node, the tree of the one profile of its type, and those of its slices that must be there."""
    yield node
    profiles = _profiles(node, "profile")
    if len(profiles) == 1 and (tree := known.node(profiles[0])) is not None:
        yield tree
    for slice_ in node.slices.values():
        if slice_.min:
            yield slice_


def _profiles(node: Node, key: str) -> list[str]:
    return [
        url for one in node.definition.get("type", ()) if isinstance(one, dict) for url in one.get(key, ())
    ]


# --- criteria ----------------------------------------------------------------------------------------------


def _or(verdicts: Iterator[bool | None]) -> bool | None:
    result: bool | None = False
    for verdict in verdicts:
        if verdict:
            return True
        result = None if verdict is None else result
    return result


def _and(verdicts: Iterator[bool | None]) -> bool | None:
    result: bool | None = True
    for verdict in verdicts:
        if verdict is False:
            return False
        result = None if verdict is None else result
    return result


def _every(matches: Sequence[Match]) -> Match:
    return lambda item, run: _and(match(item, run) for match in matches)


def _by_presence(values: Values, nodes: list[Node]) -> Match | None:
    if any(node.max == 0 for node in nodes):
        is_wanted = False
    elif any(node.min for node in nodes):
        is_wanted = True
    else:
        return None

    def match(item: Item, run: Run) -> bool | None:
        found = values(item, run)
        return None if found is None else bool(found) is is_wanted

    return match


def _criterion(node: Node, known: Nodes, depth: int, *, is_needed: bool = True) -> Match | None:
    """What the value of an item must be by a node: its fixed value or pattern, else those of what it must have.

    Only what tells items apart: cardinalities and invariants are for the check of the slice. A binding does so
    only where there must be a code (``is_needed``).
    """
    if depth > _DEEPEST:
        return None
    for prefix, test in (("fixed", is_fixed), ("pattern", fits)):
        found = node.value(prefix)
        if found is not None:
            return _equal(test, found[1])
    tests: list[Match] = []
    profiles = _profiles(node, "profile")
    if "Extension" in node.types and len(profiles) == 1:
        return _of_url(profiles[0].partition("|")[0])
    if len(profiles) == 1 and (tree := known.node(profiles[0])) is not None:
        inner = _criterion(tree, known, depth + 1, is_needed=is_needed)
        tests += [] if inner is None else [inner]
    for child in node.children.values():
        tests += _criteria_of_child(child, known, depth)
    if not tests:
        binding = node.definition.get("binding") or {}
        if is_needed and binding.get("strength") == "required" and isinstance(binding.get("valueSet"), str):
            return _in_value_set(binding["valueSet"], known)
        return None
    return _every(tests)


def _criteria_of_child(child: Node, known: Nodes, depth: int) -> list[Match]:
    tests: list[Match] = []
    for node in (child, *(slice_ for slice_ in child.slices.values() if slice_.min)):
        inner = _criterion(node, known, depth + 1, is_needed=node.min > 0)
        if inner is not None:
            tests.append(_some(child.name, inner))
    return tests


def _equal(test: Callable[[Any, Any], bool], wanted: Any) -> Match:
    return lambda item, run: test(item.value, wanted)


def _of_url(url: str) -> Match:
    return lambda item, run: type(item.value) is dict and item.value.get("url") == url


def _some(name: str, test: Match) -> Match:
    return lambda item, run: _or(test(one, run) for one in fetcher(item.type, name)(item))


def _in_value_set(url: str, known: Nodes) -> Match:
    check = bound(url, "required", known.value_sets, "")

    def match(item: Item, run: Run) -> bool | None:
        trial = run.trial()
        check(item, trial)
        if trial.has_errors:
            return False
        return None if trial.issues else True

    return match
