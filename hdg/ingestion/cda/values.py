"""The datatypes of HL7 v3 (R1, as CDA R2 uses them) to the datatypes of R4.

HL7 v3 Data Types Abstract Specification R1; R4 datatypes.html. What has a nullFlavor is absent. A value that does not
fit raises Unfit and becomes an Issue; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from hdg.fhir.json import JsonError, decimal
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import XSI_TYPE, Element, children, local
from hdg.ingestion.times import to_date, to_datetime, to_instant
from hdg.mapping.context import Choice, JsonObject, Several, Unfit

__all__ = ["CONVERTERS", "REASON", "absent_reason", "kind_of", "text_of"]

Convert = Callable[[Any, State], Any]
Function = TypeVar("Function", bound=Convert)
CONVERTERS: dict[str, Convert] = {}
"""By the name that the column ``as`` gives it. An attribute comes as text, anything else as an element."""

_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_BLANKS = re.compile(r"\s+")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d{1,9}")
_CODE = re.compile(r"\S+(?: \S+)*")
_UNIT = re.compile(r"[!-~]+")
_REASONS = {
    "UNK": "unknown",
    "NI": "unknown",
    "NASK": "not-asked",
    "ASKU": "asked-unknown",
    "NAV": "temp-unknown",
    "NA": "not-applicable",
    "MSK": "masked",
    "OTH": "unsupported",
    "NINF": "negative-infinity",
    "PINF": "positive-infinity",
    "TRC": "unknown",
    "QS": "unknown",
    "NP": "unknown",
}
"""v3 NullFlavor → http://terminology.hl7.org/CodeSystem/data-absent-reason. UNK may be said with a more exact cause."""
UCUM = "http://unitsofmeasure.org"
REASON = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


def converter(name: str) -> Callable[[Function], Function]:
    """Decorator: registers a converter."""

    def keep(function: Function) -> Function:
        CONVERTERS[name] = function
        return function

    return keep


def absent_reason(element: Element) -> JsonObject:
    """An element with nothing but the reason of its absence."""
    code = _REASONS.get(element.get("nullFlavor", "NI"), "unknown")
    return {"extension": [{"url": REASON, "valueCode": code}]}


def kind_of(element: Element) -> str:
    """The datatype that ``xsi:type`` names, without its prefix; ''."""
    found: str = element.get(XSI_TYPE, "")
    return found.rpartition(":")[2]


def text_of(element: Element | None, state: State) -> str:
    """The text of an ST or ED, by way of a reference into the narrative where there is one."""
    if element is None:
        return ""
    inner = _BLANKS.sub(" ", "".join(element.itertext())).strip()
    if inner:
        return inner
    for reference in children(element, "reference"):
        value = reference.get("value", "")
        if value.startswith("#"):
            target = state.named(value[1:])
            if target is not None:
                return _BLANKS.sub(" ", " ".join(target.itertext())).strip()
    return ""


# --- primitives -------------------------------------------------------------------------------------------------


def _text(value: Any, state: State) -> str:
    return value.strip() if isinstance(value, str) else text_of(value, state)


@converter("string")
@converter("markdown")
def to_string(value: Any, state: State) -> str | None:
    """Text with single blanks."""
    return _BLANKS.sub(" ", _text(value, state)).strip() or None


@converter("code")
def to_code(value: Any, state: State) -> str | None:
    """An attribute, or the ``code`` of an element."""
    found = value.strip() if isinstance(value, str) else value.get("code", "").strip()
    if found and not _CODE.fullmatch(found):
        raise Unfit("not a code")
    return found or None


@converter("uri")
@converter("url")
def to_uri(value: Any, state: State) -> str | None:
    """A URI; an OID or a UUID becomes a URN."""
    found = _text(value, state) if isinstance(value, str) else value.get("value", "") or _text(value, state)
    if not found:
        return None
    return _urn(found) or found


def _urn(root: str) -> str | None:
    if _OID.fullmatch(root):
        return f"urn:oid:{root}"
    try:
        return f"urn:uuid:{UUID(root)}" if len(root) == 36 else None
    except ValueError:
        return None


@converter("boolean")
def to_boolean(value: Any, state: State) -> bool | None:
    """BL."""
    found = value if isinstance(value, str) else value.get("value", "")
    if found in ("true", "1"):
        return True
    if found in ("false", "0"):
        return False
    if found:
        raise Unfit("neither true nor false")
    return None


