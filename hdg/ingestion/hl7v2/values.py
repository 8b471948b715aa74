"""OBX-5 and what belongs to it: the value of an observation by its value type, and its reference range.

HL7 v2.9 §7.4.2.2 (OBX-2), §7.4.2.5 (OBX-5), §7.4.2.7 (OBX-7); R4 observation.html#value. What a value type
has no R4 counterpart for, or what breaks its own type, is kept as text with an Issue: a fact is never
dropped or guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from hdg.ingestion.hl7v2.authority import part
from hdg.ingestion.hl7v2.converters import CONVERTERS, coded_text, unit_code, unit_system, unit_text
from hdg.ingestion.hl7v2.encoding import NULL
from hdg.ingestion.hl7v2.primitives import doubtful, number, plain, plain_number
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.times import to_datetime, to_time
from hdg.mapping.context import Choice, JsonObject, Several, Unfit

_TEXT: Final = frozenset(("ST", "TX", "FT", "GTS"))
_ELSEWHERE: Final = frozenset(("ED", "RP"))
_COMPARATORS: Final = {"", "="}
_LIMIT: Final = r"([+-]?\d+(?:\.\d+)?)"
_PLAIN_RANGE: Final = 60
_TYPE: Final = 2
"""OBX-2."""
_BETWEEN: Final = re.compile(rf"{_LIMIT}\s*-\s*{_LIMIT}", re.ASCII)
_COMPARED: Final = (
    "a number with a comparator, which NM does not have (SN does): read as its comparator and number"
)
_BOUND: Final = re.compile(rf"(<=|>=|<|>)\s*{_LIMIT}", re.ASCII)


def units(state: State) -> JsonObject:
    """OBX-6 as the unit, system and code of a Quantity; empty when there are none."""
    text = state.segment.field(6)
    if not text or text == NULL:
        return {}
    key = ("units", text)
    found: JsonObject | None = state.shared.get(key) if state.shared is not None else None
    if found is None:
        mark = len(state.problems)
        found = _units(text.partition("~")[0], state)
        if len(state.problems) == mark and "\\" not in text:  # an escape is read in the message's charset
            state.keep(key, found)
    if state.trace is not None:
        texts = text.partition("~")[0].split("^")
        shown = set(found.values())
        for component in range(1, len(texts) + 1):
            unit = part(texts, component, state)
            if unit in shown or state.systems.uri(unit) in shown:
                state.read.add((state.segment.position, 6, component))
    return found


def _units(text: str, state: State) -> JsonObject:
    made = {
        "unit": unit_text(text, state),
        "system": unit_system(text, state),
        "code": unit_code(text, state),
    }
    return {key: value for key, value in made.items() if value}


def _quantity(text: str, state: State) -> Choice:
    text = _single(text).strip()
    if text[:1] in "<>":
        bound = _BOUND.fullmatch(text) if len(text) <= _PLAIN_RANGE else None
        if bound is None:
            raise Unfit("not a number")
        state.problem(_COMPARED, severity="information")
        return Choice("Quantity", {"value": number(bound[2]), "comparator": bound[1], **units(state)})
    return Choice("Quantity", {"value": number(text), **units(state)})


def _single(text: str) -> str:
    """The one component of a value whose type has no more. Raises Unfit when there are others."""
    first, _, rest = text.partition("^")
    if rest.strip('^&" '):
        raise Unfit("this value type has one component, the value has more")
    return first


def _structured(text: str, state: State) -> Choice:
    """SN: comparator, number, separator, number (HL7 v2.9 §2.A.69)."""
    comparator, first, separator, second = (part(text.split("^"), index, state) for index in (1, 2, 3, 4))
    if first and not separator and not second:
        return Choice("Quantity", _compared(comparator, {"value": number(first), **units(state)}, state))
    if not first or not second or comparator not in _COMPARATORS:
        raise Unfit("this structured number has no FHIR value")
    if separator == "-":
        unit = units(state)
        return Choice(
            "Range", {"low": {"value": number(first), **unit}, "high": {"value": number(second), **unit}}
        )
    if separator in ("/", ":"):
        return Choice(
            "Ratio", {"numerator": {"value": number(first)}, "denominator": {"value": number(second)}}
        )
    raise Unfit("this structured number has no FHIR value")


def _compared(comparator: str, quantity: JsonObject, state: State) -> JsonObject:
    if comparator in _COMPARATORS:
        return quantity
    table = state.library.concept_map("comparator")
    found = table.translate(comparator) if table else None
    if found is None:
        raise Unfit("the comparator of this structured number has no FHIR counterpart")
    value = quantity.pop("value")
    return {"value": value, "comparator": found.code, **quantity}


def _coded(table: str) -> Callable[[str, State], Choice | None]:
    def convert(text: str, state: State) -> Choice | None:
        found = state.by_table(table, text)
        return Choice("CodeableConcept", found) if found else None

    return convert


def _by_table(kind: str, table: str) -> Callable[[str, State], Choice | None]:
    def convert(text: str, state: State) -> Choice | None:
        mark = len(state.problems)
        found = state.by_table(table, text)
        if len(state.problems) > mark:
            raise Unfit(state.problems[mark].text)
        return Choice(kind, found) if found else None

    return convert


def _date_time(text: str, state: State) -> Choice | None:
    text, _, precision = text.partition("^")
    if precision.strip('^&" '):
        state.problem("the degree of precision was left out", code="incomplete", severity="information")
    text = text.strip()
    if not text:
        return None
    try:
        found = to_datetime(text, state.zone)
        doubtful(text, state)
        return Choice("dateTime", found)
    except Unfit as problem:
        if problem.kept is None:
            raise
        state.problem(problem.text, code=problem.code, severity=problem.severity)
        return Choice("dateTime", problem.kept)


def _time(text: str, state: State) -> Choice | None:
    text = text.strip()
    return Choice("time", to_time(text)) if text else None


def _range(text: str, state: State) -> Choice | None:
    low, high = (part(text.split("^"), index, state) for index in (1, 2))
    unit = units(state)
    found = {key: {"value": number(limit), **unit} for key, limit in (("low", low), ("high", high)) if limit}
    return Choice("Range", found) if found else None


def _composite_quantity(text: str, state: State) -> Choice | None:
    value, _, unit = text.partition("^")
    if not value.strip():
        return None
    chosen = _units(unit, state) if unit else units(state)
    return Choice("Quantity", {"value": number(value.strip()), **chosen})


_TYPES: Final[dict[str, Callable[[str, State], Choice | None]]] = {
    "NM": _quantity,
    "SI": _quantity,
    "SN": _structured,
    "NR": _range,
    "CQ": _composite_quantity,
    "CE": _coded("CE.CodeableConcept"),
    "CWE": _coded("CWE.CodeableConcept"),
    "CNE": _coded("CNE.CodeableConcept"),
    "CF": _coded("CF.CodeableConcept"),
    "IS": _coded("IS.CodeableConcept"),
    "ID": _coded("ID.CodeableConcept"),
    "DT": _date_time,
    "TS": _date_time,
    "DTM": _date_time,
    "TM": _time,
    "DR": _by_table("Period", "DR.Period"),
}


def _as_text(text: str, state: State) -> Choice | None:
    """A value that has no type of its own: its text, components in reading order."""
    pieces = [plain(piece, state) for piece in text.replace("&", "^").split("^") if piece != NULL]
    found = " ".join(piece for piece in pieces if piece)
    return Choice("string", found) if found else None


def single_value(text: str, state: State) -> Choice | None:
    """One repetition of OBX-5 by OBX-2."""
    kind = state.segment.field(2).partition("^")[0].strip()
    if kind in _TEXT:
        found = plain(text, state)
        return Choice("string", found) if found else None
    convert = _TYPES.get(kind)
    if convert is None:
        if text.strip("^&~ "):
            what = "has no FHIR counterpart" if kind else "is absent"
            state.problem(f"OBX-2 {what}: the value was kept as text", code="not-supported")
        return _as_text(text, state)
    mark = len(state.problems)
    try:
        return convert(text, state)
    except Unfit as problem:
        del state.problems[mark:]
        state.problem(f"{problem.text}: the value was kept as text")
        return _as_text(text, state)


def _repeated(text: str) -> list[str]:
    return [item for item in text.split("~") if item and item != NULL]


@CONVERTERS.register("hl7v2.observation_value", takes="field")
def observation_value(text: str, state: State) -> Choice | None:
    """OBX-5 as value[x]; repeated text (TX, FT, ST) is one text, other repeated values are components."""
    fields = state.segment.fields
    kind = fields[2] if len(fields) > _TYPE else ""
    if kind == "NM" and len(text) <= _PLAIN_RANGE and (value := plain_number(text)) is not None:
        quantity = {"value": value, **units(state)}
        return tuple.__new__(Choice, ("Quantity", quantity))  # half the price of Choice(…), once per result
    kind = kind.partition("^")[0].strip()
    if kind in _ELSEWHERE:
        return None
    if kind not in _TEXT and "~" not in text:
        return single_value(text, state)
    items = _repeated(text)
    if kind in _TEXT:
        # The repetitions of a text are its lines; an empty one is an empty line.
        lines = [plain(line, state) for line in text.split("~") if line != NULL]
        joined = "\n".join(lines).strip()
        return Choice("string", joined) if joined else None
    return single_value(items[0], state) if len(items) == 1 else None


@CONVERTERS.register("hl7v2.observation_components", type="Observation.component", takes="field")
def observation_components(text: str, state: State) -> Several | None:
    """Each repetition of a repeated OBX-5 (text excepted) as a component with the observation's own code."""
    items = _repeated(text)
    kind = state.segment.field(2).partition("^")[0].strip()
    if len(items) < 2 or kind in _TEXT or kind in _ELSEWHERE:
        return None
    code = state.by_table("CWE.CodeableConcept", state.segment.field(3))
    found = []
    for item in items:
        value = single_value(item, state)
        if value is not None:
            element = f"value{value.type[0].upper()}{value.type[1:]}"
            found.append({"code": code or {"text": "unknown"}, element: value.value})
    return Several(found)


