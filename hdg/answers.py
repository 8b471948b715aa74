"""An answer about an order that does not say whose it is (ORL, ORG, ORR without PID). HL7 v2.9 §4.4.7.

It is for the stored order that bears its number, where that is one person's: the placer who was answered knows whose
it is, and numbers of one authority are given once. docs/hl7v2.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store.merge import base_of, bases, own_items
from hdg.management.store.session import WriteSession
from hdg.management.store.stale import Stamp
from hdg.numbers import by_kind, common, services, whole
from hdg.order_states import CONTROL, DONE, ENDED, control_of, status_of
from hdg.sayings import Key, Named, Saying
from hdg.under_orders import is_dose

__all__ = ["REQUESTS", "answers"]

REQUESTS = ("ServiceRequest", "MedicationRequest")
"""What is ordered."""

Number = tuple[str, str, str]
"""System, value, name of the authority."""

_REASON = "http://hl7.org/fhir/StructureDefinition/request-statusReason"
_SAID_ONCE = frozenset({CONTROL, _REASON})
"""Extensions whose newest value takes the place of the sender's earlier one."""
_FINDS = frozenset({"code", "status"})
"""What leads to the order, and what has rules of its own."""
_OF_MEDICATION = frozenset({"extension", "identifier", "note", "priority", "requester", "statusReason"})
"""The elements that a MedicationRequest has as a ServiceRequest has them."""

_NOBODYS = "an answer without PID, and no order is known under its number: it was attached to none"
_WHOSE = "an answer without PID, and orders of several patients are known under its number: it was attached to none"
_KEPT = "an answer without PID: the order's {} says otherwise, or has no place for it, and stays as it is"


def answers(session: WriteSession, converted: Converted, now_us: int) -> Named | None:
    """What an answer without a patient says of the orders that are known under its numbers.

    Looks things up only. ``now_us``: when it was received.
    """
    stamp = Stamp.of(converted.source.stated_us, now_us)
    said: dict[Key, JsonObject] = {}
    unclear: dict[tuple[str, str], None] = {}
    answered: dict[Key, None] = {}
    patients: set[str] = set()
    for answer in converted.answers:
        orders = list(_answered(session, answer, converted.source.sender))
        whose = _subjects(session, orders)
        if len(whose) != 1:
            unclear["ORC-2", _WHOSE if orders else _NOBODYS] = None
            continue
        patients |= whose
        for order in orders:
            key = (order["resourceType"], order["id"])
            answered[key] = None
            contents = _Contents(session, order, said.get(key, {}), converted.source.sender, stamp)
            told = contents.of(answer)
            unclear |= {("ORC", _KEPT.format(element)): None for element in contents.kept}
            if told:
                said[key] = {**said.get(key, {}), "resourceType": key[0], "id": key[1], **told}
    if not answered and not unclear:
        return None
    patient = next(iter(patients)) if len(patients) == 1 else None
    return Named(tuple(map(Saying, said.values())), (*unclear,), (*answered,), patient or None)


def _answered(session: WriteSession, answer: JsonObject, sender: str) -> Iterator[JsonObject]:
    """The stored orders that an answer is about, whosever they are: those that have its number, and no other one of
    a kind (table 0203) that both have; of the service that it names, if any.

    A number without a system is its sender's own.
    """
    numbers = _numbers(answer)
    if not numbers:
        return
    for key in session.bearing(REQUESTS, answer["identifier"], None):
        order = session.current(*key)
        if order is None or not _is_ordered(order):
            continue
        found = common(numbers, _numbers(order))
        if not found or not _is_service(answer, order):
            continue
        has_system = any(system for system, _, _ in found)
        if has_system or sender in session.senders(*key):
            yield order


def _subjects(session: WriteSession, orders: list[JsonObject]) -> set[str]:
    """Ids of whose orders they are: of merged records, of the one that is used from now on."""
    found = {order.get("subject", {}).get("reference", "").removeprefix("Patient/") for order in orders}
    return {_in_use(session, patient) for patient in found}


def _in_use(session: WriteSession, patient: str) -> str:
    survivors = session.survivors(patient)
    return next((one for one in survivors if not session.survivors(one)), patient)


