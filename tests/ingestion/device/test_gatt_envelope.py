"""The envelope of a body-sensor gateway: whose data, on which clock, in what shape; and streams in segments."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from hdg.errors import DeviceError
from hdg.fhir.ids import resource_id
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.device.convert import Converter, Input
from hdg.ingestion.sender import Sender

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
KEY = b"k" * 32
PRESSURE = "1e7500480057 00ea07021b07030f3e00010400".replace(" ", "")
DEVICE = {"id": "AA-BB", "manufacturer": "Example"}


def convert(
    envelope: object, *, patient: str = "p1", is_reported: bool | None = None, zone: str | None = None
) -> Converted:
    data = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    given = Input.of_bytes(data, patient=patient, is_reported=is_reported, kind="envelope")
    (piece,) = Converter(id_key=KEY).pieces(given, Sender("", "home", zone=zone), at_us=1_000_000)
    return piece


def envelope(**fields: Any) -> dict[str, Any]:
    one = {"characteristic": "2A35", "encoding": "hex", "value": PRESSURE}
    return {"device": DEVICE, "received": "2026-02-27T07:10:00+01:00", "measurements": [one], **fields}


def observations(converted: Converted) -> list[dict[str, Any]]:
    return [one for one in converted.resources if one["resourceType"] == "Observation"]


def coded(converted: Converted, code: str) -> dict[str, Any]:
    (found,) = [one for one in observations(converted) if one["code"]["coding"][0]["code"] == code]
    return found


def stream(**fields: Any) -> dict[str, Any]:
    made = {
        "code": 131329,
        "unit": "uV",
        "periodMs": 4,
        "start": "2026-02-27T07:10:00+01:00",
        "samples": [1, 2],
    }
    return {"device": DEVICE, "streams": [{**made, **fields}]}


@pytest.mark.parametrize("name", ["blood-pressure-gateway.json", "ecg-stream.json"])
def test_the_examples_become_valid_resources_that_all_resolve(name: str) -> None:
    converted = convert((EXAMPLES / name).read_bytes(), patient="")
    assert [issue for one in converted.resources for issue in validate(one)] == []
    assert converted.issues == ()
    known = {f"{one['resourceType']}/{one['id']}" for one in converted.resources}
    for one in observations(converted):
        assert one["subject"]["reference"] in known
        assert all(x["valueReference"]["reference"] in known for x in one.get("extension", ()))


def test_the_devices_clock_is_corrected_and_both_times_stay() -> None:
    clock = {"device": "2026-02-27T07:04:55", "gateway": "2026-02-27T07:10:00+01:00"}
    converted = convert(envelope(clock=clock))
    pressure = coded(converted, "150020")
    assert pressure["effectiveDateTime"] == "2026-02-27T07:08:20+01:00"
    stated = [part for part in pressure["component"] if "valueDateTime" in part]
    assert stated[0]["valueDateTime"] == "2026-02-27T07:03:15+01:00"
    both = coded(converted, "67975")
    assert (both["effectiveDateTime"], both["valueDateTime"]) == (
        "2026-02-27T07:10:00+01:00",
        "2026-02-27T07:04:55+01:00",
    )
    references = {
        x["url"].rpartition("/")[2]: x["valueReference"]["reference"] for x in pressure["extension"]
    }
    assert references["CoincidentTimeStampReference"] == f"Observation/{both['id']}"


def test_another_reading_of_the_clocks_makes_no_other_measurement() -> None:
    clock = {"device": "2026-02-27T07:04:55", "gateway": "2026-02-27T07:10:00+01:00"}
    later = {"device": "2026-02-27T08:04:54", "gateway": "2026-02-27T08:10:00+01:00"}
    first, second = (coded(convert(envelope(clock=c)), "150020")["id"] for c in (clock, later))
    assert first == second


def test_a_devices_zone_gives_the_offset_of_that_day() -> None:
    device = {**DEVICE, "zone": "America/New_York"}
    clock = {"device": "2026-03-09T07:00:00", "gateway": "2026-03-09T12:00:00+01:00"}
    converted = convert(envelope(device=device, clock=clock))
    assert (
        coded(converted, "150020")["effectiveDateTime"] == "2026-02-27T06:03:15-05:00"
    )  # clocks agree on 12:03:15Z-1h
    without = convert(envelope(device=device))
    assert coded(without, "150020")["effectiveDateTime"] == "2026-02-27T07:03:15-05:00"


def test_without_any_zone_a_devices_time_is_cut_to_its_date() -> None:
    converted = convert(envelope())
    assert coded(converted, "150020")["effectiveDateTime"] == "2026-02-27"
    assert converted.issues[0].text.startswith("a time without zone or clock reading was cut to its date")
    assert (
        coded(convert(envelope(), zone="Europe/Berlin"), "150020")["effectiveDateTime"]
        == "2026-02-27T07:03:15+01:00"
    )


def test_a_gateways_identifier_names_the_patient_that_hl7_v2_names() -> None:
    identifier = {"authority": "GOOD HEALTH HOSPITAL", "value": "4711"}
    converted = convert(envelope(patient={"identifier": identifier}), patient="")
    assert converted.patient_id == resource_id(KEY, "Patient", "home", ("#GOOD HEALTH HOSPITAL", "4711"))
    system = {"system": "https://example.org/ids", "value": "4711"}
    other = convert(envelope(patient={"identifier": system}), patient="")
    assert other.patient_id == resource_id(KEY, "Patient", "home", ("https://example.org/ids", "4711"))


def test_a_number_without_its_assigner_names_nobody() -> None:
    for told in (None, {}, {"identifier": {"value": "4711"}}, {"identifier": {"system": "x"}}):
        with pytest.raises(DeviceError, match="nothing says whose"):
            convert(envelope(patient=told), patient="")


def test_an_envelope_about_another_than_the_caller_is_refused() -> None:
    identifier = {"system": "https://example.org/ids", "value": "4711"}
    for other in ({"id": "p2"}, {"identifier": identifier}):
        with pytest.raises(DeviceError, match="another patient"):
            convert(envelope(patient=other), patient="p1")
    own = resource_id(KEY, "Patient", "home", ("https://example.org/ids", "4711"))
    assert convert(envelope(patient={"identifier": identifier}), patient=own).patient_id == own


def test_what_is_no_id_names_nobody() -> None:
    for given in ({"patient": "a/b"}, {"patient": ""}):
        with pytest.raises(DeviceError, match="not an id"):
            convert(envelope(patient={"id": "../x"}), **given)


def test_marks_say_who_measured_and_who_handed_it_in() -> None:
    def marks(**how: Any) -> set[str]:
        fields = {name: how.pop(name) for name in ("entered",) if name in how}
        return {tag["code"] for tag in coded(convert(envelope(**fields), **how), "150020")["meta"]["tag"]}

    assert marks() == {"DEVAST"}
    assert marks(is_reported=True) == {"PATRPT", "DEVAST"}
    assert marks(is_reported=True, entered=True) == {"PATRPT", "PATAST"}


def test_status_bits_belong_to_their_measurement() -> None:
    converted = convert(envelope())
    status = coded(converted, "8410608")
    assert status["derivedFrom"] == [{"reference": f"Observation/{coded(converted, '150020')['id']}"}]
    assert [part["code"]["coding"][0]["display"] for part in status["component"]] == ["irregular-pulse"]


def test_the_context_of_a_glucose_measurement_belongs_to_it_by_its_number() -> None:
    glucose = bytes.fromhex("0b0500ea07021b07030f0000") + bytes.fromhex("6cb0") + b"\x11\x00\x00"
    meal = b"\x02\x05\x00\x01"
    measurements = [
        {"characteristic": uuid, "value": base64.b64encode(data).decode()}
        for uuid, data in (("00002a18-0000-1000-8000-00805f9b34fb", glucose), ("0x2A34", meal))
    ]
    converted = convert(envelope(measurements=measurements))
    value = coded(converted, "160184")
    assert b'"value":108,"unit":"mg/dL"' in dumps(value)
    assert coded(converted, "8417864")["derivedFrom"] == [{"reference": f"Observation/{value['id']}"}]


def test_special_values_are_absent_with_their_reason() -> None:
    one = {"characteristic": "2A1C", "encoding": "hex", "value": "00ffff7f00"}
    (temperature,) = observations(convert(envelope(measurements=[one])))
    assert temperature["dataAbsentReason"]["coding"][0]["code"] == "not-a-number"
    assert "valueQuantity" not in temperature


@pytest.mark.parametrize(
    "fields",
    [
        {"device": None},
        {"device": {"zone": "x"}},
        {"measurements": []},
        {"measurements": None},
        {"measurements": [{"characteristic": "2A35", "value": "!"}]},
        {"measurements": [{"characteristic": "2A35", "value": "zz", "encoding": "hex"}]},
        {"measurements": [{"characteristic": "2A35", "value": "00", "encoding": "hex"}]},
        {"measurements": [{"characteristic": 1}]},
        {"measurements": [3]},
    ],
)
def test_a_broken_envelope_is_an_error_with_a_place(fields: dict[str, Any]) -> None:
    with pytest.raises(DeviceError) as caught:
        convert({"characteristic": "", **envelope(**fields)} if "device" in fields else envelope(**fields))
    assert caught.value.place


# --- streams --------------------------------------------------------------------------------------------------


def test_a_stream_is_cut_into_segments_whose_times_are_exact() -> None:
    samples = list(range(250 * 25))
    found = observations(convert(stream(samples=samples)))
    assert [len(one["valueSampledData"]["data"].split()) for one in found] == [2500, 2500, 1250]
    assert [one["effectivePeriod"] for one in found] == [
        {"start": "2026-02-27T07:10:00+01:00", "end": "2026-02-27T07:10:09.996000+01:00"},
        {"start": "2026-02-27T07:10:10+01:00", "end": "2026-02-27T07:10:19.996000+01:00"},
        {"start": "2026-02-27T07:10:20+01:00", "end": "2026-02-27T07:10:24.996000+01:00"},
    ]
    together = " ".join(one["valueSampledData"]["data"] for one in found)
    assert together == " ".join(map(str, samples))


def test_times_do_not_drift_when_a_period_is_no_whole_number() -> None:
    data = b'{"device": {"id": "x"}, "streams": [{"code": 131329, "periodMs": 3.90625, "start": '
    data += b'"2026-02-27T07:10:00Z", "samples": [' + b",".join([b"1"] * 25_600) + b"]}]}"
    found = observations(convert(data))
    starts = [one["effectivePeriod"]["start"] for one in found]
    assert starts[1] == "2026-02-27T07:10:10Z"
    assert starts[-1] == "2026-02-27T07:11:30Z"


def test_a_gap_begins_a_segment_at_its_own_time_and_literals_stay() -> None:
    data = (
        b'{"device": {"id": "x"}, "streams": [{"code": "MDC_ECG_ELEC_POTL_I", "unit": "mV", "periodMs": 4, '
    )
    data += (
        b'"factor": 0.10, "start": "2026-02-27T07:10:00Z", "samples": [1.50, null, null, -2, "E", 3, null]}]}'
    )
    first, second = observations(convert(data))
    assert first["valueSampledData"]["data"] == "1.50"
    assert b'"factor":0.10' in dumps(first)
    assert first["effectiveDateTime"] == "2026-02-27T07:10:00Z"
    assert second["valueSampledData"]["data"] == "-2 E 3"
    assert second["effectivePeriod"]["start"] == "2026-02-27T07:10:00.012000Z"


def test_a_streams_start_on_the_devices_clock_is_corrected() -> None:
    clock = {"device": "2026-02-27T07:04:55", "gateway": "2026-02-27T07:10:00+01:00"}
    converted = convert({**stream(start="2026-02-27T07:00:00"), "clock": clock})
    assert coded(converted, "131329")["effectivePeriod"]["start"] == "2026-02-27T07:05:05+01:00"


@pytest.mark.parametrize(
    "fields",
    [
        {"samples": []},
        {"samples": [True]},
        {"samples": [{}]},
        {"samples": ["x"]},
        {"periodMs": 0},
        {"periodMs": None},
        {"start": "2026-02-27T07:10:00"},
        {"start": "yesterday"},
        {"code": "MDC_NOT_KNOWN_AT_ALL"},
        {"code": -1},
    ],
)
def test_a_broken_stream_is_an_error_with_a_place(fields: dict[str, Any]) -> None:
    with pytest.raises(DeviceError) as caught:
        convert(stream(**fields))
    assert caught.value.place.startswith("[0].streams[0]")


# --- nothing is lost to another -----------------------------------------------------------------------------------


def told(characteristic: str, value: str, **more: Any) -> dict[str, Any]:
    return {"characteristic": characteristic, "encoding": "hex", "value": value, **more}


AT_SEVEN, AT_NINE = (f"1e7500480057 00ea07021b{hour}030f3e00010400".replace(" ", "") for hour in ("07", "13"))
OF_THE_SAME_DAY = [told("2A35", AT_SEVEN), told("2A35", AT_NINE)]
PER_SECOND = [told("2A37", "003c"), told("2A37", "003d")]
WITHOUT_STAMP = [told("2A35", "00780050005a00"), told("2A35", "00820050005a00")]
OF_A_SENSOR = [told("2AA7", "060064000500" + "060065000a00")]
IN_ONE_MINUTE = [told("2AA7", "060064000500" + "060065000500", sessionStart="2026-02-27T07:00:00+01:00")]
IN_A_SESSION_WITHOUT_ZONE = [
    told("2AA7", "060064000500" + "060065000a00", sessionStart="2026-02-27T07:00:00")
]
OF_THE_SAME_SECOND = [told("2A1C", "026d0100ffea07021b07030f"), told("2A1C", "026e0100ffea07021b07030f")]


@pytest.mark.parametrize(
    ("measurements", "code"),
    [
        (OF_THE_SAME_DAY, "150020"),
        (PER_SECOND, "147842"),
        (WITHOUT_STAMP, "150020"),
        (OF_A_SENSOR, "160212"),
        (IN_ONE_MINUTE, "160212"),
        (IN_A_SESSION_WITHOUT_ZONE, "160212"),
        (OF_THE_SAME_SECOND, "150364"),
    ],
)
def test_of_two_measurements_whose_times_come_out_the_same_none_is_lost(
    measurements: list[dict[str, Any]], code: str
) -> None:
    sent = envelope(measurements=measurements)

    def ids(of: dict[str, Any]) -> list[str]:
        return [one["id"] for one in observations(convert(of)) if one["code"]["coding"][0]["code"] == code]

    found = ids(sent)
    assert len(set(found)) == len(found) == 2
    assert ids(sent) == found  # sent again they are the same
    assert ids(envelope(measurements=[*measurements, *measurements])) == found


def test_what_still_takes_the_place_of_another_is_reported() -> None:
    home = Converter(id_key=KEY)
    records = [
        {
            "recordType": "WeightRecord",
            "time": "2026-02-27T07:00:00Z",
            "weight": {"inKilograms": kg},
            "metadata": {"id": "7"},
        }
        for kg in (70, 71)
    ]
    given = Input.of_bytes(json.dumps(records).encode(), patient="p1")
    (piece,) = home.pieces(given, Sender("", "home"), at_us=1_000_000)
    assert len(observations(piece)) == 1
    assert "conflict" in {issue.code for issue in piece.issues}
