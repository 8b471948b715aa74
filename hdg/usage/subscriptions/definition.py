"""A Subscription resource → what is watched and how it is told; whatever is not understood is refused.

R4 subscription.html; Subscriptions R5 Backport (backport-subscription). Pure: nothing here looks at data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.fhir.canonical import canonical_bytes
from hdg.management.store.search import SearchQuery, conditions
from hdg.management.store.values import Hash, date_range
from hdg.usage.fhir_api import parameters
from hdg.usage.fhir_api.parameters import Limits
from hdg.usage.fhir_api.query import pairs
from hdg.usage.fhir_api.results import RESULTS
from hdg.usage.subscriptions.endpoints import Endpoints, Target
from hdg.usage.subscriptions.topics import Topic, topics
from hdg.usage.unstored import UNSTORED

__all__ = ["STATUSES", "Definition", "Reading", "digest"]

JsonObject = dict[str, Any]

STATUSES = ("requested", "active", "error", "off")
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
TIMEOUT_MAX_S = 120
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_FIELD = re.compile(r"[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_OWN_HEADERS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "expect", "te",
     "trailer", "keep-alive", "proxy-authorization", "proxy-connection", "accept-encoding"}
)  # fmt: skip
_FORMATS = {
    "application/fhir+json": "application/fhir+json",
    "application/json": "application/fhir+json",
    "application/fhir+xml": "application/fhir+xml",
    "application/xml": "application/fhir+xml",
}
"""What may be asked for → what is sent."""
_WATCHED = ("criteria", "_criteria", "channel", "end")


@dataclass(frozen=True, slots=True)
class Definition:
    """``query``: what a version must match. ``topic``: None for R4's own form, whose notifications are bare.

    ``before``: what the version before must not have matched, None: no such condition. ``content``: empty,
    id-only, full-resource. ``target``: of a rest-hook. ``heartbeat_s``: 0 for none;
    ``timeout_s``: 0 for the gateway's own; ``end_us``: None for no end.
    """

    query: SearchQuery
    topic: Topic | None
    channel: str
    content: str
    before: SearchQuery | None = None
    target: Target | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    heartbeat_s: int = 0
    timeout_s: int = 0
    end_us: int | None = None
    format: str = "application/fhir+json"
    """The media type of what is sent, where anything is."""
    address: str = field(default="", repr=False)
    """Of an email or sms: where to."""

    @property
    def is_bare(self) -> bool:
        """Whether it is of R4's own form, which knows neither topics nor Bundles of notifications."""
        return self.topic is None

    def is_silent(self, version: object | None) -> bool:
        """Whether there is nothing to carry: R4's own form has no word but that a ``version`` matches."""
        return self.is_bare and version is None


