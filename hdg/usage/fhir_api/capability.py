"""The CapabilityStatement, generated from the tables that the routes and the search parser use themselves.

R4 capabilitystatement.html, R4 http.html#capabilities.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import hdg
from hdg.fhir import definitions
from hdg.fhir.json import JsonObject
from hdg.management.consent.policy import Policy
from hdg.usage import permits
from hdg.usage.accesses import CODE_SETS
from hdg.usage.fhir_api import parameters
from hdg.usage.fhir_api.bodies import JSON_PATCH
from hdg.usage.fhir_api.current_lists import CURRENT
from hdg.usage.fhir_api.operations import EVERYTHING
from hdg.usage.fhir_api.subscriptions import socket_url
from hdg.usage.subscriptions.definition import BACKPORT
from hdg.usage.subscriptions.topics import topics
from hdg.usage.unstored import UNSTORED

_WEBSOCKET = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-websocket"
_BACKPORT_OPERATION = (
    "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"
)
_SUBSCRIBED: list[JsonObject] = [
    {"name": name, "definition": _BACKPORT_OPERATION + name}
    for name in ("status", "events", "get-ws-binding-token")
] + [{"name": "resend", "definition": "https://hdg.dev/fhir/OperationDefinition/Subscription-resend"}]
_OWN: list[JsonObject] = [
    {"name": "ccd", "definition": "https://hdg.dev/fhir/OperationDefinition/Patient-ccd"}
]
"""Operations of this gateway on a Patient."""
INTERACTIONS = ("read", "vread", "history-instance", "history-type", "search-type")
"""What every resource type supports."""
SYSTEM = ("batch", "transaction", "search-system", "history-system")
"""What the base of the API takes."""
UNVERSIONED = ("read", "search-type")
"""What a type supports that is no resource of the store."""
WRITES = ("create", "update", "patch", "delete")
"""What every type supports that some role may write."""


def capability_statement(base_url: str, at_us: int, policy: Policy) -> JsonObject:
    """The statement of this server, set up at ``at_us``, with the public FHIR base ``base_url``."""
    writable = permits.writable(policy)
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "kind": "instance",
        "software": {"name": "Healthcare Data Gateway", "version": hdg.__version__},
        "implementation": {"description": "Healthcare Data Gateway", "url": base_url},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json", "application/fhir+xml", "xml"],
        "patchFormat": [JSON_PATCH, "application/fhir+json", "application/fhir+xml"],
        "rest": [
            {
                "mode": "server",
                "extension": [{"url": _WEBSOCKET, "valueUri": socket_url(base_url)}],
                "security": {
                    "cors": False,
                    "description": "Bearer tokens. Every answer holds only what the patient's consent "
                    "permits; what is hidden looks like what is absent. Every access is audited before "
                    "it is answered.",
                },
                "interaction": [{"code": code} for code in SYSTEM],
                "searchParam": [
                    {
                        "name": "_list",
                        "type": "string",
                        "documentation": f"the id of a List, or one of {', '.join(sorted(CURRENT))}",
                    },
                    {
                        "name": "_filter",
                        "type": "special",
                        "documentation": "what maps to the parameters' own search",
                    },
                ],
                "resource": [
                    _resource(name, policy, can_write=name in writable)
                    for name in sorted(definitions.resource_types())
                ],
            }
        ],
    }


def _resource(resource_type: str, policy: Policy, *, can_write: bool) -> JsonObject:
    if resource_type in UNSTORED:
        return _unstored(resource_type)
    interactions = (*INTERACTIONS, *WRITES) if can_write else INTERACTIONS
    referring = [f"{source}:{code}" for source, code in _referring(resource_type)]
    return {
        "type": resource_type,
        "interaction": [{"code": code} for code in interactions],
        "versioning": "versioned",
        "readHistory": True,
        "updateCreate": can_write and policy.client_ids != "none",
        "conditionalCreate": can_write,
        "conditionalRead": "full-support",
        "conditionalUpdate": can_write,
        "conditionalDelete": "single" if can_write else "not-supported",
        "operation": [
            {"name": name, "definition": f"http://hl7.org/fhir/OperationDefinition/{owner}-{name}"}
            for owner, name in _operations(resource_type, can_write=can_write)
        ]
        + (_SUBSCRIBED if resource_type == "Subscription" else [])
        + (_OWN if resource_type == "Patient" else []),
        **({"extension": _topics()} if resource_type == "Subscription" else {}),
        "searchInclude": ["*", *(f"{resource_type}:{code}" for code in _references(resource_type))],
        "searchRevInclude": ["*", *referring],
        "searchParam": [
            _search_parameter(resource_type, code, kind)
            for code, kind in sorted(parameters.supported(resource_type).items())
        ],
    }


def _unstored(resource_type: str) -> JsonObject:
    return {
        "type": resource_type,
        "documentation": "What the audit trail says about a patient's record. Patients see their own; the access "
        "policy says whether operators see one patient's. Sorted by date, newest first.",
        "interaction": [{"code": code} for code in UNVERSIONED],
        "versioning": "no-version",
        "readHistory": False,
        "updateCreate": False,
        "searchParam": [
            _search_parameter(resource_type, code, kind, without=CODE_SETS)
            for code, kind in sorted(parameters.supported(resource_type).items())
        ],
    }


def _topics() -> list[JsonObject]:
    """The topics that a Subscription can name (Subscriptions R5 Backport)."""
    url = f"{BACKPORT}capabilitystatement-subscriptiontopic-canonical"
    return [{"url": url, "valueCanonical": topic} for topic in topics()]


def _operations(resource_type: str, *, can_write: bool) -> list[tuple[str, str]]:
    """(who defines it, name) of the operations of a type."""
    found = [("Resource", "meta"), ("Resource", "validate")]
    if can_write:
        found += [("Resource", "meta-add"), ("Resource", "meta-delete")]
    if resource_type in EVERYTHING:
        found.append((resource_type, "everything"))
    if resource_type == "Observation":
        found += [("Observation", "lastn"), ("Observation", "stats")]
    if resource_type == "Composition":
        found.append(("Composition", "document"))
    return found


@cache
def _references(resource_type: str) -> tuple[str, ...]:
    """The parameters of a type that lead to resources."""
    known = parameters.supported(resource_type)
    return tuple(sorted(code for code in known if parameters.is_followed(resource_type, code)))


@cache
def _referring(resource_type: str) -> tuple[tuple[str, str], ...]:
    """(type, parameter) of references that may point at a type."""
    return tuple(
        (source, parameter.code)
        for source in sorted(definitions.resource_types())
        for parameter in definitions.search_parameters(source)
        if parameter.code in _references(source) and resource_type in (parameter.targets or (resource_type,))
    )


_SAID = {
    "quantity": "number, number|system|code or number||code; UCUM units are compared in canonical units",
    "special": "latitude|longitude|distance|UCUM unit, as a rule 100 km",
}


def _search_parameter(
    resource_type: str, code: str, kind: str, *, without: frozenset[str] = frozenset()
) -> JsonObject:
    found = parameters.modifiers(resource_type, code, kind) - (without if kind == "token" else frozenset())
    names = [f":{name}" for name in sorted(found)]
    if kind == "reference":
        names.append(":[type]")
    entry: JsonObject = {"name": code, "type": kind}
    about = [_SAID[kind]] if kind in _SAID else []
    if names:
        about.append("Modifiers: " + ", ".join(names))
    if about:
        entry["documentation"] = ". ".join(about)
    return entry
