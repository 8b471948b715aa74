"""Characteristics of BLE health profiles: every flag and optional field, exact digits, missing and reserved bits."""

from __future__ import annotations

from datetime import datetime

import pytest

from hdg.errors import DeviceError
from hdg.fhir.json import Decimal
from hdg.ingestion.device import gatt
from hdg.ingestion.device.floats import Special, float_bits, sfloat_bits
from hdg.ingestion.device.gatt_bytes import crc_of
from hdg.ingestion.device.gatt_readings import Amount, Choice, Flags, Intervals, Pressures, Reading, Said

STAMP = bytes.fromhex("ea07021b07030f")
WHEN = datetime(2026, 2, 27, 7, 3, 15)


def s(text: str) -> bytes:
    return sfloat_bits(Decimal(text)).to_bytes(2, "little")


def secured(record: bytes) -> bytes:
    return record + crc_of(record).to_bytes(2, "little")


def read(uuid: str, *parts: bytes | int, has_crc: bool = False) -> Said:
    data = b"".join(bytes([part]) if isinstance(part, int) else part for part in parts)
    return gatt.read(uuid, data, has_crc=has_crc)


def values(said: Said) -> dict[str, object]:
    return {reading.key: reading.value for reading in said.readings}


def literal(reading: Reading) -> str:
    assert isinstance(reading.value, Amount)
    number = reading.value.number
    return f"{number.literal if isinstance(number, Decimal) else number} {reading.value.ucum}"


def test_a_blood_pressure_with_every_field() -> None:
    said = read("2A35", 0x1E, s("117"), s("72.5"), s("87"), STAMP, s("62"), 1, b"\x2c\x00")
    pressure, pulse, status = said.readings
    assert isinstance(pressure.value, Pressures)
    parts = [(key, part.number, part.ucum) for key, part in pressure.value.parts]
    assert parts == [
        ("2A35.systolic", 117, "mm[Hg]"),
        ("2A35.diastolic", Decimal("72.5"), "mm[Hg]"),
        ("2A35.mean", 87, "mm[Hg]"),
    ]
    assert (pressure.stamp, pressure.notes) == (WHEN, ("user 1 of the device",))
    assert literal(pulse) == "62 /min"
    assert status.value == Flags(0b0011_0100_0000_0000)  # irregular pulse, over the range, improper position
    assert status.is_about_first
    assert said.issues == []


def test_a_blood_pressure_in_kilopascal_without_options_and_with_no_mean() -> None:
    said = read("2A35", 1, s("15.5"), s("9.6"), b"\xff\x07")
    (pressure,) = said.readings
    assert isinstance(pressure.value, Pressures)
    assert [part.number for _, part in pressure.value.parts] == [Decimal("15.5"), Decimal("9.6"), Special.NAN]
    assert {part.ucum for _, part in pressure.value.parts} == {"kPa"}


def test_reserved_bits_and_bytes_behind_the_end_are_reported_with_their_place() -> None:
    said = read("2A35", 0xE0, s("1"), s("1"), s("1"), b"\x00\x00")
    assert said.issues == [
        ("2A35 byte 0", "bits reserved for future use are set: 0xe0"),
        ("2A35 byte 7", "2 bytes behind the last field are left out"),
    ]


@pytest.mark.parametrize(
    ("uuid", "whole"),
    [
        ("2A35", b"\x1e" + s("117") * 3 + STAMP + s("62") + b"\x01\x04\x00"),
        ("2A18", b"\x1b\x05\x00" + STAMP + b"\x3c\x00" + s("0.00108") + b"\x11\x01\x00"),
        ("2A34", b"\xff\x05\x00\x00\x01" + s("0.045") + b"\x01\x11\x10\x0e\x32\x01" + s("0.005") + s("6.5")),
        ("2A1C", b"\x06" + float_bits(Decimal("36.6")).to_bytes(4, "little") + STAMP + b"\x06"),
        ("2A9D", b"\x0e\xc0\x36" + STAMP + b"\x01\xf0\x00\xe4\x06"),
        ("2A9C", b"\xfe\x0f" + b"\x01\x01" + STAMP + b"\x01" + b"\x02\x02" * 9),
        ("2A5E", b"\x0f" + s("97") + s("60") + STAMP + b"\x00\x01\x00\x00\x00" + s("5.1")),
        ("2A5F", b"\x1f" + s("97") * 6 + b"\x00\x01\x00\x00\x00" + s("5.1")),
        ("2A37", b"\x0f\x48\x00\x10\x00"),
        ("2AA7", secured(b"\x0f\xe3" + s("108") + b"\x05\x00\x00\x00\x00" + s("1") + s("9"))),
    ],
)
def test_bytes_cut_off_anywhere_are_an_error_that_names_the_offset(uuid: str, whole: bytes) -> None:
    gatt.read(uuid, whole)
    for end in range(len(whole)):
        with pytest.raises(DeviceError) as caught:
            gatt.read(uuid, whole[:end])
        assert caught.value.place.startswith(f"{uuid} byte "), end