@converter("integer")
@converter("positiveInt")
@converter("unsignedInt")
def to_integer(value: Any, state: State) -> int | None:
    """INT."""
    found = (value if isinstance(value, str) else value.get("value", "")).strip()
    if not found:
        return None
    if not _WHOLE.fullmatch(found):
        raise Unfit("not a whole number")
    return int(found)


@converter("decimal")
def to_decimal(value: Any, state: State) -> Any:
    """REAL; its digits are kept."""
    found = (value if isinstance(value, str) else value.get("value", "")).strip()
    return number(found) if found else None


def number(text: str) -> Any:
    """A decimal with the digits of the text. Raises Unfit."""
    if not _NUMBER.fullmatch(text):
        raise Unfit("not a number")
    plain = text.removeprefix("+")
    sign = "-" if plain.startswith("-") else ""
    whole, dot, rest = plain.removeprefix("-").partition(".")
    whole = whole.lstrip("0") or "0"
    if dot and not rest:
        dot = ""
    try:
        return decimal(f"{sign}{whole}{dot}{rest}")
    except JsonError:
        raise Unfit("not a number") from None


def _stamp(value: Any) -> str:
    return (value if isinstance(value, str) else value.get("value", "")).strip()


@converter("date")
def to_day(value: Any, state: State) -> str | None:
    """TS, its time left out."""
    found = _stamp(value)
    return to_date(found) if found else None


@converter("dateTime")
def to_moment(value: Any, state: State) -> str | None:
    """TS as precise as it is."""
    found = _stamp(value)
    return to_datetime(found, state.zone) if found else None


@converter("instant")
def to_exact(value: Any, state: State) -> str | None:
    """TS to the second."""
    found = _stamp(value)
    return to_instant(found, state.zone) if found else None


# --- identifiers, codes -----------------------------------------------------------------------------------------


@converter("II.Identifier")
def to_identifier(element: Element, state: State) -> JsonObject | None:
    """II. A root without extension is itself the identifier (R4 datatypes.html#Identifier)."""
    root, extension = element.get("root", "").strip(), element.get("extension", "").strip()
    if element.get("nullFlavor") and not extension:
        return None
    if not root and not extension:
        return None
    found: JsonObject = {}
    if not extension:
        found = {"system": "urn:ietf:rfc:3986", "value": _urn(root) or root}
    else:
        if root:
            found["system"] = _system_of(root, state)
        found["value"] = extension
    name = element.get("assigningAuthorityName", "").strip()
    if name:
        found["assigner"] = {"display": name}
    return found


def _system_of(root: str, state: State) -> str:
    uri = state.systems.uri(root) if _OID.fullmatch(root) else None
    if uri is not None:
        return uri
    urn = _urn(root)
    if urn is None:
        state.problem("the root of an identifier is neither an OID nor a UUID")
    return urn or f"urn:x-root:{root}"


@converter("CD.CodeableConcept")
def to_concept(element: Element, state: State) -> JsonObject | None:
    """CD, CE, CV, CS or CO with all its translations; the original text is the text."""
    codings: list[JsonObject] = []
    _codings(element, codings, state, 0)
    found: JsonObject = {}
    if codings:
        found["coding"] = codings
    text = next((text_of(one, state) for one in children(element, "originalText")), "")
    if text:
        found["text"] = text
    elif not codings and element.get("nullFlavor") and element.get("displayName", "").strip():
        found["text"] = element.get("displayName").strip()
    elif kind_of(element) in ("ST", "ED"):
        plain = text_of(element, state)
        if plain:
            found["text"] = plain
    return found or None


_DEEPEST = 10


def _codings(element: Element, codings: list[JsonObject], state: State, depth: int) -> None:
    coding = to_coding(element, state)
    if coding is not None and coding not in codings:
        codings.append(coding)
    if depth > _DEEPEST:
        raise Unfit("translations are nested too deeply", code="too-costly")
    for translation in children(element, "translation"):
        _codings(translation, codings, state, depth + 1)
    for _ in children(element, "qualifier"):
        state.problem("a qualifier of a code was left out", code="incomplete")


