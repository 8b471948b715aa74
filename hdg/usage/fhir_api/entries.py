"""The entries of a batch or transaction Bundle as requests.

R4 bundle.html#bundle-unique, http.html#transaction. Everything that can be refused without looking at stored
data is refused here, by the entry's place in the Bundle.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

from hdg.errors import BadRequest, HdgError
from hdg.fhir import definitions
from hdg.fhir.times import is_instant, moment
from hdg.management.store.engine import NotCommitted
from hdg.usage.fhir_api.bodies import JSON_PATCH, parsed
from hdg.usage.fhir_api.read import ID

__all__ = ["Entry", "EntryFailed", "at_entry", "entries_of"]

JsonObject = dict[str, Any]

METHODS = ("DELETE", "POST", "PUT", "PATCH", "GET", "HEAD")
"""In the order in which they are processed (R4 http.html#trules)."""
_HEADERS = {
    "ifMatch": "if-match",
    "ifNoneMatch": "if-none-match",
    "ifNoneExist": "if-none-exist",
    "ifModifiedSince": "if-modified-since",
}
_TEXTS = {"fullUrl": "fullUrl", **{name: f"request.{name}" for name in ("method", "url", *_HEADERS)}}
_NEEDS_RESOURCE = frozenset({"POST", "PUT", "PATCH"})


class EntryFailed(HdgError):
    """An entry of a Bundle could not be done; ``cause`` says why, ``index`` which (0-based)."""

    def __init__(self, index: int, cause: HdgError) -> None:
        super().__init__(f"Bundle.entry[{index}]: {cause}")
        self.index = index
        self.cause = cause


@contextmanager
def at_entry(index: int) -> Iterator[None]:
    """What fails inside is the failure of that entry."""
    try:
        yield
    except (EntryFailed, NotCommitted):
        raise
    except HdgError as error:
        raise EntryFailed(index, error) from error


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. ``type`` is '' for what concerns the system; ``id`` '' where the URL has none.

    ``path`` below the base, as in the URL; ``query``: what stands behind the ``?``, encoded; ``headers``: the
    conditions, by their HTTP names.
    """

    index: int
    method: str
    full_url: str
    type: str
    id: str
    path: str
    query: str
    headers: dict[str, str]
    resource: JsonObject | None = field(repr=False)

    @property
    def is_write(self) -> bool:
        """Whether it changes anything."""
        return self.method not in ("GET", "HEAD") and not self.path.endswith("_search")

    def content(self) -> JsonObject:
        """The resource of a write that has one. Raises BadRequest."""
        if self.resource is None:
            raise BadRequest("a resource is needed", code="required", place="resource")
        return self.resource

    def json_patch(self) -> Any:
        """The JSON Patch that a Binary holds; None when the resource is no Binary. Raises BadRequest."""
        content = self.content()
        if content.get("resourceType") != "Binary":
            return None
        if content.get("contentType") != JSON_PATCH:
            raise BadRequest(f"a patch is a Binary of {JSON_PATCH} or Parameters", code="not-supported")
        try:
            return parsed(b64decode(str(content.get("data", "")), validate=True))
        except (binascii.Error, ValueError):
            raise BadRequest("the data of the Binary cannot be read", code="structure") from None


def entries_of(bundle: JsonObject, base_url: str) -> list[Entry | EntryFailed]:
    """The entries of a Bundle, or why one is none. Raises BadRequest."""
    given = bundle.get("entry", [])
    if not isinstance(given, list):
        raise BadRequest("entry is not a list", code="structure", place="Bundle.entry")
    found: list[Entry | EntryFailed] = []
    for index, item in enumerate(given):
        try:
            found.append(_entry(index, item, base_url))
        except BadRequest as error:
            found.append(EntryFailed(index, error))
    return found


def _entry(index: int, item: Any, base_url: str) -> Entry:
    request = item.get("request") if isinstance(item, dict) else None
    if not isinstance(request, dict):
        raise BadRequest("a request with method and url is needed", code="required", place="request")
    unknown = sorted(item.keys() - {"id", "extension", "link", "fullUrl", "resource", "request"})
    if unknown:
        raise BadRequest("an entry of a request holds link, fullUrl, resource and request", code="structure")
    texts = {**request, "fullUrl": item.get("fullUrl", "-")}
    wrong = next((name for name in _TEXTS if not _is_text(texts.get(name, "-"))), "")
    if wrong:
        raise BadRequest("a text is needed", code="structure", place=_TEXTS[wrong])
    method, url = request.get("method"), request.get("url")
    if method not in METHODS or url is None:
        raise BadRequest("a method of R4 and a url are needed", code="value", place="request")
    path, _, query = url.removeprefix(f"{base_url}/").partition("?")
    type_, _, rest = path.partition("/")
    if not type_ and method not in ("GET", "HEAD"):
        raise BadRequest("the url names no resource type", place="request.url")
    is_type = not type_ or type_.startswith(("_", "$")) or type_ == "metadata"
    if not is_type and type_ not in definitions.resource_types():
        raise BadRequest("the url names no R4 resource type of this server", place="request.url")
    resource = item.get("resource")
    if method in _NEEDS_RESOURCE and not isinstance(resource, dict):
        raise BadRequest("a resource is needed", code="required", place="resource")
    headers = {name: _header(request[key]) for key, name in _HEADERS.items() if key in request}
    if "if-modified-since" in headers:
        headers["if-modified-since"] = _date(headers["if-modified-since"])
    id_ = unquote(rest.partition("/")[0])
    return Entry(index, method, item.get("fullUrl", ""), type_, id_, path, query, headers, resource)


def _header(text: str) -> str:
    """A condition as it would come in a header, where UTF-8 is read as ISO 8859-1 (RFC 9110 §5.5)."""
    return text if text.isascii() else text.encode().decode("latin-1")


def _date(text: str) -> str:
    """An instant as the header has it, to the second (RFC 9110 §13.1.3). Raises BadRequest."""
    if not is_instant(text):
        raise BadRequest("an instant is needed", code="value", place="request.ifModifiedSince")
    return format_datetime(moment(text).astimezone(UTC), usegmt=True)


def _is_text(value: Any) -> bool:
    return type(value) is str and bool(value.strip()) and value.isprintable()


def check_target(entry: Entry) -> None:
    """Raises BadRequest unless a write of a transaction names a type, an id or a search as its method needs."""
    _, *rest = entry.path.split("/")
    if (
        entry.type not in definitions.resource_types()
        or len(rest) > 1
        or any(not ID.match(part) for part in rest)
    ):
        raise BadRequest("the url of a write is Type, Type/id or Type?search", place="request.url")
    if entry.method == "POST" and (rest or entry.query):
        raise BadRequest("a create names a type and nothing more", place="request.url")
    if entry.method != "POST" and bool(rest) == bool(entry.query):
        raise BadRequest("the url names either an id or a search", place="request.url")
