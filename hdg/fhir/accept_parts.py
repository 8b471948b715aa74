"""What is to be done with the value of each property of an object, and the checks of objects that are made of it.

The kinds of values that come most are looked at in place; all others by the check of their type. R4 json.html,
R4 references.html#literal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hdg.fhir.definitions import resource_types
from hdg.fhir.invariants import Rule, Scope
from hdg.fhir.json import JsonObject
from hdg.fhir.primitives import Check, Finding, primitive_check

__all__ = ["ASK", "Code", "Id", "Object", "Part", "Reference", "Shape", "Shapes", "String", "Text", "literal"]

ASK: Final[list[Finding]] = [("", "processing", "to be asked in full")]

# What is kept is little: it is looked at for every value, and has to stay in the processor's cache.
_MAX_TEXTS: Final = 512  # texts per primitive type
_MAX_REFERENCES: Final = 256  # texts of references
_MAX_LENGTH: Final = 128  # characters of a text that is kept
_MAX_ID: Final = 64  # characters
_SHORT: Final = 4096  # characters of a string of which only the characters are to be looked at


class Part:
    """What to do with the value of the property ``key``, or with each item of its array: ask ``check``."""

    __slots__ = ("check", "is_list", "is_trusted", "key")

    def __init__(self, key: str, check: Check, *, is_list: bool = False, is_trusted: bool = False) -> None:
        self.key = key
        self.check = check
        self.is_list = is_list
        self.is_trusted = is_trusted
        """Whether it is not asked again where ``scope.trusted`` has it with ``check``."""

    def asks(self, item: Any, scope: Scope) -> bool:
        """Whether an item has to be asked in full."""
        return self.check(item, scope) is not None


class Code(Part):
    """One of the texts ``known``."""

    __slots__ = ("known",)

    def __init__(self, key: str, check: Check, known: frozenset[str], *, is_list: bool = False) -> None:
        super().__init__(key, check, is_list=is_list)
        self.known = known

    def asks(self, item: Any, scope: Scope) -> bool:
        """Whether an item has to be asked in full."""
        return type(item) is not str or item not in self.known


class Text(Part):
    """One of the texts ``known``, which grow by those that ``check`` finds right."""

    __slots__ = ("known",)

    def __init__(self, key: str, check: Check, known: set[str], *, is_list: bool = False) -> None:
        super().__init__(key, check, is_list=is_list)
        self.known = known

    def asks(self, item: Any, scope: Scope) -> bool:
        """Whether an item has to be asked in full."""
        if type(item) is not str:
            return True
        return item not in self.known and _is_wrong(item, self.known, self.check)


class String(Part):
    """A printable text, or what ``check`` finds right."""

    __slots__ = ()

    def asks(self, item: Any, scope: Scope) -> bool:
        """Whether an item has to be asked in full."""
        if type(item) is str and item.isprintable() and 0 < len(item) < _SHORT:
            return False
        return self.check(item, scope) is not None


class Id(Part):
    """Letters and digits, or what ``check`` finds right."""

    __slots__ = ()

    def asks(self, item: Any, scope: Scope) -> bool:
        """Whether an item has to be asked in full."""
        if type(item) is str and item.isalnum() and len(item) <= _MAX_ID and item.isascii():
            return False
        return self.check(item, scope) is not None


class Reference(Part):
    """``Type/id`` with a type of ``known``, alone or with a display, a display alone, or what ``check`` finds right."""

    __slots__ = ("known",)

    def __init__(self, key: str, check: Check, known: frozenset[str], *, is_list: bool = False) -> None:
        super().__init__(key, check, is_list=is_list)
        self.known = known

    def asks(self, item: Any, scope: Scope) -> bool:
        """Whether an item has to be asked in full."""
        if type(item) is not dict:
            return True
        return not _is_named(item, self.known) and self.check(item, scope) is not None


class Object(Part):
    """An object of the type of ``shapes``, by its own properties."""

    __slots__ = ("shapes",)

    def __init__(
        self, key: str, check: Check, shapes: Shapes, *, is_list: bool = False, is_trusted: bool = False
    ) -> None:
        super().__init__(key, check, is_list=is_list, is_trusted=is_trusted)
        self.shapes = shapes

    def asks(self, item: Any, scope: Scope) -> bool:
        """Whether an item has to be asked in full."""
        return self.shapes.asks(item, scope)


class Shape:
    """Objects with the same properties, which are those of ``parts``; then ``tests`` have to hold."""

    __slots__ = ("is_refused", "parts", "tests")

    def __init__(self, parts: Sequence[Part], tests: Sequence[Rule], *, is_refused: bool = False) -> None:
        self.parts = tuple(parts)
        self.tests = tuple(tests)
        self.is_refused = is_refused
        """Whether none of them can be found right by what is known here."""

    def asks(self, value: JsonObject, scope: Scope) -> bool:
        """Whether an object has to be asked in full, be it for being inside too many others."""
        if self.is_refused or not scope.room:
            return True
        scope.room -= 1
        is_wrong = self._is_wrong(value, scope)
        scope.room += 1
        return is_wrong

    def _is_wrong(self, value: JsonObject, scope: Scope) -> bool:
        for part in self.parts:
            item = value[part.key]
            if not part.is_list:
                if _asks(part, item, scope):
                    return True
                continue
            if type(item) is not list or not item:
                return True
            for one in item:
                if _asks(part, one, scope):
                    return True
        for test in self.tests:  # noqa: SIM110  # a generator is slower
            if not test(value, scope):
                return True
        return False


def _asks(part: Part, item: Any, scope: Scope) -> bool:
    if not part.is_trusted:
        return part.asks(item, scope)
    held = scope.trusted.get(id(item))
    if held is not None and held[1] is part.check:
        return False
    if part.asks(item, scope):
        return True
    if held is not None:
        held[1] = part.check
    return False


class Shapes:
    """The shapes of one type, by the properties of an object in their order."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, ...], Shape] = {}

    def make(self, value: JsonObject, scope: Scope) -> Shape:
        """The shape of objects with the properties of ``value``, which is kept."""
        raise NotImplementedError

    def asks(self, value: Any, scope: Scope) -> bool:
        """Whether a value that should be of this type has to be asked in full."""
        if type(value) is not dict:
            return True
        shape = self.made.get(tuple(value))
        if shape is None:
            shape = self.make(value, scope)
        return shape.asks(value, scope)


