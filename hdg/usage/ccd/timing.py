"""When a medication is taken: effective times of an administration; what they cannot say exactly, in words.

R4 datatypes.html#timing to IVL_TS, PIVL_TS and EIVL_TS: nothing is rounded to fit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hdg.usage.ccd.parts import words_of
from hdg.usage.ccd.values import interval, literal, said, stamp
from hdg.usage.ccd.xml import Node, node

__all__ = ["every_of", "times", "timing_words"]

JsonObject = dict[str, Any]

_OVER = frozenset(("completed", "stopped"))
_TIMING = "2.16.840.1.113883.5.139"
_EVENTS = frozenset(("HS", "AC", "ACM", "ACD", "ACV", "PC", "PCM", "PCD", "PCV"))
"""The events of the day that R4 event-timing shares with v3 TimingEvent as the CDA R2 schema has it."""
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "wk": 604800}
"""Seconds; months and years have no fixed length."""


def times(resource: JsonObject, dosage: JsonObject, status: str) -> list[Node]:
    """The effective times of an administration: its interval, how often, at what events of the day."""
    period = resource.get("effectivePeriod")
    repeat = (dosage.get("timing") or {}).get("repeat") or {}
    if period is None and resource["resourceType"] == "MedicationRequest":
        period = repeat.get("boundsPeriod")
    found = []
    if resource.get("effectiveDateTime"):
        found.append(node("effectiveTime", value=stamp(resource["effectiveDateTime"])))
    elif period is not None:
        found.append(interval("effectiveTime", period, xsi="IVL_TS", is_over=status in _OVER))
    else:
        events = (dosage.get("timing") or {}).get("event", ())
        found += [node("effectiveTime", value=stamp(one)) for one in events[:1]]
    if not found:
        found.append(node("effectiveTime", node("low", nullFlavor="UNK"), xsi="IVL_TS"))
    periodic = _periodic(repeat)
    if periodic is not None:
        found.append(periodic)
    if not _is_offset(repeat):
        found += [
            node("effectiveTime", node("event", code=one, codeSystem=_TIMING), xsi="EIVL_TS", operator="A")
            for one in repeat.get("when", ())
            if one in _EVENTS
        ]
    return found


def _is_offset(repeat: JsonObject) -> bool:
    return bool(repeat.get("offset"))


def every_of(repeat: JsonObject) -> tuple[str, str, str] | None:
    """How often: period, its longest and unit; None where CDA cannot say it exactly."""
    period, unit, count = repeat.get("period"), repeat.get("periodUnit"), repeat.get("frequency", 1)
    if period is None or unit is None or repeat.get("frequencyMax") is not None:
        return None
    if count == 1:
        return literal(period), literal(repeat.get("periodMax", "")), unit
    if unit not in _UNITS or repeat.get("periodMax") is not None or not count:
        return None
    seconds = Decimal(literal(period)) * _UNITS[unit]
    for name in ("wk", "d", "h", "min", "s"):
        every, rest = divmod(seconds, Decimal(count) * _UNITS[name])
        if every and not rest:
            return f"{every:f}", "", name
    return None


def _periodic(repeat: JsonObject) -> Node | None:
    every = every_of(repeat)
    if every is None:
        return None
    period, longest, unit = every
    if longest:
        length = node(
            "period",
            node("low", value=period, unit=unit),
            node("high", value=longest, unit=unit),
            xsi="IVL_PQ",
        )
    else:
        length = node("period", value=period, unit=unit)
    return node(
        "effectiveTime",
        length,
        xsi="PIVL_TS",
        institutionSpecified="true" if repeat.get("frequency", 1) != 1 else None,
        operator="A",
    )


_WORDS = ("dayOfWeek", "timeOfDay", "count", "countMax", "duration", "durationMax", "durationUnit", "offset")


def timing_words(dosage: JsonObject) -> str:
    """What of the timing CDA cannot hold."""
    timing = dosage.get("timing") or {}
    repeat = timing.get("repeat") or {}
    found = [said(timing.get("code"))]
    if every_of(repeat) is None and repeat.get("period") is not None:
        most = f" to {literal(repeat['frequencyMax'])}" if repeat.get("frequencyMax") is not None else ""
        often = f"{literal(repeat.get('frequency', 1))}{most} times per {literal(repeat['period'])}"
        longest = f" to {literal(repeat['periodMax'])}" if repeat.get("periodMax") is not None else ""
        found.append(f"{often}{longest} {repeat.get('periodUnit', '')}".strip())
    for name in _WORDS:
        given = repeat.get(name)
        if given is not None:
            values = given if isinstance(given, list) else [given]
            found.append(f"{name} {', '.join(map(literal, values))}")
    bounds = repeat.get("boundsDuration")
    if bounds:
        found.append(f"for {words_of(bounds)}")
    unheard = [one for one in repeat.get("when", ()) if one not in _EVENTS or _is_offset(repeat)]
    if unheard:
        found.append(f"when {', '.join(unheard)}")
    later = timing.get("event", ())[1:]
    if later:
        found.append(f"also {', '.join(later)}")
    return "; ".join(part for part in found if part)