def test_glucose_moves_units_and_keeps_digits() -> None:
    mass = read("2A18", 0b01011, b"\x05\x00", STAMP, b"\x3c\x00", s("0.00108"), 0x11, b"\x21\x08")
    glucose, location, status = mass.readings
    assert (glucose.key, literal(glucose)) == ("2A18.type.1", "108 mg/dL")
    assert glucose.stamp == datetime(2026, 2, 27, 8, 3, 15)  # base time and an hour of time offset
    assert location.value == Choice("2A18.location.1")
    assert status.value == Flags(0b1000_0100_0000_0000)  # battery low, result too high
    assert status.is_time_fault
    assert mass.sequence == 5
    moles = read("2A18", 0b00110, b"\x06\x00", STAMP, s("0.00540"), 0xF2)
    assert [literal(one) for one in moles.readings] == ["5.40 mmol/L"]
    assert moles.issues == []


def test_a_glucose_measurement_without_a_value_still_tells_its_status() -> None:
    said = read("2A18", 0b01000, b"\x01\x00", STAMP, b"\x02\x00")
    assert [(one.key, one.is_about_first) for one in said.readings] == [("2A18.status", False)]


def test_a_glucose_context_with_every_field() -> None:
    said = read(
        "2A34", 0xFF, b"\x05\x00", 0, 3, s("0.045"), 2, 0x13, b"\x10\x0e", 60, 4, s("0.012"), s("6.5")
    )
    found = {one.key: one for one in said.readings}
    assert literal(found["2A34.carbohydrate.3"]) == "45 g"
    assert found["2A34.meal"].value == Choice("2A34.meal.2")
    assert found["2A34.tester"].value == Choice("2A34.tester.3")
    assert found["2A34.health"].value == Choice("2A34.health.1")
    assert literal(found["2A34.exercise"]) == "3600 s"
    assert found["2A34.exercise"].notes == ("at 60 % of the most",)
    assert literal(found["2A34.medication.4"]) == "12 mL"
    assert literal(found["2A34.hba1c"]) == "6.5 %"
    milligrams = read("2A34", 0x10, b"\x05\x00", 1, s("0.0000050"))
    assert literal(milligrams.readings[0]) == "5.0 mg"


def test_a_temperature_keeps_its_digits_unit_and_place() -> None:
    data = float_bits(Decimal("36.60")).to_bytes(4, "little")
    (one,) = read("2A1C", 0x06, data, STAMP, 6).readings
    assert (one.key, literal(one), one.stamp) == ("2A1C.type.6", "36.60 Cel", WHEN)
    (other,) = read("2A1C", 1, float_bits(Decimal("97.9")).to_bytes(4, "little")).readings
    assert (other.key, literal(other), other.stamp) == ("2A1C", "97.9 [degF]", None)
    assert literal(read("2A1C", 0, b"\x02\x00\x80\x00").readings[0]) == "Special.NEGATIVE_INFINITY Cel"


def test_weight_in_both_systems_with_index_and_height() -> None:
    said = read("2A9D", 0x0E, b"\xa0\x37", STAMP, 255, b"\xf0\x00", b"\xe4\x06")
    assert [literal(one) for one in said.readings] == ["71.200 kg", "24.0 kg/m2", "1.764 m"]
    assert said.readings[0].notes == ()
    said = read("2A9D", 0x09, b"\x52\x3d", b"\xf0\x00", b"\xb6\x02")
    assert [literal(one) for one in said.readings] == ["156.98 [lb_av]", "24.0 kg/m2", "69.4 [in_i]"]
    assert values(read("2A9D", 0, b"\xff\xff"))["2A9D"] == Amount(Special.NRES, "kg")


