"""What a conversion kept of a message: each fact is looked for in the bundle, whoever made it. Pure.

HL7 is split here anew and FHIR is searched by value, so that no converter's own idea of a mapping is the
measure. A fact is (kind, was it found).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hdg.fhir import json as fhir_json

JsonObject = dict[str, Any]
Segment = list[str]
STATUS = {
    "F": "final",
    "P": "preliminary",
    "C": "corrected",
    "D": "cancelled",
    "X": "cancelled",
    "W": "entered-in-error",
}
TEXT_PREFIX = 40
"""So many characters of a text are looked for."""


class Tally:
    """How many facts of each kind went in, and how many came out."""

    def __init__(self) -> None:
        self.given: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self._ids: dict[str, set[str]] = {}

    def add(self, raw: bytes, bundle: JsonObject | None) -> None:
        """One message and what became of it (None: refused)."""
        resources = [entry["resource"] for entry in (bundle or {}).get("entry", ())]
        for kind, is_kept in facts(raw, resources):
            self.given[kind] += 1
            self.kept[kind] += is_kept
        mrn = _pid(raw)
        for resource in resources:
            if resource["resourceType"] == "Patient" and mrn in _identifiers([resource]):
                self._ids.setdefault(mrn, set()).add(resource.get("id", ""))

    @property
    def ids_a_patient(self) -> float:
        """Different ids that one patient's Patient got over the stream; 1.0 is right."""
        return sum(map(len, self._ids.values())) / len(self._ids) if self._ids else 0.0


def _pid(raw: bytes) -> str:
    pid = next(
        (line for line in raw.decode(errors="replace").split("\r") if line.startswith("PID|")), "PID|||"
    )
    return pid.split("|")[3].split("^")[0]


def facts(raw: bytes, resources: list[JsonObject]) -> Iterator[tuple[str, bool]]:
    """Every fact that is looked for."""
    segments = [line.split("|") + [""] * 40 for line in raw.decode(errors="replace").split("\r") if line]
    of: dict[str, list[JsonObject]] = {}
    for resource in resources:
        of.setdefault(resource["resourceType"], []).append(resource)
    texts = _texts(resources)
    yield "message", bool(resources)
    yield from _people(segments, of)
    code = segments[0][8].split("^")[0]
    if code == "ORU":
        yield from _results(segments, of, texts)
    if code == "MDM":
        yield from _documents(segments, resources, texts)
    if code == "VXU":
        yield from _doses(segments, of)
    if code in ("ORM", "OML"):
        numbers = _identifiers(of.get("ServiceRequest", []))
        yield from (("order number", s[2].split("^")[0] in numbers) for s in segments if s[0] == "ORC")


def _people(segments: list[Segment], of: dict[str, list[JsonObject]]) -> Iterator[tuple[str, bool]]:
    patients, visits = _identifiers(of.get("Patient", [])), _identifiers(of.get("Encounter", []))
    kin = fhir_json.dumps(
        [of.get("RelatedPerson", []), [patient.get("contact") for patient in of.get("Patient", [])]]
    ).decode()
    for segment in segments:
        if segment[0] == "PID":
            for text in segment[3].split("~"):
                yield "patient number", text.split("^")[0] in patients
        elif segment[0] == "PV1" and segment[19]:
            yield "visit number", segment[19].split("^")[0] in visits
        elif segment[0] == "NK1" and segment[2]:
            yield "kin", f'"{segment[2].split("^")[1]}"' in kin
        elif segment[0] == "AL1":
            yield "allergy", _has_code(of.get("AllergyIntolerance", []), "code", segment[3])
        elif segment[0] == "DG1":
            yield "diagnosis", _has_code(of.get("Condition", []), "code", segment[3])
        elif segment[0] == "IN1":
            yield "insurance", bool(of.get("Coverage"))


def _results(
    segments: list[Segment], of: dict[str, list[JsonObject]], texts: str
) -> Iterator[tuple[str, bool]]:
    left = list(of.get("Observation", []))
    for segment in segments:
        if segment[0] != "OBX" or not segment[5]:
            continue
        if segment[2] in ("FT", "TX"):
            yield "report text", _plain(segment[5])[:TEXT_PREFIX] in texts
            continue
        match = next((o for o in left if _matches(o, segment)), None)
        yield "result", match is not None
        if match is not None:
            left.remove(match)
        observation = match or {}
        quantity = observation.get("valueQuantity", {})
        yield (
            "result code system",
            any(
                coding.get("system") == "http://loinc.org"
                for coding in observation.get("code", {}).get("coding", ())
            ),
        )
        yield "result status", observation.get("status") == STATUS.get(segment[11])
        if segment[2] == "SN" and segment[5].split("^")[0]:
            yield "comparator", quantity.get("comparator") == segment[5].split("^")[0]
        if segment[6]:
            yield "unit", segment[6].split("^")[0] in (quantity.get("code"), quantity.get("unit"))
        if segment[7]:
            yield "reference range", bool(observation.get("referenceRange"))
        if segment[8]:
            yield "abnormal flag", bool(observation.get("interpretation"))


def _matches(observation: JsonObject, segment: Segment) -> bool:
    if not _has_code([observation], "code", segment[3]):
        return False
    quantity = observation.get("valueQuantity", {})
    if segment[2] in ("NM", "SN"):
        number = segment[5].split("^")[1] if segment[2] == "SN" else segment[5]
        return "value" in quantity and float(quantity["value"]) == float(number)
    return any(name.startswith("value") for name in observation)


def _documents(
    segments: list[Segment], resources: list[JsonObject], texts: str
) -> Iterator[tuple[str, bool]]:
    files = set(_attachments(resources))
    for segment in segments:
        if segment[0] == "OBX" and segment[2] == "ED":
            yield "embedded file", base64.b64decode(segment[5].split("^")[4]) in files
        elif segment[0] == "OBX":
            yield "document text", _plain(segment[5])[:TEXT_PREFIX] in texts


def _doses(segments: list[Segment], of: dict[str, list[JsonObject]]) -> Iterator[tuple[str, bool]]:
    for segment in segments:
        if segment[0] != "RXA":
            continue
        same = [i for i in of.get("Immunization", []) if _has_code([i], "vaccineCode", segment[5])]
        yield "dose", bool(same)
        if segment[20] == "RE":
            yield "refusal", any(i.get("status") == "not-done" for i in same)


def _has_code(resources: list[JsonObject], element: str, field: str) -> bool:
    code, _, rest = field.partition("^")
    wanted = code or rest.split("^")[0]
    for resource in resources:
        concept = resource.get(element, {})
        if wanted == concept.get("text") or any(
            wanted in (coding.get("code"), coding.get("display")) for coding in concept.get("coding", ())
        ):
            return True
    return False


def _identifiers(resources: list[JsonObject]) -> set[str]:
    return {i.get("value", "") for resource in resources for i in resource.get("identifier", ())}


def _plain(text: str) -> str:
    return text.split("\\.br\\")[0]


def _texts(resources: list[JsonObject]) -> str:
    """Everything that a reader could find as text: the JSON and the attachments that are text."""
    files = (data.decode(errors="ignore") for data in _attachments(resources) if not data.startswith(b"%PDF"))
    return fhir_json.dumps(resources).decode() + "\n".join(files)


def _attachments(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        data = value.get("data")
        if isinstance(data, str):
            with contextlib.suppress(binascii.Error):
                yield base64.b64decode(data)
        for item in value.values():
            yield from _attachments(item)
    elif isinstance(value, list):
        for item in value:
            yield from _attachments(item)
