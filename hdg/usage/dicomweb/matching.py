"""What a QIDO-RS query asks for, and whether an object fits. DICOM PS3.18 §8.3.4, §10.6; PS3.4 §C.2.2.2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR

from hdg.errors import BadRequest
from hdg.usage.dicomweb.datasets import tag_of
from hdg.usage.fhir_api.query import Pairs, describe

__all__ = ["LIMIT_MAX", "RETURNED", "Asked", "Key", "keys_of", "narrowing", "parse", "vr_of"]

LIMIT_MAX = 1_000
LIMIT = 100
_WILD = re.compile(r"[*?]")
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_NUMBERS = frozenset({"DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV"})
_PLAIN = frozenset({"DA", "TM", "DT", "UI", *_NUMBERS})
"""VRs without wildcards."""

MODALITIES = 0x00080061
STUDY, SERIES, SOP = 0x0020000D, 0x0020000E, 0x00080018
STUDY_SERIES, STUDY_INSTANCES, SERIES_INSTANCES = 0x00201206, 0x00201208, 0x00201209
_OF_STUDY = {
    tag_of(name)
    for name in (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyID",
        "StudyDescription",
        "IssuerOfPatientID",
        "TimezoneOffsetFromUTC",
        "ModalitiesInStudy",
    )
}
_OF_SERIES = {
    tag_of(name)
    for name in (
        "Modality",
        "SeriesDescription",
        "SeriesInstanceUID",
        "SeriesNumber",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "BodyPartExamined",
        "Laterality",
        "ProtocolName",
        "SeriesDate",
        "SeriesTime",
        "StationName",
        "ManufacturerModelName",
        "Manufacturer",
        "InstitutionName",
    )
}
_OF_INSTANCE = {
    tag_of(name)
    for name in (
        "SOPClassUID",
        "SOPInstanceUID",
        "InstanceNumber",
        "Rows",
        "Columns",
        "BitsAllocated",
        "NumberOfFrames",
        "ContentDate",
    )
}
RETURNED: dict[str, frozenset[int]] = {
    "study": frozenset(one for one in _OF_STUDY if one),
    "series": frozenset(one for one in _OF_SERIES | {STUDY} if one),
    "instance": frozenset(one for one in _OF_INSTANCE | {STUDY, SERIES} if one),
}
"""What an answer of each level holds unasked (PS3.18 §10.6.3.3), as far as the object has it."""
_LEVELS = {
    "study": frozenset(_OF_STUDY),
    "series": frozenset(_OF_STUDY | _OF_SERIES),
    "instance": None,
}


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute to be matched. ``path``: its tags, through sequences; ``text``: the value, '' fits anything."""

    path: tuple[int, ...]
    vr: str
    text: str

    def fits(self, data: Dataset, *, is_fuzzy: bool = False) -> bool:
        """Whether an object has a value that matches."""
        if not self.text:
            return True
        return any(self._is_match(value, is_fuzzy) for value in _values(data, self.path))

    def is_match(self, values: Sequence[str]) -> bool:
        """The same for values that are not of one object."""
        return not self.text or any(self._is_match(value, False) for value in values)

    def _is_match(self, value: Any, is_fuzzy: bool) -> bool:
        text = str(value).strip(" \0")
        if self.vr == "PN":
            return _is_name(self.text, text, is_fuzzy=is_fuzzy)
        if self.vr in ("DA", "TM", "DT"):
            return _is_within(self.vr, self.text, text)
        if self.vr in _NUMBERS:
            return _is_number(self.text, text)
        if self.vr == "UI":
            return text in re.split(r"[,\\]", self.text)
        if self.path == (MODALITIES,):
            return text in re.split(r"[,\\]", self.text)
        return _is_wild_match(self.text, text)


@dataclass(frozen=True, slots=True)
class Asked:
    """A query. ``fields``: tags to be returned besides the usual ones, None: all; ``limit``, ``offset``: of results."""

    level: str
    keys: tuple[Key, ...]
    fields: frozenset[int] | None
    limit: int
    offset: int
    is_fuzzy: bool

    def value(self, tag: int) -> str:
        """The text that an attribute of the top level is to match; '' when it is not asked for."""
        return next((key.text for key in self.keys if key.path == (tag,)), "")


def parse(level: str, given: Pairs) -> Asked:
    """``level``: study, series or instance. Raises BadRequest naming the parameter, never its value."""
    keys, fields = [], set[int]()
    has_all, is_fuzzy = False, False
    numbers = {"limit": LIMIT, "offset": 0}
    for name, value in given:
        if name in numbers:
            if not value.isascii() or not value.isdecimal():
                raise BadRequest(f"{name}: a number, from 0 on", code="value")
            numbers[name] = int(value[:9])
        elif name == "fuzzymatching":
            if value not in ("true", "false"):
                raise BadRequest("fuzzymatching: true or false", code="value")
            is_fuzzy = value == "true"
        elif name == "includefield":
            for one in value.split(","):
                has_all = has_all or one == "all"
                fields.update(() if one == "all" else (_path(one, level)[0],))
        else:
            path = _path(name, level)
            keys.append(Key(path, vr_of(path[-1]), value.strip()))
    fields |= {key.path[0] for key in keys}
    limit = min(numbers["limit"], LIMIT_MAX)
    return Asked(
        level, tuple(keys), None if has_all else frozenset(fields), limit, numbers["offset"], is_fuzzy
    )


