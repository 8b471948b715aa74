"""searchset and history Bundles, spliced from stored bytes: no resource is parsed or written again.

R4 bundle.html#searchset, bundle.html#history, http.html#paging.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from hdg.errors import Issue
from hdg.fhir.outcome import operation_outcome
from hdg.usage.access import Results, Visible
from hdg.usage.fhir_api.responses import etag

_CUT = "not all that _include and _revinclude ask for is here: ask for fewer matches a page (_count)"
Link = tuple[str, str]
"""Relation and URL."""


def searchset(base_url: str, page: Results, links: Sequence[Link], notes: Sequence[str] = ()) -> bytes:
    """A searchset Bundle as bytes; an unknown total is left out. ``notes``: what else the client should know."""
    entries: list[dict[str, Any]] = [
        {
            "fullUrl": f"{base_url}/{visible.type}/{visible.id}",
            "resource": orjson.Fragment(visible.body),
            "search": {"mode": mode},
        }
        for mode, some in (("match", page.matches), ("include", page.included))
        for visible in some
    ]
    issues = [Issue("warning", "not-supported", "", note) for note in notes]
    if page.is_cut:
        issues.append(Issue("warning", "too-costly", "", _CUT))
    if issues:
        outcome = operation_outcome(issues)
        entries.append({"resource": outcome, "search": {"mode": "outcome"}})
    return _bundle("searchset", entries, page.total, links)


def history(base_url: str, versions: Sequence[Visible], total: int | None, links: Sequence[Link]) -> bytes:
    """A history Bundle as bytes, newest version first; a deletion has no resource."""
    return _bundle("history", [_version_entry(base_url, version) for version in versions], total, links)


def _version_entry(base_url: str, version: Visible) -> dict[str, Any]:
    place = f"{version.type}/{version.id}"
    entry: dict[str, Any] = {"fullUrl": f"{base_url}/{place}"}
    if version.is_deleted:
        entry["request"] = {"method": "DELETE", "url": place}
        status = "204"
    else:
        entry["resource"] = orjson.Fragment(version.body)
        entry["request"] = {"method": "PUT", "url": place}
        status = "201" if version.version == 1 else "200"
    entry["response"] = {
        "status": status,
        "etag": etag(version.version),
        "lastModified": instant(version.updated_us),
    }
    return entry


def instant(at_us: int) -> str:
    """An R4 instant in UTC with milliseconds, the precision of meta.lastUpdated."""
    seconds, micros = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros // 1000:03d}Z"


def _bundle(kind: str, entries: Sequence[dict[str, Any]], total: int | None, links: Sequence[Link]) -> bytes:
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": kind}
    if total is not None:
        bundle["total"] = total
    bundle["link"] = [{"relation": relation, "url": url} for relation, url in links]
    if entries:
        bundle["entry"] = entries
    return orjson.dumps(bundle)
