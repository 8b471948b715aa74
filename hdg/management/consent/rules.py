"""A Consent as rules: what it permits and denies, in terms that a decision and an SQL predicate both read.

R4 consent.html. Doubt never opens anything: a permit with a criterion that is not understood never matches, a
denial matches on the criteria that are understood. See docs/access-policy.md for the reading of every
element.

- Only ``status`` active and ``scope`` patient-privacy or research make rules; research rules speak to
  researchers only. Where the scope is not wholly understood, its denials hold, for everybody.
- In denials a code without its system, or of another system, is not understood: what it stands in matches everything.
- The root is what ``provision.type`` says. Without it ``policyRule`` decides: OPTOUT denies everything in the
  period; OPTIN permits if the provision has no further criteria, else its criteria are exceptions and deny.
- A nested provision is an exception to the root: a nested permit holds only where the root surely matches too
  (its ``gate`` rule), a nested denial anywhere in the root's period. Denials deeper than one level count as
  nested denials; a nested permit with provisions of its own never matches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from hdg.fhir.definitions import resource_types
from hdg.management.consent.period import EMPTY, deny_range, permit_range
from hdg.management.consent.schema import ANY

__all__ = ["KINDS", "VERSION", "ConsentRule", "rows_for", "rules_of"]

JsonObject = dict[str, Any]
Names = frozenset[str] | None

VERSION = "2"
"""Raise it when a Consent that is stored already would make other rules; they are then made anew at start."""
KINDS = ("root-permit", "root-deny", "nested-permit", "nested-deny", "gate")

SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
ACTION = "http://terminology.hl7.org/CodeSystem/consentaction"
RESOURCE_TYPES = "http://hl7.org/fhir/resource-types"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"

_SCOPES = frozenset({"adr", "research", "treatment", "patient-privacy"})
_ACTIONS = frozenset({"collect", "access", "use", "disclose", "correct"})
RECIPIENT_ROLES = frozenset({"PRCP", "IRCP"})
ACTOR_TYPES = frozenset({"Practitioner", "Organization", "Patient", "RelatedPerson", "Device"})
UNDERSTOOD = frozenset(
    {"id", "extension", "type", "period", "actor", "purpose", "action", "class", "provision"}
)
MAX_COMBINATIONS = 1_000
"""Rows one rule may become. A permit beyond that is dropped, a denial is widened until it fits."""


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """One provision of one Consent. A set that is None means any; ``start_us`` ≤ t < ``end_us``.

    ``kind``: one of KINDS (``gate``: the root's criteria, asked for by nested permits). ``role``: ``*``,
    ``care`` (every role but researcher) or ``researcher``. ``actors``: ``Type/id``,
    ``identifier:system|value`` (exact) or ``identifier-value:value`` (denials). ``purposes``: v3-ActReason
    codes; ``actions``: consentaction codes; ``classes``: resource types.
    """

    consent: str
    patient: str
    kind: str
    role: str
    actors: Names
    purposes: Names
    actions: Names
    classes: Names
    start_us: int
    end_us: int


def rules_of(consent: JsonObject) -> list[ConsentRule]:
    """The rules of a Consent; none for one that is not active, has no patient or another scope."""
    scope, is_whole = _scope(consent.get("scope"))
    patient, is_exact = _patient(consent)
    if consent.get("status") != "active" or not patient or (is_whole and not scope):
        return []
    is_understood = is_exact and bool(scope) and not {"implicitRules", "modifierExtension"} & set(consent)
    base = ConsentRule(
        consent=f"Consent/{consent.get('id', '')}",
        patient=patient,
        kind="",
        role="researcher" if scope == {"research"} else ANY,
        actors=None,
        purposes=None,
        actions=None,
        classes=None,
        start_us=0,
        end_us=0,
    )
    rules = [rule for rule in _rules(consent, base) if is_understood or rule.kind.endswith("deny")]
    if not is_whole:
        rules = [replace(rule, role=ANY) if rule.kind.endswith("deny") else rule for rule in rules]
    return [rule for found in rules if (rule := _fitted(found)) is not None]


def _scope(concept: Any) -> tuple[frozenset[str], bool]:
    """(the scopes that count, whether every coding is one of R4's, so that nothing else can be meant)."""
    codes = _codes(concept, SCOPE)
    codings = concept.get("coding") if isinstance(concept, dict) else None
    known = [one for one in _objects(codings) if one.get("system") == SCOPE and one.get("code") in _SCOPES]
    is_whole = bool(known) and isinstance(codings, list) and len(known) == len(codings)
    return codes & {"patient-privacy", "research"}, is_whole


def _rules(consent: JsonObject, base: ConsentRule) -> Iterator[ConsentRule]:
    root = consent.get("provision")
    provision: JsonObject = root if isinstance(root, dict) else {}
    kind = "deny" if root is not None and not isinstance(root, dict) else _root_kind(consent, provision)
    if kind == "optout":
        yield _denial(base, {"period": provision.get("period")}, "root-deny")
    elif kind == "deny":
        yield _denial(base, provision, "root-deny")
    elif kind == "permit":
        yield from _permit(base, provision, "root-permit")
    nested = _objects(provision.get("provision"))
    for child in nested:
        yield from _nested(base, child, deny_range(provision.get("period")))
    if any(child.get("type") == "permit" for child in nested):
        without_type = {key: value for key, value in provision.items() if key != "provision"}
        for gate in _permit(base, without_type, "gate"):
            yield replace(gate, role=base.role)


def _root_kind(consent: JsonObject, provision: JsonObject) -> str:
    """permit, deny, optout (deny everything in the period), or '' where the root says nothing."""
    kind = provision.get("type")
    if kind is not None:
        return "permit" if kind == "permit" else "deny"
    rule = consent.get("policyRule")
    policy, similar = _codes(rule, ACT_CODE), _codes(rule)
    if similar & {"OPTOUT", "OPTOUTE"}:  # by the code alone: it denies
        return "optout"
    if not similar & {"OPTIN", "OPTINR"}:
        return ""
    if set(provision) - {"id", "extension", "period", "provision"}:
        return "deny"
    return "permit" if policy & {"OPTIN", "OPTINR"} else ""


def _nested(base: ConsentRule, provision: JsonObject, outer: tuple[int, int]) -> Iterator[ConsentRule]:
    """Rules of one nested provision; anything that is not plainly a permit is a denial."""
    if provision.get("type") == "permit":
        if "provision" not in provision:
            yield from _permit(base, provision, "nested-permit")
    else:
        rule = _denial(base, provision, "nested-deny")
        yield replace(rule, start_us=max(rule.start_us, outer[0]), end_us=min(rule.end_us, outer[1]))
    for deeper in _objects(provision.get("provision")):
        yield from (rule for rule in _nested(base, deeper, outer) if rule.kind == "nested-deny")


def _permit(base: ConsentRule, provision: JsonObject, kind: str) -> Iterator[ConsentRule]:
    """The rule of a permit, or nothing when any of it is not understood."""
    period = permit_range(provision.get("period"))
    actors = _actors(provision.get("actor"), is_permit=True)
    purposes = _of_codings(provision.get("purpose"), ACT_REASON)
    classes = _of_codings(provision.get("class"), RESOURCE_TYPES)
    actions = _of_concepts(provision.get("action"), ACTION)
    sets = [names for names, _ in (actors, purposes, classes, actions)]
    inner = provision.get("provision", [])
    is_legible = isinstance(inner, list) and len(_objects(inner)) == len(inner)
    if (
        not is_legible
        or set(provision) - UNDERSTOOD
        or period[0] >= period[1]
        or period == EMPTY
        or frozenset() in sets
    ):
        return
    role = "care" if purposes[0] is None and base.role == ANY else base.role
    yield replace(
        base,
        kind=kind,
        role=role,
        actors=actors[0],
        purposes=purposes[0],
        actions=actions[0],
        classes=classes[0],
        start_us=period[0],
        end_us=period[1],
    )


def _denial(base: ConsentRule, provision: JsonObject, kind: str) -> ConsentRule:
    """The rule of a denial; a criterion that is not wholly understood matches everything."""
    actors, purposes, actions, classes = (
        names if is_whole else None
        for names, is_whole in (
            _actors(provision.get("actor"), is_permit=False),
            _of_codings(provision.get("purpose"), ACT_REASON),
            _of_every_coding(provision.get("action"), ACTION, _ACTIONS),
            _of_codings(provision.get("class"), RESOURCE_TYPES, resource_types()),
        )
    )
    start, end = deny_range(provision.get("period"))
    return replace(
        base,
        kind=kind,
        actors=actors,
        purposes=purposes,
        actions=actions,
        classes=classes,
        start_us=start,
        end_us=end,
    )


def _objects(value: Any) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _codes(concept: Any, system: str | None = None) -> frozenset[str]:
    """Codes of one system in a CodeableConcept; without one, of any or none."""
    codings = _objects(concept.get("coding")) if isinstance(concept, dict) else []
    codes = (coding.get("code") for coding in codings if system is None or coding.get("system") == system)
    return frozenset(code for code in codes if isinstance(code, str))


def _of_codings(value: Any, system: str, among: Collection[str] | None = None) -> tuple[Names, bool]:
    """(codes or None for any, whether every item was understood) of a list of Codings. ``among``: all that exist."""
    if value is None:
        return None, True
    items = _objects(value)
    codes = [
        item["code"] for item in items if item.get("system") == system and isinstance(item.get("code"), str)
    ]
    known = [code for code in codes if among is None or code in among]
    return frozenset(codes), bool(codes) and isinstance(value, list) and len(known) == len(value)


def _of_every_coding(value: Any, system: str, among: Collection[str]) -> tuple[Names, bool]:
    """The same of a list of CodeableConcepts, each coding of which must be understood."""
    names, is_whole = _of_concepts(value, system)
    items = _objects(value) if value is not None else []
    codings = [coding for item in items for coding in _objects(item.get("coding"))]
    is_clear = all(one.get("system") == system and one.get("code") in among for one in codings)
    return names, is_whole and is_clear


def _of_concepts(value: Any, system: str) -> tuple[Names, bool]:
    """The same of a list of CodeableConcepts; one understood coding is enough for an item."""
    if value is None:
        return None, True
    found = [_codes(item, system) for item in _objects(value)]
    is_whole = bool(found) and all(found) and isinstance(value, list) and len(found) == len(value)
    return frozenset().union(*found), is_whole


def _actors(value: Any, *, is_permit: bool) -> tuple[Names, bool]:
    """The same of a list of Consent.provision.actor: recipients by reference or identifier."""
    if value is None:
        return None, True
    items = _objects(value)
    keys = [_actor(item, is_permit=is_permit) for item in items]
    is_whole = bool(keys) and all(keys) and isinstance(value, list) and len(keys) == len(value)
    return frozenset().union(*keys), is_whole


def _actor(actor: JsonObject, *, is_permit: bool) -> frozenset[str]:
    """The keys of one actor, by its reference and, in a denial, by its identifier too; none: it is not understood."""
    reference = actor.get("reference")
    if not isinstance(reference, dict) or "modifierExtension" in actor:
        return frozenset()
    if not _codes(actor.get("role"), PARTICIPATION) & RECIPIENT_ROLES:
        return frozenset()
    literal = reference.get("reference")
    identified = _identified(reference.get("identifier"), is_permit=is_permit)
    if not isinstance(literal, str):
        return identified
    kind, name = _literal(literal, is_permit=is_permit)
    if kind not in ACTOR_TYPES:
        return frozenset()
    return frozenset({f"{kind}/{name}"}) if is_permit else identified | {f"{kind}/{name}"}


def _identified(identifier: Any, *, is_permit: bool) -> frozenset[str]:
    if not isinstance(identifier, dict):
        return frozenset()
    value, system = identifier.get("value"), identifier.get("system")
    if not isinstance(value, str) or not value:
        return frozenset()
    if not is_permit:
        return frozenset({f"identifier-value:{value}"})
    has_system = isinstance(system, str) and bool(system)
    return frozenset({f"identifier:{system}|{value}"}) if has_system else frozenset()


def _literal(reference: str, *, is_permit: bool) -> tuple[str, str]:
    """(type, id) of a literal reference, without its version; of an absolute one only for denials."""
    parts = reference.partition("/_history/")[0].split("/")
    if len(parts) < 2 or (is_permit and len(parts) != 2) or not parts[-1]:
        return "", ""
    return parts[-2], parts[-1]


def _patient(consent: JsonObject) -> tuple[str, bool]:
    """(the patient's id or '', whether the reference is a plain relative one)."""
    reference = consent.get("patient")
    literal = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(literal, str):
        return "", False
    kind, name = _literal(literal, is_permit=False)
    return (name, _literal(literal, is_permit=True)[0] == "Patient") if kind == "Patient" else ("", False)


def _combinations(rule: ConsentRule) -> int:
    return prod(
        len(names) for names in (rule.actors, rule.purposes, rule.actions, rule.classes) if names is not None
    )


def _fitted(rule: ConsentRule) -> ConsentRule | None:
    """The rule within MAX_COMBINATIONS: a denial widened, a permit (or gate) dropped."""
    if _combinations(rule) > MAX_COMBINATIONS and not rule.kind.endswith("deny"):
        return None
    if _combinations(rule) > MAX_COMBINATIONS:
        rule = replace(rule, purposes=None, actions=None)
    if _combinations(rule) > MAX_COMBINATIONS:
        rule = replace(rule, actors=None)
    if _combinations(rule) > MAX_COMBINATIONS:
        rule = replace(rule, classes=None)
    return rule


def rows_for(consent: JsonObject, rkey: int) -> list[dict[str, Any]]:
    """Rows of ``consent_rule`` for a Consent's current version; the caller deletes the rkey's old rows."""
    rows: list[dict[str, Any]] = []
    for rule in rules_of(consent):
        sets = (rule.actors, rule.purposes, rule.actions, rule.classes)
        axes = [sorted(names) if names is not None else [ANY] for names in sets]
        for actor, purpose, action, class_ in product(*axes):
            rows.append(
                {
                    "rkey": rkey,
                    "ordinal": len(rows),
                    "patient": rule.patient,
                    "kind": rule.kind,
                    "role": rule.role,
                    "actor": actor,
                    "purpose": purpose,
                    "action": action,
                    "class": class_,
                    "start_us": rule.start_us,
                    "end_us": rule.end_us,
                }
            )
    return rows
