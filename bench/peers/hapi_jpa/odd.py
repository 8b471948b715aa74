"""Records with what searches stumble over: partial dates, open periods, comparators, units, accents, absent values."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

JsonObject = dict[str, Any]

_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_LOINC, _UCUM = "http://loinc.org", "http://unitsofmeasure.org"


def _resources() -> dict[str, JsonObject]:
    """By a label of its own; a reference is ``@label``."""
    made: dict[str, JsonObject] = {
        "org": {"resourceType": "Organization", "name": "Nordklinik", "active": True},
        "ward": {"resourceType": "Organization", "name": "Nordklinik Ward 3", "partOf": _to("org")},
        "doctor": {
            "resourceType": "Practitioner",
            "name": [{"family": "Müller-Lüdenscheidt", "given": ["Ève"]}],
        },
        "room": {"resourceType": "Location", "name": "Room 1", "managingOrganization": _to("ward")},
    }
    for label, fields in _PATIENTS.items():
        made[label] = {"resourceType": "Patient", **fields}
    made["anna"]["managingOrganization"] = _to("ward")
    made["bruno"]["managingOrganization"] = _to("org")
    made["anna"]["generalPractitioner"] = [_to("doctor")]
    made["cy"]["link"] = [{"other": _to("anna"), "type": "seealso"}]
    for label, fields in _OBSERVATIONS.items():
        made[label] = {
            "resourceType": "Observation", "status": "final",
            "code": {"coding": [{"system": _LOINC, "code": "odd"}]}, "subject": _to("anna"), **fields,
        }  # fmt: skip
    for label, fields in _ENCOUNTERS.items():
        made[label] = {
            "resourceType": "Encounter", "status": "finished", "class": {"code": "IMP"},
            "subject": _to("anna"), **fields,
        }  # fmt: skip
    for label, fields in _CONDITIONS.items():
        made[label] = {
            "resourceType": "Condition",
            "subject": _to("bruno"),
            "code": {"text": "an odd one"},
            **fields,
        }
    made["panel"] |= {"hasMember": [_to("mg"), _to("g")], "encounter": _to("open stay")}
    made["mg"] |= {"performer": [_to("doctor"), _to("org")], "encounter": _to("open stay")}
    return made


def _to(label: str) -> JsonObject:
    return {"reference": f"@{label}"}


def _quantity(value: float, code: str, **more: Any) -> JsonObject:
    return {"valueQuantity": {"value": value, "unit": code, "system": _UCUM, "code": code, **more}}


_PATIENTS: dict[str, JsonObject] = {
    "anna": {
        "name": [{"family": "Müller", "given": ["Anna", "Zoë"]}, {"text": "Annie the Great"}],
        "birthDate": "1970-05-05", "gender": "female", "active": True,
        "identifier": [{"system": "urn:example:odd", "value": "ODD|1"}, {"value": "bare,7"}],
        "telecom": [{"system": "phone", "value": "555-1"}, {"system": "email", "value": "Anna@Example.org"}],
        "address": [{"line": ["Hauptstraße 1"], "city": "München", "country": "DE", "postalCode": "80331"}],
        "meta": {"tag": [{"system": "urn:example:tag", "code": "odd"}]},
    },
    "bruno": {
        "name": [{"family": "MULLER", "given": ["Bruno"]}], "birthDate": "1970-05", "gender": "male",
        "deceasedDateTime": "2020-02-29", "active": False,
        "identifier": [{"system": "urn:example:odd", "value": "odd|1"}],
        "meta": {"profile": ["http://example.org/StructureDefinition/odd"]},
    },
    "cy": {"name": [{"family": "van der Muller"}], "birthDate": "1970", "deceasedBoolean": True, "gender": "other"},
    "dee": {"name": [{"text": "Dee"}], "deceasedBoolean": False},
}  # fmt: skip

_OBSERVATIONS: dict[str, JsonObject] = {
    "mg": {**_quantity(5400, "mg"), "effectiveDateTime": "2019-06-30T23:59:59Z"},
    "g": {**_quantity(5.4, "g"), "effectiveDateTime": "2019-06-30"},
    "near": {**_quantity(5.40, "g"), "effectiveDateTime": "2019-06"},
    "higher": {**_quantity(5.44, "g"), "effectiveDateTime": "2019"},
    "less": {**_quantity(5.4, "g", comparator="<"), "effectiveDateTime": "2019-07-01T00:30:00+02:00"},
    "more": {**_quantity(5.4, "g", comparator=">"), "effectiveDateTime": "2019-07-01T00:00:00Z"},
    "unitless": {"valueQuantity": {"value": 5.4}, "effectivePeriod": {"start": "2019-06-01", "end": "2019-06-15"}},
    "ranged": {
        "valueRange": {"low": {"value": 5, "unit": "g"}, "high": {"value": 6, "unit": "g"}},
        "effectivePeriod": {"start": "2019-06-15"},
    },
    "ended": {"valueString": "Positive for ODD things", "effectivePeriod": {"end": "2019-06-15"}},
    "coded": {
        "valueCodeableConcept": {"coding": [{"system": "urn:example:v", "code": "POS"}], "text": "positive"},
        "effectiveInstant": "2019-06-30T22:00:00Z",
    },
    "undated": {"code": {"text": "free text only"}, "dataAbsentReason": {"text": "not done"}},
    "panel": {
        "code": {"coding": [{"code": "nosystem"}, {"system": _LOINC, "code": "panel", "display": "Odd panel"}]},
        "component": [
            {"code": {"coding": [{"system": _LOINC, "code": "sys"}]}, **_quantity(120, "mm[Hg]")},
            {"code": {"coding": [{"system": _LOINC, "code": "dia"}]}, **_quantity(80, "mm[Hg]")},
        ],
    },
    "logical": {"subject": {"identifier": {"system": "urn:example:odd", "value": "logical"}}},
    "nobody": {"subject": {"display": "somebody"}, "status": "preliminary"},
    "amended": {"status": "amended", "subject": _to("bruno"), "effectiveDateTime": "2019-06-30"},
    "negative": {**_quantity(-3, "g"), "effectiveDateTime": "2021-01-01", "subject": _to("bruno")},
}  # fmt: skip

_ENCOUNTERS: dict[str, JsonObject] = {
    "open stay": {"period": {"start": "2019-06-01T10:00:00Z"}, "location": [{"location": _to("room")}]},
    "short stay": {"period": {"start": "2019-06-10", "end": "2019-06-12"}, "serviceProvider": _to("ward")},
    "undated stay": {"subject": _to("bruno"), "status": "planned"},
}

_CONDITIONS: dict[str, JsonObject] = {
    "aged": {"onsetAge": {"value": 40, "unit": "a", "system": _UCUM, "code": "a"}},
    "spanned": {
        "onsetPeriod": {"start": "2018", "end": "2019"},
        "abatementDateTime": "2020-01",
        "clinicalStatus": {"coding": [{"system": _CLINICAL, "code": "resolved"}]},
    },
    "told": {"onsetString": "in childhood"},
    "dated": {"onsetDateTime": "2019-06-15", "recordedDate": "2019-06-16"},
}

RESOURCES = _resources()
LABELS = list(RESOURCES)


def bundle() -> bytes:
    """All of them in one transaction, in the order of ``LABELS``."""
    addresses = {label: f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, label)}" for label in LABELS}
    entries = [
        {
            "fullUrl": addresses[label],
            "resource": _resolved(resource, addresses),
            "request": {"method": "POST", "url": resource["resourceType"]},
        }
        for label, resource in RESOURCES.items()
    ]
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def _resolved(value: Any, addresses: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(part, addresses) for key, part in value.items()}
    if isinstance(value, list):
        return [_resolved(part, addresses) for part in value]
    return addresses[value[1:]] if isinstance(value, str) and value.startswith("@") else value
