"""Apple Health exports: exact values, marks, one telling of each fact, and nothing dangerous let into the parser."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from hdg.errors import DeviceError
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.device.convert import PIECE, Converter, Input

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "apple-health-export.xml"
KEY = b"k" * 32
LOINC = "http://loinc.org"


def convert(data: bytes, patient: str = "p1") -> Converted:
    return Converter(id_key=KEY).convert(data, at_us=1_000_000, patient=patient, may_be_anonymous=True)


def export(*inside: str) -> bytes:
    return f'<HealthData locale="en">{"".join(inside)}</HealthData>'.encode()


def record(kind: str = "HKQuantityTypeIdentifierHeartRate", inside: str = "", **attributes: str) -> str:
    given = {
        "type": kind,
        "sourceName": "Watch",
        "unit": "count/min",
        "startDate": "2026-02-27 07:00:00 +0100",
        "endDate": "2026-02-27 07:00:00 +0100",
        "value": "62",
        **attributes,
    }
    return "<Record " + " ".join(f'{name}="{text}"' for name, text in given.items()) + f">{inside}</Record>"


def observations(converted: Converted) -> list[dict[str, Any]]:
    return [one for one in converted.resources if one["resourceType"] == "Observation"]


def by_loinc(converted: Converted, code: str) -> dict[str, Any]:
    (found,) = [
        one
        for one in observations(converted)
        if any(c.get("system") == LOINC and c["code"] == code for c in one["code"]["coding"])
    ]
    return found


def marks(resource: dict[str, Any]) -> set[str]:
    return {tag["code"] for tag in resource["meta"]["tag"]}


def test_the_example_becomes_valid_resources_that_all_resolve() -> None:
    converted = convert(EXAMPLE.read_bytes())
    assert [issue for one in converted.resources for issue in validate(one)] == []
    known = {f"{one['resourceType']}/{one['id']}" for one in converted.resources} | {"Patient/p1"}
    (provenance,) = [one for one in converted.resources if one["resourceType"] == "Provenance"]
    assert {target["reference"] for target in provenance["target"]} < known
    for one in observations(converted):
        assert one["device"]["reference"] in known
        assert one["subject"] == {"reference": "Patient/p1"} == one["performer"][0]
    assert provenance["agent"][0]["who"] == {"reference": "Patient/p1"}
    assert all(issue.severity == "information" for issue in converted.issues)


def test_values_keep_their_digits_and_fractions_become_percent() -> None:
    converted = convert(EXAMPLE.read_bytes())
    assert b'"value":71.20' in dumps(by_loinc(converted, "29463-7"))
    assert b'"value":97.0,' in dumps(by_loinc(converted, "59408-5"))
    heart = by_loinc(converted, "8867-4")
    assert heart["valueQuantity"] == {
        "value": 62,
        "unit": "count/min",
        "system": "http://unitsofmeasure.org",
        "code": "/min",
    }


def test_a_blood_pressure_is_told_once_by_its_correlation() -> None:
    converted = convert(EXAMPLE.read_bytes())
    panel = by_loinc(converted, "85354-9")
    assert [part["valueQuantity"]["value"] for part in panel["component"]] == [121, 79]
    assert not [one for one in observations(converted) if one["code"]["coding"][0]["code"] == "8480-6"]


def test_a_pressure_without_a_correlation_is_told_all_the_same() -> None:
    kind = "HKQuantityTypeIdentifierBloodPressureSystolic"
    converted = convert(export(record(kind, unit="mmHg", value="121")))
    assert by_loinc(converted, "8480-6")["valueQuantity"]["value"] == 121


def test_a_correlation_before_its_records_leaves_them_out_too() -> None:
    kind = "HKQuantityTypeIdentifierBloodPressureSystolic"
    one = record(kind, unit="mmHg", value="121")
    opening = (
        '<Correlation type="HKCorrelationTypeIdentifierBloodPressure" sourceName="Watch" '
        'startDate="2026-02-27 07:00:00 +0100" endDate="2026-02-27 07:00:00 +0100">'
    )
    converted = convert(export(f"{opening}{one}</Correlation>", one))
    assert len(observations(converted)) == 1


def test_food_names_its_members_and_each_is_told_once() -> None:
    one = record("HKQuantityTypeIdentifierDietaryProtein", unit="g", value="12.5")
    opening = '<Correlation type="HKCorrelationTypeIdentifierFood" startDate="2026-02-27 07:00:00 +0000">'
    converted = convert(export(one, f"{opening}{one}</Correlation>"))
    protein, food = observations(converted)
    assert food["hasMember"] == [{"reference": f"Observation/{protein['id']}"}]


def test_what_was_typed_in_and_what_a_device_measured_are_marked_apart() -> None:
    converted = convert(EXAMPLE.read_bytes())
    assert marks(by_loinc(converted, "29463-7")) == {"PATRPT", "PATAST"}
    assert marks(by_loinc(converted, "8867-4")) == {"PATRPT", "DEVAST"}


def test_the_zone_of_the_measurement_gives_the_offset_and_not_the_instant() -> None:
    converted = convert(EXAMPLE.read_bytes())
    assert by_loinc(converted, "29463-7")["effectiveDateTime"] == "2026-02-26T19:05:00-05:00"
    assert by_loinc(converted, "8867-4")["effectiveDateTime"] == "2026-02-27T07:00:58+01:00"


def test_moles_and_mass_of_glucose_have_codes_of_their_own() -> None:
    kind = "HKQuantityTypeIdentifierBloodGlucose"
    moles = convert(export(record(kind, unit="mmol&lt;180.1558800000541&gt;/L", value="5.40")))
    assert by_loinc(moles, "15074-8")["valueQuantity"]["code"] == "mmol/L"
    assert by_loinc(convert(export(record(kind, unit="mg/dL"))), "2339-0")


@pytest.mark.parametrize(
    ("unit", "codes", "ucum"),
    [
        ("mmol&lt;180.15588000005408&gt;/L", ["15074-8"], "mmol/L"),  # the molar mass with more digits
        ("furlong/L", [], None),
    ],
)
def test_a_standard_code_is_never_of_another_property_than_the_unit(unit, codes, ucum) -> None:
    kind = "HKQuantityTypeIdentifierBloodGlucose"
    (found,) = observations(convert(export(record(kind, unit=unit, value="5.5"))))
    assert [coding["code"] for coding in found["code"]["coding"]] == [*codes, kind]
    assert found["valueQuantity"].get("code") == ucum


def test_an_unknown_type_and_unit_keep_what_apple_wrote() -> None:
    converted = convert(export(record("HKQuantityTypeIdentifierNew", unit="furlong", value="1.0")))
    (one,) = observations(converted)
    assert one["code"]["coding"][0]["code"] == "HKQuantityTypeIdentifierNew"
    assert one["valueQuantity"]["unit"] == "furlong"
    assert "code" not in one["valueQuantity"]
    assert {issue.place for issue in converted.issues} == {"HKQuantityTypeIdentifierNew", "Record/@unit"}


def test_the_same_record_twice_is_one_with_the_same_id_in_every_export() -> None:
    twice = convert(export(record(), record()))
    again = convert(export('<ExportDate value="2027-01-01 00:00:00 +0000"/>', record()))
    assert [one["id"] for one in observations(twice)] == [one["id"] for one in observations(again)]
    other = convert(export(record()), patient="p2")
    assert observations(other)[0]["id"] != observations(twice)[0]["id"]


def test_a_record_of_an_export_made_in_another_time_zone_is_the_same_one() -> None:
    """HealthKit writes times with the offset that the phone has when it exports."""
    here = record(startDate="2026-02-27 07:00:00 +0100", endDate="2026-02-27 07:05:00 +0100")
    there = record(startDate="2026-02-27 01:00:00 -0500", endDate="2026-02-27 01:05:00 -0500")
    (one,) = observations(convert(export(here, there)))
    assert one["effectivePeriod"] == {
        "start": "2026-02-27T07:00:00+01:00",
        "end": "2026-02-27T07:05:00+01:00",
    }
    (other,) = observations(convert(export(there)))
    assert other["id"] == one["id"]
    later = record(startDate="2026-02-27 07:00:00 -0500", endDate="2026-02-27 07:05:00 -0500")
    assert len(observations(convert(export(here, later)))) == 2


def test_a_correlation_names_its_members_of_an_export_made_elsewhere_too() -> None:
    inside = ("<Record {} unit='mg' startDate='2026-02-27 {}' endDate='2026-02-27 {}' value='5'/>",)
    kind = "type='HKQuantityTypeIdentifierDietaryCaffeine' sourceName='Watch'"
    ids = set()
    for when in ("07:00:00 +0100", "01:00:00 -0500"):
        part = inside[0].format(kind, when, when)
        head = f"<Correlation type='HKCorrelationTypeIdentifierFood' sourceName='Watch' startDate='2026-02-27 {when}'"
        made = observations(convert(export(part, f"{head} endDate='2026-02-27 {when}'>{part}</Correlation>")))
        assert len(made) == 2
        (whole,) = (one for one in made if "hasMember" in one)
        (member,) = (one for one in made if "hasMember" not in one)
        assert whole["hasMember"] == [{"reference": f"Observation/{member['id']}"}]
        ids.add((whole["id"], member["id"]))
    assert len(ids) == 1


def test_without_a_named_patient_the_export_has_a_person_of_its_own() -> None:
    converted = convert(EXAMPLE.read_bytes(), patient="")
    patient = converted.resources[0]
    assert (patient["gender"], patient["birthDate"]) == ("female", "1971-05-17")
    assert "name" not in patient
    assert converted.patient_id == patient["id"]
    other = convert(EXAMPLE.read_bytes().replace(b"2026-03-01 08:00:00", b"2026-03-01 08:00:01"), patient="")
    assert other.patient_id != patient["id"]


def test_where_somebody_has_to_be_named_birth_date_and_sex_are_not_enough() -> None:
    with pytest.raises(DeviceError, match="nothing says whose"):
        Converter(id_key=KEY).convert(EXAMPLE.read_bytes(), at_us=1)


def test_an_export_without_me_is_about_a_person_of_its_own_too() -> None:
    converted = convert(export(record()), patient="")
    assert converted.resources[0]["resourceType"] == "Patient"
    assert observations(converted)[0]["subject"] == {"reference": f"Patient/{converted.patient_id}"}


def test_a_zip_file_is_read_and_the_files_beside_are_counted() -> None:
    held = BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("apple_health_export/export_cda.xml", "<ClinicalDocument/>")
        archive.writestr("apple_health_export/electrocardiograms/ecg_1.csv", "x")
        archive.writestr("apple_health_export/electrocardiograms/ecg_2.csv", "x")
        archive.writestr("apple_health_export/导出.xml", EXAMPLE.read_bytes())
    packed, plain = convert(held.getvalue()), convert(EXAMPLE.read_bytes())
    assert [one["id"] for one in observations(packed)] == [one["id"] for one in observations(plain)]
    assert [i.text for i in packed.issues if i.place == "electrocardiograms"] == [
        "an electrocardiogram is left out: not an electrocardiogram as HealthKit writes it (2 times)"
    ]


def test_a_large_export_comes_in_pieces_of_bounded_size() -> None:
    data = export(*(record(value=str(60 + n)) for n in range(PIECE * 2 + 1)))
    pieces = list(Converter(id_key=KEY).pieces(Input.of_bytes(data, patient="p1"), at_us=1))
    assert [len(piece.resources) for piece in pieces] == [PIECE + 1, PIECE + 1, 3]
    assert len({one["id"] for piece in pieces for one in piece.resources}) == PIECE * 2 + 2 + 3


@pytest.mark.parametrize(
    "dtd",
    [
        '<!DOCTYPE HealthData [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE HealthData [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE HealthData [<!ENTITY % x SYSTEM "http://example.org/x.dtd"> %x;]>',
        '<!DOCTYPE HealthData SYSTEM "http://example.org/x.dtd">',
        '<!DOCTYPE HealthData SYSTEM "http://example.org/x.dtd" [<!ELEMENT Me EMPTY>]>',
        '<!DOCTYPE HealthData [<!ATTLIST Record value CDATA "99">]>',
        '<!DOCTYPE HealthData [<!NOTATION n SYSTEM "x">]>',
        "<!DOCTYPE HealthData [<?php x?>]>",
        "<!DOCTYPE HealthData [<!ELEMENT Me EMPTY>",
        "<!DOCTYPE HealthData [<!-- never closed",
        "<!ELEMENT HealthData ANY>",
    ],
)
def test_a_dtd_may_declare_elements_and_attributes_and_nothing_else(dtd: str) -> None:
    with pytest.raises(DeviceError, match="line 1"):
        convert(dtd.encode() + export(record(value="&x;")))


def test_a_dtd_that_is_not_well_formed_is_no_hindrance() -> None:
    dtd = b"<!DOCTYPE HealthData [\n<!ATTLIST Eye ATTLIST>\n<!ELEMENT (broken>\n"
    dtd += b"<!ATTLIST Eye\n x CDATA\n<!ELEMENT A EMPTY>\n]>"
    assert len(observations(convert(dtd + export(record())))) == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (export("<Record"), "line"),
        (export(record(value="&x;")), "line"),
        (b"<?xml version='1.0' encoding='utf-16'?>" + export(), "UTF-8"),
        (b"<!DOCTYPE HealthData [\n\n]>\n<HealthData><Record a='1'><", "line 4"),
        (export("<a>" * 300 + "</a>" * 300), "line"),
        (b"PK\x03\x04 export.xml", "ZIP"),
    ],
)
def test_what_cannot_be_read_says_where(data: bytes, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        convert(data)


def test_a_damaged_zip_file_is_an_error_of_its_own() -> None:
    held = BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("apple_health_export/export.xml", EXAMPLE.read_bytes() * 4)
    data = bytearray(held.getvalue())
    data[90:140] = bytes(50)
    with pytest.raises(DeviceError):
        convert(bytes(data))
