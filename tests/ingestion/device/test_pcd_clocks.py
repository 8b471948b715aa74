"""Clocks of devices in PCD-01: coincident time stamps, correction by them, and both times kept."""

from __future__ import annotations

from typing import Any

from tests.pcd_messages import (
    BPM,
    CUFF,
    GATEWAY,
    MONITOR,
    PERCENT,
    PULSE,
    SPO2,
    by_code,
    codings,
    convert,
    devices,
    number,
    observations,
)

CLOCK = "OBX||DTM|67975^MDC_ATTR_TIME_ABS^MDC|1.0.0.5|20181111113215||||||R|||20181111113810-0500"
TICKS = "OBX||NM|67983^MDC_ATTR_TIME_REL^MDC|1.0.0.5|800000||||||R|||20171127053144.555-0500"


def at(code: str, when: str, path: str = "1.0.0.9") -> str:
    return number(code, path, "60", BPM, more=f"|||||R|||{when}")


def component(found: dict[str, Any], code: str) -> dict[str, Any]:
    one: dict[str, Any]
    (one,) = [part for part in found["component"] if codings(part["code"])[0][1] == code]
    return one


def test_a_time_without_offset_is_corrected_by_the_devices_clock_and_both_times_are_kept() -> None:
    found = observations(convert(GATEWAY, CUFF, CLOCK, at(PULSE, "20181111113220")))
    pulse, clock = by_code(found, "149530"), by_code(found, "67975")
    assert pulse["effectiveDateTime"] == "2018-11-11T11:38:15-05:00"
    assert component(pulse, "67984")["valueDateTime"] == "2018-11-11T11:32:20-05:00"
    assert clock["effectiveDateTime"] == "2018-11-11T11:38:10-05:00"
    assert clock["valueDateTime"] == "2018-11-11T11:32:15-05:00"
    stamps = [one["valueReference"]["reference"] for one in pulse["extension"] if "Coincident" in one["url"]]
    assert stamps == [f"Observation/{clock['id']}"]


def test_a_time_with_an_offset_is_on_the_gateways_line_and_stays() -> None:
    pulse = by_code(observations(convert(GATEWAY, CUFF, CLOCK, at(PULSE, "20181111113220-0500"))), "149530")
    assert pulse["effectiveDateTime"] == "2018-11-11T11:32:20-05:00"
    assert "component" not in pulse


def test_a_clock_after_the_measurement_corrects_it_too() -> None:
    pulse = by_code(observations(convert(at(PULSE, "20181111113220"), CLOCK, CUFF, GATEWAY)), "149530")
    assert pulse["effectiveDateTime"] == "2018-11-11T11:38:15-05:00"


def test_the_clock_of_one_device_does_not_correct_another() -> None:
    other = CUFF.replace("|1|", "|2|").replace("711000FEFF5F49B0", "811000FEFF5F49B0")
    pulse = by_code(
        observations(convert(GATEWAY, CUFF, other, CLOCK, at(PULSE, "20181111113220", "2.0.0.9"))), "149530"
    )
    assert pulse["effectiveDateTime"] == "2018-11-11T11:32:20+00:00", "in the zone of MSH-7"


def test_a_count_of_ticks_is_put_on_the_gateways_line() -> None:
    facet = "OBX||NM|67985^MDC_ATTR_TIME_STAMP_REL^MDC|1.0.0.9.1|864000"
    found = observations(convert(GATEWAY, CUFF, TICKS, at(PULSE, ""), facet))
    pulse, clock = by_code(found, "149530"), by_code(found, "67983")
    assert pulse["effectiveDateTime"] == "2017-11-27T05:31:52.555-05:00"
    assert component(pulse, "67985")["valueQuantity"]["value"] == 108_000_000
    assert clock["valueQuantity"] == {
        "value": 100_000_000,
        "unit": "us",
        "system": "http://unitsofmeasure.org",
        "code": "us",
    }


def test_a_clock_that_shows_nothing_is_said_to_be_unknown() -> None:
    found = observations(
        convert(GATEWAY, CUFF, CLOCK.replace("20181111113215", ""), at(PULSE, "20181111113220"))
    )
    assert codings(by_code(found, "67975")["dataAbsentReason"])[0][1] == "unknown"
    assert by_code(found, "149530")["effectiveDateTime"] == "2018-11-11T11:32:20+00:00"


def test_facets_about_time_make_a_period_and_keep_the_devices_time() -> None:
    found = by_code(
        observations(
            convert(
                MONITOR,
                number(SPO2, "1.0.0.9", "97", PERCENT, more="|||||R|||20260101120000+0000"),
                "OBX||NM|68185^MDC_ATTR_TIME_PD_MSMT_ACTIVE^MDC|1.0.0.9.1|5.5|264320^MDC_DIM_SEC^MDC",
                "OBX||DTM|67984^MDC_ATTR_TIME_STAMP_ABS^MDC|1.0.0.9.2|20260101115955",
            )
        ),
        "150456",
    )
    assert component(found, "67984")["valueDateTime"] == "2026-01-01T11:59:55+00:00"
    assert found["effectivePeriod"] == {
        "start": "2026-01-01T12:00:00+00:00",
        "end": "2026-01-01T12:00:05.500+00:00",
    }


def test_a_time_of_the_device_that_no_zone_is_known_for_stays_as_text() -> None:
    facet = "OBX||DTM|67984^MDC_ATTR_TIME_STAMP_ABS^MDC|1.0.0.9.2|20260101115955"
    converted = convert(
        MONITOR, number(SPO2, "1.0.0.9", "97", PERCENT), facet, sent="20260101120010", observed=""
    )
    assert component(by_code(observations(converted), "150456"), "67984")["valueString"] == "20260101115955"


def test_the_gateways_own_clock_is_a_property_of_the_gateway() -> None:
    line = "OBX||DTM|67975^MDC_ATTR_TIME_ABS^MDC|0.0.0.5|20181111113215"
    (gateway,) = devices(convert(GATEWAY, line))
    assert gateway["property"][0]["valueCode"] == [{"text": "20181111113215"}]


def test_a_measurement_sent_again_with_another_correction_has_the_same_id() -> None:
    lines = (GATEWAY, CUFF, CLOCK, at(PULSE, "20181111113220"))
    again = (GATEWAY, CUFF, CLOCK.replace("20181111113215", "20181111113214"), lines[3])
    first, second = (by_code(observations(convert(*one)), "149530") for one in (lines, again))
    assert first["id"] == second["id"]
    assert first["effectiveDateTime"] != second["effectiveDateTime"]
