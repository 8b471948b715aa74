"""What a researcher may ask: the searches that tell nothing but what the answers show anyway.

R4 search.html. An allow-list, like what is shown: codes, references, booleans and quantities of elements that
elements.csv lists, compared by values that a researcher could be shown. Everything else is refused by name: names,
numbers, addresses, texts, dates (true ones against shifted ones would tell the offset), every order, whatever
modifier or part of a query this module does not know. Ids are pseudonyms; one that is nobody's (any more), or
hidden, finds what an unused one finds.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from hdg.errors import AccessDenied, BadRequest
from hdg.fhir import definitions
from hdg.management.store.operators import split_at, unescape
from hdg.management.store.pages import BY_HASH
from hdg.management.store.search import Clause, Include, SearchQuery, Sort
from hdg.terminology import ucum
from hdg.usage.research import coding, units
from hdg.usage.research.deidentify import AGES
from hdg.usage.research.elements import SHOWN, shape

__all__ = ["COMPARTMENTS", "Question", "Rule", "names_in", "rule", "translated"]

COMPARTMENTS = frozenset({"Patient", "Encounter"})
"""The others are of people whom nobody is shown."""
NOBODY = secrets.token_hex(32)
"""An id that no resource has: what a pseudonym that leads nowhere stands for."""
_KINDS = {
    "token": {"code": "code", "boolean": "boolean", "Coding": "concept", "CodeableConcept": "concept"},
    "reference": {"Reference": "reference"},
    "quantity": dict.fromkeys(("Quantity", "SampledData", "Range"), "quantity"),
    "number": {"decimal": "number"},
}
"""Kind of parameter → type of an element that may be searched by → how its values are looked at."""
_DECEASED = "Patient.deceased.exists() and Patient.deceased != false"
_STEP = re.compile(r"(?:\A|\.)(?:as\((?P<cast>\w+)\)|(?P<name>[a-z]\w*))(?=\.|\Z)")
_CAST = re.compile(r"\(?([\w.]+) as (\w+)\)?")
_TARGET = re.compile(r"\.where\(resolve\(\) is [A-Z]\w*\)$")
_SYSTEMS_MAX = 40
_VALUES_MAX = 400
"""Of a whole query: each becomes SQL."""
_TIME = "s"
_NO_UNIT = "1"
_VALUES_OF = frozenset(
    f"{whose}value-{what}" for whose in ("", "combo-", "component-") for what in ("quantity", "concept")
)
"""Parameters of Observation that compare values. Of an observed age they are not shown without a unit of time."""
_NO_AGE = Clause("combo-code", "token", "not", tuple(f"{system}|{code}" for system, code in sorted(AGES)))
_LONG = 10**40
"""Of any unit of time it is longer than a life."""
Name = tuple[str, str]
"""Type ('' where it is not said) and pseudonym."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a parameter may be asked. ``values``: id, code, boolean, concept, reference, quantity or number.

    ``kind``: of the parameter; ``bindings``: the required value sets of its codes.
    """

    values: str
    kind: str
    bindings: frozenset[str] = frozenset()


@cache
def rule(type_: str, code: str) -> Rule | None:
    """None: a researcher may not ask for this parameter of this type."""
    if type_ not in SHOWN:
        return None
    if code == "_id":
        return Rule("id", "token")
    parameter = next((one for one in definitions.search_parameters(type_) if one.code == code), None)
    if parameter is None or parameter.kind not in _KINDS:
        return None
    if parameter.expression == _DECEASED:
        return Rule("boolean", "token") if f"{type_}.deceased" in SHOWN[type_] else None
    found: set[str] = set()
    bindings: set[str] = set()
    for alternative in parameter.expression.split("|"):
        kind, binding = _ended(type_, alternative.strip())
        found.add(_KINDS[parameter.kind].get(kind, ""))
        bindings.add(binding)
    if len(found) != 1 or "" in found:
        return None
    (values,) = found
    if values == "code" and "" in bindings:
        return None
    return Rule(values, parameter.kind, frozenset(bindings - {""}))


def _ended(type_: str, text: str) -> tuple[str, str]:
    """(type, required value set) of the shown element that a path leads to; ('', '') when it is not shown."""
    path = _TARGET.sub("", _CAST.sub(r"\1.as(\2)", text))
    if not path.startswith(f"{type_}."):
        return "", ""
    path = path.removeprefix(f"{type_}.")
    steps = list(_STEP.finditer(path))
    if "".join(step[0] for step in steps) != path:
        return "", ""
    owner = type_
    kind = binding = ""
    for number, step in enumerate(steps):
        if step["cast"]:
            continue
        if kind and "." not in kind:
            return "", ""  # elements of data types: none of them is searched by
        owner = kind or owner
        info = definitions.element_info(owner, step["name"])
        if info is None:
            return "", ""
        cast = steps[number + 1]["cast"] if number + 1 < len(steps) else None
        names = [name for name, of in info.definition.json_names() if cast in (None, of)]
        if len(names) != 1:
            return "", ""
        member = shape(owner).members.get(names[0])
        if member is None:
            return "", ""
        kind, binding = member.kind, member.binding
    return kind, binding


@dataclass(frozen=True, slots=True)
class Question:
    """A query on its way. ``ids``: type and real id of each pseudonym that leads anywhere."""

    ids: Mapping[str, tuple[str, str]]

    def id(self, type_: str, text: str) -> str:
        """The real id, or nobody's."""
        found = self.ids.get(text)
        return found[1] if found is not None and type_ in ("", found[0]) else NOBODY


