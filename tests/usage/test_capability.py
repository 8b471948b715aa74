"""The CapabilityStatement says what the code does, and is valid R4 (R4 capabilitystatement.html)."""

from __future__ import annotations

import pytest

from hdg.fhir import definitions
from hdg.management.consent.policy import load_policy
from hdg.usage.fhir_api.capability import INTERACTIONS, SYSTEM, UNVERSIONED, WRITES, capability_statement
from hdg.usage.fhir_api.openapi import openapi
from hdg.usage.fhir_api.parameters import supported


@pytest.fixture(scope="module")
def statement():
    return capability_statement("https://gateway.example/fhir", 1_700_000_000_000_000, load_policy())


def test_the_statement_is_valid(statement):
    from hdg.fhir.validate import validate

    assert validate(statement) == []


def test_the_statement_lists_every_type_with_its_interactions_and_parameters(statement):
    listed = {resource["type"]: resource for resource in statement["rest"][0]["resource"]}
    assert [one["code"] for one in statement["rest"][0]["interaction"]] == [*SYSTEM]
    assert listed.keys() == definitions.resource_types()
    for name, resource in listed.items():
        expected = UNVERSIONED if name == "AuditEvent" else (*INTERACTIONS, *WRITES)
        assert tuple(interaction["code"] for interaction in resource["interaction"]) == expected
        assert {one["name"]: one["type"] for one in resource["searchParam"]} == supported(name)


def test_the_statement_says_how_audit_events_are_found_and_that_nothing_leads_to_them(statement):
    listed = {resource["type"]: resource for resource in statement["rest"][0]["resource"]}
    event = listed["AuditEvent"]
    assert (event["versioning"], event["readHistory"], event["updateCreate"]) == ("no-version", False, False)
    assert not event.keys() & {"searchInclude", "searchRevInclude", "operation", "conditionalRead"}
    said = {one["name"]: one.get("documentation", "") for one in event["searchParam"]}
    assert said["action"] == "Modifiers: :missing, :not"
    assert {"patient", "date", "agent", "entity", "outcome", "subtype", "policy"} <= said.keys()
    others = [one for name, one in listed.items() if name != "AuditEvent"]
    assert not any(one.startswith("AuditEvent:") for other in others for one in other["searchRevInclude"])


def test_the_openapi_description_names_every_route_once():
    assert set(openapi()["paths"]) == {
        "/fhir",
        "/fhir/metadata",
        "/fhir/_search",
        "/fhir/{type}",
        "/fhir/{type}/_search",
        "/fhir/{type}/{id}",
        "/fhir/_history",
        "/fhir/{type}/_history",
        "/fhir/Subscription/$status",
        "/fhir/Subscription/{id}/$status",
        "/fhir/Subscription/{id}/$events",
        "/fhir/Subscription/{id}/$resend",
        "/fhir/Subscription/$get-ws-binding-token",
        "/fhir/Subscription/{id}/$get-ws-binding-token",
        "/fhir/{type}/$lastn",
        "/fhir/{type}/$validate",
        "/fhir/{type}/{id}/$validate",
        "/fhir/{type}/{id}/$everything",
        "/fhir/{type}/{id}/$meta",
        "/fhir/{type}/{id}/$meta-add",
        "/fhir/{type}/{id}/$meta-delete",
        "/fhir/{type}/{id}/_history",
        "/fhir/{type}/$stats",
        "/fhir/{type}/$document",
        "/fhir/{type}/{id}/$document",
        "/ingest/hl7v2",
        "/ingest/cda",
        "/ingest/hl7v3",
        "/ingest/device",
        "/dicomweb/studies",
        "/dicomweb/studies/{study}",
        "/fhir/{type}/{id}/$ccd",
        "/fhir/{type}/{id}/{target}",
        "/fhir/{type}/{id}/{target}/_search",
        "/fhir/{type}/{id}/_history/{version}",
        "/ledger/checkpoint",
        "/ledger/proof",
        "/healthz",
        "/readyz",
    }


def test_the_openapi_description_names_every_format_that_the_statement_names(statement):
    rest = {name for name in statement["format"] if "/" in name}
    patch = set(statement["patchFormat"])
    for path, item in openapi()["paths"].items():
        for method in {"get", "post", "put", "patch"} & item.keys() if path.startswith("/fhir") else ():
            answers = {media.partition(";")[0] for media in item[method]["responses"]["200"]["content"]}
            assert answers == ({"application/hl7-cda+xml"} if path.endswith("$ccd") else rest), path
            body = item[method].get("requestBody", {"content": {}})["content"]
            taken = {media.partition(";")[0] for media in body}
            forms = {"application/x-www-form-urlencoded"}
            assert taken in ((patch,) if method == "patch" else (rest, forms, set())), (method, path)


def test_the_statement_names_the_modifiers_of_each_parameter(statement):
    listed = {resource["type"]: resource for resource in statement["rest"][0]["resource"]}

    def said(type_, code):
        (one,) = [one for one in listed[type_]["searchParam"] if one["name"] == code]
        return one["documentation"].removeprefix("Modifiers: ").split(", ")

    coded = [":above", ":below", ":in", ":missing", ":not", ":not-in"]
    assert said("Condition", "code") == [*coded, ":text"]
    assert said("Condition", "identifier") == [":missing", ":not", ":of-type", ":text"]
    assert said("Encounter", "status") == coded
    assert said("Patient", "active") == [":missing", ":not"]
    assert said("Condition", "subject") == [":identifier", ":missing", ":[type]"]
    assert said("CarePlan", "instantiates-canonical") == [":missing", ":[type]"]
    assert said("ValueSet", "url") == [":above", ":below", ":missing"]
    assert said("Patient", "_id") == [":missing"]
    assert [one["name"] for one in statement["rest"][0]["searchParam"]] == ["_list", "_filter"]
