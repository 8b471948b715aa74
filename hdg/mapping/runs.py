"""How a rule goes over the texts of its slot: repetitions at the top, single texts inside datatypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from hdg.mapping.context import (
    Conflict,
    Context,
    Converter,
    JsonObject,
    Problem,
    Read,
    Several,
    Unfit,
    is_same,
)
from hdg.mapping.target import SHORT

if TYPE_CHECKING:
    from hdg.mapping.actions import Assign, Fire
    from hdg.mapping.grammar import Slot

LENGTH: Final = 600
"""Longest text that is remembered, in characters."""
Run = Callable[[str, list[str], JsonObject, Any], bool]
"""``(raw slot text, view, root, context)``; True when the rule is settled (something was put or deleted)."""


class Quick:
    """Of a rule whose value is remembered (``kept``): what a text that is known leads to, without asking the rule."""

    __slots__ = ("assign", "beside", "has_default", "is_fleeting", "is_list", "kind", "name")

    def __init__(
        self,
        kind: str,
        name: str,
        assign: Assign,
        beside: tuple[int, ...],
        *,
        is_list: bool,
        is_fleeting: bool,
        has_default: bool,
    ) -> None:
        self.kind = kind
        """Under what its texts are remembered."""
        self.name = name
        """The element that takes the value (``is_list``: as an item); '' where more is to be done, by ``assign``."""
        self.assign = assign
        self.has_default = has_default
        """Whether the rule has something to put where its text gives nothing."""
        self.beside = beside
        """Slots whose texts it depends on beside its own."""
        self.is_list = is_list
        self.is_fleeting = is_fleeting
        """Whether it is remembered for one message only."""

    def is_put(self, raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        """Whether what a text gives was known, and put if it is anything."""
        values = context.values
        if values is None:
            return False
        key = (self.kind, with_beside(raw, self.beside, view) if self.beside else raw)
        known: Read | None = context.recent.get(key) if self.is_fleeting else values.young.get(key)
        if known is None:
            return False
        if self.is_list and known.several is not None:
            return _is_listed(known.several, self.name, out)
        value = known.single
        if value is None:
            return known.is_nothing and not self.has_default
        if not self.name:
            return self._is_assigned(value, out, context)
        if self.name in out:
            return False
        out[self.name] = [value] if self.is_list else value
        return True

    def _is_assigned(self, value: Any, out: JsonObject, context: Context) -> bool:
        try:
            self.assign(out, value, context)
        except (
            Conflict
        ):  # what was entered on the way is there: the rule itself says the same, and reports it
            return False
        return True


def _is_listed(values: list[Any], name: str, out: JsonObject) -> bool:
    """Whether objects were put into a list that is short (target.py); what it has already stays one item."""
    held = out.get(name)
    if held is None:
        out[name] = values.copy()
        return True
    if len(held) > SHORT:
        return False
    for value in values:
        if value not in held:
            held.append(value)
    return True


def with_beside(raw: str, slots: tuple[int, ...], view: list[str]) -> str:
    """A text with those of other slots, apart from one another by what no slot holds."""
    size = len(view)
    return "|".join([raw, *[view[slot] if slot < size else "" for slot in slots]])


def defaulted(number: int, run: Run, fallback: Fire) -> Run:
    """Runs on its slot when that holds text; the default steps in when nothing came of it."""

    def with_default(raw: str, view: list[str], out: JsonObject, context: Any) -> bool:
        if number < len(view) and (text := view[number]) and run(text, view, out, context):
            return True
        return fallback("", out, context)

    return with_default


def top(slot: Slot, fire: Fire, null: str, element: str) -> Run:
    """A rule of a segment table: every picked text in turn, problems settled at their repetition."""
    number, pick, separator, single = slot.number, slot.pick, slot.separator, slot.single

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        if raw == null:
            context.empty(element)
            return True
        if pick is None or (separator and separator not in raw):
            if single is not None:
                raw = single(raw)
                if not raw or raw == null:
                    return False
            hit = fire(raw, out, context)
            if context.problems:
                context.report(number, 1)
            return hit
        hit = False
        for repetition, text in enumerate(pick(raw), 1):
            if text and text != null:
                hit = fire(text, out, context) or hit
                if context.problems:
                    context.report(number, repetition)
        return hit

    return run


def direct(assign: Assign, name: str, otherwise: Run) -> Run:
    """A rule whose converter gives letters and digits as they are: puts them, and leaves all else to
    ``otherwise``.

    ``name``: the element that takes the text when nothing else is to be done, else ''.
    """
    if name:

        def plain(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
            if name not in out and raw.isalnum():
                out[name] = raw
                return True
            return otherwise(raw, view, out, context)

        return plain

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        if raw.isalnum():
            try:
                assign(out, raw, context)
            except Conflict:  # what was entered on the way is there: the second attempt says the same
                return otherwise(raw, view, out, context)
            return True
        return otherwise(raw, view, out, context)

    return run


def kept(
    slot: Slot,
    kind: str,
    convert: Converter,
    assign: Assign,
    plain_name: str,
    otherwise: Run,
    null: str,
    beside: tuple[int, ...] = (),
    *,
    is_fleeting: bool = False,
    is_coded: bool = False,
) -> Run:
    """``top`` for a converter that depends on text, the texts of the slots ``beside`` it, and sender alone: what it
    gave is remembered under ``kind``.

    ``plain_name``: the element that takes the value when nothing else is to be done, else ''. ``otherwise``
    runs where nothing may be remembered, and deletes. ``is_fleeting``: remembered for this message only;
    ``is_coded``: remembered from the first time on, since codes are few and come again.
    """
    number, separator, single = slot.number, slot.separator, slot.single
    texts_of = slot.pick or (lambda raw: (raw,))

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        values = context.values
        if values is None or raw == null:
            return otherwise(raw, view, out, context)
        whole = with_beside(raw, beside, view) if beside else raw
        key = (kind, whole)
        if is_fleeting:
            read = context.recent.get(key)
        else:
            read = values.young.get(key) or context.recent.get(key) or values.older(key)
        if read is None:
            if "\\" in whole or len(whole) > LENGTH:
                return otherwise(raw, view, out, context)
            read = (
                _read_one(single(raw) if single is not None else raw, convert, null, context)
                if (separator and separator not in raw)
                else _read(texts_of(raw), convert, null, context)
            )
            if is_coded:
                values.keep(key, read)
            else:
                context.recent[key] = read
                if not is_fleeting:
                    values.offer(key, read)
        value = read.single
        if value is None:
            return _put_all(read, number, assign, out, context)
        if plain_name:
            held = out.setdefault(plain_name, value)
            if held is value or held == value or is_same(held, value):
                return True
            _conflict(plain_name, context)
            context.report(number, 1)
            return True
        try:
            assign(out, value, context)
        except Conflict as conflict:
            _conflict(conflict.element, context)
            context.report(number, 1)
        return True

    return run


def _read_one(text: str, convert: Converter, null: str, context: Context) -> Read:
    """``_read`` of a field of one repetition, by a short way when all is well."""
    if text and text != null:
        mark = len(context.problems)
        try:
            value = convert(text, context)
        except Unfit:
            del context.problems[mark:]
        else:
            kind = type(value)
            if len(context.problems) == mark and kind is not Several and value is not None:
                is_object = kind is dict
                return Read(
                    value, ((1, value, ()),), (value,) if is_object else (), [value] if is_object else None
                )
            del context.problems[mark:]
    return _read((text,), convert, null, context)


def _read(texts: Sequence[str], convert: Converter, null: str, context: Context) -> Read:
    """Every repetition's value and problems."""
    items = []
    mark = len(context.problems)
    for repetition, text in enumerate(texts, 1):
        if not text or text == null:
            continue
        try:
            value = convert(text, context)
        except Unfit as unfit:
            context.problems.append(Problem(unfit.severity, unfit.code, unfit.text))
            value = unfit.kept
        problems = tuple(context.problems[mark:])
        del context.problems[mark:]
        items.append((repetition, value, problems))
    is_single = len(items) == 1 and items[0][0] == 1 and not items[0][2] and type(items[0][1]) is not Several
    objects = [value for _, value, _ in items if type(value) is dict]
    is_several = bool(objects) and all(
        type(value) is dict and not problems and value not in objects[:index]
        for index, (_, value, problems) in enumerate(items)
    )
    single = items[0][1] if is_single else None
    return Read(single, tuple(items), tuple(objects), objects if is_several else None)


