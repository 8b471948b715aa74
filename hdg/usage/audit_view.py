"""What of an AuditEvent its reader is shown: nothing about anybody but the patient whom it is about. Pure.

R4 auditevent.html; docs/access-policy.md#the-trail. An access may have been about several patients: what was asked
(``Patient?family=…``, ``subject=Patient/a,Patient/b``) and the resources that an operation names can tell of the
others. So only this is shown: entities that are the patient, or that are known to be about the patient; of what was
asked the form, the patient's own references, and to the patient the codes asked for. Each thing is left out unless it
is known to be harmless, and what was left out is said by the label REDACTED.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from hdg.fhir import definitions
from hdg.management.store.forms import coded_numbers

__all__ = ["View", "asked_about", "shown"]

JsonObject = dict[str, Any]

HIDDEN = "…"
_REDACTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "REDACTED",
    "display": "redacted",
}
_ABOUT = frozenset(
    {"read", "vread", "history-instance", "create", "update", "delete", "patch", "transaction"}
)
"""Interactions whose entities are resources about the patient, since it was written about that patient for them."""
_WORDS = frozenset(
    {
        *("_history", "_search", "*", "metadata", "dicomweb", "studies", "series", "instances", "rendered"),
        *("frames", "thumbnail", "bulkdata"),
        *("C-FIND", "C-MOVE", "C-GET", "PATIENT", "STUDY", "SERIES", "IMAGE"),
        *("hdg", "export", "--deid", "--ccd", "--patient", "--project"),
    }
)
"""What may stand in the first part of what was asked, and tells nothing."""
_OPERATION = re.compile(r"\$[a-z\-]{1,32}\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:\-]{0,127}\Z")
_HARMLESS = re.compile(r"[A-Za-z0-9_.:/|,\-]{1,200}\Z")
_PLAIN = frozenset(
    {
        *(
            "_count",
            "_total",
            "_sort",
            "_summary",
            "_elements",
            "_include",
            "_revinclude",
            "_type",
            "_format",
        ),
        *("_since", "_at", "_lastUpdated", "date"),
    }
)
_CODED_MODIFIERS = frozenset({"", "not", "missing"})
_SPLIT = re.compile(r"([/ ])")
_DIGITS = re.compile(r"[0-9]{1,9}\Z")


@dataclass(frozen=True, slots=True)
class View:
    """Who is shown an event. ``own``: ids of the patient's records; ``known``: ``Type/id`` of resources that are about
    the patient; ``with_codes``: the codes asked for too, which an auditor is not shown.
    """

    own: frozenset[str]
    known: frozenset[str]
    with_codes: bool


def asked_about(event: JsonObject) -> Iterator[str]:
    """``Type/id`` of the entities of which it must be found out whether they are about the patient."""
    if not _is_about(event):
        for entity in event.get("entity", ()):
            name = _name_of(entity)
            if name and not name.startswith("Patient/"):
                yield name


def shown(event: JsonObject, view: View) -> JsonObject:
    """The event as that view has it; ``event`` is not changed."""
    is_about = _is_about(event)
    kept: list[JsonObject] = []
    is_whole = True
    for entity in event.get("entity", ()):
        found = _entity(entity, view, is_about=is_about)
        if found is None:
            is_whole = False
            continue
        if "query" in entity:
            text = _query(entity["query"], view)
            is_whole = is_whole and HIDDEN not in text
            found = {**entity, "query": base64.b64encode(text.encode()).decode()}
        kept.append(found)
    meta: JsonObject = {"lastUpdated": event["recorded"]}
    if not is_whole:
        meta["security"] = [_REDACTED]
    head = {"resourceType": event["resourceType"], "id": event["id"], "meta": meta}
    rest = {name: value for name, value in event.items() if name not in head and name != "entity"}
    return {**head, **rest, **({"entity": kept} if kept else {})}


def _is_about(event: JsonObject) -> bool:
    """Whether its entities are about the patient by the way it was written. A researcher's are pseudonyms."""
    is_research = any(
        policy.startswith("urn:hdg:project:")
        for agent in event.get("agent", ())
        for policy in agent.get("policy", ())
    )
    return not is_research and any(one.get("code") in _ABOUT for one in event.get("subtype", ()))


def _name_of(entity: JsonObject) -> str:
    """``Type/id`` of the resource that an entity is; '' for none."""
    reference: str = entity.get("what", {}).get("reference", "")
    return "/".join(reference.split("/")[:2])


def _entity(entity: JsonObject, view: View, *, is_about: bool) -> JsonObject | None:
    if "query" in entity:
        return entity
    type_, _, id_ = _name_of(entity).partition("/")
    if type_ == "Patient":
        return entity if id_ in view.own else None
    return entity if id_ and (is_about or f"{type_}/{id_}" in view.known) else None


def _query(encoded: str, view: View) -> str:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        text = HIDDEN
    return "\n".join(_line(line, view) for line in text.split("\n"))


def _line(text: str, view: View) -> str:
    """One search or operation, as the trail has it: a place below the base, and perhaps its parameters."""
    place, mark, parameters = text.partition("?")
    made = _place(place, view)
    if not mark:
        return made
    named = [part for part in made.split("/") if part in definitions.resource_types()]
    if not named and place not in (
        "",
        "_history",
    ):  # not of the FHIR API, which knows the names of its parameters
        return made + mark + HIDDEN
    type_ = named[-1] if named else ""
    pairs = parse_qsl(parameters, keep_blank_values=True, errors="replace")
    return made + mark + "&".join(_parameter(type_, name, value, view) for name, value in pairs)


def _place(text: str, view: View) -> str:
    types = definitions.resource_types()
    parts = _SPLIT.split(text)
    made: list[str] = []
    for at, part in enumerate(parts):
        before = parts[at - 2] if at > 1 else ""
        is_kept = (
            part in ("", "/", " ")
            or part in types
            or part in _WORDS
            or _OPERATION.match(part) is not None
            or (before == "_history" and _DIGITS.match(part) is not None)
            or (before in ("Patient", "--patient") and part in view.own)
            or (at > 1 and f"{before}/{part}" in view.known)
        )
        made.append(part if is_kept else HIDDEN)
    return "".join(made)


def _parameter(type_: str, name: str, value: str, view: View) -> str:
    if not _NAME.match(name):
        return f"{HIDDEN}={HIDDEN}"
    base, _, modifier = name.partition(":")
    if base in _PLAIN and _HARMLESS.match(value):
        return f"{name}={value}"
    if view.with_codes and modifier in _CODED_MODIFIERS and _HARMLESS.match(value) and _is_coded(type_, base):
        return f"{name}={value}"
    named = [one for one in value.split(",") if one.removeprefix("Patient/") in view.own]
    others = [] if len(named) == len(value.split(",")) else [HIDDEN]
    return f"{name}={','.join([*named, *others])}"


def _is_coded(type_: str, code: str) -> bool:
    """Whether a parameter asks for codes, which are nobody's."""
    return bool(type_) and any(coded_numbers(type_, code))
