"""Checks of R4's primitive types as they stand in JSON (R4 datatypes.html#primitive, R4 json.html#primitive).

A check takes a value (and the scope, which primitives do not need) and returns None or findings. Texts that
passed are remembered in a small bounded set per type: codes, systems and times repeat.
"""

from __future__ import annotations

import binascii
import decimal
import re
from collections.abc import Callable
from typing import Any, Final

from hdg.fhir.times import is_date, is_date_time, is_instant, is_time

__all__ = ["NULL", "Check", "Finding", "code_check", "primitive_check"]

# (place below the checked value, issue code, text). Places start with "." or "[" or are empty.
Finding = tuple[str, str, str]
Check = Callable[[Any, Any], list[Finding] | None]

NULL: Final[Finding] = ("", "structure", "null stands only where the companion array has an object")
MAX_TEXT: Final = 1024 * 1024  # characters; R4 datatypes.html#string
_REMEMBERED: Final = 4096  # texts per type
_REMEMBERED_LENGTH: Final = 128  # characters
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What no string may hold (R4 datatypes.html#string); and what XML has no form for (XML 1.0 §2.2)."""
_SOLID: Final = r"[^\s\x00-\x1f\ufffe\uffff]"
_PATTERNS: Final = {
    "code": re.compile(rf"{_SOLID}+(?:[^\S\x0b\x0c\x1c-\x1f]{_SOLID}+)*"),
    "id": re.compile(r"[A-Za-z0-9\-.]{1,64}"),
    "oid": re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+"),
    "uri": re.compile(rf"{_SOLID}+"),
    "uuid": re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}
_TIMES: Final = {"date": is_date, "dateTime": is_date_time, "instant": is_instant, "time": is_time}
_RANGES: Final = {
    "integer": (-(1 << 31), (1 << 31) - 1),
    "positiveInt": (1, (1 << 31) - 1),
    "unsignedInt": (0, (1 << 31) - 1),
}


def primitive_check(name: str) -> Check:
    """The check of a primitive type; raises KeyError for a name that is none."""
    if name in ("string", "markdown"):
        return _text
    if name == "boolean":
        return _boolean
    if name == "decimal":
        return _decimal
    if name in _RANGES:
        return _integer(name, *_RANGES[name])
    if name == "base64Binary":
        return _base64
    return _remembering(text_check(name))


def text_check(name: str) -> Check:
    """The check of a type of short texts, which remembers nothing; raises KeyError for any other name."""
    test = _TIMES.get(name)
    if test is None:
        pattern = _PATTERNS["uri" if name in ("canonical", "url") else name]
        test = lambda text: pattern.fullmatch(text) is not None  # noqa: E731
    wrong = [("", "value", f"not a valid {name}")]

    def check(value: Any, scope: Any) -> list[Finding] | None:
        if type(value) is not str:
            return _not_text(value)
        return None if test(value) and len(value) <= MAX_TEXT else wrong

    return check


def code_check(value_set: str, codes: frozenset[str]) -> Check:
    """The check of a code under a required binding (R4 terminologies.html#required)."""
    wrong = [("", "code-invalid", f"not a code of the required value set {value_set}")]

    def check(value: Any, scope: Any) -> list[Finding] | None:
        if type(value) is str:
            return None if value in codes else wrong
        return _not_text(value)

    return check


def _remembering(first: Check) -> Check:
    seen: set[str] = set()

    def check(value: Any, scope: Any) -> list[Finding] | None:
        if type(value) is not str:
            return _not_text(value)
        if value in seen:
            return None
        found = first(value, scope)
        if found is None and len(value) <= _REMEMBERED_LENGTH:
            if len(seen) >= _REMEMBERED:
                seen.clear()
            seen.add(value)
        return found

    return check


def _text(value: Any, scope: Any) -> list[Finding] | None:
    if type(value) is not str:
        return _not_text(value)
    if value and (value.isprintable() or _CONTROL.search(value) is None) and len(value) <= MAX_TEXT:
        return None
    if not value:
        return [("", "value", "an empty string")]
    return [("", "value", "too long" if len(value) > MAX_TEXT else "a control character in a string")]


def _not_text(value: Any) -> list[Finding]:
    return [NULL] if value is None else [("", "structure", f"a JSON string is needed, not {_kind(value)}")]


def _boolean(value: Any, scope: Any) -> list[Finding] | None:
    if value is True or value is False:
        return None
    if value is None:
        return [NULL]
    return [("", "structure", f"a JSON true or false is needed, not {_kind(value)}")]


def _integer(name: str, least: int, most: int) -> Check:
    def check(value: Any, scope: Any) -> list[Finding] | None:
        if type(value) is int:
            return None if least <= value <= most else [("", "value", f"outside the range of {name}")]
        if value is None:
            return [NULL]
        return [("", "structure", f"a whole JSON number is needed, not {_kind(value)}")]

    return check


def _decimal(value: Any, scope: Any) -> list[Finding] | None:
    if type(value) is int:
        return None
    if isinstance(value, decimal.Decimal):
        return None if value.is_finite() else [("", "value", "not a finite number")]
    if value is None:
        return [NULL]
    if type(value) is float:
        return [("", "structure", "a Python float does not keep its digits: use hdg.fhir.json.decimal")]
    return [("", "structure", f"a JSON number is needed, not {_kind(value)}")]


def _base64(value: Any, scope: Any) -> list[Finding] | None:
    if type(value) is not str:
        return _not_text(value)
    packed = "".join(value.split())
    try:
        binascii.a2b_base64(packed, strict_mode=True)
    except ValueError:
        return [("", "value", "not a valid base64Binary")]
    return None if packed else [("", "value", "an empty string")]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else "a number"
