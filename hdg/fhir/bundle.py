"""Builders for the bundles that the gateway hands out (R4 bundle.html).

``base`` is the server's FHIR base URL without a trailing slash. With it an entry's fullUrl is
``base/Type/id``, against which relative references resolve (R4 bundle.html#references). Without it (files
made by ``hdg convert``) an entry has no fullUrl: a made-up host would be an invented fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from hdg.fhir.json import MAX_DEPTH, JsonError, JsonObject

__all__ = ["HistoryEntry", "collection", "document", "history", "searchset", "transaction"]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One version for a history bundle. ``resource`` is None when the version is a deletion.

    ``last_updated`` is a FHIR instant; ``reference`` is ``Type/id``.
    """

    reference: str
    version: int
    last_updated: str
    method: Literal["POST", "PUT", "DELETE"]
    resource: JsonObject | None
    is_first: bool = False


def collection(resources: Iterable[JsonObject], *, base: str | None = None) -> JsonObject:
    """A bundle of type ``collection``."""
    return _bundle("collection", [_entry(resource, base) for resource in resources])


def transaction(resources: Iterable[JsonObject], *, base: str | None = None) -> JsonObject:
    """A transaction that puts every resource at ``Type/id``; raises KeyError when one has no id."""
    entries: list[JsonObject] = []
    for resource in resources:
        kind, identity = resource["resourceType"], resource["id"]
        url = f"{kind}/{identity}"
        request = {"method": "PUT", "url": url}
        if base is None:
            entries.append({"resource": resource, "request": request})
        else:
            entries.append({"fullUrl": f"{base}/{url}", "resource": resource, "request": request})
    return _bundle("transaction", entries)


def document(resources: Sequence[JsonObject], *, identifier: JsonObject, timestamp: str) -> JsonObject:
    """A document (R4 documents.html): the Composition stands first; ``timestamp`` is an instant.

    It stands for itself, so each entry has a ``urn:uuid:`` made from type and id, and references lead there.
    """
    places = {
        f"{one['resourceType']}/{one['id']}": f"urn:uuid:{uuid5(NAMESPACE_URL, one['resourceType'] + '/' + one['id'])}"
        for one in resources
    }
    entries = []
    for one in resources:
        full_url = places[f"{one['resourceType']}/{one['id']}"]
        entries.append({"fullUrl": full_url, "resource": _pointed(one, places)})
    made = {"resourceType": "Bundle", "identifier": identifier, "type": "document", "timestamp": timestamp}
    return {**made, "entry": entries}


def _pointed(value: Any, places: Mapping[str, str], room: int = MAX_DEPTH) -> Any:
    """A copy whose references lead to the places.

    Raises JsonError: more than ``room`` values inside one another.
    """
    if not room:
        raise JsonError("nested too deeply")
    if isinstance(value, dict):
        made = {key: _pointed(item, places, room - 1) for key, item in value.items()}
        reference = made.get("reference")
        if isinstance(reference, str):
            made["reference"] = places.get(reference, reference)
        return made
    if isinstance(value, list):
        return [_pointed(item, places, room - 1) for item in value]
    return value


def searchset(
    matches: Iterable[JsonObject],
    *,
    total: int | None = None,
    included: Iterable[JsonObject] = (),
    links: Sequence[tuple[str, str]] = (),
    base: str | None = None,
) -> JsonObject:
    """A search result page; ``total`` counts the matches of all pages, ``links`` are (relation, url)."""
    entries = []
    for mode, resources in (("match", matches), ("include", included)):
        for resource in resources:
            entry = _entry(resource, base)
            is_outcome = resource.get("resourceType") == "OperationOutcome"
            entry["search"] = {"mode": "outcome" if is_outcome else mode}
            entries.append(entry)
    return _bundle("searchset", entries, total=total, links=links)


def history(
    versions: Iterable[HistoryEntry],
    *,
    total: int | None = None,
    links: Sequence[tuple[str, str]] = (),
    base: str | None = None,
) -> JsonObject:
    """A history page, newest version first as given (R4 http.html#history)."""
    entries = []
    for version in versions:
        entry: JsonObject = {}
        if base is not None:
            entry["fullUrl"] = f"{base}/{version.reference}"
        if version.resource is not None:
            entry["resource"] = version.resource
        url = version.reference.partition("/")[0] if version.method == "POST" else version.reference
        entry["request"] = {"method": version.method, "url": url}
        status = "201" if version.is_first else "204" if version.resource is None else "200"
        entry["response"] = {
            "status": status,
            "etag": f'W/"{version.version}"',
            "lastModified": version.last_updated,
        }
        entries.append(entry)
    return _bundle("history", entries, total=total, links=links)


def _entry(resource: JsonObject, base: str | None) -> JsonObject:
    entry: JsonObject = {}
    if base is not None and "id" in resource:
        entry["fullUrl"] = f"{base}/{resource['resourceType']}/{resource['id']}"
    entry["resource"] = resource
    return entry


def _bundle(
    kind: str, entries: list[JsonObject], *, total: int | None = None, links: Sequence[tuple[str, str]] = ()
) -> JsonObject:
    bundle: JsonObject = {"resourceType": "Bundle", "type": kind}
    if total is not None:
        bundle["total"] = total
    if links:
        bundle["link"] = [{"relation": relation, "url": url} for relation, url in links]
    if entries:
        bundle["entry"] = entries
    return bundle