def digest(content: JsonObject) -> str:
    """Of all that decides what goes where: equal as long as a client's words are."""
    watched = {name: content[name] for name in _WATCHED if name in content}
    return hashlib.sha256(canonical_bytes(watched)).hexdigest()


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads definitions. ``now_us``: the clock that date criteria are checked by."""

    limits: Limits
    hash: Hash
    endpoints: Endpoints
    now_us: Callable[[], int]

    def read(self, content: JsonObject) -> Definition:
        """Of a valid Subscription. Raises BadRequest naming the element."""
        channel = content["channel"]
        criteria = content["criteria"]
        topic = topics().get(criteria)
        if topic is None and "://" in criteria.partition("?")[0]:
            raise BadRequest("no such topic here", code="not-supported", place="Subscription.criteria")
        filters = _values(
            content.get("_criteria"), "backport-filter-criteria", "valueString", "Subscription.criteria"
        )
        if topic is None and filters:
            raise BadRequest("filters are for topics", code="not-supported", place="Subscription.criteria")
        texts = [criteria] if topic is None else [f"{topic.resource}?{topic.criteria}", *filters]
        query = self._query(texts)
        before = self._query(texts[:1]) if topic is not None and topic.becomes else None
        kind = channel["type"]
        if kind not in ("rest-hook", "websocket", "email", "sms"):
            raise _bad("rest-hook, websocket, email and sms are supported", "type")
        _values(channel.get("_type"), "", "", "Subscription.channel.type")
        is_hook = kind == "rest-hook"
        if kind != "websocket" and "endpoint" not in channel:
            raise _bad("an endpoint is needed", "endpoint", "required")
        if kind in ("email", "sms") and channel.get("header"):
            raise _bad("headers are for rest-hook", "header")
        if kind == "sms" and (topic is not None or channel.get("payload")):
            raise _bad("a text message says that there is something, and nothing more", "payload")
        times = _timings(channel)
        return Definition(
            query,
            topic,
            kind,
            _content(channel, is_topic=topic is not None),
            before,
            self.endpoints.target(channel["endpoint"]) if is_hook else None,
            _headers(channel.get("header", ())),
            times.get("backport-heartbeat-period", 0),
            times.get("backport-timeout", 0),
            _end(content.get("end")),
            _FORMATS.get(_payload(channel), "application/fhir+json"),
            self.endpoints.address(kind, channel["endpoint"]) if kind in ("email", "sms") else "",
        )

    def _query(self, texts: list[str]) -> SearchQuery:
        """The search that all the texts (``Type?…``) together are."""
        place = "Subscription.criteria"
        type_ = texts[0].partition("?")[0]
        given: list[tuple[str, str]] = []
        for text in texts:
            named, _, rest = text.partition("?")
            if named != type_ or type_ not in definitions.resource_types() - UNSTORED:
                raise BadRequest("a search of one type is needed: Type?…", code="value", place=place)
            given += pairs(rest.encode())
        if any(name.partition(":")[0] in RESULTS for name, _ in given):
            raise BadRequest("only what a resource must match", code="not-supported", place=place)
        if any("." in name or name.startswith("_has") for name, _ in given):
            raise BadRequest("no chains", code="not-supported", place=place)
        query = parameters.parse(type_, given, self.limits)
        conditions(query, self.hash, self.now_us())  # values that cannot be read are refused here
        return query


def _bad(text: str, name: str, code: str = "not-supported") -> BadRequest:
    return BadRequest(text, code=code, place=f"Subscription.channel.{name}")


def _values(element: Any, name: str, value: str, place: str) -> list[Any]:
    """The values of the extensions of that name; every other one is refused: it would change the meaning."""
    found = element.get("extension", ()) if isinstance(element, dict) else ()
    if any(item["url"] != BACKPORT + name or value not in item for item in found):
        raise BadRequest("an extension that is not understood", code="not-supported", place=place)
    return [item[value] for item in found]


def _timings(channel: JsonObject) -> dict[str, int]:
    names = {
        f"{BACKPORT}backport-heartbeat-period": "valueUnsignedInt",
        f"{BACKPORT}backport-timeout": "valueUnsignedInt",
        f"{BACKPORT}backport-max-count": "valuePositiveInt",
    }
    made: dict[str, int] = {}
    for item in channel.get("extension", ()):
        value = names.get(item["url"], "")
        if value not in item:
            raise _bad("an extension that is not understood", "extension")
        made[item["url"].removeprefix(BACKPORT)] = int(item[value])
    made["backport-timeout"] = min(made.get("backport-timeout", 0), TIMEOUT_MAX_S)
    return made


def _payload(channel: JsonObject) -> str:
    return str(channel.get("payload", "")).partition(";")[0].strip()


def _content(channel: JsonObject, *, is_topic: bool) -> str:
    """How much a notification holds. R4's own form: a payload is the resource, none is nothing."""
    payload = _payload(channel)
    if payload and payload not in _FORMATS:
        raise _bad("application/fhir+json and application/fhir+xml are supported", "payload")
    given = _values(
        channel.get("_payload"), "backport-payload-content", "valueCode", "Subscription.channel.payload"
    )
    if not is_topic:
        if given:
            raise _bad("a content level is for topics", "payload")
        return "full-resource" if payload and channel["type"] in ("rest-hook", "email") else "empty"
    if not payload or len(given) != 1 or given[0] not in ("empty", "id-only", "full-resource"):
        raise _bad("a topic needs application/fhir+json (or +xml) and a content level", "payload", "required")
    return str(given[0])


def _headers(given: Any) -> tuple[tuple[str, str], ...]:
    made = []
    for text in given:
        name, colon, value = text.partition(":")
        value = value.strip(" \t")
        is_fit = colon and _TOKEN.fullmatch(name) and (not value or _FIELD.fullmatch(value))
        if not is_fit or name.lower() in _OWN_HEADERS:
            raise _bad(
                "a header is Name: value, and not one of those that the gateway sets itself",
                "header",
                "value",
            )
        made.append((name, value))
    return tuple(made)


def _end(text: str | None) -> int | None:
    if text is None:
        return None
    found = date_range(text)
    if found is None:
        raise BadRequest("not a time", code="value", place="Subscription.end")
    return found[0]
