"""Content items of a structured report: name, value, relationship. DICOM PS3.3 C.17.3; PS3.16."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.dictionary import shown
from hdg.ingestion.dicom.state import State
from hdg.ingestion.dicom.values import (
    concept_of,
    moment_of,
    names_of,
    number_of,
    system_of,
    to_markdown,
    to_time_of_day,
    uid_of,
)
from hdg.ingestion.times import tell_doubt, to_datetime
from hdg.mapping.context import JsonObject, Unfit

__all__ = [
    "COORDINATES",
    "MODIFIERS",
    "children",
    "code_of",
    "concept",
    "is_negative",
    "label",
    "points",
    "qualifier",
    "relation",
    "value_of",
    "words",
]

CONTENT, NAME, RELATION, KIND = 0x0040A730, 0x0040A043, 0x0040A010, 0x0040A040
REFERENCED_SOP, SOP_UID, SOP_CLASS = 0x00081199, 0x00081155, 0x00081150
_CODE, _TEXT, _MEASURED, _QUALIFIER = 0x0040A168, 0x0040A160, 0x0040A300, 0x0040A301
_NUMERIC, _UNITS = 0x0040A30A, 0x004008EA
_DATE, _TIME, _DATETIME, _PERSON, _UID = 0x0040A121, 0x0040A122, 0x0040A120, 0x0040A123, 0x0040A124
_GRAPHIC, _POINTS, _FRAME = 0x00700023, 0x00700022, 0x30060024
_RANGE, _OF_TIME = 0x0040A130, (0x0040A132, 0x0040A138, 0x0040A13A)
COORDINATES = frozenset(("SCOORD", "SCOORD3D", "TCOORD"))
"""Where in an image or when in a waveform (PS3.3 C.18.6, C.18.7, C.18.9)."""
POINTS_MAX = 10_000
"""Numbers of one outline; of a longer one the first are told, and that it is longer."""
MODIFIERS = frozenset(("HAS CONCEPT MOD", "HAS OBS CONTEXT", "HAS ACQ CONTEXT", "HAS PROPERTIES"))
"""Relationships by which an item says more of the one that it belongs to."""
_NEGATIVE = re.compile(
    r"\b(absent|absence|no|not|none|non|negative|never|without|denie[ds]|excluded?|ruled out|unlikely|false|"
    r"nicht|keine?r?|fehlt|fehlend|abwesend|negativ|ohne|ausgeschlossen|aucune?|pas|sans|négatif|négative|absente?|"
    r"ausente|ausencia|ausência|sin|sem|ning[uú]n|nenhuma?|negativ[oa]|assente|assenza|nessuna?|senza|"
    r"geen|niet|afwezig|negatief|zonder|inte|ingen|saknas|ikke|ei|brak|nie)\b"
    r"|없음|없다|부재|음성|아님|なし|無|陰性|否定|欠如|无|没有|阴性|缺如|否|нет|отсутств|отрицат",
    re.IGNORECASE,
)
"""Words of the languages of reports; to take too many for a denial costs a code, to take too few a patient."""
_UNIT = re.compile(r"[!-~]+")
UCUM = "http://unitsofmeasure.org"
_REASONS = "dicom-numeric-qualifier"


def children(item: Dataset) -> list[Dataset]:
    """The items below an item."""
    return item.items(CONTENT)


def relation(item: Dataset) -> str:
    """How an item belongs to the one above."""
    return item.text(RELATION)


def kind(item: Dataset) -> str:
    """NUM, CODE, TEXT, CONTAINER …"""
    return item.text(KIND)


def concept(item: Dataset, state: State) -> JsonObject | None:
    """What an item is about."""
    names = item.items(NAME)
    return concept_of(names[0], state) if names else None


def code_of(item: Dataset) -> tuple[str, str]:
    """Code and designator of what an item is about."""
    names = item.items(NAME)
    return (names[0].text(0x00080100), names[0].text(0x00080102)) if names else ("", "")


def label(item: Dataset) -> str:
    """What an item is about, in words."""
    names = item.items(NAME)
    if not names:
        return ""
    return names[0].text(0x00080104) or names[0].text(0x00080100)


def value_of(item: Dataset, state: State) -> tuple[str, Any]:
    """Element and value for an Observation or a component; ('', None) for none.

    A number that has no value says why (dataAbsentReason).
    """
    try:
        return _value(item, kind(item), state)
    except Unfit as problem:
        state.problem(problem.text, code=problem.code)
        state.settle_at(f"ContentSequence {kind(item)}")
        return ("valueDateTime", problem.kept) if problem.kept else ("", None)


def _value(item: Dataset, what: str, state: State) -> tuple[str, Any]:
    if what == "NUM":
        return _quantity(item, state)
    if what == "CODE":
        codes = item.items(_CODE)
        found = concept_of(codes[0], state) if codes else None
        return ("valueCodeableConcept", found) if found else ("", None)
    if what == "TEXT":
        text = to_markdown(item.text(_TEXT), state)
        return ("valueString", text) if text else ("", None)
    if what == "DATE" and item.text(_DATE):
        return "valueDateTime", moment_of(item.text(_DATE), "", state)
    if what == "TIME" and item.text(_TIME):
        return "valueTime", to_time_of_day(item.text(_TIME), state)
    if what == "DATETIME" and item.text(_DATETIME):
        tell_doubt(item.text(_DATETIME), state)
        return "valueDateTime", to_datetime(item.text(_DATETIME), state.zone)
    if what == "PNAME" and item.text(_PERSON):
        return "valueString", words(item, state)
    if what in COORDINATES and (place := _place(item)):
        return "valueString", place
    if what == "UIDREF" and item.text(_UID):
        return "valueString", f"urn:oid:{uid_of(item.text(_UID), state)}"
    return "", None


def _quantity(item: Dataset, state: State) -> tuple[str, Any]:
    qualifiers = item.items(_QUALIFIER)
    measured = item.items(_MEASURED)
    texts = measured[0].texts(_NUMERIC) if measured else []
    text = texts[0] if texts else ""
    if len(texts) > 1:
        return "valueString", words(item, state)
    if not text:
        coding = concept_of(qualifiers[0], state) if qualifiers else None
        reasons = state.library.concept_map(_REASONS)
        code = coding["coding"][0]["code"] if coding and "coding" in coding else ""
        row = reasons.translate(code) if reasons is not None else None
        found: JsonObject = {"coding": [row.coding()]} if row is not None else {"text": "no value"}
        if coding and "text" in coding:
            found["text"] = coding["text"]
        return "dataAbsentReason", found
    quantity: JsonObject = {"value": number_of(text)}
    units = measured[0].items(_UNITS)
    if units:
        quantity |= _unit(units[0], state)
    return "valueQuantity", quantity


def _unit(item: Dataset, state: State) -> JsonObject:
    code, meaning = item.text(0x00080100), item.text(0x00080104)
    found: JsonObject = {"unit": meaning or code} if meaning or code else {}
    if item.text(0x00080102) == "UCUM" and _UNIT.fullmatch(code):
        found |= {"system": UCUM, "code": code}
    elif code and (system := system_of(item.text(0x00080102), item.text(0x0008010C), state)) is not None:
        found |= {"system": system, "code": code}
    elif code and meaning:
        found["unit"] = f"{code} ({meaning})"
    return found


def qualifier(item: Dataset, state: State) -> JsonObject | None:
    """Why a number that is there is not to be taken as it stands (PS3.16 CID 42)."""
    found = item.items(_QUALIFIER)
    return concept_of(found[0], state) if found and kind(item) == "NUM" else None


def words(item: Dataset, state: State) -> str:
    """The value of an item as people read it."""
    what = kind(item)
    if what == "NUM":
        measured = item.items(_MEASURED)
        text = ", ".join(measured[0].texts(_NUMERIC)) if measured else ""
        units = measured[0].items(_UNITS) if measured else []
        unit = units[0].text(0x00080100) if units else ""
        qualifiers = item.items(_QUALIFIER)
        reason = qualifiers[0].text(0x00080104) if qualifiers else ""
        return " ".join(part for part in (text, "" if unit == "1" else unit, reason) if part)
    if what == "CODE":
        codes = item.items(_CODE)
        return (codes[0].text(0x00080104) or codes[0].text(0x00080100)) if codes else ""
    if what == "PNAME":
        names = names_of(item.text(_PERSON))
        return " / ".join(
            " ".join(
                part for part in (*n.get("prefix", ()), *n.get("given", ()), n.get("family", "")) if part
            )
            for n in names
        )
    if what in COORDINATES:
        return _place(item)
    tag = {"TEXT": _TEXT, "DATE": _DATE, "TIME": _TIME, "DATETIME": _DATETIME, "UIDREF": _UID}.get(what)
    if tag is not None:
        return item.text(tag)
    uids = [one.text(SOP_UID) for one in item.items(REFERENCED_SOP)]
    return " ".join(uids)


def _place(item: Dataset) -> str:
    """Shape and numbers as they stand: ``POLYLINE 1.5 2.5 3 4``; a frame of reference behind those in space."""
    if kind(item) == "TCOORD":
        shape, numbers = item.text(_RANGE), [one for tag in _OF_TIME for one in item.texts(tag)]
    else:
        shape, numbers = item.text(_GRAPHIC), item.texts(_POINTS)
    if not numbers:
        return ""
    rest = ["…"] if len(numbers) > POINTS_MAX else []
    frame = item.text(_FRAME)
    return " ".join(
        [shape, *numbers[:POINTS_MAX], *rest, *([f"in urn:oid:{frame}"] if frame else [])]
    ).strip()


def points(item: Dataset) -> int:
    """How many numbers an outline has; more than POINTS_MAX where its value was passed over."""
    if kind(item) not in COORDINATES or not item.is_valued(_POINTS):
        return 0
    return len(item.data(_POINTS)) // 4 or POINTS_MAX + 1


def is_negative(item: Dataset, state: State) -> bool:
    """Whether a coded or written value may say that something is not so."""
    return kind(item) in ("CODE", "TEXT") and _NEGATIVE.search(words(item, state)) is not None


def rendered(item: Dataset, state: State, depth: int = 0) -> Iterator[str]:
    """The report as lines of text, as it is nested."""
    for child in children(item):
        said = child.text(_GRAPHIC) if kind(child) in COORDINATES else words(child, state)
        name, value = label(child), said.replace("\r\n", "\n").replace("\r", "\n")
        if kind(child) == "CONTAINER" and not name:
            yield from rendered(child, state, depth)
            continue
        line = f"{name}: {value}" if name and value else name or value
        if not line and child.text(0x0040DB73):
            line = f"see item {'.'.join(child.texts(0x0040DB73))} {shown(0x0040DB73)}"
        if line:
            indent = "  " * depth
            yield indent + line.replace("\n", f"\n{indent}  ")
        yield from rendered(child, state, depth + 1)