def _is_ordered(order: JsonObject) -> bool:
    """Whether it is an order, and neither a dose of one nor a control without detail."""
    return not is_dose(order) and (order["resourceType"] == "MedicationRequest" or "code" in order)


def _is_service(answer: JsonObject, order: JsonObject) -> bool:
    code = answer.get("code", {})
    if not (code.get("coding") or "text" in code):
        return True
    return "code" in order and not services(answer).isdisjoint(services(order))


def _numbers(order: JsonObject) -> dict[str, set[Number]]:
    return by_kind(
        order,
        lambda item: (item.get("system", ""), item["value"], item.get("assigner", {}).get("display", "")),
    )


class _Contents:
    """What an answer says of one stored order. ``kept``: elements that stay as they are, though it says otherwise.

    ``before``: what the same message has said of it already.
    """

    def __init__(
        self, session: WriteSession, order: JsonObject, before: JsonObject, sender: str, stamp: Stamp
    ) -> None:
        self.kept: list[str] = []
        self._order = {**order, **before}
        self._before = before
        self._type: str = order["resourceType"]
        self._sender = sender
        self._stamp = stamp
        self._parts = session.parts(self._type, order["id"])
        self._since = session.stated(self._type, order["id"], sender)

    def of(self, answer: JsonObject) -> JsonObject:
        """The elements to be stated: its state, what is added to lists, and what the order says nothing of."""
        found = self._state(answer)
        answer = self._of_type(answer)
        for base, names in bases("ServiceRequest", tuple(answer)).items():
            if base in _FINDS:
                continue
            if self._type != "ServiceRequest" and base not in _OF_MEDICATION:
                self.kept.append(base)
                continue
            new = {name: answer[name] for name in names}
            held = {name: value for name, value in self._order.items() if base_of(self._type, name) == base}
            if type(new.get(base)) is list and len(new) == 1:
                found |= self._list(base, new[base])
            elif not held:
                found |= new
            elif held != new:
                self.kept.append(base)
        security = self._security(answer)
        return found | ({"meta": {"security": security}} if security else {})

    def _state(self, answer: JsonObject) -> JsonObject:
        status, held = answer.get("status"), self._order.get("status")
        if status is None or held in DONE or (held in ENDED and status not in ENDED):
            return {}
        own = {"resourceType": "ServiceRequest"}
        return {"status": status_of(self._type, own, status, control_of(answer))}

    def _of_type(self, answer: JsonObject) -> JsonObject:
        """The answer with what a MedicationRequest says in another place, for one."""
        if self._type == "ServiceRequest" or "extension" not in answer:
            return answer
        found = {name: value for name, value in answer.items() if name != "extension"}
        for one in answer["extension"]:
            if one.get("url") == _REASON:
                found["statusReason"] = one["valueCodeableConcept"]
            elif one.get("url") == CONTROL:
                found["extension"] = [one]
            else:
                self.kept.append("extension")
        return found

    def _list(self, base: str, items: list[JsonObject]) -> JsonObject:
        """The sender's part of a list with what is new; nothing that it has said anew since comes back."""
        held = self._order.get(base, [])
        known = {whole(one) for one in held} if base == "identifier" else set()
        new = [one for one in items if one not in held and not (known and whole(one) in known)]
        since = self._since.get(base)
        if since is not None and since[0] > self._stamp:
            if any(base != "extension" or one.get("url") not in _SAID_ONCE for one in new):
                self.kept.append(base)
            return {}
        if not new:
            return {}
        gone = {one.get("url") for one in new} & _SAID_ONCE if base == "extension" else set()
        own = self._before.get(base) or own_items(self._parts, self._sender, base, held)
        return {base: [*(one for one in own if not gone or one.get("url") not in gone), *new]}

    def _security(self, answer: JsonObject) -> list[JsonObject]:
        """The labels of confidentiality (ORC-28): what is one is never less so by an answer."""
        labels = answer.get("meta", {}).get("security", [])
        held = self._order.get("meta", {}).get("security", [])
        if all(one in held for one in labels):
            return []
        own = own_items(self._parts, self._sender, "meta.security", held)
        return [*own, *(one for one in labels if one not in held)]
