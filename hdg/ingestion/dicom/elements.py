"""Elements of a data set out of bytes: explicit and implicit VR, both byte orders, nested sequences. DICOM PS3.5 §7."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hdg.errors import DicomError, Issue
from hdg.ingestion.dicom.dataset import NOWHERE, Dataset, Deferred
from hdg.ingestion.dicom.dictionary import shown, vr_of

__all__ = ["Ended", "Limits", "Parser", "Short"]

_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""Those with a length of 32 bits after two reserved bytes (PS3.5 §7.1.2)."""
_ALL = "AEASATCSDADSDTFLFDISLOLTOBODOFOLOVOWPNSHSLSQSSSTSVTMUCUIULUNURUSUTUV"
_VRS = {_ALL[at : at + 2].encode(): _ALL[at : at + 2] for at in range(0, len(_ALL), 2)}
_SHORT = {code: vr for code, vr in _VRS.items() if code not in _LONG}
_NONE: dict[bytes, str] = {}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a header may hold: bytes (inflated), elements in all, sequences within sequences.

    ``value_bytes``: a longer value is passed over; one at the top level can be read later.
    """

    header_bytes: int = 64 * 1024 * 1024
    elements: int = 500_000
    depth: int = 100
    value_bytes: int = 1024 * 1024


class Short(Exception):
    """The window ends within the element at ``at``; ``needed`` more bytes are wanted at least."""

    def __init__(self, at: int, tag: int, needed: int) -> None:
        super().__init__()
        self.at, self.tag, self.needed = at, tag, needed


class Ended(Exception):
    """An element of the group at which reading stops."""

    def __init__(self, at: int, tag: int) -> None:
        super().__init__()
        self.at, self.tag = at, tag


class _Cut(Exception):
    """A nested element goes beyond the bytes at hand."""

    def __init__(self, tag: int) -> None:
        super().__init__()
        self.tag = tag


class Parser:
    """Reads elements of one byte order and one kind of VR."""

    def __init__(self, root: Dataset, limits: Limits, *, is_explicit: bool) -> None:
        order = "<" if root.is_little else ">"
        self._shared = root.shared
        self._limits = limits
        self._is_little = root.is_little
        self._is_explicit = is_explicit
        self._explicit = struct.Struct(f"{order}HH2sH").unpack_from
        self._implicit = struct.Struct(f"{order}HHI").unpack_from
        self._long = struct.Struct(f"{order}I").unpack_from
        self.deferred: tuple[int, str, int] | None = None
        """Tag, VR and length of a value that is to be passed over; the reader takes it."""

    def elements(self, data: bytes, out: Dataset, first: int, stop: int) -> int:
        """Reads top-level elements from ``first`` up to ``stop`` out of a window; gives the offset of what follows.

        Ends behind the head of an element that is to be passed over. Raises Short, Ended, DicomError.
        """
        at, size = 0, len(data)
        long_values, explicit = self._limits.value_bytes, self._explicit
        shorts = _SHORT if self._is_explicit else _NONE
        while size - at >= 8:
            group, element, code, length = explicit(data, at)
            tag = group << 16 | element
            if not first <= tag < stop:
                raise Ended(at, tag)
            short = shorts.get(code)
            if short is not None:  # most elements
                vr, start = short, at + 8
            else:
                tag, vr, length, start = self._head(data, at, size)
            if start < 0:
                raise Short(at, tag, 12)
            if tag >> 16 == 0xFFFE:
                raise DicomError("an item outside of any sequence", shown(tag))
            if vr == "SQ" or length == _UNDEFINED:
                end = size if length == _UNDEFINED else start + length
                if end > size:
                    raise Short(at, tag, end - size)
                before = self._shared.elements
                try:
                    value, end = self._sequence(data, start, end, length, out, tag, vr, 1)
                except _Cut as cut:
                    if length == _UNDEFINED:
                        self._shared.elements = before  # it will be read again from a longer window
                        raise Short(at, cut.tag, 1) from None
                    raise DicomError("this goes beyond the sequence that it is in", shown(cut.tag)) from None
                self._put(out, tag, ("SQ", value))
                at = end
            elif length > long_values and not (vr == "UN" and vr_of(tag) == "SQ"):
                self.deferred = (tag, vr, length)
                return start
            else:
                end = start + length
                if end > size:
                    raise Short(at, tag, end - size)
                self._put(out, tag, self._value(tag, vr, data[start:end], out, 1))
                at = end
            self._count(tag)
        return at

    def _count(self, tag: int) -> None:
        self._shared.elements += 1
        if self._shared.elements > self._limits.elements:
            raise DicomError("the header has more elements than are allowed", shown(tag))

    def _put(self, out: Dataset, tag: int, value: tuple[str, bytes | list[Dataset] | Deferred]) -> None:
        if out.raw.setdefault(tag, value) is not value:
            self._shared.issues.append(
                Issue("warning", "duplicate", shown(tag), "the element is there twice; the first stays")
            )

    def _head(self, data: bytes, at: int, size: int) -> tuple[int, str, int, int]:
        """Tag, VR, length and where the value begins; that is -1 when the head is cut off."""
        if not self._is_explicit:
            group, element, length = self._implicit(data, at)
            tag = group << 16 | element
            return tag, "" if group == 0xFFFE else vr_of(tag), length, at + 8
        group, element, code, length = self._explicit(data, at)
        tag = group << 16 | element
        if code in _LONG:
            if size - at < 12:
                return tag, "", 0, -1
            return tag, _VRS[code], self._long(data, at + 8)[0], at + 12
        vr = _VRS.get(code)
        if vr is not None:
            return tag, vr, length, at + 8
        if group == 0xFFFE:
            return tag, "", self._long(data, at + 4)[0], at + 8
        return self._unknown(data, at, size, tag, code)

    def _unknown(self, data: bytes, at: int, size: int, tag: int, code: bytes) -> tuple[int, str, int, int]:
        """A VR that DICOM does not have: letters are one to come, of 32 bits (PS3.5 §6.2); else implicit."""
        text = "a value representation that DICOM does not have; the dictionary's was taken"
        self._shared.issues.append(Issue("warning", "value", shown(tag), text))
        if code.isalpha() and code.isupper() and size - at >= 12 and data[at + 6 : at + 8] == b"\0\0":
            return tag, "UN", self._long(data, at + 8)[0], at + 12
        if code.isalnum() or code.strip(b" \0?-") == b"":
            length = self._explicit(data, at)[3]
            return tag, vr_of(tag), length, at + 8
        return tag, vr_of(tag), self._long(data, at + 4)[0], at + 8

    # --- sequences ------------------------------------------------------------------------------------------

    def _sequence(
        self, data: bytes, at: int, end: int, length: int, parent: Dataset, tag: int, vr: str, depth: int
    ) -> tuple[list[Dataset], int]:
        """The items of a sequence and where it ends. Raises _Cut, DicomError."""
        if depth > self._limits.depth:
            raise DicomError("sequences are nested deeper than is allowed", shown(tag))
        parser = self
        if vr == "UN":  # what an unknown sequence holds is implicit VR little endian (PS3.5 §6.2.2)
            parser = self._other()
        elif vr != "SQ":
            return [], self._fragments(data, at, end, tag)
        items: list[Dataset] = []
        while True:
            if end - at < 8:
                if length != _UNDEFINED and end == at:
                    return items, at
                raise _Cut(tag)
            group, element, size = parser._implicit(data, at)
            mark = group << 16 | element
            at += 8
            if mark == _SEQUENCE_END:
                return items, (end if length != _UNDEFINED else at)
            if mark != _ITEM:
                raise DicomError("a sequence holds something that is no item", shown(tag))
            item = Dataset(self._shared, parent, is_little=parser._is_little)
            self._count(tag)
            if size == _UNDEFINED:
                at = parser._item(data, at, end, item, depth, is_open=True)
            else:
                if at + size > end:
                    raise _Cut(tag)
                at = parser._item(data, at, at + size, item, depth, is_open=False)
            items.append(item)

    def _fragments(self, data: bytes, at: int, end: int, tag: int) -> int:
        """Where encapsulated pixels end, such as those of an icon (PS3.5 §A.4); they are passed over."""
        while end - at >= 8:
            group, element, size = self._implicit(data, at)
            at += 8
            if group << 16 | element == _SEQUENCE_END:
                return at
            if group << 16 | element != _ITEM or size == _UNDEFINED:
                raise DicomError("a sequence holds something that is no item", shown(tag))
            at += size
            self._count(tag)
        raise _Cut(tag)

    def _item(self, data: bytes, at: int, end: int, out: Dataset, depth: int, *, is_open: bool) -> int:
        """The elements of an item; gives where it ends."""
        tag = 0
        while end - at >= 8:
            tag, vr, length, start = self._head(data, at, end)
            if tag == _ITEM_END:
                return end if not is_open else start
            if start < 0:
                raise _Cut(tag)
            if tag >> 16 == 0xFFFE:
                raise DicomError("an item outside of any sequence", shown(tag))
            stop = end if length == _UNDEFINED else start + length
            if stop > end:
                raise _Cut(tag)
            if vr == "SQ" or length == _UNDEFINED:
                value, at = self._sequence(data, start, stop, length, out, tag, vr, depth + 1)
                self._put(out, tag, ("SQ", value))
            elif length > self._limits.value_bytes and not (vr == "UN" and vr_of(tag) == "SQ"):
                self._put(out, tag, (vr, Deferred(NOWHERE, length)))
                at = stop
            else:
                self._put(out, tag, self._value(tag, vr, data[start:stop], out, depth + 1))
                at = stop
            self._count(tag)
        if is_open or at != end:
            raise _Cut(tag)
        return at

    def _other(self) -> Parser:
        """The parser of what is implicit VR little endian within something else."""
        root = Dataset(self._shared)
        return Parser(root, self._limits, is_explicit=False)

    def _value(
        self, tag: int, vr: str, value: bytes, parent: Dataset, depth: int
    ) -> tuple[str, bytes | list[Dataset]]:
        """A value; the items of one that was sent as unknown, though the dictionary has it as a sequence."""
        if vr == "UN" and vr_of(tag) == "SQ":
            try:
                return "SQ", self._sequence(value, 0, len(value), len(value), parent, tag, "UN", depth)[0]
            except _Cut:
                text = "a sequence that was sent as unknown cannot be read"
                self._shared.issues.append(Issue("warning", "value", shown(tag), text))
        return vr, value
