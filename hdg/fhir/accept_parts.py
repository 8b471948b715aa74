"""The checks of objects with certain properties, made of what is to be done with each value.

A check is Python source with a few lines per property, so that the kinds of values that come most are looked at
in place, without a call for each. Nothing of a definition or of a resource is ever part of the source: names
and sets come in as arguments. So it is compiled once per form (what kinds of values, how many tests), which
types and sequences of properties share. R4 json.html, R4 references.html#literal.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from hdg.fhir.definitions import resource_types
from hdg.fhir.invariants import Rule
from hdg.fhir.json import JsonObject
from hdg.fhir.primitives import Check, Finding, primitive_check

__all__ = ["ASK", "Part", "literal", "made_check"]

ASK: list[Finding] = [("", "processing", "to be asked in full")]

# What is kept is little: it is looked at for every value, and has to stay in the processor's cache.
_MAX_TEXTS = 512  # texts per primitive type
_MAX_REFERENCES = 256  # texts of references
_MAX_LENGTH = 128  # characters of a text that is kept
_MAX_ID = 64  # characters
_SHORT = 4096  # characters of a string of which only the characters are to be looked at
_MAX_FORMS = 1024  # compiled forms


class Part(NamedTuple):
    """What to do with the value of one property, or with each item of its array.

    ``code``: one of the texts ``known``; ``text``: one of the texts ``known``, which grow by those that
    ``check`` finds right; ``string``: printable, or ``check``; ``id``: letters and digits, or ``check``;
    ``reference``: ``Type/id`` with a type of ``known``, alone or with a display, a display alone, or ``check``;
    ``object``: by its own properties, of which ``known`` (a pair: those that are made, what makes another) has the
    checks; ``check``: as that says.
    ``is_trusted``: not asked again if ``scope.trusted`` has it with ``check``.
    """

    key: str
    how: Literal["code", "text", "string", "id", "reference", "object", "check"]
    is_list: bool
    check: Check
    known: Any = None
    is_trusted: bool = False

    @property
    def form(self) -> _Form:
        """What decides its lines."""
        return self.how, self.is_list, self.is_trusted


_Form = tuple[str, bool, bool]
_MUST_ASK = {
    "code": "item.__class__ is not str or item not in known{n}",
    "text": "item.__class__ is not str or (item not in known{n} and is_wrong(item, known{n}, check{n}))",
    "string": "(item.__class__ is not str or not item.isprintable() or not 0 < len(item) < SHORT)"
    " and check{n}(item, scope) is not None",
    "id": "(item.__class__ is not str or not item.isalnum() or len(item) > MAX_ID or not item.isascii())"
    " and check{n}(item, scope) is not None",
    "reference": "item.__class__ is not dict"
    " or (((text := item.get('reference')).__class__ is not str or types(text) not in known{n} or (len(item) != 1"
    " and not (len(item) == 2 and (label := item.get('display')).__class__ is str and label.isprintable()"
    " and 0 < len(label) < SHORT)))"
    " and not is_named(item, text, known{n}) and check{n}(item, scope) is not None)",
    "object": "item.__class__ is not dict"
    " or (known{n}(tuple(item)) or make{n}(item, scope))(item, scope) is not None",
    "check": "check{n}(item, scope) is not None",
}
"""By ``how``, for the part of number ``n``: whether an item has to be asked in full. What the calls of is_wrong and
is_named say is said without them for what is known already.
"""


def made_check(parts: Sequence[Part], tests: Sequence[Rule]) -> Check:
    """The check of objects whose properties are those of ``parts``, then of ``tests``."""
    parts = sorted(parts, key=lambda part: part.form)
    constants: list[Any] = []
    for part in parts:
        known, make = part.known if part.how == "object" else (part.known, None)
        constants += [part.key, part.check, known, make]
    made = _compiled(tuple(part.form for part in parts), len(tests))(*constants, *tests)
    made.__code__ = made.__code__.replace()  # its own: the interpreter specializes it for these constants
    check: Check = made
    return check


@lru_cache(maxsize=_MAX_FORMS)
def _compiled(forms: tuple[_Form, ...], tests: int) -> Callable[..., Any]:
    """A function that makes the check out of each part's key, check, known and make, and of the tests."""
    names = [f"{name}{number}" for number in range(len(forms)) for name in ("key", "check", "known", "make")]
    names += [f"test{number}" for number in range(tests)]
    body = ["trusted = scope.trusted.get"] if any(is_trusted for _, _, is_trusted in forms) else []
    for number, form in enumerate(forms):
        body += _lines(number, *form)
    for number in range(tests):
        body += [f"if not test{number}(value, scope):", "    return ASK"]
    lines = [f"def made({', '.join(names)}):", "    def check(value, scope):"]
    lines += ["        " + line for line in (*body, "return None")]
    source = "\n".join([*lines, "    return check", ""])
    file = f"<hdg.fhir.accept {','.join(''.join((how, '*' * many, '!' * held)) for how, many, held in forms)} {tests}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for tracebacks
    space: dict[str, Any] = dict(_SPACE)
    exec(compile(source, file, "exec"), space)  # noqa: S102  # made of the lines above and numbers alone
    made: Callable[..., Any] = space["made"]
    return made


def _lines(number: int, how: str, is_list: bool, is_trusted: bool) -> list[str]:
    test = _MUST_ASK[how].format(n=number)
    lines = [f"if {test}:", "    return ASK"]
    if is_trusted:
        lines = [
            "held = trusted(id(item))",
            f"if held is None or held[1] is not check{number}:",
            *("    " + line for line in lines),
            "    if held is not None:",
            f"        held[1] = check{number}",
        ]
    if not is_list:
        return [f"item = value[key{number}]", *lines]
    return [
        f"items = value[key{number}]",
        "if items.__class__ is not list or not items:",
        "    return ASK",
        "for item in items:",
        *("    " + line for line in lines),
    ]


# --- what the source names ---------------------------------------------------------------------------------


def _is_wrong(text: str, passed: set[str], check: Check) -> bool:
    """Whether a text that is not known is wrong; the others are kept."""
    if check(text, None) is not None:
        return True
    if len(text) <= _MAX_LENGTH:
        if len(passed) >= _MAX_TEXTS:
            passed.clear()
        passed.add(text)
    return False


def _is_named(reference: JsonObject, text: Any, known: frozenset[str]) -> bool:
    """Whether a Reference is right by its text of a known type, by a right display, or by both."""
    if text.__class__ is str and (_types.get(text) or _type_of(text)) in known:
        if len(reference) == 1:
            return True
    elif "reference" in reference:
        return False
    is_whole = len(reference) == (2 if "reference" in reference else 1)
    return is_whole and "display" in reference and _STRING(reference["display"], None) is None


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


_STRING = primitive_check("string")
_TYPES = resource_types()
_types: dict[str, str] = {}
_SPACE = {
    "ASK": ASK,
    "SHORT": _SHORT,
    "MAX_ID": _MAX_ID,
    "is_wrong": _is_wrong,
    "is_named": _is_named,
    "types": _types.get,
}
