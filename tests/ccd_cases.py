"""Resources for a document, one fact each, in every state that R4 has for it; and the document of them."""

from __future__ import annotations

from pathlib import Path

from hdg.fhir import json
from hdg.fhir.validate import validate
from hdg.usage.ccd.document import CARRIED, Making

MAKING = Making(
    "0a0a0a0a-1111-4222-8333-444444444444", "2026-01-02T03:04:05Z", "north", "https://gw.example/fhir"
)
EXAMPLE = Path(__file__).parents[1] / "examples" / "ccd-summary.xml"


_WHOM = {"AllergyIntolerance": "patient", "Coverage": "beneficiary", "Device": "patient"} | dict.fromkeys(
    ("FamilyMemberHistory", "Immunization"), "patient"
)


def about_one(resource):
    """A resource as one about a patient, who comes before it; a Patient alone."""
    if resource["resourceType"] == "Patient":
        return [resource]
    about = {_WHOM.get(resource["resourceType"], "subject"): {"reference": "Patient/the-one"}}
    kept = {name: value for name, value in resource.items() if name != "focus"}
    if resource["resourceType"] == "Appointment":
        about = {"participant": [{"actor": {"reference": "Patient/the-one"}, "status": "accepted"}]}
    return [{"resourceType": "Patient", "id": "the-one"}, {**kept, **about}]


def carried_examples(cases):
    """(file, resource) of every valid R4 example of a type that a CCD carries."""
    for file in sorted((cases / "fhir" / "r4-examples").rglob("*.json")):
        resource = json.loads(file.read_bytes())
        is_carried = isinstance(resource, dict) and resource.get("resourceType") in CARRIED
        if is_carried and not validate(resource):
            yield file, resource


def concept(code, **rest):
    return {"coding": [{"system": "http://snomed.info/sct", "code": code}], **rest}


def verified(code, kind):
    system = f"http://terminology.hl7.org/CodeSystem/{kind}"
    return {"coding": [{"system": system, "code": code}]}


def whole(*resources):
    patient = {
        "resourceType": "Patient",
        "id": "p",
        "identifier": [{"system": "urn:oid:2.999.1", "value": "1"}],
    }
    found = [patient]
    for number, one in enumerate(resources):
        name = _WHOM.get(one["resourceType"], "subject")
        about = {} if one["resourceType"] == "Appointment" else {name: {"reference": "Patient/p"}}
        found.append({"id": f"r{number}", **about, **one})
    text = json.dumps(found)
    found += [one for one in AROUND if f"{one['resourceType']}/{one['id']}".encode() in text]
    return [json.loads(json.dumps(one)) for one in found]