def test_an_oximeters_spot_check_carries_status_and_conditions() -> None:
    said = read("2A5E", 0x1E, s("97"), s("60"), b"\x20\x41", b"\x01\x20\x00", s("5.1"))
    saturation, pulse, status, amplitude = said.readings
    assert (literal(saturation), literal(pulse), literal(amplitude)) == ("97 %", "60 /min", "5.1 %")
    assert saturation.conditions == ("msmt-ongoing", "questionable")
    assert saturation.notes == ("fully qualified data", "the device's clock was not set")
    assert saturation.supplemental == ("2A5E.spot",)
    assert status.value == Flags(
        0b0010_0000_0000_0001
    )  # extended update, sensor displaced: MDC counts from above


def test_an_oximeters_continuous_values_tell_normal_fast_and_slow() -> None:
    said = read("2A5F", 3, s("97"), s("60"), s("96"), s("61"), s("95"), s("62"))
    found = [(one.key, one.supplemental, literal(one)) for one in said.readings]
    assert found == [
        ("2A5E", (), "97 %"),
        ("2A5E.pulse", (), "60 /min"),
        ("2A5E", ("2A5F.fast",), "96 %"),
        ("2A5E.pulse", ("2A5F.fast",), "61 /min"),
        ("2A5E", ("2A5F.slow",), "95 %"),
        ("2A5E.pulse", ("2A5F.slow",), "62 /min"),
    ]


def test_a_heart_rate_with_energy_and_exact_intervals() -> None:
    said = read("2A37", 0x1D, b"\x2c\x01", b"\x10\x00", b"\x00\x04", b"\x41\x03")
    rate, energy, intervals = said.readings
    assert (literal(rate), literal(energy)) == ("300 /min", "16 kJ")
    assert rate.conditions == ("questionable",)  # contact is supported and not detected
    assert isinstance(intervals.value, Intervals)
    assert [time.literal for time in intervals.value.times] == ["1000", "813.4765625"]
    assert literal(read("2A37", 6, 72).readings[0]) == "72 /min"


def test_records_of_a_glucose_sensor_follow_each_other_and_their_checksum_is_checked() -> None:
    body = b"\x00" + s("108") + b"\x05\x00"
    plain = bytes([len(body) + 1]) + body
    said = gatt.read("2AA7", plain + plain.replace(b"\x05\x00", b"\x0a\x00"))
    assert [(literal(one), one.minutes) for one in said.readings] == [("108 mg/dL", 5), ("108 mg/dL", 10)]
    checked = bytes([len(body) + 3]) + body
    checked += crc_of(checked).to_bytes(2, "little")
    assert len(gatt.read("2AA7", checked, has_crc=True).readings) == 1
    with pytest.raises(DeviceError, match="checksum"):
        gatt.read("2AA7", checked[:-1] + bytes([checked[-1] ^ 1]), has_crc=True)


def test_the_checksum_is_the_published_one() -> None:
    assert crc_of(b"123456789") == 0x6F91


def test_a_checksum_that_nobody_announced_is_known_by_its_length_and_checked() -> None:
    body = b"\x08\x00" + s("108") + b"\x05\x00"
    good = body + crc_of(body).to_bytes(2, "little")
    said = gatt.read("2AA7", good)
    assert (len(said.readings), said.issues) == (1, [])
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] ^= 0x10
        with pytest.raises(DeviceError):
            gatt.read("2AA7", bytes(damaged))
    without = gatt.read("2AA7", body + b"\x00\x00", has_crc=False)
    assert "behind the last field" in without.issues[0][1]


def test_alarms_and_trend_of_a_glucose_sensor_are_kept() -> None:
    body = b"\xe3" + s("54") + b"\x05\x00\x20\x01\x05" + s("-1.5") + s("80")
    glucose, trend = gatt.read("2AA7", bytes([len(body) + 1]) + body).readings
    assert glucose.notes == (
        "general device fault",
        "time synchronization required",
        "below the patient's low level",
        "below the hypo level",
        "quality 80 %",
    )
    assert glucose.conditions == ("questionable",)
    assert glucose.is_time_fault
    assert literal(trend) == "-1.5 mg/dL/min"


def test_a_date_that_is_none_is_no_time() -> None:
    said = read("2A35", 2, s("117"), s("72"), s("87"), b"\xea\x07\x02\x1e\x07\x03\x0f")
    assert said.readings[0].stamp is None
    assert said.issues == [("2A35 byte 7", "the device's time is unknown or none")]


def test_a_characteristic_that_is_not_read_is_an_error() -> None:
    with pytest.raises(DeviceError, match="2A99"):
        gatt.read("2A99", b"\x00")
