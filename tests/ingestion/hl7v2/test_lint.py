"""The lint of the v2 tables: the shipped ones are clean; each kind of mistake is named, file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdg.ingestion.hl7v2.lint import findings

HEADER = "source,name,target,as,map,when,default,note\n"


def test_the_shipped_tables_are_clean() -> None:
    assert [str(finding) for finding in findings()] == []


@pytest.mark.parametrize(
    "row, text",
    [
        ("PID-3,x,identifier,CX.Identifier,,,,", "needs a bracket"),
        ("PID-8,x,gender[],code,,,,", "takes no bracket"),
        ("PID-8,x,sex,code,,,,", "no element 'sex'"),
        ("PID-8,x,deceased,boolean,,,,", "is a choice"),
        ("PID-8,x,gender,string,,,,", "makes a string"),
        ("PID-8,x,gender,code,no-such-map,,,", "no-such-map.csv"),
        ("PID-3,x,identifier[],CX.Nothing,,,,", "datatypes/CX.Nothing.csv"),
        ("PID-8,x,gender,hl7v2.nothing,,,,", "no converter"),
        ("PID-8,x,gender,code,,PID-8,,", "expected"),
        ("PID-8,x,gender,code,,PID-99 valued,,", "ends at"),
        ("PID-99,x,gender,code,,,,", "ends at"),
        ("PID/8,x,gender,code,,,,", "not a source path"),
        ("PID-8,x,,,,,,", "needs a note"),
        ("PID-8,x,gender,,,,,", "no constant"),
        ("PID-3,x,identifier[],CX.Identifier,,,usage=home,", "no element 'usage'"),
        ("PID-3,x,identifier[],CX.Identifier,,,type=no-such-system#MR,", "no-such-system"),
        ("PID,x,id,hl7v2.constant,,,,", "identity converter"),
        ("PID-3,x,identifier[1],CX.Identifier,,,,", "default pairs only"),
        ("PID-3,x,generalPractitioner[],Reference(CX.Identifier),,,,", "no id row"),
        ("PID-8,x,active,boolean,administrative-gender,,,", "a map needs"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_line(tmp_path: Path, row: str, text: str) -> None:
    folder = tmp_path / "hl7v2" / "segments"
    folder.mkdir(parents=True)
    (folder / "PID.Patient.csv").write_text(
        HEADER + "PID-5,x,name[],XPN.HumanName,,,,\n" + row + "\n", encoding="utf-8"
    )
    found = [finding for finding in findings(tmp_path) if "PID.Patient" in finding.file and finding.line == 3]
    assert any(text in finding.text for finding in found), [str(finding) for finding in findings(tmp_path)][
        :5
    ]


def test_a_field_without_a_row_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "hl7v2" / "datatypes"
    folder.mkdir(parents=True)
    (folder / "CX.Identifier.csv").write_text(HEADER + "CX.1,x,value,string,,,,\n", encoding="utf-8")
    found = [finding.text for finding in findings(tmp_path) if "CX.Identifier.csv" in finding.file]
    assert "CX.Identifier: no row for element 4 (Assigning Authority)" in found


@pytest.mark.parametrize(
    "row, text",
    [
        ("XYZ1,x,Patient,PID.Patient,,,,", "no segment"),
        ("NOGROUP.PID,x,Patient,PID.Patient,,,,", "has no NOGROUP.PID"),
        ("PID,x,Patiant,PID.Patient,,,,", "not an R4 resource type"),
        ("PID,x,Encounter,PID.Patient,,,,", "builds a Patient"),
        ("PID,x,Patient,PID.Nothing,,,,", "segments/PID.Nothing.csv"),
        ("PID,x,Patient,PV1.Encounter,,,,", "reads PV1"),
        ("PID,x,,,,,,", "needs a note"),
        ("PID,x,Patient,PID.Patient,,,managingOrganization=@Organization,", "no row of this table builds"),
        ("PV1,x,Encounter,PV1.Encounter,,,subject=@Encounter,", "may not refer to"),
        ("PID,x,Patient,PID.Patient,,,active=@Patient,", ""),
    ],
)
def test_a_mistake_in_a_message_table_is_named(tmp_path: Path, row: str, text: str) -> None:
    folder = tmp_path / "hl7v2" / "messages"
    folder.mkdir(parents=True)
    (folder / "ORU_R01.csv").write_text(HEADER + row + "\n", encoding="utf-8")
    found = [finding for finding in findings(tmp_path) if "ORU_R01" in finding.file]
    assert any(text in finding.text and finding.line == 2 for finding in found)
