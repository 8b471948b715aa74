"""IHE PCD-01: recognised, put together by containment, and nothing lost however the tree is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hdg.data import folder
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.coverage import coverage
from hdg.ingestion.sender import Sender
from tests.messages import oru
from tests.pcd_messages import (
    BPM,
    CUFF,
    EUI,
    GATEWAY,
    MMHG,
    MONITOR,
    PERCENT,
    PROFILE,
    PULSE,
    SPO2,
    by_code,
    codings,
    convert,
    devices,
    measured_by,
    number,
    observations,
    pcd,
    plain,
)

MDC, LOINC = "urn:iso:std:iso:11073:10101", "http://loinc.org"
PRESSURE = (
    "OBX||||",
    "150020^MDC_PRESS_BLD_NONINV^MDC",
    "150021^MDC_PRESS_BLD_NONINV_SYS^MDC",
    "150022^MDC_PRESS_BLD_NONINV_DIA^MDC",
    "150023^MDC_PRESS_BLD_NONINV_MEAN^MDC",
)
COMPOUND = (
    f"OBX|||{PRESSURE[1]}|1.0.1|||||||X|||20260101115900+0000",
    number(PRESSURE[2], "1.0.1.1", "120.5", MMHG),
    number(PRESSURE[3], "1.0.1.2", "80", MMHG),
    number(PRESSURE[4], "1.0.1.3", "NaN", MMHG),
)
BROKEN = {
    "no device": [number(SPO2, "1.3.1.1", "97", PERCENT)],
    "device last": [number(SPO2, "1.3.1.1", "97", PERCENT), MONITOR],
    "two of one path": [MONITOR, number(SPO2, "1.3.1.1", "97", PERCENT), number(PULSE, "1.3.1.1", "60", BPM)],
    "no path": [MONITOR, number(SPO2, "", "97", PERCENT), number(PULSE, "1.1.1.1", "60", BPM)],
    "odd path": [MONITOR, number(SPO2, "1..3", "97", PERCENT), number(PULSE, "1.x.1", "60", BPM)],
    "long path": [
        MONITOR,
        number(SPO2, "1.2.3.4.5.6.7.8.9", "97", PERCENT),
        number(PULSE, "9" * 400 + ".1", "60"),
    ],
    "no unit": [MONITOR, number(SPO2, "1.3.1.1", "97")],
    "no value": [MONITOR, number(SPO2, "1.3.1.1", "", PERCENT)],
    "odd number": [MONITOR, number(SPO2, "1.3.1.1", "9x7", PERCENT), number(PULSE, "1.1.1.1", "-0.0", BPM)],
    "facet alone": [MONITOR, "OBX||NM|0^MDC_ATTR_SAMP_RATE^MDC|1.7.6.2.1|500|264640^MDC_DIM_HZ^MDC"],
    "device in itself": [MONITOR, MONITOR, MONITOR.replace("1.0.0.0", "1.1.0.0")],
    "empty": [MONITOR, "OBX|5", "OBX||NM||1.0.0.7|5", "OBX|6|NM|^^MDC|1.1.1.9|5"],
    "mixed": [
        MONITOR,
        "OBX||NM|8867-4^Heart rate^LN|1.1.1.2|72|/min^^UCUM|||||F",
        number(SPO2, "1.1.1.1", "97"),
    ],
    "attribute of nothing": [
        "OBX||ST|531969^MDC_ID_MODEL_NUMBER^MDC|1.0.0.2|M1",
        number(SPO2, "1.1.1.1", "97"),
    ],
    "facet of itself": [
        MONITOR,
        "OBX||CWE|68193^MDC_ATTR_SUPPLEMENTAL_TYPES^MDC|1|150588^MDC_MODALITY_SPOT^MDC",
    ],
    "attributes without path": [
        MONITOR,
        "OBX||ST|531969^MDC_ID_MODEL_NUMBER^MDC||M1",
        "OBX||CWE|68193^MDC_ATTR_SUPPLEMENTAL_TYPES^MDC||150588^MDC_MODALITY_SPOT^MDC",
        "OBX||NM|67985^MDC_ATTR_TIME_STAMP_REL^MDC||5",
    ],
    "one in itself": [
        MONITOR,
        number(SPO2, "1.1.1.1", "97", PERCENT),
        number(SPO2, "1.1.1.1.1", "96", PERCENT),
    ],
    "odd ranges": [
        MONITOR,
        number(SPO2, "1.1.1.1", "97", PERCENT),
        "OBX||NR|68236^MDC_ATTR_MSMT_CONFIDENCE_95^MDC|1.1.1.1.1|96^",
        "OBX||NR|68222^MDC_TIME_RES_ABS^MDC|1.0.0.7|1^5",
    ],
    "huge bits": [MONITOR, f"OBX||NM|150604^MDC_PULS_OXIM_DEV_STATUS^MDC|1.1.1.1|{'9' * 5000}"],
    "odd times": [
        MONITOR,
        "OBX||DTM|67975^MDC_ATTR_TIME_ABS^MDC|1.0.0.5|20261399000000||||||R|||99999999999999-0500",
        number(SPO2, "1.0.0.9", "97", PERCENT, more="|||||R|||00010101000000"),
        "OBX||NM|68185^MDC_ATTR_TIME_PD_MSMT_ACTIVE^MDC|1.0.0.9.1|99999999999999999999|264320^MDC_DIM_SEC^MDC",
    ],
}


def test_a_message_with_mdc_codes_and_containment_is_recognised_without_its_profile() -> None:
    told, untold = convert(*BROKEN["device last"]), convert(*BROKEN["device last"], profile="")
    assert [one["resourceType"] for one in told.resources] == [
        one["resourceType"] for one in untold.resources
    ]
    assert measured_by(untold, "150456").startswith("Device/")


@pytest.mark.parametrize(
    "profile", [PROFILE, "X^Y^Z^ISO~" + PROFILE, "IHE PCD ORU-R012006^HL7^2.16.840.1.113883.9^HL7"]
)
def test_a_message_is_recognised_by_msh_21(profile: str) -> None:
    converted = convert(number(SPO2, "", "NaN"), profile=profile)
    reason = by_code(observations(converted), "150456")["dataAbsentReason"]
    assert codings(reason)[0][1] == "not-a-number"


def test_an_ordinary_result_is_converted_by_its_own_table() -> None:
    data = oru().replace(b"2160-0^Creatinine^LN|", b"2160-0^Creatinine^LN|1.1")
    found = observations(Converter(id_key=PUBLIC_KEY).convert(data, at_us=0))
    assert found[0]["extension"][0]["url"].endswith("observation-v2-subid")


def test_a_code_system_that_only_begins_like_mdc_is_none() -> None:
    converted = convert(number("1^X^MDCLAB", "1.1", "5"), profile="")
    assert observations(converted)[0]["extension"][0]["url"].endswith("observation-v2-subid")


def test_a_site_without_the_trigger_for_pcd_01_converts_by_its_own_table(tmp_path: Path) -> None:
    home = tmp_path / "hl7v2" / "messages"
    home.mkdir(parents=True)
    text = (folder("mappings") / "hl7v2" / "messages" / "triggers.csv").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if "@PCD-01" not in line]
    (home / "triggers.csv").write_text("\n".join(kept) + "\n", encoding="utf-8")
    sender = Sender("AHD|HOME", "HOME", mappings=tmp_path)
    converted = Converter(id_key=PUBLIC_KEY).convert(
        pcd(MONITOR, number(SPO2, "1.1.1.1", "97")), sender, at_us=0
    )
    assert "extension" in by_code(observations(converted), "150456")


def test_a_number_keeps_its_digits_and_has_its_unit_in_ucum_and_its_loinc_code() -> None:
    found = by_code(observations(convert(MONITOR, number(SPO2, "1.1.1.1", "98.00", PERCENT))), "150456")
    assert found["valueQuantity"]["value"].literal == "98.00"
    assert (found["valueQuantity"]["system"], found["valueQuantity"]["code"]) == (
        "http://unitsofmeasure.org",
        "%",
    )
    assert codings(found["code"]) == [(MDC, "150456"), (LOINC, "2708-6")]
    assert [codings(one)[0][1] for one in found["category"]] == ["vital-signs"]
    assert "meta" not in found, "a bedside monitor is no personal health device"


def test_each_of_several_values_is_a_component_with_the_unit_in_ucum_or_the_reason_why_it_is_missing() -> (
    None
):
    (found,) = observations(convert(MONITOR, number(SPO2, "1.0.0.1", "98.0~97~NaN", PERCENT)))
    assert [
        str(one["valueQuantity"]["value"]) + one["valueQuantity"]["code"] for one in found["component"][:2]
    ] == ["98.0%", "97%"]
    assert found["component"][2]["dataAbsentReason"]["coding"][0]["code"] == "not-a-number"
    assert "valueQuantity" not in found


def test_reference_limits_have_the_unit_of_the_value() -> None:
    found = by_code(
        observations(convert(MONITOR, number(PULSE, "1.1.1.1", "60", BPM, more="|50-120||||F"))), "149530"
    )
    assert found["referenceRange"][0]["low"] == {
        "value": 50,
        "unit": "/min",
        "code": "/min",
        "system": "http://unitsofmeasure.org",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "not-a-number"),
        ("NRes", "error"),
        ("+INFINITY", "positive-infinity"),
        ("-INFINITY", "negative-infinity"),
    ],
)
def test_special_values_say_why_there_is_no_number(text: str, reason: str) -> None:
    found = by_code(observations(convert(MONITOR, number(SPO2, "1.1.1.1", text, PERCENT))), "150456")
    assert codings(found["dataAbsentReason"])[0][1] == reason
    assert not [key for key in found if key.startswith("value")]


def test_a_number_with_an_exponent_keeps_its_digits() -> None:
    converted = convert(MONITOR, number(SPO2, "1.1.1.1", "9.70E+1", PERCENT))
    assert by_code(observations(converted), "150456")["valueQuantity"]["value"].literal == "9.70E+1"
    assert any("exponent" in issue.text for issue in converted.issues)


def test_an_unknown_unit_and_an_unknown_code_stay_as_sent_and_are_reported() -> None:
    converted = convert(MONITOR, number("199999^MDC_NEW^MDC", "1.1.1.1", "1", "269999^MDC_DIM_NEW^MDC"))
    found = by_code(observations(converted), "199999")
    assert found["valueQuantity"] == {"value": 1, "unit": "MDC_DIM_NEW", "system": MDC, "code": "269999"}
    texts = [issue.text for issue in converted.issues]
    assert any("mdc-unit" in text for text in texts)
    assert any("no map knows this MDC code" in text for text in texts)


def test_a_code_whose_name_is_of_something_else_gets_no_loinc_code() -> None:
    converted = convert(MONITOR, number("150456^MDC_PULS_OXIM_PULS_RATE^MDC", "1.1.1.1", "97", PERCENT))
    found = by_code(observations(converted), "150456")
    assert codings(found["code"]) == [(MDC, "150456")]
    assert "category" not in found
    assert any("different things" in issue.text for issue in converted.issues)


def test_a_compound_measurement_has_its_members_as_components_and_their_status() -> None:
    converted = convert(GATEWAY, CUFF, *COMPOUND)
    found = by_code(observations(converted), "150020")
    values = [one.get("valueQuantity", {}).get("value") for one in found["component"]]
    assert [str(getattr(value, "literal", value)) for value in values] == ["120.5", "80", "None"]
    assert codings(found["component"][2]["dataAbsentReason"])[0][1] == "not-a-number"
    assert found["status"] == "final"
    assert not [one for one in observations(converted) if codings(one["code"])[0][1] in ("150021", "150022")]
    assert codings(found["code"])[1] == (LOINC, "85354-9")


def test_what_a_member_says_of_who_where_and_how_is_kept_with_the_whole() -> None:
    more = "|||||R|||||4711^Nurse^N|AMEAS^auto-measurement^MDC|||49521004^left ear structure^SCT"
    other = "|||||R|||||4711^Nurse^N||||89644007^right ear structure^SCT"
    lines = (
        number(PRESSURE[2], "1.0.1.1", "120", MMHG, more=more),
        number(PRESSURE[3], "1.0.1.2", "80", MMHG, more=other),
    )
    converted = convert(GATEWAY, CUFF, COMPOUND[0], *lines)
    found = by_code(observations(converted), "150020")
    assert len(found["performer"]) == 1
    assert codings(found["method"]) == [(MDC, "AMEAS")]
    assert codings(found["bodySite"])[0][1] == "49521004"
    assert "right ear structure" in found["note"][0]["text"]


def test_a_delete_in_a_part_is_reported() -> None:
    converted = convert(GATEWAY, CUFF, COMPOUND[0], number(PRESSURE[2], "1.0.1.1", '""', MMHG))
    assert any("not carried out" in issue.text for issue in converted.issues)


def test_an_order_without_a_device_of_its_own_takes_the_only_one_of_the_message() -> None:
    second = f"OBR|2|A2^AHD^{EUI}^EUI-64|C2^AHD^{EUI}^EUI-64|69121^MDC_OBS_WAVE_CTS^MDC|||20260101120001+0000"
    line = number(SPO2, "1.1.1.1", "97", PERCENT)
    converted = convert(MONITOR, line, second, line)
    first, other = observations(converted)
    assert first["device"] == other["device"]
    (metric,) = [one for one in converted.resources if one["resourceType"] == "DeviceMetric"]
    assert metric["source"] == {"reference": f"Device/{devices(converted)[0]['id']}"}
    assert first["id"] != other["id"]


def test_a_member_of_another_time_stays_on_its_own_and_is_named() -> None:
    other = number(PRESSURE[3], "1.0.1.2", "80", MMHG, more="|||||R|||20260101115800+0000")
    found = observations(convert(GATEWAY, CUFF, COMPOUND[0], COMPOUND[1], other))
    member = by_code(found, "150022")
    assert by_code(found, "150020")["hasMember"] == [{"reference": f"Observation/{member['id']}"}]
    assert member["subject"] == by_code(found, "150020")["subject"]


def test_devices_in_devices_have_parents_and_measurements_the_nearest() -> None:
    converted = convert(
        MONITOR,
        "OBX|||70666^MDC_DEV_ECG_RESP_VMD^MDC|1.2.0.0|||||||X",
        "OBX|||70739^MDC_DEV_CARD_RATE_CHAN^MDC|1.2.1.0|||||||X",
        number(PULSE, "1.2.1.1", "60", BPM),
        number(SPO2, "1.2.7.1", "97", PERCENT),
    )
    system, virtual, channel = devices(converted)
    assert virtual["parent"] == {"reference": f"Device/{system['id']}"}
    assert channel["parent"] == {"reference": f"Device/{virtual['id']}"}
    assert measured_by(converted, "149530") == f"Device/{channel['id']}"
    assert measured_by(converted, "150456") == f"Device/{virtual['id']}"


def test_equipment_that_only_obx_18_names_is_a_device_of_its_own_inside_the_other() -> None:
    sensor = number(
        SPO2, "1.1.1.1", "97", PERCENT, more="|||||R|||||||0123456789ABCDEF^Maker^0123456789ABCDEF^EUI-64"
    )
    converted = convert(MONITOR, sensor)
    system, own = devices(converted)
    assert own["identifier"][0]["value"] == "01-23-45-67-89-AB-CD-EF"
    assert own["parent"] == {"reference": f"Device/{system['id']}"}
    assert measured_by(converted, "150456") == f"Device/{own['id']}"


def test_one_device_has_one_id_however_its_system_identifier_is_written() -> None:
    spelled = MONITOR.replace(f"{EUI}^^{EUI}^EUI-64", "00-a0-37-00-9a-00-53-de^EUI-64")
    assert devices(convert(MONITOR))[0]["id"] == devices(convert(spelled))[0]["id"]


def test_attributes_make_the_device_and_an_unknown_one_is_a_property() -> None:
    converted = convert(
        GATEWAY,
        CUFF,
        "OBX||ST|531970^MDC_ID_MODEL_MANUFACTURER^MDC|1.0.0.1.1|Maker",
        "OBX||ST|531969^MDC_ID_MODEL_NUMBER^MDC|1.0.0.2|M-1",
        "OBX||ST|531972^MDC_ID_PROD_SPEC_SERIAL^MDC|1.0.0.3|S-1",
        "OBX||ST|531976^MDC_ID_PROD_SPEC_FW^MDC|1.0.0.4|1.2",
        "OBX||CWE|67925^MDC_ATTR_POWER_STAT^MDC|1.0.0.9|1^onMains(0)~0^onBattery(1)~0^chargingFull(8)",
        "OBX||ST|69000^MDC_ATTR_NEW^MDC|1.0.0.10|something",
    )
    _, cuff = devices(converted)
    assert (cuff["manufacturer"], cuff["modelNumber"], cuff["serialNumber"]) == ("Maker", "M-1", "S-1")
    assert [(codings(one["type"])[0][1], one["value"]) for one in cuff["version"]] == [("531976", "1.2")]
    said = [(codings(one["type"])[0][1], one["valueCode"][0]) for one in cuff["property"]]
    assert [(code, codings(value)[0][1]) for code, value in said[:2]] == [("67925.0", "Y"), ("67925.1", "N")]
    assert said[2:] == [("69000", {"text": "something"})]
    assert any("mdc-attribute" in issue.text for issue in converted.issues)
    assert cuff["meta"]["profile"] == ["http://hl7.org/fhir/uv/phd/StructureDefinition/PhdDevice"]


def test_bits_say_set_events_and_both_states() -> None:
    converted = convert(
        MONITOR,
        "OBX||CWE|150604^MDC_PULS_OXIM_DEV_STATUS^MDC|1.1.1.1|1^sensor-displaced(2)~0^signal-poor(11)~1^new(31)||||||F",
        "OBX||CWE|8418512^^MDC|1.1.1.2|0^Battery-absent(1)~1^Battery-active(2)~0^Battery-faulty(8)||||||F",
        "OBX||NM|150604^MDC_PULS_OXIM_DEV_STATUS^MDC|1.1.1.3|8192||||||F",
    )
    words, states, whole = (
        [(codings(part["code"])[0][1], part["valueBoolean"]) for part in one["component"]]
        for one in observations(converted)
    )
    assert words == [("150604.2", True), ("150604.31", True)]
    assert states == [("8418512.1", False), ("8418512.2", True)]
    assert whole == [("150604.2", True)]


def test_a_waveform_is_sampled_data_with_its_facets() -> None:
    converted = convert(
        MONITOR,
        "OBX||NA|131330^MDC_ECG_ELEC_POTL_II^MDC|1.7.6.2|80^88.0^^-92||||||F",
        "OBX||NM|0^MDC_ATTR_SAMP_RATE^MDC|1.7.6.2.1|500|264640^MDC_DIM_HZ^MDC",
        "OBX||NM|67917^MDC_ATTR_NU_MSMT_RES^MDC|1.7.6.2.2|0.001221|266418^MDC_DIM_MILLI_VOLT^MDC",
        "OBX||NR|0^MDC_ATTR_DATA_RANGE^MDC|1.7.6.2.4|-5.0^10.0|266418^MDC_DIM_MILLI_VOLT^MDC",
        "OBX||NM|196660^MDC_EVT_INOP^MDC|1.7.6.2.3|1||||||R",
    )
    (found,) = observations(converted)
    data = found["valueSampledData"]
    assert data["data"] == "80 88.0 E -92"
    assert (data["period"], data["dimensions"], data["origin"]["code"]) == (2, 1, "mV")
    assert [data[name].literal for name in ("factor", "lowerLimit", "upperLimit")] == [
        "0.001221",
        "-5.0",
        "10.0",
    ]
    assert codings(found["component"][0]["code"]) == [(MDC, "196660")]


@pytest.mark.parametrize("samples", ["1^2^3", "1^x^3"])
def test_samples_that_cannot_be_sampled_data_stay_as_text_with_their_unit(samples: str) -> None:
    converted = convert(
        MONITOR, f"OBX||NA|131330^MDC_ECG_ELEC_POTL_II^MDC|1.7.6.2|{samples}|266418^MDC_DIM_MILLI_VOLT^MDC"
    )
    (found,) = observations(converted)
    assert found["valueString"] == samples.replace("^", " ")
    assert found["note"] == [{"text": "Units: MDC_DIM_MILLI_VOLT"}]


def test_a_measurement_status_does_what_the_guide_says() -> None:
    flags = {
        "DEMO": "1.1.1.1",
        "INV": "1.1.1.2",
        "NAV": "1.1.1.3",
        "EARLY": "1.1.1.4",
        "QUES": "1.1.1.5",
        "H": "1.1.1.6",
    }
    lines = [number(SPO2, path, "97", PERCENT, more=f"||{flag}|||F") for flag, path in flags.items()]
    demo, invalid, none, early, questionable, high = observations(convert(MONITOR, *lines))
    assert demo["meta"]["security"][0]["code"] == "HTEST"
    assert (invalid["status"], codings(invalid["dataAbsentReason"])[0][1]) == ("entered-in-error", "error")
    assert "97" in invalid["note"][0]["text"]
    assert codings(none["dataAbsentReason"])[0][1] == "not-performed"
    assert early["status"] == "preliminary"
    assert codings(questionable["interpretation"][0])[0][1] == "questionable"
    assert [code for _, code in codings(high["interpretation"][0])] == ["H", "H"]


def test_ids_of_monitors_that_repeat_their_order_number_differ_by_moment() -> None:
    line = number(SPO2, "1.1.1.1", "97", PERCENT)
    first, again = convert(MONITOR, line), convert(MONITOR, line, control="P2")
    later = convert(MONITOR, line, observed="20260101120100+0000")
    assert ids(first) == ids(again)
    assert not (ids(first) & ids(later))
    assert devices(first)[0]["id"] == devices(later)[0]["id"]


def ids(converted: Converted) -> set[str]:
    kinds = ("Observation", "DiagnosticReport")
    return {one["id"] for one in converted.resources if one["resourceType"] in kinds}


def visits(pv1: str, **options: str) -> list[str]:
    line = number(SPO2, "1.1.1.1", "97", PERCENT)
    data = pcd(MONITOR, line, **options).replace(b"\rOBR|1", f"\r{pv1}\rOBR|1".encode())
    found = Converter(id_key=PUBLIC_KEY).convert(data, at_us=0).resources
    return [one["id"] for one in found if one["resourceType"] == "Encounter"]


def test_a_visit_without_a_number_is_one_for_all_snapshots_that_say_the_same_of_it() -> None:
    first = visits("PV1||I|ICU^1^7")
    assert len(first) == 1
    assert visits("PV1|1|I|ICU^1^7||", control="P2", observed="20260101130000+0000") == first
    assert visits("PV1||I|ICU^1^8", control="P3") != first
    assert visits("PV1||I|ICU^1^7", patient="10043") != first
    nobody = [visits("PV1||I|ICU^1^7", patient="", control=control) for control in ("P4", "P5")]
    assert nobody[0] != nobody[1], "whose visit it is, nobody says: nothing is fused"


@pytest.mark.parametrize("lines", BROKEN.values(), ids=BROKEN)
def test_a_broken_tree_loses_nothing_and_gives_valid_resources(lines: list[str]) -> None:
    converted = convert(*lines)
    for resource in converted.resources:
        assert validate(plain(resource)) == []
    known = {f"{one['resourceType']}/{one['id']}" for one in converted.resources}
    for resource in converted.resources:
        device = resource.get("device", {}).get("reference")
        assert device is None or device in known
    assert coverage(pcd(*lines)).lost == ()
    text = str([plain(one) for one in converted.resources])
    for line in lines:
        value = [*line.split("|"), "", "", "", "", ""][5]
        assert (
            len(value) > 20
            or value in ("", "20261399000000")
            or value.replace("-0.0", "0") in text
            or "^" in value
        )


def test_a_monitor_without_a_patient_sends_no_order_and_loses_nothing() -> None:
    lines = (MONITOR, number(SPO2, "1.1.1.1", "97", PERCENT))
    converted = convert(*lines, patient="")
    assert not [issue for issue in converted.issues if issue.severity == "error"]
    assert not [one for one in converted.resources if one["resourceType"] in ("ServiceRequest", "Patient")]
    assert coverage(pcd(*lines, patient="")).lost == ()


def test_nothing_of_a_patient_is_in_an_issue() -> None:
    converted = convert(MONITOR, number(SPO2, "1.1.1.1", "SECRET", "999^SECRET^MDC"), patient="SECRET7")
    assert converted.issues
    assert "SECRET" not in "".join(map(str, converted.issues))


def test_the_lint_knows_the_converters_of_pcd_01_without_a_message_having_been_converted() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hdg.ingestion.hl7v2.lint"], capture_output=True, check=False, text=True
    )
    assert [line for line in done.stdout.splitlines() if "pcd" in line.lower()] == []
