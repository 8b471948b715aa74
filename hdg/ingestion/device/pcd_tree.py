"""The containment tree of an IHE PCD-01 message: which OBX is a device, which a measurement, which a part of either.

PCD-01 is ORU^R01 whose OBX-3 are MDC codes and whose OBX-4 is MDS.VMD.CHANNEL.METRIC(.FACET); zeros at the end say
nothing. A simple device leaves levels out (``1.0.0.6``), and a compound measurement stands above its members
(``1.0.1`` above ``1.0.1.1``). IHE Devices TF-2 §3.1 (PCD-01) and Appendix B.8 (OBX).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

from hdg.errors import Issue
from hdg.ingestion.device.mdc import ATTRIBUTE, DEVICE, METRIC, PROFILE, Mdc, kind_of
from hdg.ingestion.device.pcd_profile import Key, key_of
from hdg.ingestion.hl7v2.groups import Definition, Group, Grouped
from hdg.ingestion.hl7v2.parser import Segment

__all__ = ["COMPONENT", "MDS", "PART", "Devices", "Node", "grown"]

MDS, COMPONENT, PART = "MDS", "COMPONENT", "PART"
"""Names of the groups that OBX of devices, of their components and of parts of something go to; a measurement of its
own stays in OBSERVATION.
"""
_COMPONENT_LEVEL = 2
_PATH = 4
"""OBX-4."""
_ORDER = "\r"
"""What stands for an OBR: no field holds a carriage return."""
_KEPT_MAX = 1000
"""OBX of a tree that is kept for the next message."""
_ATTRIBUTES = ("MDC_ATTR_", "MDC_ID_", "MDC_TIME_", "MDC_REG_CERT_")
_DEVICES = ("_MDS", "_VMD", "_CHAN")


@dataclass(slots=True, eq=False)
class Node:
    """One OBX in the tree. ``owner``: the device or measurement that it is a part of, or None."""

    segment: Segment
    key: Key
    code: int
    name: str
    kind: str
    owner: Node | None = None
    parts: list[Node] = field(default_factory=list)
    scope: int = 0
    above: Key = ()
    """The key one level up."""


DEVICE_ROLES = frozenset(
    {"model-number", "manufacturer", "serial-number", "version", "part-number", "system-id", "specialization"}
    | {
        "clock",
        "clock-relative",
        "clock-relative-us",
        "interface",
        "upload-class",
        "bits",
        "property",
        "container",
    }
)
"""Roles of attributes that only a device has, wherever in the tree they stand."""


def grown(grouped: Grouped, mdc: Mdc, issues: list[Issue]) -> list[Node]:
    """Finds the tree and moves each OBX into the group that says what it is. Nodes are in message order."""
    segments: list[Segment] = []
    places: list[Group] = []
    said: list[str] = []
    """OBX-3 and OBX-4 of each OBX of the tree, and a mark for each OBR: all that decides about the tree."""
    asked, is_asked = None, False  # of sister groups: they share a definition
    for segment, place in grouped.placed:
        name = segment.name
        if name == "OBX":
            if place.definition is not asked:
                asked = place.definition
                is_asked = asked.path[-1:] == ("OBSERVATION",)
            if is_asked:
                segments.append(segment)
                places.append(place)
                fields = segment.fields
                said += fields[3:5] if len(fields) > _PATH else (segment.field(3), "")
        elif name == "OBR":
            said.append(_ORDER)
    key = tuple(said)
    known = mdc.trees.get(key)
    if known is not None:
        nodes = _again(segments, known)
    else:
        nodes = _new(segments, said, mdc)
        mark = len(issues)
        _connect(nodes, mdc, issues)
        if len(issues) == mark and len(nodes) <= _KEPT_MAX:
            mdc.keep_tree(key, _kept(nodes))
    for node, place in zip(nodes, places, strict=True):
        group = PART if node.owner is not None and node.kind not in (MDS, COMPONENT) else node.kind
        if group != METRIC:
            place.definition = _defined(place.definition, group)
    return nodes


def _new(segments: Sequence[Segment], said: Sequence[str], mdc: Mdc) -> list[Node]:
    """The nodes of OBX, by what ``grown`` noted of them."""
    nodes: list[Node] = []
    rest = iter(said)
    scope = 0
    for text in rest:
        if text == _ORDER:
            scope += 1
        else:
            nodes.append(_node(segments[len(nodes)], text, next(rest), mdc, scope))
    return nodes


_Kept = tuple[tuple[Key, int, str, str, int, Key, int], ...]
"""Of each node: key, code, name, kind, scope, the key above, the owner's index (-1: none)."""


def _kept(nodes: Sequence[Node]) -> _Kept:
    indexes = {node: index for index, node in enumerate(nodes)}
    return tuple(
        (
            node.key,
            node.code,
            node.name,
            node.kind,
            node.scope,
            node.above,
            -1 if node.owner is None else indexes[node.owner],
        )
        for node in nodes
    )


def _again(segments: Sequence[Segment], known: _Kept) -> list[Node]:
    """The nodes of a message whose OBX stand as those of an earlier one did: a monitor repeats itself."""
    nodes = [
        Node(segment, key, code, name, kind, None, [], scope, above)
        for segment, (key, code, name, kind, scope, above, _) in zip(segments, known, strict=True)
    ]
    for node, (*_, owner) in zip(nodes, known, strict=True):
        if owner >= 0:
            node.owner = nodes[owner]
            if node.kind != COMPONENT:
                node.owner.parts.append(node)
    return nodes


