"""Laws of the conversion: repeatable, collision-free, complete, valid. DESIGN §3."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import hdg
from case_pairs import references
from hdg.errors import Hl7v2Error
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender

MSH = "MSH|^~\\&|LAB|NORTH|HDG|REGION|20260314113000-0500||{kind}|C1|P|2.5.1"
PID = "PID|1||10042^^^NORTH&2.999.1.1&ISO^MR||Example^Ada||19610412|F"
ORC = "ORC|RE|P-1^OE|F-1^LAB"
OBR = "OBR|1|P-1^OE|F-1^LAB|24323-8^Panel^LN|||20260314101500-0500"


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


def message(*segments: str, kind: str = "ORU^R01^ORU_R01") -> bytes:
    return "\r".join((MSH.format(kind=kind), *segments)).encode() + b"\r"


def oru(*observations: str) -> bytes:
    return message(PID, ORC, OBR, *observations)


def obx(kind: str, value: str, *, code: str = "1-8^Thing^LN", units: str = "", more: str = "") -> str:
    return f"OBX|1|{kind}|{code}||{value}|{units}|||||F{more}"


def of_type(converted: Converted, kind: str) -> list[dict[str, Any]]:
    return [item for item in converted.resources if item["resourceType"] == kind]


def one(converted: Converted, kind: str) -> dict[str, Any]:
    (found,) = of_type(converted, kind)
    return found


def text_of(converted: Converted) -> bytes:
    return b"\n".join(dumps(item) for item in converted.resources)


class TestRepeatable:
    def test_the_same_message_gives_the_same_result(self, converter: Converter) -> None:
        data = oru(obx("NM", "1.50"), obx("ST", "yes", code="2-6^Other^LN"))
        first = converter.convert(data, at_us=0)
        again = converter.convert(data, at_us=0)
        fresh = Converter(id_key=PUBLIC_KEY).convert(data, at_us=0)
        assert text_of(first) == text_of(again) == text_of(fresh)
        assert first.issues == again.issues == fresh.issues

    def test_another_message_in_between_changes_nothing(self, converter: Converter) -> None:
        data = oru(obx("NM", "1.50", more="|||||^Okafor^Ngozi"))
        expected = text_of(converter.convert(data, at_us=0))
        converter.convert(oru(obx("CWE", "A^Alpha^LN")), at_us=0)
        assert text_of(converter.convert(data, at_us=0)) == expected

    def test_the_receipt_time_shows_only_where_the_message_tells_none(self, converter: Converter) -> None:
        data = oru(obx("NM", "1"))
        assert text_of(converter.convert(data, at_us=0)) == text_of(converter.convert(data, at_us=10**15))
        silent = data.replace(b"20260314113000-0500||ORU", b"||ORU")
        recorded = one(converter.convert(silent, at_us=1_700_000_000_123_456), "Provenance")["recorded"]
        assert recorded == "2023-11-14T22:13:20.123456Z"

    def test_ids_depend_on_key_and_institution(self) -> None:
        data = oru(obx("NM", "1"))
        ids = {
            hdg.convert(data).patient_id,
            hdg.convert(data, id_key=b"another").patient_id,
            hdg.convert(data, sender=Sender("LAB|NORTH", "elsewhere")).patient_id,
        }
        assert len(ids) == 3


class TestIdentity:
    def test_two_results_with_equal_facts_are_both_kept(self, converter: Converter) -> None:
        found = of_type(converter.convert(oru(obx("NM", "1"), obx("NM", "2")), at_us=0), "Observation")
        assert [item["valueQuantity"]["value"] for item in found] == [1, 2]
        assert len({item["id"] for item in found}) == 2

    def test_a_result_stated_twice_in_the_same_words_is_one(self, converter: Converter) -> None:
        converted = converter.convert(oru(obx("NM", "1"), obx("NM", "1")), at_us=0)
        observation = one(converted, "Observation")
        assert one(converted, "DiagnosticReport")["result"] == [
            {"reference": f"Observation/{observation['id']}"}
        ]

    def test_a_corrected_result_keeps_its_id(self, converter: Converter) -> None:
        first = one(converter.convert(oru(obx("NM", "1")), at_us=0), "Observation")
        second = one(converter.convert(oru(obx("NM", "2")).replace(b"|C1|", b"|C2|"), at_us=0), "Observation")
        assert first["id"] == second["id"]

    @pytest.mark.parametrize(
        "pid_3",
        [
            "7^^^A^PI~10042^^^NORTH&2.999.1.1&ISO^MR~9^^^B^SS",
            "10042^^^NORTH&2.999.1.1&ISO^MR",
            "10042^^^&2.999.1.1&ISO^MR",
        ],
    )
    def test_the_medical_record_number_identifies_the_patient(self, converter: Converter, pid_3: str) -> None:
        expected = converter.convert(oru(), at_us=0).patient_id
        data = oru().replace(b"10042^^^NORTH&2.999.1.1&ISO^MR", pid_3.encode())
        assert converter.convert(data, at_us=0).patient_id == expected

    def test_the_same_number_of_another_authority_is_another_patient(self, converter: Converter) -> None:
        ids = set()
        for authority in ("NORTH", "SOUTH", "NORTH&2.999.1.1&ISO", ""):
            data = oru().replace(b"NORTH&2.999.1.1&ISO^MR", f"{authority}^MR".encode())
            ids.add(converter.convert(data, at_us=0).patient_id)
        assert len(ids) == 4

    def test_a_patient_without_a_number_is_never_fused_with_another(self, converter: Converter) -> None:
        nameless = oru().replace(b"10042^^^NORTH&2.999.1.1&ISO^MR", b"")
        first = converter.convert(nameless, at_us=0)
        second = converter.convert(nameless.replace(b"|C1|", b"|C2|"), at_us=0)
        assert first.patient_id != second.patient_id
        assert any(issue.code == "required" and issue.severity == "warning" for issue in first.issues)

    def test_a_person_named_twice_with_different_details_is_united(self, converter: Converter) -> None:
        doctors = (
            obx("NM", "1", more="|||||77^Okafor"),
            obx("NM", "2", code="2-6^O^LN", more="|||||77^Okafor^Ngozi"),
        )
        converted = converter.convert(oru(*doctors), at_us=0)
        assert one(converted, "Practitioner")["identifier"][0]["value"] == "77"
        assert (
            any(issue.code == "conflict" for issue in converted.issues)
            or one(converted, "Practitioner")["name"]
        )


class TestComplete:
    def test_every_reference_resolves_inside_the_message(self, converter: Converter) -> None:
        note = "NTE|1|L|A comment"
        converted = converter.convert(
            message(PID, "PV1|1|I|W^1^2^NORTH||||77^Okafor", ORC, OBR, obx("NM", "1"), note, "SPM|1|S1||BLD"),
            at_us=0,
        )
        known = {f"{item['resourceType']}/{item['id']}" for item in converted.resources}
        found = [found for item in converted.resources for found in references(item)]
        assert found
        assert set(found) <= known

    def test_every_resource_is_valid_and_named_by_the_provenance(self, converter: Converter) -> None:
        converted = converter.convert(oru(obx("NM", "1.50", units="mg/dL^^UCUM")), at_us=0)
        assert [issue for item in converted.resources for issue in validate(item)] == []
        provenance = converted.resources[-1]
        assert len(provenance["target"]) == len(converted.resources) - 1
        assert provenance["entity"][0]["what"]["identifier"]["value"] == converted.source.sha256
        assert provenance["extension"][0]["valueString"] == converted.mapping_digest

    def test_two_patients_in_one_message_keep_their_own_results(self, converter: Converter) -> None:
        other = PID.replace("10042", "10043")
        converted = converter.convert(
            message(PID, ORC, OBR, obx("NM", "1"), other, OBR.replace("F-1", "F-2"), obx("NM", "2")), at_us=0
        )
        subjects = {
            item["valueQuantity"]["value"]: item["subject"]["reference"]
            for item in of_type(converted, "Observation")
        }
        assert subjects[1] != subjects[2]
        assert len(of_type(converted, "Patient")) == 2

    def test_an_order_does_not_borrow_from_its_neighbour(self, converter: Converter) -> None:
        second = "OBR|2|P-2^OE|F-2^LAB|718-7^Other^LN"
        converted = converter.convert(message(PID, ORC + "|||||||||77^Okafor", OBR, second), at_us=0)
        requests = {item["code"]["coding"][0]["code"]: item for item in of_type(converted, "ServiceRequest")}
        assert "requester" in requests["24323-8"]
        assert "requester" not in requests["718-7"]


class TestDeletion:
    def test_a_deleted_field_becomes_a_deletion(self, converter: Converter) -> None:
        data = message("EVN||20260314", PID.replace("19610412", '""'), kind="ADT^A31^ADT_A05")
        converted = converter.convert(data, at_us=0)
        assert [(item.resource_type, item.element) for item in converted.deletions] == [
            ("Patient", "birthDate")
        ]
        assert converted.deletions[0].resource_id == converted.patient_id
        assert "birthDate" not in one(converted, "Patient")

    def test_an_absent_field_deletes_nothing(self, converter: Converter) -> None:
        data = message("EVN||20260314", PID.replace("19610412", ""), kind="ADT^A31^ADT_A05")
        assert converter.convert(data, at_us=0).deletions == ()

    @pytest.mark.parametrize(
        "segments, expected",
        [
            ([PID + '|||||""'], [("telecom", "PID-13")]),
            ([PID + '|||||""|""'], [("telecom", "PID-13"), ("telecom", "PID-14")]),
            ([PID + '|||||""|""|' + "|" * 25 + '""'], [("telecom", "")]),
            ([PID + '|||||""|^WPN^PH^^^^2'], []),  # the value takes the place of all that was said
            ([PID + '|||""'], [("address", "PID-11")]),
            ([PID, 'PD1|||""'], [("generalPractitioner", "PD1-3")]),  # PD1-4 and ROL feed it too
            (
                [PID + "|" * 21 + '|""'],
                [("deceasedBoolean", "PID-30")],
            ),  # and PID-29: two forms of one element
            ([PID + "|" * 20 + '|""|""'], [("deceasedBoolean", "")]),
        ],
    )
    def test_of_an_element_that_others_feed_too_only_the_fields_part_is_deleted(
        self, converter: Converter, segments: list[str], expected: list[tuple[str, str]]
    ) -> None:
        data = message("EVN||20260314", *segments, kind="ADT^A31^ADT_A05")
        converted = converter.convert(data, at_us=0)
        assert [(item.element, item.source) for item in converted.deletions] == expected
        assert [issue.text for issue in converted.issues if "delete" in issue.text] == []

    def test_a_deletion_in_a_part_that_is_stated_again_has_been_carried_out(
        self, converter: Converter
    ) -> None:
        segments = ["EVN||20260314", PID, 'NK1|1|Example^Eve|MTH|""|""|""']
        converted = converter.convert(message(*segments, kind="ADT^A31^ADT_A05"), at_us=0)
        [contact] = one(converted, "Patient")["contact"]
        assert "telecom" not in contact
        assert [issue.text for issue in converted.issues if "delete" in issue.text] == []


class TestRefusal:
    @pytest.mark.parametrize(
        "kind, condition",
        [("ZZZ^Z01", "200"), ("ADT^Z99", "201"), ("ORU", "201"), ("QRY^A19^QRY_A19", "200")],
    )
    def test_a_message_that_nothing_maps_is_rejected(
        self, converter: Converter, kind: str, condition: str
    ) -> None:
        with pytest.raises(Hl7v2Error) as caught:
            converter.convert(message(PID, kind=kind), at_us=0)
        assert (caught.value.condition, caught.value.is_rejection, caught.value.place) == (
            condition,
            True,
            "MSH-9",
        )

    def test_the_structure_follows_from_the_trigger(self, converter: Converter) -> None:
        data = message("EVN||20260314", PID, kind="ADT^A08")
        assert converter.convert(data, at_us=0).patient_id

    def test_no_patient_value_is_in_an_issue(self, converter: Converter) -> None:
        data = message(
            PID.replace("19610412", "SECRET1").replace("|F", "|SECRET2"), ORC, OBR, obx("NM", "SECRET3")
        )
        converted = converter.convert(data, at_us=0)
        assert len(converted.issues) >= 3
        assert not any("SECRET" in str(issue) for issue in converted.issues)


def test_a_site_overrides_a_whole_file(tmp_path: Any, converter: Converter) -> None:
    folder = tmp_path / "hl7v2" / "segments"
    folder.mkdir(parents=True)
    header = "source,name,target,as,map,when,default,note\n"
    rows = "PID,x,id,identity.patient,,,,\nPID-5,Name,name[],XPN.HumanName,,,,\n"
    (folder / "PID.Patient.csv").write_text(header + rows, encoding="utf-8")
    mine = converter.convert(oru(), Sender("LAB|NORTH", "NORTH", mappings=tmp_path), at_us=0)
    assert set(one(mine, "Patient")) == {"resourceType", "id", "name"}
    assert "birthDate" in one(converter.convert(oru(), at_us=0), "Patient")
    assert mine.mapping_digest != converter.convert(oru(), at_us=0).mapping_digest


def test_a_declared_authority_and_zone_are_used() -> None:
    sender = Sender("LAB|NORTH", "NORTH", zone="+02:00", authorities={"NORTH": "http://north.example/mrn"})
    data = oru(obx("NM", "1", more="|||20260314101500"))
    converted = hdg.convert(data, sender=sender)
    assert one(converted, "Patient")["identifier"][0]["system"] == "http://north.example/mrn"
    assert one(converted, "Observation")["effectiveDateTime"] == "2026-03-14T10:15:00+02:00"


def test_the_source_says_where_it_came_from(converter: Converter) -> None:
    source = converter.convert(oru(), at_us=0).source
    assert (source.format, source.sender, source.institution) == ("hl7v2", "LAB|NORTH", "NORTH")
    assert (source.control_id, source.message_type) == ("C1", "ORU^R01^ORU_R01")


def test_json_output_has_no_empty_values(converter: Converter) -> None:
    def check(value: Any) -> None:
        assert value not in ("", {}, [])
        if isinstance(value, dict):
            for part in value.values():
                check(part)
        elif isinstance(value, list):
            for part in value:
                if part is not None:
                    check(part)

    for item in converter.convert(oru(obx("NM", ""), obx("CWE", "^^"), obx("SN", "^^^")), at_us=0).resources:
        check(json.loads(dumps(item)))


def test_threads_may_share_a_converter_from_the_first_message_on() -> None:
    pairs = (("NM", "1"), ("CWE", "A^B^LN"), ("SN", ">^1"), ("DR", "2026^2027"))
    data = [oru(obx(kind, value)) for kind, value in pairs]
    expected = [text_of(Converter(id_key=PUBLIC_KEY).convert(item, at_us=0)) for item in data]

    def together(shared: Converter) -> list[bytes]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda item: text_of(shared.convert(item, at_us=0)), data * 8))

    for _ in range(3):
        assert together(Converter(id_key=PUBLIC_KEY)) == expected * 8
