"""Named converters of the ADT tables: names as text, addresses, US Core race, procedure periods.

HL7 v2.9 §3.4.2 (PID), §2.14.9 (MSH), §6.5.4 (PR1); US Core Patient (us-core-race, us-core-ethnicity).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import NamedTuple

from hdg.ingestion.hl7v2.authority import part, split
from hdg.ingestion.hl7v2.authority import universal_uri as uri_of
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.encoding import repetitions
from hdg.ingestion.hl7v2.identity import patient_facts
from hdg.ingestion.hl7v2.primitives import doubtful, plain
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.times import to_datetime, to_time
from hdg.mapping.context import Facts, JsonObject, Several, Unfit

_US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
_ORIGINAL = "http://hl7.org/fhir/StructureDefinition/originalText"
_CDC_CODE = re.compile(r"\d{4}-\d")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?")
_MINUTES = re.compile(r"\d{1,6}")
_NULL = '""'


@CONVERTERS.register("hl7v2.name_text", type="string", is_pure=True)
def name_text(text: str, state: State) -> str | None:
    """An XPN in reading order: prefix, given, further given, family, suffix."""
    parts = text.split("^")
    family = parts[0].partition("&")[0] if parts else ""
    pieces = [part(parts, 5, state), part(parts, 2, state), part(parts, 3, state), plain(family, state)]
    pieces.append(part(parts, 4, state))
    return " ".join(piece for piece in pieces if piece and piece != _NULL) or None


def _birth_time(text: str, state: State) -> str:
    """The dateTime of PID-7; a date when it has no time, or a time whose offset nobody states."""
    try:
        return to_datetime(text.partition("^")[0].strip(), state.zone)
    except Unfit as problem:
        if problem.kept is None:
            raise
        return str(problem.kept)


@CONVERTERS.register("hl7v2.birth_time", type="dateTime", is_pure=True)
def birth_time(text: str, state: State) -> str | None:
    """PID-7 with its offset, or the sender's zone; nothing when neither is known."""
    found = _birth_time(text, state)
    if "T" not in found:
        return None
    doubtful(text.partition("^")[0].strip(), state)
    return found


@CONVERTERS.register("hl7v2.local_birth_time", type="time", is_pure=True)
def local_birth_time(text: str, state: State) -> str | None:
    """The time of day in PID-7 when nobody states its offset: a FHIR time has none to invent."""
    if "T" in _birth_time(text, state):
        return None
    clock = text.partition("^")[0].strip()[8:]
    return to_time(clock) if len(clock) >= 4 else None


@CONVERTERS.register("hl7v2.endpoint", type="url", is_pure=True)
def endpoint(text: str, state: State) -> str | None:
    """An HD as a URL: ``urn:oid:``, ``urn:uuid:``, a URI as it is, ``dns:`` (RFC 4501) for a host name."""
    parts = split(text)
    identifier, kind = part(parts, 2, state), part(parts, 3, state)
    if kind == "DNS" and _HOST.fullmatch(identifier):
        return f"dns:{identifier}"
    found = uri_of(identifier, kind, state)
    if found is None:
        raise Unfit("the universal id is no address of the type that HD.3 names")
    return found


@CONVERTERS.register("hl7v2.first_software_name", type="string")
def first_software_name(text: str, state: State) -> str | None:
    """SFT-3 of the message's first SFT; nothing for a later one."""
    return plain(text, state) or None if state.segment is state.message.first("SFT") else None


@CONVERTERS.register("hl7v2.first_software_version", type="string")
def first_software_version(text: str, state: State) -> str | None:
    """SFT-2 of the message's first SFT; nothing for a later one."""
    return plain(text, state) or None if state.segment is state.message.first("SFT") else None


@CONVERTERS.register("hl7v2.procedure_period", type="Period")
def procedure_period(text: str, state: State) -> JsonObject:
    """PR1-5 as the start of a Period that ends PR1-7 minutes later; without an offset only a start date."""
    try:
        start = to_datetime(text.partition("^")[0].strip(), state.zone)
    except Unfit as problem:
        raise Unfit(problem.text, kept={"start": problem.kept} if problem.kept else None) from problem
    doubtful(text.partition("^")[0].strip(), state)
    minutes = plain(state.segment.field(7), state)
    if "T" not in start or not _MINUTES.fullmatch(minutes):
        raise Unfit("PR1-7 is no whole number of minutes: the end is not known", kept={"start": start})
    try:
        end = datetime.fromisoformat(start) + timedelta(minutes=int(minutes))
    except (ValueError, OverflowError):
        raise Unfit("the end of the procedure cannot be computed", kept={"start": start}) from None
    shown = end.isoformat()
    return {"start": start, "end": f"{shown[:-6]}Z" if start.endswith("Z") else shown}


@CONVERTERS.register("hl7v2.beside_date_of_death", type="boolean", is_pure=True)
def beside_date_of_death(text: str, state: State) -> None:
    """Nothing; PID-30 = N beside a date of death is an Issue, for one of the two is wrong."""
    if plain(text, state) == "N":
        raise Unfit("PID-30 says that the patient lives, PID-29 gives a date of death: the date was taken")


class _Category(NamedTuple):
    """One repetition of PID-10 or PID-22; ``kind``: ombCategory, detailed or '' (US Core cannot hold it)."""

    kind: str
    coding: JsonObject
    text: str
    further: tuple[JsonObject, ...] = ()
    """The alternate codings of the repetition."""


