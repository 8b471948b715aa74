"""Named converters: Python for what a row cannot say. They get a text or the item of a sequence, and the state."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.identifiers import identified, patient_number, qualified
from hdg.ingestion.dicom.state import State
from hdg.ingestion.dicom.values import coding_of, concept_of, moment_of, names_of, number_of, uid_of
from hdg.mapping.context import Facts, JsonObject, Unfit

__all__ = ["NAMED"]

Named = Callable[[Any, State], Any]
NAMED: dict[str, Named] = {}
UCUM = "http://unitsofmeasure.org"
_ISSUER_OF_ACCESSION, _ACCESSION = 0x00080051, 0x00080050


def named(name: str) -> Callable[[Named], Named]:
    """Decorator: registers a converter."""

    def keep(function: Named) -> Named:
        NAMED[name] = function
        return function

    return keep


# --- numbers of patients, orders, visits --------------------------------------------------------------------------


@named("dicom.patient_identifier")
def patient_identifier(hit: Any, state: State) -> JsonObject | None:
    """Patient ID with its issuer: the object's (a text) or that of an item of Other Patient IDs Sequence."""
    dataset = hit if isinstance(hit, Dataset) else state.dataset
    if isinstance(hit, Dataset):
        state.visited.append(hit)
    number, issuer, kind = patient_number(dataset, state)
    if not number:
        return None
    return identified(number, issuer, kind)


@named("dicom.other_identifier")
def other_identifier(hit: str, state: State) -> JsonObject:
    """Other Patient IDs (retired): a number whose issuer nobody knows."""
    return {"value": hit}


@named("dicom.accession")
def accession(hit: str, state: State) -> JsonObject:
    """Accession Number with Issuer of Accession Number Sequence (R4 imagingstudy.html: type ACSN)."""
    return qualified(hit, state.dataset, _ISSUER_OF_ACCESSION, state, "ACSN")


@named("dicom.accession_request")
def accession_request(hit: str, state: State) -> JsonObject:
    """The order, by its accession number."""
    return {"type": "ServiceRequest", "identifier": accession(hit, state)}


@named("dicom.placer_request")
def placer_request(hit: str, state: State) -> JsonObject:
    """The order, by the number of who placed it; (0040,0026) has the issuer."""
    return {
        "type": "ServiceRequest",
        "identifier": qualified(hit, state.dataset, 0x00400026, state, "PLAC"),
    }


@named("dicom.filler_request")
def filler_request(hit: str, state: State) -> JsonObject:
    """The order, by the number of who fills it; (0040,0027) has the issuer."""
    return {
        "type": "ServiceRequest",
        "identifier": qualified(hit, state.dataset, 0x00400027, state, "FILL"),
    }


@named("dicom.visit_number")
def visit_number(hit: str, state: State) -> JsonObject:
    """Admission ID with its issuer."""
    return qualified(hit, state.dataset, 0x00380014, state, "VN")


@named("dicom.episode")
def episode(hit: str, state: State) -> JsonObject:
    """Service Episode ID with its issuer, as a reference to an episode of care."""
    return {"type": "EpisodeOfCare", "identifier": qualified(hit, state.dataset, 0x00380064, state)}


