"""UUIDs as roots of identifiers, in any letter case: one patient, one statement. RFC 9562 §4; II.root."""

from __future__ import annotations

from typing import Any

import pytest

from cda_documents import CONVERTER, document
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v3.ack import acknowledge
from hdg.ingestion.hl7v3.convert import Converter as Hl7v3Converter
from hdg.ingestion.sender import Sender
from registry_messages import message, prior, registration

ROOT = "0b5fa2c1-9d3e-4f60-8a7b-1c2d3e4f5a6b"
OTHER = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
CUSTODIAN = """<custodian><assignedCustodian><representedCustodianOrganization><id root="{root}"/>
  <name>Keeper</name></representedCustodianOrganization></assignedCustodian></custodian>"""
RESULT = """<entry><observation classCode="OBS" moodCode="EVN">
  <templateId root="2.16.840.1.113883.10.20.22.4.2"/>{ids}
  <code code="718-7" codeSystem="2.16.840.1.113883.6.1"/><statusCode code="completed"/>
  <effectiveTime value="20240101"/><value xsi:type="PQ" value="13.2" unit="g/dL"/></observation></entry>"""


def of_patient(number: str, ids: str = f'<id root="{OTHER}"/>', header: str = "") -> Converted:
    raw = document(RESULT.format(ids=ids), section="30954-2", header=header)
    return CONVERTER.convert(raw.replace(b'<id root="2.999.2" extension="p1"/>', number.encode()), at_us=0)


def facts(found: Converted) -> list[Any]:
    return [
        one for one in found.resources if one["resourceType"] != "Provenance"
    ]  # it has the digest of the bytes


def named(found: Converted) -> list[str]:
    return [
        f"{one['resourceType']}/{one['id']}" for one in found.resources if one["resourceType"] != "Provenance"
    ]


@pytest.mark.parametrize("extension", ["", ' extension="aB-7"'])
@pytest.mark.parametrize("spelled", [ROOT.upper(), ROOT.title(), f" {ROOT.upper()} "])
def test_one_patient_however_the_root_is_written(extension: str, spelled: str) -> None:
    lower = of_patient(f'<id root="{ROOT}"{extension}/>')
    other = of_patient(f'<id root="{spelled}"{extension}/>')
    assert named(other) == named(lower)
    assert facts(other) == facts(lower)


def test_one_statement_however_the_root_is_written_with_or_without_an_extension() -> None:
    for extension in ("", ' extension="r-7"'):
        lower = of_patient("", ids=f'<id root="{OTHER}"{extension}/>')
        upper = of_patient("", ids=f'<id root="{OTHER.upper()}"{extension}/>')
        assert named(upper) == named(lower)


def test_extensions_that_differ_in_case_are_two_patients() -> None:
    one, other = (of_patient(f'<id root="{ROOT}" extension="{text}"/>') for text in ("ab", "AB"))
    assert one.patient_id != other.patient_id


def test_two_statements_of_one_id_in_two_cases_are_told_apart_as_those_in_one_case_are() -> None:
    both = RESULT.format(ids=f'<id root="{OTHER}"/>') + RESULT.format(ids=f'<id root="{OTHER.upper()}"/>')
    found = CONVERTER.convert(document(both, section="30954-2"), at_us=0)
    assert sum(one["resourceType"] == "Observation" for one in found.resources) == 1


def test_a_custodian_is_one_institution_in_any_case() -> None:
    lower, upper = (
        of_patient("", header=CUSTODIAN.format(root=text)).source for text in (ROOT, ROOT.upper())
    )
    assert (upper.institution, upper.sender) == (lower.institution, lower.sender) == (ROOT, f"cda|{ROOT}")


def test_the_number_of_a_document_stays_as_it_was_written_so_that_repeats_are_known() -> None:
    raw = document("").replace(
        b'<id root="2.999.1" extension="d1"/>', f'<id root="{ROOT.upper()}"/>'.encode()
    )
    found = CONVERTER.convert(raw, at_us=0)
    assert found.source.control_id == ROOT.upper()
    assert found.resources[0]["identifier"]["value"] == f"urn:uuid:{ROOT}"


@pytest.mark.parametrize("declared", [ROOT, ROOT.upper()])
@pytest.mark.parametrize("sent", [ROOT, ROOT.upper()])
def test_a_senders_table_names_its_custodian_in_either_case(declared: str, sent: str) -> None:
    said: list[Any] = []

    def sender(facts: Any) -> Sender:
        said.append(facts)
        return Sender("", "")

    CONVERTER.convert(document("", header=CUSTODIAN.format(root=sent)), sender, at_us=0)
    assert declared in said[0]["custodian"]


def registered(ids: str, **rest: Any) -> Converted:
    return Hl7v3Converter(id_key=PUBLIC_KEY).convert(message(registration(ids=ids, **rest)), at_us=0)


def test_a_registered_patient_is_that_of_the_documents_in_any_case() -> None:
    for extension in ("", ' extension="p-1"'):
        found = {
            registered(f'<id root="{text}"{extension}/>').patient_id for text in (ROOT, ROOT.upper())
        } | {
            CONVERTER.convert(
                document("").replace(
                    b'<id root="2.999.2" extension="p1"/>', f'<id root="{ROOT}"{extension}/>'.encode()
                ),
                Sender("", "2.999.2"),
                at_us=0,
            ).patient_id
        }
        assert len(found) == 1


def test_a_merge_names_the_earlier_record_in_any_case() -> None:
    links = []
    for text in (ROOT, ROOT.upper()):
        found = registered(
            '<id root="2.999.2" extension="p1"/>', after=prior(f'<id root="{text}" extension="x"/>')
        )
        links.append(next(one["link"] for one in found.resources if one.get("link")))
    assert links[0] == links[1]


def test_an_acknowledgement_gives_a_number_back_as_it_was_written() -> None:
    raw = message(registration()).replace(
        b'<id root="2.999.1" extension="m1"/>', f'<id root="{ROOT.upper()}"/>'.encode()
    )
    found = Hl7v3Converter(id_key=PUBLIC_KEY).convert(raw, at_us=0)
    assert found.source.control_id == ROOT.upper()
    answer = acknowledge(raw, (), at_us=0)
    assert answer is not None
    assert ROOT.upper().encode() in answer
