"""``hdg export --deid``: consented patients alone, in a whole file, audited before its first byte."""

from __future__ import annotations

import stat

import pytest
from typer.testing import CliRunner

from hdg.cli import app
from hdg.errors import BadRequest, NotFound
from hdg.fhir import json
from hdg.fhir.validate import validate
from hdg.usage.research import export as exporting
from hdg.usage.research.export import Wanted, export

PROJECT = "asthma-1"


@pytest.fixture
def study(either):
    """The world without its own store open, since the export opens the folder itself."""
    either.grant("ann", f"ResearchStudy/{PROJECT}", purposes=("HRESCH",))
    return either


def exported(world, file, **wanted):
    return export(world.settings, Wanted(PROJECT, **wanted), file, world.clock)


def lines(file):
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def events(world):
    with world.store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT patient FROM audit_event ORDER BY at_us").all()
    return [row[0] for row in rows]


def test_the_file_holds_what_the_project_sees_over_http_and_no_more(study, tmp_path):
    file = tmp_path / "out.ndjson"
    made = exported(study, file)
    found = lines(file)
    assert (made.resources, made.patients, made.withheld) == (4, 1, 0)
    token = study.token("researcher", project=PROJECT)
    over_http = [
        entry["resource"]
        for type_ in ("Observation", "Patient")
        for entry in study.client.get(f"/fhir/{type_}", token).json()["entry"]
    ]
    assert [json.loads(json.dumps(one)) for one in over_http] == found
    assert all(validate(one) == [] for one in found)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_a_bundle_is_a_valid_collection(study, tmp_path):
    file = tmp_path / "out.json"
    exported(study, file, form="bundle")
    bundle = json.loads(file.read_bytes())
    assert (bundle["type"], len(bundle["entry"])) == ("collection", 4)
    assert validate(bundle) == []


def test_without_consent_the_file_is_empty_and_the_export_is_on_record(either, tmp_path):
    for form, content in (("ndjson", b""), ("bundle", b'{"resourceType":"Bundle","type":"collection"}\n')):
        file = tmp_path / form
        exported(either, file, form=form)
        assert file.read_bytes() == content
    assert events(either) == ["", ""]


def test_many_pages_are_one_export(study, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_PAGE", 2)
    for number in range(7):
        study.put(study.observation(f"o{number}", "ann", "718-7", "2024-03-01"), "north", "ann")
    made = exported(study, tmp_path / "out")
    ids = [one["id"] for one in lines(tmp_path / "out")]
    assert made.resources == len(ids) == len(set(ids)) == 11
    assert events(study) == ["", "ann"]


def test_only_the_patients_that_are_named(study, tmp_path):
    study.grant("bob", f"ResearchStudy/{PROJECT}", purposes=("HRESCH",))
    medication = {"resourceType": "Medication", "id": "m", "status": "active"}
    study.put(medication, "north", None)
    for number in range(2):
        request = {
            "resourceType": "MedicationRequest",
            "id": f"r{number}",
            "status": "active",
            "intent": "order",
            "subject": {"reference": "Patient/bob"},
            "medicationReference": {"reference": "Medication/m"},
        }
        study.put(request, "south", "bob")
    assert exported(study, tmp_path / "all").resources == 4 + 4 + 2 + 1
    made = exported(study, tmp_path / "out", patients=("bob",))
    assert (made.resources, made.patients) == (4 + 2 + 1, 1)
    types = sorted(one["resourceType"] for one in lines(tmp_path / "out"))
    assert types == ["Medication", "MedicationRequest", "MedicationRequest", *["Observation"] * 3, "Patient"]


def test_a_patient_who_does_not_consent_is_named_and_nothing_is_written(study, tmp_path):
    with pytest.raises(NotFound, match="Patient/bob"):
        exported(study, tmp_path / "out", patients=("ann", "bob"))
    with pytest.raises(BadRequest):
        export(study.settings, Wanted("no project"), tmp_path / "out")
    assert list(tmp_path.glob("out*")) == []


def test_nothing_is_written_before_its_audit_is_on_disk(study, tmp_path, monkeypatch):
    seen = []
    write = exporting._line

    def watched(out, body, place, number):
        seen.append(events(study))
        write(out, body, place, number)

    monkeypatch.setattr(exporting, "_line", watched)
    exported(study, tmp_path / "out")
    assert seen == [["", "ann"]] * 4


def test_what_cannot_be_recorded_is_not_written(study, tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("the trail is lost")

    file = tmp_path / "out"
    file.write_bytes(b"before")
    monkeypatch.setattr(exporting.Trail, "write", fails)
    with pytest.raises(RuntimeError):
        exported(study, file)
    assert file.read_bytes() == b"before"
    assert list(tmp_path.glob("out.*")) == []


def test_the_command(world, tmp_path):
    folder = str(world.settings.data)
    world.grant("ann", f"ResearchStudy/{PROJECT}", purposes=("HRESCH",))
    file = tmp_path / "out.ndjson"
    asked = ["export", "--project", PROJECT, "-o", str(file), "--data", folder]
    run = CliRunner().invoke
    assert run(app, asked).exit_code == 2
    assert run(app, [*asked, "--deid", "--to", "csv"]).exit_code == 2
    assert run(app, [*asked[:3], "-o", str(tmp_path / "no" / "x"), "--data", folder, "--deid"]).exit_code == 1
    assert isinstance(run(app, [*asked, "--deid", "--patient", "bob"]).exception, NotFound)
    assert not file.exists()
    result = run(app, [*asked, "--deid"])
    assert result.exit_code == 0, result.output
    assert file.exists()
