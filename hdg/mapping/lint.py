"""Checks tables before anything runs: every finding has a file and a line.

What is checked: sources parse; targets exist in R4, with brackets on lists and only there; ``as``, ``map``
and ``when`` can be resolved; defaults have the type of their place; a blank target says why; every element
of the unit that a table reads has a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from hdg.errors import TableError
from hdg.fhir import definitions
from hdg.mapping.convert import Registry
from hdg.mapping.defaults import Pair, split_default
from hdg.mapping.library import Library
from hdg.mapping.shape import ConstantError, constant, result_type, types_at
from hdg.mapping.table import Rule, Table
from hdg.mapping.target import Step, TargetError, parse_target
from hdg.mapping.when import WhenError, operands, parse_when

REFERENCE = re.compile(r"Reference\(([^()]+)\)")
_TEXT = {"string", "markdown", "code", "id", "uri", "url", "canonical", "xhtml"}
# A converter for the left type also makes what the right elements hold.
_FITS = {
    "string": {"string", "markdown"},
    "markdown": {"markdown", "string"},
    "uri": {"uri", "url", "canonical"},
    "url": {"uri", "url"},
    "code": {"code", "string"},
    "id": {"id", "string"},
    "date": {"date", "dateTime"},
    "integer": {"integer", "decimal"},
    "positiveInt": {"positiveInt", "unsignedInt", "integer", "decimal"},
    "unsignedInt": {"unsignedInt", "integer", "decimal"},
}


class Unit(NamedTuple):
    """An element of what a table reads, for the completeness check."""

    number: int
    name: str


class LintGrammar(Protocol):
    """What the checks need to know about a source format."""

    primitives: frozenset[str]
    converters: Registry

    def check_source(self, text: str, table: Table) -> int:
        """The number of the element that a source is in (0: the whole). Raises ValueError."""

    def units(self, table: Table) -> Sequence[Unit]:
        """Every element that needs a row."""

    def check_message_source(self, text: str, table: Table) -> None:
        """A message table's source. Raises ValueError."""

    def is_message_source(self, name: str) -> bool:
        """Whether a table name begins with something that a message is made of (a segment)."""


Findings = list[TableError]


def lint(library: Library, grammar: LintGrammar) -> Findings:
    """Every finding in all tables of a library, by file and line."""
    findings: Findings = []
    tables: dict[str, list[Table]] = {}
    for kind in ("segments", "datatypes", "messages"):
        for name in library.names(kind):
            try:
                table = library.table(kind, name)
            except TableError as error:
                findings.append(error)
                continue
            if table is not None:
                tables.setdefault(kind, []).append(table)
    for table in (*tables.get("segments", ()), *tables.get("datatypes", ())):
        findings.extend(_Checker(library, grammar, table).findings())
    findings.extend(_complete(tables.get("segments", ()), grammar, together=True))
    findings.extend(_complete(tables.get("datatypes", ()), grammar, together=False))
    for table in tables.get("messages", ()):
        if table.name != "triggers":
            findings.extend(_MessageChecker(library, grammar, table).findings())
    return sorted(findings, key=lambda finding: (finding.file, finding.line))


def _complete(tables: Sequence[Table], grammar: LintGrammar, *, together: bool) -> Iterator[TableError]:
    """Elements without a row: in the union of a segment's tables, or in each table of a datatype."""
    groups: dict[str, list[Table]] = {}
    for table in tables:
        groups.setdefault(table.source if together else table.name, []).append(table)
    for name, members in groups.items():
        seen: set[int] = set()
        for table in members:
            for rule in table.rules:
                try:
                    seen.add(grammar.check_source(rule.source, table))
                except ValueError:
                    continue  # reported at its own line
        for unit in grammar.units(members[0]):
            if unit.number not in seen:
                where = members[0].file
                yield TableError(where, 1, f"{name}: no row for element {unit.number} ({unit.name})")


