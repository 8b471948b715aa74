"""HL7 v2 as the mapping compiler sees it: where sources lie in segments and datatypes, how ``when`` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from hdg.ingestion.hl7v2 import (  # noqa: F401  # they register
    converters_adt,
    converters_families_a,
    converters_families_b,
    converters_merge,
    converters_mfn,
    converters_oru,
    converters_siu,
    identity,
    values,
)
from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.encoding import NULL, component, subcomponent, unescape
from hdg.ingestion.hl7v2.grammar import Source, is_datatype, is_segment, parse_source
from hdg.ingestion.hl7v2.primitives import PRIMITIVES
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Converter
from hdg.mapping.convert import Registry
from hdg.mapping.grammar import Slot
from hdg.mapping.table import Table
from hdg.mapping.when import Readers

CONVERTERS.expect("pcd.", "hdg.ingestion.device.pcd_values")  # it registers, too, once a table wants it
_SEPARATORS: Final = {1: "^", 2: "&"}
HEADER: Final = "MSH"
_SHORT: Final = 64
_BLANK: Final = "^&~"
"""What a field may consist of and still not be valued."""
_FLEETING: Final = [
    *("MSH-7", "MSH-10", "MSH-13", "EVN-2", "ORC-2", "ORC-3", "ORC-9", "ORC-15"),
    *("OBR-2", "OBR-3", "OBR-7", "OBR-8", "OBR-14", "OBR-22", "OBX-14", "OBX-19", "OBX-21"),
    *("SPM-2", "SPM-17", "SPM-18", "TXA-12"),
]
_APART: Final = [
    *("PID-11", "PID-16"),  # address, marital status: an update has a new one
    *("PV1-3", "PV1-6", "PV1-11", "PV1-19", "PV1-42", "PV1-43", "PV1-44", "PV1-45"),  # places, visit, times
]
Text = Callable[[Any, Any], str]


class V2Grammar:
    """The Grammar of HL7 v2. Depth 0: a segment table; datatype tables open at 1 (``^``), 2 (``&``) or 3."""

    primitives: ClassVar[Mapping[str, Converter]] = PRIMITIVES
    converters: ClassVar[Registry] = CONVERTERS
    null: ClassVar[str] = NULL
    marks: ClassVar[Sequence[str]] = ("^", "&", "\\", "~")
    verbatim: ClassVar[frozenset[str]] = frozenset({"string", "markdown", "code", "uri", "url"})
    between: ClassVar[str] = "|"
    fleeting: ClassVar[frozenset[str]] = frozenset(_FLEETING)
    apart: ClassVar[frozenset[str]] = frozenset(_APART)
    loose: ClassVar[frozenset[str]] = frozenset({"OBX"})

    def slot(self, source: str, table: Table, depth: int) -> Slot:
        """Where a source of a table lies."""
        parsed = parse_source(source, _unit(table, source))
        if depth == 0:
            return _field_slot(parsed)
        if not parsed.number:
            return Slot(0, None, depth)
        if not parsed.component:
            return Slot(parsed.number, None, min(depth + 1, 3), is_first=True)
        if depth > 1:  # a component of a component of a component: the text has no such level
            pick = _whole_if_first(parsed.component)
            return Slot(parsed.number, pick, 3, (parsed.component,))
        number = parsed.component
        single = lambda raw: subcomponent(raw, number)  # noqa: E731  # as short as the others
        pick = lambda raw: (subcomponent(raw, number),)  # noqa: E731
        return Slot(parsed.number, pick, 3, (number,), single=single, is_first=number == 1)

    def readers(self, operand: str, table: Table, depth: int) -> Readers:
        """How ``when`` reads an operand: the view if it is of the table's own unit, else the message."""
        parsed = parse_source(operand, _unit(table, operand))
        if parsed.is_segment:
            is_own = depth == 0 and parsed.unit == table.source
            return _field_readers(parsed, is_own=is_own)
        return _component_readers(parsed, depth)

    def opener(self, depth: int) -> Callable[[str], list[str]]:
        """Splits a datatype's text; slot 0 is the whole."""
        separator = _SEPARATORS.get(depth)
        if separator is None:
            return lambda text: [text, text]

        def open_view(text: str) -> list[str]:
            if separator in text:
                return [text, *text.split(separator)]
            return [text, text]

        return open_view


def _unit(table: Table, source: str) -> str:
    unit = table.source
    if is_segment(unit) or is_datatype(unit):
        return unit
    return source.partition("-")[0]


def _whole_if_first(number: int) -> Callable[[str], Sequence[str]]:
    if number == 1:
        return lambda raw: (raw,)
    return lambda raw: ()