@named("dicom.object_reference")
def object_reference(hit: str, state: State) -> JsonObject:
    """Another object, by its SOP Instance UID."""
    return {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{uid_of(hit, state)}"}}


@named("dicom.specimen")
def specimen(hit: Dataset, state: State) -> JsonObject | None:
    """An item of Specimen Description Sequence, by its identifier, else by its UID."""
    state.mark(hit, 0x00400551, 0x00400562, 0x00400554)
    state.visited.append(hit)
    number = hit.text(0x00400551)
    if number:
        return {"type": "Specimen", "identifier": qualified(number, hit, 0x00400562, state)}
    uid = hit.text(0x00400554)
    return {"type": "Specimen", **object_reference(uid, state)} if uid else None


# --- people -------------------------------------------------------------------------------------------------------

_IDENTIFICATIONS = {
    0x00080090: 0x00080096,
    0x0008009C: 0x0008009D,
    0x00081048: 0x00081049,
    0x00081050: 0x00081052,
    0x00081060: 0x00081062,
    0x00081070: 0x00081072,
    0x00321032: 0x00321031,
    0x0040A075: 0x0040A088,
}
"""Tag of a person's name → tag of the sequence that identifies the person."""
_PERSON_CODES, _TELEPHONES, _PERSON_ADDRESS, _TELECOM = 0x00401101, 0x00401103, 0x00401102, 0x00401104
_INSTITUTION = 0x00080080


@named("dicom.person")
def person(hit: Any, state: State) -> JsonObject | None:
    """A reference to a Practitioner: a name with what identifies that person beside it, or that alone."""
    if isinstance(hit, Dataset):
        return _practitioner("", hit, state)
    sequence = _IDENTIFICATIONS.get(state.tag, 0)
    items = state.dataset.items(sequence)
    texts = [text for text in state.dataset.texts(state.tag) if text]
    at = texts.index(hit) if hit in texts else 0
    item = items[at] if at < len(items) else None
    state.mark(state.dataset, sequence)
    return _practitioner(hit, item, state)


def _practitioner(name: str, item: Dataset | None, state: State) -> JsonObject | None:
    names = names_of(name)
    made: JsonObject = {"resourceType": "Practitioner", "id": ""}
    identifiers: list[JsonObject] = []
    if item is not None:
        identifiers = _person_codes(item, made, state)
    if not names and not identifiers:
        return None
    if identifiers:
        first = identifiers[0]
        parts: tuple[str, ...] = ("dicom-person", first.get("system", ""), first["value"])
        if "system" not in first:
            parts = (*parts, " ".join(name.lower().split()))
    else:
        parts = ("dicom-person", " ".join(name.lower().split()))
    if names:
        made["name"] = names
    reference = state.take(made, Facts(parts, is_thing=True))
    shown = _shown(names[0]) if names else ""
    if shown:
        reference["display"] = shown
    return reference


def _shown(name: JsonObject) -> str:
    words = [*name.get("prefix", ()), *name.get("given", ()), name.get("family", ""), *name.get("suffix", ())]
    return " ".join(word for word in words if word)


def _person_codes(item: Dataset, made: JsonObject, state: State) -> list[JsonObject]:
    """Codes of a person as identifiers; how to reach them. PS3.3 table 10-1."""
    state.mark(item, _PERSON_CODES, _TELEPHONES, _PERSON_ADDRESS, _TELECOM, _INSTITUTION)
    identifiers = []
    for one in item.items(_PERSON_CODES):
        coding = coding_of(one, state)
        if coding is not None and "code" in coding:
            found = {"value": coding["code"]}
            if "system" in coding:
                found = {"system": coding["system"], **found}
            identifiers.append(found)
    if not identifiers and item.text(0x00080100):  # the code itself, where the sequence is one of codes
        coding = coding_of(item, state)
        if coding is not None:
            identifiers.append({key: coding[key] for key in ("system",) if key in coding})
            identifiers[0]["value"] = coding["code"]
    if identifiers:
        made["identifier"] = identifiers
    phones = [text for text in item.texts(_TELEPHONES) if text]
    if phones:
        made["telecom"] = [{"system": "phone", "value": text} for text in phones]
    address = item.text(_PERSON_ADDRESS)
    if address:
        made["address"] = [{"text": address}]
    return identifiers


# --- measurements and words ---------------------------------------------------------------------------------------

_AGE = re.compile(r"(\d{3})([DWMY])")
_UNITS = {"D": ("d", "day"), "W": ("wk", "week"), "M": ("mo", "month"), "Y": ("a", "year")}


@named("dicom.age")
def age(hit: str, state: State) -> JsonObject:
    """AS: three digits and a unit."""
    match = _AGE.fullmatch(hit)
    if match is None:
        raise Unfit("not an age (nnnD, nnnW, nnnM or nnnY)")
    code, unit = _UNITS[match[2]]
    return {"value": int(match[1]), "unit": unit, "system": UCUM, "code": code}


@named("dicom.positive")
def positive(hit: str, state: State) -> Any:
    """A measurement of the body; 0 is what senders write for one that nobody took."""
    number = number_of(hit)
    if number <= 0:
        raise Unfit("a measurement of 0 or less was taken as not measured")
    return number


@named("dicom.text_concept")
def text_concept(hit: str, state: State) -> JsonObject:
    """A word for something, without a code."""
    return {"text": " ".join(hit.split())}


@named("dicom.body_site")
def body_site(hit: Any, state: State) -> JsonObject | None:
    """Anatomic Region Sequence (its modifiers in words), or Body Part Examined, whose terms have no system."""
    if not isinstance(hit, Dataset):
        return {"code": " ".join(hit.split()), "display": " ".join(hit.split())}
    coding = coding_of(hit, state)
    state.mark(hit, 0x00082220)
    words = [other.get("display", "") for one in hit.items(0x00082220) if (other := coding_of(one, state))]
    if coding is not None and any(words):
        coding["display"] = f"{coding.get('display', coding.get('code', ''))} ({', '.join(words)})"
    return coding


@named("dicom.animal")
def animal(hit: Any, state: State) -> JsonObject | None:
    """Species or breed of a patient that is no person, as the part of patient-animal that it is."""
    url = {0x00102202: "species", 0x00102201: "species", 0x00102293: "breed", 0x00102292: "breed"}[state.tag]
    concept = concept_of(hit, state) if isinstance(hit, Dataset) else text_concept(hit, state)
    return {"url": url, "valueCodeableConcept": concept} if concept else None


@named("dicom.language")
def language(hit: Dataset, state: State) -> JsonObject | None:
    """Patient's Primary Language Code Sequence; its modifiers are further codings."""
    concept = concept_of(hit, state)
    state.mark(hit, 0x00100102)
    return None if concept is None else {"language": concept, "preferred": True}


@named("dicom.title")
def title(hit: Any, state: State) -> str | None:
    """A document's title: a text, or the meaning of a code."""
    if isinstance(hit, Dataset):
        coding = coding_of(hit, state)
        return None if coding is None else coding.get("display")
    return " ".join(hit.split()) or None


@named("dicom.series_modality")
def series_modality(hit: str, state: State) -> JsonObject:
    """Modality: a defined term of PS3.3 C.7.3.1.1.1, which is a code of PS3.16."""
    code = hit.strip()
    if not re.fullmatch(r"[A-Z0-9_ ]{1,16}", code):
        raise Unfit("not a modality")
    return {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": code}


@named("dicom.institution")
def institution(hit: str, state: State) -> JsonObject:
    """Who has the equipment, by name."""
    return {"display": " ".join(hit.split())}


@named("dicom.name_text")
def name_text(hit: str, state: State) -> str | None:
    """A person's name in one line, its writings side by side."""
    return " / ".join(shown for name in names_of(hit) if (shown := _shown(name))) or None


@named("dicom.one_name")
def one_name(hit: str, state: State) -> JsonObject | None:
    """A person's name where R4 takes one: the first writing; the others stand in its text."""
    found = names_of(hit)
    if not found:
        return None
    name = {key: value for key, value in found[0].items() if key != "extension"}
    if len(found) > 1:
        name["text"] = name_text(hit, state)
    return name


@named("dicom.birth_time")
def birth_time(hit: str, state: State) -> str | None:
    """Patient's Birth Time with the day."""
    found = moment_of(state.dataset.text(0x00100030), hit, state)
    return found if "T" in found else None


@named("dicom.all_text")
def all_text(hit: str, state: State) -> str | None:
    """All values of an element in one text: what stands in one may be about another."""
    texts = [" ".join(text.split()) for text in state.dataset.texts(state.tag) if text]
    return "; ".join(texts) if texts and hit == state.dataset.texts(state.tag)[0] else None


@named("dicom.admitting")
def admitting(hit: Any, state: State) -> str | None:
    """An admitting diagnosis as a note that says what it is."""
    if isinstance(hit, Dataset):
        coding = coding_of(hit, state) or {}
        hit = " ".join(part for part in (coding.get("display"), coding.get("code")) if part)
    return f"Admitting diagnosis: {' '.join(hit.split())}" if hit else None


@named("dicom.issued")
def issued(hit: str, state: State) -> str | None:
    """Content Date and Time as an instant; nothing where the object tells less (the effective time has the day)."""
    try:
        found = moment_of(hit, state.dataset.text(0x00080033), state)
    except Unfit:
        return None
    return found if "T" in found else None


@named("dicom.patient_state")
def patient_state(hit: str, state: State) -> str:
    """Patient State as a note that says what it is."""
    return f"Patient state: {' '.join(hit.split())}"
