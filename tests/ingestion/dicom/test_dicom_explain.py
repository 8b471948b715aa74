"""``hdg map explain`` of DICOM attributes; pydicom is read only where there is DICOM."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dicom_headers import item, obj
from hdg.ingestion.explain import lines


@pytest.mark.parametrize("source", ["AccessionNumber", "(0008,0050)"])
def test_the_rows_of_an_attribute_are_shown_with_what_they_make(source):
    found = "\n".join(lines(source, obj(AccessionNumber="A7")))
    assert "dicom/tables/object.ImagingStudy.csv:6  AccessionNumber → identifier[]" in found
    assert '"value":"A7"' in found
    assert "RequestAttributesSequence.AccessionNumber → basedOn[]" in found


def test_an_attribute_of_an_item_is_found_by_its_sequence():
    data = obj(RequestAttributesSequence=[item(AccessionNumber="A7"), item(AccessionNumber="A8")])
    found = list(lines("RequestAttributesSequence.AccessionNumber", data))
    assert sum("= {" in line for line in found) == 2


def test_an_attribute_that_goes_nowhere_says_why():
    (row, note) = lines("DateOfInstallation")
    assert row.endswith("DateOfInstallation not mapped")
    assert note.strip() == "note: R4 has no such date"


def test_the_command_line_and_the_converter_of_files_start_without_pydicom():
    code = "import hdg.cli, hdg.bulk, hdg.ingestion.explain, sys; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
