"""Values of OBX in IHE PCD-01: numbers and their special values, units, BITs, waveforms, times of the device's clock.

Named converters of ``mappings/hl7v2/segments/OBX.Observation-pcd.csv``. IHE Devices TF-2 Appendix B.8; PHD guide,
https://hl7.org/fhir/uv/phd/MderFLOATsandSFLOATs.html.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from hdg.fhir.json import Decimal, decimal
from hdg.ingestion.device.mdc import MDC, Mdc
from hdg.ingestion.device.observations import MEASUREMENT_STATUS, absent
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.encoding import NULL
from hdg.ingestion.hl7v2.primitives import date_time, number, plain_number
from hdg.ingestion.hl7v2.segment import Segment
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.hl7v2.values import observation_components, observation_value, reference_range, units
from hdg.ingestion.hl7v2.values import stray_units as stray
from hdg.mapping.context import Choice, JsonObject, Several, Unfit
from hdg.terminology.concepts import concept_map

__all__ = [
    "WAVEFORM",
    "bit_repetitions",
    "mdc_of",
    "microseconds",
    "moment",
    "numbers",
    "shifted",
    "special_reason",
    "with_unit",
    "words",
]

WAVEFORM = frozenset({"NA", "MA"})
_SPECIALS = {
    "NAN": "not-a-number",
    "NRES": "error",
    "+INFINITY": "positive-infinity",
    "-INFINITY": "negative-infinity",
    "+INF": "positive-infinity",
    "-INF": "negative-infinity",
    "INF": "positive-infinity",
    "PINF": "positive-infinity",
    "NINF": "negative-infinity",
}
_NUMBERS = frozenset({"NM", "SN", "NA"})
_BIT = re.compile(r"([01])\^[^^~]*?\((\d{1,2})\)(?:\^.*)?", re.ASCII | re.DOTALL)
_MOMENT = re.compile(r"(\d{8})(\d\d)(\d\d)(?:(\d\d)(\.\d{1,9})?)?(Z|[+-]\d{4})?", re.ASCII)
_SCIENTIFIC = re.compile(r"[+-]?(?:0|[1-9]\d{0,30})(?:\.\d{1,30})?[eE][+-]?\d{1,2}", re.ASCII)
_TYPE, _UNITS = 2, 6
"""Fields of OBX."""
_MICROSECONDS = 6
_PLAIN = 60


def mdc_of(state: State) -> Mdc:
    """The nomenclature through the sender's concept maps."""
    found = state.shared.get("mdc") if state.shared is not None else None
    if not isinstance(found, Mdc):
        found = Mdc(state.library.concept_map)
        state.keep("mdc", found)
    return found


def special_reason(text: str, kind: str = "NM") -> str:
    """Why a number is absent, for the words that stand in its place; '' for anything else."""
    return _SPECIALS.get(text.strip().upper(), "") if kind in _NUMBERS else ""


@CONVERTERS.register("pcd.observation_value", takes="field")
def value(text: str, state: State) -> Choice | None:
    """OBX-5 as value[x] with UCUM units; what stands for a missing number, bits and waveforms come later."""
    fields = state.segment.fields
    size = len(fields)
    kind = fields[2] if size > _TYPE else ""
    if kind == "NM" and len(text) <= _PLAIN and (plain := plain_number(text)) is not None:
        shared = state.shared
        unit = shared.get(("pcd unit", fields[6] if size > _UNITS else "")) if shared is not None else None
        return Choice("Quantity", {"value": plain, **(_unit(state) if unit is None else unit)})
    if _is_elsewhere(text, kind, state):
        return None
    if kind == "NM" and _SCIENTIFIC.fullmatch(text.strip()):
        state.problem(
            "a number with an exponent, which NM does not have: read as it stands", severity="information"
        )
        return Choice("Quantity", {"value": decimal(text.strip().lstrip("+")), **_unit(state)})
    found: Choice | None = observation_value(text, state)
    if found is not None and found.type in ("Quantity", "Range"):
        return Choice(found.type, with_unit(found.value, state))
    return found


def _is_elsewhere(text: str, kind: str, state: State) -> bool:
    """Whether a value is put together later: waveforms, BITs, what stands for a number, times of a device's clock."""
    own = state.known.get("pcd own times")
    if own and state.segment.position in own:
        return moment(text) is not None
    return kind in WAVEFORM or bool(special_reason(text, kind) or bit_repetitions(text))


