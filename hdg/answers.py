"""An answer about an order that does not say whose it is (ORL, ORG, ORR without PID). HL7 v2.9 §4.4.7.

It is for the stored order that bears its number, where that is one person's: the placer who was answered knows whose
it is, and numbers of one authority are given once. docs/hl7v2.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from hdg.ingestion.converted import JsonObject
from hdg.management.store.session import WriteSession

__all__ = ["answered", "subjects"]

_REQUESTS = ("ServiceRequest", "MedicationRequest")

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
    for key in session.bearing(_REQUESTS, answer["identifier"], None):
        order = session.current(*key)
        if order is None or not _is_ordered(order):
            continue
        theirs = _numbers(order)
        both = [kind for kind in numbers if kind in theirs]
        common = [numbers[kind] & theirs[kind] for kind in both]
        if not common or not all(common) or not _is_service(answer, order):
            continue
        has_system = any(system for found in common for system, _, _ in found)
        if has_system or sender in session.senders(*key):
            yield order


def subjects(orders: list[JsonObject]) -> set[str]:
    """Whose orders they are."""
    return {order.get("subject", {}).get("reference", "") for order in orders}


def _is_ordered(order: JsonObject) -> bool:
    """Whether it is an order, and neither a dose of one nor a control without detail."""
    if order.get("intent") == "instance-order":
        return False
    return order["resourceType"] == "MedicationRequest" or "code" in order


def _is_service(answer: JsonObject, order: JsonObject) -> bool:
    wanted = _codes(answer)
    return not wanted or not wanted.isdisjoint(_codes(order))


def _codes(order: JsonObject) -> set[tuple[str, str]]:
    code = order.get("code", {})
    found = {(item.get("system", ""), item.get("code", "")) for item in code.get("coding", ())}
    return found or ({("", code["text"])} if "text" in code else set())


def _numbers(order: JsonObject) -> dict[str, set[Number]]:
    found: dict[str, set[Number]] = {}
    for item in order.get("identifier", ()):
        kinds = [coding.get("code", "") for coding in item.get("type", {}).get("coding", ())]
        if item.get("value"):
            number = (item.get("system", ""), item["value"], item.get("assigner", {}).get("display", ""))
            found.setdefault(kinds[0] if kinds else "", set()).add(number)
    return found
