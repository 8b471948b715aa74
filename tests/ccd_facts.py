"""What a document must hold: coded facts, compared before and after a round trip; and the order of its elements."""

from __future__ import annotations

from collections import Counter

from lxml import etree

from hdg.fhir import json

TYPES = (
    "AllergyIntolerance",
    "Appointment",
    "CarePlan",
    "CareTeam",
    "Condition",
    "Coverage",
    "DeviceUseStatement",
    "Encounter",
    "FamilyMemberHistory",
    "Goal",
    "Immunization",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "MedicationStatement",
    "Observation",
    "Procedure",
    "ServiceRequest",
)
_STEMS = ("onset", "abatement", "effective", "performed", "occurrence", "timing", "period", "start")


def _codes(concept):
    found = [(one.get("system", ""), one.get("code", "")) for one in (concept or {}).get("coding", ())]
    return frozenset(found) or (concept or {}).get("text", "")


def _code(resource, at):
    for name in ("code", "vaccineCode", "medicationCodeableConcept", "description"):
        if name in resource:
            return _codes(resource[name])
    reference = resource.get("medicationReference", {}).get("reference")
    return _codes(at.get(reference, {}).get("code"))


def is_denied(resource):
    """Whether a resource says that something is not so."""
    verified = {one.get("code") for one in resource.get("verificationStatus", {}).get("coding", ())}
    return (
        "refuted" in verified
        or resource.get("doNotPerform") is True
        or resource.get("status") in ("declined", "not-done", "not-taken")
    )


def _dates(resource):
    for name, value in sorted(resource.items()):
        stem = next((one for one in _STEMS if name.startswith(one)), "")
        if stem and isinstance(value, str):
            yield stem, value[:10]
        elif stem and isinstance(value, dict):
            yield from ((stem, key, value[key][:10]) for key in ("start", "end") if key in value)


def _value(resource):
    found = {name: value for name, value in resource.items() if name.startswith("value")}
    return json.dumps({**found, "absent": _codes_list(resource.get("dataAbsentReason"))}).decode()


def _codes_list(concept):
    return sorted(one.get("code", "") for one in (concept or {}).get("coding", ()))


def _name(reference, at):
    """Who is meant: the names of a person, those of a role's person and place, or of an organization."""
    found = at.get((reference or {}).get("reference"), {})
    if found.get("resourceType") == "PractitionerRole":
        return (_name(found.get("practitioner"), at), _name(found.get("organization"), at))
    name = found.get("name", (reference or {}).get("display", ""))
    if isinstance(name, str):
        return name
    return " ".join([*name[0].get("given", ()), name[0].get("family", "") or name[0].get("text", "")])


def _device(reference, at):
    found = at.get((reference or {}).get("reference"), {})
    udi = tuple((one.get("carrierHRF"), one.get("deviceIdentifier")) for one in found.get("udiCarrier", ()))
    names = (
        "modelNumber",
        "manufacturer",
        "lotNumber",
        "serialNumber",
        "expirationDate",
        "distinctIdentifier",
    )
    safety = frozenset(
        (_codes(one["type"]), _codes(one["valueCode"][0])) for one in found.get("property", ())
    )
    return (_codes(found.get("type")), udi, tuple(found.get(name) for name in names), safety)


def _plan(resource, at):
    named = [(name, one) for name in ("goal", "addresses") for one in resource.get(name, ())]
    for one in resource.get("activity", ()):
        named += [("outcome", outcome) for outcome in one.get("outcomeReference", ())]
        named += [("activity", one["reference"])] if "reference" in one else []
    return frozenset((name, _code(at.get(one.get("reference"), {}), at)) for name, one in named)


def _details(one, at):
    """What else a fact of its type must keep."""
    kind = one["resourceType"]
    if kind == "CareTeam":
        members = (
            (_codes(role), _name(member["member"], at), member.get("period", {}).get("start", "")[:10])
            for member in one.get("participant", ())
            for role in member.get("role", [None])
        )
        return (one.get("name"), frozenset(map(_codes, one.get("category", ()))), frozenset(members))
    if kind == "Coverage":
        said = tuple(one.get(name) for name in ("subscriberId", "order"))
        plan = tuple(c.get("name") for c in one.get("class", ()) if _codes_list(c["type"]) == ["plan"])
        people = tuple(_name(one.get(name), at) for name in ("policyHolder", "subscriber"))
        payors = tuple(_name(payor, at) for payor in one["payor"])
        return (said, plan, people, payors, _codes(one.get("type")), _codes(one.get("relationship")))
    if kind == "DeviceUseStatement":
        return (_device(one["device"], at), frozenset(map(_codes, one.get("reasonCode", ()))))
    if kind == "Procedure":
        return frozenset(_device(focal["manipulated"], at) for focal in one.get("focalDevice", ()))
    if kind == "Appointment":
        period = next(iter(one.get("requestedPeriod", ())), {})
        kinds = frozenset(map(_codes, one.get("serviceType", ())))
        return (
            kinds,
            tuple(period.get(key, "")[:10] for key in ("start", "end")),
            one.get("patientInstruction"),
        )
    if kind == "CarePlan":
        return (_plan(one, at), frozenset(map(_codes, one.get("category", ()))))
    if kind == "FamilyMemberHistory":
        found = ((_codes(c["code"]), json.dumps(c.get("onsetAge"))) for c in one.get("condition", ()))
        return (_codes(one["relationship"]), frozenset(found))
    return ()


