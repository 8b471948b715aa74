"""decide() and predicate() say the same, on random resources, Consents and requests (DESIGN §6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, delete, insert, select
from sqlmodel import SQLModel

from hdg.management.consent.decide import PROJECT_SYSTEM, AccessRequest, ResourceFacts, decide
from hdg.management.consent.policy import Policy, load_policy
from hdg.management.consent.resource import grant
from hdg.management.consent.rules import KINDS, rows_for, rules_of
from hdg.management.consent.schema import ConsentRuleRow
from hdg.management.consent.sql import predicate
from hdg.management.store.schema import Compartment, Resource

DAY_US = 86_400_000_000
HOUR_US = DAY_US // 24
# 2024-05-01T00:00Z
MAY_US = 19_844 * DAY_US
POLICIES = tuple(
    Policy(
        *switches,
        base.role_purposes,
        base.obligations,
        base.without_patient,
        restricted,
        base.purposes,
        name,
    )
    for base in [load_policy()]
    for name, switches, restricted in (
        ("shipped", (True, True, True), base.restricted),
        ("no own", (False, False, True), base.restricted),
        ("deaf", (True, True, False), base.restricted),
        ("nothing restricted", (True, True, True), {}),
    )
)
PATIENTS = ("p1", "p2")
TYPES = ("Patient", "Observation", "Consent", "AuditEvent", "Practitioner", "MessageHeader")
SYSTEMS = {
    "role": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
    "purpose": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "action": "http://terminology.hl7.org/CodeSystem/consentaction",
    "class": "http://hl7.org/fhir/resource-types",
}
INSTANTS = (
    "2024",
    "2024-05",
    "2024-04-30",
    "2024-05-01",
    "2024-05-01T00:00:00Z",
    "2024-05-01T00:00:00.5+14:00",
)
REFERENCES = (
    "Practitioner/u1",
    "Practitioner/u2/_history/3",
    "Organization/i1",
    "Organization/i2",
    "Patient/p1",
    "Group/g",
    "https://elsewhere.example/fhir/Organization/i1",
)


def pick(random: Random, *choices: Any) -> Any:
    return random.choice(choices)


def coding(random: Random, kind: str, *codes: str) -> dict[str, Any]:
    system = SYSTEMS[kind] if random.random() < 0.9 else "http://example.org/other"
    return {"system": system, "code": random.choice(codes)}


def some(random: Random, make: Callable[[], Any], most: int = 2) -> list[Any]:
    return [make() for _ in range(random.randint(1, most))]


def actor(random: Random) -> dict[str, Any]:
    reference: dict[str, Any] = {"reference": random.choice(REFERENCES)}
    if random.random() < 0.25:
        reference = {"identifier": {"value": pick(random, "u1", "i1", "study", "study")}}
        if random.random() < 0.6:
            is_project = reference["identifier"]["value"] == "study"
            reference["identifier"]["system"] = PROJECT_SYSTEM if is_project else "urn:example:ids"
    role = {"coding": [coding(random, "role", "PRCP", "IRCP", "PRCP", "IRCP", "CST")]}
    return {"role": role, "reference": reference}


def provision(random: Random, depth: int) -> dict[str, Any]:
    """Each criterion is there in a third of the cases, so that conjunctions of them still match often."""
    made: dict[str, Any] = {}
    if random.random() < 0.9:
        made["type"] = pick(random, "permit", "permit", "deny")
    if random.random() < 0.3:
        ends = ("2023", "2024", *INSTANTS)
        made["period"] = {end: random.choice(ends) for end in ("start", "end") if random.random() < 0.6}
    if random.random() < 0.4:
        made["actor"] = some(random, lambda: actor(random))
    if random.random() < 0.3:
        made["purpose"] = some(
            random, lambda: coding(random, "purpose", "TREAT", "TREAT", "ETREAT", "HRESCH")
        )
    if random.random() < 0.3:
        codings = lambda: some(random, lambda: coding(random, "action", "access", "access", "collect"))  # noqa: E731
        made["action"] = some(random, lambda: {"coding": codings()})
    if random.random() < 0.3:
        made["class"] = some(random, lambda: coding(random, "class", "Patient", "Observation", "Observation"))
    if random.random() < 0.05:
        made["securityLabel"] = [{"code": "R"}]
    if depth and random.random() < 0.6:
        made["provision"] = some(random, lambda: provision(random, depth - 1 if random.random() < 0.2 else 0))
    return made


def consent(random: Random, number: int) -> dict[str, Any]:
    scope = pick(random, *["patient-privacy"] * 8, "research", "adr")
    policy = pick(random, "OPTIN", "OPTOUT", "other")
    return {
        "resourceType": "Consent",
        "id": f"c{number}",
        "status": pick(random, *["active"] * 9, "inactive"),
        "scope": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": scope}]
        },
        "patient": {"reference": f"Patient/{random.choice(PATIENTS)}"},
        "policyRule": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": policy}]
        },
        "provision": provision(random, 2),
    }


def resource(random: Random) -> ResourceFacts:
    type_ = pick(random, "Observation", "Observation", "Patient", *TYPES)
    patients = frozenset(random.sample(PATIENTS, pick(random, 0, 1, 1, 1, 2)))
    return ResourceFacts(type_, patients, pick(random, "i1", "i2", "i3"))


def request(random: Random) -> AccessRequest:
    role = pick(random, *["clinician"] * 6, "patient", "patient", *["researcher"] * 4, "operator", "other")
    purposes = {"patient": "PATRQT", "researcher": pick(random, "HRESCH", "HRESCH", "BIORCH")}
    purpose = purposes.get(role, pick(random, "TREAT", "TREAT", "ETREAT"))
    hours = pick(random, -14, -2, 0, 12, 12, 12, 300, 9_000) * HOUR_US
    return AccessRequest(
        role,
        pick(random, "u1", "u2", "urn:example:ids|u1", ""),
        pick(random, "i1", "i2", ""),
        pick(random, "", *PATIENTS),
        purpose if random.random() < 0.9 else pick(random, "TREAT", "HRESCH", "nonsense"),
        pick(random, "access", "access", "access", "collect"),
        MAY_US + hours - pick(random, 0, 1),
        pick(random, "study", "study", "other-study") if role == "researcher" else "",
    )


World = tuple[list[ResourceFacts], list[dict[str, Any]], list[AccessRequest], Policy]


def world(seed: int) -> World:
    random = Random(seed)
    return (
        [resource(random) for _ in range(6)],
        [consent(random, number) for number in range(random.randint(0, 3))],
        [request(random) for _ in range(8)],
        random.choice(POLICIES),
    )


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(
        engine, tables=[m.__table__ for m in (Resource, Compartment, ConsentRuleRow)]
    )
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def fill(connection: Connection, resources: list[ResourceFacts], consents: list[dict[str, Any]]) -> None:
    for model in (ConsentRuleRow, Compartment, Resource):
        connection.execute(delete(model.__table__))
    rows = [
        {
            "rkey": rkey,
            "type": facts.type,
            "id": f"r{rkey}",
            "version": 1,
            "updated_us": 0,
            "institution": facts.institution,
            "deleted": False,
            "patient": next(iter(facts.patients)) if len(facts.patients) == 1 else None,
            "patients": len(facts.patients),
        }
        for rkey, facts in enumerate(resources)
    ]
    compartments = [
        {"rkey": k, "patient": p} for k, facts in enumerate(resources) for p in sorted(facts.patients)
    ]
    rules = [row for number, consent in enumerate(consents) for row in rows_for(consent, 1_000 + number)]
    for model, content in ((Resource, rows), (Compartment, compartments), (ConsentRuleRow, rules)):
        if content:
            connection.execute(insert(model.__table__), content)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.integers(0, 2**32))
def test_the_sql_predicate_selects_exactly_what_the_decision_permits(
    connection: Connection, seed: int
) -> None:
    resources, consents, requests, policy = world(seed)
    fill(connection, resources, consents)
    rules = [rule for made in consents for rule in rules_of(made)]
    for asked in requests:
        query = select(Resource.__table__.c.rkey).where(predicate(asked, policy))
        selected = set(connection.execute(query).scalars())
        clocked = predicate(replace(asked, at_us=0), policy, lambda at_us=asked.at_us: at_us)
        assert set(connection.execute(select(Resource.__table__.c.rkey).where(clocked)).scalars()) == selected
        decisions = {k: decide(asked, facts, rules, policy) for k, facts in enumerate(resources)}
        assert selected == {k for k, decision in decisions.items() if decision.is_open}
        fulfilled = predicate(asked, policy, fulfilled=frozenset({"deidentify"}))
        query = select(Resource.__table__.c.rkey).where(fulfilled)
        assert set(connection.execute(query).scalars()) == {
            k for k, decision in decisions.items() if decision.is_permitted
        }


def test_the_random_worlds_reach_every_kind_of_verdict() -> None:
    reasons: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for seed in range(300):
        resources, consents, requests, policy = world(seed)
        rules = [rule for made in consents for rule in rules_of(made)]
        kinds.update(rule.kind for rule in rules)
        reasons.update(
            decide(asked, facts, rules, policy).reason
            for asked in requests
            for facts in resources
            if facts.patients
        )
    assert min(kinds[kind] for kind in KINDS) > 30
    assert (
        min(reasons[text] for text in ("policy and consent", "consent: denied", "consent: none permits"))
        > 300
    )


def test_a_resource_that_lost_its_compartment_rows_is_hidden(connection: Connection) -> None:
    facts = ResourceFacts("Observation", frozenset({"p1"}), "i3")
    made = grant("p1", ["Organization/i1"], [], [], from_us=0, until_us=100)
    asked = AccessRequest("clinician", "u1", "i1", "", "TREAT", "access", 50)
    fill(connection, [facts], [made])
    query = select(Resource.__table__.c.rkey).where(predicate(asked, POLICIES[0]))
    assert connection.execute(query).scalars().all() == [0]
    connection.execute(delete(Compartment.__table__))
    assert connection.execute(query).scalars().all() == []
