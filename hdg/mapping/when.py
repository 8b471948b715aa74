"""The ``when`` column: a small closed grammar, parsed once and compiled to closures.

    expr    := term (('and' | 'or') term)*            'and' binds tighter than 'or'
    term    := '(' expr ')' | ['not'] operand 'valued' | operand 'not' 'valued'
             | operand ('=' | '!=') literal | operand ['not'] 'in' '(' literal (',' literal)* ')'
             | operand ('count' | 'length') ('=' | '!=' | '<' | '<=' | '>' | '>=') number
    literal := bare word | "quoted text"

A pair of brackets belongs to the word that it follows, whatever is in it.

What an operand means is the source format's business: ``compile_when`` asks a resolver for its readers.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

Test = Callable[[Any, Any], bool]
"""``(view, context) → bool``: the view is what the table's own sources read from."""
DEEPEST: Final = 50
"""Brackets and negations inside one another."""

_TOKEN: Final = re.compile(
    r'\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<symbol><=|>=|!=|[()=<>,])|(?P<word>(?:[^\s()=<>!,"\[]|\[[^\[\]]*\])+))'
)
_COMPARE: Final[dict[str, Callable[[int, int], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


_TREES_MAX: Final = 8192


class WhenError(ValueError):
    """The text is not in the grammar; the message says where."""


@dataclass(frozen=True, slots=True)
class Valued:
    """``operand valued``."""

    operand: str


@dataclass(frozen=True, slots=True)
class In:
    """``operand in (…)``; ``=`` is a list of one."""

    operand: str
    literals: frozenset[str]


@dataclass(frozen=True, slots=True)
class Measure:
    """``operand count > 1`` or ``operand length > 8``."""

    operand: str
    what: str
    compare: str
    number: int

    def holds(self, measured: int) -> bool:
        """Whether a source that measures so much passes."""
        return _COMPARE[self.compare](measured, self.number)


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    term: Node


@dataclass(frozen=True, slots=True)
class All:
    """``and``."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """``or``."""

    terms: tuple[Node, ...]


Leaf = Valued | In | Measure
Node = Leaf | Not | All | AnyOf


@dataclass(frozen=True, slots=True)
class Readers:
    """How a format reads one operand; each function takes (view, context)."""

    text: Callable[[Any, Any], str]
    """First repetition's unescaped text (first component unless one is named); '' when absent."""
    is_valued: Callable[[Any, Any], bool]
    repetitions: Callable[[Any, Any], int]
    """Number of repetitions."""
    slot: int = 0
    """Where the view holds the operand's raw text, which is its own text when ``is_own`` says so; 0 when there
    is no such slot.
    """
    field: int = 0
    """The slot of the view that the operand lies in, as a whole or in part: it is absent when that is empty.
    0 when there is no such slot.
    """
    is_constant: bool = False
    """Whether the text is the same for the whole message."""
    is_own: Callable[[str], bool] = str.isalnum
    """Whether a raw text surely is one text and has nothing in it that stands for something else."""
    blank: str = ""
    """What a raw text in ``slot`` may consist of and still not be valued; '' when the text alone does not tell."""
    between: str = ""
    """What stands between the repetitions in a raw text in ``slot``; '' when the text alone does not tell."""


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise WhenError(f"unexpected character at {position + 1} in {text!r}")
            kind = match.lastgroup or ""
            value = match.group(kind)
            self.tokens.append((kind, re.sub(r"\\(.)", r"\1", value[1:-1]) if kind == "quoted" else value))
            position = match.end()
        self.at = 0
        self.depth = 0

    def fail(self, expected: str) -> NoReturn:
        found = repr(self.tokens[self.at][1]) if self.at < len(self.tokens) else "the end"
        raise WhenError(f"expected {expected}, found {found} in {self.text!r}")

    def peek(self, *values: str) -> bool:
        return (
            self.at < len(self.tokens)
            and self.tokens[self.at][0] != "quoted"
            and self.tokens[self.at][1] in values
        )

    def take(self, *values: str) -> str:
        if not self.peek(*values):
            self.fail(" or ".join(values))
        self.at += 1
        return self.tokens[self.at - 1][1]

    def skip(self, value: str) -> bool:
        found = self.peek(value)
        self.at += found
        return found

    def word(self, what: str) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] == "symbol":
            self.fail(what)
        self.at += 1
        return self.tokens[self.at - 1][1]

    def expression(self) -> Node:
        terms = [self.conjunction()]
        while self.skip("or"):
            terms.append(self.conjunction())
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def conjunction(self) -> Node:
        terms = [self.term()]
        while self.skip("and"):
            terms.append(self.term())
        return terms[0] if len(terms) == 1 else All(tuple(terms))

    def term(self) -> Node:
        if self.skip("("):
            self.enter()
            inner = self.expression()
            self.take(")")
            self.depth -= 1
            return inner
        if self.skip("not"):
            self.enter()
            node = Not(self.term())
            self.depth -= 1
            return node
        return self.test()

    def enter(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise WhenError(f"more than {DEEPEST} brackets and negations inside one another")

    def test(self) -> Node:
        operand = self.word("a source")
        is_negated = self.skip("not")
        if self.skip("valued"):
            node: Node = Valued(operand)
        elif self.skip("in"):
            node = In(operand, self.literals())
        elif is_negated:
            self.fail("'valued' or 'in'")
        elif self.peek("=", "!="):
            is_negated = self.take("=", "!=") == "!="
            node = In(operand, frozenset({self.word("a literal")}))
        else:
            node = self.measure(operand)
        return Not(node) if is_negated else node

    def literals(self) -> frozenset[str]:
        self.take("(")
        found = {self.word("a literal")}
        while self.skip(","):
            found.add(self.word("a literal"))
        self.take(")")
        return frozenset(found)

    def measure(self, operand: str) -> Node:
        what = self.take("valued", "in", "=", "!=", "count", "length")
        compare = self.take(*_COMPARE)
        number = self.word("a number")
        if not number.isdecimal():
            raise WhenError(f"{number!r} is not a number in {self.text!r}")
        return Measure(operand, what, compare, int(number))


@lru_cache(maxsize=_TREES_MAX)
def parse_when(text: str) -> Node:
    """The tree of a ``when`` cell; many cells say the same, in one table and in several. Raises WhenError."""
    parser = _Parser(text)
    node = parser.expression()
    if parser.at < len(parser.tokens):
        parser.fail("'and', 'or' or the end")
    return node


def operands(node: Node) -> set[str]:
    """Every source that a tree names."""
    if isinstance(node, Not):
        return operands(node.term)
    if isinstance(node, All | AnyOf):
        return set().union(*(operands(term) for term in node.terms))
    return {node.operand}


def leaves(node: Node) -> list[Leaf]:
    """Every single test of a tree."""
    if isinstance(node, Not):
        return leaves(node.term)
    if isinstance(node, All | AnyOf):
        return [leaf for term in node.terms for leaf in leaves(term)]
    return [node]


def simplified(node: Node, known: Callable[[Leaf], bool | None]) -> Node | bool:
    """What is left of a tree when some of its tests are known (None: not known)."""
    if isinstance(node, Not):
        inner = simplified(node.term, known)
        return not inner if isinstance(inner, bool) else Not(inner)
    if isinstance(node, All | AnyOf):
        decisive = isinstance(node, AnyOf)  # one such term decides; its opposite says nothing
        open_terms: list[Node] = []
        for term in node.terms:
            found = simplified(term, known)
            if found is decisive:
                return decisive
            if not isinstance(found, bool):
                open_terms.append(found)
        if not open_terms:
            return not decisive
        return open_terms[0] if len(open_terms) == 1 else type(node)(tuple(open_terms))
    found_leaf = known(node)
    return node if found_leaf is None else found_leaf


def compared(node: Node) -> set[str]:
    """The sources whose text a tree compares with literals, outside negations."""
    if isinstance(node, All | AnyOf):
        return set().union(*(compared(term) for term in node.terms))
    return {node.operand} if isinstance(node, In) else set()


def needed(node: Node) -> set[str]:
    """The sources without whose text a tree cannot be true."""
    if isinstance(node, All):
        return set().union(*(needed(term) for term in node.terms))
    if isinstance(node, Valued) or (isinstance(node, In) and "" not in node.literals):
        return {node.operand}
    return set()


def compile_when(node: Node, resolve: Callable[[str], Readers]) -> Test:
    """Closures for a tree; ``resolve`` gives the readers of an operand (it may raise ValueError)."""
    if isinstance(node, Valued):
        return _valued(resolve(node.operand))
    if isinstance(node, In):
        return _membership(resolve(node.operand), node.literals)
    if isinstance(node, Measure):
        return _measure(node, resolve(node.operand))
    if isinstance(node, Not):
        if isinstance(node.term, In):
            return _membership(resolve(node.term.operand), node.term.literals, is_in=False)
        if isinstance(node.term, Valued):
            return _valued(resolve(node.term.operand), is_valued=False)
        return _negation(compile_when(node.term, resolve))
    tests = tuple(compile_when(term, resolve) for term in node.terms)
    return _conjunction(tests) if isinstance(node, All) else _disjunction(tests)


def _valued(readers: Readers, *, is_valued: bool = True) -> Test:
    slot, valued, is_own, blank = readers.slot, readers.is_valued, readers.is_own, readers.blank
    if not slot:
        return valued if is_valued else lambda view, context: not valued(view, context)
    if blank:

        def told(view: list[str], context: Any) -> bool:
            if slot >= len(view) or not (raw := view[slot]):
                return not is_valued
            return (raw[0] not in blank or bool(raw.strip(blank))) is is_valued

        return told

    def test(view: list[str], context: Any) -> bool:
        if slot >= len(view) or not (raw := view[slot]):
            return not is_valued
        return (is_own(raw) or valued(view, context)) is is_valued

    return test


def _membership(readers: Readers, literals: frozenset[str], *, is_in: bool = True) -> Test:
    slot, text, is_own = readers.slot, readers.text, readers.is_own
    if not slot:
        return lambda view, context: (text(view, context) in literals) is is_in

    def test(view: list[str], context: Any) -> bool:
        found = view[slot] if slot < len(view) else ""
        if found and not is_own(found):
            found = text(view, context)
        return (found in literals) is is_in

    return test


def _measure(node: Measure, readers: Readers) -> Test:
    compare, number = _COMPARE[node.compare], node.number
    slot, is_own, one, between = readers.slot, readers.is_own, compare(1, number), readers.between
    if node.what == "count" and slot and between:

        def told(view: list[str], context: Any) -> bool:
            raw = view[slot] if slot < len(view) else ""
            return compare(raw.count(between) + 1 if raw else 0, number)

        return told
    if node.what == "count" and slot:

        def test(view: list[str], context: Any) -> bool:
            if slot < len(view) and (raw := view[slot]) and is_own(raw):
                return one
            return compare(readers.repetitions(view, context), number)

        return test
    if node.what == "count":
        return lambda view, context: compare(readers.repetitions(view, context), number)
    return lambda view, context: compare(len(readers.text(view, context)), number)


def _negation(test: Test) -> Test:
    return lambda view, context: not test(view, context)


def _conjunction(tests: tuple[Test, ...]) -> Test:
    if len(tests) == 1:
        return tests[0]
    half = len(tests) // 2  # and not one inside another: a condition may have thousands of terms
    first, rest = _conjunction(tests[:half]), _conjunction(tests[half:])
    return lambda view, context: first(view, context) and rest(view, context)


def _disjunction(tests: tuple[Test, ...]) -> Test:
    if len(tests) == 1:
        return tests[0]
    half = len(tests) // 2
    first, rest = _disjunction(tests[:half]), _disjunction(tests[half:])
    return lambda view, context: first(view, context) or rest(view, context)