def facts(resources):
    """Each fact: type, codes, denied, status, dates to the day, value, and what belongs to its type.

    What is denied has a clinical status on the problem list alone, where R4 con-3 asks for one: it says nothing more.
    """
    at = {f"{one['resourceType']}/{one['id']}": one for one in resources}
    return Counter(
        (
            one["resourceType"],
            _code(one, at),
            is_denied(one),
            one.get("status", one.get("lifecycleStatus", "")),
            "" if is_denied(one) else _codes(one.get("clinicalStatus")),
            tuple(_dates(one)),
            _value(one) if one["resourceType"] == "Observation" else "",
            _details(one, at),
        )
        for one in resources
        if one["resourceType"] in TYPES
    )


_HEAD = ("templateId", "id", "code", "text", "statusCode", "effectiveTime")
_PEOPLE = ("subject", "specimen", "performer", "author", "informant", "participant", "entryRelationship")
_TAIL = (*_PEOPLE, "reference", "precondition")
ORDER = {
    "observation": (
        *_HEAD,
        "priorityCode",
        "repeatNumber",
        "languageCode",
        "value",
        "interpretationCode",
        "methodCode",
        "targetSiteCode",
        *_TAIL,
        "referenceRange",
    ),
    "act": (*_HEAD, "priorityCode", "languageCode", *_TAIL),
    "procedure": (
        *_HEAD,
        "priorityCode",
        "languageCode",
        "methodCode",
        "approachSiteCode",
        "targetSiteCode",
        *_TAIL,
    ),
    "substanceAdministration": (
        *_HEAD,
        "priorityCode",
        "repeatNumber",
        "routeCode",
        "approachSiteCode",
        "doseQuantity",
        "rateQuantity",
        "maxDoseQuantity",
        "administrationUnitCode",
        "consumable",
        *_TAIL,
    ),
    "supply": (
        *_HEAD,
        "priorityCode",
        "repeatNumber",
        "independentInd",
        "quantity",
        "expectedUseTime",
        "product",
        *_TAIL,
    ),
    "encounter": (*_HEAD, "dischargeDispositionCode", "priorityCode", *_TAIL),
    "organizer": (
        "templateId",
        "id",
        "code",
        "statusCode",
        "effectiveTime",
        "subject",
        "specimen",
        "performer",
        "author",
        "informant",
        "participant",
        "reference",
        "precondition",
        "component",
    ),
    "section": (
        "templateId",
        "id",
        "code",
        "title",
        "text",
        "confidentialityCode",
        "author",
        "entry",
        "component",
    ),
    "patientRole": ("id", "addr", "telecom", "patient", "providerOrganization"),
    "patient": (
        "name",
        "administrativeGenderCode",
        "birthTime",
        "deceasedInd",
        "deceasedTime",
        "maritalStatusCode",
        "religiousAffiliationCode",
        "raceCode",
        "ethnicGroupCode",
        "guardian",
        "birthplace",
        "languageCommunication",
    ),
    "assignedEntity": ("id", "code", "addr", "telecom", "assignedPerson", "representedOrganization"),
    "assignedAuthor": (
        "id",
        "code",
        "addr",
        "telecom",
        "assignedPerson",
        "assignedAuthoringDevice",
        "representedOrganization",
    ),
    "manufacturedProduct": (
        "templateId",
        "id",
        "manufacturedLabeledDrug",
        "manufacturedMaterial",
        "manufacturerOrganization",
    ),
    "observationRange": ("code", "text", "value", "interpretationCode"),
}
"""The order of children in the CDA R2 schema (POCD_MT000040), with the extensions of HL7 where they stand."""


def disorder(document):
    """What stands where the schema has it not, and references into the narrative that lead nowhere."""
    root = etree.fromstring(document)
    found = []
    for element in root.iter():
        order = ORDER.get(etree.QName(element).localname)
        if order is None:
            continue
        names = [etree.QName(child).localname for child in element]
        found += [f"{etree.QName(element).localname}/{name}" for name in names if name not in order]
        places = [order.index(name) for name in names if name in order]
        if places != sorted(places):
            found.append(f"{etree.QName(element).localname}: {names}")
    ids = [one.get("ID") for one in root.iter() if one.get("ID")]
    found += [f"twice: {one}" for one, count in Counter(ids).items() if count > 1]
    named = [one.get("value", "") for one in root.iter("{urn:hl7-org:v3}reference")]
    return found + [f"nowhere: {one}" for one in named if one.startswith("#") and one[1:] not in ids]
