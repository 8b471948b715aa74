"""De-identification: what of a resource a researcher is shown, as a pure function of the resource.

After 45 CFR 164.514(b)(2) (Safe Harbor), with pseudonyms and moved dates in place of leaving them out. Only what
elements.csv lists is shown, and of that only values that cannot be text: codes of listed systems, numbers, units,
dates (moved by one secret number of days), references (to shown types, by pseudonym). docs/research.md tells it all.

Nothing gets lost in a way that changes what remains: a listed element whose value is not shown says so
(R4 extension-data-absent-reason.html, ``masked``); where an element that modifies others would get lost, the whole
resource is not shown. What comes out is valid R4, or nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from hdg.fhir.ids import resource_id
from hdg.fhir.json import JsonObject
from hdg.fhir.references import contained, reference_parts
from hdg.fhir.validate import validate
from hdg.usage.research import units, values
from hdg.usage.research.coding import coding
from hdg.usage.research.dates import Calendar
from hdg.usage.research.elements import SHOWN, Member, Shape, shape, shown_elements

__all__ = ["AGES", "MOST_DAYS", "SHOWN", "Deidentifier", "shown_elements"]

MOST_DAYS = 364
"""Dates are moved back by 1 to this many days. Not forward: a date after today would betray by how much."""
_LABEL: JsonObject = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "PSEUDED",
}
_OBSERVED = frozenset({"Observation", "Observation.component"})
AGES = frozenset(
    {
        *(
            ("http://loinc.org", code)
            for code in ("30525-0", "21611-9", "21612-7", "29553-5", "35659-2", "63900-5")
        ),
        *(("http://snomed.info/sct", code) for code in ("397669002", "424144002", "445518008")),
    }
)
"""Observations of an age: a number without a unit of time, which could not be folded, is not shown."""
_DECIDING = frozenset({"boolean", "code", "CodeableConcept"})
"""Types of modifiers without whose value the resource says something else (a date of death still says: dead)."""
_PLAIN: Mapping[str, Callable[[JsonObject], JsonObject | None]] = {
    "CodeableConcept": values.codeable,
    "Coding": coding,
    "Range": values.range_,
    "Ratio": values.ratio,
}
_KEY_BYTES = 32


class Deidentifier:
    """One project's view of resources. Thread-safe; holds no state but its keys."""

    __slots__ = ("_base", "_dates", "_ids")

    def __init__(self, project_key: bytes, base: str = "") -> None:
        """``project_key``: 32 secret bytes of this project alone. ``base``: our own service base URL; absolute
        references below it are taken as our own. Raises ValueError for a key of another length."""
        if len(project_key) != _KEY_BYTES:
            raise ValueError("a project's key has 32 bytes")
        self._ids = hmac.digest(project_key, b"hdg research pseudonyms", hashlib.sha256)
        self._dates = hmac.digest(project_key, b"hdg research dates", hashlib.sha256)
        self._base = base.rstrip("/") + "/" if base else ""

    def pseudonym(self, type_: str, id_: str) -> str:
        """The id that the project sees: 32 characters of ``a-z2-7``, keyed, always the same."""
        return resource_id(self._ids, type_, "", (id_,))

    def offset_days(self, person: str) -> int:
        """By how many days the dates of a person are moved: -364 to -1, always the same within the project.

        ``person``: the id of the person's record; one and the same for linked records of one person.
        """
        drawn = int.from_bytes(hmac.digest(self._dates, person.encode(), hashlib.sha256)[:8], "big")
        return -1 - drawn % MOST_DAYS

    def resource(self, content: JsonObject, offset_days: int | None, today: date) -> JsonObject | None:
        """What the project sees of a resource; None: nothing. ``content`` is not changed.

        ``offset_days``: of the patient whom it is about; None: it is about no patient, then no date is shown.
        ``today``: ages are counted up to it.
        """
        kind = content.get("resourceType")
        if type(kind) is not str or kind not in SHOWN:
            return None
        try:
            shown = _Resource(self, content, Calendar(offset_days, today)).shown(kind)
        except (_Withheld, RecursionError):
            return None
        return None if validate(shown) else shown

    def local(self, reference: str) -> tuple[str, str] | None:
        """(type, id) of a literal reference to a resource of ours; None for any other text."""
        text = reference.removeprefix(self._base) if self._base else reference
        return None if "://" in text else reference_parts(text)


class _Withheld(Exception):  # never leaves this module
    """What remains of the resource could mislead."""


def _is_unread_age(observation: JsonObject, key: str) -> bool:
    """Whether the property is the value of an observed age, and not a quantity of time."""
    if not key.startswith("value"):
        return False
    code = observation.get("code")
    listed = code.get("coding") if type(code) is dict else None
    codings = [coding(item) for item in listed if type(item) is dict] if type(listed) is list else []
    if not any(item is not None and (item["system"], item["code"]) in AGES for item in codings):
        return False
    found = (
        values.quantity(observation[key])
        if key == "valueQuantity" and type(observation[key]) is dict
        else None
    )
    return found is None or not units.is_time(str(found.get("code", found.get("unit", ""))))


