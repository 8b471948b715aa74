"""The access policy file: strict to load, complete, and explained."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from hdg.errors import SettingsError
from hdg.management.consent.decide import AccessRequest, ResourceFacts, decide
from hdg.management.consent.policy import ROLES, SHIPPED, load_policy
from hdg.management.identity import DEFAULT_PURPOSE
from hdg.management.identity import ROLES as TOKEN_ROLES

DOCS = Path(__file__).resolve().parents[3] / "docs" / "access-policy.md"


def test_the_shipped_policy_loads_and_covers_every_role_that_reads() -> None:
    policy = load_policy()
    assert set(policy.role_purposes) == set(ROLES) == TOKEN_ROLES - {"sender"} == set(policy.without_patient)
    assert len(policy.digest) == 64
    assert policy.without_patient["operator"] == frozenset()
    assert policy.without_patient["researcher"] == {"Medication"}


@pytest.mark.parametrize("role", ROLES)
def test_a_token_s_default_purpose_is_one_that_its_role_may_act_for(role: str) -> None:
    policy = load_policy()
    assert policy.purpose_line(DEFAULT_PURPOSE[role]) & policy.role_purposes[role]


def test_a_purpose_s_line_ends_even_in_a_circle(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(SHIPPED.read_text() + 'TREAT = "ETREAT"\n')
    assert load_policy(file).purpose_line("TREAT") == {"TREAT", "ETREAT"}
    assert load_policy().purpose_line("") == frozenset()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version = 1", "version = 2"),
        ("version = 1", ""),
        ("[patient]", "[patients]"),
        ("reads_own_record = true", 'reads_own_record = "yes"'),
        ("reads_own_record = true", ""),
        ('researcher = ["HRESCH"]', 'researcher = "HRESCH"'),
        ('researcher = ["HRESCH"]', 'janitor = ["HRESCH"]'),
        ('AuditEvent = ["patient"]', 'AuditEvent = ["everyone"]'),
        ('ETREAT = "TREAT"', 'ETREAT = ["TREAT"]'),
        ("[purposes]", "[purposes"),
        ("[purposes]", "[extra]\n[purposes]"),
    ],
)
def test_a_policy_that_is_not_understood_is_refused(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "policy.toml"
    changed = SHIPPED.read_text().replace(old, new, 1)
    assert changed != SHIPPED.read_text()
    file.write_text(changed)
    with pytest.raises(SettingsError):
        load_policy(file)


def test_a_missing_policy_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        load_policy(tmp_path / "none.toml")


def test_every_section_of_the_policy_is_explained() -> None:
    text = DOCS.read_text()
    for name in tomllib.loads(SHIPPED.read_text()):
        assert name == "version" or f"[{name}]" in text


@pytest.mark.parametrize("restricted", ["shipped", "open to clinicians"])
def test_an_institution_does_not_read_the_consents_that_it_sent(restricted: str) -> None:
    policy = load_policy()
    if restricted != "shipped":
        policy = replace(policy, restricted={})
    request = AccessRequest("clinician", "u1", "north", "", "TREAT", "access", 1)
    for patients in (frozenset({"p"}), frozenset[str]()):
        assert not decide(request, ResourceFacts("Consent", patients, "north"), (), policy).is_permitted
        assert decide(request, ResourceFacts("Observation", patients, "north"), (), policy).is_permitted


def test_consents_are_for_patients_only_as_shipped() -> None:
    assert load_policy().restricted["Consent"] == {"patient"}
