"""JSON Patch on a JSON value (RFC 6902, JSON Pointer RFC 6901; R4 http.html#patch).

Strict: an operation that names what is not there fails, and with it the whole patch. Pure: the document given is not
changed. Decimals stay as they are written; ``test`` compares numbers by their value, as RFC 6902 §4.6 asks.
"""

from __future__ import annotations

import copy
import decimal
import re
from typing import Any

from hdg.errors import BadRequest

__all__ = ["PatchFailed", "apply_json_patch", "pointer"]

MAX_OPERATIONS = 10_000
MAX_COPIED = 16 * 1024 * 1024
"""Characters that all copies of a patch may hold, each value beside its text counted as _VALUE: copies of copies
double."""
_VALUE = 16
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_BAD_ESCAPE = re.compile(r"~(?![01])")
_MISSING = object()
_END = "-"


class PatchFailed(BadRequest):
    """The patch is well formed, but does not fit the resource (a path that is not there, a test that fails)."""


def apply_json_patch(document: Any, patch: Any) -> Any:
    """``document`` after all operations.

    Raises BadRequest for what is no JSON Patch, PatchFailed where it does not fit; the texts name the number of the
    operation and no value.
    """
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise BadRequest("a JSON Patch is an array of operations", code="structure")
    if len(patch) > MAX_OPERATIONS:
        raise BadRequest(f"more than {MAX_OPERATIONS} operations", code="too-costly")
    room = MAX_COPIED
    for number, operation in enumerate(patch):
        try:
            if operation.get("op") == "copy":
                room = _room_after(room, _at(document, pointer(operation.get("from"))))
            document = _apply(document, operation)
        except RecursionError:
            raise BadRequest(f"operation {number}: nested too deeply", code="too-costly") from None
        except PatchFailed as error:
            raise PatchFailed(f"operation {number}: {error}", code=error.code) from None
        except BadRequest as error:
            raise BadRequest(f"operation {number}: {error}", code=error.code) from None
    return document


def pointer(text: Any) -> list[str]:
    """The reference tokens of a JSON Pointer. Raises BadRequest when it is none."""
    if not isinstance(text, str) or (text and not text.startswith("/")) or _BAD_ESCAPE.search(text):
        raise BadRequest("a JSON Pointer is needed", code="value")
    return [token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:]]


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    name = operation.get("op")
    path = pointer(operation.get("path"))
    match name:
        case "add":
            return _add(document, path, _value(operation))
        case "remove":
            return _remove(document, path)[0]
        case "replace":
            if not path:
                return _value(operation)
            _at(document, path)
            return _edit(document, path, _value(operation), is_replacement=True)
        case "move":
            source = pointer(operation.get("from"))
            if path[: len(source)] == source and len(path) > len(source):
                raise PatchFailed("a value cannot be moved into itself")
            rest, taken = _remove(document, source)
            return _add(rest, path, taken)
        case "copy":
            return _add(document, path, copy.deepcopy(_at(document, pointer(operation.get("from")))))
        case "test":
            if not _is_equal(_at(document, path), _value(operation)):
                raise PatchFailed("a test does not hold")
            return document
    raise BadRequest("the op is add, remove, replace, move, copy or test", code="value")


def _room_after(room: int, copied: Any) -> int:
    """What is left of MAX_COPIED after one more copy. Raises BadRequest when that is nothing."""
    waiting = [copied]
    while waiting:
        value = waiting.pop()
        room -= _VALUE
        if isinstance(value, str):
            room -= len(value)
        elif isinstance(value, dict):
            room -= sum(map(len, value))
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        if room < 0:
            raise BadRequest("the copies of this patch are too large", code="too-costly")
    return room


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise BadRequest("a value is needed", code="required")
    return copy.deepcopy(operation["value"])


def _at(document: Any, path: list[str]) -> Any:
    for token in path:
        document = _step(document, token)
    return document


def _step(document: Any, token: str) -> Any:
    if isinstance(document, dict):
        found = document.get(token, _MISSING)
        if found is not _MISSING:
            return found
    elif isinstance(document, list) and _INDEX.fullmatch(token) and int(token) < len(document):
        return document[int(token)]
    raise PatchFailed("the path is not there")


def _edit(document: Any, path: list[str], value: Any, *, is_replacement: bool = False) -> Any:
    """``document`` with ``value`` at ``path``; objects and arrays on the way are copies."""
    token, *rest = path
    if isinstance(document, dict):
        if rest:
            value = _edit(_step(document, token), rest, value, is_replacement=is_replacement)
        return {**document, token: value}
    if not isinstance(document, list):
        raise PatchFailed("the path is not there")
    if rest or is_replacement:
        if rest:
            value = _edit(_step(document, token), rest, value, is_replacement=is_replacement)
        _step(document, token)
        return [*document[: int(token)], value, *document[int(token) + 1 :]]
    if token == _END:
        return [*document, value]
    if not _INDEX.fullmatch(token) or int(token) > len(document):
        raise PatchFailed("the path is not there")
    return [*document[: int(token)], value, *document[int(token) :]]


def _add(document: Any, path: list[str], value: Any) -> Any:
    return _edit(document, path, value) if path else value


def _remove(document: Any, path: list[str]) -> tuple[Any, Any]:
    """(the rest, what was removed)."""
    if not path:
        raise PatchFailed("the whole document cannot be removed")
    token, *rest = path
    found = _step(document, token)
    if rest:
        inner, taken = _remove(found, rest)
        if isinstance(document, dict):
            return {**document, token: inner}, taken
        return [*document[: int(token)], inner, *document[int(token) + 1 :]], taken
    if isinstance(document, dict):
        return {key: value for key, value in document.items() if key != token}, found
    return [*document[: int(token)], *document[int(token) + 1 :]], found


def _is_equal(one: Any, other: Any) -> bool:
    """RFC 6902 §4.6: the same JSON type and value; ``true`` is not 1, and 1.50 equals 1.5."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | decimal.Decimal) and isinstance(other, int | decimal.Decimal):
        return bool(one == other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return bool(one == other)
