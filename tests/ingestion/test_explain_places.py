"""``hdg map explain`` for documents: the rows that read a path, and what they make of a document."""

from __future__ import annotations

from pathlib import Path

import pytest

from cda_documents import document
from hdg.errors import BadRequest, CdaError
from hdg.ingestion.explain import lines
from registry_messages import message, registration

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def rows(source, data=None):
    """Each row's own line, without file and line → what it made."""
    found, last = {}, ""
    for line in lines(source, data):
        if not line.startswith(" "):
            last = line.partition("  ")[2]
            found[last] = []
        elif not line.startswith("    note:"):
            found[last].append(line.strip())
    return found


def test_a_path_names_its_rows_and_what_they_made_of_a_document():
    found = rows("patient/birthTime", document(""))
    assert found["patient/birthTime → birthDate  as: date"] == [
        'recordTarget/patientRole = {"birthDate":"1961-04-12"}'
    ]


def test_the_element_of_the_table_belongs_to_the_path():
    assert all("observation.Observation.csv" in line for line in lines("observation/value[1]"))
    assert rows("observation/value[1]")


def test_without_a_document_the_rows_are_named_with_file_and_line():
    (line,) = [one for one in lines("patient/birthTime") if "→ birthDate" in one]
    assert line.startswith("cda/tables/patientRole.Patient.csv:")


def test_a_row_that_came_to_nothing_says_so():
    data = document("").replace(b'birthTime value="19610412"', b'birthTime value="1961-99"')
    found = rows("patient/birthTime", data)
    assert found["patient/birthTime → birthDate  as: date"] == ["recordTarget/patientRole = nothing"]


def test_a_registry_message_is_read_by_its_own_tables():
    assert any(line.startswith("hl7v3/tables/") for line in lines("id", message(registration())))
    assert not any(line.startswith("cda/") for line in lines("id", message(registration())))


def test_a_predicate_counts_where_it_is_asked_for():
    some = "observation[templateId='2.16.840.1.113883.10.20.22.4.8']/value"
    assert 0 < len(rows(some)) < len(rows("observation/value"))


def test_what_is_neither_field_nor_path_is_refused():
    with pytest.raises(BadRequest):
        list(lines("PID 3"))
    assert list(lines("nothing/here")) == []


def test_a_document_that_cannot_be_read_is_refused():
    with pytest.raises(CdaError):
        list(lines("patient/birthTime", b"<ClinicalDocument><broken"))
