"""Named converters of the ADT tables, one by one. HL7 v2.9 §3.4.2, §2.14.9, §6.5.4; US Core Patient."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.hl7v2 import converters_adt
from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.sender import Sender
from hdg.ingestion.times import zone
from hdg.mapping.compile import Compiler
from hdg.mapping.context import Unfit
from hdg.mapping.library import Library

HEADER = "MSH|^~\\&|APP|FAC|||20240101||ADT^A01|1|P|2.5\r"
CDC = "urn:oid:2.16.840.1.113883.6.238"


def state(segments: str = "", local: tzinfo | None = None) -> State:
    compiler = Compiler(Library("hl7v2"), V2Grammar())
    made = State(parse((HEADER + segments).encode()), Sender("APP|FAC", "house"), compiler, b"key", local)
    made.segment = made.message.segments[-1]
    return made


def convert(name: str, text: str, at: State | None = None) -> Any:
    named = CONVERTERS.get(name)
    if named is None:
        raise LookupError(name)
    return named.convert(text, at or state())


def test_every_converter_of_the_module_is_registered() -> None:
    own = [named for named in CONVERTERS if named.convert.__module__ == converters_adt.__name__]
    assert {named.name for named in own} == {
        "identity.living_will",
        "hl7v2.birth_time",
        "hl7v2.local_birth_time",
        "hl7v2.name_text",
        "hl7v2.endpoint",
        "hl7v2.first_software_name",
        "hl7v2.first_software_version",
        "hl7v2.procedure_period",
        "hl7v2.beside_date_of_death",
        "hl7v2.us_core_race",
        "hl7v2.race_outside_us_core",
        "hl7v2.us_core_ethnicity",
        "hl7v2.ethnicity_outside_us_core",
    }


def test_a_name_reads_prefix_given_family_suffix() -> None:
    assert convert("hl7v2.name_text", "Berg&van&Berg^Anna^Lea^III^Dr") == "Dr Anna Lea Berg III"
    assert convert("hl7v2.name_text", "Berg") == "Berg"
    assert convert("hl7v2.name_text", "^^^") is None


def test_a_patient_has_one_statement_about_a_living_will() -> None:
    facts = [
        convert("identity.living_will", "", state(f"PID|1||1^^^FAC^MR\rPD1|||{facility}||||{code}"))
        for facility, code in (("X", "Y"), ("Z", "N"))
    ]
    assert facts[0] == facts[1]


def test_a_time_of_birth_needs_an_offset_or_stays_a_local_time() -> None:
    assert convert("hl7v2.birth_time", "202401020304+0100") == "2024-01-02T03:04:00+01:00"
    assert convert("hl7v2.local_birth_time", "202401020304+0100") is None
    assert convert("hl7v2.birth_time", "20240102030405") is None
    assert convert("hl7v2.local_birth_time", "20240102030405") == "03:04:05"
    at = state(local=zone("Europe/Berlin"))
    assert convert("hl7v2.birth_time", "202407020304", at) == "2024-07-02T03:04:00+02:00"
    assert convert("hl7v2.local_birth_time", "202407020304", at) is None
    assert convert("hl7v2.local_birth_time", "2024010203") is None
    with pytest.raises(Unfit):
        convert("hl7v2.birth_time", "20240132")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("LAB^2.16.840.1.113883.19^ISO", "urn:oid:2.16.840.1.113883.19"),
        ("LAB^urn:example:lab^URI", "urn:example:lab"),
        ("LAB^lab.example.org^DNS", "dns:lab.example.org"),
    ],
)
def test_an_application_with_a_universal_id_has_an_endpoint(text: str, url: str) -> None:
    assert convert("hl7v2.endpoint", text) == url


def test_a_universal_id_that_is_not_of_its_type_is_no_endpoint() -> None:
    with pytest.raises(Unfit):
        convert("hl7v2.endpoint", "LAB^not an oid^ISO")


def test_the_first_software_segment_names_the_sender_and_later_ones_do_not() -> None:
    at = state("SFT|Vendor|1.2|First\rSFT|Vendor|9|Second")
    assert convert("hl7v2.first_software_name", "Second", at) is None
    at.segment = at.message.segments[1]
    assert convert("hl7v2.first_software_name", "First", at) == "First"
    assert convert("hl7v2.first_software_version", "1.2", at) == "1.2"


def test_minutes_end_a_procedure_in_the_offset_of_its_start() -> None:
    at = state("PR1|1||X||20240229233000+0100||45")
    assert convert("hl7v2.procedure_period", "20240229233000+0100", at) == {
        "start": "2024-02-29T23:30:00+01:00",
        "end": "2024-03-01T00:15:00+01:00",
    }
    assert convert("hl7v2.procedure_period", "20240101100000Z", at)["end"] == "2024-01-01T10:45:00Z"


def test_a_start_without_offset_takes_the_senders_zone_or_is_cut_to_its_date() -> None:
    at = state("PR1|1||X||202401011000||45", zone("+02:00"))
    assert convert("hl7v2.procedure_period", "202401011000", at)["end"] == "2024-01-01T10:45:00+02:00"
    at = state("PR1|1||X||202401011000||45")
    with pytest.raises(Unfit) as caught:
        convert("hl7v2.procedure_period", "202401011000", at)
    assert caught.value.kept == {"start": "2024-01-01"}


@pytest.mark.parametrize("minutes", ["4.5", "-3", "", "many"])
def test_minutes_that_are_no_whole_number_leave_the_end_open(minutes: str) -> None:
    at = state(f"PR1|1||X||20240101100000+0000||{minutes}")
    with pytest.raises(Unfit) as caught:
        convert("hl7v2.procedure_period", "20240101100000+0000", at)
    assert caught.value.kept == {"start": "2024-01-01T10:00:00+00:00"}


def test_omb_races_are_categories_and_other_cdc_codes_detail() -> None:
    text = "2028-9^Asian^HL70005~2034-7^Chinese^CDCREC~2106-3"
    made = convert("hl7v2.us_core_race", text)
    assert made["url"] == "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
    assert made["extension"] == [
        {"url": "ombCategory", "valueCoding": {"system": CDC, "code": "2028-9", "display": "Asian"}},
        {"url": "ombCategory", "valueCoding": {"system": CDC, "code": "2106-3", "display": "White"}},
        {"url": "detailed", "valueCoding": {"system": CDC, "code": "2034-7", "display": "Chinese"}},
        {"url": "text", "valueString": "Asian, Chinese, White"},
    ]
    assert convert("hl7v2.race_outside_us_core", text) is None


def test_a_race_that_us_core_cannot_hold_is_kept_as_sent() -> None:
    text = "W^White^L~2106-3^White^CDCREC~^Mixed"
    assert len(convert("hl7v2.us_core_race", text)["extension"]) == 2
    assert list(convert("hl7v2.race_outside_us_core", text)) == [
        {
            "coding": [
                {
                    "code": "W",
                    "display": "White",
                    "_system": {
                        "extension": [
                            {
                                "url": "http://hl7.org/fhir/StructureDefinition/originalText",
                                "valueString": "L",
                            }
                        ]
                    },
                }
            ],
            "text": "White",
        },
        {"text": "Mixed"},
    ]
    assert convert("hl7v2.us_core_race", "W^White^L") is None


@pytest.mark.parametrize(
    ("died", "found"),
    [
        ("|Y", {"deceasedBoolean": True}),
        ("|N", {"deceasedBoolean": False}),
        ('""|N', {"deceasedBoolean": False}),
        ("20240101|Y", {"deceasedDateTime": "2024-01-01"}),
        ("20240101|N", {"deceasedDateTime": "2024-01-01"}),
    ],
)
def test_death_is_a_date_or_else_the_indicator_and_a_contradiction_is_reported(
    died: str, found: object
) -> None:
    text = "MSH|^~\\&|A|B|C|D|20240102||ADT^A31|1|P|2.5.1\rPID|1||4711^^^B^MR||Example^Ada" + "|" * 24 + died
    made = Converter(id_key=PUBLIC_KEY).convert(text.encode(), at_us=0)
    (patient,) = (item for item in made.resources if item["resourceType"] == "Patient")
    assert {key: value for key, value in patient.items() if key.startswith("deceased")} == found
    assert ["PID-30"] * (died == "20240101|N") == [
        issue.place for issue in made.issues if "PID-30" in issue.place
    ]


def test_the_other_codings_of_a_race_are_kept_beside_us_core() -> None:
    text = "2106-3^White^HL70005^C^Caucasian^L"
    assert convert("hl7v2.us_core_race", text)["extension"][0]["valueCoding"]["code"] == "2106-3"
    (kept,) = convert("hl7v2.race_outside_us_core", text)
    assert [(one["code"], one["display"]) for one in kept["coding"]] == [("C", "Caucasian")]
    (alone,) = convert("hl7v2.race_outside_us_core", "^^^C^Caucasian^L")
    assert alone["text"] == "Caucasian"
    assert alone["coding"][0]["code"] == "C"
    by_oid = convert("hl7v2.us_core_race", "2106-3^White^^^^^^^^^^^2.16.840.1.113883.6.238")
    assert by_oid["extension"][0] == {
        "url": "ombCategory",
        "valueCoding": {"system": CDC, "code": "2106-3", "display": "White"},
    }


def test_ethnicity_holds_one_category_and_table_0189_codes_count() -> None:
    made = convert("hl7v2.us_core_ethnicity", "H^Hispanic or Latino^HL70189~2148-5^Mexican^CDCREC")
    assert [part["url"] for part in made["extension"]] == ["ombCategory", "detailed", "text"]
    assert made["extension"][0]["valueCoding"]["code"] == "2135-2"
    assert convert("hl7v2.us_core_ethnicity", "U^Unknown^HL70189") is None
    rest = list(convert("hl7v2.ethnicity_outside_us_core", "N~U^Unknown^HL70189~H"))
    assert [concept["coding"][0]["code"] for concept in rest] == ["U", "2135-2"]


def test_an_empty_race_makes_nothing() -> None:
    assert convert("hl7v2.us_core_race", "^^~") is None
    assert convert("hl7v2.race_outside_us_core", "^^~") is None
