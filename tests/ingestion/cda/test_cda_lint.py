"""The lint of the CDA tables: the shipped ones have no finding; wrong ones are named by file and line."""

from __future__ import annotations

import shutil

import pytest

from hdg.data import folder
from hdg.ingestion.cda.lint import findings

HEADER = "source,name,target,as,map,when,default,note\n"


def test_the_shipped_tables_have_no_finding():
    assert findings() == []


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("id,,identifier,II.Identifier,,,,", "needs a bracket"),
        ("id,,nonsense,II.Identifier,,,,", "no element"),
        ("id[,,identifier[],II.Identifier,,,,", "not a path"),
        ("id,,identifier[],II.Nonsense,,,,", "no converter or table"),
        ("code,,name,string,no-such-map,,,", "no concept map"),
        ("id,,identifier[],II.Identifier,,@x ==,,", "expected"),
        ("id,,,,,,,", "needs a note"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path, row, text):
    path = tmp_path / "cda" / "tables" / "organization.Organization.csv"
    path.parent.mkdir(parents=True)
    path.write_text(HEADER + row + "\n")
    (finding,) = findings(tmp_path)
    assert "organization.Organization.csv:2:" in finding
    assert text in finding


def test_a_statement_whose_table_builds_something_else_is_named(tmp_path):
    shipped = folder("mappings") / "cda" / "dispatch" / "statements.csv"
    target = tmp_path / "cda" / "dispatch" / "statements.csv"
    target.parent.mkdir(parents=True)
    shutil.copy(shipped, target)
    target.write_text(
        HEADER
        + "encounter,Any,Observation,encounter.Encounter,,,,\nencounter,Any,Encounter,none.Encounter,,,,\n"
    )
    found = findings(tmp_path)
    assert ["builds Encounter, not Observation" in found[0], "no such table" in found[1]] == [True, True]
