"""What identifies the patients, relations and organizations of a registry message: converters of ``id`` rows.

A patient is the one of a CDA document with the same number: one record, however it was stated.
"""

from __future__ import annotations

from hdg.errors import Hl7v3Error
from hdg.fhir.ids import resource_id
from hdg.fhir.urns import plain_uuid
from hdg.ingestion.cda.identity import IDENTITIES
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import Element, children
from hdg.ingestion.hl7v3.message import below, key_text
from hdg.mapping.context import Facts

__all__ = ["Key", "key_of", "patient_key", "patient_reference", "prior_ids"]

Key = tuple[str, str]
"""Root and extension of an II."""
_PATIENT = "hl7v3 patient"


def key_of(one: Element) -> Key | None:
    """What a number is known by: an extension with its root, or a UUID. An OID alone names a domain, nobody in it."""
    root, extension = one.get("root", "").strip(), one.get("extension", "").strip()
    if one.get("nullFlavor") is not None or not root:
        return None
    if extension:
        return root, extension
    return (root, "") if plain_uuid(root) else None


def patient_key(patient: Element) -> Key:
    """The number in the domain of the providing organization (IHE ITI-44), else the first. Raises Hl7v3Error."""
    keys = [key for one in children(patient, "id") if (key := key_of(one)) is not None]
    domains = _domains(patient)
    for key in keys:
        if key[0] in domains:
            return key
    if not keys:
        raise Hl7v3Error("no usable patient identifier", "registrationEvent/subject1/patient/id")
    return keys[0]


def _domains(patient: Element) -> set[str]:
    return {one.get("root", "").strip() for one in below(patient, "providerOrganization", "id")}


def prior_ids(event: Element) -> list[Element]:
    """The numbers of the records that a registration stands in place of, by the rule of the patient's own.

    Of an earlier role those in the domain of the providing organization, else its first: what else it bears, such as a
    national number, is no record of its own, and may well be the number of the record that stays.
    """
    domains = {domain for patient in below(event, "subject1", "patient") for domain in _domains(patient)}
    found: list[Element] = []
    for role in below(event, "replacementOf", "priorRegistration", "subject1", "priorRegisteredRole"):
        ids = [one for one in children(role, "id") if key_of(one)]
        found += [one for one in ids if one.get("root", "").strip() in domains] or ids[:1]
    return found


def patient_reference(key: Key, state: State) -> str:
    """``Patient/id`` of the record with that number."""
    return f"Patient/{resource_id(state.id_key, 'Patient', state.institution, _facts(key).parts)}"


def _facts(key: Key) -> Facts:
    return Facts(("cda-patient", *key), is_thing=True)


def patient(element: Element, state: State) -> Facts:
    """Patient.id; kept for what is said of this patient."""
    key = patient_key(element)
    state.known[_PATIENT] = key
    return _facts(key)


def prior(element: Element, state: State) -> Facts:
    """One id of a priorRegisteredRole. Raises Hl7v3Error for that of the record which stays."""
    key = key_of(element)
    if key is None:
        raise Hl7v3Error("no usable prior patient identifier", "priorRegisteredRole/id")
    if key == state.known.get(_PATIENT):
        raise Hl7v3Error("a patient cannot be merged with itself", "priorRegisteredRole/id")
    return _facts(key)


def relation(element: Element, state: State) -> Facts:
    """A personalRelationship: whose it is, what it is, and the number, else the name of the other one."""
    codes = [code.get("code", "") for code in children(element, "code")]
    ids = [*children(element, "id"), *below(element, "relationshipHolder1", "id")]
    keys = [key for one in ids if (key := key_of(one)) is not None]
    names = [" ".join(" ".join(one.itertext()).lower().split()) for one in _names(element)]
    said = keys[0] if keys else ("", "|".join(names))
    whose: Key = state.known.get(_PATIENT, ("", ""))
    return Facts(("hl7v3-relation", *whose, "|".join(codes), *said), is_thing=True)


def _names(element: Element) -> list[Element]:
    return list(below(element, "relationshipHolder1", "name"))


def message(element: Element, state: State) -> Facts:
    """The message: its number and its sender; without a number what it says."""
    number = next((key_text(one) for one in children(element, "id") if key_text(one)), "")
    return Facts(("hl7v3-message", state.sender.name, number or state.known["sha256"]))


def author(element: Element, state: State) -> Facts:
    """An assignedPerson: its number, else its name."""
    keys = [key for one in children(element, "id") if (key := key_of(one)) is not None]
    name = " ".join(
        " ".join(one.itertext()).lower() for one in below(element, "assignedPerson", "name")
    ).split()
    return Facts(("cda", "person", *(keys[0] if keys else ()), " ".join(name)), is_thing=True)


def custodian(element: Element, state: State) -> Facts:
    """An assignedEntity that keeps registrations: the providing organization where the number is that one's."""
    name = _name_of(element, "assignedOrganization", "name")
    own = {key_text(one) for one in children(element, "id")} - {""}
    keeper = element.around
    event = None if keeper is None else keeper.around
    ways = ("subject1", "patient", "providerOrganization")
    for provider in () if event is None else below(event, *ways):
        is_one = not own.isdisjoint(key_text(one) for one in children(provider, "id"))
        if is_one and name in ("", _name_of(provider, "name")):
            return IDENTITIES["identity.organization"](provider, state)
    return Facts(("cda", "organization", *sorted(own), name), is_thing=True)


def _name_of(element: Element, *way: str) -> str:
    return " ".join(" ".join(" ".join(one.itertext()).lower().split()) for one in below(element, *way))


IDENTITIES.update(
    {
        "identity.hl7v3_patient": patient,
        "identity.hl7v3_prior": prior,
        "identity.hl7v3_relation": relation,
        "identity.hl7v3_message": message,
        "identity.hl7v3_author": author,
        "identity.hl7v3_custodian": custodian,
    }
)
