"""Data points of Open mHealth and records of Health Connect: values, times, whose they are and who says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hdg.errors import DeviceError
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.device.convert import Converter, Input

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
KEY = b"k" * 32


def convert(data: bytes | object, patient: str = "p1") -> Converted:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Converter(id_key=KEY).convert(raw, at_us=1_000_000, patient=patient)


def observations(converted: Converted) -> list[dict[str, Any]]:
    return [one for one in converted.resources if one["resourceType"] == "Observation"]


def codes(resource: dict[str, Any]) -> list[str]:
    return [coding["code"] for coding in resource["code"]["coding"]]


def marks(resource: dict[str, Any]) -> set[str]:
    return {tag["code"] for tag in resource["meta"]["tag"]}


def point(schema: str, body: dict[str, Any], **header: Any) -> dict[str, Any]:
    return {
        "header": {"uuid": "u1", "schema_id": {"namespace": "omh", "name": schema}, **header},
        "body": body,
    }


NOW = {"date_time": "2026-02-27T07:09:00.250+01:00"}


@pytest.mark.parametrize("name", ["open-mhealth.json", "health-connect.json"])
def test_the_examples_become_valid_resources(name: str) -> None:
    converted = convert((EXAMPLES / name).read_bytes())
    assert [issue for one in converted.resources for issue in validate(one)] == []
    assert [issue for issue in converted.issues if issue.severity != "information"] == []
    assert all(one["subject"] == {"reference": "Patient/p1"} for one in observations(converted))


def test_a_blood_pressure_of_either_is_a_panel_with_its_parts() -> None:
    for name in ("open-mhealth.json", "health-connect.json"):
        panel = observations(convert((EXAMPLES / name).read_bytes()))[0]
        assert codes(panel)[0] == "85354-9"
        assert [codes(part)[0] for part in panel["component"][:2]] == ["8480-6", "8462-4"]
        assert panel["effectiveDateTime"] == "2026-02-27T07:09:00+01:00"
        assert b'"value":79.0,' in dumps(panel)


def test_what_people_report_themselves_is_marked_so() -> None:
    pressure, weight, steps = observations(convert((EXAMPLES / "open-mhealth.json").read_bytes()))
    assert marks(pressure) == {"PATRPT", "DEVAST"}
    assert marks(weight) == {"PATRPT", "PATAST"}
    assert marks(steps) == {"PATRPT"}
    records = observations(convert((EXAMPLES / "health-connect.json").read_bytes()))
    assert [marks(one) - {"PATRPT"} for one in records] == [{"DEVAST"}, {"PATAST"}, {"DEVAST"}, {"DEVAST"}]


def test_an_interval_by_its_length_has_both_ends() -> None:
    steps = observations(convert((EXAMPLES / "open-mhealth.json").read_bytes()))[2]
    assert steps["effectivePeriod"] == {
        "start": "2026-02-27T07:30:00+01:00",
        "end": "2026-02-27T07:45:00+01:00",
    }


def test_a_mean_is_not_coded_as_a_single_measurement() -> None:
    body = {"heart_rate": {"value": 61.5, "unit": "beats/min"}, "descriptive_statistic": "average"}
    (one,) = observations(convert(point("heart-rate", {**body, "effective_time_frame": NOW})))
    assert codes(one) == ["heart_rate"]
    assert one["code"]["text"] == "Heart rate (average)"
    assert one["effectiveDateTime"] == "2026-02-27T07:09:00.250+01:00"


def test_moles_of_glucose_have_a_code_of_their_own() -> None:
    body = {"blood_glucose": {"value": 5.40, "unit": "mmol/L"}, "effective_time_frame": NOW}
    assert codes(observations(convert(point("blood-glucose", body)))[0])[0] == "15074-8"
    record = {
        "recordType": "BloodGlucoseRecord",
        "time": "2026-02-27T06:09:00Z",
        "level": {"inMillimolesPerLiter": 5.4},
    }
    assert codes(observations(convert([record]))[0])[0] == "15074-8"


def test_a_time_without_offset_is_cut_to_its_date_and_said() -> None:
    body = {
        "body_weight": {"value": 70, "unit": "kg"},
        "effective_time_frame": {"date_time": "2026-02-27T07:09:00"},
    }
    converted = convert(point("body-weight", body))
    assert observations(converted)[0]["effectiveDateTime"] == "2026-02-27"
    assert [issue.place for issue in converted.issues] == ["[0].body.effective_time_frame"]


def test_users_of_one_file_are_people_of_their_own_and_never_one() -> None:
    body = {"body_weight": {"value": 70, "unit": "kg"}, "effective_time_frame": NOW}
    points = [point("body-weight", body, user_id="a"), point("body-weight", body, user_id="b")]
    data = json.dumps(points).encode()
    pieces = list(Converter(id_key=KEY).pieces(Input.of_bytes(data), at_us=1))
    assert len({piece.patient_id for piece in pieces}) == 2
    for piece in pieces:
        (one,) = [r for r in piece.resources if r["resourceType"] == "Observation"]
        assert one["subject"]["reference"] == f"Patient/{piece.patient_id}"


def test_data_of_several_users_are_never_one_named_patients() -> None:
    body = {"body_weight": {"value": 70, "unit": "kg"}, "effective_time_frame": NOW}
    points = [point("body-weight", body, user_id=user) for user in ("a", "b")]
    with pytest.raises(DeviceError, match="several people"):
        convert(points)


def test_nobodys_data_are_refused() -> None:
    body = {"body_weight": {"value": 70, "unit": "kg"}}
    with pytest.raises(DeviceError, match="nothing says whose"):
        convert(point("body-weight", body), patient="")
    with pytest.raises(DeviceError, match="nothing says whose"):
        convert((EXAMPLES / "health-connect.json").read_bytes(), patient="")


def test_at_the_command_line_nobodys_data_are_about_a_patient_of_their_own() -> None:
    converter, data = Converter(id_key=KEY), (EXAMPLES / "health-connect.json").read_bytes()
    one = converter.convert(data, at_us=1, may_be_anonymous=True)
    other = converter.convert(data + b" ", at_us=1, may_be_anonymous=True)
    assert one.patient_id is not None
    assert one.patient_id != other.patient_id
    assert {x["subject"]["reference"] for x in observations(one)} == {f"Patient/{one.patient_id}"}


def test_the_series_of_a_record_has_times_of_its_own_on_the_records_clock() -> None:
    *_, first, second = observations(convert((EXAMPLES / "health-connect.json").read_bytes()))
    assert (first["valueQuantity"]["value"], first["effectiveDateTime"]) == (62, "2026-02-27T07:00:10+01:00")
    assert first["id"] != second["id"]


def test_a_record_keeps_when_it_was_changed_and_its_own_number() -> None:
    record = {
        "recordType": "WeightRecord",
        "time": "2026-02-27T06:05:00Z",
        "weight": {"inKilograms": 71.2},
        "metadata": {
            "clientRecordId": "c7",
            "lastModifiedTime": "2026-02-27T06:06:00Z",
            "device": {"type": 2},
        },
    }
    converted = convert([record])
    (one,) = observations(converted)
    assert one["issued"] == "2026-02-27T06:06:00Z"
    assert one["identifier"][0]["value"] == "c7"


def test_stages_of_sleep_belong_to_their_session() -> None:
    record = {
        "recordType": "SleepSessionRecord",
        "startTime": "2026-02-26T22:00:00Z",
        "endTime": "2026-02-27T05:00:00Z",
        "stages": [
            {
                "startTime": "2026-02-26T22:00:00Z",
                "endTime": "2026-02-26T23:00:00Z",
                "stage": "STAGE_TYPE_DEEP",
            }
        ],
        "metadata": {"id": "s1"},
    }
    stage, session = observations(convert([record]))
    assert session["hasMember"] == [{"reference": f"Observation/{stage['id']}"}]
    assert stage["component"][0]["valueString"] == "STAGE_TYPE_DEEP"


def test_what_is_not_carried_over_is_named() -> None:
    body = {"body_weight": {"value": 70, "unit": "kg"}, "raw": {"a": [1]}, "effective_time_frame": NOW}
    converted = convert(point("body-weight", body, external_datasheets=[{}]))
    places = [(issue.severity, issue.place) for issue in converted.issues]
    assert places == [("warning", "header.external_datasheets"), ("warning", "body.raw")]


@pytest.mark.parametrize(
    "data", [b'{"header": {"schema_id": }', b'"schema_id"', b'["schema_id":', b'{"recordType": 1e999999999}']
)
def test_broken_json_is_an_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(DeviceError):
        convert(data)


def test_lines_of_json_are_read_and_a_bad_one_is_named() -> None:
    body = {"body_weight": {"value": 70, "unit": "kg"}, "effective_time_frame": NOW}
    line = json.dumps(point("body-weight", body)).encode()
    assert len(observations(convert(line + b"\n" + line.replace(b"u1", b"u2") + b"\n"))) == 2
    with pytest.raises(DeviceError, match="line 2"):
        convert(line + b"\n{]\n")


def test_records_without_ids_that_say_the_same_of_two_devices_or_times_are_two() -> None:
    def record(time: str, model: str) -> dict[str, Any]:
        made = {"recordType": "WeightRecord", "time": time, "weight": {"inKilograms": 70}}
        return {**made, "metadata": {"device": {"manufacturer": "M", "model": model}}}

    for end in ("Z", ""):  # without an offset both are cut to their date
        first, later = f"2026-02-27T07:00:00{end}", f"2026-02-27T19:00:00{end}"
        converted = convert([record(first, "A"), record(first, "B"), record(later, "A"), record(later, "A")])
        assert len(observations(converted)) == 3


def test_a_unit_that_nobody_knows_leaves_no_standard_code_of_a_property() -> None:
    body = {"blood_glucose": {"value": 5.5, "unit": "furlong/L"}, "effective_time_frame": NOW}
    (found,) = observations(convert(point("blood-glucose", body)))
    assert codes(found) == ["blood_glucose"]
    assert found["valueQuantity"] == {"value": 5.5, "unit": "furlong/L"}
