"""Codes that are surely codes: a code is shown where its system is listed and it has the form of that system.

R4 terminologies.html. The field "code" takes any text, so a site may have put a record number there. What HL7
itself defines is compared with the codes of R4 (codes.json); other systems with a pattern (systems.csv), and
LOINC, SNOMED CT and UNII also by their check digits. A site's own systems are not listed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from hdg.fhir import definitions
from hdg.usage.research import units

__all__ = ["UCUM", "coding", "is_bound", "is_code", "systems"]

UCUM = "http://unitsofmeasure.org"
_HERE = Path(__file__).resolve().parent
_CHECKED = {
    "http://loinc.org": "loinc",
    "http://snomed.info/sct": "snomed",
    "http://fdasis.nlm.nih.gov": "unii",
}
_DIHEDRAL = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_PERMUTED = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


@cache
def _patterns() -> Mapping[str, re.Pattern[str]]:
    with (_HERE / "systems.csv").open(encoding="utf-8", newline="") as file:
        return {row["system"]: re.compile(row["codes"]) for row in csv.DictReader(file) if row["codes"]}


@cache
def _listed() -> Mapping[str, frozenset[str]]:
    return msgspec.json.decode((_HERE / "codes.json").read_bytes(), type=dict[str, frozenset[str]])


@cache
def systems() -> frozenset[str]:
    """Every system of which a code may be shown."""
    return frozenset({UCUM, *_listed(), *_patterns()})


def is_code(system: Any, code: Any) -> bool:
    """Whether a researcher may be shown this code of this system."""
    if type(system) is not str or type(code) is not str:
        return False
    if system == UCUM:
        return units.plain(code) == code
    listed = _listed().get(system)
    if listed is not None:
        return code in listed
    pattern = _patterns().get(system)
    if pattern is None or pattern.fullmatch(code) is None or not code.isascii():
        return False
    match _CHECKED.get(system):
        case "loinc":
            return code.startswith("L") or _is_luhn(code.replace("-", ""))
        case "snomed":
            return _is_verhoeff(code)
        case "unii":
            return sum(int(letter, 36) for letter in code[:-1]) % 36 == int(code[-1], 36)
    return True


def coding(value: Mapping[str, Any]) -> dict[str, str] | None:
    """A Coding's system and code, or None."""
    system, code = value.get("system"), value.get("code")
    return {"system": system, "code": code} if is_code(system, code) else None  # type: ignore[dict-item]  # both str


def is_bound(value_set: str, code: Any) -> bool:
    """Whether ``code`` is one of a required value set that R4 lists."""
    if not value_set or type(code) is not str:
        return False
    listed = definitions.codes(value_set)
    return listed is not None and any(code in codes for codes in listed.values())


def _is_luhn(digits: str) -> bool:
    """LOINC's check digit (mod 10)."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        total += digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4)
    return total % 10 == 0


def _is_verhoeff(digits: str) -> bool:
    """SNOMED CT's check digit (SNOMED CT release file specification, Verhoeff)."""
    check = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        check = int(_DIHEDRAL[check][int(_PERMUTED[place % 8][digit])])
    return check == 0
