"""What a message says of things that are stored under the number it gives, but not under the same id.

An id is made of all that tells one thing from others: the patient, the number that is given (placer's, else
filler's), the service. A cancellation often says less: an ORC without OBR, one of two numbers (HL7 v2.9 §4.5.1,
§10.6.1). And after a merge (§3.3.40) a visit, an order or a problem goes on under the surviving patient, while what
began it stands under the other record. Which resources are meant can only be told from what is stored; docs/hl7v2.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store.ready import Ready
from hdg.management.store.session import WriteSession
from hdg.management.store.stale import Stamp
from hdg.places import OVER, left_place

__all__ = ["Named", "named"]

_CONTROLS = frozenset(
    {"CA", "OC", "CR", "DC", "OD", "DR", "DF", "RP", "RQ", "RU", "HD", "OH", "HR", "RL", "OE", "OR"}
)
"""Table 0119: those that end, hold or release an order."""
_RELEASES = frozenset({"RL", "OE", "OR"})
_CHANGES = frozenset({"XO", "XX"})
_STOPPED = frozenset({"DC", "OD", "DR", "DF", "RP", "RQ", "RU"})
"""Those after which a prescription is ``stopped``, as in terminology/maps/medication-order-control.csv."""

_REQUESTS = ("ServiceRequest", "MedicationRequest")
_CONTROL = "https://hdg.dev/fhir/StructureDefinition/order-control"
_MARK = b'/order-control"'
_OFF = frozenset({"cancelled", "noshow", "entered-in-error"})
_ENDED = frozenset({"revoked", "cancelled", "stopped", "completed", "entered-in-error"})
_DONE = frozenset({"completed", "entered-in-error"})
_STANDS = {
    "CarePlan": ("status",),
    "Condition": ("clinicalStatus", "verificationStatus", "abatement"),
    "Encounter": ("status", "period", "location"),
    "Goal": ("lifecycleStatus",),
    "MedicationRequest": ("status",),
    "ServiceRequest": ("status",),
}
"""The elements that tell how a thing stands, which is so in every record of the person."""

_NOTHING = "an order control without OBR, and nothing is known that was ordered under this number"
_OTHER_SERVICE = "the control names a service that is not known under this number: what is, keeps its state"
_CHANGED = "the order is for another service now: what was ordered under this number before keeps its state"
_TWICE = "the appointment is known under one of its numbers alone as well: both stay as they are"
_WHICH = "several appointments are known under this number: none of them was changed"

Key = tuple[str, str]


class Named(NamedTuple):
    """``said``: what is to be stated besides. ``unclear``: (place, text) of what people have to look at."""

    said: tuple[JsonObject, ...]
    unclear: tuple[tuple[str, str], ...]

    def state(self, session: WriteSession, converted: Converted, received_us: int) -> None:
        """Stores it, under the message's stamp. Every resource stays its patient's."""
        source = converted.source
        for one in self.said:
            session.statement(
                one,
                sender=source.sender,
                institution=source.institution,
                stamp=Stamp.of(source.stated_us, received_us),
            )


def named(session: WriteSession, converted: Converted, made: Sequence[Ready] | None) -> Named | None:
    """What a message says of stored resources that its own are not; None: nothing (the usual case).

    Looks things up only, so that it can be asked before anything is written.
    """
    if converted.patient_id is None:
        return None
    merged = session.merged_into(converted.patient_id)
    own = list(_own(converted, made, is_merged=bool(merged)))
    if not own:
        return None
    look = _Look(session, converted, [converted.patient_id, *merged], own)
    for resource in own:
        look.at(resource)
    return Named(tuple(look.said.values()), tuple(look.unclear)) if look.said or look.unclear else None


def _own(converted: Converted, made: Sequence[Ready] | None, *, is_merged: bool) -> Iterator[JsonObject]:
    """The message's own orders with a control, and appointments; after a merge all that may go on in it."""
    for each in converted.resources if made is None else made:
        if isinstance(each, Ready):
            type_, is_marked = each.type, _MARK in each.tail
        else:
            type_, is_marked = each["resourceType"], bool(_control(each))
        if type_ == "Appointment" or (type_ in _REQUESTS and is_marked) or (is_merged and type_ in _STANDS):
            yield each.resource() if isinstance(each, Ready) else each


def _control(resource: JsonObject) -> str:
    """ORC-1, where it is none of NW and RE."""
    for extension in resource.get("extension", ()):
        if extension.get("url") == _CONTROL:
            return str(extension["valueCodeableConcept"]["coding"][0].get("code", ""))
    return ""