FACTS = [
    {
        "resourceType": "Condition",
        "code": concept("1"),
        "clinicalStatus": verified("inactive", "condition-clinical"),
        "verificationStatus": verified("refuted", "condition-ver-status"),
    },
    {"resourceType": "Condition", "code": concept("160245001")},
    *(
        {
            "resourceType": "Condition",
            "code": concept("1"),
            "onsetDateTime": "2010-02",
            "clinicalStatus": verified(status, "condition-clinical"),
        }
        for status in ("active", "inactive", "resolved", "recurrence", "relapse", "remission")
    ),
    {
        "resourceType": "AllergyIntolerance",
        "code": concept("1"),
        "clinicalStatus": verified("active", "allergyintolerance-clinical"),
        "verificationStatus": verified("refuted", "allergyintolerance-verification"),
    },
    *(
        {
            "resourceType": "AllergyIntolerance",
            "code": concept(code),
            "clinicalStatus": verified("active", "allergyintolerance-clinical"),
        }
        for code in ("716186003", "409137002", "429625007", "428607008", "762952008")
    ),
    *(
        {
            "resourceType": "MedicationStatement",
            "status": status,
            "medicationCodeableConcept": concept("1"),
            "effectivePeriod": {"start": "2024-01-01"},
        }
        for status in ("active", "completed", "intended", "stopped", "on-hold", "unknown", "not-taken")
    ),
    *(
        {
            "resourceType": "MedicationAdministration",
            "status": status,
            "medicationCodeableConcept": concept("1"),
            "effectiveDateTime": "2024-01-01",
            "dosage": {
                "route": concept("26643006"),
                "dose": {
                    "value": 2,
                    "unit": "mg",
                    "system": "http://unitsofmeasure.org",
                    "code": "mg",
                },
            },
        }
        for status in ("completed", "in-progress", "stopped", "on-hold", "unknown", "not-done")
    ),
    *(
        {
            "resourceType": "MedicationRequest",
            "status": status,
            "intent": intent,
            "doNotPerform": is_denied,
            "medicationCodeableConcept": concept("1"),
        }
        for status in ("active", "on-hold", "cancelled", "completed", "stopped", "draft", "unknown")
        for intent in ("plan", "order", "proposal")
        for is_denied in (True, False)
    ),
    *(
        {"resourceType": "MedicationDispense", "status": status, "medicationCodeableConcept": concept("1")}
        for status in (
            "completed",
            "in-progress",
            "stopped",
            "on-hold",
            "cancelled",
            "preparation",
        )
    ),
    *(
        {
            "resourceType": "Immunization",
            "status": status,
            "vaccineCode": concept("1"),
            "occurrenceDateTime": "2024",
        }
        for status in ("completed", "not-done")
    ),
    *(
        {
            "resourceType": "Procedure",
            "status": status,
            "code": concept("1"),
            "performedDateTime": "2024-01-02",
        }
        for status in ("completed", "in-progress", "stopped", "on-hold", "preparation", "not-done", "unknown")
    ),
    *(
        {
            "resourceType": "Observation",
            "status": "final",
            "category": [{"coding": [{"system": "http://loinc.org", "code": "42348-3"}]}],
            "code": concept("304251008"),
            "effectivePeriod": {"start": "2023-02-13"},
            "valueCodeableConcept": concept(wanted),
            "derivedFrom": [{"reference": f"DocumentReference/{document}"}],
        }
        for wanted, document in (("304252001", "will"), ("304253006", "scan"))
    ),
    *(
        {"resourceType": "Observation", "status": "final", "code": concept("1"), **value}
        for value in (
            {
                "valueQuantity": {
                    "value": json.decimal("1.50"),
                    "unit": "mg",
                    "system": "http://unitsofmeasure.org",
                    "code": "mg",
                }
            },
            {"valueCodeableConcept": concept("2")},
            {"valueString": "a <b> & c"},
            {"valueBoolean": False},
            {"valueInteger": 0},
            {"effectiveDateTime": "2024-01-02T03:04:05+01:00", "valueDateTime": "2024-01"},
            {"dataAbsentReason": verified("not-asked", "data-absent-reason")},
        )
    ),
    *(
        {
            "resourceType": "DeviceUseStatement",
            "status": status,
            "timingPeriod": {"start": "2024-01-02"},
            "device": {"reference": "Device/device"},
            "reasonCode": [concept("2")],
        }
        for status in ("active", "stopped", "intended", "on-hold")
    ),
    *(
        {
            "resourceType": "CareTeam",
            "status": status,
            "name": "Team of ward 3",
            "category": [concept("7")],
            "period": {"start": "2024-01-02", "end": "2024-02"},
            "participant": [
                {"role": [concept("3"), concept("4")], "member": {"reference": "Practitioner/doctor"}},
                {"member": {"reference": "RelatedPerson/aunt"}, "period": {"start": "2024-01-03"}},
            ],
        }
        for status in ("active", "inactive", "suspended", "proposed")
    ),
    *(
        {
            "resourceType": "Coverage",
            "status": status,
            "type": concept("5"),
            "beneficiary": {"reference": "Patient/p"},
            "subscriberId": "M-1",
            "policyHolder": {"reference": "Patient/p"},
            "subscriber": {"reference": "Patient/p"},
            "relationship": {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode", "code": "SELF"}]
            },
            "period": {"start": "2024-01-02"},
            "payor": [{"reference": "Organization/insurer"}],
            "order": 2,
        }
        for status in ("active", "cancelled", "draft")
    ),
    {
        "resourceType": "Appointment",
        "status": "proposed",
        "serviceType": [concept("12")],
        "requestedPeriod": [{"start": "2024-05-06", "end": "2024-05-07"}],
        "patientInstruction": "Come sober",
        "participant": [
            {"actor": {"reference": "Patient/p"}, "status": "needs-action"},
            {"actor": {"reference": "Practitioner/doctor"}, "status": "needs-action"},
        ],
    },
    *(
        {
            "resourceType": "CarePlan",
            "status": status,
            "intent": "plan",
            "category": [concept("6")],
            "period": {"start": "2024-01-02"},
            "activity": [
                {"reference": {"reference": "ServiceRequest/planned"}},
                {"outcomeReference": [{"reference": "Procedure/done"}]},
            ],
            "goal": [{"reference": "Goal/goal"}],
            "addresses": [{"reference": "Condition/problem"}],
        }
        for status in ("active", "completed", "revoked", "on-hold", "draft", "unknown")
    ),
]

_ABOUT = {"subject": {"reference": "Patient/p"}}
AROUND = [
    {
        "resourceType": "Device",
        "id": "device",
        "patient": {"reference": "Patient/p"},
        "type": concept("87405001"),
        "modelNumber": "M1",
        "manufacturer": "Maker",
        "lotNumber": "L1",
        "serialNumber": "S1",
        "expirationDate": "2030-01-01",
        "udiCarrier": [{"deviceIdentifier": "0099", "carrierHRF": "(01)0099(10)L1"}],
    },
    {"resourceType": "Practitioner", "id": "doctor", "name": [{"given": ["Dora"], "family": "Doctor"}]},
    {
        "resourceType": "RelatedPerson",
        "id": "aunt",
        "patient": {"reference": "Patient/p"},
        "name": [{"given": ["Ada"], "family": "Aunt"}],
    },
    {"resourceType": "Organization", "id": "insurer", "name": "Insurer"},
    *(
        {
            "resourceType": "DocumentReference",
            "id": name,
            "identifier": [{"system": "urn:oid:2.999.9", "value": name}],
            "status": "current",
            "type": {"coding": [{"system": "http://loinc.org", "code": "86533-7"}]},
            "content": [{"attachment": {"contentType": "application/pdf", **held}}],
        }
        for name, held in (
            ("will", {"url": "https://clinic.example/will.pdf"}),
            ("scan", {"data": "JVBERi0="}),
        )
    ),
    {
        "resourceType": "ServiceRequest",
        "id": "planned",
        "status": "active",
        "intent": "plan",
        "code": concept("8"),
        **_ABOUT,
    },
    {
        "resourceType": "Procedure",
        "id": "done",
        "status": "completed",
        "code": concept("9"),
        "performedDateTime": "2024-01-02",
        **_ABOUT,
    },
    {
        "resourceType": "Goal",
        "id": "goal",
        "lifecycleStatus": "active",
        "description": concept("10"),
        **_ABOUT,
    },
    {
        "resourceType": "Condition",
        "id": "problem",
        "code": concept("11"),
        "clinicalStatus": verified("active", "condition-clinical"),
        **_ABOUT,
    },
]
"""What the facts name."""
