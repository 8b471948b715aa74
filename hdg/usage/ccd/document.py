"""A Continuity of Care Document of the resources of one patient. C-CDA R2.1 (https://hl7.org/cda/us/ccda/), pure.

Every section that a CCD needs is there; one without entries says that there is no information. What was entered
in error is left out, what a modifier extension gives a meaning that CDA could not tell, and what is about somebody
else: it is in a patient's compartment when the patient only had a part in it. Types without a place
here (``CARRIED`` lists those that have one) are not in the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hdg.usage.ccd.administrations import administration
from hdg.usage.ccd.book import Book
from hdg.usage.ccd.coverages import coverage
from hdg.usage.ccd.devices import device_use
from hdg.usage.ccd.events import family, immunization, procedure
from hdg.usage.ccd.header import Making, header
from hdg.usage.ccd.medications import dispense, is_supply, medication, supply
from hdg.usage.ccd.observations import observation, panel, report, section_of
from hdg.usage.ccd.parts import SNOMED, is_denied
from hdg.usage.ccd.plans import appointment, encounter, goal, is_planned, order
from hdg.usage.ccd.problems import allergy, condition
from hdg.usage.ccd.sections import sections
from hdg.usage.ccd.teams import care_plan, care_team
from hdg.usage.ccd.values import codings_of
from hdg.usage.ccd.xml import Node, node, serialized

__all__ = ["CARRIED", "MEDIA_TYPE", "Making", "document"]

JsonObject = dict[str, Any]

MEDIA_TYPE = "application/hl7-cda+xml"
CARRIED = (
    "AllergyIntolerance",
    "Appointment",
    "CarePlan",
    "CareTeam",
    "Condition",
    "Coverage",
    "DeviceUseStatement",
    "DiagnosticReport",
    "Encounter",
    "FamilyMemberHistory",
    "Goal",
    "Immunization",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "MedicationStatement",
    "Observation",
    "Patient",
    "Procedure",
    "ServiceRequest",
)
"""The types that become entries; people, organizations, places and Medications come with what names them."""
_ERROR = "entered-in-error"
_NONE_KNOWN = frozenset(("716186003", "409137002", "429625007", "428607008", "160244002", "160245001"))
"""SNOMED CT: no known allergies, of drugs, of food, of the environment, of any kind; no known problems."""
_WHOM = ("subject", "patient", "beneficiary")
"""Where a resource says whom it is about; the focus of an Observation is somebody else: CDA knows a carer there."""


def document(resources: Iterable[JsonObject], making: Making) -> bytes:
    """A CCD of one patient. ``resources``: the Patient first among those of its type, the others of which are records
    of the same person; all else that may be told.

    The same resources and ``making`` give the same bytes. Raises ValueError when there is no Patient.
    """
    whole = Book((one for one in resources if _is_told(one)), making.base_url)
    book = Book((one for one in whole.resources if _is_about_them(one, whole)), making.base_url)
    patient = next(iter(book.of("Patient")), None)
    if patient is None:
        raise ValueError("a document needs a patient")
    entries = _entries(book)
    body = node("structuredBody", sections(entries, book))
    root = node("ClinicalDocument", header(patient, book.resources, making, book), node("component", body))
    return serialized(root)


def _is_told(resource: JsonObject) -> bool:
    """Whether a resource can be in a document: R4 extensibility.html#modifierExtension, not one nobody understands."""
    if resource["resourceType"] == "Patient":
        return True
    return not _is_error(resource) and not _is_modified(resource) and not _denies_none(resource)


def _denies_none(resource: JsonObject) -> bool:
    """Whether it denies that none is known: C-CDA has no words for that, and readers would take it for none known."""
    if not is_denied(resource):
        return False
    codings = codings_of(resource.get("code"))
    return any(one.get("system") == SNOMED and one["code"] in _NONE_KNOWN for one in codings)


