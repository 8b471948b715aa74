"""What is sent: R4's bare notification, and the Bundles of topics.

R4 subscription.html; Subscriptions R5 Backport, notifications.html (backport-subscription-notification-r4): a
history Bundle whose first entry is a Parameters resource (backport-subscription-status-r4).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hdg.fhir.times import instant
from hdg.management.store.subscription import Event
from hdg.usage.subscriptions.definition import BACKPORT, Definition
from hdg.usage.subscriptions.feed import Notice

__all__ = ["Status", "bundle", "status_parameters"]

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """What a status says. ``kind``: handshake, heartbeat, event-notification, query-status, query-event."""

    base_url: str
    id: str
    status: str
    kind: str
    count: int
    definition: Definition
    error: str = ""


def status_parameters(status: Status, notices: Sequence[Notice], content: str) -> JsonObject:
    """The SubscriptionStatus of R5 as R4 has it."""
    place = f"{status.base_url}/Subscription/{status.id}"
    parameters: list[JsonObject] = [{"name": "subscription", "valueReference": {"reference": place}}]
    topic = status.definition.topic
    if topic is not None and content != "empty":
        parameters.append({"name": "topic", "valueCanonical": topic.url})
    parameters += [
        {"name": "status", "valueCode": status.status},
        {"name": "type", "valueCode": status.kind},
        {"name": "events-since-subscription-start", "valueString": str(status.count)},
    ]
    parameters += [_event(status.base_url, notice.event, content) for notice in notices]
    if status.error:
        parameters.append({"name": "error", "valueCodeableConcept": {"text": status.error}})
    profile = f"{BACKPORT}backport-subscription-status-r4"
    id_ = str(uuid.uuid4())
    return {"resourceType": "Parameters", "id": id_, "meta": {"profile": [profile]}, "parameter": parameters}


def _event(base_url: str, event: Event, content: str) -> JsonObject:
    parts: list[JsonObject] = [
        {"name": "event-number", "valueString": str(event.number)},
        {"name": "timestamp", "valueInstant": instant(event.at_us)},
    ]
    if content != "empty":
        reference = {"reference": f"{base_url}/{event.type}/{event.resource}"}
        parts.append({"name": "focus", "valueReference": reference})
    return {"name": "notification-event", "part": parts}


def bundle(status: Status, notices: Sequence[Notice], content: str, at_us: int) -> bytes:
    """A notification. ``content``: how much it tells of each event."""
    shell = status_parameters(status, notices, content)
    place = f"Subscription/{status.id}"
    entries: list[JsonObject] = [
        {
            "fullUrl": f"urn:uuid:{shell['id']}",
            "resource": shell,
            "request": {"method": "GET", "url": f"{place}/$status"},
            "response": {"status": "200"},
        }
    ]
    if content == "full-resource":
        entries += [_entry(status.base_url, notice) for notice in notices if notice.body]
    made = {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"profile": [f"{BACKPORT}backport-subscription-notification-r4"]},
        "type": "history",
        "timestamp": instant(at_us),
        "entry": entries,
    }
    return orjson.dumps(made)


def _entry(base_url: str, notice: Notice) -> JsonObject:
    event = notice.event
    place = f"{event.type}/{event.resource}"
    is_new = event.version == 1
    return {
        "fullUrl": f"{base_url}/{place}",
        "resource": orjson.Fragment(notice.body),
        "request": {"method": "POST" if is_new else "PUT", "url": event.type if is_new else place},
        "response": {"status": "201" if is_new else "200", "lastModified": instant(event.at_us)},
    }
