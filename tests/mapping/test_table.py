"""Mapping tables as files: what reads, and what is refused with its line (DESIGN §4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdg.errors import TableError
from hdg.mapping.table import load_table

HEADER = "source,name,target,as,map,when,default,note\n"


def write(folder: Path, text: str, name: str = "PID.Patient.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_knows_its_file_and_line(tmp_path: Path) -> None:
    table = load_table(write(tmp_path, HEADER + "PID-3,List,identifier[],CX.Identifier,,,,\n"), file="a.csv")
    (rule,) = table.rules
    assert (rule.file, rule.line, rule.source, rule.as_) == ("a.csv", 2, "PID-3", "CX.Identifier")
    assert (table.name, table.source, table.result) == ("PID.Patient", "PID", "Patient")


def test_a_quoted_cell_with_a_line_break_does_not_shift_the_next_line(tmp_path: Path) -> None:
    text = HEADER + 'PID-1,a,,,,,,"one\ntwo"\nPID-2,b,,,,,,x\n'
    assert [rule.line for rule in load_table(write(tmp_path, text)).rules] == [2, 4]


@pytest.mark.parametrize(
    "text, line",
    [
        ("source,target\n", 1),
        (HEADER + "PID-3,too,few\n", 2),
        (HEADER + "PID-3,a,b,c,,,,note, with a bare comma\n", 2),
        (HEADER + ",no source,gender,code,,,,\n", 2),
        (HEADER + "PID-1,a,,,,,,x\n" + 'PID-2,"never closed,,,,,,\n', 3),
    ],
)
def test_a_broken_table_is_named_by_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(TableError) as caught:
        load_table(write(tmp_path, text), file="PID.Patient.csv")
    assert (caught.value.file, caught.value.line) == ("PID.Patient.csv", line)


def test_bytes_that_are_not_utf8_are_a_table_error(tmp_path: Path) -> None:
    path = tmp_path / "X.csv"
    path.write_bytes(HEADER.encode() + b"PID-1,\xff,,,,,,x\n")
    with pytest.raises(TableError):
        load_table(path)
