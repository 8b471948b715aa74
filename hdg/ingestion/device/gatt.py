"""Measurements of BLE health profiles, from the bytes of their characteristics.

Bluetooth GATT Specification Supplement (https://www.bluetooth.com/specifications/gss/): blood pressure, temperature,
weight, body composition, pulse oximetry, heart rate; glucose is in gatt_glucose.py. Flags, order of fields, units and
status bits were checked one by one against the Bluetooth SIG's XML of each (https://github.com/oesmith/gatt-xml,
``org.bluetooth.characteristic.*.xml``). What each becomes is a code of ``terminology/maps/gatt-mdc.csv``.
Every optional field is read as its flag says; a flag that is reserved is an issue; missing bytes are a DeviceError.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hdg.errors import DeviceError
from hdg.fhir.json import Decimal
from hdg.ingestion.device import gatt_glucose
from hdg.ingestion.device.floats import Special, Value, decimal_of
from hdg.ingestion.device.gatt_bytes import Cursor
from hdg.ingestion.device.gatt_readings import Amount, Flags, Intervals, Pressures, Reading, Said

__all__ = ["characteristics", "read"]


def characteristics() -> frozenset[str]:
    """The characteristics that are read, by their 16-bit UUID in hex."""
    return frozenset(_READERS)


def read(uuid: str, data: bytes, *, has_crc: bool | None = None) -> Said:
    """Reads one value. ``has_crc``: whether the device protects it with an E2E-CRC; None: its length says so.

    Raises DeviceError.
    """
    reader = _READERS.get(uuid)
    if reader is None:
        raise DeviceError(
            "a characteristic that is not read", uuid if uuid.isalnum() and len(uuid) < 40 else ""
        )
    cursor = Cursor(data, uuid)
    if not data:
        raise DeviceError("cut off: no bytes", f"{uuid} byte 0")
    said = reader(cursor, has_crc)
    cursor.end()
    said.issues = cursor.issues
    return said


def _blood_pressure(c: Cursor, has_crc: bool | None) -> Said:
    flags = c.unsigned(1)
    c.reserved(flags, 0xE0, 0)
    ucum = "kPa" if flags & 1 else "mm[Hg]"
    parts = tuple((f"2A35.{name}", Amount(c.sfloat(), ucum)) for name in ("systolic", "diastolic", "mean"))
    stamp = c.date_time() if flags & 2 else None
    pulse = c.sfloat() if flags & 4 else None
    notes = _user(c) if flags & 8 else ()
    found = [Reading(key="2A35", value=Pressures(parts), stamp=stamp, notes=notes)]
    if pulse is not None:
        found.append(Reading(key="2A35.pulse", value=Amount(pulse, "/min"), stamp=stamp, notes=notes))
    if flags & 16:
        at = c.at
        status = c.unsigned(2)
        c.reserved(status, 0xFFC0, at)
        bits = [number for number in (0, 1, 2) if status >> number & 1]
        pulse_range = status >> 3 & 3
        if pulse_range == 3:
            c.note(at, "a pulse rate range that is reserved for future use")
        bits += [pulse_range + 2] if pulse_range in (1, 2) else []
        bits += [5] if status & 0x20 else []
        value = Flags(sum(1 << 15 - number for number in bits))
        found.append(Reading(key="2A35.status", value=value, stamp=stamp, is_about_first=True))
    return Said(found)


def _user(c: Cursor) -> tuple[str, ...]:
    user = c.unsigned(1)
    return () if user == 255 else (f"user {user} of the device",)


def _temperature(c: Cursor, has_crc: bool | None) -> Said:
    flags = c.unsigned(1)
    c.reserved(flags, 0xF8, 0)
    amount = Amount(c.float(), "[degF]" if flags & 1 else "Cel")
    stamp = c.date_time() if flags & 2 else None
    key = "2A1C"
    if flags & 4:
        kind = c.unsigned(1)
        if 1 <= kind <= 9:
            key = f"2A1C.type.{kind}"
        else:
            c.note(c.at - 1, "a place of measurement that is reserved for future use")
    return Said([Reading(key=key, value=amount, stamp=stamp)])


def _weight(c: Cursor, has_crc: bool | None) -> Said:
    flags = c.unsigned(1)
    c.reserved(flags, 0xF0, 0)
    raw = c.unsigned(2)
    weight = Amount(Special.NRES, "kg") if raw == 0xFFFF else _mass(raw, is_imperial=bool(flags & 1))
    stamp = c.date_time() if flags & 2 else None
    notes = _user(c) if flags & 4 else ()
    found = [Reading(key="2A9D", value=weight, stamp=stamp, notes=notes)]
    if flags & 8:
        bmi = Amount(decimal_of(c.unsigned(2), -1), "kg/m2")
        found.append(Reading(key="2A9D.bmi", value=bmi, stamp=stamp, notes=notes))
        height = _length(c.unsigned(2), is_imperial=bool(flags & 1))
        found.append(Reading(key="2A9D.height", value=height, stamp=stamp, notes=notes))
    return Said(found)


def _mass(raw: int, *, is_imperial: bool) -> Amount:
    return Amount(decimal_of(raw, -2), "[lb_av]") if is_imperial else Amount(decimal_of(raw * 5, -3), "kg")


def _length(raw: int, *, is_imperial: bool) -> Amount:
    return Amount(decimal_of(raw, -1), "[in_i]") if is_imperial else Amount(decimal_of(raw, -3), "m")


def _body_composition(c: Cursor, has_crc: bool | None) -> Said:
    flags = c.unsigned(2)
    c.reserved(flags, 0xE000, 0)
    is_imperial = bool(flags & 1)
    raw = c.unsigned(2)
    fat: Decimal | Special = Special.NRES if raw == 0xFFFF else decimal_of(raw, -1)
    stamp = c.date_time() if flags & 2 else None
    notes = _user(c) if flags & 4 else ()
    if flags & 0x1000:
        notes = (*notes, "one of several packets of a measurement")
    found = [Reading(key="2A9C", value=Amount(fat, "%"), stamp=stamp, notes=notes)]
    for bit, name in ((8, "basal metabolism"), (16, "muscle percentage"), (32, "muscle mass")):
        if flags & bit:
            c.note(c.at, f"{name} has no code and is left out")
            c.unsigned(2)
    for bit, key in ((64, "fat-free"), (128, "soft-lean"), (256, "water")):
        if flags & bit:
            amount = _mass(c.unsigned(2), is_imperial=is_imperial)
            found.append(Reading(key=f"2A9C.{key}", value=amount, stamp=stamp, notes=notes))
    if flags & 512:
        c.note(c.at, "impedance has no code and is left out")
        c.unsigned(2)
    for bit, key, of in ((1024, "weight", _mass), (2048, "height", _length)):
        if flags & bit:
            amount = of(c.unsigned(2), is_imperial=is_imperial)
            found.append(Reading(key=f"2A9C.{key}", value=amount, stamp=stamp, notes=notes))
    return Said(found)


_STATUS = {
    5: "msmt-ongoing",
    6: "early-indication",
    7: "validated-data",
    10: "demo-data",
    11: "test-data",
    12: "calibration-ongoing",
    13: "not-available",
    14: "questionable",
    15: "invalid",
}
_STATUS_NOTES = {8: "fully qualified data", 9: "from the device's storage"}


def _oximeter_status(c: Cursor) -> tuple[tuple[str, ...], tuple[str, ...]]:
    at = c.at
    status = c.unsigned(2)
    c.reserved(status, 0x1F, at)
    conditions = tuple(name for bit, name in _STATUS.items() if status >> bit & 1)
    return conditions, tuple(text for bit, text in _STATUS_NOTES.items() if status >> bit & 1)


def _oximeter_rest(
    c: Cursor, flags: int, first_bit: int, stamp: datetime | None
) -> tuple[list[Reading], tuple[str, ...], tuple[str, ...]]:
    """Measurement status, device and sensor status and pulse amplitude, which both characteristics end with."""
    conditions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    found: list[Reading] = []
    if flags & first_bit:
        conditions, notes = _oximeter_status(c)
    if flags & first_bit << 1:
        at = c.at
        status = c.unsigned(3)
        c.reserved(status, 0xFF0000, at)
        found.append(
            Reading(key="2A5E.status", value=Flags(status & 0xFFFF), stamp=stamp, is_about_first=True)
        )
    if flags & first_bit << 2:
        found.append(Reading(key="2A5E.amplitude", value=Amount(c.sfloat(), "%"), stamp=stamp))
    return found, conditions, notes


def _oximeter_spot(c: Cursor, has_crc: bool | None) -> Said:
    flags = c.unsigned(1)
    c.reserved(flags, 0xE0, 0)
    saturation, pulse = c.sfloat(), c.sfloat()
    stamp = c.date_time() if flags & 1 else None
    rest, conditions, notes = _oximeter_rest(c, flags, 2, stamp)
    if flags & 16:
        notes = (*notes, "the device's clock was not set")
    spot = ("2A5E.spot",)
    found = [
        Reading(
            key=key,
            value=Amount(value, ucum),
            stamp=stamp,
            supplemental=spot,
            conditions=conditions,
            notes=notes,
            is_time_fault=bool(flags & 16),
        )
        for key, value, ucum in (("2A5E", saturation, "%"), ("2A5E.pulse", pulse, "/min"))
    ]
    return Said(found + rest)


def _oximeter_continuous(c: Cursor, has_crc: bool | None) -> Said:
    flags = c.unsigned(1)
    c.reserved(flags, 0xE0, 0)
    values: list[tuple[tuple[str, ...], Value, Value]] = [((), c.sfloat(), c.sfloat())]
    for bit, key in ((1, "2A5F.fast"), (2, "2A5F.slow")):
        if flags & bit:
            values.append(((key,), c.sfloat(), c.sfloat()))
    rest, conditions, notes = _oximeter_rest(c, flags, 4, None)
    found: list[Reading] = []
    for supplemental, saturation, pulse in values:
        for key, value, ucum in (("2A5E", saturation, "%"), ("2A5E.pulse", pulse, "/min")):
            found.append(
                Reading(
                    key=key,
                    value=Amount(value, ucum),
                    supplemental=supplemental,
                    conditions=conditions,
                    notes=notes,
                )
            )
    return Said(found + rest)


def _heart_rate(c: Cursor, has_crc: bool | None) -> Said:
    flags = c.unsigned(1)
    c.reserved(flags, 0xE0, 0)
    rate = c.unsigned(2 if flags & 1 else 1)
    is_loose = flags & 4 and not flags & 2
    conditions = ("questionable",) if is_loose else ()
    notes = ("the sensor had no contact with the skin",) if is_loose else ()
    found = [Reading(key="2A37", value=Amount(rate, "/min"), conditions=conditions, notes=notes)]
    if flags & 8:
        energy = c.unsigned(2)
        notes = (
            ("since the device was reset; the counter is full",)
            if energy == 0xFFFF
            else ("since the device was reset",)
        )
        found.append(Reading(key="2A37.energy", value=Amount(energy, "kJ"), notes=notes))
    if flags & 16:
        times: list[Decimal] = []
        while c.rest >= 2:
            times.append(_milliseconds(c.unsigned(2)))
        found.append(Reading(key="2A37.interval", value=Intervals(tuple(times))))
        if not times:
            found.pop()
            c.note(c.at, "intervals are announced and none is there")
    return Said(found)


def _milliseconds(raw: int) -> Decimal:
    """1/1024 s each, exactly: 1000/1024 is 125/128, and 128 divides 10 ** 7."""
    whole, rest = divmod(raw * 125 * 78_125, 10**7)
    return Decimal(f"{whole}.{rest:07}".rstrip("0").rstrip("."))


_READERS: dict[str, Callable[[Cursor, bool | None], Said]] = {
    "2A35": _blood_pressure,
    "2A18": gatt_glucose.measurement,
    "2A34": gatt_glucose.context,
    "2A1C": _temperature,
    "2A9D": _weight,
    "2A9C": _body_composition,
    "2A5E": _oximeter_spot,
    "2A5F": _oximeter_continuous,
    "2A37": _heart_rate,
    "2AA7": gatt_glucose.continuous,
}
