"""What all converters of HL7 v3 datatypes share, and the primitives. R4 datatypes.html#primitive.

What has a nullFlavor is absent. A value that does not fit raises Unfit and becomes an Issue; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from hdg.fhir.json import JsonError, decimal
from hdg.fhir.urns import urn_of_uuid, with_one_case
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import XSI_TYPE, Element, children
from hdg.ingestion.times import tell_doubt, to_date, to_datetime, to_instant
from hdg.mapping.context import JsonObject, Unfit

__all__ = [
    "CONVERTERS",
    "OID",
    "REASON",
    "absent_reason",
    "converter",
    "kind_of",
    "number",
    "stamp",
    "text_of",
    "to_boolean",
    "to_integer",
    "to_string",
    "urn_of",
]

Convert = Callable[[Any, State], Any]
Function = TypeVar("Function", bound=Convert)
CONVERTERS: Final[dict[str, Convert]] = {}
"""By the name that the column ``as`` gives it. An attribute comes as text, anything else as an element."""
OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_WHOLE: Final = re.compile(r"[+-]?\d{1,9}")
_CODE: Final = re.compile(r"\S+(?: \S+)*")
_REASONS: Final = {
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
REASON: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


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
    said = (element.text or "") if not element.inner else "".join(element.itertext())
    inner = " ".join(said.split())
    if inner:
        return inner
    for reference in children(element, "reference"):
        value = reference.get("value", "")
        if value.startswith("#"):
            target = state.named(value[1:])
            if target is not None:
                return " ".join(" ".join(target.itertext()).split())
    return ""


# --- primitives -------------------------------------------------------------------------------------------------


def _text(value: Any, state: State) -> str:
    return value.strip() if isinstance(value, str) else text_of(value, state)


@converter("string")
@converter("markdown")
def to_string(value: Any, state: State) -> str | None:
    """Text with single blanks."""
    return " ".join(_text(value, state).split()) or None


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
    return urn_of(found) or with_one_case(found)


def urn_of(root: str) -> str | None:
    """An OID or a UUID as a URN; None for anything else."""
    if OID.fullmatch(root):
        return f"urn:oid:{root}"
    return urn_of_uuid(root)


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


_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?\s*(?:(Z)|([+-]\d\d):?(\d\d))?)?)?",
    re.ASCII,
)


def stamp(value: Any) -> str:
    """The text of a TS. Some senders write dates as ISO 8601 does: their dashes and colons go."""
    found: str = (value if isinstance(value, str) else value.get("value", "")).strip()
    match = _ISO.fullmatch(found) if found[4:5] == "-" else None
    if match is None:
        return found
    *digits, zulu, hours, minutes = match.groups("")
    return "".join(digits) + ("+0000" if zulu else hours + minutes)


@converter("date")
def to_day(value: Any, state: State) -> str | None:
    """TS, its time left out."""
    found = stamp(value)
    return to_date(found) if found else None


@converter("dateTime")
def to_moment(value: Any, state: State) -> str | None:
    """TS as precise as it is."""
    found = stamp(value)
    if not found:
        return None
    tell_doubt(found, state)
    return to_datetime(found, state.zone)


@converter("instant")
def to_exact(value: Any, state: State) -> str | None:
    """TS to the second."""
    found = stamp(value)
    if not found:
        return None
    tell_doubt(found, state)
    return to_instant(found, state.zone)
