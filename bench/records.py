"""Synthetic records as transaction Bundles: a patient with stays, results, problems and prescriptions. Seeded."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

import orjson

JsonObject = dict[str, Any]

_LOINC, _UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_FAMILIES = ["Amsel", "Bergfink", "Corvin", "Drossel", "Elster", "Falk", "Grasmück", "Habicht"]
_GIVEN = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gil", "Hana"]
_UNITS = ["mg/dL", "mmol/L", "g/L", "10*9/L", "%", "U/L"]


def bundles(count: int, *, seed: int = 1, size: tuple[int, int] = (100, 500)) -> Iterator[bytes]:
    """``count`` Bundles as JSON, each with ``size`` resources of one new patient."""
    rng = random.Random(seed)
    for number in range(count):
        entries = list(_record(rng, f"{seed}-{number}", rng.randint(*size)))
        yield orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def _record(rng: random.Random, number: str, size: int) -> Iterator[JsonObject]:
    patient = _entry(rng, _patient(rng, number))
    yield patient
    subject = {"reference": patient["fullUrl"]}
    encounter: JsonObject = {}
    for index in range(size - 1):
        day = f"20{rng.randint(10, 25)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        if index % 25 == 0:
            found = _entry(rng, _encounter(subject, day))
            encounter = {"reference": found["fullUrl"]}
            yield found
            continue
        kind = rng.random()
        if kind < 0.75:
            yield _entry(rng, _observation(rng, subject, encounter, day))
        elif kind < 0.9:
            yield _entry(rng, _condition(rng, subject, encounter, day))
        else:
            yield _entry(rng, _prescription(rng, subject, encounter, day))


def _entry(rng: random.Random, resource: JsonObject) -> JsonObject:
    return {
        "fullUrl": f"urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}",
        "resource": resource,
        "request": {"method": "POST", "url": resource["resourceType"]},
    }


def _patient(rng: random.Random, number: str) -> JsonObject:
    return {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:example:mrn", "value": f"MRN{number}"}],
        "name": [{"family": rng.choice(_FAMILIES), "given": [rng.choice(_GIVEN)]}],
        "gender": rng.choice(["female", "male"]),
        "birthDate": f"{rng.randint(1930, 2015)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
        "address": [{"city": "Hartwell", "postalCode": f"{rng.randint(10000, 99999)}", "country": "US"}],
        "telecom": [{"system": "phone", "value": f"555-{rng.randint(1000, 9999)}"}],
    }


def _encounter(subject: JsonObject, day: str) -> JsonObject:
    return {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": subject,
        "period": {"start": f"{day}T08:00:00+01:00", "end": f"{day}T09:30:00+01:00"},
    }


def _observation(rng: random.Random, subject: JsonObject, encounter: JsonObject, day: str) -> JsonObject:
    unit = rng.choice(_UNITS)
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": _CATEGORY, "code": "laboratory", "display": "Laboratory"}]}],
        "code": {"coding": [{"system": _LOINC, "code": f"{rng.randint(1000, 1400)}-1"}], "text": "a result"},
        "subject": subject,
        "encounter": encounter,
        "effectiveDateTime": f"{day}T08:{rng.randint(10, 59)}:00+01:00",
        "issued": f"{day}T12:00:00.000+01:00",
        "valueQuantity": {"value": rng.randint(1, 4000) / 10, "unit": unit, "system": _UCUM, "code": unit},
    }


def _condition(rng: random.Random, subject: JsonObject, encounter: JsonObject, day: str) -> JsonObject:
    status = {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}
    return {
        "resourceType": "Condition",
        "clinicalStatus": {"coding": [status]},
        "code": {"coding": [{"system": "urn:example:problem", "code": f"P{rng.randint(100, 400)}"}]},
        "subject": subject,
        "encounter": encounter,
        "onsetDateTime": day,
    }


def _prescription(rng: random.Random, subject: JsonObject, encounter: JsonObject, day: str) -> JsonObject:
    return {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {
            "coding": [{"system": "urn:example:drug", "code": f"D{rng.randint(100, 300)}"}]
        },
        "subject": subject,
        "encounter": encounter,
        "authoredOn": day,
        "dosageInstruction": [{"text": "one in the morning"}],
    }