@converter("CD.Coding")
def to_coding(element: Element, state: State) -> JsonObject | None:
    """A code with its system; None for one that only has a nullFlavor."""
    code, oid = element.get("code", "").strip(), element.get("codeSystem", "").strip()
    if not code or (element.get("nullFlavor") and not oid):
        return None
    found: JsonObject = {}
    if oid:
        uri = state.systems.uri(oid)
        found["system"] = uri or _urn(oid) or oid
        if uri is None and _urn(oid) is None:
            del found["system"]
            state.problem("a code system is neither an OID nor a UUID")
    version = element.get("codeSystemVersion", "").strip()
    if version:
        found["version"] = version
    code = _BLANKS.sub(" ", code)
    found["code"] = code
    display = _BLANKS.sub(" ", element.get("displayName", "")).strip()
    if display:
        found["display"] = display
    return found


# --- quantities -------------------------------------------------------------------------------------------------


@converter("PQ.Quantity")
def to_quantity(element: Element, state: State) -> JsonObject | None:
    """PQ, INT or REAL; units are UCUM's (v3 says so), words in their place are kept as text."""
    text = element.get("value", "").strip()
    if not text:
        return None
    found: JsonObject = {"value": number(text)}
    unit = element.get("unit", "").strip()
    if unit and unit != "1":
        found["unit"] = unit
        if _UNIT.fullmatch(unit):
            found["system"], found["code"] = UCUM, unit
    elif unit == "1":
        found |= {"unit": "1", "system": UCUM, "code": "1"}
    for _ in children(element, "translation"):
        state.problem("a translation of a quantity was left out", code="incomplete", severity="information")
    return found


@converter("PQ.SimpleQuantity")
def to_simple(element: Element, state: State) -> JsonObject | None:
    """``PQ.Quantity``."""
    return to_quantity(element, state)


def _bound(element: Element, name: str, state: State) -> tuple[Element | None, JsonObject | None]:
    for found in children(element, name):
        return found, to_quantity(found, state)
    return None, None


@converter("IVL_PQ.Range")
def to_range(element: Element, state: State) -> JsonObject | None:
    """IVL_PQ with its bounds."""
    low, high = _bound(element, "low", state)[1], _bound(element, "high", state)[1]
    found = {}
    if low:
        found["low"] = low
    if high:
        found["high"] = high
    return found or None


@converter("IVL_PQ.Quantity")
def to_bounded(element: Element, state: State) -> JsonObject | None:
    """A PQ, or an interval with one bound: a Quantity with a comparator."""
    if element.get("value"):
        return to_quantity(element, state)
    low_element, low = _bound(element, "low", state)
    high_element, high = _bound(element, "high", state)
    if low and high:
        if low == high:
            return low
        raise Unfit("an interval where one quantity is wanted")
    if low and low_element is not None:
        return {**low, "comparator": ">" if low_element.get("inclusive") == "false" else ">="}
    if high and high_element is not None:
        return {**high, "comparator": "<" if high_element.get("inclusive") == "false" else "<="}
    for center in children(element, "center"):
        return to_quantity(center, state)
    return None


@converter("IVL_PQ.dose")
def to_dose(element: Element, state: State) -> Choice | None:
    """A dose: Quantity or Range."""
    low, high = _bound(element, "low", state)[1], _bound(element, "high", state)[1]
    if low or high:
        if low and high and low == high:
            return Choice("Quantity", low)
        return Choice("Range", {name: one for name, one in (("low", low), ("high", high)) if one})
    found = to_quantity(element, state)
    return Choice("Quantity", found) if found else None


@converter("RTO.Ratio")
def to_ratio(element: Element, state: State) -> JsonObject | None:
    """RTO."""
    found = {}
    for name in ("numerator", "denominator"):
        for part in children(element, name):
            value = to_quantity(part, state)
            if value:
                found[name] = value
    if len(found) == 1:
        raise Unfit("a ratio without its other half")
    return found or None


# --- times ------------------------------------------------------------------------------------------------------


