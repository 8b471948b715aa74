"""CDA tables to closures: what each row reads of an element, and what becomes of it.

A table reads an element and builds a resource or a part of one. Rows that are used say so to the state, so that what
no row has read can be reported (losses.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from mypy_extensions import mypyc_attr

from hdg.errors import CdaError, Issue, TableError
from hdg.fhir.definitions import ElementInfo, element_info, resource_types, type_definition
from hdg.ingestion.cda.alike import THINGS, is_by_itself, read_once
from hdg.ingestion.cda.identity import IDENTITIES
from hdg.ingestion.cda.named import NAMED
from hdg.ingestion.cda.paths import STATEMENTS, View, parse_path
from hdg.ingestion.cda.qualifiers import is_known_absent
from hdg.ingestion.cda.rows import Rows, Step, needs_of, readers
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values import CONVERTERS, REASON
from hdg.ingestion.cda.xml import Element, local
from hdg.mapping.context import Facts, JsonObject, Several
from hdg.mapping.library import Library
from hdg.mapping.programs import Programs
from hdg.mapping.puts import put_of
from hdg.mapping.shape import result_type
from hdg.mapping.table import Rule, Table
from hdg.mapping.when import compile_when, parse_when

__all__ = ["STATEMENTS", "TOO_FAR", "Compiler", "Program", "is_negated", "readers"]

Build = Callable[[Any, State], Any]
_LINKS_MAX: Final = 24
"""Statements by way of which one is read that stands elsewhere: each takes some ten calls inside one another."""
_OPENED_MAX: Final = 200
"""Tables that are open inside one another: compiled code has no RecursionError (docs/wheels.md)."""
TOO_FAR: Final = "statements lead too far from one to another"
_REFERENCE: Final = re.compile(r"Reference\(([A-Za-z0-9.,\- ]+)\)")


@mypyc_attr(allow_interpreted_subclasses=True)
@dataclass(frozen=True, slots=True)
class Program:
    """A compiled table. ``type`` is the R4 type (or backbone path) that it builds."""

    name: str
    type: str
    steps: tuple[tuple[frozenset[str], Step], ...]
    """Each with the children and attributes of the element without which it does nothing."""
    identify: Callable[[Element, State], Facts] | None
    rows: Rows
    is_of_others: bool
    """Whether it knows of statements about somebody else than the patient."""
    is_of_denials: bool
    """Whether a row of it reads ``@negationInd``."""

    @property
    def is_resource(self) -> bool:
        """Whether it builds a resource of its own."""
        return self.type in resource_types()

    def knows_denial(self, element: Element) -> bool:
        """Whether a row reads the negation of a statement. Other words than true may mean anything."""
        return self.is_of_denials and element.get("negationInd") == "true"

    def fill(self, element: Element, out: JsonObject, state: State) -> None:
        """Runs every row. ``out`` is changed in place. Raises CdaError: too many tables are open."""
        if state.opened >= _OPENED_MAX:
            raise CdaError(TOO_FAR)
        state.opened += 1
        labels, state.labels = state.labels, {}
        state.statements[element] = None
        view: View = {}
        for child in element.inner:
            tag = child.tag
            if tag in view:
                view[tag].append(child)
            else:
                view[tag] = [child]
        names = list(view.keys())
        if element.attributes:
            names += list(element.attributes.keys())
        rows = self.rows.needed(tuple(names))
        try:
            for row in rows:
                row.run(element, view, out, state)
        finally:
            state.labels = labels
            state.opened -= 1


def is_negated(element: Element) -> bool:
    """Whether a statement says that something is not so."""
    return bool(element.get("negationInd", "false") != "false")


_OF_PATIENTS: Final = frozenset(
    (
        "AllergyIntolerance",
        "Appointment",
        "CarePlan",
        "CareTeam",
        "Communication",
        "Condition",
        "Consent",
        "Coverage",
        "DeviceRequest",
        "DeviceUseStatement",
        "DiagnosticReport",
        "DocumentReference",
        "Encounter",
        "Goal",
        "Immunization",
        "Media",
        "MedicationAdministration",
        "MedicationDispense",
        "MedicationRequest",
        "MedicationStatement",
        "Observation",
        "Procedure",
        "RiskAssessment",
        "ServiceRequest",
        "SupplyDelivery",
        "SupplyRequest",
    )
)
"""Resources that would say it of the patient."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Compiler(Programs[Program]):
    """Compiles the tables of one Library; keeps what it compiled."""

    def __init__(self, library: Library) -> None:
        super().__init__(library)
        self._by_themselves: dict[str, bool] = {}

    def is_by_itself(self, name: str) -> bool:
        """Whether what it makes of an element depends on nothing else of the document (alike.py)."""
        found = self._by_themselves.get(name)
        if found is None:
            found = self._by_themselves[name] = is_by_itself(self.library, name)
        return found

    def _program(self, table: Table) -> Program:
        try:
            kind = result_type(table.result)
        except ValueError as error:
            raise TableError(table.file, 1, str(error)) from error
        steps, identify = [], None
        for rule in table.rules:
            try:
                if rule.target == "id":
                    identify = IDENTITIES[rule.as_]
                else:
                    step = self._step(rule, kind)
                    steps.append((needs_of(step), step))
            except (ValueError, KeyError) as error:
                raise rule.error(str(error)) from error
        is_of_others = any(step.path.text.startswith("subject/") for _, step in steps)
        is_of_denials = any(step.rule.source == "@negationInd" for _, step in steps)
        return Program(table.name, kind, tuple(steps), identify, Rows(steps), is_of_others, is_of_denials)

    def _step(self, rule: Rule, root: str) -> Step:
        path = parse_path(rule.source)
        test = compile_when(parse_when(rule.when), readers) if rule.when else None
        if not rule.target:
            return Step(rule, path, test, None, None, is_whole=not path.attribute, is_wary=path.is_statement)
        put = put_of(rule, root, self.library)
        if not rule.as_:
            return Step(rule, path, test, put.fallback, None, is_whole=False)
        convert, is_whole = self._converter(rule.as_, put.info)
        is_whole = is_whole and not path.attribute
        is_wary = path.is_statement and (rule.as_ in CONVERTERS or rule.as_ in NAMED)
        gap = _gap(root, rule.target)
        return Step(rule, path, test, put.fire(convert), put.fallback, is_whole, gap, is_wary)

    def _converter(self, as_: str, info: ElementInfo | None) -> tuple[Build, bool]:
        """What makes the value, and whether it reads all of the element."""
        plain = CONVERTERS.get(as_)
        if plain is not None:
            return plain, True
        named = NAMED.get(as_)
        if named is not None:
            return named.convert, named.is_whole
        reference = _REFERENCE.fullmatch(as_)
        if reference is None:
            return self._part(as_), False
        if reference[1] in ("entry", "linked"):
            targets = frozenset(info.definition.targets if info is not None else ())
            return _dispatched(targets, is_link=reference[1] == "linked"), False
        return self._reference(reference[1]), False

    def _part(self, name: str) -> Build:
        """A table that builds a part."""
        if self.library.table("tables", name) is None:
            raise ValueError(f"there is no converter or table {name!r}")

        def build(element: Element, state: State) -> JsonObject | None:
            program = self.program(name)
            if (
                is_negated(element)
                and not program.knows_denial(element)
                and element not in state.attributes["negationInd"]  # a part of what another table reads
            ):
                state.statements[element] = None
                text = "a negated part was left out: its table does not say what that means"
                state.issues.append(Issue("error", "not-supported", state.place_of(element), text))
                return None
            if state.has_contexts and local(element) in STATEMENTS and is_known_absent(element):
                state.statements[element] = None
                text = "a code whose qualifier says that it is absent, or somebody else's, was left out"
                state.issues.append(Issue("error", "not-supported", state.place_of(element), text))
                return None
            out: JsonObject = {}
            program.fill(element, out, state)
            return out or None

        return build

    def _reference(self, name: str) -> Build:
        """A table that builds a resource, which is referred to."""
        if self.library.table("tables", name) is None:
            raise ValueError(f"there is no table {name!r}")

        def refer(element: Element, state: State) -> JsonObject | None:
            return self.resource(name, element, state)

        return refer

    def resource(self, name: str, element: Element, state: State) -> JsonObject | None:
        """A reference to what a table makes of an element; None for nothing."""
        program = self.program(name)
        kind = program.type
        made = state.made_of[name]
        if element in made:
            known = made[element]
            return None if known is None else {"reference": known}
        if kind in THINGS and self.is_by_itself(name):
            found = read_once(name, element, state, lambda: self._made(name, program, element, state))
        else:
            found = self._made(name, program, element, state)
        made[element] = found
        return None if found is None else {"reference": found}

    def _made(self, name: str, program: Program, element: Element, state: State) -> str | None:
        """``Type/id`` of what a table makes of an element; None for nothing."""
        kind = program.type
        made = state.made_of[name]
        made[element] = None
        if is_negated(element) and not program.knows_denial(element):
            text = f"a negated statement was left out: the table {name} does not say what that means"
            state.issues.append(Issue("error", "not-supported", state.place_of(element), text))
            return None
        if kind in _OF_PATIENTS and not program.is_of_others and state.is_about_another(element):
            text = "a statement about somebody else than the patient was left out"
            state.issues.append(Issue("error", "not-supported", state.place_of(element), text))
            return None
        if kind in _OF_PATIENTS and state.is_absent_or_anothers(element):
            text = "a code whose qualifier says that it is absent, or somebody else's, was left out"
            state.issues.append(Issue("error", "not-supported", state.place_of(element), text))
            return None
        out: JsonObject = {"resourceType": kind, "id": ""}
        problems, state.problems = state.problems, []
        program.fill(element, out, state)
        state.problems = problems
        if len(out) <= 2:
            return None
        for unsaid in _unsaid(kind, out):
            out[unsaid] = {"extension": [{"url": REASON, "valueCode": "unknown"}]}
            text = f"{kind} needs {unsaid.removeprefix('_')}, and nothing says it: said to be unknown"
            state.issues.append(Issue("warning", "required", state.place_of(element), text))
        facts = program.identify(element, state) if program.identify else state.facts_of(element)
        reference = state.take(out, facts, element)
        if kind == "Patient" and state.subject is None:
            state.subject = reference.copy()
        found: str = reference["reference"]
        made[element] = found
        return found


