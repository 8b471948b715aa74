"""The access decision as one SQL predicate over ``Resource``: hidden rows never leave the database (DESIGN §6).

Says exactly what ``decide`` says where it permits without obligations. Everything about the request is a bound value;
per row it looks up ``consent_rule`` by patient (indexed).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, exists, false, not_, or_, select, true

from hdg.management.consent.decide import AccessRequest, Terms, terms_of
from hdg.management.consent.policy import Policy
from hdg.management.consent.schema import ANY, ConsentRuleRow
from hdg.management.store.schema import Compartment, Resource

__all__ = ["predicate"]

_RESOURCE: FromClause = Resource.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_COMPARTMENT: FromClause = Compartment.__table__  # type: ignore[attr-defined]
_RULE: FromClause = ConsentRuleRow.__table__  # type: ignore[attr-defined]

Condition = ColumnElement[bool]


def predicate(request: AccessRequest, policy: Policy) -> Condition:
    """The rows of ``Resource`` that the request may read, for ``select(Resource).where(...)`` on any dialect."""
    terms = terms_of(request, policy)
    if terms is None or policy.obligations.get(request.role):
        return false()
    resource = _RESOURCE.c
    hidden = [name for name, roles in policy.restricted.items() if request.role not in roles]
    is_visible_type = resource.type.not_in(hidden) if hidden else true()
    branches: list[Condition] = []
    free = sorted(policy.without_patient.get(request.role, ()))
    if free:
        branches.append(and_(resource.patients == 0, resource.type.in_(free)))
    branches.append(_every_patient(request, policy, terms))
    if policy.institution_reads_own and request.role == "clinician" and request.institution:
        branches.append(_sent_by(request.institution, policy, terms))
    return and_(is_visible_type, or_(*branches))


def _every_patient(request: AccessRequest, policy: Policy, terms: Terms) -> Condition:
    """The resource has a patient, and every one of them permits (or is the reader)."""
    own = request.patient if policy.patient_reads_own and request.role == "patient" else ""
    resource, compartment = _RESOURCE.c, _COMPARTMENT.alias().c
    one = and_(resource.patient.is_not(None), _permits(resource.patient, own, terms))
    refused = exists(
        select(1).where(compartment.rkey == resource.rkey, not_(_permits(compartment.patient, own, terms)))
    ).correlate(_RESOURCE)
    return or_(one, and_(resource.patient.is_(None), resource.patients > 0, not_(refused)))


def _sent_by(institution: str, policy: Policy, terms: Terms) -> Condition:
    """The reader's institution sent it, and no patient of it denies (if the policy heeds that)."""
    resource, compartment = _RESOURCE.c, _COMPARTMENT.alias().c
    is_sender: Condition = resource.institution == institution
    if not policy.institution_heeds_denials:
        return is_sender
    denied = exists(
        select(1).where(compartment.rkey == resource.rkey, _denies(compartment.patient, terms))
    ).correlate(_RESOURCE)
    return and_(is_sender, not_(denied))


def _permits(patient: ColumnElement[Any], own: str, terms: Terms) -> Condition:
    """This patient's Consents permit: one does and none denies; or the patient is the reader."""
    rule = _RULE.alias()
    by_root = and_(rule.c.kind == "root-permit", _match(rule, terms, terms.permit_actors))
    by_nested = and_(_nested_permit(rule, terms))
    consent = and_(
        _any_rule(rule, patient, or_(by_root, by_nested)),
        not_(_denies(patient, terms)),
    )
    return or_(patient == own, consent) if own else consent


def _denies(patient: ColumnElement[Any], terms: Terms) -> Condition:
    """One of this patient's Consents denies."""
    rule, other = _RULE.alias(), _RULE.alias()
    excepted = exists(
        select(1).select_from(other).where(other.c.rkey == rule.c.rkey, _nested_permit(other, terms))
    ).correlate(_RESOURCE, rule)
    by_root = and_(rule.c.kind == "root-deny", not_(excepted))
    matching = and_(or_(rule.c.kind == "nested-deny", by_root), _match(rule, terms, terms.deny_actors))
    return _any_rule(rule, patient, matching)


def _any_rule(rule: FromClause, patient: ColumnElement[Any], condition: Condition) -> Condition:
    outer = patient.table  # of Resource, or of an alias of Compartment
    froms = {_RESOURCE, outer}
    return exists(select(1).select_from(rule).where(rule.c.patient == patient, condition)).correlate(*froms)


def _nested_permit(rule: FromClause, terms: Terms) -> Condition:
    """A nested permit matches, and so does its Consent's root (the gate)."""
    gate = _RULE.alias()
    is_gated = exists(
        select(1)
        .select_from(gate)
        .where(gate.c.rkey == rule.c.rkey, gate.c.kind == "gate", _match(gate, terms, terms.permit_actors))
    ).correlate(_RESOURCE, rule)
    return and_(rule.c.kind == "nested-permit", _match(rule, terms, terms.permit_actors), is_gated)


def _match(rule: FromClause, terms: Terms, actors: frozenset[str]) -> Condition:
    """Every criterion of the row holds (Terms.match)."""
    column = rule.c
    return and_(
        column.role.in_(sorted(terms.roles)),
        column.actor.in_(sorted(actors)),
        column.purpose.in_(sorted(terms.purposes | {ANY})),
        column.action.in_(sorted(terms.actions | {ANY})),
        or_(column["class"] == ANY, column["class"] == _RESOURCE.c.type),
        column.start_us <= terms.at_us,
        column.end_us > terms.at_us,
    )
