"""What a profile asks of single elements: each rule has a resource that keeps it and mutants that do not."""

from __future__ import annotations

import pytest

from hdg.fhir.profiles.check import Profiles
from hdg.fhir.profiles.library import Library
from profile_cases import DEFINITIONS, GOOD, LAB, MUTANTS, changed
from profile_packages import BASE, SYSTEM, code_system, invariant, structure, value_set


def profiles(*more):
    return Profiles(Library().with_resources([*DEFINITIONS, *more]))


def found(resource, profile="lab", checks=None):
    issues = (checks or profiles()).check(resource, [BASE + profile])
    return [(issue.severity, issue.code, issue.place) for issue in issues]


def test_what_keeps_every_rule_has_no_issue():
    assert found(GOOD) == []


@pytest.mark.parametrize(("path", "value", "issue"), MUTANTS)
def test_a_mutant_is_found_at_its_place(path, value, issue):
    assert issue in found(changed(GOOD, path, value))


def test_a_choice_of_another_type_is_refused_and_the_allowed_ones_are_not():
    bare = changed(GOOD, ["valueQuantity"], None)
    assert found({**bare, "valueString": "x"}) == []
    assert ("error", "structure", "Observation.value") in found({**bare, "valueBoolean": True})


def test_the_same_rules_hold_as_a_snapshot_and_below_a_derived_profile():
    snapshot = {**LAB, "url": BASE + "snap", "snapshot": LAB["differential"]}
    derived = structure("derived", "Observation", [("Observation.note", {"min": 1})], base=BASE + "lab")
    checks = profiles(snapshot, derived)
    wrong = changed(changed(GOOD, ["status"], "amended"), ["subject"], None)
    expected = [("error", "value", "Observation.status"), ("error", "required", "Observation.subject")]
    assert found(wrong, "snap", checks) == expected
    assert found(wrong, "derived", checks) == [*expected, ("error", "required", "Observation.note")]


def test_a_missing_element_of_r4_itself_is_said_once():
    places = [place for _, code, place in found(changed(GOOD, ["status"], None)) if code == "required"]
    assert places == ["Observation.status"]


def test_a_resource_that_is_not_built_as_r4_says_is_not_asked_further():
    issues = profiles().check({**GOOD, "category": "x"}, [BASE + "lab"])
    assert [issue.severity for issue in issues] == ["error", "information"]


def test_a_profile_of_another_type_or_that_is_not_loaded_is_an_error():
    assert found({"resourceType": "Patient", "active": True}) == [("error", "structure", "Patient")]
    assert found(GOOD, "unknown") == [("error", "not-found", "")]


# --- what cannot be decided is said ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ([], "is not loaded"),
        ([value_set("v", {"system": SYSTEM})], "is not loaded as a whole"),
        (
            [value_set("v", {"system": SYSTEM}), code_system({"code": "a"}, content="fragment")],
            "not loaded as a whole",
        ),
        ([value_set("v", {"valueSet": [BASE + "gone"]})], "is not loaded"),
        ([value_set("v", {"valueSet": [BASE + "v"]})], "import each other"),
        ([value_set("v")], "lists nothing"),
        (
            [
                value_set(
                    "v", {"system": SYSTEM, "filter": [{"property": "p", "op": "generalizes", "value": "a"}]}
                ),
                code_system({"code": "sodium"}),
            ],
            "filter",
        ),
    ],
)
def test_a_binding_that_cannot_be_decided_is_a_warning_with_the_reason(sets, words):
    bound = structure(
        "b",
        "Observation",
        [("Observation.code", {"binding": {"strength": "required", "valueSet": BASE + "v"}})],
    )
    (issue,) = profiles(bound, *sets).check(GOOD, [BASE + "b"])
    assert (issue.severity, issue.code, issue.place) == ("warning", "not-supported", "Observation.code")
    assert words in issue.text


def test_an_invariant_that_cannot_be_compiled_is_a_warning_that_names_it():
    rules = [invariant("x-1", "status.memberOf('urn:x')"), invariant("x-2", "((")]
    (one, two) = profiles(structure("i", "Observation", [("Observation", {"constraint": rules})])).check(
        GOOD, [BASE + "i"]
    )
    assert (one.severity, two.severity) == ("warning", "warning")
    assert "x-1" in one.text
    assert "x-2" in two.text


