"""DICOM tables to closures: what each row reads of a data set, and what becomes of it.

A table reads a data set and builds a resource or a part of one. Rows that are used say so to the state, so that what
was not carried can be reported (losses.py). The columns are those of mappings/README.md; ``source`` is paths.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hdg.errors import Issue, TableError
from hdg.fhir.definitions import element_info, resource_types
from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.identity import IDENTITIES
from hdg.ingestion.dicom.named_documents import NAMED
from hdg.ingestion.dicom.paths import Hit, Path, parse_path
from hdg.ingestion.dicom.state import State
from hdg.ingestion.dicom.values import CONVERTERS
from hdg.mapping.actions import Fire
from hdg.mapping.context import Facts, JsonObject
from hdg.mapping.programs import Programs
from hdg.mapping.puts import put_of
from hdg.mapping.shape import result_type
from hdg.mapping.table import Rule, Table
from hdg.mapping.when import Readers, Test, compile_when, parse_when

__all__ = ["Compiler", "Program", "Step", "readers"]

Build = Callable[[Any, State], Any]
_MOST_VALUES = 1000
"""Values of an element, or items of a sequence, that a row reads."""
_REFERENCE = re.compile(r"Reference\(([A-Za-z0-9.\- ]+)\)")


Run = Callable[[Dataset, set[int], JsonObject, State], None]
"""Runs a row on a data set: what has been read of it (its tags) and ``out`` are changed in place."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row. ``fire`` puts what was read; ``fallback`` steps in when nothing came of it."""

    rule: Rule
    path: Path
    test: Test | None
    fire: Fire | None
    fallback: Fire | None


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled table. ``type`` is the R4 type (or backbone path) that it builds.

    ``steps``: each with the tag without which it does nothing; 0 for none.
    """

    name: str
    type: str
    steps: tuple[tuple[int, Run], ...]
    identify: Callable[[Dataset, State], Facts] | None
    silent: frozenset[int]
    """Elements that a row leads nowhere, whatever else there is."""
    tags: frozenset[int]
    """Every element that has a row."""

    @property
    def is_resource(self) -> bool:
        """Whether it builds a resource of its own."""
        return self.type in resource_types()

    def fill(self, dataset: Dataset, out: JsonObject, state: State) -> None:
        """Runs every row. ``out`` is changed in place."""
        labels, state.labels = state.labels, {}
        outer = state.dataset, state.tag, state.place
        raw = dataset.raw
        read = state.read.get(id(dataset))
        if read is None:
            read = state.read[id(dataset)] = set()
        read |= self.silent
        try:
            for first, run in self.steps:
                if not first or first in raw:
                    run(dataset, read, out, state)
        finally:
            state.labels = labels
            state.dataset, state.tag, state.place = outer


def _runner(step: Step) -> Run:
    """The row as a closure of its kind: a value of the data set itself, or anything else."""
    path = step.path
    is_simple = not path.way and not path.number and path.tag and step.fallback is None
    if is_simple and step.fire is not None:
        return _simple(path, step.test, step.fire)
    return lambda dataset, read, out, state: _run(step, dataset, out, state)


def _simple(path: Path, test: Test | None, fire: Fire) -> Run:
    tag, text, is_sequence = path.tag, path.text, path.is_sequence

    def run(dataset: Dataset, read: set[int], out: JsonObject, state: State) -> None:
        if test is not None and not test(dataset, state):
            return
        read.add(tag)
        hits: Sequence[Hit] = dataset.items(tag) if is_sequence else dataset.texts(tag)
        if not hits:
            return
        if len(hits) > _MOST_VALUES:
            hits = _first_of(hits, state, text)
        state.dataset, state.tag, state.place = dataset, tag, text
        for hit in hits:
            if hit != "":
                fire(hit, out, state)
                if state.problems:
                    state.settle_at(text)

    return run


def _run(step: Step, dataset: Dataset, out: JsonObject, state: State) -> None:
    path = step.path
    if step.test is not None and not step.test(dataset, state):
        return
    is_done = False
    tag = path.tag
    for holder in path.holders(dataset) if path.way else (dataset,):
        if tag:
            if tag not in holder.raw:
                continue
            state.mark(holder, tag)
        if step.fire is None:
            continue
        hits = path.hits(holder)
        if len(hits) > _MOST_VALUES:
            hits = _first_of(hits, state, path.text)
        for hit in hits:
            if hit == "":
                continue
            state.dataset, state.tag, state.place = holder, tag, path.text
            is_done = step.fire(hit, out, state) or is_done
            if state.problems:
                state.settle_at(path.text)
    if step.fallback is not None and not is_done:
        step.fallback("", out, state)
        if state.problems:
            state.settle_at(path.text)


def _first_of(hits: Sequence[Hit], state: State, place: str) -> Sequence[Hit]:
    """As many as are carried. Lists are searched for what they hold already, so they may not grow without end."""
    text = f"more than {_MOST_VALUES} values; the others were not carried over"
    state.issues.append(Issue("error", "too-long", place, text))
    return hits[:_MOST_VALUES]


class Compiler(Programs[Program]):
    """Compiles the tables of one Library; keeps what it compiled."""

    def _program(self, table: Table) -> Program:
        try:
            kind = _type_of(table.result)
        except ValueError as error:
            raise TableError(table.file, 1, str(error)) from error
        steps, identify = [], None
        tags, silent = set(), set()
        for rule in table.rules:
            try:
                if rule.target == "id":
                    identify = IDENTITIES[rule.as_]
                    continue
                step = self._step(rule, kind)
            except (ValueError, KeyError) as error:
                raise rule.error(str(error)) from error
            first = step.path.first
            tags.add(first)
            if step.fire is None and step.fallback is None and step.test is None and not step.path.way:
                silent.add(first)
            else:
                steps.append((0 if step.fallback is not None else first, _runner(step)))
        return Program(
            table.name, kind, tuple(steps), identify, frozenset(silent - {0}), frozenset(tags - {0})
        )

    def _step(self, rule: Rule, root: str) -> Step:
        path = parse_path(rule.source)
        test = compile_when(parse_when(rule.when), readers) if rule.when else None
        if not rule.target:
            return Step(rule, path, test, None, None)
        put = put_of(rule, root, self.library)
        if not rule.as_ and rule.source == ".":
            return Step(rule, path, test, None, put.fallback)
        if not rule.as_:
            return Step(rule, path, test, put.fallback, None)
        return Step(rule, path, test, put.fire(self._converter(rule.as_)), put.fallback)

    def _converter(self, as_: str) -> Build:
        """What makes the value."""
        plain = CONVERTERS.get(as_) or NAMED.get(as_)
        if plain is not None:
            return plain
        reference = _REFERENCE.fullmatch(as_)
        name = reference[1] if reference is not None else as_
        if self.library.table("tables", name) is None:
            raise ValueError(f"there is no converter or table {name!r}")
        if reference is not None:
            return lambda hit, state: self.resource(name, _dataset(hit), state)
        return lambda hit, state: self.part(name, _dataset(hit), state)

    def part(self, name: str, dataset: Dataset, state: State) -> JsonObject | None:
        """What a table makes as a part of something else; None for nothing."""
        out: JsonObject = {}
        if dataset is not state.root:
            state.visited.append(dataset)
        self.program(name).fill(dataset, out, state)
        return out or None

    def resource(self, name: str, dataset: Dataset, state: State) -> JsonObject | None:
        """A reference to what a table makes of a data set; None for nothing."""
        key = (name, id(dataset))
        known: JsonObject | None = state.known.get(key, _MISSING)
        if known is not _MISSING:
            return None if known is None else known.copy()
        state.known[key] = None
        program = self.program(name)
        if program.identify is None:
            raise TableError(f"tables/{name}.csv", 1, "a table of a resource needs a row with the target id")
        if dataset is not state.root:
            state.visited.append(dataset)
        problems, state.problems = state.problems, []
        facts = program.identify(dataset, state)
        if state.problems:
            state.settle_at(state.place)
        out: JsonObject = {"resourceType": program.type, "id": ""}
        if facts.parts:
            program.fill(dataset, out, state)
        state.problems = problems
        if (len(out) <= 2 and program.type != "Patient") or _says_nothing(out):
            return None
        made = state.take(out, facts)
        if program.type == "Patient" and state.subject is None:
            state.subject = made
        state.known[key] = made
        return made.copy()


_MISSING: Any = object()


def _type_of(name: str) -> str:
    """The R4 type that a table builds, also two elements deep: ``ImagingStudySeriesInstance``. Raises ValueError."""
    try:
        return result_type(name)
    except ValueError:
        owner, _, element = re.sub(r"(?<=[a-z0-9])([A-Z][a-z]*)$", r" \1", name).partition(" ")
        info = element_info(result_type(owner), element.lower()) if element else None
        if info is None:
            raise
        return info.type


def _says_nothing(resource: JsonObject) -> bool:
    """Whether an Observation has no value, because what was sent is none."""
    return resource["resourceType"] == "Observation" and not any(
        name.startswith("value") for name in resource
    )


def _dataset(hit: Hit) -> Dataset:
    if isinstance(hit, str):
        raise TableError("tables", 1, "a table reads a data set or the items of a sequence, not a value")
    return hit


def readers(operand: str) -> Readers:
    """How ``when`` reads a path below the data set. Raises PathError."""
    path = parse_path(operand)
    first = path.first

    def found(dataset: Dataset, state: State) -> Sequence[Hit]:
        return [hit for holder in path.holders(dataset) for hit in path.hits(holder) if hit != ""]

    def text(dataset: Dataset, state: State) -> str:
        hits = found(dataset, state)
        return hits[0] if hits and isinstance(hits[0], str) else ""

    return Readers(text, lambda d, s: first in d.raw and bool(found(d, s)), lambda d, s: len(found(d, s)))
