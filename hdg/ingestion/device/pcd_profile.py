"""Which HL7 v2 messages are IHE PCD-01, told without what reads them: all but a few messages are none.

MSH-21 says so, or an OBX has an MDC code and a containment path of at least two levels. IHE Devices TF-2 §3.1 (PCD-01)
and Appendix B.8 (OBX-4).
"""

from __future__ import annotations

from functools import lru_cache

from hdg.ingestion.hl7v2.parser import Message

__all__ = ["PROFILE", "TABLE", "Key", "is_pcd", "key_of", "profiled"]

PROFILE, TABLE = "@PCD-01", "PCD_01"
Key = tuple[int, ...]
_PROFILE_NAMES = ("IHE_PCD_001", "IHE_PCD_ORU_R01", "IHE PCD ORU-R012006")
_PROFILE_OID = "1.3.6.1.4.1.19376.1.6.1.1.1"
_PATH_MAX = 64
_DIGITS_MAX = 10


def profiled(message: Message) -> tuple[str, str, str]:
    """MSH-9 for the choice of a table: its trigger event says so when the message is PCD-01."""
    code, trigger, structure = message.message_type
    if code == "ORU" and trigger == "R01" and is_pcd(message):
        return code, trigger + PROFILE, structure
    return code, trigger, structure


def is_pcd(message: Message) -> bool:
    """Whether MSH-21 names PCD-01, or an OBX has an MDC code and a containment path of at least two levels."""
    header = message.segments[0]
    named = header.field(21)
    if named and any(_is_profile(text) for text in named.split("~")):
        return True
    return any(
        _is_mdc(segment.field(3)) and len(key_of(segment.field(4))) > 1
        for segment in [one for one in message.all("OBX") if "^MDC" in one.text]
    )


def _is_mdc(text: str) -> bool:
    parts = text.split("^")
    return "MDC" in parts[2:3] or "MDC" in parts[5:6]


def _is_profile(text: str) -> bool:
    parts = text.split("^")
    return parts[0].strip() in _PROFILE_NAMES or (len(parts) > 2 and parts[2].strip() == _PROFILE_OID)


def key_of(text: str) -> Key:
    """OBX-4 as numbers without the zeros at the end; () when it is no containment path."""
    return _key_of(text) if len(text) <= _PATH_MAX else ()


@lru_cache(maxsize=4096)
def _key_of(text: str) -> Key:
    levels = text.strip().split(".")
    if not all(level.isascii() and level.isdecimal() and len(level) <= _DIGITS_MAX for level in levels):
        return ()
    numbers = [int(level) for level in levels]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
