"""Clinical records of an Apple Health export, ``clinical-records/*.json``: FHIR that a hospital gave the patient.

``export.xml`` lists each with its FHIR version and where it came from. Those of R4 are taken in as the patient's copy:
ids of our own, the patient they name becomes the one they are handed in for, references to each other resolve, all
other references stay as identifiers of where they pointed. Other versions are named and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hdg.fhir.json import JsonError, JsonObject, loads
from hdg.ingestion.device.home import Home

__all__ = ["FILE_MAX_BYTES", "Clinical"]

FILE_MAX_BYTES = 8 * 1024 * 1024
_LISTED_MAX = 100_000
_SUBJECTS = ("subject", "patient", "beneficiary")
TAKEN = frozenset(
    {
        "AllergyIntolerance",
        "CarePlan",
        "Condition",
        "Coverage",
        "DiagnosticReport",
        "DocumentReference",
        "Encounter",
        "Goal",
        "Immunization",
        "MedicationAdministration",
        "MedicationDispense",
        "MedicationRequest",
        "MedicationStatement",
        "Observation",
        "Procedure",
    }
)
"""Types that are about a patient and change nothing: no Patient, no Consent, nothing that is read without one."""
_TYPE = re.compile(r"[A-Z][A-Za-z]{2,40}", re.ASCII)
_NAME = re.compile(r"([A-Z][A-Za-z]{2,40})/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?", re.ASCII)
_VERSIONS = {"1": "DSTU2", "3": "STU3", "5": "R5"}
_RESOURCE = re.compile(r"(https?://.+)/[A-Z][A-Za-z]{2,40}/[^/]+", re.ASCII)
_PLACE = "clinical-records"
Key = tuple[str, str, str]
"""(server, type, id) of a resource at its source."""


class _Listed(NamedTuple):
    version: str
    source: str
    server: str


@dataclass(slots=True)
class Clinical:
    """The clinical records of one export: ``add`` what the XML lists, ``announce`` what is taken, then ``read`` it."""

    home: Home
    listed: dict[str, _Listed] = field(default_factory=dict)
    known: dict[Key, str] = field(default_factory=dict)
    """Ids here of those that can be referred to."""
    subjects: dict[str, str] = field(default_factory=dict)
    """The patient's id at each server."""

    def add(self, attributes: dict[str, str]) -> None:
        """What a ClinicalRecord of the XML says of its file."""
        if len(self.listed) >= _LISTED_MAX:
            self.home.note("error", "too-costly", _PLACE, "more clinical records than are taken")
            return
        url = attributes.get("sourceURL", "")
        match = _RESOURCE.fullmatch(url)
        server = match[1] if match else url
        listed = _Listed(attributes.get("fhirVersion", ""), attributes.get("sourceName", ""), server)
        self.listed[attributes.get("resourceFilePath", "").lstrip("/")] = listed

    def is_taken(self, path: str) -> bool:
        """Whether a file is R4. Another version is noted by its name."""
        listed = self.listed.get(path)
        version = listed.version if listed is not None else ""
        if version.partition(".")[0] == "4":
            return True
        kind = path.rpartition("/")[2].partition("-")[0]
        what = kind if _TYPE.fullmatch(kind) else "a record"
        name = _VERSIONS.get(version.partition(".")[0], "")
        if listed is None:
            text = f"{what}: a clinical record that the export does not list is left out: its FHIR version is not known"
        else:
            text = f"{what}: a clinical record in FHIR {name or 'of another version'} is not converted"
        self.home.note("warning", "not-supported", _PLACE, text)
        return False

    def announce(self, path: str, data: bytes) -> None:
        """Notes the id that a file's resource will have, so that others can refer to it."""
        found = self._loaded(data)
        listed = self.listed.get(path)
        if found is not None and listed is not None and len(self.known) < _LISTED_MAX:
            kind, own = found["resourceType"], found.get("id")
            if kind in TAKEN and isinstance(own, str):
                self.known[listed.server, kind, own] = self._id(listed.server, kind, own)

    def read(self, path: str, data: bytes) -> Iterator[JsonObject]:
        """The resource of a file as the patient's copy; nothing, and a note why, for what is not taken."""
        listed, found = self.listed[path], self._loaded(data)
        if found is None:
            self.home.note("error", "structure", _PLACE, "a clinical record that is no FHIR JSON is left out")
            return
        kind, own = found["resourceType"], found.get("id")
        problem = self._problem(found, listed.server)
        if problem:
            what = kind if _TYPE.fullmatch(kind) else "a record"
            self.home.note("warning", "not-supported", _PLACE, f"{what}: {problem}")
            return
        made = _Copy(self, listed.server).of(found)
        made["id"] = self._id(listed.server, kind, str(own))
        meta = found["meta"] if isinstance(found.get("meta"), dict) else {}
        tags = [*self.home.tags().get("tag", ()), *(meta.get("tag") or ())]
        kept = {name: meta[name] for name in ("profile", "security") if meta.get(name)}
        made["meta"] = {**kept, **({"tag": tags} if tags else {})}
        if not made["meta"]:
            del made["meta"]
        identifier = {"system": listed.server, "value": f"{kind}/{own}"}
        held = made.get("identifier")
        made["identifier"] = [*(held if isinstance(held, list) else ()), identifier]
        self.home.provider = listed.source or listed.server
        yield made

    def _problem(self, found: JsonObject, server: str) -> str:
        """Why a record is not taken; '' when it is."""
        if found["resourceType"] not in TAKEN:
            return "a clinical record of this type is left out"
        if not isinstance(found.get("id"), str) or not server:
            return "a clinical record that does not say what it is called at its source is left out"
        if "implicitRules" in found:
            return "a clinical record under rules of its own (implicitRules) is left out"
        named = {one for name in _SUBJECTS if (one := _patient_of(found.get(name), server)) is not None}
        if len(named) != 1:
            return "a clinical record that names no patient, or several, is left out"
        (patient,) = named
        if self.subjects.setdefault(server, patient) != patient:
            return "a clinical record of another patient than those before it is left out"
        return ""

    def _id(self, server: str, kind: str, own: str) -> str:
        return self.home.id(kind, "clinical-record", server, own)

    @staticmethod
    def _loaded(data: bytes) -> JsonObject | None:
        try:
            found = loads(data)
        except JsonError:
            return None
        return found if isinstance(found, dict) and isinstance(found.get("resourceType"), str) else None


