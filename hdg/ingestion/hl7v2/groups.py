"""Puts segments into their groups: a tolerant walk over the message structure. HL7 v2.9 §2.5.2, §2.12.

A segment goes to the innermost open group that can hold it. Order inside a group does not matter; missing
openers are tolerated (no ORC: OBR opens ORDER_OBSERVATION); a segment that a group has already, or its
opener, begins the next sibling of a repeating group; NTE belongs to the segment before it; what the
structure does not have stays with the innermost open group, and an Issue says so. No segment is ever lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from hdg.errors import Issue
from hdg.ingestion.hl7v2.earlier import earlier_result
from hdg.ingestion.hl7v2.grammar import structure
from hdg.ingestion.hl7v2.parser import Segment
from hdg.mapping.context import Build

FOLLOWS: Final = frozenset({"NTE"})
"""Segments that belong to whatever stands before them."""
_AGAIN: Final = frozenset({"RXR"})
"""Segments that some structures have once and senders repeat: none is the next order's, which begins with its own."""
_TURNS: Final = frozenset({"PID", "ORC"})
"""Segments that may begin or end an earlier result inside an order."""
_PLANNED_MAX: Final = 300  # segments of a message whose groups are kept for the next one with the same names
_PLANS_MAX: Final = 512


@dataclass(slots=True, eq=False)
class Definition:
    """A group of a structure; shared. ``path`` holds the names from the root (excluded) to here."""

    path: tuple[str, ...]
    is_repeating: bool
    is_apart: bool = False
    """Whether its resources are no one's outside it: those of an earlier result inside an order."""
    apart: Definition | None = None
    """The child that is apart, if there is one; nothing finds its way into it but by earlier_result."""
    opener: str = ""
    segments: dict[str, bool] = field(default_factory=dict)
    """Direct segment → whether it repeats."""
    children: list[Definition] = field(default_factory=list)
    ways: dict[str, tuple[Definition, ...]] = field(default_factory=dict)
    """Segment → groups to open below this one to place it; () for a direct child."""
    may_hold_earlier: bool = False
    """Whether this group or one below it may hold an earlier result: then what segments say decides, too."""


class Group:
    """An instance of a group in one message; ``builds`` and ``subtree`` index the resources begun in it, by
    label. ``names`` has the first segment of each name directly in it.
    """

    __slots__ = ("_around", "_nearby", "builds", "children", "definition", "names", "parent", "subtree")

    def __init__(self, definition: Definition, parent: Group | None) -> None:
        self.definition = definition
        self.parent = parent
        self.names: dict[str, Segment] = {}
        self.children: list[Group] = []
        self.builds: dict[str, list[Build]] = {}
        self.subtree: dict[str, list[Build]] = self.builds
        """The same until a group inside this one begins something."""
        self._around: dict[str, list[list[Build]]] | None = None
        """By label, the lists of ``subtree`` from here outwards; made when a group inside this one asks."""
        self._nearby: dict[str, Any] | None = None

    def nearby(self) -> dict[str, Any]:
        """By name, the segments that ``State.find`` found nearest to this instance, or None where there is none."""
        if self._nearby is None:
            self._nearby = {}
        return self._nearby

    def dissolve(self) -> None:
        """Undo the whole tree, so that its memory is free at once and not when cycles are next searched."""
        root = self
        while root.parent is not None:
            root = root.parent
        pending = [root]
        while pending:
            group = pending.pop()
            if group.children:
                pending.extend(group.children)
                group.children = []
            group.builds.clear()
            group.subtree.clear()
            group._around = None
            group._nearby = None

    def first(self, name: str) -> Segment | None:
        """The first segment of that name directly in this instance."""
        return self.names.get(name)

    def nearest(self, name: str) -> Segment | None:
        """The first segment of that name in this instance or in groups of it that do not repeat."""
        found = self.names.get(name)
        if found is None:
            for child in self.children:
                if not child.definition.is_repeating:
                    found = child.nearest(name)
                    if found is not None:
                        break
        return found

    def take(self, build: Build) -> None:
        """Index a resource that was begun here."""
        label = build.label
        held = self.builds.get(label)
        if held is None:
            self.builds[label] = [build]
        else:
            held.append(build)
        if self.subtree is not self.builds:
            self.subtree.setdefault(label, []).append(build)
        if self.parent is not None and not self.definition.is_apart:
            for listed in self.parent.around(label):
                listed.append(build)

    def around(self, label: str) -> list[list[Build]]:
        """The lists of ``subtree`` for a label, here and in each instance around this one up to one that is apart."""
        known = self._around
        if known is None:
            known = self._around = {}
        found = known.get(label)
        if found is None:
            found = known[label] = []
            here: Group | None = self
            while here is not None:
                if here.subtree is here.builds:
                    here.subtree = {name: held.copy() for name, held in here.builds.items()}
                found.append(here.subtree.setdefault(label, []))
                here = None if here.definition.is_apart else here.parent
        return found

    def add(self, segment: Segment) -> None:
        """Take a segment in."""
        self.names.setdefault(segment.name, segment)


