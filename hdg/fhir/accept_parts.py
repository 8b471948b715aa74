"""The checks of objects with certain properties, made of what is to be done with each value.

The kinds of values that come most are looked at in place, without a call for each.
R4 json.html, R4 references.html#literal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from hdg.fhir.definitions import resource_types
from hdg.fhir.invariants import Rule, Scope
from hdg.fhir.json import JsonObject
from hdg.fhir.primitives import Check, Finding, primitive_check

__all__ = ["ASK", "Part", "Passed", "closure"]

ASK: list[Finding] = [("", "processing", "to be asked in full")]
Passed = set[str] | frozenset[str]

_MAX_TEXTS = 4096  # texts per primitive type, references
_MAX_LENGTH = 128  # characters of a text that is kept
_MAX_ID = 64  # characters
_SHORT = 4096  # characters of a string of which only the characters are to be looked at


class Part(NamedTuple):
    """What to do with the value of one property, or with each item of its array.

    ``text``: one of the texts ``known``, or ``check``; ``string``: printable, or ``check``; ``reference``:
    ``Type/id`` with a type of ``known``, alone or with a display, or ``check``; ``trusted``: not asked again
    if ``scope.trusted`` has it with ``check``; ``check``: as that says.
    """

    key: str
    how: Literal["text", "string", "reference", "trusted", "check"]
    is_list: bool
    check: Check
    known: Any = None


def closure(parts: Sequence[Part], tests: Sequence[Rule]) -> Check:
    """The check of objects whose properties are those of ``parts``, then of ``tests``."""

    def of(how: str, *, is_list: bool = False) -> list[Part]:
        return [part for part in parts if part.how == how and part.is_list == is_list]

    texts = tuple((part.key, part.known, part.check) for part in of("text"))
    strings = tuple((part.key, part.check) for part in of("string"))
    others: list[tuple[str, Check]] = [(part.key, part.check) for part in of("check")]
    for how in ("text", "string", "check"):
        others += [(part.key, _each(part.check)) for part in of(how, is_list=True)]
    rest = tuple(others)
    rules = tuple(tests)

    def plain(value: JsonObject, scope: Scope) -> list[Finding] | None:
        for key, known, check in texts:
            text = value[key]
            if type(text) is not str or (text not in known and _is_wrong(text, known, check)):
                return ASK
        for key, check in strings:
            text = value[key]
            is_right = type(text) is str and text.isprintable() and 0 < len(text) < _SHORT
            if not is_right and check(text, scope) is not None:
                return ASK
        for key, check in rest:
            if check(value[key], scope) is not None:
                return ASK
        for test in rules:
            if not test(value, scope):
                return ASK
        return None

    objects = tuple((part.key, part.check) for part in of("trusted"))
    lists = tuple((part.key, part.check) for part in of("trusted", is_list=True))
    references = tuple((part.key, part.known, part.check) for part in of("reference"))
    reference_lists = tuple((part.key, part.known, part.check) for part in of("reference", is_list=True))
    if not (objects or lists or references or reference_lists):
        return plain

    def full(value: JsonObject, scope: Scope) -> list[Finding] | None:
        trusted = scope.trusted.get
        for key, check in objects:
            item = value[key]
            held = trusted(id(item))
            if held is None or held[1] is not check:
                if check(item, scope) is not None:
                    return ASK
                if held is not None:
                    held[1] = check
        for key, check in lists:
            items = value[key]
            if type(items) is not list or not items:
                return ASK
            for item in items:
                held = trusted(id(item))
                if held is None or held[1] is not check:
                    if check(item, scope) is not None:
                        return ASK
                    if held is not None:
                        held[1] = check
        for key, known, check in references:
            item = value[key]
            if type(item) is not dict:
                return ASK
            text = item.get("reference")
            is_plain = type(text) is str and _type_of(text) in known and (len(item) == 1 or _is_named(item))
            if not is_plain and check(item, scope) is not None:
                return ASK
        for key, known, check in reference_lists:
            items = value[key]
            if type(items) is not list or not items:
                return ASK
            for item in items:
                if type(item) is not dict:
                    return ASK
                text = item.get("reference")
                is_plain = type(text) is str and _type_of(text) in known
                is_plain = is_plain and (len(item) == 1 or _is_named(item))
                if not is_plain and check(item, scope) is not None:
                    return ASK
        return plain(value, scope)

    return full


def _each(check: Check) -> Check:
    """The check of an array by that of an item."""

    def each(value: Any, scope: Scope) -> list[Finding] | None:
        if type(value) is not list or not value:
            return ASK
        for item in value:
            if check(item, scope) is not None:
                return ASK
        return None

    return each


def _is_wrong(text: str, passed: Passed, check: Check) -> bool:
    """Whether a text that is not known is wrong; the others are kept."""
    if check(text, None) is not None:
        return True
    if type(passed) is set and len(text) <= _MAX_LENGTH:
        if len(passed) >= _MAX_TEXTS:
            passed.clear()
        passed.add(text)
    return False


def _is_named(reference: JsonObject) -> bool:
    """Whether a Reference has a right display beside its text and nothing else."""
    return len(reference) == 2 and "display" in reference and _STRING(reference["display"], None) is None


_STRING = primitive_check("string")


@lru_cache(maxsize=_MAX_TEXTS)
def _type_of(text: str) -> str | None:
    """The type in a plain ``Type/id``, None for any other text; kept, since a message names its patient often."""
    head, _, rest = text.partition("/")
    is_plain = len(rest) <= _MAX_ID and rest.isalnum() and rest.isascii() and head in resource_types()
    return head if is_plain else None
