"""An answer about an order that does not say whose it is (ORL, ORG, ORR without PID). HL7 v2.9 §4.4.7.

It is for the stored order that bears its number, where that is one person's: the placer who was answered knows whose
it is, and numbers of one authority are given once. docs/hl7v2.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from hdg.ingestion.converted import JsonObject
from hdg.management.store.session import WriteSession
from hdg.numbers import by_kind, common, services
from hdg.under_orders import is_dose

__all__ = ["REQUESTS", "answered", "subjects"]

REQUESTS = ("ServiceRequest", "MedicationRequest")
"""What is ordered."""

Number = tuple[str, str, str]
"""System, value, name of the authority."""


def answered(session: WriteSession, answer: JsonObject, sender: str) -> Iterator[JsonObject]:
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


def subjects(orders: list[JsonObject]) -> set[str]:
    """Whose orders they are."""
    return {order.get("subject", {}).get("reference", "") for order in orders}


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