def _child(definition: Definition, parent: Group) -> Group:
    """A new group, the last one of its parent."""
    made = Group(definition, parent)
    parent.children.append(made)
    return made


@cache
def definition(name: str) -> Definition:
    """The compiled structure; an empty one when the structure is not known."""
    return _define(structure(name) or [], (), is_repeating=False)


def _define(nodes: Sequence[Any], path: tuple[str, ...], *, is_repeating: bool) -> Definition:
    made = Definition(path, is_repeating, is_apart=path[-1:] == ("PRIOR_RESULT",))
    for node in nodes:
        name, flags, *rest = node
        if rest:
            made.children.append(_define(rest[0], (*path, name), is_repeating="*" in flags))
        else:
            made.segments.setdefault(name, "*" in flags or name in _AGAIN)
            made.ways.setdefault(name, ())
    if nodes:
        made.opener = nodes[0][0] if len(nodes[0]) == 2 else made.children[0].opener
    made.may_hold_earlier = any(child.is_apart or child.may_hold_earlier for child in made.children)
    for child in made.children:
        if child.is_apart:
            made.apart = child
            continue
        for name, way in child.ways.items():
            known = made.ways.get(name)
            # The shortest way wins; among equals a group that the segment opens, then the earlier one.
            if known is None or (known and _rank(name, (child, *way)) < _rank(name, known)):
                made.ways[name] = (child, *way)
    return made


def _rank(name: str, way: tuple[Definition, ...]) -> tuple[bool, int]:
    return way[-1].opener != name, len(way)


@dataclass(slots=True)
class Grouped:
    """The groups of a message: ``root``, and each segment with its group, in message order."""

    root: Group
    placed: list[tuple[Segment, Group]]


class _Plan(NamedTuple):
    """Where the segments of every message with the same names in the same order go."""

    groups: tuple[tuple[Definition, int], ...]
    """Each group below the root, after its parent and its elder siblings: definition, number of the parent."""
    places: tuple[int, ...]
    """Each segment's group, by number; 0 is the root."""
    unplaced: tuple[int, ...]
    """Indexes of the segments that the structure does not have."""


def group(segments: Sequence[Segment], structure_name: str, issues: list[Issue]) -> Grouped:
    """Group a message's segments by a structure; adds an Issue for each segment that the structure does not
    place.
    """
    known = definition(structure_name)
    if known.may_hold_earlier or len(segments) > _PLANNED_MAX:
        grouped, unplaced = _walk(segments, known)
    else:  # nothing but the names decides
        plan = _plan(structure_name, tuple([segment.name for segment in segments]))
        grouped, unplaced = _planned(plan, segments, known), [*plan.unplaced]
    for index in unplaced:
        _report(segments[index], issues)
    return grouped


@lru_cache(maxsize=_PLANS_MAX)
def _plan(structure_name: str, names: tuple[str, ...]) -> _Plan:
    bare = [Segment(name, index, 1, name) for index, name in enumerate(names, 1)]
    grouped, unplaced = _walk(bare, definition(structure_name))
    numbers = {grouped.root: 0}
    groups: list[tuple[Definition, int]] = []
    pending = [grouped.root]
    for here in pending:  # grows while it is gone through
        for child in here.children:
            numbers[child] = len(numbers)
            groups.append((child.definition, numbers[here]))
            pending.append(child)
    places = tuple([numbers[place] for _, place in grouped.placed])
    grouped.root.dissolve()
    return _Plan(tuple(groups), places, tuple(unplaced))


def _planned(plan: _Plan, segments: Sequence[Segment], known: Definition) -> Grouped:
    root = Group(known, None)
    groups = [root]
    for kind, number in plan.groups:
        parent = groups[number]
        made = Group(kind, parent)
        parent.children.append(made)
        groups.append(made)
    placed = []
    for segment, number in zip(segments, plan.places, strict=True):
        place = groups[number]
        if segment.name not in place.names:
            place.names[segment.name] = segment
        placed.append((segment, place))
    return Grouped(root, placed)


