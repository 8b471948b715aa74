"""Profiles: HAPI's validator gives the same verdict on every mutant (make interop builds it)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hdg.fhir import json
from hdg.fhir.profiles.check import Profiles
from hdg.fhir.profiles.library import Library
from profile_cases import DEFINITIONS, GOOD, MUTANTS, changed
from profile_packages import BASE, code_system, structure

pytestmark = pytest.mark.interop
TARGET = Path(__file__).parent / "hapi_validator" / "target"

CODES = code_system(
    *({"code": code} for code in ("glucose", "sodium", "high", "low", "iron", "auto", "hand"))
)
# HAPI's in-memory terminology finds no code where another coding's system is unknown to it.
PLAIN = changed(GOOD, ["code", "coding", 0], GOOD["code"]["coding"][1])
SLICES = structure(
    "slices",
    "Patient",
    [
        (
            "Patient.identifier",
            {"slicing": {"discriminator": [{"type": "value", "path": "system"}], "rules": "closed"}},
        ),
        ("Patient.identifier:mrn", {"min": 1, "max": "1"}),
        ("Patient.identifier:mrn.system", {"min": 1, "fixedUri": "urn:x:mrn"}),
        ("Patient.identifier:mrn.value", {"min": 1}),
        ("Patient.identifier:card", {"max": "2"}),
        ("Patient.identifier:card.system", {"min": 1, "fixedUri": "urn:x:card"}),
        ("Patient.identifier:card.period", {"min": 1}),
    ],
)
PATIENT = {
    "resourceType": "Patient",
    "identifier": [
        {"system": "urn:x:mrn", "value": "1"},
        {"system": "urn:x:card", "value": "2", "period": {"start": "2020"}},
    ],
}
SLICE_MUTANTS = [
    (["identifier", 0, "system"], "urn:x:other"),
    (["identifier", 0, "value"], None),
    (["identifier", 1, "period"], None),
    (["identifier", 1, "system"], "urn:x:mrn"),
    (["identifier"], [*PATIENT["identifier"], *PATIENT["identifier"][1:] * 2]),
    (["identifier"], PATIENT["identifier"][1:]),
]

LAXER = {
    "bodySite.id": "ElementDefinition.fixed[x]: what is missing there must be missing; HAPI passes an id",
    "issued": "ElementDefinition.minValue[x]; HAPI does not compare an instant",
}
"""Where HAPI finds nothing although R4 asks for it."""


def cases():
    yield "good", "lab", PLAIN
    for path, value, _ in MUTANTS:
        inside = [0 if step == 1 and path[:2] == ["code", "coding"] else step for step in path]
        made = changed(PLAIN, inside, value)
        if path[:2] == ["code", "coding"]:
            made["code"]["coding"] = made["code"]["coding"][:1]
        yield ".".join(map(str, path)), "lab", made
    yield "slices", "slices", PATIENT
    for path, value in SLICE_MUTANTS:
        yield ".".join(map(str, path)), "slices", changed(PATIENT, path, value)


def said_by_hapi(definitions, listed):
    lines = []
    for _, profile, resource in listed:
        lines += [str(len(definitions)).encode(), *map(json.dumps, definitions)]
        lines += [(BASE + profile).encode(), json.dumps(resource)]
    classpath = f"{TARGET}/classes:{TARGET}/lib/*"
    done = subprocess.run(
        ["java", "-cp", classpath, "Driver"], input=b"\n".join(lines) + b"\n", capture_output=True, check=True
    )
    return [part.splitlines() for part in done.stdout.decode().split("---\n")[:-1]]


def test_hapi_agrees_on_what_conforms_to_a_profile():
    definitions = [*DEFINITIONS, SLICES, CODES]
    checks = Profiles(Library().with_resources(definitions))
    listed = list(cases())
    answers = said_by_hapi(definitions, listed)
    assert len(answers) == len(listed)
    differing = []
    for (name, profile, resource), lines in zip(listed, answers, strict=True):
        theirs = [line for line in lines if line.startswith(("error", "fatal", "fault"))]
        ours = [str(one) for one in checks.check(resource, [BASE + profile]) if one.severity == "error"]
        if bool(theirs) is not bool(ours):
            differing.append((name, ours, theirs))
    assert [one for one in differing if one[0] not in LAXER] == []
    assert all(ours and not theirs for _, ours, theirs in differing)
    assert {name for name, _, _ in differing} == LAXER.keys()
