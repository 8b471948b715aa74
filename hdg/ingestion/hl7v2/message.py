"""A message table as a program: which rows a segment in a group runs, and what links its resources have.

``mappings/README.md`` explains message tables; DESIGN §4.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hdg.errors import TableError
from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.deletes import Feeds
from hdg.ingestion.hl7v2.grammar import elements, parse_source
from hdg.ingestion.hl7v2.groups import Definition
from hdg.ingestion.hl7v2.parser import MAX_FIELDS
from hdg.mapping.compile import Compiler, Program
from hdg.mapping.defaults import split_default
from hdg.mapping.library import Library
from hdg.mapping.plans import of_absent
from hdg.mapping.shape import constant, types_at
from hdg.mapping.table import Rule, Table
from hdg.mapping.target import Put, compile_target, parse_target
from hdg.mapping.when import (
    Leaf,
    Node,
    Readers,
    Test,
    compared,
    compile_when,
    operands,
    parse_when,
    simplified,
)

_SIZE_MAX: Final = 100
"""Fields of a segment up to which its size decides about conditions."""
POINTER: Final = re.compile(r"goes to |read by |.*\bsee [A-Z]")
"""A note that names another row says where a text goes, not why it goes nowhere."""


_ABOUT_PATIENTS: Final = frozenset(
    ["ADT", "BAR", "DFT", "MDM", "OMG", "OML", "ORM", "ORU", "PPR", "RAS", "RDE", "RDS", "REF", "RGV", "VXU"]
)
"""An SIU may book a room for nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """One default pair of a message row.

    ``put`` sets ``path``. ``owner``: label of the resource that gets it ('' is the row's own item).
    ``label``: whom the reference names ('' is the row's own resource, None a constant ``value``).
    """

    owner: str
    element: str
    put: Put
    is_list: bool
    label: str | None
    element_alone: str
    """The element when the path is no longer than it and a reference is all that it takes, else ''."""
    value: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row, compiled. ``program`` is None for a segment that is deliberately unmapped.

    ``put`` places what is built into an existing resource; None: the row builds or adds to the resource
    itself.
    """

    rule: Rule
    label: str
    type: str
    program: Program | None
    put: Put | None
    test: Test | None
    links: tuple[Link, ...]
    node: Node | None = None
    """The tree of ``test``."""
    readers: Callable[[str], Readers] | None = None
    """How the tree reads its operands."""
    reads: int = -1
    """The fields that its table speaks of, be it in a note: bit n is field n. -1: all."""
    labels: frozenset[str] | None = None
    """Whom the links name, when each does nothing but put a reference to a resource of another label into the
    row's own item; else None.
    """


Able = tuple[Row, Test | None]
"""A row and what is left to be tested (None: nothing)."""


class MessageProgram:
    """The rows of one message table, with each group's and segment's choice of them worked out once."""

    def __init__(self, table: Table, compiler: Compiler, grammar: V2Grammar) -> None:
        self.table = table
        self._grammar = grammar
        self._library = compiler.library
        self._feeds: Feeds | None = None
        self._rows: dict[str, list[tuple[tuple[str, ...], Row]]] = {}
        self._plans: dict[tuple[Definition, str], tuple[Row, ...] | None] = {}
        self._able: dict[tuple[Definition, str, int], tuple[Able, ...]] = {}
        self._unread: dict[tuple[str, int], tuple[int, ...]] = {}
        for rule in table.rules:
            *groups, segment = rule.source.split(".")
            try:
                row = _row(rule, table, compiler, grammar)
            except (ValueError, KeyError) as error:
                raise rule.error(str(error)) from error
            self._rows.setdefault(segment, []).append((tuple(groups), row))
        self.is_about_patients = table.name[:3] in _ABOUT_PATIENTS and "PID" in self._rows
        """Whether a message without PID lacks what it is about; answers and master files need none."""

    def feeds(self) -> Feeds:
        """Which fields feed which elements; worked out when a message first deletes something."""
        if self._feeds is None:
            self._feeds = Feeds(self.table, self._library, self._grammar)
        return self._feeds

    def rows(self, definition: Definition, segment: str) -> tuple[Row, ...] | None:
        """The rows for a segment in a group: those with the longest source that fits; None when there are
        none.
        """
        key = (definition, segment)
        try:
            return self._plans[key]
        except KeyError:
            found = self._plans[key] = self._choose(definition.path, segment)
            return found

    def able(self, definition: Definition, segment: str, size: int) -> tuple[Able, ...]:
        """``rows`` without those that no segment of so many fields lets run, each with what is left to be tested."""
        size = size if size <= _SIZE_MAX else MAX_FIELDS + 1
        key = (definition, segment, size)
        found = self._able.get(key)
        if found is None:
            rows = self.rows(definition, segment) or ()
            found = self._able[key] = tuple(one for row in rows if (one := _able(row, size)) is not None)
        return found

    def unread(self, segment: str, reads: int) -> tuple[int, ...]:
        """The fields of a segment that no row which ran speaks of; ``reads``: those that they speak of, together."""
        key = (segment, reads)
        found = self._unread.get(key)
        if found is None:
            known = () if reads == -1 else elements(segment) or ()
            found = tuple(one.number for one in known if not reads >> one.number & 1)
            self._unread[key] = found
        return found

    def _choose(self, path: tuple[str, ...], segment: str) -> tuple[Row, ...] | None:
        fitting = [
            (groups, row)
            for groups, row in self._rows.get(segment, ())
            if not groups or path[-len(groups) :] == groups
        ]
        if not fitting:
            return None
        longest = max(len(groups) for groups, _ in fitting)
        return tuple(row for groups, row in fitting if len(groups) == longest)


def _row(rule: Rule, table: Table, compiler: Compiler, grammar: V2Grammar) -> Row:
    test, node, readers = None, None, None
    if rule.when:
        node, readers = parse_when(rule.when), _readers(rule, grammar)
        test = compile_when(node, readers)
    if not rule.target:
        return Row(rule, "", "", None, None, None, ())
    label, _, path = rule.target.partition(".")
    kind = label.partition(":")[0]
    program = compiler.segment(rule.as_)
    put = compile_target(parse_target(path)) if path else None
    owner = types_at(kind, parse_target(path))[0] if path else kind
    links = tuple(_link(*pair, owner, compiler.library) for pair in split_default(rule.default)[1])
    is_plain = all(link.label and not link.owner and link.element_alone for link in links)
    labels = frozenset(link.label or "" for link in links) if is_plain and links else None
    reads = _reads(rule, compiler.library)
    return Row(rule, label, kind, program, put, test, links, node, readers, reads, labels)


def _able(row: Row, size: int) -> Able | None:
    """A row with what is left of its condition for a segment of so many fields; None where it cannot hold."""
    if row.node is None or row.readers is None:
        return row, row.test
    readers = row.readers

    def known(leaf: Leaf) -> bool | None:
        return of_absent(leaf) if readers(leaf.operand).field >= size else None

    left = simplified(row.node, known)
    if isinstance(left, bool):
        return (row, None) if left else None
    return row, row.test if left == row.node else compile_when(left, readers)


def _reads(row: Rule, library: Library) -> int:
    """The fields of its segment that a row's condition and the rules of its table name, but for mere pointers."""
    segment = row.source.rpartition(".")[2]
    table = library.table("segments", row.as_)
    found = 0
    for rule in (row, *(table.rules if table is not None else ())):
        named = {rule.source} if rule is not row and answers(rule) else set()
        if (
            rule.when
        ):  # what decides about the row by being there has its say; of others, only what is compared
            node = parse_when(rule.when)
            named |= operands(node) if rule is row else compared(node)
        for source in named:
            unit, _, rest = source.partition("-")
            if unit == segment and rest:
                found |= 1 << parse_source(source, segment).number
    return found


