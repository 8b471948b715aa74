"""What a Consent means (R4 consent.html), element by element, through rules_of and decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hdg.fhir import json
from hdg.management.consent.decide import AccessRequest, Decision, ResourceFacts, decide
from hdg.management.consent.policy import load_policy
from hdg.management.consent.resource import grant, revoked
from hdg.management.consent.rules import MAX_COMBINATIONS, rows_for, rules_of

JsonObject = dict[str, Any]

POLICY = load_policy()
NOW_US = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z
OBSERVATION = ResourceFacts("Observation", frozenset({"p1"}), "elsewhere")


def code(system: str, value: str) -> JsonObject:
    return {"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": value}


def concept(system: str, value: str) -> JsonObject:
    return {"coding": [code(system, value)]}


def recipient(reference: str, role: str = "PRCP") -> JsonObject:
    return {"role": concept("v3-ParticipationType", role), "reference": {"reference": reference}}


def consent(provision: JsonObject | None, **parts: Any) -> JsonObject:
    made = {
        "resourceType": "Consent",
        "id": "c1",
        "status": "active",
        "scope": concept("consentscope", "patient-privacy"),
        "patient": {"reference": "Patient/p1"},
        "provision": provision,
    }
    return {key: value for key, value in (made | parts).items() if value is not None}


def ask(
    *consents: JsonObject,
    facts: ResourceFacts = OBSERVATION,
    role: str = "clinician",
    user: str = "u1",
    institution: str = "i1",
    patient: str = "",
    purpose: str = "TREAT",
    action: str = "access",
    at_us: int = NOW_US,
) -> Decision:
    request = AccessRequest(role, user, institution, patient, purpose, action, at_us)
    rules = [rule for number, made in enumerate(consents) for rule in rules_of(made | {"id": f"c{number}"})]
    return decide(request, facts, rules, POLICY)


def is_open(*consents: JsonObject, **options: Any) -> bool:
    return ask(*consents, **options).is_permitted


PERMIT: JsonObject = {"type": "permit"}
DENY: JsonObject = {"type": "deny"}


def test_without_a_consent_everything_is_denied() -> None:
    assert not is_open()


def test_an_active_permit_opens_and_a_revoked_one_does_not() -> None:
    made = grant("p1", ["Organization/i1"], ["TREAT"], [], from_us=NOW_US - 1, until_us=NOW_US + 10)
    assert is_open(made)
    assert not is_open(revoked(made))
    assert rows_for(revoked(made), 1) == []
    assert not is_open(made, at_us=NOW_US - 2)
    assert is_open(made, at_us=NOW_US + 10)
    assert not is_open(made, at_us=NOW_US + 11)
    assert not is_open(made, institution="i2")
    assert not is_open(made, purpose="HPAYMT")


@pytest.mark.parametrize("status", ["draft", "proposed", "rejected", "inactive", "entered-in-error", None])
def test_only_active_consents_count(status: str | None) -> None:
    assert not is_open(consent(PERMIT, status=status))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, True),
        ({"scope": concept("consentscope", "treatment")}, False),
        ({"scope": concept("other", "patient-privacy")}, False),
        ({"patient": {"reference": "Patient/p2"}}, False),
        ({"patient": {"display": "someone"}}, False),
        ({"patient": {"reference": "https://elsewhere.example/Patient/p1"}}, False),
        ({"patient": {"reference": "Patient/p1/_history/2"}}, True),
        ({"implicitRules": "http://example.org/rules"}, False),
        ({"modifierExtension": [{"url": "http://example.org/not"}]}, False),
    ],
)
def test_scope_patient_and_modifiers_are_respected(parts: JsonObject, expected: bool) -> None:
    assert is_open(consent(PERMIT, **parts)) is expected


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ({"actor": [recipient("Practitioner/u1")]}, True),
        ({"actor": [recipient("Practitioner/u2"), recipient("Organization/i1", "IRCP")]}, True),
        ({"actor": [recipient("Practitioner/u2")]}, False),
        ({"actor": [recipient("Practitioner/u1", "CST")]}, False),
        ({"actor": [recipient("Organization/u1")]}, False),
        ({"actor": [recipient("https://elsewhere.example/Practitioner/u1")]}, False),
        ({"actor": []}, False),
        ({"purpose": [code("v3-ActReason", "TREAT")]}, True),
        ({"purpose": [code("v3-ActReason", "HPAYMT"), code("v3-ActReason", "TREAT")]}, True),
        ({"purpose": [code("v3-ActReason", "HPAYMT")]}, False),
        ({"purpose": [{"code": "TREAT"}]}, False),
        ({"action": [concept("consentaction", "access")]}, True),
        ({"action": [concept("consentaction", "correct")]}, False),
        ({"class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]}, True),
        ({"class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}]}, False),
        ({"class": [{"system": "urn:ietf:bcp:13", "code": "Observation"}]}, False),
        ({"period": {"start": "2024-04-01", "end": "2024-06-01"}}, True),
        ({"period": {"end": "2024-04-01"}}, False),
        ({"securityLabel": [{"code": "N"}]}, False),
        ({"code": [{"text": "x"}]}, False),
        ({"dataPeriod": {"start": "2000"}}, False),
        ({"data": [{"meaning": "instance", "reference": {"reference": "Observation/1"}}]}, False),
        ({"extension": [{"url": "http://example.org/remark"}]}, True),
        ({"modifierExtension": [{"url": "http://example.org/not"}]}, False),
    ],
)
def test_each_criterion_of_a_permit_must_be_understood_and_hold(
    criterion: JsonObject, expected: bool
) -> None:
    assert is_open(consent(PERMIT | criterion)) is expected


@pytest.mark.parametrize(
    ("criterion", "denies"),
    [
        ({}, True),
        ({"actor": [recipient("Practitioner/u1")]}, True),
        ({"actor": [recipient("Practitioner/u2")]}, False),
        ({"actor": [recipient("https://elsewhere.example/Practitioner/u1")]}, True),
        ({"actor": [recipient("Practitioner/u2"), recipient("Group/g1")]}, True),
        ({"actor": [recipient("Practitioner/u2", "CST")]}, True),
        ({"purpose": [code("v3-ActReason", "HPAYMT")]}, False),
        ({"purpose": [code("v3-ActReason", "HPAYMT"), {"code": "local"}]}, True),
        ({"class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}]}, False),
        ({"class": [{"system": "urn:ietf:bcp:13", "code": "Patient"}]}, True),
        ({"securityLabel": [{"code": "R"}]}, True),
        ({"dataPeriod": {"start": "2000"}, "actor": [recipient("Practitioner/u2")]}, False),
        ({"period": {"end": "2024-04-01"}}, False),
    ],
)
def test_a_denial_holds_on_the_criteria_that_are_understood(criterion: JsonObject, denies: bool) -> None:
    assert is_open(consent(PERMIT), consent(DENY | criterion)) is not denies


def test_across_consents_a_denial_overrides_whatever_the_order() -> None:
    assert ask(consent(PERMIT), consent(DENY)).reason == "consent: denied"
    assert ask(consent(DENY), consent(PERMIT)).reason == "consent: denied"


def nested(root: JsonObject, *provisions: JsonObject, **parts: Any) -> JsonObject:
    return consent(root | {"provision": list(provisions)}, **parts)


OTHERS = {"actor": [recipient("Practitioner/u2")]}
ONLY_PATIENT = {"class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}]}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (nested(PERMIT, DENY), False),
        (nested(PERMIT, DENY | OTHERS), True),
        (nested(DENY, PERMIT), True),
        (nested(DENY, PERMIT | ONLY_PATIENT), False),
        (nested(DENY, PERMIT, DENY), False),
        (nested(PERMIT, {"purpose": [code("v3-ActReason", "TREAT")]}), False),
        (nested(DENY, PERMIT | {"securityLabel": [{"code": "N"}]}), False),
        (nested(DENY | OTHERS, PERMIT), False),
        (nested(DENY | {"securityLabel": [{"code": "R"}]}, PERMIT), False),
        (nested(PERMIT, PERMIT | {"provision": [DENY]}), False),
        (nested(PERMIT, PERMIT | {"provision": [DENY | OTHERS]}), True),
        (nested(DENY, PERMIT | {"provision": [DENY | OTHERS]}), False),
        (nested(PERMIT, DENY | {"provision": [PERMIT]}), False),
        (nested({}, PERMIT), True),
        (nested({}, DENY), False),
    ],
)
def test_a_nested_provision_is_an_exception_to_the_root(made: JsonObject, expected: bool) -> None:
    assert is_open(made) is expected


def test_an_exception_ends_with_the_period_of_its_consent() -> None:
    ended = nested(PERMIT | {"period": {"end": "2024-04-01"}}, DENY)
    assert is_open(ended, consent(PERMIT))


@pytest.mark.parametrize(
    ("policy_rule", "provision", "expected"),
    [
        ("OPTIN", None, True),
        ("OPTIN", {"period": {"start": "2024"}}, True),
        ("OPTIN", {"actor": [recipient("Practitioner/u1")]}, False),
        ("OPTOUT", None, False),
        ("OPTOUT", PERMIT, True),
        ("OPTIN", DENY, False),
        ("other", None, False),
    ],
)
def test_policy_rule_speaks_where_the_root_has_no_type(
    policy_rule: str, provision: JsonObject | None, expected: bool
) -> None:
    assert is_open(consent(provision, policyRule=concept("v3-ActCode", policy_rule))) is expected


def test_an_untyped_opt_in_with_criteria_denies_those_it_names_and_an_opt_out_everyone() -> None:
    opt_in = consent({"actor": [recipient("Practitioner/u1")]}, policyRule=concept("v3-ActCode", "OPTIN"))
    assert not is_open(opt_in, consent(PERMIT))
    assert is_open(opt_in, consent(PERMIT), user="u2")
    opt_out = consent({"actor": [recipient("Practitioner/u1")]}, policyRule=concept("v3-ActCode", "OPTOUT"))
    assert not is_open(opt_out, consent(PERMIT), user="u2")


def test_a_resource_about_several_patients_needs_all_of_them() -> None:
    both = ResourceFacts("Observation", frozenset({"p1", "p2"}), "elsewhere")
    assert not is_open(consent(PERMIT), facts=both)
    assert is_open(consent(PERMIT), consent(PERMIT, patient={"reference": "Patient/p2"}), facts=both)
    assert not is_open(consent(PERMIT), consent(DENY, patient={"reference": "Patient/p2"}), facts=both)


def test_a_purpose_covers_the_purposes_below_it_and_not_those_above() -> None:
    treatment = consent(PERMIT | {"purpose": [code("v3-ActReason", "TREAT")]})
    emergency = consent(PERMIT | {"purpose": [code("v3-ActReason", "ETREAT")]})
    assert is_open(treatment, purpose="ETREAT")
    assert not is_open(emergency, purpose="TREAT")


@pytest.mark.parametrize(
    ("system", "user", "permits", "denies"),
    [
        ("urn:oid:1.2", "urn:oid:1.2|77", True, True),
        ("urn:oid:1.2", "77", False, True),
        ("urn:oid:1.2", "urn:oid:9.9|77", False, True),
        (None, "77", False, True),
        ("urn:oid:1.2", "78", False, False),
    ],
)
def test_an_identifier_permits_exactly_and_denies_by_value(
    system: str | None, user: str, permits: bool, denies: bool
) -> None:
    identifier = {"value": "77"} | ({"system": system} if system else {})
    actor = {"role": concept("v3-ParticipationType", "PRCP"), "reference": {"identifier": identifier}}
    assert is_open(consent(PERMIT | {"actor": [actor]}), user=user) is permits
    assert is_open(consent(PERMIT), consent(DENY | {"actor": [actor]}), user=user) is not denies


def test_a_patient_reads_their_own_record_and_no_one_else_s_by_a_permit_for_everybody() -> None:
    own: dict[str, Any] = {"role": "patient", "user": "", "institution": "", "purpose": "PATRQT"}
    assert is_open(patient="p1", **own)
    assert is_open(consent(DENY), patient="p1", **own)
    assert not is_open(consent(PERMIT), patient="p2", **own)
    assert is_open(consent(PERMIT | {"actor": [recipient("Patient/p2")]}), patient="p2", **own)
    both = ResourceFacts("Observation", frozenset({"p1", "p2"}), "elsewhere")
    assert not is_open(patient="p1", facts=both, **own)


def test_an_institution_reads_what_it_sent_unless_the_patient_denies() -> None:
    sent = ResourceFacts("Observation", frozenset({"p1"}), "i1")
    assert is_open(facts=sent)
    assert not is_open(facts=sent, institution="")
    assert not is_open(consent(DENY), facts=sent)
    assert is_open(consent(DENY | {"actor": [recipient("Organization/i2")]}), facts=sent)


def test_the_policy_says_who_reads_what_belongs_to_no_patient() -> None:
    practitioner = ResourceFacts("Practitioner", frozenset(), "elsewhere")
    header = ResourceFacts("MessageHeader", frozenset(), "elsewhere")
    assert is_open(facts=practitioner)
    assert not is_open(facts=header)
    assert is_open(facts=ResourceFacts("MessageHeader", frozenset(), "i1"))
    assert not is_open(facts=practitioner, role="operator", purpose="HSYSADMIN")


def test_audit_events_and_consents_are_for_patients() -> None:
    event = ResourceFacts("AuditEvent", frozenset({"p1"}), "i1")
    assert not is_open(consent(PERMIT), facts=event)
    assert is_open(facts=event, role="patient", patient="p1", purpose="PATRQT")
    held = ResourceFacts("Consent", frozenset({"p1"}), "i1")
    assert not is_open(consent(PERMIT), facts=held)
    assert is_open(facts=held, role="patient", patient="p1", purpose="PATRQT")


def test_operators_and_unknown_roles_and_purposes_read_nothing() -> None:
    assert not is_open(consent(PERMIT), role="operator", purpose="HSYSADMIN")
    assert not is_open(consent(PERMIT), role="janitor")
    assert not is_open(consent(PERMIT), purpose="HMARKT")
    assert not is_open(consent(PERMIT), purpose="")


def test_a_researcher_needs_an_explicit_research_purpose_and_carries_an_obligation() -> None:
    asking: dict[str, Any] = {"role": "researcher", "purpose": "HRESCH"}
    assert not is_open(consent(PERMIT), **asking)
    explicit = consent(PERMIT | {"purpose": [code("v3-ActReason", "HRESCH")]})
    research = consent(PERMIT, scope=concept("consentscope", "research"))
    for made in (explicit, research):
        decision = ask(made, **asking)
        assert (decision.is_permitted, decision.obligations, decision.is_open) == (
            True,
            ("deidentify",),
            False,
        )
    assert not is_open(research)
    assert is_open(consent(PERMIT), consent(DENY, scope=concept("consentscope", "research")))


def test_a_consent_of_absurd_size_opens_nothing_and_denies_more() -> None:
    many = [code("v3-ActReason", f"X{n}") for n in range(MAX_COMBINATIONS // 2)]
    actors = [recipient(f"Practitioner/x{n}") for n in range(3)]
    wide = {
        "purpose": [*many, code("v3-ActReason", "TREAT")],
        "actor": [*actors, recipient("Practitioner/u1")],
    }
    assert not is_open(consent(PERMIT | wide))
    rows = rows_for(consent(DENY | wide), 1)
    assert {row["purpose"] for row in rows} == {"*"}
    assert not is_open(consent(PERMIT), consent(DENY | wide))


@pytest.mark.parametrize("junk", [None, 5, "x", [], [5], {}, {"coding": 5}, [{"coding": "x"}], [[]], True])
@pytest.mark.parametrize("element", ["type", "period", "actor", "purpose", "action", "class", "provision"])
def test_malformed_provisions_raise_nothing_and_open_nothing(element: str, junk: Any) -> None:
    if junk is not None and (element, junk) not in (("provision", []), ("period", {})):
        assert not is_open(consent(PERMIT | {element: junk}))
    if element not in ("type", "period"):
        assert not is_open(consent(PERMIT), consent(DENY | {element: junk}))
    consent_with_junk = consent(None) | {"provision": junk, "scope": junk, "patient": junk}
    assert rules_of(consent_with_junk) == []


@pytest.mark.corpus
def test_of_the_published_examples_only_the_plain_opt_in_opens_anything(cases: Path) -> None:
    opened = []
    for file in sorted((cases / "fhir" / "r4-examples").glob("Consent-*.json")):
        made = json.loads(file.read_bytes())
        patient = made["patient"]["reference"].removeprefix("Patient/")
        facts = ResourceFacts("Observation", frozenset({patient}), "elsewhere")
        if is_open(made, facts=facts, user="f204", institution="f001", at_us=1_450_000_000_000_000):
            opened.append(file.stem)
    assert opened == ["Consent-consent-example-basic"]
