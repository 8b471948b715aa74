"""decide() and predicate() say the same, on random resources, Consents and requests (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, delete, insert, select
from sqlmodel import SQLModel

from hdg.management.consent.decide import AccessRequest, ResourceFacts, decide
from hdg.management.consent.policy import Policy, load_policy
from hdg.management.consent.rules import rows_for, rules_of
from hdg.management.consent.schema import ConsentRuleRow
from hdg.management.consent.sql import predicate
from hdg.management.store.schema import Compartment, Resource

DAY_US = 86_400_000_000
HOUR_US = DAY_US // 24
# 2024-05-01T00:00Z
MAY_US = 19_844 * DAY_US
POLICIES = tuple(
    Policy(*switches, base.role_purposes, base.obligations, base.without_patient, base.restricted, base.purposes, name)
    for base in [load_policy()]
    for name, switches in {
        "shipped": (True, True, True),
        "no own": (False, False, True),
        "deaf": (True, True, False),
    }.items()
)
PATIENTS = ("p1", "p2", "p3")
TYPES = ("Patient", "Observation", "Consent", "AuditEvent", "Practitioner", "MessageHeader")
SYSTEMS = {
    "role": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
    "purpose": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "action": "http://terminology.hl7.org/CodeSystem/consentaction",
    "class": "http://hl7.org/fhir/resource-types",
}
INSTANTS = ("2024", "2024-05", "2024-04-30", "2024-05-01", "2024-05-01T00:00:00Z", "2024-05-01T00:00:00.5+14:00")
REFERENCES = (
    "Practitioner/u1",
    "Practitioner/u2/_history/3",
    "Organization/i1",
    "Organization/i2",
    "Patient/p1",
    "Group/g",
    "https://elsewhere.example/fhir/Organization/i1",
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def coding(kind: str, *codes: str) -> st.SearchStrategy[Any]:
    systems = st.sampled_from([SYSTEMS[kind]] * 6 + ["http://example.org/other"])
    return st.fixed_dictionaries({"system": systems, "code": st.sampled_from(codes)})


def concept(kind: str, *codes: str) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"coding": st.lists(coding(kind, *codes), min_size=1, max_size=2)})


IDENTIFIERS = st.fixed_dictionaries(
    {"value": st.sampled_from(["u1", "i1"])}, optional={"system": st.just("urn:example:ids")}
)
ACTORS = st.fixed_dictionaries(
    {
        "role": concept("role", "PRCP", "IRCP", "PRCP", "CST"),
        "reference": st.fixed_dictionaries({"reference": st.sampled_from(REFERENCES)})
        | st.fixed_dictionaries({"identifier": IDENTIFIERS}),
    }
)


def provision(nested: st.SearchStrategy[Any] | None) -> st.SearchStrategy[Any]:
    parts: dict[str, st.SearchStrategy[Any]] = {
        "type": maybe(st.sampled_from(["permit", "permit", "deny"])),
        "period": maybe(st.fixed_dictionaries({}, optional={k: st.sampled_from(INSTANTS) for k in ("start", "end")})),
        "actor": maybe(st.lists(ACTORS, min_size=1, max_size=2)),
        "purpose": maybe(st.lists(coding("purpose", "TREAT", "ETREAT", "HRESCH"), min_size=1, max_size=2)),
        "action": maybe(st.lists(concept("action", "access", "collect"), min_size=1, max_size=2)),
        "class": maybe(st.lists(coding("class", "Patient", "Observation"), min_size=1, max_size=2)),
        "securityLabel": st.sampled_from([None] * 8 + [[{"code": "R"}]]),
    }
    if nested is not None:
        parts["provision"] = st.just([]) | st.lists(nested, min_size=1, max_size=3)
    return st.fixed_dictionaries(parts).map(lambda found: {key: value for key, value in found.items() if value})


CONSENTS = st.fixed_dictionaries(
    {
        "resourceType": st.just("Consent"),
        "status": st.sampled_from(["active"] * 9 + ["inactive"]),
        "scope": st.sampled_from(["patient-privacy"] * 4 + ["research", "adr"]).map(
            lambda code: {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": code}]
            }
        ),
        "patient": st.sampled_from(PATIENTS).map(lambda name: {"reference": f"Patient/{name}"}),
        "policyRule": st.sampled_from(["OPTIN", "OPTOUT", "other"]).map(
            lambda code: {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code}]}
        ),
        "provision": provision(provision(provision(None))),
    }
)
RESOURCES = st.builds(
    ResourceFacts,
    st.sampled_from(TYPES),
    st.frozensets(st.sampled_from(PATIENTS), max_size=2),
    st.sampled_from(["i1", "i2"]),
)
REQUESTS = st.builds(
    AccessRequest,
    st.sampled_from(["clinician", "clinician", "clinician", "patient", "researcher", "operator", "other"]),
    st.sampled_from(["u1", "u2", "urn:example:ids|u1", ""]),
    st.sampled_from(["i1", "i2", ""]),
    st.sampled_from(["", *PATIENTS]),
    st.sampled_from(["TREAT", "TREAT", "ETREAT", "HRESCH", "PATRQT", "nonsense"]),
    st.sampled_from(["access", "access", "collect"]),
    st.sampled_from([-14 * HOUR_US, -14 * HOUR_US - 1, -1, 0, 12 * HOUR_US - 1, 12 * HOUR_US, 2 * DAY_US, 400 * DAY_US]).map(
        lambda offset: MAY_US + offset
    ),
)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(engine, tables=[m.__table__ for m in (Resource, Compartment, ConsentRuleRow)])
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
    compartments = [{"rkey": k, "patient": p} for k, facts in enumerate(resources) for p in sorted(facts.patients)]
    rules = [row for number, consent in enumerate(consents) for row in rows_for(consent, 1_000 + number)]
    for model, content in ((Resource, rows), (Compartment, compartments), (ConsentRuleRow, rules)):
        if content:
            connection.execute(insert(model.__table__), content)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(RESOURCES, min_size=1, max_size=8),
    st.lists(CONSENTS, max_size=4),
    st.lists(REQUESTS, min_size=1, max_size=6),
    st.sampled_from(POLICIES),
)
def test_the_sql_predicate_selects_exactly_what_the_decision_permits(
    connection: Connection,
    resources: list[ResourceFacts],
    consents: list[dict[str, Any]],
    requests: list[AccessRequest],
    policy: Policy,
) -> None:
    consents = [consent | {"id": f"c{number}"} for number, consent in enumerate(consents)]
    fill(connection, resources, consents)
    rules = [rule for consent in consents for rule in rules_of(consent)]
    for request in requests:
        query = select(Resource.__table__.c.rkey).where(predicate(request, policy))
        selected = set(connection.execute(query).scalars())
        permitted = {k for k, facts in enumerate(resources) if decide(request, facts, rules, policy).is_open}
        assert selected == permitted
