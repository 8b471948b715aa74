"""The access decision as one SQL predicate over ``Resource``: hidden rows never leave the database (DESIGN
§6).

Says exactly what ``decide`` says where it permits without obligations. Per row it looks up the resource's
patients and their rules in ``consent_rule`` (both indexed). The expression is large, so it is built only when
SQLAlchemy compiles it, once per shape (role, policy, number of keys); a request costs its bound values only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    ColumnElement,
    FromClause,
    and_,
    bindparam,
    exists,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from hdg.management.consent.decide import AccessRequest, terms_of
from hdg.management.consent.policy import NOT_BY_SENDER, Policy
from hdg.management.consent.schema import ANY, ConsentRuleRow
from hdg.management.store.schema import Compartment, Resource

__all__ = ["predicate"]

_RESOURCE: FromClause = Resource.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_COMPARTMENT: FromClause = Compartment.__table__  # type: ignore[attr-defined]
_RULE: FromClause = ConsentRuleRow.__table__  # type: ignore[attr-defined]

Condition = ColumnElement[bool]
Value = str | int | Callable[[], int]


def predicate(
    request: AccessRequest,
    policy: Policy,
    clock: Callable[[], int] | None = None,
    fulfilled: frozenset[str] = frozenset(),
) -> Condition:
    """The rows of ``Resource`` that the request may read, for ``select(Resource).where(...)`` on any dialect.

    ``fulfilled``: the obligations that the caller sees to; a role with others reads nothing.

    With a ``clock`` the time is read whenever the statement runs, in place of ``request.at_us``: such a
    predicate may be kept and used again.
    """
    terms = terms_of(request, policy)
    if terms is None or policy.obligations.get(request.role, frozenset()) - fulfilled:
        return false()
    actors = sorted(terms.deny_actors - {ANY})
    purposes = sorted(terms.purposes)
    shape = _Shape(
        request.role, policy, len(actors), len(purposes), bool(request.institution), clock is not None
    )
    values: list[Value] = [
        terms.at_us if clock is None else clock,
        request.action,
        request.patient,
        request.institution,
        *actors,
        *purposes,
    ]
    return _Readable(shape, values)


@dataclass(frozen=True, slots=True)
class _Shape:
    """All that the text of the predicate depends on."""

    role: str
    policy: Policy
    actors: int
    purposes: int
    has_institution: bool
    is_clocked: bool
    """Apart, because SQLAlchemy calls a bound callable only if the statement was compiled with one."""

    @property
    def key(self) -> str:
        """Names the shape in SQLAlchemy's statement cache; never rendered."""
        switches = f"{self.has_institution}-{self.is_clocked}"
        return f"{self.role}-{self.actors}-{self.purposes}-{switches}-{self.policy.digest}"


class _Readable(FunctionElement[bool]):
    """Stands for the predicate until it is compiled; arguments: the shape's key and the bound values."""

    inherit_cache = True
    type = Boolean()

    def __init__(self, shape: _Shape, values: Sequence[Value]) -> None:
        super().__init__(literal_column(shape.key), *map(_bound, values))
        self.shape = shape


def _bound(value: Value) -> BindParameter[Any]:
    if callable(value):
        return bindparam(None, callable_=value, type_=BigInteger(), unique=True)
    return bindparam(None, value, type_=BigInteger() if isinstance(value, int) else None, unique=True)


@compiles(_Readable)
def _render(element: _Readable, compiler: SQLCompiler, **options: Any) -> str:
    binds = list(element.clauses)[1:]
    return compiler.process(_Builder(element.shape, binds).readable().self_group(), **options)