def _is_about_them(resource: JsonObject, book: Book) -> bool:
    """Whether a resource that becomes an entry says that it is about the patient, and nobody else."""
    type_ = resource["resourceType"]
    if type_ not in CARRIED or type_ == "Patient":
        return True
    whom = [resource[name] for name in _WHOM if name in resource]
    if type_ == "Appointment":
        actors = [one.get("actor") for one in resource.get("participant", ())]
        met = [(one, book.get(one, resource)) for one in actors if one]
        whom = [one for one, found in met if _is_patient(one, found)]
    found = [book.get(one, resource) for one in whom]
    carers = [book.get(one, resource) for one in resource.get("focus", ())]
    return (
        bool(whom)
        and all(one is not None and one["resourceType"] == "Patient" for one in found)
        and all(one is not None and one["resourceType"] == "RelatedPerson" for one in carers)
    )


def _is_patient(reference: JsonObject, found: JsonObject | None) -> bool:
    """Whether a patient is meant, here or not."""
    return (found or {}).get("resourceType") == "Patient" or "Patient/" in reference.get("reference", "")


def _is_modified(value: Any) -> bool:
    if isinstance(value, dict):
        return "modifierExtension" in value or any(map(_is_modified, value.values()))
    return isinstance(value, list) and any(map(_is_modified, value))


def _is_error(resource: JsonObject) -> bool:
    """Whether it says of itself that it was never so."""
    if _ERROR in (resource.get("status"), resource.get("lifecycleStatus")):
        return True
    return any(one["code"] == _ERROR for one in codings_of(resource.get("verificationStatus")))


def _entries(book: Book) -> dict[str, list[Node]]:
    """The entries of each section, in the order of the resources."""
    found: dict[str, list[Node]] = {}

    def put(section: str, made: Node | None) -> None:
        if made is not None:
            found.setdefault(section, []).append(made)

    simple: dict[str, tuple[str, Callable[[JsonObject, Book], Node | None]]] = {
        "AllergyIntolerance": ("allergies", allergy),
        "Immunization": ("immunizations", immunization),
        "MedicationAdministration": ("administered", administration),
        "MedicationDispense": ("medications", dispense),
        "Procedure": ("procedures", procedure),
        "FamilyMemberHistory": ("family", family),
        "Goal": ("goals", goal),
        "ServiceRequest": ("plan", order),
        "Appointment": ("plan", appointment),
        "CarePlan": ("plan", care_plan),
        "DeviceUseStatement": ("equipment", device_use),
        "CareTeam": ("teams", care_team),
        "Coverage": ("payers", coverage),
    }
    for type_, (section, write) in simple.items():
        for resource in book.of(type_):
            put(section, write(resource, book))
    for resource in book.of("Encounter"):
        put("plan" if is_planned(resource) else "encounters", encounter(resource, book))
    for resource in book.of("Condition"):
        if book.name(resource) not in book.written:
            put("problems", condition(resource, book))
    _medications(book, put)
    _observations(book, put)
    return found


def _medications(book: Book, put: Callable[[str, Node | None], None]) -> None:
    for resource in book.of("MedicationStatement"):
        put("medications", medication(resource, book, "medications"))
    for resource in book.of("MedicationRequest"):
        if book.name(resource) in book.written:
            continue
        if is_supply(resource):
            put("medications", supply(resource, book, "medications"))
        else:
            section = "medications" if resource.get("intent") == "plan" else "plan"
            put(section, medication(resource, book, section))


def _observations(book: Book, put: Callable[[str, Node | None], None]) -> None:
    for resource in book.of("DiagnosticReport"):
        put(section_of(resource), report(resource, book))
    members = _members(book)
    alone = [one for one in book.of("Observation") if book.name(one) not in members]
    for resource in (*alone, *book.of("Observation")):  # again: those that only name each other
        if book.name(resource) in book.written:
            continue
        section = section_of(resource)
        if section in ("results", "vitals"):
            put(section, panel(resource, book, section))
        else:
            put(section, observation(resource, book, section))


def _members(book: Book) -> set[str]:
    """The Observations that others hold."""
    found: set[str] = set()
    for resource in book.of("Observation"):
        for reference in (*resource.get("hasMember", ()), *resource.get("derivedFrom", ())):
            meant = book.get(reference, resource)
            if meant is not None:
                found.add(book.name(meant))
    return found