def test_targets_that_did_not_come_along_are_said_to_be_unchecked():
    elsewhere = changed(changed(GOOD, ["contained"], None), ["performer", 0, "reference"], "Organization/1")
    issues = profiles().check(elsewhere, [BASE + "lab"])
    assert [(issue.severity, issue.code) for issue in issues] == [("information", "not-supported")]


def test_a_target_in_the_same_bundle_is_checked():
    def bundle(organization):
        entry = changed(
            changed(GOOD, ["contained"], None),
            ["performer", 0, "reference"],
            "urn:uuid:1f0c6b8e-7b7a-4b2a-9c5e-0d6a3b1c2d4e",
        )
        entry["meta"] = {"profile": [BASE + "lab"]}
        return {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [
                {"fullUrl": "http://x.example/Observation/1", "resource": entry},
                {"fullUrl": "urn:uuid:1f0c6b8e-7b7a-4b2a-9c5e-0d6a3b1c2d4e", "resource": organization},
            ],
        }

    checks = profiles()
    assert checks.check(bundle({"resourceType": "Organization", "name": "Lab"})) == []
    (issue,) = checks.check(bundle({"resourceType": "Organization", "identifier": [{"value": "1"}]}))
    assert issue.place == "Bundle.entry[0].resource.performer[0].resolve().name"


# --- meta.profile and extensions ------------------------------------------------------------------------------


def test_profiles_that_a_resource_claims_are_asked_unless_told_otherwise():
    wrong = {**changed(GOOD, ["subject"], None), "meta": {"profile": [BASE + "lab", BASE + "gone"]}}
    checks = profiles()
    assert [(issue.severity, issue.place) for issue in checks.check(wrong)] == [
        ("error", "Observation.subject"),
        ("warning", "Observation.meta.profile[1]"),
    ]
    assert checks.check(wrong, with_claimed=False) == []


def extended(element, **says):
    return changed(GOOD, [element], {**GOOD[element], "extension": [{"url": BASE + "site", **says}]})


def test_an_extension_is_checked_by_its_definition_and_its_context():
    checks = profiles()
    plain = changed(
        GOOD, ["bodySite"], {"text": "arm", "extension": [{"url": BASE + "site", "valueCode": "x"}]}
    )
    assert checks.check(plain) == []
    other = changed(plain, ["bodySite", "extension", 0], {"url": BASE + "site", "valueString": "x"})
    assert [issue.place for issue in checks.check(other)] == ["Observation.bodySite.extension[0].value"]
    elsewhere = changed(GOOD, ["method", "extension"], [{"url": BASE + "site", "valueCode": "x"}])
    (issue,) = checks.check(elsewhere)
    assert (issue.severity, issue.place) == ("error", "Observation.method.extension[0]")
    on_primitive = {**GOOD, "_status": {"extension": [{"url": BASE + "site", "valueCode": "x"}]}}
    assert [issue.place for issue in checks.check(on_primitive)] == ["Observation.status.extension[0]"]


def test_an_unknown_extension_is_told_and_an_unknown_modifier_is_a_warning():
    unknown = [{"url": "http://elsewhere.example/x", "valueCode": "x"}]
    (plain,) = profiles().check({**GOOD, "extension": unknown})
    (modifier,) = profiles().check({**GOOD, "modifierExtension": unknown})
    assert (plain.severity, plain.place) == ("information", "Observation.extension[0]")
    assert (modifier.severity, modifier.place) == ("warning", "Observation.modifierExtension[0]")


def test_texts_hold_no_value_of_the_resource():
    secret = "Featherstonehaugh"
    wrong = changed(changed(GOOD, ["code", "text"], secret), ["status"], "amended")
    wrong["subject"] = {"display": secret}
    wrong["code"]["coding"] = [{"system": "urn:" + secret, "code": secret}]
    wrong["meta"] = {"profile": ["http://x.example/" + secret]}
    wrong["extension"] = [{"url": "http://x.example/" + secret, "valueCode": secret}]
    issues = profiles().check(wrong, [BASE + "lab"])
    assert len(issues) > 4
    assert not any(secret in str(issue) for issue in issues)