def _unsaid(kind: str, out: JsonObject) -> list[str]:
    """Required choices of a resource that have no value: the property where its absence is said."""
    return [
        property_
        for stem, property_ in _choices(kind)
        if not any(name.removeprefix("_").startswith(stem) for name in out)
    ]


@lru_cache(maxsize=200)
def _choices(kind: str) -> tuple[tuple[str, str], ...]:
    """Required choices of a resource: name, and the property where its absence is said."""
    return tuple(
        (
            element.name,
            f"{element.name}CodeableConcept"
            if "CodeableConcept" in element.types
            else f"_{element.name}DateTime",
        )
        for element in type_definition(kind).elements
        if element.is_choice and element.min and not {"CodeableConcept", "dateTime"}.isdisjoint(element.types)
    )


def _dispatched(targets: frozenset[str], *, is_link: bool) -> Build:
    """What the table of statements makes of a nested one, as far as R4 allows a reference to it there.

    ``is_link``: the nested one only names a statement that stands elsewhere.
    """

    def refer(element: Element, state: State) -> Any:
        if state.dispatch is None or (not is_link and _is_of_denied(element)):
            return None
        meant = state.linked(element) if is_link else element
        if meant is None:
            state.mark(element)
            return state.identified(element)
        if meant is not element:
            state.mark(element)
            if state.depth >= _LINKS_MAX and meant not in state.told:
                text = "what is at the end of a long chain of statements is only named here"
                state.issues.append(Issue("information", "too-costly", state.place_of(element), text))
                return state.identified(element)
        if local(meant) in STATEMENTS:
            found = state.dispatch(meant, state)
        else:
            one = state.reference("encompassingEncounter.Encounter", meant)
            found = [] if one is None else [one]
        kept = [one for one in found if not targets or one["reference"].partition("/")[0] in targets]
        return Several(kept) if kept else None

    return refer


def _is_of_denied(element: Element) -> bool:
    """Whether a nested statement says more of what is not so; why that is not so does hold."""
    holder = element.around
    if holder is None or holder.around is None or holder.get("typeCode") == "RSON":
        return False
    return is_negated(holder.around)


def _gap(root: str, target: str) -> str:
    """A required element of a resource that can say why it has no value."""
    if not target.isidentifier():
        return ""
    info = element_info(root, target)
    if info is None or not info.definition.min or info.is_choice or info.is_list or info.type[0].islower():
        return ""
    return target
