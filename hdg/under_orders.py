"""What is told under an order's number without bearing it: doses to give, doses that were given.

A dose that is due (RGV) ends, waits and goes on with its order (HL7 v2.9 §4A.4.6). A correction of an administration
(RXA-21, §4A.4.7) names it by the order, RXA-1 and RXA-2, of vaccinations by ORC-3; its id holds the time and the drug
too, and one that corrects those has another. docs/hl7v2.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from hdg.ingestion.converted import JsonObject
from hdg.management.store.session import WriteSession
from hdg.numbers import kind_of, whole

__all__ = ["corrects_another", "due_doses", "is_dose", "order_numbers", "orders_of"]

_ACTION = "https://hdg.dev/fhir/StructureDefinition/administration-action"
_COUNTERS = frozenset(
    f"https://hdg.dev/fhir/StructureDefinition/{name}" for name in ("give-number", "administration-number")
)

Number = tuple[str, str, str]
"""Kind (table 0203), system, value."""


def is_dose(resource: JsonObject) -> bool:
    """Whether it is a dose to give of an order (RXG)."""
    return resource.get("intent") == "instance-order"


def order_numbers(orders: Sequence[JsonObject]) -> set[Number]:
    """The numbers that orders bear."""
    return {whole(item) for order in orders for item in order.get("identifier", ()) if item.get("value")}


def due_doses(
    session: WriteSession, orders: Sequence[JsonObject], senders: Collection[str], patients: Collection[str]
) -> Iterator[JsonObject]:
    """The stored doses to give of these orders."""
    numbers, ids = order_numbers(orders), {f"MedicationRequest/{order['id']}" for order in orders}
    for key in session.about(("MedicationRequest",), patients):
        dose = session.current(*key)
        if dose is None or not is_dose(dose):
            continue
        for based in dose.get("basedOn", ()):
            number = whole(based.get("identifier", {}))
            is_known = number in numbers and (number[1] or not session.senders(*key).isdisjoint(senders))
            if is_known or based.get("reference") in ids:
                yield dose
                break


def orders_of(
    session: WriteSession, dose: JsonObject, senders: Collection[str], patients: Collection[str]
) -> Iterator[JsonObject]:
    """The stored orders whose number a dose gives, and what controls them (an ORC without detail)."""
    given = [item["identifier"] for item in dose.get("basedOn", ()) if "identifier" in item]
    if not given:
        return
    for key in session.bearing(("MedicationRequest", "ServiceRequest"), given, patients):
        order = session.current(*key)
        common = set() if order is None else order_numbers([order]) & {whole(item) for item in given}
        if order is not None and (
            any(number[1] for number in common) or (common and not session.senders(*key).isdisjoint(senders))
        ):
            yield order


def corrects_another(session: WriteSession, own: JsonObject, patients: Collection[str]) -> bool:
    """Whether an update or deletion of something that is not known may be of something that is.

    ``own``: a new Immunization or MedicationAdministration of the message.
    """
    if own.get("status") != "entered-in-error" and not _is_update(own):
        return False
    type_ = own["resourceType"]
    if type_ == "Immunization":
        numbers = [item for item in own.get("identifier", ()) if kind_of(item) == "FILL"]
        keys = session.bearing((type_,), numbers, patients)
    else:
        keys = session.about((type_,), patients)
    return any(
        other is not None
        and other["id"] != own["id"]
        and other.get("status") != "entered-in-error"
        and (type_ == "Immunization" or _dose_of(other) == _dose_of(own))
        for other in (session.current(*key) for key in keys)
    )


def _is_update(own: JsonObject) -> bool:
    return any(extension.get("url") == _ACTION for extension in own.get("extension", ()))


def _dose_of(administration: JsonObject) -> tuple[object, ...]:
    """The order and the counters of an administration."""
    request = administration.get("request", {})
    counters = sorted(
        (extension["url"], extension["valueUnsignedInt"])
        for extension in administration.get("extension", ())
        if extension.get("url") in _COUNTERS
    )
    return (request.get("reference"), whole(request.get("identifier", {})), *counters)
