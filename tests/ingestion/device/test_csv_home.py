"""CSV files of home measurements: what the table says of the columns, exact places of errors, samples in segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hdg.errors import DeviceError, TableError
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.device.convert import Converter, Input
from hdg.ingestion.device.csv_table import findings
from hdg.ingestion.device.kinds import kind_of
from hdg.ingestion.sender import Sender

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "home-measurements.csv"
KEY = b"k" * 32


def pieces(text: str | bytes, patient: str = "p1", **sender: Any) -> list[Converted]:
    data = text if isinstance(text, bytes) else text.encode()
    given = Input.of_bytes(data, name="diary.csv", patient=patient, kind="csv")
    return list(Converter(id_key=KEY).pieces(given, Sender("", "home", **sender), at_us=1))


def convert(text: str | bytes, patient: str = "p1", **sender: Any) -> Converted:
    (piece,) = pieces(text, patient, **sender)
    return piece


def observations(converted: Converted) -> list[dict[str, Any]]:
    return [one for one in converted.resources if one["resourceType"] == "Observation"]


def by_loinc(converted: Converted, code: str) -> list[dict[str, Any]]:
    return [one for one in observations(converted) if one["code"]["coding"][0]["code"] == code]


def table(folder: Path, *rows: str) -> Path:
    (folder / "device" / "home").mkdir(parents=True)
    header = "source,name,target,as,map,when,default,note"
    (folder / "device" / "home" / "readings.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_the_example_becomes_valid_resources_with_nothing_lost() -> None:
    converted = convert(EXAMPLE.read_bytes())
    assert [issue for one in converted.resources for issue in validate(one)] == []
    assert converted.issues == ()
    assert len(observations(converted)) == 8
    pressure = by_loinc(converted, "85354-9")[0]
    assert [part["valueQuantity"]["value"] for part in pressure["component"]] == [121, 79]
    assert pressure["note"] == [{"text": "before breakfast"}]
    assert b'"value":71.20' in dumps(by_loinc(converted, "29463-7")[0])


def test_a_row_with_a_device_was_measured_and_one_without_was_typed_in() -> None:
    converted = convert(EXAMPLE.read_bytes())
    typed, measured = by_loinc(converted, "85354-9")
    assert {tag["code"] for tag in typed["meta"]["tag"]} == {"PATRPT", "PATAST"}
    assert {tag["code"] for tag in measured["meta"]["tag"]} == {"PATRPT", "DEVAST"}
    assert measured["device"]["reference"].startswith("Device/")


def test_what_a_meter_shows_instead_of_a_number_is_a_reason() -> None:
    for word, reason in (("HI", "positive-infinity"), ("lo", "negative-infinity"), ("---", "not-performed")):
        converted = convert(f"date,glucose (mg/dl)\n2026-02-27T07:00:00Z,{word}\n")
        (one,) = observations(converted)
        assert one["dataAbsentReason"]["coding"][0]["code"] == reason
        assert converted.issues == ()


def test_errors_name_file_line_and_column_and_cost_only_what_they_must() -> None:
    text = "date,pulse,weight\n2026-02-27T07:00:00Z,6o,71.2\nyesterday,60,70\n2026-02-28T07:00:00Z,61,\n"
    converted = convert(text)
    assert [one["valueQuantity"]["value"] for one in by_loinc(converted, "8867-4")] == [61]
    assert len(by_loinc(converted, "29463-7")) == 1
    assert [(issue.severity, issue.place) for issue in converted.issues] == [
        ("error", "diary.csv:2:2"),
        ("error", "diary.csv:3:1"),
    ]
    assert "6o" not in str(converted.issues)


def test_a_line_is_counted_as_an_editor_shows_it() -> None:
    text = 'date,pulse,comment\n2026-02-27T07:00:00Z,60,"two\nlines"\n2026-02-28T07:00:00Z,x,\n'
    assert [issue.place for issue in convert(text).issues] == ["diary.csv:4:2"]


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("date;puls\n27.02.2026 07:05;60\n", "2026-02-27T07:05:00+01:00"),
        ("date\tpulse\n2026-02-27 07:05\t60\n", "2026-02-27T07:05:00+01:00"),
        ("Datum,Uhrzeit,Puls\n27.02.2026,07:05,60\n", "2026-02-27T07:05:00+01:00"),
        ("date,pulse\n2026-02-27,60\n", "2026-02-27"),
        ("date,pulse\n2026-07-27 07:05,60\n", "2026-07-27T07:05:00+02:00"),
        ("\ufeffdate,pulse\n2026-02-27T07:05:00.5-05:00,60\n", "2026-02-27T07:05:00.500000-05:00"),
    ],
)
def test_separators_formats_and_zones(text: str, when: str) -> None:
    (one,) = observations(convert(text, zone="Europe/Berlin"))
    assert one["effectiveDateTime"] == when


def test_a_time_without_any_zone_is_cut_to_its_date_and_said() -> None:
    converted = convert("date,pulse\n2026-02-27 07:05,60\n")
    assert observations(converted)[0]["effectiveDateTime"] == "2026-02-27"
    assert converted.issues[0].place == "diary.csv:2:1"


@pytest.mark.parametrize(
    "data",
    [
        b"sep=;\r\nDatum;Uhrzeit;Puls\r\n27.02.2026;07:05;62\r\n",
        b"\xef\xbb\xbfsep=;\r\nDatum;Uhrzeit;Puls\r\n27.02.2026;07:05;62\r\n",
        "\ufeffDatum\tUhrzeit\tPuls\r\n27.02.2026\t07:05\t62\r\n".encode("utf-16-le"),
        "\ufeffDatum\tUhrzeit\tPuls\r\n27.02.2026\t07:05\t62\r\n".encode("utf-16-be"),
        b'Datum,Uhrzeit,Puls\r\n"=""27.02.2026""","=""07:05""","=""62"""\r\n',
    ],
)
def test_what_spreadsheets_write_around_a_table_is_no_part_of_it(data: bytes) -> None:
    assert kind_of(data) == "csv"
    (pulse,) = by_loinc(convert(data, zone="Europe/Berlin"), "8867-4")
    assert (pulse["effectiveDateTime"], dumps(pulse["valueQuantity"]["value"])) == (
        "2026-02-27T07:05:00+01:00",
        b"62",
    )