def _put_all(read: Read, number: int, assign: Assign, out: JsonObject, context: Context) -> bool:
    hit = False
    for repetition, value, problems in read.items:
        if problems:
            context.problems.extend([problem.copy() for problem in problems])
        if value is not None:
            hit = _put(value, assign, out, context) or hit
        if context.problems:
            context.report(number, repetition)
    return hit


def _put(value: Any, assign: Assign, out: JsonObject, context: Context) -> bool:
    try:
        if type(value) is Several:
            for single in value:
                assign(out, single, context)
            return bool(value)
        assign(out, value, context)
    except Conflict as conflict:
        _conflict(conflict.element, context)
    return True


def _conflict(element: str, context: Context) -> None:
    text = f"{element} has another value already, which stays"
    context.problems.append(Problem("information", "duplicate", text))


def nested(slot: Slot, fire: Fire, null: str) -> Run:
    """A rule of a datatype table."""
    number, pick, single = slot.number, slot.pick, slot.single

    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        if raw == null:
            return False
        mark = len(context.problems)
        hit = False
        if single is not None:
            text = single(raw)
            if text and text != null:
                hit = fire(text, out, context)
        elif pick is None:
            hit = fire(raw, out, context)
        else:
            for text in pick(raw):
                if text and text != null:
                    hit = fire(text, out, context) or hit
        if len(context.problems) > mark:
            for problem in context.problems[mark:]:
                problem.path.append(number)
        return hit

    return run
