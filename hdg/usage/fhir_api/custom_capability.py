"""What the CapabilityStatement says of search parameters that are not R4's own: those that are complete.

R4 capabilitystatement.html, searchparameter.html.
"""

from __future__ import annotations

from hdg.fhir import definitions
from hdg.fhir.json import JsonObject
from hdg.management.store.custom import CustomSet, Parameter, is_followed
from hdg.management.store.text_state import is_complete
from hdg.usage.fhir_api import parameters
from hdg.usage.unstored import UNSTORED

__all__ = ["with_custom"]


def with_custom(statement: JsonObject, custom: CustomSet) -> JsonObject:
    """``statement`` with them; it is changed."""
    if is_complete(custom.texts):
        statement["rest"][0]["searchParam"] += _words()
    ready = [one for one in custom.parameters if one.is_ready]
    stored = [one for one in statement["rest"][0]["resource"] if one["type"] not in UNSTORED]
    for resource in stored if ready else ():
        type_ = resource["type"]
        own = [one for one in ready if custom.find(type_, one.definition.code) is one]
        known = [*resource.get("searchParam", ()), *(_stated(type_, one) for one in own)]
        resource["searchParam"] = sorted(known, key=lambda entry: str(entry["name"]))
        followed = [one.definition.code for one in own if is_followed(one.definition)]
        resource["searchInclude"] += [f"{type_}:{code}" for code in followed]
        referring = _referring(ready, type_)
        if referring:
            resource["searchRevInclude"] = [*resource.get("searchRevInclude", ()), *referring]
    return statement


def _words() -> list[JsonObject]:
    """Parameters of all types that are there while the index of words is."""
    how = 'words, "phrases", beginnings*, and, or, parentheses'
    return [
        {"name": "_text", "type": "string", "documentation": f"the narrative: {how}"},
        {"name": "_content", "type": "string", "documentation": f"all text: {how}"},
    ]


def _stated(type_: str, one: Parameter) -> JsonObject:
    made = one.definition
    names = [f":{name}" for name in sorted(parameters.modifiers(type_, made.code, made.kind))]
    if made.kind == "reference":
        names.append(":[type]")
    documentation = "Modifiers: " + ", ".join(names)
    return {"name": made.code, "definition": made.url, "type": made.kind, "documentation": documentation}


def _referring(ready: list[Parameter], type_: str) -> list[str]:
    """``Type:code`` of those that may point at a type."""
    return [
        f"{source}:{one.definition.code}"
        for one in ready
        if is_followed(one.definition) and type_ in (one.definition.targets or definitions.resource_types())
        for source in one.definition.bases
    ]
