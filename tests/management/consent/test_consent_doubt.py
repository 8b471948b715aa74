"""Doubt never opens anything: what is understood less denies no less and permits no more (R4 consent.html)."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, select
from sqlmodel import SQLModel

from hdg.management.consent.decide import AccessRequest, ResourceFacts, decide
from hdg.management.consent.policy import load_policy
from hdg.management.consent.rules import rules_of
from hdg.management.consent.schema import ConsentRuleRow
from hdg.management.consent.sql import predicate
from hdg.management.store.schema import Compartment, Resource
from tests.management.consent.test_consent_property import POLICIES, fill, world

JsonObject = dict[str, Any]
SYSTEM = "http://terminology.hl7.org/CodeSystem/"
POLICY = load_policy()
ASKED = AccessRequest("clinician", "u1", "i1", "", "TREAT", "access", 1_700_000_000_000_000)
SEEN = ResourceFacts("Observation", frozenset({"p1"}), "i1")
"""The clinician's own institution sent it: so only a denial keeps it from them."""


def denial(**parts: Any) -> JsonObject:
    made = {
        "resourceType": "Consent",
        "id": "c",
        "status": "active",
        "scope": {"coding": [{"system": f"{SYSTEM}consentscope", "code": "patient-privacy"}]},
        "patient": {"reference": "Patient/p1"},
        "provision": {"type": "deny"},
    }
    return {key: value for key, value in {**made, **parts}.items() if value is not None}


def is_denied(made: JsonObject) -> bool:
    return not decide(ASKED, SEEN, rules_of(made), POLICY).is_permitted


PRIVACY = {"code": "patient-privacy"}
ELSEWHERE = {"system": f"{SYSTEM}consentscope", "code": "adr"}


@pytest.mark.parametrize(
    ("scope", "denies"),
    [
        ({"coding": [PRIVACY]}, True),
        ({"coding": [{"system": "urn:other", "code": "x"}]}, True),
        ({"text": "privacy"}, True),
        ({}, True),
        (None, True),
        ("privacy", True),
        ({"coding": [{"system": f"{SYSTEM}consentscope", "code": "patientprivacy"}]}, True),
        ({"coding": [ELSEWHERE, PRIVACY]}, True),
        ({"coding": [{"system": f"{SYSTEM}consentscope", "code": "research"}, PRIVACY]}, True),
        ({"coding": [ELSEWHERE]}, False),
        ({"coding": [{"system": f"{SYSTEM}consentscope", "code": "treatment"}]}, False),
        ({"coding": [{"system": f"{SYSTEM}consentscope", "code": "research"}]}, False),
    ],
)
def test_a_denial_of_a_scope_that_is_not_understood_denies(scope: Any, denies: bool) -> None:
    assert is_denied(denial(scope=scope)) is denies


