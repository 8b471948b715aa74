"""What ``_text`` and ``_content`` ask for: words, phrases, beginnings, ``and``, ``or`` and parentheses. Pure.

R4 search.html#_text, whose example is ``(bone OR liver) and metastases``. Words side by side must all be there;
``and`` binds closer than ``or``, in any case; in quotation marks stands a phrase, so an operator there is a word. A
``*`` behind a word: whatever begins with it. What holds signs between letters (``non-small``) is a phrase.

Words become symbols (text_words.py) before a database sees them, so nothing that is asked can be syntax there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hdg.management.store.text_words import Symbol, is_sign, words_in

__all__ = ["WORDS_MAX", "Node", "as_fts5", "as_tsquery", "parsed"]

WORDS_MAX: Final = 100
"""Words of one parameter, in all its alternatives."""
_DEPTH_MAX: Final = 20
_LEXEME = re.compile(r'\s*(?:(?P<mark>[()])|"(?P<phrase>[^"]*)"(?P<end>\**)|(?P<plain>[^\s()"]+))')
_OPERATORS: Final = frozenset({"and", "or", "not"})


@dataclass(frozen=True, slots=True)
class Node:
    """``operator`` and, or: of ``parts``. '': the ``words`` (symbols) one behind the other; ``is_prefix``: the last
    one is how a word begins.
    """

    operator: str = ""
    parts: tuple[Node, ...] = ()
    words: tuple[str, ...] = ()
    is_prefix: bool = False


def parsed(values: Sequence[str], symbol: Symbol) -> Node:
    """Any of the values. Raises ValueError, whose text repeats nothing of them."""
    found = [_Reader(value, symbol).whole() for value in values]
    node = found[0] if len(found) == 1 else Node("or", tuple(found))
    if _size(node) > WORDS_MAX:
        raise ValueError(f"more than {WORDS_MAX} words")
    return node


def as_fts5(node: Node, column: str) -> str:
    """For SQLite's MATCH (https://www.sqlite.org/fts5.html#full_text_query_syntax). ``column``: '' for all."""
    text = _written(
        node, " AND ", " OR ", lambda one: f'"{" ".join(one.words)}"{" *" if one.is_prefix else ""}'
    )
    return f"{{{column}}} : ({text})" if column else text


def as_tsquery(node: Node, weight: str) -> str:
    """For PostgreSQL's type tsquery. ``weight``: '' for all."""

    def leaf(one: Node) -> str:
        marks = [weight] * len(one.words)
        if one.is_prefix:
            marks[-1] = f"*{weight}"
        return " <-> ".join(
            f"'{word}':{mark}" if mark else f"'{word}'" for word, mark in zip(one.words, marks, strict=True)
        )

    return _written(node, " & ", " | ", leaf)


def _written(node: Node, both: str, either: str, leaf: Callable[[Node], str]) -> str:
    if not node.operator:
        return f"({leaf(node)})" if len(node.words) > 1 else leaf(node)
    joint = both if node.operator == "and" else either
    return f"({joint.join(_written(part, both, either, leaf) for part in node.parts)})"


def _size(node: Node) -> int:
    return len(node.words) + sum(map(_size, node.parts))


class _Reader:
    """One value, by descent: ``or`` of ``and`` of terms."""

    def __init__(self, text: str, symbol: Symbol) -> None:
        self._symbol = symbol
        self._items = list(self._lexed(text))
        self._at = 0

    def whole(self) -> Node:
        if not self._items:
            raise ValueError("a word is expected: letters or digits")
        node = self._either(0)
        if self._at < len(self._items):
            raise ValueError("a parenthesis is closed that was not opened")
        return node

    def _lexed(self, text: str) -> Iterator[str | Node]:
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _LEXEME.match(text, position)
            if match is None:
                raise ValueError("a quotation mark without its other one")
            position = match.end()
            plain = match["plain"]
            if match["mark"]:
                yield match["mark"]
            elif plain is None:
                yield self._leaf(match["phrase"] + match["end"], is_phrase=True)
            elif plain.lower() in _OPERATORS:
                yield plain.lower()
            elif "*" in plain or words_in(plain):
                yield self._leaf(plain, is_phrase=False)

    def _leaf(self, text: str, *, is_phrase: bool) -> Node:
        is_prefix = text.endswith("*")
        text = text.removesuffix("*")
        words = [word for word in words_in(text) if word.isalnum()]
        if not words:
            raise ValueError("a phrase without words" if is_phrase else "a word is expected before *")
        if "*" in text or (is_prefix and not text[-1:].isalnum()):
            raise ValueError("* is understood at the end of a word only")
        if is_prefix and is_sign(words[-1]):
            is_prefix = False
        if is_prefix and len(words[-1]) < 2:
            raise ValueError("at least two letters are needed before *")
        return Node(words=tuple(map(self._symbol, words)), is_prefix=is_prefix)

    def _peek(self) -> str | Node:
        return self._items[self._at] if self._at < len(self._items) else ""

    def _either(self, depth: int) -> Node:
        if depth > _DEPTH_MAX:
            raise ValueError(f"more than {_DEPTH_MAX} levels of parentheses")
        found = [self._both(depth)]
        while self._peek() == "or":
            self._at += 1
            found.append(self._both(depth))
        return found[0] if len(found) == 1 else Node("or", tuple(found))

    def _both(self, depth: int) -> Node:
        found = [self._term(depth)]
        while self._peek() not in ("", "or", ")"):
            if self._peek() == "and":
                self._at += 1
            found.append(self._term(depth))
        return found[0] if len(found) == 1 else Node("and", tuple(found))

    def _term(self, depth: int) -> Node:
        item = self._peek()
        self._at += 1
        if isinstance(item, Node):
            return item
        if item == "not":
            raise ValueError("not is not supported; as a word it stands in quotation marks")
        if item != "(":
            raise ValueError("a word is expected where the expression ends or goes on with an operator")
        node = self._either(depth + 1)
        if self._peek() != ")":
            raise ValueError("a parenthesis is not closed")
        self._at += 1
        return node
