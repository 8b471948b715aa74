"""What a gateway has stored, for tests of what messages become."""

from __future__ import annotations

from typing import Any

from sqlalchemy import true

from hdg.fhir.json import loads
from hdg.gateway import Gateway
from hdg.management.store.search import SearchQuery


def send(gateway: Gateway, *messages: bytes) -> None:
    """Every message is accepted."""
    for raw in messages:
        assert b"\rMSA|AA|" in gateway.receive_now(raw)


def all_of(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    """The current resources of a type, at most 100, without asking for consent."""
    page = gateway.store.reader.search(SearchQuery(kind, (), 100), true())
    return [loads(gateway.store.reader.body(version)) for version in page.versions]
