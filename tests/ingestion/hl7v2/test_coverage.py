"""Coverage and explain: what becomes of every valued place; nothing is lost in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdg.ingestion.explain import lines
from hdg.ingestion.hl7v2.coverage import coverage
from hdg.ingestion.hl7v2.explain import explain
from hdg.ingestion.hl7v2.grammar import SourceError

HEAD = "MSH|^~\\&|LAB|NORTH|HDG|REGION|20260314113000-0500||ADT^A31^ADT_A05|C1|P|2.5.1\rEVN||20260314\r"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def statuses(pid: str) -> dict[str, str]:
    found = coverage((HEAD + pid + "\r").encode())
    return {place.place: place.status for place in found.places if place.place.startswith("PID")}


def test_each_valued_place_is_mapped_noted_reported_or_lost() -> None:
    found = statuses("PID|1||10042^^^NORTH&2.999.1.1&ISO^MR||Doe^Jane~Roe||1961xx|F" + "|" * 33 + "beyond")
    assert found == {
        "PID-1": "unmapped",
        "PID-3.1": "mapped",
        "PID-3.4.1": "mapped",
        "PID-3.4.2": "mapped",
        "PID-3.4.3": "mapped",
        "PID-3.5": "mapped",
        "PID-5.1": "mapped",
        "PID-5.2": "mapped",
        "PID-5[2]": "mapped",
        "PID-7": "reported",
        "PID-8": "mapped",
        "PID-41": "reported",
    }


def test_an_unmapped_place_says_why() -> None:
    (place,) = [item for item in coverage((HEAD + "PID|1||7").encode()).places if item.place == "PID-1"]
    assert place.note


def test_a_local_segment_is_reported_and_a_left_out_one_noted() -> None:
    found = coverage((HEAD + "PID|1||7\rZPD|local\rUAC|KERB^x|secret").encode())
    by_place = {place.place: place.status for place in found.places}
    assert by_place["ZPD-1"] == "reported"
    assert by_place["UAC-2"] == "unmapped"


@pytest.mark.parametrize("name", ["adt-a01-admission", "oru-r01-chemistry", "vxu-v04-immunization"])
def test_the_examples_are_covered(name: str) -> None:
    assert coverage((EXAMPLES / f"{name}.hl7").read_bytes()).share > 0.85


def test_explain_names_file_and_line_and_what_a_message_became() -> None:
    message = (HEAD + "PID|1||10042^^^NORTH^MR~7").encode()
    (found,) = [row for row in explain("PID-3", message) if row.rule.target == "identifier[]"]
    assert found.rule.file == "hl7v2/segments/PID.Patient.csv"
    assert [place for place, _ in found.made] == ["PID-3", "PID-3[2]"]
    assert '"value":"10042"' in found.made[0][1]


def test_explain_works_without_a_message_and_for_datatypes() -> None:
    assert any("CX.Identifier.csv" in line for line in lines("CX.4"))
    assert any("note:" in line for line in lines("PID-1"))
    with pytest.raises(SourceError):
        explain("PID-999")


def test_a_number_that_gives_way_to_another_is_reported_not_mapped() -> None:
    head = HEAD.replace("ADT^A31^ADT_A05", "ORM^O01^ORM_O01")
    found = coverage((head + "PID|1||7\rORC|NW|A1\rOBR|1|B2||4^Sodium^L").encode())
    by_place = {place.place: place.status for place in found.places}
    assert (by_place["ORC-2"], by_place["OBR-2"]) == ("mapped", "reported")


def test_a_composite_read_as_a_whole_is_mapped_only_where_its_value_shows() -> None:
    pv1 = "PV1|1|I|4W&2.999.1&ISO^12^B^^^^^^Ward\r"
    found = coverage((HEAD + "PID|1||7\r" + pv1).encode())
    by_place = {place.place: place.status for place in found.places}
    assert by_place["PV1-3.1.1"] == by_place["PV1-3.2"] == by_place["PV1-3.9"] == "mapped"
    assert by_place["PV1-3.1.2"] == "unmapped"


def test_a_unit_system_that_is_not_registered_is_not_claimed() -> None:
    head = HEAD.replace("ADT^A31^ADT_A05", "ORU^R01^ORU_R01")
    obx = "OBX|1|NM|4^Sodium^L||3|mmol/L^^METRIC|||||F\r"
    found = coverage((head + "PID|1||7\rOBR|1||9|4^Sodium^L\r" + obx).encode())
    by_place = {place.place: place.status for place in found.places}
    assert (by_place["OBX-6.1"], by_place["OBX-6.3"]) == ("mapped", "unmapped")


def test_a_note_that_points_to_another_row_is_no_reason() -> None:
    found = coverage((HEAD + "PID|1||7\rIN1|1|P^Plan|9|Payer||||||||||||Doe^Jo|SEL").encode())
    (place,) = [item for item in found.places if item.place == "IN1-16.1"]
    assert place.status == "unmapped"
    assert " see " not in place.note
