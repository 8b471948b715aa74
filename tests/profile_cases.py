"""One profile with a rule of each kind, a resource that keeps them all, and mutants that break one each."""

from __future__ import annotations

import copy

from hdg.fhir import json
from profile_packages import BASE, SYSTEM, invariant, structure, value_set

CODES = {"concept": [{"code": "glucose"}, {"code": "sodium"}], "system": SYSTEM}
SITE = structure(
    "site",
    "Extension",
    [
        ("Extension.url", {"fixedUri": BASE + "site"}),
        ("Extension.value[x]", {"min": 1, "type": [{"code": "code"}]}),
    ],
    context=[{"type": "element", "expression": "Observation.bodySite"}],
)
HOME = structure("home", "Organization", [("Organization.name", {"min": 1})])
LAB = structure(
    "lab",
    "Observation",
    [
        ("Observation", {"constraint": [invariant("lab-1", "value.exists() or note.exists()")]}),
        ("Observation.status", {"patternCode": "final"}),
        ("Observation.category", {"min": 1, "max": "2"}),
        ("Observation.code", {"binding": {"strength": "required", "valueSet": BASE + "codes"}}),
        ("Observation.code.text", {"maxLength": 10}),
        ("Observation.subject", {"min": 1}),
        ("Observation.focus", {"max": "0"}),
        ("Observation.issued", {"minValueInstant": "2020-01-01T00:00:00Z"}),
        (
            "Observation.performer",
            {"type": [{"code": "Reference", "targetProfile": [BASE + "home"]}]},
        ),
        ("Observation.value[x]", {"type": [{"code": "Quantity"}, {"code": "string"}]}),
        ("Observation.value[x].extension", {"max": "0"}),
        ("Observation.interpretation", {"binding": {"strength": "extensible", "valueSet": BASE + "flags"}}),
        ("Observation.bodySite", {"fixedCodeableConcept": {"text": "arm"}}),
        ("Observation.method", {"patternCodeableConcept": {"coding": [{"system": SYSTEM, "code": "auto"}]}}),
        ("Observation.referenceRange", {"constraint": [invariant("lab-2", "low.exists()", "warning")]}),
        ("Observation.referenceRange.text", {"min": 1}),
    ],
)
GOOD = {
    "resourceType": "Observation",
    "contained": [{"resourceType": "Organization", "id": "lab", "name": "Lab"}],
    "status": "final",
    "category": [{"text": "laboratory"}],
    "code": {"coding": [{"system": "urn:other", "code": "x"}, {"system": SYSTEM, "code": "sodium"}]},
    "subject": {"reference": "Patient/1"},
    "performer": [{"reference": "#lab"}],
    "issued": "2024-01-01T00:00:00Z",
    "valueQuantity": {"value": 5},
    "interpretation": [{"coding": [{"system": SYSTEM, "code": "high"}]}],
    "method": {"coding": [{"system": SYSTEM, "code": "auto", "display": "Automatic"}], "text": "by machine"},
    "bodySite": {"text": "arm"},
    "referenceRange": [{"low": {"value": 1}, "text": "above one"}],
}
DEFINITIONS = [
    LAB,
    SITE,
    HOME,
    value_set("codes", CODES),
    value_set("flags", {"system": SYSTEM, "concept": [{"code": "high"}]}),
]
MUTANTS = [
    (["status"], "amended", ("error", "value", "Observation.status")),
    (["category"], None, ("error", "required", "Observation.category")),
    (["category"], [{"text": "a"}] * 3, ("error", "structure", "Observation.category")),
    (["code", "coding", 1, "code"], "iron", ("error", "code-invalid", "Observation.code")),
    (["code", "coding", 1, "system"], "urn:x", ("error", "code-invalid", "Observation.code")),
    (["code"], {"text": "sodium"}, ("error", "code-invalid", "Observation.code")),
    (["code", "text"], "eleven char", ("error", "too-long", "Observation.code.text")),
    (["focus"], [{"reference": "Patient/1"}], ("error", "structure", "Observation.focus")),
    (["subject"], None, ("error", "required", "Observation.subject")),
    (["valueQuantity"], None, ("error", "invariant", "Observation")),
    (
        ["valueQuantity", "extension"],
        [{"url": "urn:e", "valueCode": "x"}],
        ("error", "structure", "Observation.value.extension"),
    ),
    (
        ["interpretation", 0, "coding", 0, "code"],
        "low",
        ("warning", "code-invalid", "Observation.interpretation[0]"),
    ),
    (["method", "coding", 0, "code"], "hand", ("error", "value", "Observation.method")),
    (["method", "coding"], None, ("error", "value", "Observation.method")),
    (["bodySite", "id"], "b1", ("error", "value", "Observation.bodySite")),
    (["performer", 0, "reference"], "Practitioner/1", ("error", "structure", "Observation.performer[0]")),
    (["contained", 0, "name"], None, ("error", "required", "Observation.performer[0].resolve().name")),
    (["issued"], "2019-12-31T23:59:59Z", ("error", "value", "Observation.issued")),
    (["referenceRange", 0, "text"], None, ("error", "required", "Observation.referenceRange[0].text")),
    (["referenceRange", 0, "low"], None, ("warning", "invariant", "Observation.referenceRange[0]")),
]
"""(path of keys and indexes, other value or None: without it, the issue that must be among those found)."""


def changed(resource, path, value):
    """A copy with another value at a path of keys and indexes; without it for a value of None."""
    made = copy.deepcopy(resource)
    at = made
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.loads(json.dumps(made))