@converter("IVL_TS.Period")
def to_period(element: Element, state: State) -> JsonObject | None:
    """IVL_TS. A bound that is unknown is absent, never now."""
    found: JsonObject = {}
    for name, target in (("low", "start"), ("high", "end")):
        for bound in children(element, name):
            value = _kept(bound, state)
            if value:
                found[target] = value
    for name in ("center", "width"):
        if any(one.get("value") for one in children(element, name)):
            state.problem(f"the {name} of an interval was left out", code="incomplete")
    value = element.get("value", "").strip()
    if value and not found:
        moment = _kept(element, state)
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


def _kept(value: Any, state: State) -> str | None:
    """A moment; what is left of one that cannot be carried whole, with its problem said."""
    text = _stamp(value)
    if not text:
        return None
    try:
        return to_datetime(text, state.zone)
    except Unfit as unfit:
        state.problem(unfit.text, code=unfit.code, severity=unfit.severity)
        kept: str | None = unfit.kept
        return kept


@converter("IVL_TS.x")
def to_when(element: Element, state: State) -> Choice | None:
    """IVL_TS or TS: dateTime where it is one moment, else Period."""
    if element.get("value", "").strip():
        value = _kept(element, state)
        return Choice("DateTime", value) if value else None
    for center in children(element, "center"):
        value = _kept(center, state)
        if value:
            return Choice("DateTime", value)
    period = to_period(element, state)
    return Choice("Period", period) if period else None


@converter("IVL_TS.start")
def to_start(element: Element, state: State) -> str | None:
    """The beginning: the low bound, else the one moment."""
    for bound in children(element, "low"):
        return _kept(bound, state)
    return _kept(element, state)


# --- names, addresses -------------------------------------------------------------------------------------------

_NAME_USES = {
    "L": "official",
    "C": "official",
    "A": "anonymous",
    "P": "nickname",
    "I": "usual",
    "ASGN": "usual",
}
_ADDRESS_USES = {
    "H": "home",
    "HP": "home",
    "HV": "home",
    "WP": "work",
    "DIR": "work",
    "PUB": "work",
    "TMP": "temp",
    "BAD": "old",
    "OLD": "old",
}
_TELECOM_USES = {
    "H": "home",
    "HP": "home",
    "HV": "home",
    "WP": "work",
    "DIR": "work",
    "PUB": "work",
    "MC": "mobile",
    "TMP": "temp",
    "BAD": "old",
}
_TELECOM_SYSTEMS = {
    "tel": "phone",
    "fax": "fax",
    "mailto": "email",
    "sms": "sms",
    "http": "url",
    "https": "url",
    "ftp": "url",
}


def _use(element: Element, uses: dict[str, str]) -> str:
    for word in element.get("use", "").split():
        if word in uses:
            return uses[word]
    return ""


def _useable(element: Element, state: State, name: str) -> JsonObject | None:
    for period in children(element, name):
        return to_period(period, state)
    return None


@converter("PN.HumanName")
def to_name(element: Element, state: State) -> JsonObject | None:
    """PN or EN, with parts or as one text."""
    found: JsonObject = {}
    parts: dict[str, list[str]] = {}
    families: list[tuple[str, Element]] = []
    for part in element:
        text = _BLANKS.sub(" ", "".join(part.itertext())).strip()
        if not text or part.get("nullFlavor"):
            continue
        name = local(part)
        if name == "family":
            families.append((text, part))
        elif name in ("given", "prefix", "suffix"):
            parts.setdefault(name, []).append(text)
    use = _use(element, _NAME_USES)
    current = [text for text, part in families if "BR" not in part.get("qualifier", "").split()]
    births = [text for text, part in families if "BR" in part.get("qualifier", "").split()]
    if use:
        found["use"] = use
    if current:
        found["family"] = " ".join(current)
    found |= parts
    if not current and not parts and not births:
        loose = _BLANKS.sub(" ", "".join(element.itertext())).strip()
        if loose:
            found["text"] = loose
    period = _useable(element, state, "validTime")
    if period:
        found["period"] = period
    names = [found] if set(found) - {"use", "period"} else []
    if births:
        names.append(
            {"use": "maiden", "family": " ".join(births), **{k: v for k, v in parts.items() if k == "given"}}
        )
    if not names:
        return None
    return names[0] if len(names) == 1 else Several(names)  # type: ignore[return-value]  # put in turn


