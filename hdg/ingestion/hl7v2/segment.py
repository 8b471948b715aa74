"""One segment of a message, split into fields when the first field is asked for. HL7 v2.9 §2.5.1, §2.5.2."""

from __future__ import annotations

from typing import Final

HEADER_SEGMENTS: Final = frozenset({"MSH", "FHS", "BHS"})
"""Segments whose first field is the field separator itself (HL7 v2.9 §2.14.9.1)."""


class Segment:
    """A segment in standard delimiters (``|^~\\&``), whatever the sender used.

    ``position`` is its 1-based place in the message, ``occurrence`` its 1-based place among segments of the
    same name, ``text`` the whole segment without its terminator. Nothing is split until a field is asked for.
    """

    __slots__ = ("_fields", "name", "occurrence", "position", "text")

    def __init__(self, name: str, position: int, occurrence: int, text: str) -> None:
        self.name = name
        self.position = position
        self.occurrence = occurrence
        self.text = text
        self._fields: list[str] | None = None

    @property
    def fields(self) -> list[str]:
        """All fields as raw text; index 0 is the name, so that ``fields[3]`` is XXX-3. Do not change it."""
        return self._split() if self._fields is None else self._fields

    def _split(self) -> list[str]:
        fields = self._fields = self.text.split("|")
        if self.name in HEADER_SEGMENTS:
            fields.insert(1, "|")
        return fields

    def field(self, number: int) -> str:
        """The raw text of field ``number`` (1-based; MSH-1 is the separator), '' if absent.

        Raw: escapes are not decoded, and HL7's ``""`` (delete) comes back as it is (``encoding.NULL``).
        """
        fields = self._fields
        if fields is None:
            fields = self._split()
        return fields[number] if number < len(fields) else ""

    @property
    def count(self) -> int:
        """How many fields the segment carries; trailing empty ones count as sent."""
        return len(self.fields) - 1

    def place(self, field: int | None = None) -> str:
        """``OBX[3]-5``: the segment (occurrence if not the first), and the field if one is named."""
        name = self.name if self.occurrence == 1 else f"{self.name}[{self.occurrence}]"
        return name if field is None else f"{name}-{field}"

    def __repr__(self) -> str:
        return f"<Segment {self.place()} at {self.position}>"
