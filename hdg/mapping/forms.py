"""Forms: what a pure datatype table makes of texts that differ only in parts which it hands on as they are.

Two phone numbers or two identifiers of one authority become the same JSON but for a number. A table's *free*
parts are those whose text no test compares and that only ``string`` rows read; a form is what the table makes
when each of them is a marker. Filling a form gives what the table itself would give, at the cost of parsing it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson

from hdg.fhir.json import MAX_DEPTH, JsonError
from hdg.mapping.context import SHARED_LENGTH, Context, Converter, JsonObject, Unfit

_MARK: Final = "hdgfreepart"
_Path = tuple[str | int, ...]


class Parts(NamedTuple):
    """What is known of a table whose texts split at ``separator``."""

    separator: str
    free: tuple[int, ...]
    """Numbers (1-based) of the free parts."""
    composing: Converter | None
    """The one converter of the whole text whose value may be composed of free parts; it is asked each time."""
    unclean: Sequence[str]
    """Texts that make a part more than the text it shows: separators below, the escape character."""
    null: str


class _Form(NamedTuple):
    """``frozen``: the JSON with markers. A free part goes to (way, last step, its index among the valued free
    parts); the composing converter's value to (way, last step).
    """

    frozen: bytes
    places: tuple[tuple[_Path, str | int, int], ...]
    composed: tuple[tuple[_Path, str | int], ...]


def formed(name: str, build: Converter, parts: Parts) -> Converter:
    """``build``, which fills a form where there is one. Values are new each time."""
    separator, free, composing, unclean, null = parts
    plainly: Callable[[str, Context], JsonObject | None] = build
    has_more = re.compile(f"[{re.escape(''.join(unclean))}]").search

    def convert(text: str, context: Context) -> JsonObject | None:
        shared = context.shared
        if shared is None or len(text) > SHARED_LENGTH or _MARK in text:
            return plainly(text, context)
        texts = text.split(separator)
        size = len(texts)
        found: list[str] = []
        for number in free:
            if number > size:
                break
            part = texts[number - 1]
            if part:
                if not part.isalnum() and (
                    part == null
                    or not part.isprintable()
                    or part[0] == " "
                    or part[-1] == " "
                    or has_more(part)
                ):
                    return plainly(text, context)  # a string row would not hand this part on as it is
                found.append(part)
                texts[number - 1] = _MARK
        if not found:
            return plainly(text, context)
        key = (name, separator.join(texts))
        form: Any = shared.get(key, _UNKNOWN)
        if form is _UNKNOWN:
            return _first(key, text, texts, found, context)
        filled = None if form is None else _filled(form, found, text, context)
        return plainly(text, context) if filled is None else filled

    def _filled(form: _Form, found: Sequence[str], text: str, context: Context) -> JsonObject | None:
        made: JsonObject = orjson.loads(form.frozen)
        node: Any
        for way, last, index in form.places:
            node = made
            for step in way:
                node = node[step]
            node[last] = found[index]
        if form.composed and composing is not None:
            mark = len(context.problems)
            value = composing(text, context)
            if value is None or len(context.problems) > mark:
                del context.problems[mark:]
                return None
            for way, last in form.composed:
                node = made
                for step in way:
                    node = node[step]
                node[last] = value
        return made

    def _first(
        key: tuple[str, str], text: str, texts: list[str], found: Sequence[str], context: Context
    ) -> JsonObject | None:
        """Build the text, and its form; a form that does not give the same is none."""
        mark = len(context.problems)
        made: JsonObject | None = build(text, context)
        form = None
        if len(context.problems) == mark and made is not None:
            form = _form(build, separator, texts, context, is_composing=composing is not None)
            if form is not None and _differ(_filled(form, found, text, context), made):
                form = None
        context.keep(key, form)
        return made

    return convert


_UNKNOWN: Final[Any] = object()


def _form(
    build: Converter, separator: str, texts: Sequence[str], context: Context, *, is_composing: bool
) -> _Form | None:
    """The form of a text whose free parts are marked; None when they have any effect but to be shown."""
    marked: list[str] = []
    for text in texts:
        marked.append(f"{_MARK}{sum(map(_is_mark, marked))}x" if text == _MARK else text)
    mark = len(context.problems)
    try:
        made = build(separator.join(marked), context)
        frozen = orjson.dumps(made) if made else b""
    except (TypeError, Unfit):  # a decimal in an extension
        return None
    finally:
        has_problem = len(context.problems) > mark
        del context.problems[mark:]
    if has_problem or not made:
        return None
    places: list[tuple[_Path, str | int, int]] = []
    composed: list[tuple[_Path, str | int]] = []
    for path, leaf in _leaves(made, ()):
        if _MARK not in leaf:
            continue
        if leaf in marked:
            places.append((path[:-1], path[-1], int(leaf[len(_MARK) : -1])))
        elif is_composing:
            composed.append((path[:-1], path[-1]))
        else:
            return None
    return _Form(frozen, tuple(places), tuple(composed))


def _is_mark(text: str) -> bool:
    return text.startswith(_MARK)


def _leaves(value: Any, path: _Path) -> Iterator[tuple[_Path, str]]:
    """Every text in a JSON value with its path. Raises JsonError: nested too deeply."""
    if len(path) > MAX_DEPTH:
        raise JsonError("nested too deeply")
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _leaves(part, (*path, index))


def _differ(one: Any, other: Any) -> bool:
    """Whether two values differ in anything, the order of elements included."""
    return one is None or orjson.dumps(one) != orjson.dumps(other)


__all__ = ["Parts", "formed"]