def test_the_same_value_of_two_devices_or_at_two_times_of_a_day_is_two_measurements() -> None:
    """Without a zone the times are cut to their date: they still tell the rows apart. The same row twice is one."""
    rows = "2026-01-02 08:00,70,A\n2026-01-02 08:00,70,B\n2026-01-02 20:00,70,A\n2026-01-02 20:00,70,A\n"
    for zone in (None, "Europe/Berlin"):
        converted = convert(f"date,weight_kg,device\n{rows}", zone=zone)
        assert len(observations(converted)) == 3
        assert not [issue for issue in converted.issues if issue.code == "conflict"]
        assert convert(f"date,weight_kg,device\n{rows}", zone=zone).resources == converted.resources


def test_places_count_the_line_that_tells_the_separator() -> None:
    found = convert(
        "sep=;\nDatum;Puls;Neu\n27.02.2026 07:05;x;\n27.02.2026 07:05;62;\n", zone="Europe/Berlin"
    )
    assert [issue.place for issue in found.issues] == ["diary.csv:2:3", "diary.csv:3:2"]


def test_a_point_that_may_be_of_thousands_costs_its_measurement_and_makes_none_that_is_wrong() -> None:
    found = convert("Datum;Schritte;Gewicht\n27.02.2026;12.345;71.5\n", zone="Europe/Berlin")
    assert not by_loinc(found, "55423-8")
    assert len(by_loinc(found, "29463-7")) == 1
    assert ("error", "diary.csv:2:2") in {(issue.severity, issue.place) for issue in found.issues}
    assert by_loinc(convert("date,steps\n2026-02-27,12.345\n"), "55423-8")


def test_a_decimal_comma_is_one_only_where_semicolons_separate() -> None:
    (one,) = observations(convert("date;weight\n2026-02-27;71,20\n"))
    assert b'"value":71.20' in dumps(one)
    with pytest.raises(DeviceError, match=r"diary\.csv:2:2: .*not a number"):
        convert('date,weight\n2026-02-27,"71,20"\n')


