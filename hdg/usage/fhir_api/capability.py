"""The CapabilityStatement, generated from the tables that the routes and the search parser use themselves.

R4 capabilitystatement.html, R4 http.html#capabilities.
"""

from __future__ import annotations

from datetime import UTC, datetime

import hdg
from hdg.fhir import definitions
from hdg.fhir.json import JsonObject
from hdg.usage.fhir_api import parameters

INTERACTIONS = ("read", "vread", "history-instance", "search-type")
"""What every resource type supports; the routes are made from the same list."""


def capability_statement(base_url: str, at_us: int) -> JsonObject:
    """The statement of this server, set up at ``at_us``, with the public FHIR base ``base_url``."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "kind": "instance",
        "software": {"name": "Healthcare Data Gateway", "version": hdg.__version__},
        "implementation": {"description": "Healthcare Data Gateway", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "cors": False,
                    "description": "Bearer tokens. Every answer holds only what the patient's consent "
                    "permits; what is hidden looks like what is absent. Every access is audited before "
                    "it is answered.",
                },
                "resource": [_resource(name) for name in sorted(definitions.resource_types())],
            }
        ],
    }


def _resource(resource_type: str) -> JsonObject:
    return {
        "type": resource_type,
        "interaction": [{"code": code} for code in INTERACTIONS],
        "versioning": "versioned",
        "readHistory": True,
        "updateCreate": False,
        "conditionalCreate": False,
        "conditionalRead": "full-support",
        "conditionalUpdate": False,
        "conditionalDelete": "not-supported",
        "searchParam": [
            _search_parameter(code, kind)
            for code, kind in sorted(parameters.supported(resource_type).items())
        ],
    }


def _search_parameter(code: str, kind: str) -> JsonObject:
    names = [f":{name}" for name in sorted(parameters.modifiers(code, kind))]
    if kind == "reference":
        names.append(":[type]")
    entry: JsonObject = {"name": code, "type": kind}
    if names:
        entry["documentation"] = "Modifiers: " + ", ".join(names)
    return entry
