"""The access decision: a pure function of request, resource, rules and policy (DESIGN §6).

Default deny. Across Consents a denial overrides a permit; inside one Consent a matching nested provision
overrides the root, a nested denial a nested permit. A resource about several patients needs every patient's
permission. ``sql.py`` says the same as one SQL predicate; a property test holds the two together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hdg.management.consent.policy import NOT_BY_SENDER, Policy
from hdg.management.consent.rules import ConsentRule
from hdg.management.consent.schema import ANY

__all__ = ["PROJECT_SYSTEM", "AccessRequest", "Decision", "ResourceFacts", "Terms", "decide", "terms_of"]

PROJECT_SYSTEM = "urn:hdg:project"
"""System of the identifier by which a Consent names a research project as actor: R4 lets no reference name one."""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Who asks, in what role, for what purpose (v3-ActReason code), for what action (``access``), when (µs).

    ``user``: a practitioner's id, or ``system|value``; ``institution`` likewise; ``patient``: the id of the
    patient whom a ``patient`` role is; ``project``: the research project of a ``researcher``. '' where a part
    does not apply.
    """

    role: str
    user: str
    institution: str
    patient: str
    purpose: str
    action: str
    at_us: int
    project: str = ""


@dataclass(frozen=True, slots=True)
class ResourceFacts:
    """What the decision needs of a resource: type, patients whose compartments it is in, who sent it."""

    type: str
    patients: frozenset[str]
    institution: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``obligations`` must be fulfilled before data is handed over; ``reason`` names the rule, no value."""

    is_permitted: bool
    reason: str
    obligations: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Permitted with nothing left to do: what the SQL predicate selects."""
        return self.is_permitted and not self.obligations


@dataclass(frozen=True, slots=True)
class Terms:
    """A request in the words of rules. ``permit_actors`` holds ``*`` where a permit for everybody counts."""

    permit_actors: frozenset[str]
    deny_actors: frozenset[str]
    purposes: frozenset[str]
    actions: frozenset[str]
    roles: frozenset[str]
    at_us: int

    def match(self, rule: ConsentRule, resource_type: str) -> bool:
        """True when every criterion of the rule holds."""
        actors = self.deny_actors if rule.kind.endswith("deny") else self.permit_actors
        return (
            rule.role in self.roles
            and rule.start_us <= self.at_us < rule.end_us
            and (ANY in actors if rule.actors is None else not actors.isdisjoint(rule.actors))
            and (rule.purposes is None or not self.purposes.isdisjoint(rule.purposes))
            and (rule.actions is None or not self.actions.isdisjoint(rule.actions))
            and (rule.classes is None or resource_type in rule.classes)
        )


def terms_of(request: AccessRequest, policy: Policy) -> Terms | None:
    """The request's terms; None when the role may not act for that purpose at all (or is no role)."""
    purposes = policy.purpose_line(request.purpose)
    if purposes.isdisjoint(policy.role_purposes.get(request.role, ())) or request.role == "operator":
        return None
    if request.role == "patient":
        actors = {f"Patient/{request.patient}"} if request.patient else set()
        everybody = set()
    else:
        actors = _actor_keys("Practitioner", request.user) | _actor_keys("Organization", request.institution)
        if request.role == "researcher" and request.project:
            actors |= {
                f"identifier:{PROJECT_SYSTEM}|{request.project}",
                f"identifier-value:{request.project}",
            }
        everybody = {ANY}
    return Terms(
        permit_actors=frozenset(actors | everybody),
        deny_actors=frozenset(actors | {ANY}),
        purposes=purposes,
        actions=frozenset({request.action}),
        roles=frozenset({ANY, "researcher" if request.role == "researcher" else "care"}),
        at_us=request.at_us,
    )


def _actor_keys(kind: str, name: str) -> set[str]:
    if not name:
        return set()
    keys = {f"{kind}/{name}", f"identifier-value:{name.rpartition('|')[2]}"}
    return keys | {f"identifier:{name}"} if "|" in name else keys


def decide(
    request: AccessRequest, facts: ResourceFacts, rules: Iterable[ConsentRule], policy: Policy
) -> Decision:
    """Whether the request may see the resource. ``rules``: those of every active Consent of its patients."""
    terms = terms_of(request, policy)
    if terms is None:
        return Decision(False, "the role may not act for this purpose")
    if request.role not in policy.restricted.get(facts.type, (request.role,)):
        return Decision(False, "the role may not read this type")
    by_patient: defaultdict[str, list[ConsentRule]] = defaultdict(list)
    for rule in rules:
        if terms.match(rule, facts.type):
            by_patient[rule.patient].append(rule)
    decision = _decide(request, facts, by_patient, policy)
    obligations = tuple(sorted(policy.obligations.get(request.role, ())))
    return Decision(True, decision.reason, obligations) if decision.is_permitted else decision


def _decide(
    request: AccessRequest,
    facts: ResourceFacts,
    matching: defaultdict[str, list[ConsentRule]],
    policy: Policy,
) -> Decision:
    is_sender = (
        policy.institution_reads_own
        and request.role == "clinician"
        and bool(request.institution)
        and facts.institution == request.institution
        and facts.type != NOT_BY_SENDER
    )
    if not facts.patients:
        if is_sender or facts.type in policy.without_patient.get(request.role, ()):
            return Decision(True, "policy: no patient's resource")
        return Decision(False, "policy: no patient's resource")
    verdicts = {patient: _verdict(matching[patient]) for patient in facts.patients}
    if is_sender and not (policy.institution_heeds_denials and "deny" in verdicts.values()):
        return Decision(True, "policy: the institution sent it")
    for patient, verdict in verdicts.items():
        is_own = policy.patient_reads_own and request.role == "patient" and patient == request.patient
        if not is_own and verdict != "permit":
            return Decision(False, "consent: denied" if verdict == "deny" else "consent: none permits")
    return Decision(True, "policy and consent")


def _verdict(matching: Sequence[ConsentRule]) -> str:
    """permit, deny or '' of all matching rules of one patient."""
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for rule in matching:
        kinds[rule.consent].add(rule.kind)
    verdicts = {_consent_verdict(found) for found in kinds.values()}
    return "deny" if "deny" in verdicts else "permit" if "permit" in verdicts else ""


def _consent_verdict(kinds: set[str]) -> str:
    """The verdict of one Consent, given the kinds of its rules that match."""
    if "nested-deny" in kinds:
        return "deny"
    if {"nested-permit", "gate"} <= kinds:
        return "permit"
    if "root-deny" in kinds:
        return "deny"
    return "permit" if "root-permit" in kinds else ""