class _Resource:
    """One resource on its way; ``inner``: the contained ones that something shown refers to, old id → new."""

    def __init__(self, project: Deidentifier, content: JsonObject, calendar: Calendar) -> None:
        self.project = project
        self.content = content
        self.calendar = calendar
        self.inner: dict[str, str | None] = {}
        self.contained: list[JsonObject] = []

    def shown(self, kind: str) -> JsonObject:
        head: JsonObject = {"resourceType": kind}
        if type(id_ := self.content.get("id")) is str:
            head["id"] = self.project.pseudonym(kind, id_)
        head["meta"] = {"security": [dict(_LABEL)]}
        body = self.object(kind, self.content)
        if self.contained:
            head["contained"] = self.contained
        return head | body

    # --- objects -------------------------------------------------------------------------------------------

    def object(self, owner: str, value: JsonObject) -> JsonObject:
        """The shown elements of an object, and masks for those that R4 demands."""
        allowed = shape(owner)
        if not allowed.modifiers.isdisjoint(value):
            raise _Withheld
        shown: JsonObject = {}
        for key, item in value.items():
            stands_for = allowed.masks.get(key)
            if stands_for is None or (key[0] == "_" and key[1:] in value):
                continue
            member = allowed.members.get(key)
            if member is not None and not (owner in _OBSERVED and _is_unread_age(value, key)):
                shown |= self.member(owner, member, item, value.get("_" + key))
            elif key[0] == "_" and key[1:] in allowed.members:
                shown |= self.member(owner, allowed.members[key[1:]], None, item)
            else:
                beside = item if key[0] == "_" else value.get("_" + key)
                shown |= self.masked(owner, stands_for, beside)
        return self.completed(owner, allowed, shown)

    def completed(self, owner: str, allowed: Shape, shown: JsonObject) -> JsonObject:
        for every, member in allowed.required:
            if every.isdisjoint(shown):
                shown |= self.masked(owner, member, None)
        return shown

    def member(self, owner: str, member: Member, value: Any, companion: Any) -> JsonObject:
        """A property (and its companion): shown, masked or, where nothing of meaning was there, left out."""
        if member.is_list:
            return self.items(owner, member, value, companion)
        found = self.value(member, value)
        if found is None and member.is_backbone:
            return {}
        return self.masked(owner, member, companion or value) if found is None else {member.name: found}

    def items(self, owner: str, member: Member, value: Any, companion: Any) -> JsonObject:
        """A list: what is shown of it, and one mask for all the rest; of primitives each item's mask beside it."""
        items = value if type(value) is list else []
        beside = companion if type(companion) is list else []
        found = [self.value(member, item) for item in items]
        kept = [item for item in found if item is not None]
        if member.is_backbone:
            return {member.name: kept} if kept else {}
        if not kept:
            return self.masked(owner, member, (beside or items or [None])[0])
        if member.is_primitive and len(kept) < len(found):
            masks = [
                None if item is not None else values.absent(beside[at] if at < len(beside) else None)
                for at, item in enumerate(found)
            ]
            return {member.name: found, "_" + member.name: masks}
        lost = [item for item, shown in zip(items, found, strict=True) if shown is None]
        return {member.name: [*kept, values.absent(lost[0])] if lost else kept}

    def masked(self, owner: str, member: Member, element: Any) -> JsonObject:
        """What says that a value is not shown. ``element``: the value or companion that may say why by itself."""
        if member.is_modifier and member.kind in _DECIDING:
            raise _Withheld
        mask = values.absent(element)
        if owner in _OBSERVED and member.name.startswith("value"):
            reason = {"system": values.REASONS, "code": mask["extension"][0]["valueCode"]}
            return {"dataAbsentReason": {"coding": [reason]}}
        return {"_" * member.is_primitive + member.name: [mask] if member.is_list else mask}

    # --- values --------------------------------------------------------------------------------------------

    def value(self, member: Member, value: Any) -> Any:
        """What is shown of one value; None: nothing."""
        if member.is_primitive:
            return self.primitive(member, value)
        if type(value) is not dict:
            return None
        plain = _PLAIN.get(member.kind)
        if plain is not None:
            return plain(value)
        match member.kind:
            case "Quantity" | "Age" | "Duration":
                return values.quantity(value, member.is_simple)
            case "Period":
                return values.period(value, self.calendar)
            case "Address":
                return values.address(value, self.calendar)
            case "Reference":
                return self.reference(value)
        return self.object(member.kind, value) or None

    def primitive(self, member: Member, value: Any) -> Any:
        match member.kind:
            case "date" | "dateTime" | "instant":
                return self.calendar.moved(value)
            case "code":
                return values.bound_code(value, member.binding)
            case "time":
                return values.clock(value)
            case "string":
                return values.samples(value)
        return values.number(value, member.kind)

    def reference(self, value: JsonObject) -> JsonObject | None:
        """A Reference to a shown type, by pseudonym and without version; or to what is contained."""
        text = value.get("reference")
        if type(text) is not str:
            return None
        if text.startswith("#"):
            inner = self.inside(text[1:]) if text != "#" else ""
            return None if inner is None else {"reference": "#" + inner}
        parts = self.project.local(text)
        if parts is None or parts[0] not in SHOWN:
            return None
        return {"reference": f"{parts[0]}/{self.project.pseudonym(*parts)}"}

    def inside(self, id_: str) -> str | None:
        """The new id of a contained resource, de-identified when it is first referred to; None: not shown."""
        if id_ in self.inner:
            return self.inner[id_]
        found = contained(self.content, "#" + id_)
        kind = found.get("resourceType") if found is not None else None
        if found is None or type(kind) is not str or kind not in SHOWN:
            return None
        new = self.inner[id_] = str(len(self.inner) + 1)
        try:
            self.contained.append({"resourceType": kind, "id": new, **self.object(kind, found)})
        except _Withheld:
            self.inner[id_] = None
        return self.inner[id_]