class _Copy:
    """Copies a resource of one server, with its references as they hold here."""

    def __init__(self, clinical: Clinical, server: str) -> None:
        self._clinical = clinical
        self._server = server

    def of(self, resource: JsonObject) -> JsonObject:
        left = ("id", "meta")
        return {name: self._value(part) for name, part in resource.items() if name not in left}

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(part) for part in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("reference"), str):
            return self._reference(value)
        made = {name: self._value(part) for name, part in value.items()}
        url = made.get("url")
        if isinstance(url, str) and "contentType" in made and ":" not in url:
            made["url"] = (
                f"{self._server}/{url.lstrip('/')}"  # an attachment beside the resource at its source
            )
        return made

    def _reference(self, value: JsonObject) -> JsonObject:
        text = value["reference"]
        if text.startswith("#"):
            return value
        rest = {name: self._value(part) for name, part in value.items() if name != "reference"}
        name = _named(text, self._server)
        if name is not None and name == ("Patient", self._clinical.subjects.get(self._server)):
            return {"reference": self._clinical.home.patient, **rest}
        id_ = self._clinical.known.get((self._server, *name)) if name is not None else None
        if id_ is not None and name is not None:
            return {"reference": f"{name[0]}/{id_}", **rest}
        rest.setdefault("identifier", {"system": self._server, "value": text})
        return rest


def _named(text: str, server: str) -> tuple[str, str] | None:
    """(type, id) of a reference to a resource of this server; None for one that points elsewhere."""
    relative = text.removeprefix(f"{server}/")
    match = _NAME.fullmatch(relative) if ":" not in relative else None
    return None if match is None else (match[1], match[2])


def _patient_of(value: Any, server: str) -> str | None:
    """The id of the Patient that a subject names."""
    text = value.get("reference") if isinstance(value, dict) else None
    name = _named(text, server) if isinstance(text, str) else None
    return name[1] if name is not None and name[0] == "Patient" else None
