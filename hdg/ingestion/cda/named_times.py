"""When: effective times of administrations as periods and timings. R4 datatypes.html#timing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from hdg.ingestion.cda.excluded import is_excluded, operator
from hdg.ingestion.cda.named_registry import named
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values import kind_of, number, to_when
from hdg.ingestion.cda.xml import Element, children, first_child
from hdg.mapping.context import JsonObject

__all__ = ["period"]

_PERIOD_UNITS: Final = {
    "s": "s",
    "min": "min",
    "h": "h",
    "d": "d",
    "wk": "wk",
    "mo": "mo",
    "a": "a",
    "y": "a",
}
_EVENTS: Final = frozenset(
    (
        "HS",
        "WAKE",
        "C",
        "CM",
        "CD",
        "CV",
        "AC",
        "ACM",
        "ACD",
        "ACV",
        "PC",
        "PCM",
        "PCD",
        "PCV",
        "MORN",
        "AFT",
        "EVE",
        "NIGHT",
    )
)


@named("cda.period", is_whole=True)
def period(element: Element, state: State) -> JsonObject | None:
    """IVL_TS, or a moment as the beginning of a period whose end is not known."""
    choice = to_when(element, state)
    if choice is None:
        return None
    return choice.value if choice.type == "Period" else {"start": choice.value}


@named("cda.when_text", is_whole=True)
def when_text(element: Element, state: State) -> str | None:
    """A time where R4 takes only text."""
    choice = to_when(element, state)
    if choice is None:
        return None
    if choice.type == "Period":
        return " to ".join(str(choice.value.get(name, "?")) for name in ("start", "end"))
    return str(choice.value)


def _times(element: Element, name: str = "effectiveTime") -> Iterator[Element]:
    """All that effective times say: an expression (SXPR_TS) is the times in it."""
    for one in children(element, name):
        if kind_of(one) == "SXPR_TS" and _is_in(one):
            yield from _times(one, "comp")
        else:
            yield one


def _intervals(element: Element) -> list[Element]:
    return [one for one in _times(element) if kind_of(one) in _PLAIN and _is_in(one)]


_JOINS: Final = ("", "I", "A")
"""SetOperator: include, intersect. R4 has times that are all meant, no hulls and no differences."""


def _is_in(time: Element) -> bool:
    return operator(time) in _JOINS


_PLAIN: Final = ("IVL_TS", "TS", "SXCM_TS", "")


@named("cda.medication_time")
def medication_time(element: Element, state: State) -> Any:
    """The interval among the effective times of an administration."""
    for one in _intervals(element):
        state.mark(one)
        found = to_when(one, state)
        if found is not None:
            return found
    return None


@named("cda.timing")
def timing(element: Element, state: State) -> JsonObject | None:
    """PIVL_TS and EIVL_TS among the effective times of an administration."""
    return _timing(element, state)


@named("cda.timing_bounded")
def timing_bounded(element: Element, state: State) -> JsonObject | None:
    """``cda.timing`` with the interval as its bounds."""
    found = _timing(element, state) or {}
    for one in _intervals(element):
        state.mark(one)
        choice = to_when(one, state)
        if choice is None:
            continue
        if choice.type != "Period" and "repeat" not in found:
            found.setdefault("event", []).append(choice.value)
        elif "boundsPeriod" in found.get("repeat", {}):
            state.problem("a second interval was left out", code="incomplete")
        else:
            bounds = choice.value if choice.type == "Period" else {"start": choice.value}
            found.setdefault("repeat", {})["boundsPeriod"] = bounds
    return found or None


def _timing(element: Element, state: State) -> JsonObject | None:
    found: JsonObject = {}
    for one in _times(element):
        if not _is_in(one):
            state.mark(one)
            if not is_excluded(one):  # of those that are, excluded.py says so
                text = "a time that is joined to others in a way that R4 has not was left out"
                state.problem(text, code="not-supported", severity="error")
            continue
        match kind_of(one):
            case "PIVL_TS":
                state.mark(one)
                _add(found, _periodic(one, state), one, state)
            case "EIVL_TS":
                state.mark(one)
                _add(found, _eventful(one, state), one, state)
            case kind if kind not in _PLAIN:
                state.problem(f"a time of type {kind} is not supported", code="not-supported")
    return found or None


def _add(found: JsonObject, repeat: JsonObject, time: Element, state: State) -> None:
    if not repeat:
        return
    held = found.setdefault("repeat", {})
    is_besides = operator(time) == "I"
    if is_besides and held and ("when" in held) != ("when" in repeat):
        state.problem("a time besides was left out: R4 would take both at once", code="incomplete")
        return
    for name, value in repeat.items():
        if name == "when":
            held.setdefault("when", []).extend(value)
        elif name in held and held[name] != value:
            state.problem("a second frequency was left out", code="incomplete")
        else:
            held[name] = value


def _periodic(element: Element, state: State) -> JsonObject:
    """Every so often."""
    found: JsonObject = {}
    for one in children(element, "period"):
        low = first_child(one, "low")
        high = first_child(one, "high")
        first = one if one.get("value") else low if low is not None else high
        if first is None or not first.get("value"):
            continue
        unit = _PERIOD_UNITS.get(first.get("unit", ""))
        if unit is None:
            state.problem("the unit of a period is none of time", code="value")
            continue
        if first.get("value", "").strip(" 0.") == "":
            state.problem("a period of no length was left out", code="value")
            continue
        found = {"frequency": 1, "period": number(first.get("value", "")), "periodUnit": unit}
        if low is not None and high is not None and low.get("value") and high.get("value"):
            if low.get("unit") != high.get("unit"):
                state.problem("the bounds of a period have different units", code="value")
            else:
                found["periodMax"] = number(high.get("value", ""))
    for one in children(element, "frequency"):
        found = found or _frequent(one, state)
    for _ in children(element, "phase"):
        state.problem("the phase of a period was left out", code="incomplete")
    if element.get("alignment"):
        state.problem("the alignment of a period was left out", code="incomplete")
    return found


def _frequent(element: Element, state: State) -> JsonObject:
    """So many times in a while, as release 2 writes it: an RTO of an INT and a PQ of time."""
    times, while_ = first_child(element, "numerator"), first_child(element, "denominator")
    if times is not None and while_ is not None and times.get("value", "").isdigit():
        unit = _PERIOD_UNITS.get(while_.get("unit", ""))
        if unit is not None and while_.get("value", "").strip(" 0."):
            period = number(while_.get("value", ""))
            return {"frequency": int(times.get("value", "")), "period": period, "periodUnit": unit}
    state.problem("a frequency that R4 cannot say was left out", code="incomplete")
    return {}


def _eventful(element: Element, state: State) -> JsonObject:
    """At an event of the day."""
    codes = [one.get("code", "") for one in children(element, "event")]
    known = [code for code in codes if code in _EVENTS]
    if len(known) < len([code for code in codes if code]):
        state.problem("an event of the day that R4 does not know was left out", code="code-invalid")
    found: JsonObject = {"when": known} if known else {}
    for one in children(element, "offset"):
        minutes = _minutes(one)
        if minutes is not None and known and not set(known) & {"C", "CM", "CD", "CV"}:
            found["offset"] = minutes
        elif one.get("value") or one.inner:
            state.problem("the offset from an event was left out", code="incomplete")
    return found


_MINUTES: Final = {"min": 1, "h": 60, "d": 1440}


def _minutes(offset: Element) -> int | None:
    """A whole number of minutes that an IVL_PQ or PQ says; None for anything else."""
    bounds = [
        one for one in (offset, *children(offset, "low"), *children(offset, "high")) if one.get("value")
    ]
    said = {(one.get("value", ""), one.get("unit", "")) for one in bounds}
    if len(said) != 1:
        return None
    value, unit = said.pop()
    if not value.isdigit() or unit not in _MINUTES:
        return None
    return int(value) * _MINUTES[unit]