def test_a_column_that_no_row_has_is_named() -> None:
    converted = convert("date,pulse,mood\n2026-02-27,60,good\n")
    assert [(issue.place, "mood" in issue.text) for issue in converted.issues] == [("diary.csv:1:3", True)]


def test_people_in_one_file_are_told_apart(tmp_path: Path) -> None:
    text = "date,patient,pulse\n2026-02-27,a,60\n2026-02-27,b,61\n2026-02-27,,62\n"
    found = pieces(text, patient="")
    assert len({piece.patient_id for piece in found}) == 2
    assert [issue.place for piece in found for issue in piece.issues] == ["diary.csv:4:2"]
    with pytest.raises(DeviceError, match=r"diary\.csv:3:2: .*several people"):
        pieces(text)
    with pytest.raises(DeviceError, match="nothing says whose"):
        pieces("date,pulse\n2026-02-27,60\n", patient="")


def test_a_site_says_what_its_own_columns_are(tmp_path: Path) -> None:
    mappings = table(
        tmp_path,
        "Tag,Day,effectiveDateTime,dateTime,,,format=%d/%m/%y; zone=Asia/Seoul,",
        "HF,Pulse,valueQuantity,quantity,,,code=LOINC#8867-4; unit=/min; text=Pulse,",
        "Nr,Number,,,,,,a number of the sheet",
    )
    converted = convert("Tag,HF,Nr\n27/02/26 07:00,60,1\n", mappings=mappings)
    (one,) = observations(converted)
    assert one["effectiveDateTime"] == "2026-02-27T07:00:00+09:00"
    assert converted.issues == ()


@pytest.mark.parametrize(
    "row",
    [
        "HF,Pulse,valueQuantity,quantity,,,unit=/min,",
        "HF,Pulse,valueQuantity,quantity,,,code=NOPE#1,",
        "HF,Pulse,valueQuantity,quantity,nope,,code=LOINC#1,",
        "HF,Pulse,valueInteger,integer,,,code=LOINC#1,",
        "HF,Pulse,valueQuantity,quantity,,,colour=red,",
        "HF,Pulse,valueSampledData,sampled,,,code=LOINC#1,",
        "HF,Pulse,component[bp].valueQuantity,quantity,,,code=LOINC#1,",
    ],
)
def test_a_wrong_row_of_a_table_is_named_with_its_line(tmp_path: Path, row: str) -> None:
    mappings = table(tmp_path, "Tag,Day,effectiveDateTime,dateTime,,,,", row)
    with pytest.raises(TableError, match=r"readings\.csv:3"):
        convert("Tag,HF\n2026-02-27,60\n", mappings=mappings)
    assert [finding.line for finding in findings(mappings)] == [3]


def test_the_shipped_tables_have_no_findings() -> None:
    assert findings() == []


def test_rows_at_a_high_rate_become_segments_and_a_gap_begins_a_new_one() -> None:
    def row(ms: int, value: str) -> str:
        return f"2026-02-27T07:10:{ms // 1000:02}.{ms % 1000:03}+01:00,{value}"

    rows = [row(4 * n, str(n)) for n in range(2600)] + [row(10_500 + 4 * n, "-1.50") for n in range(3)]
    rows.insert(2603, row(10_512, ""))
    converted = convert("t,ecg_uv\n" + "\n".join(rows) + "\n")
    found = observations(converted)
    assert [len(one["valueSampledData"]["data"].split()) for one in found] == [2500, 100, 3]
    assert [one["effectivePeriod"]["start"][17:] for one in found] == [
        "00+01:00",
        "10+01:00",
        "10.500000+01:00",
    ]
    assert found[2]["valueSampledData"]["data"] == "-1.50 -1.50 -1.50"
    assert [issue for one in converted.resources for issue in validate(one)] == []


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "date,mood\n2026-02-27,x\n", b"date,pulse\n\xff\xfe,1\n", 'date,pulse\n"2026']
)
def test_what_is_no_such_file_is_an_error(text: str | bytes) -> None:
    with pytest.raises(DeviceError):
        convert(text)