def _is_wrong(text: str, passed: set[str], check: Check) -> bool:
    """Whether a text that is not known is wrong; the others are kept."""
    if check(text, None) is not None:
        return True
    if len(text) <= _MAX_LENGTH:
        if len(passed) >= _MAX_TEXTS:
            passed.clear()
        passed.add(text)
    return False


def _is_named(reference: JsonObject, known: frozenset[str]) -> bool:
    """Whether a Reference is right by its text of a known type, by a right display, or by both."""
    text = reference.get("reference")
    size = len(reference)
    if type(text) is str and (_types.get(text) or _type_of(text)) in known:
        return size == 1 or (size == 2 and _is_shown(reference))
    return text is None and "reference" not in reference and size == 1 and _is_shown(reference)


def _is_shown(reference: JsonObject) -> bool:
    """Whether there is a display, and a right one."""
    shown = reference.get("display")
    if type(shown) is str and shown.isprintable() and 0 < len(shown) < _SHORT:
        return True
    return shown is not None and _STRING(shown, None) is None


def _type_of(text: str) -> str | None:
    """The type in a plain ``Type/id``, which is kept, since a message names its patient often; else None."""
    head, _, rest = text.partition("/")
    if not (rest.isalnum() and len(rest) <= _MAX_ID and rest.isascii() and head in _TYPES):
        return None
    _keep(text, head)
    return head


def _keep(text: str, kind: str) -> None:
    if len(_types) >= _MAX_REFERENCES:
        _types.clear()
    _types[text] = kind


def literal(kind: str, identity: str) -> str:
    """``Type/id`` of a resource whose id hdg.fhir.ids made; checks need not read it again."""
    text = f"{kind}/{identity}"
    if kind in _TYPES:
        _keep(text, kind)
    return text


_STRING: Final = primitive_check("string")
_TYPES: Final = resource_types()
_types: Final[dict[str, str]] = {}