@CONVERTERS.register("pcd.stray_units", type="string")
def stray_units(text: str, state: State) -> str | None:
    """OBX-6 in words when no quantity took it up; the unit of a missing number says nothing."""
    if state.build is not None and "valueQuantity" in state.build.resource:
        return None
    value = state.segment.field(5)
    if _is_elsewhere(value, state.segment.field(2), state):
        return None
    found: str | None = stray(text, state)
    return found


@CONVERTERS.register("pcd.reference_range", type="Observation.referenceRange")
def limits(text: str, state: State) -> JsonObject | None:
    """OBX-7, with its limits in the UCUM unit of the value."""
    key = ("pcd range", text, state.segment.field(6))
    found: JsonObject | None = state.shared.get(key) if state.shared is not None else None
    if found is None:
        mark = len(state.problems)
        made = reference_range(text, state)
        if made is None:
            return None
        unit = _unit(state)
        del state.problems[mark:]  # said of the value already
        found = dict(made)
        for side in ("low", "high"):
            if side in found and unit:
                found[side] = {"value": found[side]["value"], **unit}
        if "\\" not in text + key[2] and len(text) <= _PLAIN:
            state.keep(key, found)
    if state.values is not None:
        state.values.trust(found)
    return found


@CONVERTERS.register("pcd.interpretation", type="CodeableConcept")
def interpretation(text: str, state: State) -> JsonObject | None:
    """One repetition of OBX-8: a measurement status of PCD-01, or an ordinary flag with its code in v2-0078."""
    key = ("pcd flag", text)
    found: JsonObject | None = state.shared.get(key) if state.shared is not None else None
    if found is None:
        made = state.by_table("CWE.CodeableConcept", text)
        if not isinstance(made, dict) or not made.get("coding"):
            return made if isinstance(made, dict) else None
        first = dict(made["coding"][0])
        table = state.library.concept_map("pcd-interpretation")
        target = table.translate(first.get("code", "")) if table else None
        if target is None:
            state.problem("the code is not in the map pcd-interpretation", code="not-found")
            return made
        if target.system == MEASUREMENT_STATUS:
            found = {"coding": [target.coding()], "text": first["code"]}
        else:
            first.setdefault("system", state.systems.uri("v2-0078"))
            found = {**made, "coding": [target.coding(), first, *made["coding"][1:]]}
        if "\\" not in text and len(text) <= _PLAIN:
            state.keep(key, found)
    if state.values is not None:
        state.values.trust(found)
    return found


def _unit(state: State) -> JsonObject:
    """The unit of the OBX at hand, worked out once for all that have the same OBX-6."""
    key = ("pcd unit", state.segment.field(6))
    found: JsonObject | None = state.shared.get(key) if state.shared is not None else None
    if found is None:
        mark = len(state.problems)
        found = with_unit(units(state), state)
        if found and len(state.problems) == mark and "\\" not in key[1]:
            state.keep(key, found)
    return found


@CONVERTERS.register("pcd.observation_components", type="Observation.component", takes="field")
def components(text: str, state: State) -> Several | None:
    """Repeated values, as for any OBX; the repetitions of BITs are no values of their own."""
    kind = state.segment.field(2)
    if kind in WAVEFORM or bit_repetitions(text):
        return None
    found: Several | None = observation_components(text, state)
    for one in found or ():
        for element in ("valueQuantity", "valueRange"):
            if element in one:
                one[element] = with_unit(one[element], state)
        reason = special_reason(one.get("valueString", ""), kind)
        if reason:
            del one["valueString"]
            one["dataAbsentReason"] = absent(reason)
    return found


@CONVERTERS.register("pcd.effective", type="dateTime")
def effective(text: str, state: State) -> str | None:
    """OBX-14. Without an offset it is the device's own clock: corrected by the clock OBX of that device where there is
    one, else in the zone of MSH-7 (HL7 v2.9 §2.A.22).
    """
    if text[-5:-4] in ("+", "-"):
        return date_time(text, state)
    match = _MOMENT.fullmatch(text)
    if match is None or match[6]:
        return date_time(text, state)
    clocks = state.known.get("pcd clocks")
    shift = clocks.get(state.segment.position) if clocks else None
    if shift is not None:
        return shifted(text, *shift)
    stamp = _MOMENT.fullmatch(state.message.segments[0].field(7))
    return date_time(text + stamp[6] if stamp and stamp[6] else text, state)


