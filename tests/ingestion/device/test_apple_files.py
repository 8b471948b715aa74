"""What lies beside export.xml: electrocardiograms with their digits, clinical records as a copy, the rest by name."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import Any

import pytest

from hdg.errors import DeviceError
from hdg.fhir.json import dumps, loads
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.device import apple_ecg, apple_files
from hdg.ingestion.device import convert as device_convert
from hdg.ingestion.device.convert import Converter, Input
from tests.case_pairs import references

KEY = b"k" * 32
SERVER = "https://ehr.example/fhir/R4"
HEAD = """Name,Ada Example
Date of Birth,"Jan 8, 2002"
Recorded Date,2026-05-30 16:32:18 -0700
Classification,Sinus Rhythm
Symptoms,
Software Version,1.90
Device,"Watch7,12"
Sample Rate,512 hertz


Lead,Lead I
Unit,µV

"""
GERMAN = """Name,Ada Beispiel
Geburtsdatum,08.01.2002
Aufzeichnungsdatum,2026-05-30 16:32:18 +0200
Klassifizierung,Sinusrhythmus
Symptome,Schwindel
Softwareversion,"1,90"
Gerät,"Watch7,12"
Messrate,"511,422 Hertz"


Ableitung,Ableitung I
Einheit,µV

"""


def archive(files: dict[str, str | bytes], listed: str = "") -> bytes:
    held = BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("apple_health_export/export.xml", f'<HealthData locale="en">{listed}</HealthData>')
        for name, content in files.items():
            made.writestr(f"apple_health_export/{name}", content)
    return held.getvalue()


def ecg(*texts: str) -> bytes:
    return archive({f"electrocardiograms/ecg_{at}.csv": text for at, text in enumerate(texts)})


def record(kind: str, version: str = "4.0.1", id_: str = "r1", source: str = "Example Hospital") -> str:
    return (
        f'<ClinicalRecord type="{kind}" identifier="{id_}" sourceName="{source}" '
        f'sourceURL="{SERVER}/{kind}/{id_}" fhirVersion="{version}" receivedDate="2026-05-30 16:00:00 -0700" '
        f'resourceFilePath="/clinical-records/{kind}-{id_}.json"/>'
    )


def observation(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": "r1",
        "status": "final",
        "code": {"text": "Hemoglobin"},
        "subject": {"reference": "Patient/abc"},
        "valueQuantity": {"value": 13.5, "unit": "g/dL"},
        **more,
    }


def clinical(*resources: dict[str, Any], version: str = "4.0.1") -> bytes:
    files: dict[str, str | bytes] = {
        f"clinical-records/{one['resourceType']}-{one['id']}.json": dumps(one) for one in resources
    }
    return archive(files, "".join(record(one["resourceType"], version, one["id"]) for one in resources))


def convert(data: bytes, patient: str = "p1") -> Converted:
    return Converter(id_key=KEY).convert(data, at_us=1_000_000, patient=patient, may_be_anonymous=True)


def of_type(converted: Converted, kind: str) -> list[dict[str, Any]]:
    assert [issue for one in converted.resources for issue in validate(one)] == []
    known = {f"{one['resourceType']}/{one['id']}" for one in converted.resources} | {"Patient/p1"}
    assert set(references([dict(one) for one in converted.resources])) <= known
    return [one for one in converted.resources if one["resourceType"] == kind]


# Electrocardiograms


def test_an_electrocardiogram_is_sampled_data_with_its_digits_its_lead_and_its_exact_period() -> None:
    converted = convert(ecg(HEAD + "150.141\n151.2\n-3.50\n"))
    (found,) = of_type(converted, "Observation")
    data = found["valueSampledData"]
    assert data["data"] == "150.141 151.2 -3.50"
    assert str(data["period"]) == "1.953125"
    assert data["origin"] == {"value": 0, "unit": "uV", "system": "http://unitsofmeasure.org", "code": "uV"}
    assert found["effectivePeriod"] == {
        "start": "2026-05-30T16:32:18-07:00",
        "end": "2026-05-30T16:32:18.003906-07:00",
    }
    assert found["code"]["coding"][0]["code"] == "131329"
    assert found["subject"] == {"reference": "Patient/p1"}
    assert {tag["code"] for tag in found["meta"]["tag"]} == {"PATRPT", "DEVAST"}
    told = {one["code"]["text"]: one["valueString"] for one in found["component"]}
    assert told == {"Classification": "Sinus Rhythm", "SoftwareVersion": "1.90"}


def test_the_device_is_the_patients_own_and_named() -> None:
    converted = convert(ecg(HEAD + "1\n2\n"))
    (device,) = of_type(converted, "Device")
    assert device["modelNumber"] == "Watch7,12"
    assert device["patient"] == {"reference": "Patient/p1"}
    assert of_type(converted, "Observation")[0]["device"] == {"reference": f"Device/{device['id']}"}


def test_nothing_of_the_name_or_birth_date_in_the_file_is_carried_over_or_said() -> None:
    converted = convert(ecg(HEAD + "1\n"))
    assert "Ada" not in str(converted)
    assert "Jan 8" not in str(converted)


def test_a_file_of_another_language_is_read_by_what_its_values_look_like() -> None:
    (found,) = of_type(convert(ecg(GERMAN + "-265,868\n12\n0,50\n")), "Observation")
    assert found["valueSampledData"]["data"] == "-265.868 12 0.50"
    assert str(found["valueSampledData"]["period"]) == "1.95533238695"
    told = {one["code"]["text"]: one["valueString"] for one in found["component"]}
    assert told["Classification"] == "Sinusrhythmus"
    assert told["Symptoms"] == "Schwindel"
    assert found["code"]["coding"][0]["code"] == "131329"


def test_two_recordings_are_two_and_one_that_comes_again_is_the_same() -> None:
    other = HEAD.replace("16:32:18", "17:00:00")
    first, second = of_type(convert(ecg(HEAD + "1\n", other + "1\n")), "Observation")
    assert first["id"] != second["id"]
    assert of_type(convert(ecg(HEAD + "1\n")), "Observation")[0]["id"] == first["id"]
    elsewhere = HEAD.replace("16:32:18 -0700", "19:32:18 -0400").replace("Lead I", "Ableitung I")
    assert of_type(convert(ecg(elsewhere + "1\n")), "Observation")[0]["id"] == first["id"]


def test_a_long_recording_comes_in_segments_each_with_its_own_time() -> None:
    samples = "\n".join(str(n % 10) for n in range(apple_ecg.SEGMENT_SAMPLES + 2))
    first, second = of_type(convert(ecg(HEAD.replace("512 hertz", "500 hertz") + samples)), "Observation")
    assert len(first["valueSampledData"]["data"].split()) == apple_ecg.SEGMENT_SAMPLES
    assert second["effectivePeriod"] == {
        "start": "2026-05-30T16:34:29.072000-07:00",
        "end": "2026-05-30T16:34:29.074000-07:00",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        HEAD + "1\n1.234,5\n",
        HEAD + "1\nx\n",
        HEAD.replace("µV", "furlong") + "1\n",
        HEAD.replace("512 hertz", "0 hertz") + "1\n",
        HEAD.replace("2026-05-30", "2026-02-31") + "1\n",
        b"\xff\xfe1\n",
    ],
)
def test_a_file_that_cannot_be_read_is_left_out_whole_and_the_rest_stands(text: str | bytes) -> None:
    good = HEAD.replace("16:32:18", "17:00:00") + "1\n"
    converted = convert(archive({"electrocardiograms/a.csv": text, "electrocardiograms/b.csv": good}))
    assert len(of_type(converted, "Observation")) == 1
    (issue,) = [one for one in converted.issues if one.severity == "error"]
    assert issue.place == "electrocardiograms"
    assert "left out" in issue.text


def test_a_file_that_unpacks_to_more_than_is_taken_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apple_files, "ECG_MAX_BYTES", 300)
    converted = convert(ecg(HEAD + "1\n" * 200, HEAD + "1\n"))
    assert len(of_type(converted, "Observation")) == 1
    assert any("larger than is taken" in one.text for one in converted.issues)


def test_recordings_come_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_convert, "PIECE_BYTES", 3000)
    texts = [HEAD.replace("16:32:18", f"16:32:{second}") + "1.25\n" * 400 for second in range(10, 20)]
    pieces = list(Converter(id_key=KEY).pieces(Input.of_bytes(ecg(*texts), patient="p1"), at_us=1))
    held = [sum(one["resourceType"] == "Observation" for one in piece.resources) for piece in pieces]
    assert sum(held) == 10
    assert max(held) == 1


def test_routes_are_named_as_not_carried_over() -> None:
    converted = convert(
        archive({"workout-routes/route_1.gpx": "<gpx/>", "electrocardiograms/a.csv": HEAD + "1\n"})
    )
    assert [one.text for one in converted.issues if one.place == "workout-routes"] == [
        "the route of a workout (GPX) is not carried over"
    ]


# Clinical records


def test_an_r4_record_becomes_the_patients_copy_under_an_id_of_ours() -> None:
    converted = convert(clinical(observation(meta={"versionId": "7", "security": [{"code": "R"}]})))
    (found,) = of_type(converted, "Observation")
    assert found["subject"] == {"reference": "Patient/p1"}
    assert found["id"] != "r1"
    assert found["identifier"] == [{"system": SERVER, "value": "Observation/r1"}]
    assert [tag["code"] for tag in found["meta"]["tag"]] == ["PATRPT"]
    assert found["meta"]["security"] == [{"code": "R"}]
    assert "versionId" not in found["meta"]
    assert loads(dumps(found["valueQuantity"]))["value"] == loads("13.5")


def test_its_provenance_says_who_made_it_and_that_the_patient_provided_it() -> None:
    files = {
        "electrocardiograms/a.csv": HEAD + "1\n",
        "clinical-records/Observation-r1.json": dumps(observation()),
    }
    pieces = list(
        Converter(id_key=KEY).pieces(
            Input.of_bytes(archive(files, record("Observation")), patient="p1"), at_us=1
        )
    )
    assert len(pieces) == 2
    told = []
    for piece in pieces:
        (one,) = [resource for resource in piece.resources if resource["resourceType"] == "Provenance"]
        roles = {agent["type"]["coding"][0]["code"]: agent["who"] for agent in one["agent"]}
        told.append((roles["author"], roles.get("enterer")))
        assert len(one["target"]) == len(piece.resources) - 1
    assert told == [
        ({"reference": "Patient/p1"}, None),
        ({"display": "Example Hospital"}, {"reference": "Patient/p1"}),
    ]


@pytest.mark.parametrize(
    ("version", "name"), [("1.0.2", "DSTU2"), ("3.0.1", "STU3"), ("5.0.0", "R5"), ("", "of another version")]
)
def test_records_of_other_versions_are_named_and_left_out(version: str, name: str) -> None:
    data = clinical(observation(), version=version)
    with pytest.raises(DeviceError, match=f"Observation: a clinical record in FHIR {name} is not converted"):
        convert(data)


def test_a_record_that_the_export_does_not_list_is_left_out_since_its_version_is_not_known() -> None:
    with pytest.raises(DeviceError, match="not known"):
        convert(archive({"clinical-records/Observation-r1.json": dumps(observation())}))


def test_a_listed_record_without_its_file_is_said_to_be_missing() -> None:
    with pytest.raises(DeviceError, match="not in it"):
        convert(f"<HealthData>{record('Observation')}</HealthData>".encode())


def test_records_refer_to_each_other_and_what_is_not_here_stays_as_an_identifier() -> None:
    report = {
        "resourceType": "DiagnosticReport",
        "id": "d1",
        "status": "final",
        "code": {"text": "CBC"},
        "subject": {"reference": f"{SERVER}/Patient/abc", "display": "somebody"},
        "result": [{"reference": "Observation/r1"}, {"reference": f"{SERVER}/Observation/r1/_history/2"}],
        "performer": [{"reference": "Practitioner/x", "display": "Dr. X"}],
        "basedOn": [{"reference": "https://elsewhere.example/ServiceRequest/1"}],
        "presentedForm": [{"contentType": "text/html", "url": "Binary/7"}],
    }
    converted = convert(clinical(report, observation()))
    (made,) = of_type(converted, "DiagnosticReport")
    (result,) = of_type(converted, "Observation")
    assert made["subject"] == {"reference": "Patient/p1", "display": "somebody"}
    assert made["result"] == [{"reference": f"Observation/{result['id']}"}] * 2
    assert made["performer"] == [
        {"display": "Dr. X", "identifier": {"system": SERVER, "value": "Practitioner/x"}}
    ]
    assert made["basedOn"][0]["identifier"]["value"] == "https://elsewhere.example/ServiceRequest/1"
    assert made["presentedForm"][0]["url"] == f"{SERVER}/Binary/7"


@pytest.mark.parametrize(
    "bad",
    [
        {"resourceType": "Patient", "id": "r1", "birthDate": "1970-01-01"},
        {"resourceType": "Consent", "id": "r1", "status": "active", "patient": {"reference": "Patient/abc"}},
        observation(subject={"reference": "Group/abc"}),
        observation(subject={"reference": "https://elsewhere.example/Patient/abc"}),
        observation(implicitRules="https://ehr.example/rules"),
        observation(subject={"display": "nobody"}),
    ],
    ids=["patient", "consent", "group", "elsewhere", "rules", "unnamed"],
)
def test_what_is_not_the_patients_or_not_valid_is_left_out(bad: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="left out"):
        convert(clinical(bad))


def test_what_is_wrong_in_a_record_is_repaired_as_in_any_input_and_said() -> None:
    converted = convert(clinical(observation(status="nonsense")))
    assert "nonsense" not in str(of_type(converted, "Observation"))
    assert any("status" in one.place + one.text for one in converted.issues)


def test_a_record_of_another_patient_of_the_same_source_is_left_out() -> None:
    other = observation(id="r2", subject={"reference": "Patient/spouse"})
    converted = convert(clinical(observation(), other))
    assert len(of_type(converted, "Observation")) == 1
    assert any("another patient" in one.text for one in converted.issues)


def test_what_is_no_json_is_left_out() -> None:
    data = archive({"clinical-records/Observation-r1.json": "{"}, record("Observation"))
    with pytest.raises(DeviceError, match="no FHIR JSON"):
        convert(data)
