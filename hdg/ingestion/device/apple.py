"""An Apple Health export: Record, Correlation, Workout and Me, one by one, in memory that does not grow.

HealthKit writes no specification of the file beside the DTD at its head; types, units and metadata are those of
https://developer.apple.com/documentation/healthkit. Codes and units go by ``terminology/maps/apple-health-*.csv``; a
type without a row keeps Apple's own code. Records of a blood pressure are told once, by their Correlation.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO

from lxml import etree

from hdg.errors import DeviceError
from hdg.ingestion.device.apple_clinical import Clinical
from hdg.ingestion.device.apple_files import read_files
from hdg.ingestion.device.apple_records import Fact, Records
from hdg.ingestion.device.apple_xml import XmlStream, opened
from hdg.ingestion.device.home import Home
from hdg.mapping.context import JsonObject

__all__ = ["read"]

Progress = Callable[[int], None]
"""Told how many bytes of the XML were read."""

_TAGS = ("Record", "Correlation", "Workout", "Me", "ExportDate", "ActivitySummary", "ClinicalRecord")
_REFERENCED = ("Audiogram", "VisionPrescription")
_PAIRED = frozenset(
    {"HKQuantityTypeIdentifierBloodPressureSystolic", "HKQuantityTypeIdentifierBloodPressureDiastolic"}
)
_PAIRED_MAX = 100_000
_RECENT_MAX = 65_536


@dataclass(slots=True)
class _State:
    home: Home
    records: Records
    clinical: Clinical
    held: dict[Fact, Any] = field(default_factory=dict)
    """Records of blood pressures whose Correlation has not come yet: their attributes and metadata."""
    told: set[Fact] = field(default_factory=set)
    recent: OrderedDict[str, None] = field(default_factory=OrderedDict)
    export_date: str = ""


def read(open_: Callable[[], BinaryIO], home: Home, progress: Progress | None = None) -> Iterator[JsonObject]:
    """The resources of an export. Raises DeviceError; everything that is not carried over is noted in ``home``."""
    with opened(open_) as (stream, beside):
        state = _State(home, Records(home), Clinical(home))
        try:
            yield from _walk(stream, state, progress)
        except etree.XMLSyntaxError as error:
            raise DeviceError("not well-formed XML", f"line {error.lineno}") from None
        for element in state.held.values():
            yield from state.records.of_record(*element)
        state.records.note_unmapped()
        yield from read_files(beside, home, state.clinical)


def _walk(stream: XmlStream, state: _State, progress: Progress | None) -> Iterator[JsonObject]:
    events = etree.iterparse(
        stream,
        events=("end",),
        tag=_TAGS,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,  # texts stay below 10 MB, depth below 256
        remove_comments=True,
        remove_pis=True,
        remove_blank_text=True,
    )
    for number, (_, element) in enumerate(events):
        parent = element.getparent()
        if parent is None or parent.tag != "HealthData":
            continue
        if not state.home.patient and element.tag not in ("Me", "ExportDate"):
            yield state.home.nobody()
        yield from _of_record(element, state) if element.tag == "Record" else _of(element, state)
        element.clear(keep_tail=True)
        while (before := element.getprevious()) is not None:
            if before.tag not in _TAGS:
                state.home.note(
                    "warning", "incomplete", "HealthData", f"{_known(before.tag)} is not carried over"
                )
            parent.remove(before)
        if progress is not None and not number & 0x3FFF:
            progress(stream.read_bytes)


def _of(element: Any, state: _State) -> Iterator[JsonObject]:
    """What one child of the root becomes that is no Record."""
    tag, home = element.tag, state.home
    if tag == "Correlation":
        yield from _of_correlation(element, state)
    elif tag == "Workout":
        yield from _once(state.records.of_workout(element), state)
    elif tag == "Me":
        yield from _of_me(element, state)
    elif tag == "ExportDate":
        state.export_date = element.get("value", "")
    elif tag == "ActivitySummary":
        home.note("information", "incomplete", tag, "a day's summary is left out: its records are here")
    else:
        state.clinical.add(dict(element.attrib))


def _known(tag: Any) -> str:
    return tag if tag in _REFERENCED else "an element that is not known"


def _of_record(element: Any, state: _State) -> list[JsonObject]:
    attributes = dict(element.attrib)
    metadata = _metadata(element) if len(element) else ()
    if attributes.get("type") in _PAIRED:
        fact = _fact(attributes)
        if fact in state.told:
            return []
        if len(state.held) < _PAIRED_MAX:
            state.held[fact] = (attributes, metadata, ())
            return []
    return _once(state.records.of_record(attributes, metadata, element), state)


def _of_correlation(element: Any, state: _State) -> Iterator[JsonObject]:
    members = [(dict(one.attrib), _metadata(one)) for one in element if one.tag == "Record"]
    kept = state.records.is_panel(dict(element.attrib), members)
    for attributes, metadata in members:
        fact = _fact(attributes)
        if kept:
            state.held.pop(fact, None)
            if len(state.told) < _PAIRED_MAX:
                state.told.add(fact)
        else:
            yield from _once(state.records.of_record(attributes, metadata, ()), state)
    made = state.records.of_correlation(dict(element.attrib), _metadata(element), members, is_panel=kept)
    yield from _once(made, state)


def _once(made: Iterable[JsonObject], state: _State) -> list[JsonObject]:
    """Leaves out what came a short while ago: exports repeat records."""
    recent, found = state.recent, []
    for resource in made:
        id_ = resource["id"]
        if id_ not in recent:
            recent[id_] = None
            found.append(resource)
            if len(recent) > _RECENT_MAX:
                recent.popitem(last=False)
    return found


def _fact(attributes: dict[str, str]) -> Fact:
    return tuple(attributes.get(name, "") for name in ("type", "sourceName", "startDate", "endDate", "value"))


def _metadata(element: Any) -> tuple[tuple[str, str], ...]:
    return tuple((one.get("key", ""), one.get("value", "")) for one in element if one.tag == "MetadataEntry")


_SEX = {"HKBiologicalSexFemale": "female", "HKBiologicalSexMale": "male", "HKBiologicalSexOther": "other"}
_SET = re.compile(r"HK\w*NotSet|None|", re.ASCII)


def _of_me(element: Any, state: _State) -> Iterator[JsonObject]:
    """The person, where the caller named nobody: birth date and sex, and no more than the file says.

    Nothing in it tells one person from another for sure, so it is the person of this export only.
    """
    home = state.home
    stated = {
        name.removeprefix("HKCharacteristicTypeIdentifier"): text for name, text in element.attrib.items()
    }
    birth, sex = stated.pop("DateOfBirth", ""), _SEX.get(stated.pop("BiologicalSex", ""))
    for name, text in stated.items():
        if _SET.fullmatch(text) is None and re.fullmatch(r"[A-Za-z]{1,60}", name):
            home.note(
                "information", "incomplete", f"Me/@{name}", f"{name} as the person typed it in is left out"
            )
    if home.patient:
        if birth or sex:
            text = "birth date and sex of Me are left out: the patient is known by other means"
            home.note("information", "incomplete", "Me", text)
        return
    if not home.anonymous:
        home.nobody()
    facts = (
        "apple-health",
        state.export_date,
        *(part for pair in sorted(element.attrib.items()) for part in pair),
    )
    patient: JsonObject = {"resourceType": "Patient", "id": home.id("Patient", *facts), "meta": home.tags()}
    if sex:
        patient["gender"] = sex
    if birth:
        try:
            patient["birthDate"] = datetime.strptime(birth, "%Y-%m-%d").strftime("%Y-%m-%d")
        except ValueError:
            home.note("error", "value", "Me/@DateOfBirth", "not a date")
    home.patient = f"Patient/{patient['id']}"
    yield patient
