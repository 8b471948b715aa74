"""UUIDs in HD, in any letter case: one assigning authority. HL7 v2.9 §2.A.36, table 0301; RFC 9562 §4."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.hl7v2 import query
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.sender import Sender

UUID = "0b5fa2c1-9d3e-4f60-8a7b-1c2d3e4f5a6b"
ADT = (
    "MSH|^~\\&|EHR|NORTH|HDG|REGION|20260314113000-0500||ADT^A01^ADT_A01|C1|P|2.5.1\r"
    "PID|1||10042^^^{hd}^MR||Example^Ada\r"
)
QBP = (
    "MSH|^~\\&|A|N|G|H|20260401103000-0500||QBP^Q11^QBP_Q11|Q1|P|2.5.1\r"
    "QPD|Z34^R^C|T1|4711^^^{hd}^MR|P^P||20240102|F\r"
)
KINDS = ["N&{}&UUID", "N&{}&GUID", "N&urn:uuid:{}&URI", "&{}", "N&{}&uuid"]


def patient(hd: str, sender: Sender | None = None) -> dict[str, object]:
    found = Converter(id_key=PUBLIC_KEY).convert(ADT.format(hd=hd).encode(), sender, at_us=0)
    return next(one for one in found.resources if one["resourceType"] == "Patient")


@pytest.mark.parametrize("kind", KINDS)
def test_one_patient_however_the_universal_id_is_written(kind: str) -> None:
    lower, upper = patient(kind.format(UUID)), patient(kind.format(UUID.upper()))
    assert upper["id"] == lower["id"]
    ((one,), (other,)) = (lower["identifier"], upper["identifier"])  # type: ignore[misc]
    assert one.get("system") == other.get("system") == (f"urn:uuid:{UUID}" if kind != "&{}" else None)


@pytest.mark.parametrize("declared", [UUID, UUID.upper()])
@pytest.mark.parametrize("sent", [UUID, UUID.upper()])
def test_a_declared_authority_is_found_in_either_case(declared: str, sent: str) -> None:
    authorities = MappingProxyType({declared: "https://north.example/numbers"})
    made = patient(f"&{sent}&UUID", Sender("ehr", "north", authorities=authorities))
    assert made["identifier"][0]["system"] == "https://north.example/numbers"  # type: ignore[index]
    asked = query.read(parse(QBP.format(hd=f"&{sent}&UUID").encode()), authorities)
    assert asked.numbers[0].system == "https://north.example/numbers"


@pytest.mark.parametrize(
    ("hd", "system"),
    [
        (f"N&{UUID.upper()}&UUID", f"urn:uuid:{UUID}"),
        (f"N&{{{UUID.upper()}}}&GUID", f"urn:uuid:{UUID}"),
        (f"N&URN:UUID:{UUID.upper()}&URI", f"urn:uuid:{UUID}"),
        ("N&2.999.7&ISO", "urn:oid:2.999.7"),
        ("N&2.16.840.1.113883.4.1&ISO", "http://hl7.org/fhir/sid/us-ssn"),
        ("N&no-oid&ISO", ""),
    ],
)
def test_a_question_names_an_authority_by_the_system_that_its_numbers_are_stored_with(
    hd: str, system: str
) -> None:
    assert query.read(parse(QBP.format(hd=hd).encode()), {}).numbers[0].system == system
    (stored,) = patient(hd)["identifier"]  # type: ignore[misc]
    assert stored.get("system", "") == system
