"""A data set as it was read: tag → (value representation, value), decoded when it is asked for. DICOM PS3.5 §6, §7."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from hdg.errors import Issue
from hdg.ingestion.dicom.charset import Charset, charset_of, declared, decoded
from hdg.ingestion.dicom.dictionary import shown, vr_of

__all__ = ["NOWHERE", "SPECIFIC_CHARACTER_SET", "Dataset", "Deferred", "Shared"]

SPECIFIC_CHARACTER_SET = 0x00080005
_TEXT = frozenset(("SH", "LO", "PN", "UC", "ST", "LT", "UT"))
"""Value representations whose letters are of the declared character set (PS3.5 §6.1.2.2)."""
_WHOLE = frozenset(("ST", "LT", "UT", "UR"))
"""Those of one value, in which a backslash is a letter like others (PS3.5 §6.4)."""
_PLAIN = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
_PACKED = {
    "US": "H",
    "SS": "h",
    "UL": "I",
    "SL": "i",
    "UV": "Q",
    "SV": "q",
    "FL": "f",
    "FD": "d",
}


NOWHERE = -1
"""``offset`` of a value in a sequence."""


class Deferred(NamedTuple):
    """A long value that was passed over: where it lies in the (inflated) stream, in bytes, if at the top level."""

    offset: int
    length: int


@dataclass(slots=True)
class Shared:
    """What all data sets of one object have in common. ``issues`` grows as values are decoded."""

    issues: list[Issue] = field(default_factory=list)
    elements: int = 0
    charset: str = ""
    """What the sender declares for texts of objects that say nothing: a defined term, or Python's name of a codec."""


class Dataset:
    """One data set, or an item of a sequence. Owned by one Header."""

    __slots__ = ("_charset", "_parent", "is_little", "raw", "shared")

    def __init__(self, shared: Shared, parent: Dataset | None = None, *, is_little: bool = True) -> None:
        self.raw: dict[int, tuple[str, bytes | list[Dataset] | Deferred]] = {}
        self.shared = shared
        self.is_little = is_little
        self._parent = parent
        self._charset: Charset | None = None

    def __contains__(self, tag: int) -> bool:
        return tag in self.raw

    @property
    def charset(self) -> Charset:
        """The declared one, else that of the data set around (PS3.3 C.12.1.1.2)."""
        found = self._charset
        if found is None:
            held = self.raw.get(SPECIFIC_CHARACTER_SET)
            if held is not None and isinstance(held[1], bytes) and held[1].strip(b" \0"):
                found = charset_of(held[1], self.shared.issues)
            elif self._parent is not None:
                found = self._parent.charset
            else:
                found = declared(self.shared.charset, self.shared.issues)
            self._charset = found
        return found

    def vr(self, tag: int) -> str:
        """The value representation that a held element has; the dictionary's where the object says unknown."""
        vr = self.raw[tag][0]
        return vr_of(tag) if vr == "UN" else vr

    def is_valued(self, tag: int) -> bool:
        """Whether an element holds more than padding."""
        held = self.raw.get(tag)
        if held is None:
            return False
        value = held[1]
        if value.__class__ is bytes:
            return bool(value.strip(b" \0")) or (bool(value) and held[0] in _PACKED)
        return bool(value)

    def texts(self, tag: int) -> list[str]:
        """All values as text: numbers in decimal, without padding; an empty one among others stays, as ''."""
        held = self.raw.get(tag)
        if held is None:
            return []
        vr, value = held
        if value.__class__ is not bytes or not value:
            return []
        if vr == "UN":
            vr = vr_of(tag)
        data: bytes = value
        if vr in _TEXT:
            if data.isascii() and b"\x1b" not in data:
                text = data.decode("ascii")
            else:
                text = decoded(data, self.charset, shown(tag), self.shared.issues)
        elif vr in _PLAIN:
            text = data.decode("latin-1")
        else:
            return self._packed(vr, data, tag)
        if vr in _WHOLE:
            text = text.rstrip(" \0")
            return [text] if text else []
        if "\\" not in text:
            text = text.strip(" \0")
            return [text] if text else []
        found = [one.strip(" \0") for one in text.split("\\")]
        return found if any(found) else []

    def _packed(self, vr: str, data: bytes, tag: int) -> list[str]:
        code = _PACKED.get(vr)
        if vr == "AT":
            code = "HH"
        if code is None:
            return []
        size = struct.calcsize(f"={code}")
        if len(data) % size:
            text = f"the length does not fit the value representation {vr}"
            self.shared.issues.append(Issue("warning", "value", shown(tag), text))
            return []
        numbers = struct.unpack(f"{'<' if self.is_little else '>'}{code * (len(data) // size)}", data)
        if vr == "AT":
            return [f"{g:04X}{e:04X}" for g, e in zip(numbers[::2], numbers[1::2], strict=True)]
        if vr == "FL":
            return [_shortest(number) for number in numbers]
        return [repr(number) for number in numbers]

    def text(self, tag: int) -> str:
        """The first value; '' for none."""
        found = self.texts(tag)
        return found[0] if found else ""

    def single(self, tag: int) -> str:
        """The value of an element that has one at most; what the object splits all the same is kept together.

        A number ``NORTH\\4711`` is not the number ``NORTH``.
        """
        return "\\".join(self.texts(tag))

    def data(self, tag: int) -> bytes:
        """The value as it lies; b'' for none, for a sequence and for one that was passed over."""
        held = self.raw.get(tag)
        return held[1] if held is not None and isinstance(held[1], bytes) else b""

    def items(self, tag: int) -> list[Dataset]:
        """The items of a sequence; none for anything else."""
        held = self.raw.get(tag)
        if held is None:
            return []
        value = held[1]
        return value if isinstance(value, list) else []


def _shortest(number: float) -> str:
    """The fewest digits that give the same 32-bit number."""
    for digits in range(6, 10):
        text = f"{number:.{digits}g}"
        if struct.unpack("<f", struct.pack("<f", float(text)))[0] == number:
            return text
    return repr(number)
