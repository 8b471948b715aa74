"""hdg convert on files of personal health data: pieces, names of outputs, what is told from what, who is meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hdg
from hdg import bulk
from hdg.bulk_convert import convert_job
from hdg.bulk_jobs import Job, Outcome, Plan
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.device import convert
from hdg.ingestion.sender import Sender

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXPORT = EXAMPLES / "apple-health-export.xml"


def run(path: Path, **plan) -> list[Outcome]:
    return list(convert_job(Job(path, path.name, path.stem), Plan(**plan)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("apple-health-export.xml", "apple-health"),
        ("open-mhealth.json", "open-mhealth"),
        ("health-connect.json", "health-connect"),
        ("home-measurements.csv", "csv"),
        ("blood-pressure-gateway.json", "envelope"),
        ("ecg-stream.json", "envelope"),
    ],
)
def test_each_example_is_told_from_the_others_by_itself(name, kind):
    patient = "" if kind == "envelope" else "p1"
    (outcome,) = run(EXAMPLES / name, patient=patient)
    assert (outcome.status, outcome.message_type) == ("converted", kind), outcome.error


def test_the_folder_of_examples_is_converted(tmp_path):
    outcomes = list(bulk.run(bulk.jobs_of([str(EXAMPLES)]), Plan(folder=tmp_path / "out")))
    refused = {o.file: o.error for o in outcomes if o.status == "failed"}
    assert refused == {}
    assert (tmp_path / "out" / "home-measurements.json").is_file()


def test_pieces_of_one_input_are_one_file_of_ndjson_and_several_bundles(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "PIECE", 4)
    outcomes = run(EXPORT, patient="p1", form="ndjson", folder=tmp_path / "a")
    assert [outcome.number for outcome in outcomes] == [1, 2, 3]
    lines = (tmp_path / "a" / "apple-health-export.ndjson").read_bytes().splitlines()
    assert len(lines) == sum(outcome.resources for outcome in outcomes)
    again = run(EXPORT, patient="p1", form="ndjson", folder=tmp_path / "a")
    assert (
        len((tmp_path / "a" / "apple-health-export.ndjson").read_bytes().splitlines())
        == len(lines)
        == sum(outcome.resources for outcome in again)
    )
    run(EXPORT, patient="p1", folder=tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == ["apple-health-export.2.json", "apple-health-export.3.json", "apple-health-export.json"]


def test_what_goes_wrong_in_the_middle_is_named_after_what_was_right(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "PIECE", 4)
    path = tmp_path / "cut.xml"
    path.write_bytes(EXPORT.read_bytes()[:-400])
    *right, wrong = run(path, patient="p1")
    assert [outcome.status for outcome in right] == ["converted"] * len(right)
    assert (wrong.status, wrong.number) == ("failed", len(right) + 1)
    assert "not well-formed XML" in wrong.error


def test_other_json_and_text_in_a_folder_are_left_alone(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"resourceType": "Patient"}))
    (tmp_path / "notes.txt").write_text("date,pulse\n2026-01-01,60\n")
    outcomes = list(bulk.run(bulk.jobs_of([str(tmp_path)]), Plan(patient="p1")))
    assert {outcome.file: outcome.status for outcome in outcomes} == {
        "other.json": "skipped",
        "notes.txt": "failed",
    }


def test_a_gateways_identifier_names_the_patient_that_a_message_of_the_same_assigner_names():
    text = (
        "MSH|^~\\&|ADT|N|||20260227070000+0100||ADT^A04|1|P|2.5\r"
        "PID|1||4711^^^GOOD HEALTH HOSPITAL^MR||Example^Ada\r"
    )
    sender = Sender("ADT|N", "north")
    message = hdg.convert(text.encode(), sender=sender)
    data = (EXAMPLES / "blood-pressure-gateway.json").read_bytes()
    envelope = convert.Converter(id_key=PUBLIC_KEY).convert(data, sender, at_us=1)
    assert envelope.patient_id == message.patient_id
