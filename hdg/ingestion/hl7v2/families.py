"""Parents and children among the results of one message: microbiology and nested observations.

OBR-29 names the parent order and OBR-26 the parent's observation (an organism, whose susceptibilities the
child order holds): HL7 v2.9 §7.4.1.26, §7.4.1.29. A dotted OBX-4 names the observation above it: §7.4.2.4.
The parent Observation gets ``hasMember``, the child's ServiceRequest a reference in ``basedOn``; R4 lets a
report refer to no other report. A link is made only where exactly one parent fits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from hdg.ingestion.hl7v2.authority import part, split
from hdg.ingestion.hl7v2.groups import Group
from hdg.ingestion.hl7v2.identity import entity_facts
from hdg.ingestion.hl7v2.parser import Message, Segment
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Build, JsonObject

_DELETED: Final = '""'


def link_families(builds: Sequence[Build], state: State) -> None:
    """Link parents and children; ``builds`` have their ids and links already."""
    if not _has_families(state.message):
        return
    orders = _orders(builds)
    for order in orders.values():
        parent = _parent(order, orders.values(), state)
        if parent is not None:
            _based_on(order, parent)
            _same_specimen(order, parent)
            above = _parent_observation(order.header, parent, state)
            if above is not None:
                _has_members(above, order.observations)
        _nest(order.observations)


def _has_families(message: Message) -> bool:
    for order in message.all("OBR"):
        if order.field(29) or order.field(26):
            return True
    for result in message.all("OBX"):  # noqa: SIM110  # any() over a generator costs more
        if "." in result.field(4):
            return True
    return False


class _Order:
    """One OBR of the message with what came of it and of the OBX under it."""

    __slots__ = ("header", "observations", "requests")

    def __init__(self, header: Segment) -> None:
        self.header = header
        self.requests: list[Build] = []
        self.observations: list[Build] = []


def _orders(builds: Sequence[Build]) -> dict[int, _Order]:
    """Position of an OBR → the order."""
    found: dict[int, _Order] = {}
    for build in builds:
        if build.type not in ("ServiceRequest", "Observation"):
            continue
        header = _header(build.group)
        if header is None:
            continue
        order = found.setdefault(header.position, _Order(header))
        if build.type == "ServiceRequest":
            order.requests.append(build)
        elif build.origin.name == "OBX":
            order.observations.append(build)
    return found


def _header(group: Group | None) -> Segment | None:
    while group is not None:
        found = group.nearest("OBR")
        if found is not None:
            return found
        group = group.parent
    return None


def _parent(order: _Order, orders: Iterable[_Order], state: State) -> _Order | None:
    """The one other order that OBR-29 names."""
    named = order.header.field(29)
    if not named or named == _DELETED:
        return None
    texts = [*named.partition("~")[0].split("^"), ""]
    service = part(split(order.header.field(50)), 1, state)
    for field in (3, 2):  # the filler's number first: the orders of one request share the placer's
        facts = entity_facts(texts[field - 2], state)
        fitting = [
            other
            for other in orders
            if facts is not None
            and other is not order
            and other.header.field(29) != named  # siblings of one panel share the panel's number
            and entity_facts(other.header.field(field), state) == facts
            and (not service or part(split(other.header.field(4)), 1, state) == service)
        ]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _based_on(order: _Order, parent: _Order) -> None:
    """A reference beside the number that OBR-29 gave."""
    if len(parent.requests) != 1:
        return
    reference = f"ServiceRequest/{parent.requests[0].id}"
    for build in order.requests:
        items: list[JsonObject] = build.resource.get("basedOn", [])
        if len(items) == 1 and "reference" not in items[0] and build.id != parent.requests[0].id:
            build.resource["basedOn"] = [{**items[0], "reference": reference}]  # others may have the item


def _same_specimen(order: _Order, parent: _Order) -> None:
    """A child order is done on its parent's specimen, where it names none and the parent has one."""
    named = {item["reference"]: item for b in parent.observations if (item := b.resource.get("specimen"))}
    if len(named) == 1:
        for build in order.observations:
            build.resource.setdefault("specimen", next(iter(named.values())))


def _parent_observation(header: Segment, parent: _Order, state: State) -> Build | None:
    """The one observation of the parent order that OBR-26 names by OBX-3 and OBX-4."""
    parts = header.field(26).split("^")
    code = part(split(parts[0]), 1, state)
    sub_id = part(parts, 2, state)
    if not code:
        return None
    fitting = [
        build
        for build in parent.observations
        if part(split(build.origin.field(3)), 1, state) == code
        and (not sub_id or part(split(build.origin.field(4)), 1, state) == sub_id)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _nest(observations: Sequence[Build]) -> None:
    """``1.2`` belongs to ``1`` when the order has exactly one observation ``1``."""
    by_place: dict[str, list[Build]] = defaultdict(list)
    for build in observations:
        by_place[build.origin.field(4).strip()].append(build)
    for place, members in by_place.items():
        upper = place.rpartition(".")[0]
        above = by_place.get(upper, ()) if upper and "^" not in place else ()
        if len(above) == 1:
            _has_members(above[0], members)


def _has_members(parent: Build, members: Sequence[Build]) -> None:
    held: list[JsonObject] = parent.resource.get("hasMember", [])
    for member in members:
        reference = {"reference": f"Observation/{member.id}"}
        if member.id != parent.id and reference not in held:
            held.append(reference)
    if held:
        parent.resource["hasMember"] = held
