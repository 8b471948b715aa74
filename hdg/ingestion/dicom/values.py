"""Values to R4 primitives and datatypes: the plain converters of the column ``as``. DICOM PS3.5 §6.2, R4 datatypes.

A value that does not fit raises Unfit and becomes an Issue; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hdg.fhir.json import decimal
from hdg.fhir.times import is_time
from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.state import State
from hdg.ingestion.times import tell_doubt, to_date, to_datetime, to_instant
from hdg.mapping.context import JsonObject, Several, Unfit

__all__ = [
    "CONVERTERS",
    "clock_of",
    "coding_of",
    "concept_of",
    "date_of",
    "is_uid",
    "moment_of",
    "names_of",
    "number_of",
    "uid_of",
]

Convert = Callable[[Any, State], Any]
CONVERTERS: dict[str, Convert] = {}
"""By the name that the column ``as`` gives it."""
_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_LOOSE_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_UID_MAX = 64
_NUMBER_MAX = 64
"""DS has 16 characters at most; some senders write more."""
_PADDING = " \t\r\n"
"""Around a number. Other controls are damage: what they took the place of may have been a digit."""
_NUMBER = re.compile(r"([+-]?)0*(\d*)(\.\d*)?(?:[eE]([+-]?\d+))?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,10}", re.ASCII)
_CODE = re.compile(r"\S+(?: \S+)*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)", re.ASCII)
_OLD_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d(?:\.\d+)?))?", re.ASCII)
_DICOM_UID = "urn:dicom:uid"
_INT_MAX = 2**31 - 1


def converter(name: str) -> Callable[[Convert], Convert]:
    """Decorator: registers a converter."""

    def keep(function: Convert) -> Convert:
        CONVERTERS[name] = function
        return function

    return keep


def _value(hit: str | Dataset) -> str:
    if isinstance(hit, Dataset):
        raise Unfit("a sequence where a value is wanted")
    return hit


@converter("string")
def to_string(hit: str, state: State) -> str | None:
    """Text as it is, without what R4 does not allow in a string."""
    return _clean(_value(hit)).strip() or None


@converter("markdown")
def to_markdown(hit: str, state: State) -> str | None:
    """Text as it is; its lines stay."""
    text = _clean(_value(hit).replace("\r\n", "\n").replace("\r", "\n"))
    return text if text.strip() else None


_CONTROLS = {number: None for number in range(32) if number not in (9, 10, 13)}


def _clean(text: str) -> str:
    return text if text.isprintable() else text.translate(_CONTROLS)


@converter("code")
def to_code(hit: str, state: State) -> str | None:
    """A coded string (CS); one that is no R4 code is no value."""
    text = _value(hit).strip()
    if not text:
        return None
    if not _CODE.fullmatch(text):
        raise Unfit("not a code")
    return text


@converter("uri")
def to_uri(hit: str, state: State) -> str:
    """A URI reference (UR)."""
    text = _value(hit).strip()
    if not _URI.fullmatch(text):
        raise Unfit("not an absolute URI")
    return text


@converter("id")
def to_uid(hit: str, state: State) -> str:
    """A UID as the bare OID that it is, where R4 takes one (ImagingStudy.series.uid)."""
    return uid_of(_value(hit), state)


def is_uid(text: str) -> bool:
    """Whether a text reads as a UID: numbers and points, 64 characters at most."""
    return len(text) <= _UID_MAX and _LOOSE_UID.fullmatch(text) is not None


def uid_of(text: str, state: State) -> str:
    """A UID. One that breaks the rules of PS3.5 §9.1 but reads as numbers and points stays, with an Issue."""
    if _UID.fullmatch(text) and len(text) <= _UID_MAX:
        return text
    if is_uid(text):
        state.problem("a UID that breaks the rules of UIDs was kept as it is", severity="information")
        return text
    raise Unfit("not a UID")


@converter("UI.Identifier")
def to_identifier(hit: str, state: State) -> JsonObject:
    """A UID as an identifier (R4 imagingstudy.html#notes: ``urn:dicom:uid``)."""
    return {"system": _DICOM_UID, "value": f"urn:oid:{uid_of(_value(hit), state)}"}


@converter("UI.Coding")
def to_sop_class(hit: str, state: State) -> JsonObject:
    """A SOP class: the UID is the code (R4 imagingstudy.html)."""
    return {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{uid_of(_value(hit), state)}"}


@converter("decimal")
def to_decimal(hit: str, state: State) -> Any:
    """A decimal string (DS) with the digits that it has."""
    return number_of(_value(hit))


def number_of(text: str) -> Any:
    """A number of R4 with all its digits. Raises Unfit."""
    text = text.strip(_PADDING)
    match = _NUMBER.fullmatch(text) if len(text) <= _NUMBER_MAX else None
    if match is None or not (match[2] or (match[3] and len(match[3]) > 1) or "0" in text):
        raise Unfit("not a decimal number")
    sign = "-" if match[1] == "-" else ""
    fraction = match[3] if match[3] and len(match[3]) > 1 else ""
    exponent = f"E{match[4]}" if match[4] else ""
    whole = match[2] or "0"
    if not fraction and not exponent and len(whole) <= 15:
        return int(sign + whole)
    return decimal(f"{sign}{whole}{fraction}{exponent}")


def _integer(text: str, least: int) -> int:
    text = text.strip(_PADDING)
    if not _WHOLE.fullmatch(text) or not least <= (number := int(text)) <= _INT_MAX:
        raise Unfit("not a whole number that R4 allows here")
    return number


@converter("unsignedInt")
def to_unsigned(hit: str, state: State) -> int:
    """An integer string (IS) from 0 on."""
    return _integer(_value(hit), 0)


@converter("positiveInt")
def to_positive(hit: str, state: State) -> int:
    """An integer string (IS) from 1 on."""
    return _integer(_value(hit), 1)


@converter("integer")
def to_integer(hit: str, state: State) -> int:
    """An integer string (IS)."""
    return _integer(_value(hit), -_INT_MAX)


# --- dates and times --------------------------------------------------------------------------------------------


def date_of(text: str) -> str:
    """DA, or the old form with points, as digits. Raises Unfit."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise Unfit("not a date (YYYYMMDD)")
    return "".join(match.groups())


def moment_of(day: str, time: str, state: State) -> str:
    """DA with TM. Raises Unfit, with the date kept when the time cannot be carried."""
    digits = date_of(day)
    date = to_date(digits)
    if not time:
        return date
    try:
        return to_datetime(digits + clock_of(time), state.zone)
    except Unfit as problem:
        raise Unfit(problem.text, kept=problem.kept or date) from problem


def clock_of(time: str) -> str:
    """TM, or the old form with colons, as digits."""
    old = _OLD_TIME.fullmatch(time)
    return time if old is None else f"{old[1]}{old[2]}{old[3] or ''}"


def told_moment_of(day: str, time: str, state: State) -> str:
    """``moment_of`` that reports a time whose offset is a choice."""
    tell_doubt(date_of(day) + clock_of(time), state)
    return moment_of(day, time, state)


@converter("date")
def to_day(hit: str, state: State) -> str:
    """DA."""
    return to_date(date_of(_value(hit)))


@converter("dateTime")
def to_moment(hit: str, state: State) -> str:
    """DT; or DA with the TM that goes with it in the same data set."""
    text = _value(hit)
    time = TIMES.get(state.tag)
    if time is None:
        tell_doubt(text, state)
        return to_datetime(text, state.zone)
    state.mark(state.dataset, time)
    return told_moment_of(text, state.dataset.text(time), state)


@converter("instant")
def to_moment_in_full(hit: str, state: State) -> str:
    """As dateTime, to the second and with an offset; nothing for what says less."""
    text = _value(hit)
    time = TIMES.get(state.tag)
    if time is not None:
        state.mark(state.dataset, time)
        text = date_of(text) + state.dataset.text(time).replace(":", "")
    tell_doubt(text, state)
    return to_instant(text, state.zone)


@converter("time")
def to_time_of_day(hit: str, state: State) -> str:
    """TM to the second."""
    text = _value(hit).replace(":", "")
    shown = f"{text[:2]}:{text[2:4]}:{text[4:] or '00'}"
    if not is_time(shown):
        raise Unfit("not a time of day with minutes")
    return shown


TIMES = {
    0x00080020: 0x00080030,  # Study
    0x00080021: 0x00080031,  # Series
    0x00080022: 0x00080032,  # Acquisition
    0x00080023: 0x00080033,  # Content
    0x00080012: 0x00080013,  # Instance Creation
    0x00100030: 0x00100032,  # Patient's Birth
    0x00380020: 0x00380021,  # Admitting
    0x00400244: 0x00400245,  # Performed Procedure Step Start
    0x00400250: 0x00400251,  # Performed Procedure Step End
}
"""Tag of a date → tag of its time."""


# --- names and codes --------------------------------------------------------------------------------------------

_REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
_GROUPS = ("ABC", "IDE", "SYL")
"""Alphabetic, ideographic, phonetic (PS3.5 §6.2.1.1), as v3 EntityNameUseR2 calls them."""


def names_of(text: str) -> list[JsonObject]:
    """The HumanNames of one PN: one for each component group; which one it is is said when there are several."""
    groups = [group.strip() for group in text.split("=")[:3]]
    is_several = any(groups[1:])
    found = []
    for group, kind in zip(groups, _GROUPS, strict=False):
        name = _name(group)
        if name and is_several:
            name["extension"] = [{"url": _REPRESENTATION, "valueCode": kind}]
        if name:
            found.append(name)
    return found


def _name(group: str) -> JsonObject:
    family, given, middle, prefix, suffix, *more = [
        " ".join(_clean(part).split()) for part in (*group.split("^"), "", "", "", "", "")
    ]
    found: JsonObject = {}
    if family:
        found["family"] = family
    names = [one for one in (given, middle) if one]
    if names:
        found["given"] = names
    if prefix:
        found["prefix"] = [prefix]
    rest = [one for one in (suffix, *more) if one]
    if rest:
        found["suffix"] = rest
    return found


@converter("PN.HumanName")
def to_names(hit: str, state: State) -> Any:
    """A person's name in each of its writings."""
    found = names_of(_value(hit))
    return Several(found) if found else None


_ORIGINAL = "http://hl7.org/fhir/StructureDefinition/originalText"
_CODE_VALUES = (0x00080100, 0x00080119, 0x00080120)
_DESIGNATOR, _VERSION, _MEANING, _SCHEME_UID = 0x00080102, 0x00080103, 0x00080104, 0x0008010C
_SCHEMES = "dicom-coding-scheme"


def coding_of(item: Dataset, state: State) -> JsonObject | None:
    """A code sequence item (PS3.3 §8): code value (also long or URN), scheme, meaning.

    A scheme that neither the map of designators nor its UID makes a URI of stays readable beside the code.
    """
    state.mark(item, *_CODE_VALUES, _DESIGNATOR, _VERSION, _MEANING, _SCHEME_UID)
    code = next((text for tag in _CODE_VALUES if (text := " ".join(item.text(tag).split()))), "")
    display = " ".join(_clean(item.text(_MEANING)).split())
    found: JsonObject = {}
    if code:
        designator = item.text(_DESIGNATOR)
        system = system_of(designator, item.text(_SCHEME_UID), state)
        if system:
            found["system"] = system
        elif designator:
            found["_system"] = {"extension": [{"url": _ORIGINAL, "valueString": designator}]}
        version = item.text(_VERSION)
        if version and system and "snomed" not in system:  # SNOMED's versions are URIs
            found["version"] = version
        found["code"] = code
    if display:
        found["display"] = display
    return found or None


def system_of(designator: str, uid: str, state: State) -> str | None:
    """The URI of a coding scheme, or None."""
    key = ("scheme", designator, uid)
    if key not in state.known:
        state.known[key] = _system_of(designator, uid or _stated_uid(designator, state), state)
    found: str | None = state.known[key]
    return found


def _system_of(designator: str, uid: str, state: State) -> str | None:
    declared = state.sender.authorities.get(designator)
    if declared:
        return declared
    schemes = state.library.concept_map(_SCHEMES)
    row = schemes.translate(designator) if schemes is not None and designator else None
    if row is not None:
        return row.system
    if uid and _UID.fullmatch(uid):
        return state.systems.uri(uid) or f"urn:oid:{uid}"
    return None


def _stated_uid(designator: str, state: State) -> str:
    """What the object itself says of a scheme: Coding Scheme Identification Sequence (PS3.3 C.12.1)."""
    for item in state.root.items(0x00080110):
        if item.text(_DESIGNATOR) == designator:
            return item.text(_SCHEME_UID)
    return ""


def concept_of(item: Dataset, state: State) -> JsonObject | None:
    """A code sequence item with its equivalents."""
    coding = coding_of(item, state)
    if coding is None:
        return None
    state.mark(item, 0x00080121)
    codings = [coding, *(other for one in item.items(0x00080121) if (other := coding_of(one, state)))]
    found: JsonObject = {"coding": codings} if "code" in coding else {}
    if "display" in coding:
        found["text"] = coding["display"]
    return found


@converter("CODE.CodeableConcept")
def to_concept(hit: Dataset | str, state: State) -> JsonObject | None:
    """An item of a code sequence; a text stands for itself."""
    return concept_of(hit, state) if isinstance(hit, Dataset) else {"text": _clean(hit)}


@converter("CODE.Coding")
def to_coding(hit: Dataset | str, state: State) -> JsonObject | None:
    """An item of a code sequence; a coded string has no system."""
    if isinstance(hit, Dataset):
        return coding_of(hit, state)
    code = to_code(hit, state)
    return {"code": code} if code else None