class _Builder:
    """Builds the expression of one shape around the bound values of one element.

    Names are short, since the same criteria are written out for each: psycopg reads texts beyond 4,096 characters
    anew every time.
    """

    def __init__(self, shape: _Shape, binds: Sequence[ColumnElement[Any]]) -> None:
        self._shape = shape
        self._policy = shape.policy
        self._at_us, self._action, self._patient, self._institution = binds[:4]
        self._actors = list(binds[4 : 4 + shape.actors])
        self._purposes = list(binds[4 + shape.actors :])

    def readable(self) -> Condition:
        """Any way of the policy or of the Consents, and a type that the role may see."""
        policy, role = self._policy, self._shape.role
        resource = _RESOURCE.c
        ways: list[Condition] = []
        free = sorted(policy.without_patient.get(role, ()))
        if free:
            ways.append(and_(resource.patients == 0, _is_one_of(resource.type, free)))
        if policy.institution_reads_own and role == "clinician" and self._shape.has_institution:
            ways.append(self._own_or_permitted())
        else:
            ways.append(self._every_patient())
        hidden = sorted(name for name, roles in policy.restricted.items() if role not in roles)
        visible = [not_(_is_one_of(resource.type, hidden))] if hidden else []
        return and_(or_(*ways), *visible)

    def _every_patient(self) -> Condition:
        """The resource has a patient, and as many of its patients permit (or are the reader) as it has."""
        of = _COMPARTMENT.alias("c")
        permitted = and_(self._any_permits(of), not_(self._any_denies(of)))
        if self._policy.patient_reads_own and self._shape.role == "patient":
            permitted = or_(of.c.patient == self._patient, permitted)
        return self._as_many_as_it_has(of, permitted)

    def _as_many_as_it_has(self, of: FromClause, permitted: Condition) -> Condition:
        permitting = select(func.count()).select_from(of).where(of.c.rkey == _RESOURCE.c.rkey, permitted)
        # Counted rather than "none refuses": a resource that lost its compartment rows stays hidden.
        count = permitting.correlate(_RESOURCE).scalar_subquery()
        return and_(_RESOURCE.c.patients > 0, count == _RESOURCE.c.patients)

    def _own_or_permitted(self) -> Condition:
        """The reader's institution sent it, or every patient permits; and none denies (if the policy heeds that).

        Denials are looked up once for both ways, and permits only where another institution sent it: databases
        stop at the first of an OR that holds.
        """
        is_sender = and_(
            _RESOURCE.c.institution == self._institution, _RESOURCE.c.type != _text(NOT_BY_SENDER)
        )
        if not self._policy.institution_heeds_denials:
            return or_(is_sender, self._every_patient())
        of = self._patients()
        denying = select(1).select_from(of).where(self._any_denies(of))
        permitting = _COMPARTMENT.alias("c")
        permitted = self._as_many_as_it_has(permitting, self._any_permits(permitting))
        return and_(or_(is_sender, permitted), not_(exists(denying).correlate(_RESOURCE)))

    def _patients(self) -> FromClause:
        """The resource's patients; one alone is named by its own row, which spares a look-up of every hit."""
        sole = select(_RESOURCE.c.patient).where(_RESOURCE.c.patients == 1)
        several = select(_COMPARTMENT.c.patient).where(
            _COMPARTMENT.c.rkey == _RESOURCE.c.rkey, _RESOURCE.c.patients != 1
        )
        return union_all(sole.correlate(_RESOURCE), several.correlate(_RESOURCE)).subquery("c")

    def _any_permits(self, of: FromClause) -> Condition:
        rule = _RULE.alias("r")
        is_permit = or_(rule.c.kind == _text("root-permit"), self._is_gated(rule))
        return self._any(rule, of, ("root-permit", "nested-permit"), self._permits(rule), is_permit)

    def _any_denies(self, of: FromClause) -> Condition:
        rule, other = _RULE.alias("r"), _RULE.alias("n")
        nested = (
            select(1)
            .select_from(other)
            .where(
                other.c.rkey == rule.c.rkey,
                other.c.kind == _text("nested-permit"),
                self._permits(other),
                self._is_gated(other),
            )
        )
        is_excepted = exists(nested).correlate(_RESOURCE, rule)
        is_denial = or_(rule.c.kind == _text("nested-deny"), not_(is_excepted))
        return self._any(rule, of, ("nested-deny", "root-deny"), self._denies(rule), is_denial)

    def _any(self, rule: FromClause, of: FromClause, kinds: Sequence[str], *terms: Condition) -> Condition:
        """The patient has a rule of one of ``kinds``, by one look-up of the index, that fulfils ``terms``."""
        about = (rule.c.patient == of.c.patient, _is_one_of(rule.c.kind, kinds))
        query = select(1).select_from(rule).where(*about, *terms)
        return exists(query).correlate(_RESOURCE, of)

    def _is_gated(self, rule: FromClause) -> Condition:
        """The root of the nested rule's Consent matches too."""
        gate = _RULE.alias("g")
        query = (
            select(1)
            .select_from(gate)
            .where(gate.c.rkey == rule.c.rkey, gate.c.kind == _text("gate"), self._permits(gate))
        )
        return exists(query).correlate(_RESOURCE, rule)

    def _permits(self, rule: FromClause) -> Condition:
        everybody = [] if self._shape.role == "patient" else [_text(ANY)]
        return self._match(rule, [*self._actors, *everybody])

    def _denies(self, rule: FromClause) -> Condition:
        return self._match(rule, [*self._actors, _text(ANY)])

    def _match(self, rule: FromClause, actors: Sequence[ColumnElement[str]]) -> Condition:
        """Every criterion of the row holds (decide.Terms.match)."""
        column = rule.c
        return and_(
            _is_one_of(column.role, [ANY, "researcher" if self._shape.role == "researcher" else "care"]),
            column.actor.in_(actors),
            column.purpose.in_([*self._purposes, _text(ANY)]),
            column.action.in_([self._action, _text(ANY)]),
            column["class"].in_([_text(ANY), _RESOURCE.c.type]),
            column.start_us <= self._at_us,
            column.end_us > self._at_us,
        )


def _text(value: str) -> ColumnElement[str]:
    """A constant of the policy or of this module, inline in the text."""
    return literal_column("'" + value.replace("'", "''") + "'")


def _is_one_of(column: ColumnElement[str], values: Sequence[str]) -> Condition:
    return column.in_([_text(value) for value in values])
