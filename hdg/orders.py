"""What a message says of things that are stored under the number it gives, but not under the same id.

An id is made of all that tells one thing from others: the patient, the number that is given (placer's, else
filler's), the service. A cancellation often says less: an ORC without OBR, one of two numbers (HL7 v2.9 §4.5.1,
§10.6.1). And after a merge (§3.3.40) a visit, an order or a problem goes on under the surviving patient, while what
began it stands under the other record. Which resources are meant can only be told from what is stored; docs/hl7v2.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from hdg.answers import REQUESTS, answers
from hdg.charges import is_credit, is_taken_back
from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store.merge import base_of
from hdg.management.store.ready import Ready
from hdg.management.store.session import WriteSession
from hdg.management.store.stale import Stamp
from hdg.numbers import by_kind, common, kind_of, services
from hdg.order_states import CONTROLS, DONE, ENDED, RELEASES, control_of, status_of
from hdg.places import OVER, left_place
from hdg.sayings import Key, Named, Saying
from hdg.under_orders import corrects_another, due_doses, is_dose, orders_of

__all__ = ["Named", "named"]

_CHANGES = frozenset({"XO", "XX"})
_ACCEPTS = frozenset({"OK"})
"""An order that is accepted stands as it stood."""
_MARK = b'/order-control"'
_REPLACES = b'"replaces"'
_PLACED = b'"PLAC"'
_GIVEN = ("Immunization", "MedicationAdministration")
_MARKS = {
    **dict.fromkeys(REQUESTS, _MARK),
    **dict.fromkeys(_GIVEN, b'/administration-action"'),
    "ChargeItem": b'/transaction-type"',
    "Patient": _REPLACES,
}
_ORDERS = frozenset({"ORM", "OML", "OMG", "RDE", "RGV", "REF"})
"""Messages whose orders may have been cancelled by one that came before them."""
_NEVER = Stamp(0, 0)
_OFF = frozenset({"cancelled", "noshow", "entered-in-error"})
_WITHDRAWN = frozenset({"revoked", "entered-in-error"})
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
_REFERRED = "the referral is known under one of its numbers alone as well: both stay as they are"
_CORRECTED = "the update or deletion is of something that is not known: what is known under this number stays as it was"
_CREDITED = "the credit is under a number that is not known: the charge that it takes back stays billable"
_HOW_MUCH = "how much of the charge the credit takes back cannot be told: the charge stays billable beside it"
_BEFORE = "a credit is older than what the charge of its number says: which one it took back cannot be told; both stay"
_TWICE = "the appointment is known under one of its numbers alone as well: both stay as they are"
_WHICH = "several appointments are known under this number: none of them was changed"

_CHARGED = "code"
"""What each statement about a charge or a credit holds, and nothing else says."""

_What = Callable[[JsonObject, JsonObject], JsonObject]


def named(
    session: WriteSession, converted: Converted, made: Sequence[Ready] | None, received_us: int
) -> Named | None:
    """What a message says of stored resources that its own are not; None: nothing (the usual case).

    Looks things up only, so that it can be asked before anything is written.
    """
    if converted.answers:
        return answers(session, converted, received_us)
    if converted.patient_id is None:
        return None
    merged, survivors = session.merged_into(converted.patient_id), session.survivors(converted.patient_id)
    own = list(_own(converted, made, is_merged=bool(merged or survivors)))
    if not own:
        return None
    stamp = Stamp.of(converted.source.stated_us, received_us)
    look = _Look(session, converted, stamp, [converted.patient_id, *merged], survivors, own)
    for resource in own:
        look.at(resource)
    said = (*map(Saying, look.said.values()), *look.before)
    return Named(said, tuple(look.unclear)) if said or look.unclear else None


def _own(converted: Converted, made: Sequence[Ready] | None, *, is_merged: bool) -> Iterator[JsonObject]:
    """The message's own orders (of results: those with a control), appointments and merges; after a merge all that
    may go on in it.
    """
    is_order = converted.source.message_type[:3] in _ORDERS
    for each in converted.resources if made is None else made:
        if isinstance(each, Ready):
            mark = _MARKS.get(each.type)
            type_, is_marked = each.type, mark is not None and mark in each.tail
        else:
            type_ = each["resourceType"]
            is_marked = type_ in _MARKS and (type_ not in REQUESTS or bool(control_of(each)))
        if (
            type_ == "Appointment"
            or is_marked
            or (type_ in REQUESTS and (is_order or not _is_placed(each)))
            or (is_merged and type_ in _STANDS)
        ):
            yield each.resource() if isinstance(each, Ready) else each


def _replaced(resource: JsonObject) -> list[str]:
    """The records that a Patient has taken the place of."""
    links = resource.get("link", ()) if resource["resourceType"] == "Patient" else ()
    return [one["other"]["reference"].removeprefix("Patient/") for one in links if one["type"] == "replaces"]


class _Look:
    """Looks at the resources of one message. ``patients``: its patient, then the records merged into that one;
    ``survivors``: those that it was merged into.
    """

    def __init__(
        self,
        session: WriteSession,
        converted: Converted,
        stamp: Stamp,
        patients: list[str],
        survivors: list[str],
        own: Sequence[JsonObject],
    ) -> None:
        self.said: dict[Key, JsonObject] = {}
        self.before: list[Saying] = []
        """What was stated before about something that is only known now."""
        self.unclear: dict[tuple[str, str], None] = {}
        self._session = session
        self._sender = converted.source.sender
        self._is_referral = converted.source.message_type.startswith("REF")
        self._patients = patients
        self._survivors = survivors
        self._stamp = stamp
        self._charges = {one["id"]: one for one in own if one["resourceType"] == "ChargeItem"}
        self._ids = {(resource["resourceType"], resource["id"]) for resource in own}
        self._gaps = {(item.resource_type, item.resource_id, item.element) for item in converted.defaulted}

    def at(self, own: JsonObject) -> None:
        """What one of them says of others."""
        if own["resourceType"] == "Appointment":
            self._appointment(own)
            return
        if own["resourceType"] == "Patient":
            self._merge(own)
            return
        is_new = self._session.version(own["resourceType"], own["id"]) is None
        if own["resourceType"] in REQUESTS:
            self._request(own, is_new=is_new)
        elif own["resourceType"] == "ChargeItem":
            self._charge(own)
        elif (
            is_new and own["resourceType"] in _GIVEN and corrects_another(self._session, own, self._patients)
        ):
            self.unclear["RXA-21", _CORRECTED] = None
        if self._patients[1:] or self._survivors:
            self._goes_on(own)
            if is_new:
                self._went_on(own, self._survivors, _stands)
                self._went_on(own, self._patients[1:], _ended)

    def _charge(self, own: JsonObject) -> None:
        """A charge that credits under its number take back, those since it was charged last: whichever came first."""
        numbers = _numbers(own)
        beside = [one for one in self._charges.values() if numbers and _numbers(one) == numbers]
        known = {one["id"]: one for one in self._others(own, ("ChargeItem",), self._patients)}
        known |= {one["id"]: self._newest(one) for one in beside}
        charges = [one for one in known.values() if not is_credit(one)]
        if len(charges) != 1:
            if is_credit(own):
                self.unclear["FT1-6", _CREDITED] = None
            return
        charge, charged = charges[0], self._charged(charges[0])
        credits = [one for one in known.values() if is_credit(one)]
        since = [one for one in credits if self._charged(one).stated_us >= charged.stated_us]
        if any(one.get("status") != "aborted" for one in credits if one not in since):
            self.unclear["FT1-6", _BEFORE] = None
        is_all = is_taken_back(charge, since) if since else False
        if is_all is None:
            self.unclear["FT1-6", _HOW_MUCH] = None
        if is_all:
            self._abort([charge, *since])

    def _abort(self, items: Sequence[JsonObject]) -> None:
        """Ends charges and credits, just after the last of them: none that is told again is billable for that."""
        last = max(items, key=self._charged)
        stamp = self._charged(last)
        author = (
            self._sender
            if stamp == self._stamp
            else self._session.stated("ChargeItem", last["id"])[_CHARGED][1]
        )
        after = stamp._replace(received_us=stamp.received_us + 1)
        said = [
            Saying({"resourceType": "ChargeItem", "id": one["id"], "status": "aborted"}, after, author)
            for one in items
        ]
        self.before.extend(one for one in said if one not in self.before)

    def _charged(self, item: JsonObject) -> Stamp:
        """When a charge or a credit was stated last."""
        stored = self._session.stated("ChargeItem", item["id"]).get(_CHARGED)
        own = self._stamp if item["id"] in self._charges else _NEVER
        return own if stored is None else max(own, stored[0])

    def _newest(self, own: JsonObject) -> JsonObject:
        """A charge or credit of the message, or as it is stored, where that is newer or the same told before."""
        stored = self._session.current("ChargeItem", own["id"])
        if stored is None or self._session.stated("ChargeItem", own["id"])[_CHARGED][0] < self._stamp:
            return own
        return stored

    def _request(self, own: JsonObject, *, is_new: bool) -> None:
        if self._is_referral:
            if is_new:
                self._referral(own)
        elif not is_dose(own):
            self._order(own, control_of(own), is_new=is_new)
        elif is_new:
            self._due(own)

    def _referral(self, own: JsonObject) -> None:
        """One that is cancelled or taken back under one of its numbers alone. HL7 v2.9 §11.6.3."""
        others = list(self._others(own, ("ServiceRequest",), self._patients))
        status = self._stated(own, "status")
        if status not in _WITHDRAWN:
            if any(other.get("status") not in ENDED for other in others):
                self.unclear["RF1-6", _REFERRED] = None
            return
        for other in others:
            if other.get("status") not in DONE:
                self._say(other, {"status": status})

    def _due(self, dose: JsonObject) -> None:
        """A dose to give of an order that was ended or held before: it counts when that is the newer one."""
        for order in orders_of(self._session, dose, {self._sender}, self._patients):
            control, status = control_of(order), order.get("status")
            if control in CONTROLS - RELEASES:
                self._say_as(order, dose, {"status": status_of("MedicationRequest", order, status, control)})

    def _doses(self, orders: list[JsonObject], own: JsonObject, status: object, control: str) -> None:
        """The doses that are due end, wait and go on with their order."""
        for dose in due_doses(self._session, orders, {self._sender}, self._patients):
            if dose.get("status") not in DONE and not (control in RELEASES and dose.get("status") in ENDED):
                self._say(dose, {"status": status_of("MedicationRequest", own, status, control)})

    def _order(self, own: JsonObject, control: str, *, is_new: bool) -> None:
        is_bare = _is_bare(own)
        if not (is_bare or control in CONTROLS or (control in _CHANGES and is_new)):
            if is_new:
                self._ended_before(own)
            if not _is_placed(own):
                self._fulfilled(own)
            return
        status = self._stated(own, "status")
        is_group = is_bare and "identifier" not in own
        others = list(
            self._group(own)
            if is_group
            else self._others(own, REQUESTS if is_bare else (own["resourceType"],), self._patients)
        )
        is_known = (status is not None or control in _ACCEPTS) and others
        if is_bare and not is_known and ("identifier" in own or "requisition" in own):
            self.unclear["ORC-1", _NOTHING] = None
        same = [other for other in others if is_bare or _is_same_service(own, other)]
        if is_new and not same and any(other.get("status") not in ENDED for other in others):
            self.unclear["ORC-1", _OTHER_SERVICE if control in CONTROLS else _CHANGED] = None
        if status is None or not (is_bare or control in CONTROLS):
            return
        for other in same:
            held = other.get("status")
            if held not in DONE and not (control in RELEASES and held in ENDED):
                self._say(other, {"status": status_of(other["resourceType"], own, status, control)})
        if is_bare or own["resourceType"] == "MedicationRequest":
            self._doses([own, *same], own, status, control)

    def _ended_before(self, own: JsonObject) -> None:
        """A cancellation or hold of a new order that came before it: it counts when it is the newer one."""
        for other in self._others(own, REQUESTS, self._patients):
            control, status = control_of(other), other.get("status")
            is_meant = _is_bare(other) or (
                other["resourceType"] == own["resourceType"] and _is_same_service(own, other)
            )
            is_over = control in CONTROLS - RELEASES or (not _is_placed(other) and status in ENDED)
            if is_meant and is_over and own.get("status") not in DONE:
                self._say_as(other, own, {"status": status_of(own["resourceType"], other, status, control)})

    def _fulfilled(self, own: JsonObject) -> None:
        """What is over under the filler's number alone (a result) is over where both numbers are known."""
        status = self._stated(own, "status")
        if status in ENDED:
            for other in self._others(own, (own["resourceType"],), self._patients):
                if _is_same_service(own, other) and other.get("status") not in ENDED:
                    self._say(other, {"status": status})

    def _group(self, own: JsonObject) -> Iterator[JsonObject]:
        """The orders of the group that a control names alone (ORC-4). HL7 v2.9 §4.5.1.4."""
        number = own.get("requisition", {})
        for key in self._session.about(REQUESTS, self._patients) if number else ():
            other = self._session.current(*key)
            if other is None or key == (own["resourceType"], own["id"]):
                continue
            held = other.get("requisition") or other.get("groupIdentifier") or {}
            is_it = (held.get("system"), held.get("value")) == (number.get("system"), number.get("value"))
            if is_it and (number.get("system") or self._sender in self._session.senders(*key)):
                yield other

    def _merge(self, own: JsonObject) -> None:
        """A merge that comes after what went on under the record that is used from now on."""
        known = self._session.merged_into(own["id"])
        above = [own["id"], *self._session.survivors(own["id"])]
        for prior in _replaced(own):
            if prior not in known:
                for key in self._session.about(_STANDS, [prior, *self._session.merged_into(prior)]):
                    held = self._session.current(*key)
                    if held is not None:
                        self._went_on(held, above, _stands)
                        for other in self._others(held, (key[0],), above):
                            if _is_same_service(held, other):
                                self._say_as(held, other, _ended(held, other))

    def _went_on(self, held: JsonObject, records: Sequence[str], what: _What) -> None:
        """What other records of the person say of a thing's number is said of the thing, as it was said there."""
        for other in self._others(held, (held["resourceType"],), records):
            if _is_same_service(held, other):
                self._say_as(other, held, what(other, held))

    def _say_as(self, other: JsonObject, held: JsonObject, what: JsonObject) -> None:
        """Says of ``held`` what was said of another one, each element when that was; no value that fills a gap."""
        type_, key = held["resourceType"], (held["resourceType"], held["id"])
        stamps = self._session.stated(other["resourceType"], other["id"])
        senders = {self._sender} if key in self._ids else self._session.senders(*key)
        by_stamp: dict[tuple[Stamp, str], JsonObject] = {}
        status = stamps.get("status")
        if held.get("status") in OVER and not (status and self._is_since(status[0].stated_us, held)):
            what.pop("location", None)  # nobody is there any more
        for name, value in what.items():
            said = stamps.get(base_of(type_, name)) or status
            if said is not None and said[0].stated_us > 0:
                by_stamp.setdefault(said, {})[name] = value
        for (stamp, author), elements in by_stamp.items():
            # in the voice of who speaks of the thing, so that a list takes the place of theirs
            sender = next(iter(senders)) if len(senders) == 1 else author
            self.before.append(Saying({"resourceType": type_, "id": key[1], **elements}, stamp, sender))

    def _is_since(self, stated_us: int, held: JsonObject) -> bool:
        """Whether something was stated after the status of what is stored, or the message's own."""
        known = self._session.stated(held["resourceType"], held["id"]).get("status")
        return stated_us > (self._stamp.stated_us if known is None else known[0].stated_us)

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
        """What stands under the same number in a record that was merged into the patient's, or has taken its place,
        stands as this does.
        """
        type_ = own["resourceType"]
        said = {name: own[name] for name in own if self._stated(own, name) is not None} | {
            "resourceType": type_
        }
        for records, what in ((self._patients[1:], _stands), (self._survivors, _ended)):
            for other in self._others(own, (type_,), records):
                if (type_, other["id"]) not in self.said and _is_same_service(own, other):
                    found = _back(own, other) | what(said, other)
                    if other.get("status") in OVER and not self._is_since(self._stamp.stated_us, other):
                        found.pop("location", None)
                    self._say(other, found)

    def _stated(self, own: JsonObject, element: str) -> object:
        """The value of an element unless it only fills a gap."""
        is_gap = (own["resourceType"], own["id"], element) in self._gaps
        return None if is_gap else own.get(element)

    def _say(self, other: JsonObject, what: JsonObject) -> None:
        key = (other["resourceType"], other["id"])
        if what and key not in self._ids:
            self.said[key] = {"resourceType": key[0], "id": key[1], **what}

    def _others(
        self, own: JsonObject, types: Sequence[str], patients: Collection[str]
    ) -> Iterator[JsonObject]:
        """Stored resources that have one of its numbers, and no other number of a kind that both have."""
        numbers = _numbers(own)
        if not numbers:
            return
        own_key = (own["resourceType"], own["id"])
        senders = {self._sender} if own_key in self._ids else self._session.senders(*own_key)
        for key in self._session.bearing(types, own["identifier"], patients):
            other = self._session.current(*key)
            if key == own_key or other is None:
                continue
            found = common(numbers, _numbers(other))
            if not found:
                continue
            has_system = any(system for system, _ in found)
            if has_system or not senders.isdisjoint(self._session.senders(*key)):
                yield other