def _walk(segments: Sequence[Segment], known: Definition) -> tuple[Grouped, list[int]]:
    """The groups, and the indexes of the segments that the structure does not have."""
    root = Group(known, None)
    current = place = root
    ways = known.ways
    placed: list[tuple[Segment, Group]] = []
    unplaced: list[int] = []
    last = len(segments) - 1
    for index, segment in enumerate(segments):
        name = segment.name
        if name not in FOLLOWS or name not in ways:
            start = current
            if name in _TURNS:
                start, is_earlier = earlier_result(segment, current)
                if is_earlier:
                    start = _open(start, (start.definition.apart or start.definition,))
            found = None
            if name in ways:
                found = _place(name, start, segments[index + 1].name if index < last else "")
            if found is None:
                unplaced.append(index)
                place = current
            else:
                place = found
                if found is not current and _is_latest(
                    found
                ):  # a straggler of an earlier group does not reopen it for what follows
                    current = found
        place.add(segment)
        placed.append((segment, place))
    return Grouped(root, placed), unplaced


def _is_latest(group: Group) -> bool:
    while group.parent is not None:
        if group.parent.children[-1] is not group:
            return False
        group = group.parent
    return True


def _report(segment: Segment, issues: list[Issue]) -> None:
    place = segment.place()
    if segment.name.startswith("Z"):
        issues.append(Issue("information", "not-supported", place, "a local segment"))
    else:
        issues.append(Issue("warning", "structure", place, "the message structure has no such segment"))


def _place(name: str, current: Group, following: str) -> Group | None:
    """The group instance that takes a segment of the structure, made if need be."""
    group: Group | None = current
    fallback: Group | None = None
    while group is not None:
        way = group.definition.ways.get(name)
        if way is not None:
            if not way:
                misread = _misplaced(name, group)
                if misread is not None:
                    return misread
                if _accepts(name, group, following):
                    return group
                if group.definition.is_repeating and group.parent is not None:
                    return _child(group.definition, group.parent)
                fallback = fallback or group
            else:
                found = _descend(name, group, way, following)
                if found is not None:
                    return found
                if group.definition.is_repeating and group.parent is not None:
                    return _open(_child(group.definition, group.parent), way)
                fallback = fallback or group.children[-1]
        group = group.parent
    return fallback


def _accepts(name: str, group: Group, following: str) -> bool:
    """Whether an instance takes another direct segment of that name."""
    known = group.definition
    if name == known.opener and known.is_repeating and (group.names or group.children):
        if known.segments[name] and not group.children and set(group.names) == {name}:
            return True
        # A late opener (OBR … ORC) belongs here only if nothing says that a new instance begins.
        return name not in group.names and not group.children and following not in group.names
    if name == "ORC" and following == known.opener and group.children:
        return False  # OBR … OBX, ORC OBR: the ORC of the next order, also where the standard has it after
    return known.segments[name] or name not in group.names


def _misplaced(name: str, group: Group) -> Group | None:
    """OBX after SPM in an order that has no result yet: some put SPM first, and these are the results."""
    known = group.definition
    parent = group.parent
    if parent is None or name == known.opener or known.segments.get(name) is None:
        return None
    for sibling in parent.definition.children:
        if sibling is known:
            return None
        if sibling.opener == name and name in sibling.segments:
            has_one = any(child.definition is sibling for child in parent.children)
            return None if has_one else _child(sibling, parent)
    return None


def _descend(name: str, group: Group, way: tuple[Definition, ...], following: str) -> Group | None:
    """Follow a way downwards, into the last instance of groups that do not repeat, else into new ones."""
    here = group
    for index, step in enumerate(way):
        held = next((child for child in reversed(here.children) if child.definition is step), None)
        if held is None:
            return _open(here, way[index:])
        is_last = index == len(way) - 1
        if not step.is_repeating:
            if is_last:
                return held if _accepts(name, held, following) else None
            here = held
        elif (
            is_last and name != step.opener and _accepts(name, held, following) and held is here.children[-1]
        ):
            return held
        else:
            return _open(here, way[index:])
    return None


def _open(group: Group, way: Sequence[Definition]) -> Group:
    for step in way:
        group = _child(step, group)
    return group