@CONVERTERS.register("hl7v2.stray_units", type="string")
def stray_units(text: str, state: State) -> str | None:
    """OBX-6 in words when no quantity took it up."""
    resource: JsonObject = state.build.resource if state.build else {}
    if "valueQuantity" in resource:
        return None
    holders: list[Any] = [resource, *resource.get("component", ())]
    if any("valueQuantity" in holder or "valueRange" in holder for holder in holders):
        return None
    found = coded_text(text, state)
    return f"Units: {found}" if found else None


@CONVERTERS.register("hl7v2.reference_range", type="Observation.referenceRange", beside=(6,))
def reference_range(text: str, state: State) -> JsonObject | None:
    """OBX-7: its text, and low and high when it is plainly ``low-high`` or one bound."""
    shared = state.shared
    if shared is None or len(text) > _PLAIN_RANGE or "\\" in text:
        return _reference_range(text, state)
    key = ("range", text, state.segment.field(6))
    kept: JsonObject | None = shared.get(key)
    if kept is None:
        mark = len(state.problems)
        kept = _reference_range(text, state)
        if kept is None or len(state.problems) > mark or "\\" in key[2]:
            return kept
        state.keep(key, kept)
    if state.values is not None:
        state.values.trust(kept)
    return kept  # never changed: it is shared with later results


def _reference_range(text: str, state: State) -> JsonObject | None:
    shown = plain(text, state)
    if not shown:
        return None
    found: JsonObject = {}
    is_plain = len(shown) <= _PLAIN_RANGE
    between = _BETWEEN.fullmatch(shown) if is_plain else None
    bound = _BOUND.fullmatch(shown) if is_plain and between is None else None
    if between is not None:
        low, high = number(between[1]), number(between[2])
        if low <= high:
            found = {"low": _limit(low, state), "high": _limit(high, state)}
    elif bound is not None:
        found = {"low" if bound[1].startswith(">") else "high": _limit(number(bound[2]), state)}
    found["text"] = shown
    return found


def _limit(value: Any, state: State) -> JsonObject:
    return {"value": value, **units(state)}
