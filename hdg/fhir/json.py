"""JSON that keeps every digit: ``1.50`` stays ``1.50`` and ``1E+3`` stays ``1E+3``.

R4 json.html and R4 datatypes.html#decimal: the precision of a decimal is part of its meaning. A number with
a point or an exponent becomes a Decimal that remembers its literal; any other number is an int of any size
(``-0`` without a point reads as ``0``: FHIR's integers know no negative zero).
"""

from __future__ import annotations

import decimal as _decimal
import re
from typing import Any

import msgspec
import orjson

__all__ = ["Decimal", "JsonError", "JsonObject", "decimal", "dumps", "loads"]

JsonObject = dict[str, Any]

MAX_DEPTH = 250  # nesting that orjson writes; deeper input is refused when it is read
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_POSITION = re.compile(r"\(byte (\d+)\)")
_WIDE = 1 << 63


class JsonError(ValueError):
    """Bytes that are not JSON as FHIR uses it. ``position``: the 0-based byte offset, or None if unknown."""

    def __init__(self, text: str, position: int | None = None) -> None:
        super().__init__(text if position is None else f"{text} (byte {position})")
        self.position = position


class Decimal(_decimal.Decimal):
    """A JSON number that keeps its literal; equal to and computable with any ``decimal.Decimal``."""

    __slots__ = ("literal",)

    literal: str

    def __new__(cls, literal: str) -> Decimal:  # noqa: D102  # the class says it
        self = super().__new__(cls, literal)
        self.literal = literal
        return self

    def __copy__(self) -> Decimal:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Decimal:
        return self

    def __reduce__(self) -> tuple[type[Decimal], tuple[str]]:
        return Decimal, (self.literal,)


def decimal(literal: str) -> Decimal:
    """The Decimal of a JSON number literal; raises JsonError when it is none (``.5``, ``+1``, ``NaN``)."""
    if _NUMBER.fullmatch(literal) is None:
        raise JsonError("not a JSON number")
    try:
        return Decimal(literal)
    except _decimal.InvalidOperation:
        raise JsonError("a number beyond what can be computed with") from None


_decoder = msgspec.json.Decoder(float_hook=Decimal)


def loads(data: bytes | str) -> Any:
    """Parses one JSON text (UTF-8; a byte order mark is skipped).

    Raises JsonError for malformed text, a key that occurs twice in one object, nesting deeper than MAX_DEPTH
    and numbers beyond computing.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    if raw.startswith(b"\xef\xbb\xbf"):
        raw = raw[3:]
    try:
        value = _decoder.decode(raw)
        copy = dumps(value)
    except msgspec.DecodeError as error:
        position = _POSITION.search(str(error))
        raise JsonError("malformed JSON", int(position[1]) if position else None) from None
    except UnicodeDecodeError as error:
        raise JsonError("not UTF-8", error.start) from None
    except RecursionError:
        raise JsonError("nested too deeply") from None
    except _decimal.InvalidOperation:
        raise JsonError("a number beyond what can be computed with") from None
    # A dropped duplicate key takes its quotes with it; only an escaped quote could hide that.
    # Text that was written by dumps() is its own copy, which saves counting.
    if copy != raw and (raw.count(b'"') != copy.count(b'"') or b"\\u0022" in raw):
        _reject_duplicate_keys(raw)
    return value


def _reject_duplicate_keys(raw: bytes) -> None:
    import json

    def pairs(items: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in items}) != len(items):
            raise JsonError("an object has the same key twice")

    try:
        json.loads(raw, object_pairs_hook=pairs, parse_float=str, parse_int=str)
    except json.JSONDecodeError as error:
        raise JsonError("malformed JSON", error.pos) from None


def dumps(value: Any, *, pretty: bool = False, sort_keys: bool = False) -> bytes:
    """Writes JSON (compact, or indented by two spaces); every Decimal is written as its literal.

    Raises JsonError for values that JSON cannot hold (NaN, unpaired surrogates, foreign types).
    """
    option = (orjson.OPT_INDENT_2 if pretty else 0) | (orjson.OPT_SORT_KEYS if sort_keys else 0)
    try:
        return orjson.dumps(value, default=_fragment, option=option)
    except TypeError as error:
        if "64-bit" not in str(error):
            raise JsonError(_cause(error)) from None
    try:
        return orjson.dumps(_widened(value), default=_fragment, option=option)
    except TypeError as error:
        raise JsonError(_cause(error)) from None


def _fragment(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(value.literal)
    if isinstance(value, _decimal.Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError


def _widened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _widened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_widened(item) for item in value]
    if type(value) is int and not -_WIDE <= value < _WIDE:
        return orjson.Fragment(str(value))
    return value


def _cause(error: TypeError) -> str:
    text = str(error)
    if "Recursion" in text:
        return "nested too deeply"
    if "UTF-8" in text:
        return "text with an unpaired surrogate"
    return "a value that JSON cannot hold"