class _Checker:
    def __init__(self, library: Library, grammar: LintGrammar, table: Table) -> None:
        self.library = library
        self.grammar = grammar
        self.table = table

    def findings(self) -> Iterator[TableError]:
        try:
            root = result_type(self.table.result)
        except TargetError as error:
            yield TableError(self.table.file, 1, str(error))
            return
        for rule in self.table.rules:
            for check in (self._source, self._when, self._target):
                try:
                    check(rule, root)
                except (ValueError, KeyError) as error:
                    yield rule.error(str(error))

    def _source(self, rule: Rule, root: str) -> None:
        self.grammar.check_source(rule.source, self.table)

    def _when(self, rule: Rule, root: str) -> None:
        if not rule.when:
            return
        for operand in operands(parse_when(rule.when)):
            self.grammar.check_source(operand, self.table)

    def _target(self, rule: Rule, root: str) -> None:
        if not rule.target:
            if not rule.note:
                raise TargetError("a blank target needs a note")
            if rule.as_ or rule.map or rule.default:
                raise TargetError("a row without target takes no as, map or default")
            return
        if rule.target == "id":
            self._identity(rule)
            return
        steps = parse_target(rule.target)
        if any(step.kind == "index" for step in steps):
            raise TargetError("a numbered item may stand in default pairs only; use [] or a label")
        types = types_at(root, steps)
        made = self._as(rule, types)
        bare, pairs = split_default(rule.default)
        if not rule.as_ and bare is None:
            raise TargetError("as is empty and there is no constant")
        if bare is not None:
            if len(types) > 1:
                raise ConstantError("a default for a choice needs the type in the target: valueString")
            constant(types[0], bare, self.library.systems)
        self._pairs(pairs, root, steps, made or types[0])

    def _identity(self, rule: Rule) -> None:
        if not rule.as_.startswith("identity."):
            raise TargetError("the target id takes an identity converter")
        if self.grammar.converters.get(rule.as_) is None:
            raise TargetError(f"there is no converter {rule.as_!r}")

    def _as(self, rule: Rule, types: Sequence[str]) -> str:
        """The type that ``as`` makes ('' when unknown); raises when it does not fit."""
        made = self._made(rule.as_)
        if rule.map:
            if self.library.concept_map(rule.map) is None:
                raise TargetError(f"there is no terminology/maps/{rule.map}.csv")
            if made not in ("code", "Coding", "CodeableConcept"):
                raise TargetError(f"a map needs as=code, a Coding or a CodeableConcept, not {rule.as_!r}")
        if made and not any(kind in _FITS.get(made, {made}) for kind in types):
            raise TargetError(f"{rule.as_} makes a {made}, but {rule.target} is {' or '.join(types)}")
        return made

    def _made(self, as_: str) -> str:
        reference = REFERENCE.fullmatch(as_)
        if reference is not None:
            table = self._datatype(reference[1])
            if not any(rule.target == "id" for rule in table.rules):
                raise TargetError(f"{reference[1]} has no id row, so nothing can refer to what it builds")
            return "Reference"
        if not as_ or as_ in self.grammar.primitives:
            return as_
        named = self.grammar.converters.get(as_)
        if named is not None:
            return named.type
        if not as_[0].isupper():
            raise TargetError(f"there is no converter {as_!r}")
        self._datatype(as_)
        return result_type(as_.partition(".")[2])

    def _datatype(self, name: str) -> Table:
        table = self.library.table("datatypes", name)
        if table is None:
            raise TargetError(f"there is no datatypes/{name}.csv")
        return table

    def _pairs(self, pairs: Sequence[Pair], root: str, steps: Sequence[Step], last: str) -> None:
        owner = root
        for index, step in enumerate(steps):
            if step.is_list:
                owner = last if index == len(steps) - 1 else types_at(root, steps[: index + 1])[0]
        for pair in pairs:
            types = types_at(owner, parse_target(pair.path))
            if len(types) > 1:
                raise ConstantError(f"{pair.path}: a choice needs its type")
            constant(types[0], pair.value, self.library.systems)


class _MessageChecker:
    """Rows of a message table."""

    def __init__(self, library: Library, grammar: LintGrammar, table: Table) -> None:
        self.library = library
        self.grammar = grammar
        self.table = table
        self.labels = {rule.target.partition(".")[0] for rule in table.rules if rule.target}

    def findings(self) -> Iterator[TableError]:
        checks: tuple[Callable[[Rule], None], ...] = (self._source, self._when, self._target)
        for rule in self.table.rules:
            for check in checks:
                try:
                    check(rule)
                except (ValueError, KeyError) as error:
                    yield rule.error(str(error))

    def _source(self, rule: Rule) -> None:
        self.grammar.check_message_source(rule.source, self.table)

    def _when(self, rule: Rule) -> None:
        if rule.when:
            for operand in operands(parse_when(rule.when)):
                self.grammar.check_source(operand, self.table)

    def _target(self, rule: Rule) -> None:
        if not rule.target:
            if not rule.note:
                raise TargetError("a blank target needs a note")
            return
        label, _, path = rule.target.partition(".")
        kind = label.partition(":")[0]
        if kind not in definitions.resource_types():
            raise TargetError(f"{kind!r} is not an R4 resource type")
        wanted = types_at(kind, parse_target(path))[0] if path else kind
        table = self.library.table("segments", rule.as_)
        if table is None:
            raise TargetError(f"there is no segments/{rule.as_}.csv")
        if table.source != rule.source.rpartition(".")[2]:
            raise TargetError(f"{rule.as_} reads {table.source}, not {rule.source}")
        made = result_type(table.result)
        if made != wanted:
            raise TargetError(f"{rule.as_} builds a {made}, but {rule.target} is a {wanted}")
        bare, pairs = split_default(rule.default)
        if bare is not None:
            raise ConstantError("a message row takes pairs only")
        for pair in pairs:
            self._link(pair, wanted)

    def _link(self, pair: Pair, wanted: str) -> None:
        owner, path = wanted, pair.path
        if path.startswith("@"):
            label, _, path = path[1:].partition(".")
            self._known(label)
            owner = label.partition(":")[0]
        types = types_at(owner, parse_target(path))
        if not pair.value.startswith("@") or types[0] in ("uri", "url", "canonical"):
            constant(types[0], pair.value, self.library.systems)
            return
        if types[0] != "Reference":
            raise TargetError(f"{pair.path} is a {types[0]}, not a Reference")
        if pair.value == "@.":
            return
        self._known(pair.value[1:])
        self._check_reference(owner, parse_target(path)[-1], pair.value[1:].partition(":")[0])

    def _known(self, label: str) -> None:
        if label not in self.labels:
            raise TargetError(f"no row of this table builds {label!r}")

    def _check_reference(self, owner: str, last: Step, kind: str) -> None:
        info = definitions.element_info(owner, last.element)
        targets = info.definition.targets if info is not None else ()
        if targets and kind not in targets and "Resource" not in targets:
            raise TargetError(f"{owner}.{last.element} may not refer to a {kind}")


__all__ = ["Findings", "LintGrammar", "Unit", "WhenError", "lint"]
