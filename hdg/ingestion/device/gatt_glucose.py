"""Glucose meters and sensors: the characteristics of the Glucose and Continuous Glucose Monitoring profiles.

Bluetooth GATT Specification Supplement (https://www.bluetooth.com/specifications/gss/); flags, order of fields, units,
enumerations and status bits checked one by one against the Bluetooth SIG's XML of 2A18, 2A34 and 2AA7
(https://github.com/oesmith/gatt-xml). The meter writes kilograms, moles and litres; the values come out in the units
that people use, with the same digits.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from hdg.errors import DeviceError
from hdg.fhir.json import Decimal
from hdg.ingestion.device.floats import Special, Value
from hdg.ingestion.device.gatt_bytes import Cursor, crc_of
from hdg.ingestion.device.gatt_readings import Amount, Choice, Flags, Reading, Said
from hdg.ingestion.device.home import shifted

__all__ = ["context", "continuous", "measurement"]

_CRC_BYTES = 2


def measurement(c: Cursor, has_crc: bool | None) -> Said:
    """Glucose Measurement, 0x2A18. Raises DeviceError."""
    flags = c.unsigned(1)
    c.reserved(flags, 0xE0, 0)
    sequence = c.unsigned(2)
    stamp = c.date_time()
    if flags & 1:
        minutes = c.signed(2)
        stamp = _later(stamp, minutes, c)
    found: list[Reading] = []
    if flags & 2:
        value = c.sfloat()
        at = c.at
        kind = c.unsigned(1)
        amount = Amount(_moved(value, 3), "mmol/L") if flags & 4 else Amount(_moved(value, 5), "mg/dL")
        key = f"2A18.type.{kind & 15}" if 1 <= kind & 15 <= 10 else "2A18.type.0"
        if key.endswith(".0"):
            c.note(at, "a type of sample that is reserved for future use")
        found.append(Reading(key=key, value=amount, stamp=stamp))
        location = kind >> 4
        if 1 <= location <= 4:
            place = Choice(f"2A18.location.{location}")
            found.append(Reading(key="2A18.location", value=place, stamp=stamp, is_about_first=True))
        elif location != 15:
            c.note(at, "a location of the sample that is reserved for future use")
    if flags & 8:
        at = c.at
        status = c.unsigned(2)
        c.reserved(status, 0xF000, at)
        bits = sum(1 << 15 - number for number in range(11) if status >> number & 1)
        is_fault = bool(status & 0x800)
        found.append(
            Reading(
                key="2A18.status",
                value=Flags(bits),
                stamp=stamp,
                is_about_first=bool(found),
                notes=("the device reports a time fault: its times are not to be relied on",)
                if is_fault
                else (),
                is_time_fault=is_fault,
            )
        )
    return Said(found, sequence=sequence)


def context(c: Cursor, has_crc: bool | None) -> Said:
    """Glucose Measurement Context, 0x2A34. Raises DeviceError."""
    flags = c.unsigned(1)
    sequence = c.unsigned(2)
    if flags & 0x80:
        at = c.at
        c.reserved(c.unsigned(1), 0xFF, at)
    found: list[Reading] = []
    if flags & 1:
        at = c.at
        kind, mass = c.unsigned(1), Amount(_moved(c.sfloat(), 3), "g")
        key = f"2A34.carbohydrate.{kind}" if 1 <= kind <= 7 else "2A34.carbohydrate"
        if not 1 <= kind <= 7:
            c.note(at, "a kind of meal that is reserved for future use")
        found.append(Reading(key=key, value=mass))
    if flags & 2:
        found += _choice(c, "2A34.meal", c.unsigned(1), 5)
    if flags & 4:
        both = c.unsigned(1)
        found += _choice(c, "2A34.tester", both & 15, 3, without=15)
        found += _choice(c, "2A34.health", both >> 4, 5, without=15)
    if flags & 8:
        at = c.at
        seconds, intensity = c.unsigned(2), c.unsigned(1)
        over = (f"at {intensity} % of the most",)
        notes = (*over, "for more than 65534 s") if seconds == 0xFFFF else over
        found.append(Reading(key="2A34.exercise", value=Amount(seconds, "s"), notes=notes))
        if intensity > 100:
            c.note(at, "an intensity of more than 100 %")
    if flags & 16:
        at = c.at
        kind, dose = c.unsigned(1), c.sfloat()
        amount = Amount(_moved(dose, 3), "mL") if flags & 32 else Amount(_moved(dose, 6), "mg")
        key = f"2A34.medication.{kind}" if 1 <= kind <= 5 else "2A34.medication"
        if not 1 <= kind <= 5:
            c.note(at, "a kind of medication that is reserved for future use")
        found.append(Reading(key=key, value=amount))
    if flags & 64:
        found.append(Reading(key="2A34.hba1c", value=Amount(c.sfloat(), "%")))
    return Said(found, sequence=sequence)


def _choice(c: Cursor, key: str, number: int, most: int, *, without: int = 0) -> list[Reading]:
    if 1 <= number <= most:
        return [Reading(key=key, value=Choice(f"{key}.{number}"))]
    if not without or number != without:
        c.note(c.at - 1, f"{key.partition('.')[2]}: a value that is reserved for future use")
    return []


def continuous(c: Cursor, has_crc: bool | None) -> Said:
    """CGM Measurement, 0x2AA7: one record or several. Raises DeviceError, also for a wrong checksum.

    Two bytes behind the fields that the flags announce are the record's E2E-CRC, unless it is said that there is none.
    """
    found: list[Reading] = []
    while c.rest:
        found += _continuous_record(c, has_crc)
    return Said(found)


def _continuous_record(c: Cursor, has_crc: bool | None) -> list[Reading]:
    start = c.at
    size = c.unsigned(1)
    if size < 6 or start + size > len(c.data):
        raise DeviceError(f"cut off: a record of {size} bytes, {c.rest + 1} there", f"{c.name} byte {start}")
    record = Cursor(c.data[: start + size], c.name, c.at)
    record.issues = c.issues
    flags = record.unsigned(1)
    record.reserved(flags, 0x1C, start + 1)
    glucose, minutes = record.sfloat(), record.unsigned(2)
    octets = [(bit, record.unsigned(1)) for bit in (0x80, 0x40, 0x20) if flags & bit]
    notes = tuple(
        text for bit, value in octets for number, text in _ANNUNCIATIONS[bit] if value >> number & 1
    )
    for bit, value in octets:
        record.reserved(value, 0xFF & ~sum(1 << number for number, _ in _ANNUNCIATIONS[bit]), record.at)
    trend = record.sfloat() if flags & 1 else None
    quality = record.sfloat() if flags & 2 else None
    if has_crc or (has_crc is None and record.rest == _CRC_BYTES):
        end = record.at
        if record.unsigned(2) != crc_of(c.data[start:end]):
            raise DeviceError("the checksum is wrong", f"{c.name} byte {end}")
    if isinstance(quality, Decimal):
        notes = (*notes, f"quality {quality} %")
    is_fault = any(bit == 0x80 and value & 0x20 for bit, value in octets)
    is_off = any(bit == 0x40 and value & 1 for bit, value in octets)
    conditions = ("questionable",) if is_fault else ()
    found = [
        Reading(
            key="2AA7",
            value=Amount(glucose, "mg/dL"),
            minutes=minutes,
            notes=notes,
            conditions=conditions,
            is_time_fault=is_off,
        )
    ]
    if trend is not None:
        found.append(Reading(key="2AA7.trend", value=Amount(trend, "mg/dL/min"), minutes=minutes))
    record.end()
    c.at = start + size
    return found


_ANNUNCIATIONS: dict[int, tuple[tuple[int, str], ...]] = {
    0x80: (
        (0, "session stopped"),
        (1, "device battery low"),
        (2, "sensor type incorrect for device"),
        (3, "sensor malfunction"),
        (4, "device specific alert"),
        (5, "general device fault"),
    ),
    0x40: (
        (0, "time synchronization required"),
        (1, "calibration not allowed"),
        (2, "calibration recommended"),
        (3, "calibration required"),
        (4, "sensor temperature too high"),
        (5, "sensor temperature too low"),
        (6, "calibration pending"),  # reserved in the XML of 2014; https://github.com/tidepool-org names it
    ),
    0x20: (
        (0, "below the patient's low level"),
        (1, "above the patient's high level"),
        (2, "below the hypo level"),
        (3, "above the hyper level"),
        (4, "rate of decrease exceeded"),
        (5, "rate of increase exceeded"),
        (6, "below what the device can process"),
        (7, "above what the device can process"),
    ),
}


def _moved(value: Value, places: int) -> Value:
    return value if isinstance(value, Special) else shifted(value, places)


def _later(stamp: datetime | None, minutes: int, c: Cursor) -> datetime | None:
    try:
        return None if stamp is None else stamp + timedelta(minutes=minutes)
    except OverflowError:
        c.note(c.at - 2, "a time offset beyond the calendar")
        return None
