"""Reads the fields of a BLE characteristic: little-endian numbers, SFLOAT, FLOAT, date time.

Bluetooth GATT Specification Supplement (https://www.bluetooth.com/specifications/gss/).
"""

from __future__ import annotations

from datetime import datetime

from hdg.errors import DeviceError
from hdg.ingestion.device.floats import Value, float_value, sfloat_value

__all__ = ["Cursor", "crc_of"]


class Cursor:
    """A place in a characteristic's value. Every read raises DeviceError with the offset when bytes are missing."""

    def __init__(self, data: bytes, name: str, start: int = 0) -> None:
        self.data, self.name, self.at = data, name, start
        self.issues: list[tuple[str, str]] = []
        """(place, text) of what is reserved or strange, and was not carried over."""

    @property
    def rest(self) -> int:
        """How many bytes are left."""
        return len(self.data) - self.at

    def unsigned(self, size: int) -> int:
        """An unsigned integer of ``size`` bytes."""
        end = self.at + size
        if end > len(self.data):
            text = f"cut off: {size} bytes expected, {self.rest} there"
            raise DeviceError(text, f"{self.name} byte {self.at}")
        found = int.from_bytes(self.data[self.at : end], "little")
        self.at = end
        return found

    def signed(self, size: int) -> int:
        """A signed integer of ``size`` bytes."""
        found = self.unsigned(size)
        return found - (1 << 8 * size) if found >> (8 * size - 1) else found

    def sfloat(self) -> Value:
        """An SFLOAT."""
        return sfloat_value(self.unsigned(2))

    def float(self) -> Value:
        """A FLOAT."""
        return float_value(self.unsigned(4))

    def date_time(self) -> datetime | None:
        """A Date Time on the device's clock; None, with an issue, when it says less than a day or is none."""
        start = self.at
        year = self.unsigned(2)
        month, day, hour, minute, second = (self.unsigned(1) for _ in range(5))
        try:
            return datetime(year, month, day, hour, minute, second)
        except ValueError:
            self.note(start, "the device's time is unknown or none")
            return None

    def reserved(self, flags: int, mask: int, start: int) -> None:
        """Notes bits that are reserved for future use and set."""
        if flags & mask:
            self.note(start, f"bits reserved for future use are set: {flags & mask:#x}")

    def note(self, at: int, text: str) -> None:
        """An issue at an offset."""
        self.issues.append((f"{self.name} byte {at}", text))

    def end(self) -> None:
        """Notes bytes behind the last field."""
        if self.rest:
            self.note(self.at, f"{self.rest} bytes behind the last field are left out")


def crc_of(data: bytes) -> int:
    """The E2E-CRC of the Bluetooth CGM Service: g(D) = D16+D12+D5+1, seed 0xFFFF, lowest bit first, low byte first.

    https://github.com/oesmith/gatt-xml (cgm_measurement.xml); it is CRC-16/MCRF4XX, whose check value is 0x6F91:
    https://reveng.sourceforge.io/crc-catalogue/16.htm#crc.cat.crc-16-mcrf4xx.
    """
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
    return crc
