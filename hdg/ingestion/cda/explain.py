"""``hdg map explain`` for tables that read elements: which rows read a path, and what they make of a document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

from hdg.fhir.json import dumps
from hdg.ingestion.cda.compile import Compiler, Program
from hdg.ingestion.cda.rows import Rows, Step
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import Element
from hdg.mapping.actions import Fire
from hdg.mapping.context import JsonObject
from hdg.mapping.library import Library
from hdg.mapping.table import Rule, Table

__all__ = ["Watching", "is_path", "rules"]

_PATH = re.compile(r"(?:[@A-Za-z.][\w.:@]*(?:\[[^\]]*\])*/?)+")
_PREDICATE = re.compile(r"\[[^\]]*\]")


class Watching(Compiler):
    """A second compilation of the same rows, which also keeps what each made, and where: the hot path pays nothing."""

    def __init__(self, library: Library) -> None:
        super().__init__(library)
        self.made: dict[tuple[str, int], list[tuple[str, str]]] = {}
        """File and line of a rule → place of the element that its table read, and what came of it as JSON."""
        self._places: list[str] = []

    def is_by_itself(self, name: str) -> bool:
        """Every reading of a table is watched."""
        return False

    def _program(self, table: Table) -> Program:
        plain = super()._program(table)
        steps = tuple((first, self._watched(step)) for first, step in plain.steps)
        return _Watched(
            plain.name,
            plain.type,
            steps,
            plain.identify,
            Rows(steps),
            plain.is_of_others,
            plain.is_of_denials,
            self._places,
        )

    def _watched(self, step: Step) -> Step:
        return replace(
            step, fire=self._watch(step.rule, step.fire), fallback=self._watch(step.rule, step.fallback)
        )

    def _watch(self, rule: Rule, fire: Fire | None) -> Fire | None:
        if fire is None:
            return None

        def watch(value: str, out: JsonObject, state: State) -> bool:
            place = self._places[-1] if self._places else ""
            before = deepcopy(out)
            done = fire(value, out, state)
            text = _difference(before, out) if done else ""
            self.made.setdefault((rule.file, rule.line), []).append((place, text))
            return done

        return watch


@dataclass(frozen=True)  # slots of its own would hide those of a compiled Program
class _Watched(Program):
    places: list[str]

    def fill(self, element: Element, out: JsonObject, state: State) -> None:
        self.places.append(state.place_of(element))
        try:
            Program.fill(self, element, out, state)
        finally:
            self.places.pop()


def _difference(before: JsonObject, after: JsonObject) -> str:
    """What was added or changed: whole elements; of a list the new items."""
    found: JsonObject = {}
    for name, value in after.items():
        old = before.get(name)
        if value == old:
            continue
        is_longer = isinstance(value, list) and isinstance(old, list) and value[: len(old)] == old
        found[name] = value[len(old) :] if is_longer and old is not None else value
    return dumps(found).decode("utf-8") if found else ""


def is_path(source: str) -> bool:
    """Whether it can be a path of elements."""
    return _PATH.fullmatch(source) is not None


def rules(library: Library, source: str) -> Iterator[Rule]:
    """The rows whose path, with the element of their table before it, ends with ``source``, in the order of the files.

    ``value`` finds ``observation/value`` too; predicates count only where ``source`` names some.
    """
    has_predicate = "[" in source
    wanted = _steps(source, has_predicate=has_predicate)
    for name in library.names("tables"):
        table = library.table("tables", name)
        for rule in table.rules if table is not None else ():
            steps = [name.partition(".")[0], *_steps(rule.source, has_predicate=has_predicate)]
            if steps[-len(wanted) :] == wanted and rule.target != "id":
                yield rule


def _steps(path: str, *, has_predicate: bool) -> list[str]:
    text = path if has_predicate else _PREDICATE.sub("", path)
    # A predicate may hold a slash of its own.
    return [step for step in re.split(r"/(?![^\[]*\])", text) if step not in (".", "..", "")]