@cache
def _defined(definition: Definition, kind: str) -> Definition:
    return replace(definition, path=(*definition.path, kind))


def _node(segment: Segment, text: str, path: str, mdc: Mdc, scope: int) -> Node:
    """The node of an OBX with ``text`` in OBX-3 and ``path`` in OBX-4."""
    key = key_of(path)
    known = mdc.identified.get(text)
    if known is None:
        code, name = identifier_of(text, mdc)
        kind = METRIC
        if code or name:
            kind = _kind_by_name(name) if not code else kind_of(code)
        known = mdc.identify(text, (code, name, kind))
    code, name, kind = known
    if kind == PROFILE or (kind == DEVICE and (len(key) < _COMPONENT_LEVEL or name.endswith("_MDS"))):
        kind = MDS
    elif kind == DEVICE:
        kind = COMPONENT
    return Node(segment, key, code, name, kind, scope=scope)


def identifier_of(text: str, mdc: Mdc) -> tuple[int, str]:
    """(MDC code or 0, reference identifier) of OBX-3: the first of its two codings that is MDC."""
    parts = [*text.split("~", 1)[0].split("^"), "", "", "", "", ""]
    for first in (0, 3):
        if parts[first + 2].strip() == "MDC" or parts[first + 1].startswith("MDC_"):
            number, name = parts[first].strip(), parts[first + 1].strip()
            if number.isascii() and number.isdecimal() and int(number):
                return int(number), name
            return mdc.code(name) or mdc.code(number) or 0, name or number
    return 0, ""


def _kind_by_name(name: str) -> str:
    if name.startswith(_ATTRIBUTES):
        return ATTRIBUTE
    return DEVICE if name.endswith(_DEVICES) else METRIC


def _connect(nodes: Sequence[Node], mdc: Mdc, issues: list[Issue]) -> None:
    """Gives each node its owner: the nearest before it with the key above its own, else the first after it."""
    held: dict[tuple[int, Key], list[Node]] = {}
    for node in nodes:
        held.setdefault((node.scope, node.key), []).append(node)
    for (_, key), twins in held.items():
        if len(twins) > 1 and len(key) > 1 and len({node.segment.field(3) for node in twins}) > 1:
            text = "OBX-4 has come before under this OBR with another OBX-3: both were kept"
            issues.append(Issue("information", "duplicate", twins[1].segment.place(4), text))
    for node in nodes:
        above = node.above = _above(node.key)
        if node.kind in (MDS, COMPONENT):
            if node.kind == COMPONENT:
                node.owner = _device_above(node, held)
            continue
        direct = _nearest(held.get((node.scope, above), ()), node) if above else None
        if node.kind == ATTRIBUTE:
            if direct is None and len(node.key) == 1:
                direct = _nearest([n for n in held[(node.scope, node.key)] if n.kind == MDS], node)
            if direct is None and mdc.role(node.code, node.name) in DEVICE_ROLES:
                direct = _device_above(node, held)
            node.owner = direct
            if direct is None:
                text = "what this is an attribute of is not in the message: it was kept on its own"
                issues.append(Issue("warning", "not-found", node.segment.place(4), text))
                node.kind = METRIC
        elif direct is not None and direct.kind == METRIC:
            node.owner = direct
        if node.owner is not None:
            node.owner.parts.append(node)


@lru_cache(maxsize=4096)
def _above(key: Key) -> Key:
    """The key one level up, without zeros at the end; () above the first level."""
    numbers = list(key[:-1])
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _nearest(found: Sequence[Node], node: Node) -> Node | None:
    before = None
    for other in found:
        if other is node:
            continue
        if other.segment.position < node.segment.position:
            before = other
        elif before is None:
            return other
    return before


def _device_above(node: Node, held: dict[tuple[int, Key], list[Node]]) -> Node | None:
    """The nearest device or component whose key is above a node's own, in the same OBR."""
    key = _above(node.key)
    while key:
        found = [n for n in held.get((node.scope, key), ()) if n.kind in (MDS, COMPONENT)]
        nearest = _nearest(found, node)
        if nearest is not None:
            return nearest
        key = _above(key)
    return None


class Devices:
    """Finds the device that a measurement came from: by containment under its OBR, else elsewhere in the message."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._held: dict[tuple[int, Key], list[Node]] = {}
        self._known: dict[tuple[int, Key], Node | None] = {}
        for node in nodes:
            if node.kind in (MDS, COMPONENT):
                self._held.setdefault((node.scope, node.key), []).append(node)
        self.systems = [node for node in nodes if node.kind == MDS]
        self.is_clear = all(len(found) == 1 for found in self._held.values())
        """Whether no two devices claim one key, so that the order of the message decides nothing."""

    def of(self, node: Node) -> Node | None:
        """The nearest device above; None when none, or when several could be meant."""
        at = (node.scope, node.above)
        if self.is_clear and at in self._known:
            return self._known[at]
        found = _device_above(node, self._held)
        if found is None and node.key:
            others = {
                other.segment.field(18) or other.segment.field(3): other
                for other in self.systems
                if other.key == node.key[:1] and other.scope != node.scope
            }
            found = next(iter(others.values())) if len(others) == 1 else None
        self._known[at] = found
        return found
