"""What is said again word for word is known without a look at it, but not where the event gives it another meaning."""

from __future__ import annotations

from functools import partial

import pytest

from hdg.gateway import Gateway
from hdg.ingestion.sender import LOCAL
from hdg.management.store.index import Indexer
from hdg.management.store.meta import index_key
from hdg.management.store.ready import ready
from hdg.management.store.values import hasher
from stored import all_of

PID = "PID|1||4711^^^NORTHGEN^MR||Example^Ada"
PENDING = "https://hdg.dev/fhir/StructureDefinition/pending-discharge-time"


def visit(number: int, event: str, discharge: str = "") -> bytes:
    at = f"20260314{10 + number:02}0000+0100"
    values = ["PV1", "1", "I", *[""] * 48]
    values[19], values[45] = "V1^^^NORTHGEN^VN", discharge
    head = f"MSH|^~\\&|ADT|NORTHGEN|HDG|REGION|{at}||ADT^{event}|C{number}|P|2.5.1"
    return "\r".join([head, f"EVN|{event}|{at}", PID, "|".join(values).rstrip("|")]).encode() + b"\r"


def send_helped(gateway: Gateway, *messages: bytes) -> None:
    """As under load: the resources come made ready."""
    indexer = Indexer(hasher(index_key(gateway.keys.root)))
    for raw in messages:
        received = gateway._received(raw, LOCAL, gateway.store.now_us())
        converted = gateway._converted(received)
        made = [ready(resource, indexer) for resource in converted.resources]
        outcome = (converted, made)
        work = partial(gateway._accepting.accept_helped, received=received, outcome=outcome, generation=1)
        assert b"\rMSA|AA|" in gateway.store.submit(work).result()


def is_pending(gateway: Gateway) -> bool:
    [found] = all_of(gateway, "Encounter")
    return PENDING in {one["url"] for one in found.get("extension", ())}


@pytest.mark.parametrize("last", ["A13", "A25"])
def test_a_cancelled_discharge_counts_though_other_events_said_the_same_of_the_visit(
    gateway: Gateway, last: str
) -> None:
    """Each transfer says of the visit what the cancellation says of it, and leaves a pending discharge."""
    send_helped(gateway, visit(0, "A01"), visit(1, "A16", "20260316110000+0100"))
    send_helped(gateway, *(visit(number, "A02") for number in (2, 3, 4)))
    assert is_pending(gateway)
    send_helped(gateway, visit(5, last))
    assert not is_pending(gateway)