def _category(text: str, map_name: str, own_system: str, state: State) -> _Category:
    parts = split(text)
    code, display, name = (part(parts, number, state) for number in (1, 2, 3))
    name = part(parts, 14, state) or name
    codings = [
        other for number in (4, 10) if (other := _coding(parts, number, 17 if number == 4 else 20, state))
    ]
    further = tuple(codings)
    shown = (
        part(parts, 9, state)
        or display
        or code
        or next((one.get("display") or one["code"] for one in further), "")
    )
    system = _system(name, state) if name else state.systems.uri(own_system)
    held = (state.systems.uri("CDCREC"), state.systems.uri(own_system))
    if code and system in held:
        table = state.library.concept_map(map_name)
        found = table.translate(code, system) if table else None
        if found is not None:
            spoken = shown if shown != code else found.display or code
            return _Category("ombCategory", found.coding(), spoken, further)
        if _CDC_CODE.fullmatch(code):
            coding = {"system": held[0], "code": code, "display": display}
            return _Category(
                "detailed", {key: value for key, value in coding.items() if value}, shown, further
            )
    return _Category("", _coding(parts, 1, 14, state), shown, further)


def _coding(parts: list[str], number: int, oid: int, state: State) -> JsonObject:
    """The coding whose code is component ``number``; without a code there is none."""
    code, display, name = (part(parts, number + offset, state) for offset in range(3))
    name = part(parts, oid, state) or name
    system = _system(name, state) if name else ""
    if not code:
        return {}
    kept: JsonObject = {
        key: value for key, value in (("system", system), ("code", code), ("display", display)) if value
    }
    if name and not system:
        kept["_system"] = {"extension": [{"url": _ORIGINAL, "valueString": name}]}
    return kept


def _system(name: str, state: State) -> str:
    return state.systems.uri(name) or uri_of(name, "ISO", state) or ""


def _sorted(text: str, rule: _Rule, state: State) -> tuple[list[_Category], list[_Category]]:
    """(what US Core holds, what it does not) of a whole field."""
    held: list[_Category] = []
    rest: list[_Category] = []
    for raw in repetitions(text):
        found = _category(raw, rule.map, rule.system, state)
        if not found.text:
            continue
        broad = [item for item in held if item.kind == "ombCategory"]
        if not found.kind or (found.kind == "ombCategory" and len(broad) == rule.categories):
            rest.append(found)
        elif all(found.coding["code"] != item.coding["code"] for item in held):
            held.append(found)
            if found.further:
                rest.append(_Category("", {}, found.text, found.further))
    return held, rest


class _Rule(NamedTuple):
    """``categories``: how many OMB categories the extension may hold."""

    url: str
    map: str
    system: str
    categories: int


_RACE = _Rule(f"{_US_CORE}us-core-race", "us-core-race", "v2-0005", 5)
_ETHNICITY = _Rule(f"{_US_CORE}us-core-ethnicity", "us-core-ethnicity", "v2-0189", 1)


def _extension(text: str, rule: _Rule, state: State) -> JsonObject | None:
    held, _ = _sorted(text, rule, state)
    if not held:
        return None
    parts: list[JsonObject] = [
        {"url": item.kind, "valueCoding": item.coding}
        for kind in ("ombCategory", "detailed")
        for item in held
        if item.kind == kind
    ]
    parts.append({"url": "text", "valueString": ", ".join(item.text for item in held)})
    return {"url": rule.url, "extension": parts}


def _outside(text: str, rule: _Rule, state: State) -> Several | None:
    _, rest = _sorted(text, rule, state)
    concepts = (
        (
            {"coding": codings}
            if (codings := [one for one in (item.coding, *item.further) if one.get("code")])
            else {}
        )
        | {"text": item.text}
        for item in rest
    )
    return Several(concepts) if rest else None


@CONVERTERS.register("hl7v2.us_core_race", type="Extension", takes="field", is_pure=True)
def us_core_race(text: str, state: State) -> JsonObject | None:
    """PID-10 as the US Core race extension: OMB categories, other CDC codes as detail, and the text."""
    return _extension(text, _RACE, state)


@CONVERTERS.register("hl7v2.race_outside_us_core", type="CodeableConcept", takes="field", is_pure=True)
def race_outside_us_core(text: str, state: State) -> Several | None:
    """Repetitions of PID-10 that the US Core race extension cannot hold, as sent."""
    return _outside(text, _RACE, state)


@CONVERTERS.register("hl7v2.us_core_ethnicity", type="Extension", takes="field", is_pure=True)
def us_core_ethnicity(text: str, state: State) -> JsonObject | None:
    """PID-22 as the US Core ethnicity extension: one OMB category, CDC codes as detail, and the text."""
    return _extension(text, _ETHNICITY, state)


@CONVERTERS.register("hl7v2.ethnicity_outside_us_core", type="CodeableConcept", takes="field", is_pure=True)
def ethnicity_outside_us_core(text: str, state: State) -> Several | None:
    """Repetitions of PID-22 that the US Core ethnicity extension cannot hold, as sent."""
    return _outside(text, _ETHNICITY, state)


@CONVERTERS.register("identity.living_will", type="id")
def living_will(text: str, state: State) -> Facts:
    """One statement about a living will per patient (PD1-7): a later one replaces it."""
    return Facts((*patient_facts(state), "PD1-7"))
