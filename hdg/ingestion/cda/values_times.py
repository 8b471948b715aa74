"""TS and IVL_TS to dateTime and Period. A bound that is unknown is absent, never now. R4 datatypes.html#period."""

from __future__ import annotations

import re
from typing import Any, Final

from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values_basic import converter, stamp
from hdg.ingestion.cda.xml import Element, children
from hdg.ingestion.times import tell_doubt, to_date, to_datetime
from hdg.mapping.context import Choice, JsonObject, Unfit

_BAD_OFFSET: Final = re.compile(r"[12]\d{7}\d{4}(?:\d\d(?:\.\d+)?)?[+-]\d{1,5}", re.ASCII)

_MOMENTS_MAX: Final = 1000

__all__ = ["kept", "to_period", "to_when"]


@converter("IVL_TS.Period")
def to_period(element: Element, state: State) -> JsonObject | None:
    """IVL_TS. A bound that is unknown is absent, never now."""
    found: JsonObject = {}
    for name, target in (("low", "start"), ("high", "end")):
        for bound in children(element, name):
            value = kept(bound, state)
            if value:
                found[target] = value
    for name in ("center", "width"):
        if any(one.get("value") for one in children(element, name)):
            state.problem(f"the {name} of an interval was left out", code="incomplete")
    value = element.get("value", "").strip()
    if value and not found:
        moment = kept(element, state)
        found = {"start": moment, "end": moment} if moment else {}
    if "start" in found and "end" in found and _is_after(found["start"], found["end"]):
        state.problem("the end of an interval is before its start", code="value")
        del found["end"]
    return found or None


def _is_after(start: str, end: str) -> bool:
    """As far as both are precise."""
    size = min(len(start.partition("T")[0]), len(end.partition("T")[0]))
    if "T" in start and "T" in end and start[19:] == end[19:]:
        return start > end
    return start[:size] > end[:size]


def kept(value: Any, state: State) -> str | None:
    """A moment; what is left of one that cannot be carried whole, with its problem said."""
    text = stamp(value)
    if not text:
        return None
    known = state.moments.get(text)
    if known is not None:
        found, problems = known
        for problem in problems:
            state.problem(problem.text, code=problem.code, severity=problem.severity)
        return found
    before = len(state.problems)
    found = _kept(text, state)
    if len(state.moments) >= _MOMENTS_MAX:
        state.moments.clear()
    state.moments[text] = found, tuple(state.problems[before:])
    return found


def _kept(text: str, state: State) -> str | None:
    try:
        found = to_datetime(text, state.zone)
    except Unfit as unfit:
        state.problem(unfit.text, code=unfit.code, severity=unfit.severity)
        kept: str | None = unfit.kept
        if kept is None and _BAD_OFFSET.fullmatch(text):
            kept = to_date(text[:8])  # the day stands, whatever the offset is
        return kept
    tell_doubt(text, state)
    return found


@converter("IVL_TS.x")
def to_when(element: Element, state: State) -> Choice | None:
    """IVL_TS or TS: dateTime where it is one moment, else Period."""
    if element.get("value", "").strip():
        value = kept(element, state)
        return Choice("DateTime", value) if value else None
    for center in children(element, "center"):
        value = kept(center, state)
        if value:
            return Choice("DateTime", value)
    period = to_period(element, state)
    return Choice("Period", period) if period else None


@converter("IVL_TS.start")
def to_start(element: Element, state: State) -> str | None:
    """The beginning: the low bound, else the one moment."""
    for bound in children(element, "low"):
        return kept(bound, state)
    return kept(element, state)