@converter("AD.Address")
def to_address(element: Element, state: State) -> JsonObject | None:
    """AD."""
    found: JsonObject = {}
    lines: list[str] = []
    single: dict[str, str] = {}
    for part in element:
        text = _BLANKS.sub(" ", "".join(part.itertext())).strip()
        if not text or part.get("nullFlavor"):
            continue
        name = local(part)
        if name in _PLACES:
            single[_PLACES[name]] = f"{single[_PLACES[name]]} {text}" if _PLACES[name] in single else text
        elif name != "useablePeriod":
            lines.append(text)
    use = _use(element, _ADDRESS_USES)
    if use:
        found["use"] = use
    words = element.get("use", "").split()
    if "PST" in words or "PHYS" in words:
        found["type"] = (
            "both" if {"PST", "PHYS"} <= set(words) else "postal" if "PST" in words else "physical"
        )
    if lines:
        found["line"] = lines
    found |= single
    if not lines and not single:
        loose = _BLANKS.sub(" ", element.text or "").strip()
        if loose:
            found["text"] = loose
    period = _useable(element, state, "useablePeriod")
    if period:
        found["period"] = period
    return found if set(found) - {"use", "type", "period"} else None


_PLACES = {
    "city": "city",
    "county": "district",
    "state": "state",
    "postalCode": "postalCode",
    "country": "country",
}


@converter("TEL.ContactPoint")
def to_contact(element: Element, state: State) -> JsonObject | None:
    """TEL."""
    value = element.get("value", "").strip()
    if not value or element.get("nullFlavor"):
        return None
    scheme, mark, rest = value.partition(":")
    system = _TELECOM_SYSTEMS.get(scheme.strip().lower()) if mark else None
    found: JsonObject = {}
    if system == "url":
        found = {"system": system, "value": value}
    elif system is not None:
        if not rest.strip():
            return None
        found = {"system": system, "value": rest.strip()}
    else:
        found = {
            "system": "email" if "@" in value else "phone" if re.search(r"\d{3}", value) else "other",
            "value": value,
        }
    use = _use(element, _TELECOM_USES)
    if use:
        found["use"] = use
    period = _useable(element, state, "useablePeriod")
    if period:
        found["period"] = period
    return found


@converter("ON.string")
def to_organization_name(element: Element, state: State) -> str | None:
    """ON: all its text."""
    return to_string(element, state)


# --- any --------------------------------------------------------------------------------------------------------


@converter("ANY.x")
def to_any(element: Element, state: State) -> Choice | None:
    """The value of an Observation, by its ``xsi:type``. What has none is told by what it holds."""
    kind = kind_of(element) or _guessed(element)
    match kind:
        case "CD" | "CE" | "CV" | "CS" | "CO":
            return _choice("CodeableConcept", to_concept(element, state))
        case "PQ" | "REAL" | "MO":
            return _choice("Quantity", to_quantity(element, state))
        case "INT":
            whole = to_integer(element, state)
            return None if whole is None else Choice("Integer", whole)
        case "ST" | "ED" | "SC":
            return _choice("String", to_string(element, state))
        case "BL":
            truth = to_boolean(element, state)
            return None if truth is None else Choice("Boolean", truth)
        case "TS":
            return _choice("DateTime", _kept(element, state))
        case "IVL_TS":
            return to_when(element, state)
        case "IVL_PQ" | "IVL_REAL" | "IVL_INT":
            return _interval(element, state)
        case "RTO" | "RTO_PQ_PQ" | "RTO_QTY_QTY":
            return _choice("Ratio", to_ratio(element, state))
    if kind:
        raise Unfit(f"a value of type {kind} is not supported", code="not-supported")
    return None


def _choice(kind: str, value: Any) -> Choice | None:
    return None if value is None else Choice(kind, value)


def _interval(element: Element, state: State) -> Choice | None:
    bounds = [name for name in ("low", "high") if any(one.get("value") for one in children(element, name))]
    if len(bounds) == 2:
        return _choice("Range", to_range(element, state))
    return _choice("Quantity", to_bounded(element, state))


def _guessed(element: Element) -> str:
    if element.get("code"):
        return "CD"
    if element.get("value") and element.get("unit"):
        return "PQ"
    return "ST" if text_of_own(element) else ""


def text_of_own(element: Element) -> str:
    """The text of an element that has no children."""
    return (element.text or "").strip() if len(element) == 0 else ""