def _readers(rule: Rule, grammar: V2Grammar) -> Callable[[str], Readers]:
    # The row's own segment is the view, as in a segment table.
    own = Table(rule.source.rpartition(".")[2], rule.file, ())
    return lambda operand: grammar.readers(operand, own, 0)


def _link(path: str, text: str, kind: str, library: Library) -> Link:
    owner = ""
    if path.startswith("@"):
        owner, _, path = path[1:].partition(".")
        kind = owner.partition(":")[0]
    steps = parse_target(path)
    wanted = types_at(kind, steps)[0]
    put = compile_target(steps)
    is_list = steps[-1].kind == "new"
    if wanted == "Reference" and text.startswith("@"):
        alone = steps[0].element if len(steps) == 1 and steps[0].kind in ("plain", "new") else ""
        return Link(owner, steps[0].element, put, is_list, "" if text == "@." else text[1:], alone)
    return Link(owner, steps[0].element, put, is_list, None, "", constant(wanted, text, library.systems))


def answers(rule: Rule) -> bool:
    """Whether a row of a table says what becomes of its source, and does not only point to where that is said."""
    return rule.is_mapped or not POINTER.match(rule.note)


def message_program(name: str, compiler: Compiler, grammar: V2Grammar) -> MessageProgram | None:
    """The program of ``messages/<name>.csv``, or None when there is no such table. Raises TableError."""
    table = compiler.library.table("messages", name)
    return None if table is None else MessageProgram(table, compiler, grammar)


_TRIGGERS: Final = "triggers"


def structure_of(library: Library, code: str, trigger: str, declared: str) -> tuple[str, str] | None:
    """(structure, message table) for MSH-9: by triggers.csv (``ACK^*``: any trigger), else by a table named
    like the declared structure.

    Raises TableError when triggers.csv is broken; None when nothing maps the message, or when its row has no
    target: an event that must not pass for an update (A29 deletes a person).
    """
    triggers = library.table("messages", _TRIGGERS)
    if triggers is None:
        raise TableError("messages/triggers.csv", 1, "there is no such table")
    named = {rule.source: rule for rule in triggers.rules}
    found = named.get(f"{code}^{trigger}") or named.get(f"{code}^*")
    if found is not None:
        return (found.target, found.as_) if found.is_mapped else None
    names = library.names("messages")  # MSH-9.3 is the sender's text: no file is looked for by it
    if declared in names and declared != _TRIGGERS:
        return declared, declared
    return None