def keys_of(level: str, identifier: Dataset) -> tuple[Key, ...]:
    """The keys of a C-FIND identifier that a level is searched by; others are optional keys that are not supported."""
    found = []
    allowed = _LEVELS[level]
    for tag in map(int, identifier.keys()):
        vr = vr_of(tag)
        if vr == "SQ" or tag == 0x00080052 or (allowed is not None and tag not in allowed):
            continue
        values = _values(identifier, (tag,))
        found.append(Key((tag,), vr, "\\".join(str(one).strip() for one in values)))
    return tuple(found)


def _path(text: str, level: str) -> tuple[int, ...]:
    tags = tuple(tag_of(one) for one in text.split("."))
    known = tuple(tag for tag in tags if tag is not None)
    allowed = _LEVELS[level]
    if len(known) != len(tags) or (allowed is not None and known[0] not in allowed):
        raise BadRequest(
            f"{describe(text)} is not an attribute that a {level} is searched by", code="not-supported"
        )
    return known


def vr_of(tag: int) -> str:
    """The value representation of a tag; LO for one that is not known."""
    try:
        return str(dictionary_VR(tag)).split(" ")[0]
    except KeyError:
        return "LO"


def narrowing(asked: Asked, study_uid: str) -> Pairs:
    """A FHIR search over ImagingStudy that finds all that can fit, and as little else as may be."""
    found: Pairs = []
    for uid in filter(None, (study_uid, _single(asked.value(STUDY)))):
        found.append(("identifier", f"urn:dicom:uid|urn:oid:{_escaped(uid)}"))
    number = asked.value(0x00100020)
    if number and not _WILD.search(number):
        found.append(("patient.identifier", _escaped(number)))
    name = _WILD.split(re.split(r"[\^=\s]", asked.value(0x00100010))[0])[0]
    if name and not asked.is_fuzzy:
        found.append(("patient.name", _escaped(name)))
    modality = _single(asked.value(MODALITIES)) or _single(asked.value(0x00080060))
    if modality and not _WILD.search(modality):
        found.append(("modality", _escaped(modality)))
    series = _single(asked.value(SERIES))
    if series:
        found.append(("series", _escaped(series)))
    sop = _single(asked.value(SOP))
    if sop:
        found.append(("instance", _escaped(sop)))
    return [*found, *_days(asked.value(0x00080020))]


def _single(text: str) -> str:
    return "" if "," in text or "\\" in text else text


def _escaped(text: str) -> str:
    return re.sub(r"([\\,|$])", r"\\\1", text)


def _days(text: str) -> Pairs:
    """``started`` says a moment, which may be of the day before or after in another zone."""
    low, sign, high = text.partition("-")
    found: Pairs = []
    for prefix, one, away in (("ge", low, -1), ("le", high if sign else low, 1)):
        match = _DATE.fullmatch(one.strip())
        if match is not None:
            try:
                day = date(int(match[1]), int(match[2]), int(match[3])) + timedelta(days=away)
            except (ValueError, OverflowError):
                continue
            found.append(("started", f"{prefix}{day.isoformat()}"))
    return found


# --- values -------------------------------------------------------------------------------------------------------


def _values(data: Dataset, path: tuple[int, ...]) -> list[Any]:
    tag, *rest = path
    try:
        element = data.get(tag)
    except Exception:
        return []
    if element is None or element.value is None:
        return []
    if rest:
        if element.VR != "SQ":
            return []
        return [value for item in element.value for value in _values(item, tuple(rest))]
    value = element.value
    return list(value) if isinstance(value, list | tuple) or element.VM > 1 else [value]


def _is_wild_match(pattern: str, text: str) -> bool:
    """``*`` any letters, ``?`` any one: in time that grows with the product of the lengths at most."""
    at = place = 0
    star, marked = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] != "*" and pattern[at] in ("?", text[place]):
            at, place = at + 1, place + 1
        elif at < len(pattern) and pattern[at] == "*":
            star, marked, at = at, place, at + 1
        elif star >= 0:
            marked += 1
            at, place = star + 1, marked
        else:
            return False
    return not pattern[at:].strip("*")


def _is_name(wanted: str, name: str, *, is_fuzzy: bool) -> bool:
    groups = [one.rstrip("^ ") for one in name.split("=")]
    if is_fuzzy:
        words = [word for one in groups for word in re.split(r"[\^\s]+", one.casefold()) if word]
        asked = [word for word in re.split(r"[\^=\s*?]+", wanted.casefold()) if word]
        return all(any(word.startswith(one) for word in words) for one in asked)
    pattern = wanted.rstrip("^ ").casefold()
    return any(_is_wild_match(pattern, one.casefold()) for one in (name.rstrip("^ "), *groups) if one)


_FULL = {
    "DA": ("00000101", "99991231"),
    "TM": ("000000.000000", "235959.999999"),
    "DT": ("00000101000000.000000", "99991231235959.999999"),
}


def _is_within(vr: str, wanted: str, value: str) -> bool:
    """Range matching: ends are included, and a moment that is cut short means all of what it leaves open."""
    first, last = _FULL[vr]
    text = (
        value.replace(":", "") if vr == "TM" else value.replace(".", "") if vr == "DA" else value
    )  # old forms
    low, sign, high = (part.strip() for part in wanted.replace(":", "").partition("-"))
    if vr == "DT":
        text = re.split(r"[+-]", text)[0]
    if not sign:
        high = low
    least, most = text + first[len(text) :], text + last[len(text) :]
    return (not low or most >= low + first[len(low) :]) and (not high or least <= high + last[len(high) :])


def _is_number(wanted: str, value: str) -> bool:
    try:
        return float(wanted) == float(value)
    except ValueError:
        return False