def _stands(one: JsonObject, other: JsonObject) -> JsonObject:
    """How a thing stands, for the same one in a record of before."""
    stands = {name: one[name] for name in one if name.startswith(_STANDS[one["resourceType"]])}
    return _of_visit(stands, other) if one["resourceType"] == "Encounter" else stands


def _ended(one: JsonObject, other: JsonObject) -> JsonObject:
    """The same for the record that is used now: of a visit, that it is over. Where it is, is said there."""
    if one["resourceType"] != "Encounter":
        return _stands(one, other)
    if one.get("status") not in OVER:
        return {}
    found = {"status": one["status"]}
    end = one.get("period", {}).get("end")
    return _of_visit(found if end is None else {**found, "period": {"end": end}}, other)


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
    is_back = own["resourceType"] == "Condition" and "clinicalStatus" in own and "clinicalStatus" not in other
    return {"clinicalStatus": own["clinicalStatus"]} if is_back else {}


def _is_placed(request: JsonObject | Ready) -> bool:
    """Whether it bears its placer's number."""
    if isinstance(request, Ready):
        return _PLACED in request.tail
    return any(kind_of(item) == "PLAC" for item in request.get("identifier", ()))


def _is_bare(request: JsonObject) -> bool:
    """An order control without detail: it says of no service, but of all under its number."""
    return request["resourceType"] == "ServiceRequest" and "code" not in request and bool(control_of(request))


def _is_same_service(own: JsonObject, other: JsonObject) -> bool:
    """Under one number of services there may be several; any other number is one thing's."""
    if own["resourceType"] != "ServiceRequest":
        return True
    return not services(own).isdisjoint(services(other))


def _numbers(resource: JsonObject) -> dict[str, set[tuple[str, str]]]:
    """Kind → (system, number). A number without a system is its sender's own."""
    return by_kind(resource, lambda item: (item.get("system", ""), item["value"]))
