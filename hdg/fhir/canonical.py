"""One byte form per content, for comparing resources.

Keys sorted, no white space, strings as UTF-8, decimals by their literal: R4 json.html#canonical, with the
digits of R4 datatypes.html#decimal kept, so 1.50 and 1.5 are different content.
"""

from __future__ import annotations

from hdg.fhir.json import JsonObject, dumps

__all__ = ["canonical_bytes"]

_VERSION_KEYS = ("versionId", "lastUpdated")


def canonical_bytes(resource: JsonObject, *, without_meta_version: bool = False) -> bytes:
    """The canonical bytes; ``without_meta_version`` leaves out meta.versionId and meta.lastUpdated.

    A meta that holds nothing else is then left out too, so a resource equals its stored version.
    """
    if without_meta_version and isinstance(meta := resource.get("meta"), dict):
        kept = {key: value for key, value in meta.items() if key.lstrip("_") not in _VERSION_KEYS}
        resource = {key: value for key, value in resource.items() if key != "meta"}
        if kept:
            resource["meta"] = kept
    return dumps(resource, sort_keys=True)
