"""Reads FHIRPath text into a tree (FHIRPath N1 §11, grammar; the part that R4 4.0.1 itself uses).

Not read: quantity and date literals, ``$index`` and ``$total``, ``~`` and ``!~``, ``*``, ``/``, ``div``,
``mod``. Neither a search parameter nor an invariant of R4 has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Binary",
    "Call",
    "Index",
    "Literal",
    "Member",
    "Node",
    "PathError",
    "This",
    "TypeTest",
    "Variable",
    "parse",
]


class PathError(ValueError):
    """An expression that is not FHIRPath, or lies outside the subset; the text names the offending part."""


class Node:
    """Any part of an expression."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A string, number or boolean; None for the empty collection ``{}``."""

    value: Any
    type: str


@dataclass(frozen=True, slots=True)
class This(Node):
    """``$this``, and the unwritten start of a path."""


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """``%name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Member(Node):
    """``target.name``; ``is_root`` when nothing stands before the name."""

    target: Node
    name: str
    is_root: bool = False


@dataclass(frozen=True, slots=True)
class Call(Node):
    """``target.name(arguments)``."""

    target: Node
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Index(Node):
    """``target[position]``."""

    target: Node
    position: Node


@dataclass(frozen=True, slots=True)
class TypeTest(Node):
    """``operand is type`` or ``operand as type``; the functions is(), as() and ofType() become one too."""

    operator: str
    operand: Node
    type: str


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """``left operator right``."""

    operator: str
    left: Node
    right: Node


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^'\\]|\\.)*')
      | (?P<number>[0-9]+(?:\.[0-9]+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`]*`)
      | (?P<variable>%(?:[A-Za-z_][A-Za-z0-9_-]*|`[^`]*`|"[^"]*"))
      | (?P<this>\$this)
      | (?P<symbol><=|>=|!=|[-+&|<>=().,\[\]{}])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
# Operators that bind weaker come first (FHIRPath N1 §6.8).
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("implies",),
    ("or", "xor"),
    ("and",),
    ("in", "contains"),
    ("=", "!="),
    ("<", "<=", ">", ">="),
    ("|",),
    ("is", "as"),
    ("+", "-", "&"),
)
_TYPE_FUNCTIONS = {"is": "is", "as": "as", "ofType": "as"}


def parse(expression: str) -> Node:
    """The tree of an expression; raises PathError."""
    reader = _Reader(expression)
    node = reader.binary(0)
    if reader.kind:
        raise PathError(f"unexpected {reader.text!r} in {expression!r}")
    return node


class _Reader:
    """A cursor over the tokens: ``kind`` (empty at the end) and ``text`` describe the present one."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.position = 0
        self.kind = ""
        self.text = ""
        self.advance()

    def advance(self) -> str:
        previous = self.text
        match = _TOKEN.match(self.expression, self.position)
        if match is None:
            if self.expression[self.position :].strip():
                raise PathError(f"cannot read {self.expression!r} at character {self.position}")
            self.kind, self.text = "", ""
        else:
            self.kind = match.lastgroup or ""
            self.text = match[self.kind]
            self.position = match.end()
        return previous

    def take(self, text: str) -> bool:
        """Skips a symbol if it is the present token."""
        if self.kind == "symbol" and self.text == text:
            self.advance()
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise PathError(f"{text!r} is missing in {self.expression!r}")

    def binary(self, level: int) -> Node:
        """Left-associative operators of one precedence level."""
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.kind in ("symbol", "name") and self.text in _LEVELS[level]:
            operator = self.advance()
            if operator in ("is", "as"):
                left = TypeTest(operator, left, self.type_name())
            else:
                left = Binary(operator, left, self.binary(level + 1))
        return left

    def unary(self) -> Node:
        if self.take("-"):
            return Binary("-", Literal(0, "integer"), self.unary())
        return self.postfix()

    def postfix(self) -> Node:
        """A term and whatever follows it: ``.name``, ``.function(…)``, ``[…]``."""
        node = self.term()
        while True:
            if self.take("."):
                node = self.invocation(node, is_root=False)
            elif self.take("["):
                node = Index(node, self.binary(0))
                self.expect("]")
            else:
                return node

    def term(self) -> Node:
        if self.take("("):
            node = self.binary(0)
            self.expect(")")
            return node
        if self.take("{"):
            self.expect("}")
            return Literal(None, "")
        if self.kind == "string":
            return Literal(_unquoted(self.advance()), "string")
        if self.kind == "number":
            text = self.advance()
            if "." in text:
                from hdg.fhir.json import decimal

                return Literal(decimal(text), "decimal")
            return Literal(int(text), "integer")
        if self.kind == "variable":
            return Variable(self.advance()[1:].strip('`"'))
        if self.kind == "this":
            self.advance()
            return This()
        if self.kind == "name" and self.text in ("true", "false"):
            return Literal(self.advance() == "true", "boolean")
        return self.invocation(This(), is_root=True)

    def invocation(self, target: Node, *, is_root: bool) -> Node:
        """A name or a function call on ``target``."""
        if self.kind != "name":
            raise PathError(f"a name is missing before {self.text!r} in {self.expression!r}")
        name = self.advance().strip("`")
        if not self.take("("):
            return Member(target, name, is_root)
        if name in _TYPE_FUNCTIONS:
            node: Node = TypeTest(_TYPE_FUNCTIONS[name], target, self.type_name())
            self.expect(")")
            return node
        arguments: list[Node] = []
        while not self.take(")"):
            if arguments:
                self.expect(",")
            arguments.append(self.binary(0))
        return Call(target, name, tuple(arguments))

    def type_name(self) -> str:
        """``Quantity``, ``FHIR.Quantity`` or ``System.String``: the last part."""
        if self.kind != "name":
            raise PathError(f"a type is missing in {self.expression!r}")
        name = self.advance().strip("`")
        while self.take("."):
            name = self.advance().strip("`")
        return name


def _unquoted(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        escape = match[1]
        return chr(int(escape[1:], 16)) if escape[0] == "u" else _ESCAPES.get(escape, escape)

    return re.sub(r"\\(u[0-9A-Fa-f]{4}|.)", replace, text[1:-1])