@pytest.mark.parametrize(
    ("criterion", "denies"),
    [
        ({"action": [{"coding": [{"system": f"{SYSTEM}consentaction", "code": "collect"}]}]}, False),
        ({"action": [{"coding": [{"code": "access"}]}]}, True),
        (
            {
                "action": [
                    {"coding": [{"system": f"{SYSTEM}consentaction", "code": "collect"}, {"code": "access"}]}
                ]
            },
            True,
        ),
        ({"action": [{"coding": [{"system": f"{SYSTEM}consentaction", "code": "acess"}]}]}, True),
        ({"class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}]}, False),
        ({"class": [{"system": "http://hl7.org/fhir/resource-types", "code": "observation"}]}, True),
        ({"class": [{"code": "Patient"}]}, True),
        ({"purpose": [{"code": "HPAYMT"}]}, True),
        (
            {
                "actor": [
                    {
                        "role": {"coding": [{"system": f"{SYSTEM}v3-ParticipationType", "code": "PRCP"}]},
                        "reference": {"reference": "Practitioner/u2", "identifier": {"value": "u1"}},
                    }
                ]
            },
            True,
        ),
    ],
)
def test_a_criterion_of_a_denial_that_is_not_understood_matches(criterion: JsonObject, denies: bool) -> None:
    assert is_denied(denial(provision={"type": "deny", **criterion})) is denies


@pytest.mark.parametrize("coding", [{"code": "OPTOUT"}, {"system": "urn:other", "code": "OPTOUTE"}])
def test_an_opt_out_without_its_system_denies(coding: JsonObject) -> None:
    assert is_denied(denial(provision=None, policyRule={"coding": [coding]}))
    assert is_denied(denial(provision={}, policyRule={"coding": [coding]}))


def test_an_opt_in_without_its_system_permits_nothing_and_its_exceptions_deny() -> None:
    purpose = {"purpose": [{"system": f"{SYSTEM}v3-ActReason", "code": "TREAT"}]}
    rule = {"coding": [{"code": "OPTIN"}]}
    assert not is_denied(denial(provision=None, policyRule=rule))
    assert is_denied(denial(provision=purpose, policyRule=rule))
    assert [made.kind for made in rules_of(denial(provision={}, policyRule=rule))] == []


# --- less and less understood ----------------------------------------------------------------------------------


def codings(value: Any) -> Iterator[JsonObject]:
    """Everything with a code and a system, but the scope's and the policyRule's own."""
    if isinstance(value, list):
        for item in value:
            yield from codings(item)
    elif isinstance(value, dict):
        if "code" in value and "system" in value:
            yield value
        for item in value.values():
            yield from codings(item)


def provisions(made: JsonObject) -> list[JsonObject]:
    found, left = [], [made["provision"]]
    while left:
        one = left.pop()
        found.append(one)
        left += one.get("provision", ())
    return found


def drop_system(random: Random, made: JsonObject) -> None:
    random.choice([*codings(made["provision"]), made["scope"].get("coding", [{}])[0]]).pop("system", None)


def other_system(random: Random, made: JsonObject) -> None:
    random.choice([*codings(made["provision"]), made["scope"].get("coding", [{}])[0]])["system"] = (
        "urn:example:local"
    )


def drop_policy_system(random: Random, made: JsonObject) -> None:
    made["policyRule"]["coding"][0].pop("system", None)


def another_coding(random: Random, made: JsonObject) -> None:
    for one in provisions(made):
        if "action" in one:
            random.choice(one["action"]).setdefault("coding", []).append({"code": "access"})
            return
        for name in ("purpose", "class"):
            if name in one:
                one[name].append({"code": "x"})
                return


def text_only(random: Random, made: JsonObject) -> None:
    for one in provisions(made):
        if "action" in one:
            one["action"][0] = {"text": "some"}
            return
    made["scope"] = {"text": "some"}


def unknown_element(random: Random, made: JsonObject) -> None:
    random.choice(provisions(made))["securityLabel"] = [{"code": "R"}]


def modifier(random: Random, made: JsonObject) -> None:
    random.choice([made, *provisions(made)])["modifierExtension"] = [{"url": "urn:x", "valueBoolean": True}]


def garbage_period(random: Random, made: JsonObject) -> None:
    one = random.choice(provisions(made))
    if "period" in one:
        one["period"] = dict.fromkeys(one["period"], "some day")


def group(random: Random, made: JsonObject) -> None:
    for one in provisions(made):
        if "actor" in one:
            random.choice(one["actor"])["reference"] = {"reference": "Group/g"}


def absolute_patient(random: Random, made: JsonObject) -> None:
    reference = made["patient"]["reference"]
    if "://" not in reference:
        made["patient"] = {"reference": f"https://elsewhere.example/fhir/{reference}"}


BLURS: tuple[Callable[[Random, JsonObject], None], ...] = (
    drop_system,
    other_system,
    drop_policy_system,
    another_coding,
    text_only,
    unknown_element,
    modifier,
    garbage_period,
    group,
    absolute_patient,
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


def blurred(random: Random, consents: list[JsonObject]) -> list[JsonObject]:
    made = copy.deepcopy(consents)
    for one in made:
        for _ in range(random.choice((0, 1, 1, 2, 3))):
            random.choice(BLURS)(random, one)
    return made


def opened(
    connection: Connection,
    resources: list[ResourceFacts],
    consents: list[JsonObject],
    asked: AccessRequest,
    policy: Any,
) -> set[int]:
    """What the SQL opens, which must be what the decision opens."""
    fill(connection, resources, consents)
    found = set(
        connection.execute(select(Resource.__table__.c.rkey).where(predicate(asked, policy))).scalars()
    )
    rules = [rule for made in consents for rule in rules_of(made)]
    decisions = {number: decide(asked, facts, rules, policy) for number, facts in enumerate(resources)}
    assert found == {number for number, decision in decisions.items() if decision.is_open}
    return found


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.integers(0, 2**32))
def test_what_is_understood_less_opens_no_more(connection: Connection, seed: int) -> None:
    random = Random(seed)
    resources, consents, requests, policy = world(seed)
    worse = blurred(random, consents)
    for asked in requests[:4]:
        assert opened(connection, resources, worse, asked, policy) <= opened(
            connection, resources, consents, asked, policy
        )


def test_blurring_closes_something_and_leaves_something_open(connection: Connection) -> None:
    seen: Counter[str] = Counter()
    for seed in range(150):
        random = Random(seed)
        resources, consents, requests, _ = world(seed)
        worse = blurred(random, consents)
        for asked in requests[:4]:
            before = opened(connection, resources, consents, asked, POLICIES[0])
            after = opened(connection, resources, worse, asked, POLICIES[0])
            seen["closed"] += len(before - after)
            seen["open"] += len(after)
    assert min(seen.values()) > 20