def moment(text: str) -> datetime | None:
    """A time to the second or minute as a datetime, aware when it has an offset; None for anything less."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None
    micros = (match[5] or ".0")[1:].ljust(_MICROSECONDS, "0")[:_MICROSECONDS]
    try:
        day = datetime.strptime(f"{match[1]}{match[2]}{match[3]}{match[4] or '00'}", "%Y%m%d%H%M%S")
    except ValueError:
        return None
    found = day.replace(microsecond=int(micros))
    if not match[6]:
        return found
    sign = -1 if match[6][0] == "-" else 1
    minutes = 0 if match[6] == "Z" else sign * (int(match[6][1:3]) * 60 + int(match[6][3:]))
    return found.replace(tzinfo=timezone(timedelta(minutes=minutes)))


def shifted(text: str, by: timedelta, zone: timezone) -> str:
    """A device's own time as an R4 dateTime on the time line that is ``by`` ahead of it. Raises Unfit."""
    found = moment(text)
    if found is None:
        raise Unfit("not a time to the minute")
    try:
        there = (found.replace(tzinfo=None) + by).replace(tzinfo=zone)
    except OverflowError:
        raise Unfit("the clock's correction leaves the calendar") from None
    match = _MOMENT.fullmatch(text.strip())
    has_fraction = there.microsecond or (match is not None and match[5])
    return there.isoformat(timespec="milliseconds" if has_fraction else "seconds")


def with_unit(quantity: JsonObject, state: State) -> JsonObject:
    """A Quantity or Range whose MDC unit is UCUM where the map has it; an unmapped one stays and is reported."""
    if "low" in quantity or "high" in quantity:
        return {side: with_unit(quantity[side], state) for side in ("low", "high") if side in quantity}
    if quantity.get("system") != MDC:
        if "unit" not in quantity and _wants_unit(state):
            state.problem("a number without a unit", code="incomplete", severity="information")
        return quantity
    mdc = mdc_of(state)
    code = quantity.get("code", "")
    if not code.isdecimal() or not mdc.has_unit(int(code)):
        named = mdc.code(quantity.get("unit", ""))
        if named is None or not mdc.has_unit(named):
            state.problem(
                "the unit has no UCUM equivalent in the map mdc-unit: it stays as sent", code="not-found"
            )
            return quantity
        code = str(named)
    head: JsonObject = {key: quantity[key] for key in ("value", "comparator") if key in quantity}
    return {**head, **mdc.unit(int(code))}


def _wants_unit(state: State) -> bool:
    """Whether a number should have a unit: neither a part, which says so itself, nor BITs as a number."""
    if state.group is None or state.group.definition.path[-1:] == ("PART",):
        return False
    mdc = mdc_of(state)
    known = mdc.identified.get(state.segment.field(3))
    return known is None or not mdc.bits(known[0])


def bit_repetitions(text: str) -> tuple[tuple[int, bool], ...]:
    """(bit, is set) of a BITs value as PCD-01 writes it, ``1^sensor-displaced(2)~0^…(3)``; () for anything else."""
    if "(" not in text or text[:1] not in "01":
        return ()
    found = []
    for item in text.split("~"):
        match = _BIT.fullmatch(item)
        if match is None:
            return ()
        found.append((int(match[2]), match[1] == "1"))
    return tuple(found)


_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def microseconds(segment: Segment, count_us: int) -> int | None:
    """A count of a device's clock in microseconds, by OBX-6 or, without one, ``count_us`` each; None for no number."""
    try:
        found = number(segment.field(5).strip())
    except Unfit:
        return None
    unit = segment.field(6).partition("^")[0]
    target = concept_map("mdc-unit")
    known = target.translate(unit) if target is not None and unit else None
    scale = count_us if not unit else _MICROS.get(known.code if known else unit)
    return None if scale is None else round(found * scale)


def numbers(text: str) -> list[Decimal | int | None]:
    """The numbers of an NA; None for one that is missing or special. Raises Unfit for what is no number at all."""
    found: list[Decimal | int | None] = []
    for item in text.replace("~", "^").split("^"):
        bare = item.replace(" ", "")
        found.append(None if not bare or bare == NULL or special_reason(bare) else number(bare))
    return found


def words(value: object) -> str:
    """Every number and text in a value, in order: what a Range or Period says, in words."""
    if isinstance(value, dict):
        parts = [words(part) for key, part in value.items() if key not in ("system", "code")]
    elif isinstance(value, list):
        parts = [words(part) for part in value]
    else:
        return str(getattr(value, "literal", value))
    return " ".join(part for part in parts if part)
