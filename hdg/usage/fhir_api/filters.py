"""``_filter``: an expression over search parameters → clauses.

R4 search_filter.html. What maps to a parameter's own search directly is understood: ``eq ne gt lt ge le sa eb ap`` of
dates, numbers and quantities, ``eq`` and ``ne`` of codes (``ne``: none of them is), ``eq`` of references and URIs,
``eq co sw`` of strings, ``co`` of ``_text`` and ``_content``, ``pr`` of all; ``and``, ``or``, ``not (…)``,
parentheses, and chains by points. Everything else (``ew po ss sb in ni re``, brackets) is a BadRequest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import orjson

from hdg.errors import BadRequest
from hdg.management.store.operators import PREFIXES
from hdg.management.store.search import Clause

__all__ = ["FILTER", "read_filter"]

FILTER = "_filter"
Leaf = Callable[[str, str], Clause]
"""(name of a parameter, value with its escapes) → its clause."""
_TOKEN = re.compile(r'\s*(?:(?P<mark>[()])|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>[^\s()"]+))')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*(?:\.[A-Za-z_][A-Za-z0-9_\-]*)*\Z")
_OPERATORS = frozenset({"eq", "ne", "co", "sw", "gt", "lt", "ge", "le", "ap", "sa", "eb", "pr"})
_COMMA = re.compile(r"\\.|,")
_DEPTH_MAX = 20
_ORDERED = frozenset({"date", "number", "quantity"})
_MODIFIERS = {
    ("string", "eq"): "exact",
    ("string", "co"): "contains",
    ("string", "sw"): "",
    ("token", "eq"): "",
    ("token", "ne"): "not",
    ("reference", "eq"): "",
    ("uri", "eq"): "",
    ("text", "co"): "",
}


def read_filter(text: str, leaf: Leaf) -> tuple[Clause, ...]:
    """Clauses that must all match. Raises BadRequest."""
    reader = _Reader(text, leaf)
    clause = reader.either(0)
    if reader.peek():
        raise _bad("the expression goes on where it should end")
    is_all = clause.kind == "filter" and clause.modifier == "and"
    return tuple(inner for _, inner in clause.links) if is_all else (clause,)


def _bad(text: str, code: str = "value") -> BadRequest:
    return BadRequest(f"parameter '{FILTER}': {text}", code=code)


def _of(modifier: str, clauses: list[Clause]) -> Clause:
    if len(clauses) == 1 and modifier != "not":
        return clauses[0]
    return Clause(FILTER, "filter", modifier, links=tuple(("", clause) for clause in clauses))


class _Reader:
    """``filter`` of the grammar, by descent: ``or`` of ``and`` of terms."""

    def __init__(self, text: str, leaf: Leaf) -> None:
        self._leaf = leaf
        self._words: list[str] = []
        self._at = 0
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise _bad("a text without its end")
            position = match.end()
            self._words.append(match[0].strip() if match["text"] is None else match["text"])

    def peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def take(self) -> str:
        word = self.peek()
        if not word:
            raise _bad("the expression ends too early")
        self._at += 1
        return word

    def either(self, depth: int) -> Clause:
        if depth > _DEPTH_MAX:
            raise _bad(f"more than {_DEPTH_MAX} levels", "too-costly")
        found = [self.both(depth)]
        while self.peek() == "or":
            self.take()
            found.append(self.both(depth))
        return _of("or", found)

    def both(self, depth: int) -> Clause:
        found = [self.term(depth)]
        while self.peek() == "and":
            self.take()
            found.append(self.term(depth))
        return _of("and", found)

    def term(self, depth: int) -> Clause:
        word = self.take()
        if word == "(":
            inner = self.either(depth + 1)
            self._close()
            return inner
        if word == "not" and self.peek() == "(":
            self.take()
            inner = self.either(depth + 1)
            self._close()
            return _of("not", [inner])
        return self._comparison(word)

    def _close(self) -> None:
        if self.take() != ")":
            raise _bad("a parenthesis is not closed")

    def _comparison(self, name: str) -> Clause:
        operator, value = self.take(), self.take()
        if not _NAME.match(name):
            raise _bad("the name of a search parameter is expected", "not-supported")
        if operator not in _OPERATORS:
            raise _bad("one of its operators is not supported", "not-supported")
        if value in ("(", ")"):
            raise _bad("a value is missing")
        if operator == "pr":
            if value not in ("true", "false"):
                raise _bad("pr takes true or false")
            return self._leaf(f"{name}:missing", "false" if value == "true" else "true")
        return _operated(self._leaf(name, _escaped(value)), operator)


def _escaped(value: str) -> str:
    """As a search has it: its commas separate nothing. Only what is no JSON text can have escapes of its own."""
    if not value.startswith('"'):
        return _COMMA.sub(lambda match: match[0] if match[0] != "," else "\\,", value)
    try:
        text = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise _bad("a text with an escape that JSON does not have") from None
    if not text:
        raise _bad("an empty text")
    return str(text).replace("\\", "\\\\").replace(",", "\\,")


def _operated(clause: Clause, operator: str) -> Clause:
    """The clause by that operator; of a chain, what it ends in."""
    if clause.links:
        links = tuple((type_, _operated(inner, operator)) for type_, inner in clause.links)
        return replace(clause, links=links)
    if clause.kind in _ORDERED:
        if operator in PREFIXES:
            return replace(clause, values=tuple(operator + value for value in clause.values))
    elif (clause.kind, operator) in _MODIFIERS:
        return replace(clause, modifier=_MODIFIERS[clause.kind, operator])
    raise _bad("an operator that this parameter does not have", "not-supported")
