"""The header of a document: whom it is about, who made it, who keeps it. C-CDA R2.1 §1.1 US Realm Header, CCD."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from hdg.usage.ccd.book import Book
from hdg.usage.ccd.people import addresses, name, organization, telecoms
from hdg.usage.ccd.values import absence, code, codings_of, moment, oid, stamp
from hdg.usage.ccd.xml import Node, node

__all__ = ["Making", "header"]

JsonObject = dict[str, Any]

_GENDER = {"male": "M", "female": "F", "other": "UN"}
_LEVELS = ("U", "L", "M", "N", "R", "V")
_CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
_BIRTH_TIME = "http://hl7.org/fhir/StructureDefinition/patient-birthTime"
_RELIGION = "http://hl7.org/fhir/StructureDefinition/patient-religion"
_BIRTH_PLACE = "http://hl7.org/fhir/StructureDefinition/patient-birthPlace"
_PROFICIENCY = "http://hl7.org/fhir/StructureDefinition/patient-proficiency"
_RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
_ETHNICITY = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity"
_RACE_OID, _CODE_SYSTEM = "2.16.840.1.113883.6.238", "2.16.840.1.113883.5.25"


@dataclass(frozen=True, slots=True)
class Making:
    """How a document is made. ``id``: its UUID; ``at``: an R4 instant; ``institution``: who keeps it;
    ``base_url``: the FHIR API, without a slash at its end.
    """

    id: str
    at: str
    institution: str
    base_url: str


def header(patient: JsonObject, resources: Iterable[JsonObject], making: Making, book: Book) -> list[Node]:
    """The elements before the body."""
    keeper = _keeper(making)
    return [
        node("realmCode", code="US"),
        node("typeId", root="2.16.840.1.113883.1.3", extension="POCD_HD000040"),
        [
            one
            for root in ("2.16.840.1.113883.10.20.22.1.1", "2.16.840.1.113883.10.20.22.1.2")
            for one in (node("templateId", root=root), node("templateId", root=root, extension="2015-08-01"))
        ],
        node("id", root=making.id),
        node(
            "code",
            code="34133-9",
            codeSystem="2.16.840.1.113883.6.1",
            displayName="Summarization of Episode Note",
        ),
        node("title", "Continuity of Care Document"),
        node("effectiveTime", value=stamp(making.at)),
        node("confidentialityCode", code=_confidentiality(resources), codeSystem=_CODE_SYSTEM),
        node("languageCode", code="en-US"),
        node("recordTarget", _patient_role(patient, book)),
        node(
            "author",
            node("time", value=stamp(making.at)),
            node(
                "assignedAuthor",
                node("id", root=str(uuid5(NAMESPACE_URL, making.base_url))),
                addresses((), is_needed=True),
                telecoms((), is_needed=True),
                node(
                    "assignedAuthoringDevice",
                    node("manufacturerModelName", "Healthcare Data Gateway"),
                    node("softwareName", "Healthcare Data Gateway"),
                ),
                node("representedOrganization", keeper, node("name", making.institution)),
            ),
        ),
        node(
            "custodian",
            node(
                "assignedCustodian",
                node(
                    "representedCustodianOrganization",
                    _keeper(making),
                    node("name", making.institution),
                    telecoms((), is_needed=True),
                    addresses((), is_needed=True),
                ),
            ),
        ),
        [_contact(one) for one in patient.get("contact", ())],
        node(
            "documentationOf",
            node(
                "serviceEvent",
                node(
                    "effectiveTime",
                    moment("low", patient.get("birthDate")),
                    node("high", value=stamp(making.at)),
                ),
                classCode="PCPR",
            ),
        ),
    ]


_CONTACTS = {"C": "ECON", "N": "NOK", "GUARD": "GUARD"}
"""HL7 table 0131 and v3 RoleClass → classCode; no other relation says that somebody is more than a contact."""


def _contact(given: JsonObject) -> Node:
    """A person to turn to."""
    kinds = [one for concept in given.get("relationship", ()) for one in codings_of(concept)]
    role = next((_CONTACTS[one["code"]] for one in kinds if one["code"] in _CONTACTS), "CON")
    relation = next(iter(given.get("relationship", ())), None)
    called = given.get("name")
    return node(
        "participant",
        node(
            "associatedEntity",
            code("code", relation) if relation else None,
            addresses([given["address"]] if given.get("address") else ()),
            telecoms(given.get("telecom")),
            node("associatedPerson", name(called)) if called else None,
            classCode=role,
        ),
        typeCode="IND",
    )


def _keeper(making: Making) -> Node:
    return node("id", root=oid(f"{making.base_url}/institution"), extension=making.institution)


def _confidentiality(resources: Iterable[JsonObject]) -> str:
    """The highest of what is in it; normal for what says nothing."""
    labels = [one for resource in resources for one in (resource.get("meta") or {}).get("security", ())]
    codes = {"N", *(one.get("code") for one in labels if one.get("system") == _CONFIDENTIALITY)}
    return next(level for level in reversed(_LEVELS) if level in codes)


def _patient_role(patient: JsonObject, book: Book) -> Node:
    provider = book.get(patient.get("managingOrganization"), patient)
    return node(
        "patientRole",
        book.ids(patient),
        addresses(patient.get("address"), is_needed=True),
        telecoms(patient.get("telecom"), is_needed=True),
        _person(patient),
        organization("providerOrganization", provider, book) if provider else None,
    )


def _extension(resource: JsonObject, url: str) -> JsonObject:
    return next((one for one in resource.get("extension", ()) if one.get("url") == url), {})


def _person(patient: JsonObject) -> Node:
    names = [name(one) for one in patient.get("name", ())] or [node("name", nullFlavor="UNK")]
    birth = _extension(patient.get("_birthDate") or {}, _BIRTH_TIME).get("valueDateTime") or patient.get(
        "birthDate"
    )
    died, is_dead = stamp(patient.get("deceasedDateTime", "")), patient.get("deceasedBoolean")
    religion = _extension(patient, _RELIGION).get("valueCodeableConcept")
    place = _extension(patient, _BIRTH_PLACE).get("valueAddress")
    races, groups = _categories(patient, _RACE), _categories(patient, _ETHNICITY)
    return node(
        "patient",
        names,
        _gender(patient),
        moment("birthTime", birth),
        node("sdtc:deceasedInd", value="true" if died or is_dead else "false")
        if died or isinstance(is_dead, bool)
        else None,
        node("sdtc:deceasedTime", value=died) if died else None,
        code("maritalStatusCode", patient["maritalStatus"]) if patient.get("maritalStatus") else None,
        code("religiousAffiliationCode", religion) if religion else None,
        _category("raceCode", races[0]) if races else node("raceCode", nullFlavor="UNK"),
        [_category("sdtc:raceCode", one) for one in races[1:]],
        _category("ethnicGroupCode", groups[0]) if groups else node("ethnicGroupCode", nullFlavor="UNK"),
        [_category("sdtc:ethnicGroupCode", one) for one in groups[1:]],
        node("birthplace", node("place", addresses([place]))) if place else None,
        [_language(one) for one in patient.get("communication", ())],
    )


def _gender(patient: JsonObject) -> Node:
    known = _GENDER.get(patient.get("gender", ""))
    if known:
        return node("administrativeGenderCode", code=known, codeSystem="2.16.840.1.113883.5.1")
    return node("administrativeGenderCode", nullFlavor=absence(patient.get("_gender")) or "UNK")


def _categories(patient: JsonObject, url: str) -> list[JsonObject]:
    """The codings of a US Core extension: the categories first, then what is more exact."""
    parts = _extension(patient, url).get("extension", ())
    return [
        one["valueCoding"]
        for kind in ("ombCategory", "detailed")
        for one in parts
        if one.get("url") == kind and one.get("valueCoding", {}).get("code")
    ]


def _category(tag: str, coding: JsonObject) -> Node:
    if not codings_of({"coding": [coding]}):
        return node(tag, nullFlavor="UNK")
    system = coding.get("system", "")
    if system.endswith("v3-NullFlavor"):
        return node(tag, nullFlavor=coding["code"])
    root = oid(system) if system else _RACE_OID
    return node(tag, code=coding["code"], codeSystem=root, displayName=coding.get("display"))


def _ability(given: JsonObject, tag: str, part: str) -> Node | None:
    """How, or how well, a language is used."""
    parts = _extension(given, _PROFICIENCY).get("extension", ())
    coding = next(
        (one["valueCoding"] for one in parts if one.get("url") == part and one.get("valueCoding")), None
    )
    return code(tag, {"coding": [coding]}) if coding else None


def _language(given: JsonObject) -> Node | None:
    tongue = next(iter(codings_of(given.get("language"))), None)
    if tongue is None:
        return None
    preferred = given.get("preferred")
    return node(
        "languageCommunication",
        node("languageCode", code=tongue["code"]),
        [_ability(given, "modeCode", "type"), _ability(given, "proficiencyLevelCode", "level")],
        node("preferenceInd", value="true" if preferred else "false")
        if isinstance(preferred, bool)
        else None,
    )
