"""What a conversion carried over: every valued place of a document, and what became of it.

From a second compilation of the tables that keeps what each row read; the hot path pays nothing. A place is *mapped*
(what it says stands in what a row made of it), put into an *extension*, *unmapped* (a row says why not), *reported* (an
Issue says what went wrong) or *lost*: no row looked at it, or what it says stands nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import Decimal
from hdg.ingestion.cda.compile import Compiler
from hdg.ingestion.cda.convert import Converter
from hdg.ingestion.cda.losses import SILENT, STRUCTURE
from hdg.ingestion.cda.rows import Step
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import HL7, XSI_TYPE, Element
from hdg.ingestion.coverage import Coverage, Place
from hdg.ingestion.sender import Sender
from hdg.mapping.actions import Fire
from hdg.mapping.context import JsonObject
from hdg.mapping.library import Library
from hdg.mapping.table import Rule

__all__ = ["Tracing", "coverage", "judged"]

_SHAPE = (STRUCTURE - {"displayName", "codeSystem", "codeSystemVersion", "unit"}) | {XSI_TYPE}
"""Attributes that say how something is to be read, and names that others give a code system."""
_WORDS = frozenset(("displayName", "codeSystem", "codeSystemVersion"))
_TIME = re.compile(r"(\d{4,14})(\.\d+)?([+-]\d{4})?", re.ASCII)
_SCHEME = re.compile(r"(tel|fax|mailto|sms|http|https):", re.ASCII)
_ANY = re.compile(r"\W+")
_TEXT = f"{HL7}text"
_LEAST = 4
"""Letters of a text that is looked for anywhere, where no row says what it made of it."""
_DATE_ALONE = "R4 has a date without a time here"
_CODE_ALONE = "becomes a code of a fixed value set: its words and system have no place there"


class _Event(NamedTuple):
    """One row at one place. ``out``: what its table was building; None for a row that leaves something out."""

    rule: Rule
    is_done: bool
    is_whole: bool
    out: JsonObject | None


class Tracing(Compiler):
    """The same rows; ``events`` has what each read of the document at hand: element and attribute → events."""

    def __init__(self, library: Library) -> None:
        super().__init__(library)
        self.events: dict[tuple[Element, str], list[_Event]] = {}

    def _step(self, rule: Rule, root: str) -> Step:
        step = super()._step(rule, root)
        name = step.path.attribute
        path = replace(step.path, attribute="")
        return replace(step, path=path, fire=self._traced(step, name), is_whole=step.is_whole and not name)

    def _traced(self, step: Step, name: str) -> Fire:
        fire = step.fire

        def traced(hit: Any, out: JsonObject, state: State) -> bool:
            value = hit
            if name:
                value = hit.get(name)
                if value is None:
                    return False
                state.mark(hit, name)
            done = bool(fire is not None and value != "" and fire(value, out, state))
            if fire is None and step.is_whole:
                state.mark(hit)
            event = _Event(step.rule, done, step.is_whole, out if step.rule.target else None)
            self.events.setdefault((hit, name), []).append(event)
            return done

        return traced


@cache
def _converter(mappings: Path | None, terminology: Path | None) -> tuple[Converter, Tracing]:
    tracing = Tracing(Library("cda", override=mappings, maps=terminology))
    return Converter(id_key=PUBLIC_KEY, compiler=tracing), tracing


def coverage(data: bytes, sender: Sender | None = None) -> Coverage:
    """What the tables make of one document. Raises CdaError."""
    sender = sender or Sender("", "")
    converter, tracing = _converter(sender.mappings, sender.terminology)
    tracing.events.clear()
    converted, state = converter.run(data, replace(sender, mappings=None, terminology=None), at_us=0)
    return judged(state, tracing, converted.resources)


def judged(state: State, tracing: Tracing, resources: tuple[JsonObject, ...]) -> Coverage:
    """What became of each place of what ``state`` has read."""
    judge = _Judge(state, tracing.events, resources)
    return Coverage(tuple(judge.place(element, name, text) for element, name, text in _leaves(state.root)))


def _leaves(root: Element) -> Iterator[tuple[Element, str, str]]:
    """Each element with an attribute that says something, or '' for its text.

    How a narrative looks says nothing, nor does what has no letter and no digit, nor a name of something in it.
    """
    stack = [(root, False)]
    while stack:
        element, is_narrative = stack.pop()
        if element.tag in SILENT:
            continue
        is_narrative = is_narrative or (element.tag == _TEXT and element.find(f"{HL7}reference") is None)
        has_code = bool(element.get("code")) and element.get("nullFlavor") is None
        for name, value in () if is_narrative else element.attributes.items():
            is_word = name in _WORDS and not has_code
            if name in _SHAPE or name[0] == "{" or is_word or not _fold(value) or value.startswith("#"):
                continue
            if not (name == "negationInd" and value == "false"):
                yield element, name, value
        if element.text and _fold(element.text):
            yield element, "", element.text
        stack.extend((child, is_narrative) for child in reversed(list(element)))


class _Judge:
    """What became of the places of one document."""

    def __init__(
        self,
        state: State,
        events: dict[tuple[Element, str], list[_Event]],
        resources: tuple[JsonObject, ...],
    ) -> None:
        self.state = state
        self.events = events
        self.reported = {issue.place for issue in state.issues if issue.code != "incomplete"}
        self.unread = {issue.place for issue in state.issues if issue.code == "incomplete"}
        self.all = _Shown(list(resources))
        self.shown: dict[int, _Shown] = {}

    def place(self, element: Element, name: str, text: str) -> Place:
        """The judgement of one place."""
        where = self.state.place_of(element, name)
        if where in self.unread:
            return Place(where, "lost")
        covering = list(self._covering(element, name))
        made = [event for _, event in covering if event.is_done and event.out is not None]
        for event in made:
            if event.out is not None and self._carries(event.out, name, text):
                return Place(where, "extension" if "extension[" in event.rule.target else "mapped")
        is_claimed = any(event.out is not None for _, event in covering)
        if not is_claimed and self._is_carried_above(element, name, text):
            return Place(where, "mapped")
        coded = [event for event in made if _is_coded(event)]
        if coded and name not in _WORDS:
            return Place(where, "mapped")
        if not is_claimed and len(_fold(text)) >= _LEAST and self.all.has(self.state, name, text):
            return Place(where, "mapped")
        notes = [event.rule.note for _, event in covering if event.out is None and event.rule.note]
        if notes or coded:
            return Place(where, "unmapped", notes[-1] if notes else _CODE_ALONE)
        hits = [hit for hit, _ in covering] or list(self._around(element))
        places = {where.rpartition("/@")[0] or where, *map(self.state.place_of, hits)}
        if not self.reported.isdisjoint((where, *places)):
            return Place(where, "reported")
        if made and self._is_date_alone(made, text):
            return Place(where, "unmapped", _DATE_ALONE)
        return Place(where, "lost")

    def _is_carried_above(self, element: Element, name: str, text: str) -> bool:
        """Whether a row that reads what is around the place (a timing, say) made something of it that says it."""
        return any(
            event.is_done and event.out is not None and self._carries(event.out, name, text)
            for above in self._around(element)
            for event in self.events.get((above, ""), ())
        )

    def _around(self, element: Element) -> Iterator[Element]:
        """What a place stands in, up to its statement."""
        above = element.around
        while above is not None and above.around is not None:
            yield above
            if above in self.state.statements:
                return
            above = above.around

    def _is_date_alone(self, made: list[_Event], text: str) -> bool:
        day = text[:8]
        return _TIME.fullmatch(text.strip()) is not None and any(
            event.out is not None and self._carries(event.out, "value", day) for event in made
        )

    def _covering(self, element: Element, name: str) -> Iterator[tuple[Element, _Event]]:
        """The events of a place, with what they read: the place, its element, what is read whole around it."""
        if name:
            yield from ((element, one) for one in self.events.get((element, name), ()))
        yield from ((element, one) for one in self.events.get((element, ""), ()))
        above = element.around
        while above is not None:
            for one in self.events.get((above, ""), ()):
                if one.is_whole:
                    yield above, one
            above = above.around

    def _carries(self, out: JsonObject, name: str, text: str) -> bool:
        shown = self.shown.get(id(out))
        if shown is None:
            shown = self.shown[id(out)] = _Shown(out)
        return shown.has(self.state, name, text)


def _is_coded(event: _Event) -> bool:
    """Whether what a row made says something in other words: by a map, a condition, or as yes or no."""
    rule, out = event.rule, event.out or {}
    return bool(rule.map or (rule.when and not rule.as_) or isinstance(out.get(rule.target), bool))


class _Shown:
    """All that a value says, as it can be compared."""

    def __init__(self, value: Any) -> None:
        words = list(_texts(value))
        self.exact = frozenset(words)
        self.folded = _fold(" ".join(words))
        self.digits = re.sub(r"\D", "", self.folded)

    def has(self, state: State, name: str, text: str) -> bool:
        """Whether it says what a place says."""
        text = text.strip()
        if text in self.exact:
            return True
        if name in ("codeSystem", "root"):
            uri = state.systems.uri(text) or f"urn:oid:{text}"
            return uri in self.exact or f"urn:uuid:{text.lower()}" in self.exact or _fold(text) in self.folded
        time = _TIME.fullmatch(text)
        if time is not None and name == "value":
            return time[1] in self.digits
        folded = _fold(_SCHEME.sub("", text))
        return bool(folded) and folded in self.folded


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, Decimal):
        yield value.literal
    else:
        text = str(value)
        yield unescape(text) if text.startswith("<div") else text


def _fold(text: str) -> str:
    """Letters and digits alone."""
    return _ANY.sub("", text.casefold())