def _field_slot(source: Source) -> Slot:
    number, repetition = source.number, source.repetition
    trail = tuple(part for part in (source.component, source.subcomponent) if part)
    if not number:
        return Slot(0, None, 1)
    if source.is_segment and not repetition and not source.component:
        return Slot(number, _repetitions, 1, separator="~", is_first=True)
    dig = _dig(source)
    is_first = max(source.component, 1) == 1 and max(source.subcomponent, 1) == 1 and repetition <= 1
    if repetition:

        def fixed(raw: str) -> Sequence[str]:
            texts = raw.split("~")
            return (*[""] * (repetition - 1), dig(texts[repetition - 1])) if repetition <= len(texts) else ()

        key = f"[{repetition}]{trail}"
        if repetition > 1:
            return Slot(number, fixed, source.depth, trail, key=key)
        return Slot(number, fixed, source.depth, trail, "~", key, dig, is_first)
    pick = lambda raw: [dig(text) for text in raw.split("~")]  # noqa: E731  # as short as the others
    return Slot(number, pick, source.depth, trail, "~", f"{trail}", dig, is_first)


def _repetitions(raw: str) -> Sequence[str]:
    return raw.split("~") if "~" in raw else (raw,)


def _dig(source: Source) -> Callable[[str], str]:
    first, second = source.component, source.subcomponent
    if not first:
        return lambda text: text
    if not second:
        return lambda text: component(text, first)
    return lambda text: subcomponent(component(text, first), second)


def _field_readers(source: Source, *, is_own: bool) -> Readers:
    unit, number, at = source.unit, source.number, max(source.repetition - 1, 0)
    if not number:
        return Readers(
            text=lambda view, state: unit if state.has(unit) else "",
            is_valued=lambda view, state: state.has(unit),
            repetitions=lambda view, state: len(state.message.all(unit)),
        )
    if is_own:

        def raw(view: list[str], state: State) -> str:
            return view[number] if number < len(view) else ""
    else:

        def raw(view: list[str], state: State) -> str:
            return state.field(unit, number)

    dig = _dig(source)
    # A field of letters and digits alone is its own first component, and has no other.
    is_first = max(source.component, 1) == 1 and max(source.subcomponent, 1) == 1

    def whole(view: list[str], state: State) -> str:
        text = raw(view, state)
        if not text or (not at and text.isalnum()):
            return text if is_first else ""
        if "~" in text:
            texts = text.split("~")
            text = texts[at] if at < len(texts) else ""
        elif at:
            return ""
        return dig(text)

    def text(view: list[str], state: State) -> str:
        found = whole(view, state)
        if not found or found.isalnum():
            return found
        if not source.component:
            found = found.partition("^")[0].partition("&")[0]
        elif not source.subcomponent:
            found = found.partition("&")[0]
        return unescape(found, state.charset) if "\\" in found else found

    slot = number if is_own and is_first and not at else 0
    is_whole = not source.component and not source.repetition
    return Readers(
        text if is_own or unit != HEADER else _once(text, source),
        _valued(source, raw, whole),
        lambda view, state: _count(raw(view, state)),
        slot,
        number if is_own else 0,
        not is_own and unit == HEADER,
        _is_own,
        _BLANK if is_whole else "",
        "~",
    )


def _is_own(text: str) -> bool:
    """Whether a text surely is all that it stands for; long ones are not looked through."""
    if text.isalnum():
        return True
    has_more = len(text) > _SHORT or "^" in text or "&" in text or "~" in text or "\\" in text
    return not has_more


def _once(text: Text, source: Source) -> Text:
    """A text of the header, read once per message."""
    key = repr(source)

    def read(view: list[str], state: State) -> str:
        found: str | None = state.known.get(key)
        if found is None:
            found = state.known[key] = text(view, state)
        return found

    return read


def _valued(source: Source, raw: Text, whole: Text) -> Callable[[Any, Any], bool]:
    """Whether there is text; a field or component of nothing but separators is not valued."""
    if not source.component and not source.repetition:
        return lambda view, state: (
            bool(found := raw(view, state)) and (found[0] not in _BLANK or bool(found.strip(_BLANK)))
        )
    return lambda view, state: bool(found := whole(view, state)) and bool(found.strip("&^"))


def _count(raw: str) -> int:
    return raw.count("~") + 1 if raw else 0


def _component_readers(source: Source, depth: int) -> Readers:
    number, inner = source.number, source.component

    def whole(view: list[str], state: State) -> str:
        found = view[number] if number < len(view) else ""
        if inner and found:
            return subcomponent(found, inner) if depth == 1 else found if inner == 1 else ""
        return found

    def text(view: list[str], state: State) -> str:
        found = whole(view, state)
        if not found or found.isalnum():
            return found
        if not number:
            found = found.partition("^")[0]
        found = found.partition("&")[0]
        return unescape(found, state.charset) if "\\" in found else found

    if number and not inner:

        def is_valued(view: list[str], state: State) -> bool:
            return number < len(view) and bool(found := view[number]) and bool(found.strip("&"))
    else:

        def is_valued(view: list[str], state: State) -> bool:
            return bool(whole(view, state).strip("&^"))

    slot = number if inner <= 1 else 0
    return Readers(
        text,
        is_valued,
        lambda view, state: 1 if is_valued(view, state) else 0,
        slot,
        number,
        is_own=_is_own,
        blank="&" if number and not inner else "",
    )
