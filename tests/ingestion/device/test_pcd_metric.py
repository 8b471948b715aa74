"""DeviceMetrics of PCD-01: one for what a device can measure, whatever the message counts, beside its Observations."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.fhir.json import loads
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from tests.case_pairs import references
from tests.pcd_messages import (
    BPM,
    CUFF,
    GATEWAY,
    MMHG,
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
    plain,
)

MDC, UCUM = "urn:iso:std:iso:11073:10101", "http://unitsofmeasure.org"
CHANNEL = (
    "OBX|||70666^MDC_DEV_ECG_RESP_VMD^MDC|1.2.0.0|||||||X",
    "OBX|||70739^MDC_DEV_CARD_RATE_CHAN^MDC|1.2.1.0|||||||X",
)
RATE = number(PULSE, "1.2.1.1", "60", BPM)
CALIBRATION = "OBX||CWE|0^MDC_ATTR_METRIC_CALIB^MDC|1.2.1.1.1|{}||||||R|||20260101110000+0000"


def metrics(converted: Converted) -> list[dict[str, Any]]:
    found = [plain(one) for one in converted.resources if one["resourceType"] == "DeviceMetric"]
    assert [validate(one) for one in found if validate(one)] == []
    known = {f"{one['resourceType']}/{one['id']}" for one in converted.resources}
    assert {one for one in references(found) if "/" in one} <= known
    return found


def test_a_bedside_measurement_names_its_metric_whose_source_is_the_monitor_and_whose_parent_the_channel() -> (
    None
):
    converted = convert(MONITOR, *CHANNEL, RATE)
    (metric,) = metrics(converted)
    system, _, channel = devices(converted)
    assert metric["source"] == {"reference": f"Device/{system['id']}"}
    assert metric["parent"] == {"reference": f"Device/{channel['id']}"}
    assert codings(metric["type"])[0] == (MDC, "149530")
    assert codings(metric["unit"]) == [(UCUM, "/min"), (MDC, "264864")]
    assert metric["category"] == "measurement"
    assert not {"meta", "operationalStatus"} & set(metric)
    assert by_code(observations(converted), "149530")["device"] == {
        "reference": f"DeviceMetric/{metric['id']}"
    }


def test_a_metric_of_the_monitor_itself_has_no_parent() -> None:
    (metric,) = metrics(convert(MONITOR, number(SPO2, "1.1.1.1", "97", PERCENT)))
    assert "parent" not in metric


def test_the_metric_of_the_guides_example_comes_out_and_the_observation_names_the_device(cases: Any) -> None:
    wanted = loads((cases / "device" / "phd" / "bp-devicemetric-example.json").read_bytes())
    members = (number("150021^MDC_PRESS_BLD_NONINV_SYS^MDC", "1.0.1.1", "120", MMHG),)
    compound = "OBX|||150020^MDC_PRESS_BLD_NONINV^MDC|1.0.1|||||||X|||20260101115900+0000"
    converted = convert(GATEWAY, CUFF, compound, *members)
    (metric,) = metrics(converted)
    assert metric["meta"] == wanted["meta"]
    assert metric["category"] == wanted["category"]
    for element in ("type", "unit"):
        assert wanted[element]["coding"][0] in metric[element]["coding"]
    cuff = next(one for one in devices(converted) if one.get("specialization"))
    assert metric["source"] == {"reference": f"Device/{cuff['id']}"}
    assert by_code(observations(converted), "150020")["device"] == metric["source"]


def test_one_metric_in_many_messages_is_one_however_obx_4_counts() -> None:
    first = convert(MONITOR, number(SPO2, "1.1.1.1", "97", PERCENT), number(SPO2, "1.1.1.2", "95", PERCENT))
    later = convert(
        MONITOR, number(SPO2, "1.7.3.9", "96", PERCENT), control="P2", observed="20260102120000+0000"
    )
    assert [one["id"] for one in metrics(first)] == [one["id"] for one in metrics(later)]
    assert plain(metrics(first)[0]) == plain(metrics(later)[0])


def test_metrics_of_two_devices_or_of_two_codes_are_two() -> None:
    other = MONITOR.replace("|1.0.0.0|", "|2.0.0.0|").replace("A037009A0053DE", "A037009A0053DF")
    converted = convert(
        MONITOR,
        other,
        number(SPO2, "1.1.1.1", "97", PERCENT),
        number(SPO2, "2.1.1.1", "97", PERCENT),
        number(PULSE, "1.1.1.2", "60", BPM),
    )
    assert len({one["id"] for one in metrics(converted)}) == 3


@pytest.mark.parametrize(
    ("method", "category"),
    [
        ("AMEAS^auto-measurement^MDC", "measurement"),
        ("MSET^manual-setting^MDC", "setting"),
        ("ACALC^auto-calculation^MDC", "calculation"),
        ("UNSPEC^mcat-unspec^MDC", "unspecified"),
        ("PALP^by hand^L", "measurement"),
        ("", "measurement"),
    ],
)
def test_the_category_is_that_of_obx_17(method: str, category: str) -> None:
    line = number(SPO2, "1.1.1.1", "97", PERCENT, more=f"|||||R||||||{method}")
    (metric,) = metrics(convert(MONITOR, line))
    assert metric["category"] == category


@pytest.mark.parametrize(
    ("code", "category"),
    [("999999^MDC_VENT_RATE_SETTING^MDC", "setting"), ("999998^MDC_SOMETHING^MDC", "unspecified")],
)
def test_without_obx_17_a_setting_is_known_by_its_name_and_nothing_is_guessed(
    code: str, category: str
) -> None:
    (metric,) = metrics(convert(MONITOR, number(code, "1.1.1.1", "12", BPM)))
    assert metric["category"] == category


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("2^calibrated", {"state": "calibrated"}),
        ("1^cal-offset(1)~1^cal-required(1)", {"type": "offset", "state": "calibration-required"}),
    ],
)
def test_a_calibration_stands_in_the_metric_with_its_time(value: str, wanted: dict[str, str]) -> None:
    converted = convert(MONITOR, *CHANNEL, RATE, CALIBRATION.format(value))
    (metric,) = metrics(converted)
    assert metric["calibration"] == [{**wanted, "time": "2026-01-01T11:00:00+00:00"}]
    assert "component" not in by_code(observations(converted), "149530")


@pytest.mark.parametrize("lines", [[MONITOR, *CHANNEL, RATE], [RATE]], ids=["odd value", "no device"])
def test_a_calibration_that_has_no_place_stays_with_its_measurement(lines: list[str]) -> None:
    value = "9^unheard-of" if len(lines) > 1 else "2^calibrated"
    (found,) = observations(convert(*lines, CALIBRATION.format(value)))
    assert value.partition("^")[2] in str(found["component"])


def test_without_a_device_or_a_code_there_is_no_metric() -> None:
    converted = convert(
        MONITOR, number("^MDC_NOBODY_KNOWS^MDC", "1.1.1.1", "5"), number(SPO2, "2.1.1.1", "97")
    )
    assert metrics(converted) == []
    assert {
        one.get("device", {}).get("reference", "Device/").partition("/")[0] for one in observations(converted)
    } == {"Device"}


def test_a_unit_that_no_map_knows_stays_as_sent_and_one_that_is_missing_is_left_out() -> None:
    (strange,) = metrics(convert(MONITOR, number(SPO2, "1.1.1.1", "97", "999^MDC_DIM_ODD^MDC")))
    assert codings(strange["unit"]) == [(MDC, "999")]
    (bare,) = metrics(convert(MONITOR, number(SPO2, "1.1.1.1", "97")))
    assert "unit" not in bare


def test_two_units_of_one_metric_in_a_message_are_reported_and_the_first_stays() -> None:
    lines = [
        number("150364^MDC_TEMP_BODY^MDC", f"1.1.1.{at}", "37", unit)
        for at, unit in enumerate((BPM, PERCENT), 1)
    ]
    converted = convert(MONITOR, *lines)
    (metric,) = metrics(converted)
    assert codings(metric["unit"])[0] == (UCUM, "/min")
    assert [issue.code for issue in converted.issues if "DeviceMetric" in issue.text] == ["conflict"]