def _refuse(name: str, why: str = "") -> AccessDenied:
    return AccessDenied(f"parameter '{name}' is not for researchers{': ' + why if why else ''}")


def names_in(query: SearchQuery) -> list[Name]:
    """The pseudonyms that a query names. Raises AccessDenied for a query that a researcher may not ask."""
    found: list[Name] = []

    def note(type_: str, text: str) -> str:
        found.append((type_, text))
        return NOBODY

    _translated(query, note)
    return found


def translated(query: SearchQuery, question: Question) -> SearchQuery:
    """The query in real ids, in an order that tells nothing. Raises AccessDenied."""
    return _translated(query, question.id)


_Id = Callable[[str, str], str]


def _translated(query: SearchQuery, id_of: _Id) -> SearchQuery:
    if query.sort:
        raise _refuse("_sort", "the order of hidden values would tell them")
    known = SearchQuery(
        query.type,
        query.clauses,
        query.count,
        query.cursor,
        (),
        query.with_total,
        query.types,
        query.compartment,
        query.includes,
        total_max=query.total_max,
    )
    if known != query:
        raise AccessDenied("this kind of search is not for researchers")
    asked = query.types or (query.type,)
    types = tuple(type_ for type_ in asked if type_ in SHOWN)
    if query.clauses and not types:
        raise _refuse(query.clauses[0].param, "nothing of the type is shown")
    for include in query.includes:
        _check_include(include)
    compartment = query.compartment
    if compartment:
        name, _, text = compartment.partition("/")
        if name not in COMPARTMENTS:
            raise AccessDenied("this compartment is not for researchers")
        compartment = f"{name}/{id_of(name, text)}"
    clauses = tuple(_clause(types, clause, id_of) for clause in query.clauses)
    if any(clause.param in _VALUES_OF for clause in clauses):
        clauses += (_NO_AGE,)
    if sum(map(_size, clauses)) > _VALUES_MAX:
        raise BadRequest("too many values; codes without a system stand for many", code="too-costly")
    return replace(
        query,
        types=(types or asked) if query.types else (),
        clauses=clauses,
        compartment=compartment,
        sort=(Sort(BY_HASH),),
    )


def _size(clause: Clause) -> int:
    return len(clause.values) + sum(_size(inner) for _, inner in clause.links)


def _check_include(include: Include) -> None:
    name = "_revinclude" if include.is_reverse else "_include"
    known = Include(include.type, include.param, include.target, include.is_reverse, include.is_iterated)
    found = rule(include.type, include.param)
    if found is None or found.values != "reference" or known != include:
        raise _refuse(name, f"{include.type}:{include.param}")


def _clause(types: Iterable[str], clause: Clause, id_of: _Id) -> Clause:
    known = Clause(clause.param, clause.kind, clause.modifier, clause.values, clause.links)
    if known != clause or (clause.kind in ("chain", "has")) is not bool(clause.links):
        raise _refuse(clause.param)
    for _, inner in clause.links:
        _check_no_age(inner)
    if clause.kind == "has":
        for source, _ in clause.links:
            _check(source, clause.param, "reference")
        links = tuple((source, _clause((source,), inner, id_of)) for source, inner in clause.links)
        return replace(clause, links=links)
    if clause.kind == "chain":
        for type_ in types:
            _check(type_, clause.param, "reference")
        # What is at the end of the others is hidden from this role: they find nothing.
        shown = [(type_, inner) for type_, inner in clause.links if type_ in SHOWN]
        if not shown:
            raise _refuse(clause.param, "it leads to nothing that is shown")
        return replace(
            clause, links=tuple((type_, _clause((type_,), inner, id_of)) for type_, inner in shown)
        )
    rules = {rule(type_, clause.param) for type_ in types}
    found = rules.pop() if len(rules) == 1 else None
    if found is None or clause.kind != found.kind:
        raise _refuse(clause.param)
    return _VALUES[found.values](clause, found, id_of)


