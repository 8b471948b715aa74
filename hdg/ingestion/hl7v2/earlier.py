"""Earlier results that an order carries (PRIOR_RESULT): where they begin and where the next order does.

HL7 v2.9 §4.4.6 (OML), table 0119: the structure alone does not tell, since an ORC may begin either. Only
what says so opens an earlier result: a second PID, or an ORC with ORC-1 = PR. It ends with an ORC of another
control code; the first ORC after its PID is its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hdg.ingestion.hl7v2.groups import Group
    from hdg.ingestion.hl7v2.parser import Segment

_PREVIOUS: Final = "PR"


def earlier_result(segment: Segment, current: Group) -> tuple[Group, bool]:
    """Where to look for the place of a segment, and whether a new earlier result begins there.

    Costs nothing for structures that have no PRIOR_RESULT: the caller asks only for PID and ORC.
    """
    inside = _inside(current)
    if segment.name == "PID":
        order = inside.parent if inside is not None else _order(current)
        return (order, True) if order is not None and _has_patient(current) else (current, False)
    is_previous = segment.field(1).strip() == _PREVIOUS
    if inside is None:
        order = _order(current) if is_previous else None
        return (order, True) if order is not None else (current, False)
    if is_previous or not any(child.definition.path[-1] == "ORDER_PRIOR" for child in inside.children):
        return current, False
    return (inside.parent or current), False


def _inside(group: Group | None) -> Group | None:
    while group is not None and not group.definition.is_apart:
        group = group.parent
    return group


def _order(group: Group | None) -> Group | None:
    """The nearest group that may hold an earlier result."""
    while group is not None and group.definition.apart is None:
        group = group.parent
    return group


def _has_patient(group: Group) -> bool:
    while group.parent is not None:
        group = group.parent
    return group.nearest("PID") is not None