class _Look:
    """Looks at the resources of one message. ``patients``: its patient, then the records merged into that one."""

    def __init__(
        self, session: WriteSession, converted: Converted, patients: list[str], own: Sequence[JsonObject]
    ) -> None:
        self.said: dict[Key, JsonObject] = {}
        self.unclear: dict[tuple[str, str], None] = {}
        self._session = session
        self._sender = converted.source.sender
        self._patients = patients
        self._ids = {(resource["resourceType"], resource["id"]) for resource in own}
        self._gaps = {(item.resource_type, item.resource_id, item.element) for item in converted.defaulted}

    def at(self, own: JsonObject) -> None:
        """What one of them says of others."""
        if own["resourceType"] == "Appointment":
            self._appointment(own)
            return
        if own["resourceType"] in _REQUESTS:
            self._order(own, _control(own))
        if self._patients[1:]:
            self._goes_on(own)

    def _order(self, own: JsonObject, control: str) -> None:
        is_bare = own["resourceType"] == "ServiceRequest" and "code" not in own and bool(control)
        is_new = self._session.version(own["resourceType"], own["id"]) is None
        if not (is_bare or control in _CONTROLS or (control in _CHANGES and is_new)):
            return
        status = self._stated(own, "status")
        others = list(self._others(own, _REQUESTS if is_bare else (own["resourceType"],), self._patients))
        if is_bare and (status is None or not others) and "identifier" in own:
            self.unclear["ORC-1", _NOTHING] = None
        same = [other for other in others if is_bare or _is_same_service(own, other)]
        if is_new and not same and any(other.get("status") not in _ENDED for other in others):
            self.unclear["ORC-1", _OTHER_SERVICE if control in _CONTROLS else _CHANGED] = None
        if status is None or not (is_bare or control in _CONTROLS):
            return
        for other in same:
            held = other.get("status")
            if held not in _DONE and not (control in _RELEASES and held in _ENDED):
                self._say(other, {"status": _status_of(other["resourceType"], own, status, control)})

    def _appointment(self, own: JsonObject) -> None:
        if self._session.version("Appointment", own["id"]) is not None:
            return
        others = list(self._others(own, ("Appointment",), self._patients))
        status = self._stated(own, "status")
        if status not in _OFF:
            if any(other.get("status") not in _OFF for other in others):
                self.unclear["SCH-1", _TWICE] = None
        elif len(others) > 1:
            self.unclear["SCH-1", _WHICH] = None
        else:
            for other in others:
                self._say(other, {"status": status})

    def _goes_on(self, own: JsonObject) -> None:
        """What stands under the same number in a record that was merged into the patient's stands as this does."""
        type_ = own["resourceType"]
        stands = {
            name: own[name]
            for name in own
            if name.startswith(_STANDS[type_]) and self._stated(own, name) is not None
        }
        for other in self._others(own, (type_,), self._patients[1:]):
            if (type_, other["id"]) not in self.said and _is_same_service(own, other):
                what = _of_visit(stands, other) if type_ == "Encounter" else _back(own, other) | stands
                if what:
                    self._say(other, what)

    def _stated(self, own: JsonObject, element: str) -> object:
        """The value of an element unless it only fills a gap."""
        is_gap = (own["resourceType"], own["id"], element) in self._gaps
        return None if is_gap else own.get(element)

    def _say(self, other: JsonObject, what: JsonObject) -> None:
        key = (other["resourceType"], other["id"])
        if key not in self._ids:
            self.said[key] = {"resourceType": key[0], "id": key[1], **what}

    def _others(
        self, own: JsonObject, types: Sequence[str], patients: Collection[str]
    ) -> Iterator[JsonObject]:
        """Stored resources that have one of its numbers, and no other number of a kind that both have."""
        numbers = _numbers(own)
        if not numbers:
            return
        for key in self._session.bearing(types, own["identifier"], patients):
            other = self._session.current(*key)
            if key == (own["resourceType"], own["id"]) or other is None:
                continue
            theirs = _numbers(other)
            both = [kind for kind in numbers if not numbers[kind].isdisjoint(theirs.get(kind, ()))]
            if not both or any(numbers[kind].isdisjoint(theirs[kind]) for kind in numbers if kind in theirs):
                continue
            has_system = any(system for kind in both for system, _ in numbers[kind] & theirs[kind])
            if has_system or self._sender in self._session.senders(*key):
                yield other


def _of_visit(stands: JsonObject, other: JsonObject) -> JsonObject:
    """How a visit stands, in the record of before: a beginning stays, and when it is over nobody is in a bed."""
    found = dict(stands)
    if "period" in found:
        found["period"] = {**other.get("period", {}), **found["period"]}
    status = found.get("status", other.get("status"))
    if status in OVER and ("status" in found or "location" in found):
        places = found.get("location", other.get("location", ()))
        if places:
            found["location"] = [left_place(place, status) for place in places]
    return found


def _back(own: JsonObject, other: JsonObject) -> JsonObject:
    """A problem that was taken back, and is stated again (withdrawn.py), has a clinical status again."""
    is_back = "clinicalStatus" in own and "clinicalStatus" not in other
    return {"clinicalStatus": own["clinicalStatus"]} if is_back else {}


def _status_of(type_: str, own: JsonObject, status: object, control: str) -> object:
    if type_ == own["resourceType"] or status != "revoked":
        return status
    return "stopped" if control in _STOPPED else "cancelled"


def _is_same_service(own: JsonObject, other: JsonObject) -> bool:
    """Under one number of services there may be several; any other number is one thing's."""
    if own["resourceType"] != "ServiceRequest":
        return True
    return not _services(own).isdisjoint(_services(other))


def _services(request: JsonObject) -> set[tuple[str, str]]:
    code = request.get("code", {})
    found = {(item.get("system", ""), item.get("code", "")) for item in code.get("coding", ())}
    return found or {("", code.get("text", ""))}


def _numbers(resource: JsonObject) -> dict[str, set[tuple[str, str]]]:
    """Kind → (system, number). A number without a system is its sender's own."""
    found: dict[str, set[tuple[str, str]]] = {}
    for item in resource.get("identifier", ()):
        codes = [coding.get("code", "") for coding in item.get("type", {}).get("coding", ())]
        if item.get("value"):
            found.setdefault(codes[0] if codes else "", set()).add((item.get("system", ""), item["value"]))
    return found