def _check(type_: str, param: str, values: str) -> None:
    found = rule(type_, param)
    if found is None or found.values != values:
        raise _refuse(param)


def _only(clause: Clause, *modifiers: str) -> None:
    if clause.modifier and clause.modifier not in modifiers:
        raise _refuse(f"{clause.param}:{clause.modifier}")


def _ids(clause: Clause, _: Rule, id_of: _Id) -> Clause:
    _only(clause)
    return replace(clause, values=tuple(id_of("", value) for value in clause.values))


def _codes(clause: Clause, asked: Rule, _: _Id) -> Clause:
    """Codes of a required value set have no system."""
    _only(clause, "not")

    def shown(value: str) -> str:
        system, _, code = value.rpartition("|")
        plain = unescape(code)
        is_shown = not system and all(coding.is_bound(binding, plain) for binding in asked.bindings)
        return value if is_shown else NOBODY

    return replace(clause, values=tuple(map(shown, clause.values)))


def _booleans(clause: Clause, _: Rule, __: _Id) -> Clause:
    _only(clause, "not")
    values = tuple(value if value in ("true", "false") else NOBODY for value in clause.values)
    return replace(clause, values=values)


def _concepts(clause: Clause, _: Rule, __: _Id) -> Clause:
    """Codes that are shown: with their system; without one, those of every system that has such a code."""
    _only(clause, "not")
    values: list[str] = []
    for value in clause.values:
        parts = [unescape(part) for part in split_at(value, "|")]
        if len(parts) == 1:
            systems = [system for system in coding.systems() if coding.is_code(system, parts[0])]
            if len(systems) > _SYSTEMS_MAX:
                raise _refuse(clause.param, "a system is needed: system|code")
            values += [f"{system}|{value}" for system in systems]
        elif len(parts) == 2 and all(parts):
            values.append(value if coding.is_code(parts[0], parts[1]) else NOBODY)
        else:
            raise _refuse(clause.param, "system|code is expected")
    return replace(clause, values=tuple(dict.fromkeys(values)) or (NOBODY,))


def _references(clause: Clause, _: Rule, id_of: _Id) -> Clause:
    _only(clause, *definitions.resource_types())

    def shown(value: str) -> str:
        type_, _, text = value.rpartition("/")
        type_ = type_ or clause.modifier
        found = id_of(type_, text)
        return f"{type_}/{found}" if type_ and found != NOBODY else found

    return replace(clause, values=tuple(map(shown, clause.values)))


def _quantities(clause: Clause, _: Rule, __: _Id) -> Clause:
    """Numbers with a unit that is shown; a time may be an age, and those over 89 are folded."""
    _only(clause)
    for value in clause.values:
        parts = [unescape(part) for part in split_at(value, "|")]
        is_shown = len(parts) == 3 and parts[1] == coding.UCUM and coding.is_code(parts[1], parts[2])
        if not is_shown or _is_time(parts[2]):
            raise _refuse(clause.param, f"number|{coding.UCUM}|unit is expected, of a unit that is no time")
    return clause


def _check_no_age(linked: Clause) -> None:
    """Whose code is another's cannot be asked in a chain, so there no amount without a unit is, which may be an age."""
    if linked.param not in _VALUES_OF or linked.kind != "quantity":
        return
    for value in linked.values:
        known = ucum.unit(unescape(split_at(value, "|")[-1]))
        if known is not None and known.dimension == _NO_UNIT:
            raise _refuse(linked.param, "in a chain a unit is needed that has a dimension")


def _is_time(unit: str) -> bool:
    """Whether a quantity in the unit may be compared with ages (``a``, and ``Hz-1`` or ``m/(m/s)`` as well)."""
    known = ucum.unit(unit)
    return known is None or known.dimension == _TIME or units.is_age(unit, _LONG)


def _numbers(clause: Clause, _: Rule, __: _Id) -> Clause:
    _only(clause)
    return clause


_VALUES = {
    "id": _ids,
    "code": _codes,
    "boolean": _booleans,
    "concept": _concepts,
    "reference": _references,
    "quantity": _quantities,
    "number": _numbers,
}
