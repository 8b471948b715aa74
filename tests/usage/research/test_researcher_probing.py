"""What a researcher may not ask is refused by name, in every place of a query (docs/access-policy.md, "Researchers").

Generated from R4's own list of search parameters, so that a parameter that comes anew is asked about as well.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest

from hdg.errors import AccessDenied, BadRequest
from hdg.fhir import definitions
from hdg.management.store.search import Clause, SearchQuery
from hdg.usage.fhir_api.parameters import MODIFIERS, Limits, is_followed, parse, supported
from hdg.usage.research.elements import SHOWN
from hdg.usage.research.questions import Question, names_in, rule, translated

LIMITS = Limits(page_default=50, page_max=1000, base_url="https://gateway.example/fhir")
NOWHERE = Question({})
VALUES = {
    "token": "x",
    "string": "x",
    "uri": "urn:x",
    "date": "2020",
    "number": "1",
    "quantity": "5|http://unitsofmeasure.org|mg",
    "reference": "Patient/x",
    "composite": "x$x",
    "special": "x",
}
MODIFIED = {
    "above", "below", "in", "not-in", "not", "text", "exact", "contains", "missing", "identifier", "of-type",
    "iterate", "code-text", "text-advanced", *{name for names in MODIFIERS.values() for name in names},
}  # fmt: skip


def words(text):
    return text.split()


FORBIDDEN = {
    "Patient": words("""name family given phonetic identifier birthdate death-date address address-city address-country
        address-postalcode address-state address-use telecom phone email language general-practitioner organization
        _lastUpdated _tag _security _profile _source _text _content _list _filter _query _has"""),
    "Observation": words("""date value-date value-string identifier device code-value-quantity combo-code-value-quantity
        component-code-value-quantity code-value-date code-value-string code-value-concept _lastUpdated"""),
    "Condition": words("""onset-age onset-date onset-info abatement-age abatement-date abatement-string recorded-date
        identifier"""),
    "Encounter": words(
        "date identifier length location location-period participant practitioner service-provider"
    ),
    "AllergyIntolerance": words("date last-date onset identifier"),
    "DiagnosticReport": words("date issued identifier performer results-interpreter"),
    "Medication": words("identifier lot-number expiration-date manufacturer"),
}


def refusal(resource_type, *pairs, types=()):
    """Why the query is refused; '' if it is not."""
    try:
        names_in(parse(resource_type, list(pairs), LIMITS, types=types))
    except (AccessDenied, BadRequest) as error:
        return str(error)
    return ""


def asked_anyhow(type_, code):
    """Queries that ask for a parameter with each of its modifiers, and without."""
    kind = supported(type_).get(code, "string")
    yield code, VALUES[kind]
    for modifier in sorted(MODIFIED | {"Patient"}):
        yield f"{code}:{modifier}", "true" if modifier == "missing" else VALUES[kind]


@cache
def ways_to(type_):
    """(type, reference parameter) that researchers may follow to a type."""
    return [
        (source, parameter.code)
        for source in sorted(SHOWN)
        for parameter in definitions.search_parameters(source)
        if rule(source, parameter.code)
        and is_followed(source, parameter.code)
        and (not parameter.targets or type_ in parameter.targets)
    ]


@cache
def ways_from(type_):
    """(reference parameter, target type) of a type, any that R4 follows."""
    return [
        (parameter.code, target)
        for parameter in definitions.search_parameters(type_)
        if is_followed(type_, parameter.code)
        for target in (parameter.targets or ("Patient",))
        if target in SHOWN
    ]


@pytest.mark.parametrize("type_", sorted(definitions.resource_types()))
def test_a_parameter_that_is_not_allowed_is_refused_in_every_place(type_):
    refused = [p.code for p in definitions.search_parameters(type_) if rule(type_, p.code) is None]
    assert refused
    if type_ not in SHOWN:
        assert len(refused) == len(definitions.search_parameters(type_))
    for code in refused:
        for name, value in asked_anyhow(type_, code):
            plain = refusal(type_, (name, value))
            assert code in plain, (type_, name)
            for source, reference in ways_to(type_)[:2]:
                assert refusal(source, (f"{reference}:{type_}.{name}", value)), (source, name)
            for reference, target in ways_from(type_)[:1]:
                assert refusal(target, (f"_has:{type_}:{reference}:{name}", value)), (target, name)
        if supported(type_).get(code) == "reference":
            for include in ("_include", "_include:iterate"):
                assert refusal(type_, (include, f"{type_}:{code}")), code
            for target in ("Patient", "Observation"):
                assert refusal(target, ("_revinclude", f"{type_}:{code}")), code


@pytest.mark.parametrize("type_", sorted(SHOWN))
def test_nothing_is_sorted_by_and_no_wildcard_brings_along(type_):
    for parameter in definitions.search_parameters(type_):
        for text in (parameter.code, f"-{parameter.code}"):
            assert "_sort" in refusal(type_, ("_sort", text)), text
    for include in (("_include", "*"), ("_include", f"{type_}:*"), ("_revinclude", f"{type_}:*")):
        assert refusal(type_, include)


def paths_of(expression):
    """The elements that an expression names, without their types."""
    plain = re.sub(r"\.where\(resolve\(\) is \w+\)|\.as\(\w+\)| as \w+|[() ]", "", expression)
    return plain.split("|")


@pytest.mark.parametrize("type_", sorted(SHOWN))
def test_what_is_allowed_is_a_code_a_reference_or_an_amount_and_takes_few_modifiers(type_):
    allowed = [p for p in definitions.search_parameters(type_) if rule(type_, p.code) is not None]
    assert {p.kind for p in allowed} <= {"token", "reference", "quantity"}
    for path in (
        path for p in allowed if p.code not in ("_id", "deceased") for path in paths_of(p.expression)
    ):
        assert path in SHOWN[type_], path
    for parameter in allowed:
        kind = "token" if parameter.code == "_id" else parameter.kind
        names = {"token": {"not"}, "reference": {"Patient"}}.get(kind, set())
        for name, value in asked_anyhow(type_, parameter.code):
            modifier = name.partition(":")[2]
            if modifier and modifier not in names:
                assert refusal(type_, (name, value)), name


@pytest.mark.parametrize(("type_", "code"), [(t, code) for t, codes in FORBIDDEN.items() for code in codes])
def test_these_are_never_allowed(type_, code):
    assert rule(type_, code) is None
    assert refusal(type_, (code, "1|http://unitsofmeasure.org|a"))


def test_useful_questions_remain():
    for type_, name, value in (
        ("Patient", "gender", "female"),
        ("Patient", "gender:not", "female"),
        ("Patient", "deceased", "true"),
        ("Observation", "code", "http://loinc.org|718-7"),
        ("Observation", "code", "718-7"),
        ("Observation", "value-quantity", "gt5|http://unitsofmeasure.org|g/dL"),
        ("Observation", "subject:Patient.gender", "female"),
        ("Observation", "subject.gender", "female"),
        ("Patient", "_has:Condition:subject:code", "http://snomed.info/sct|44054006"),
        ("Condition", "encounter.class", "http://terminology.hl7.org/CodeSystem/v3-ActCode|IMP"),
        ("MedicationRequest", "_include", "MedicationRequest:medication"),
    ):
        assert refusal(type_, (name, value)) == "", name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("code", "|718-7"),  # a code without a system is not shown
        ("code", "http://loinc.org|"),  # finds hidden codes of the system, too
        ("value-quantity", "5"),
        ("value-quantity", "5||mg"),
        ("value-quantity", "5|urn:local|mg"),
        ("value-quantity", "5|http://unitsofmeasure.org|{secret}"),
        *(
            ("value-quantity", f"gt89|http://unitsofmeasure.org|{unit}")
            for unit in (
                "a",
                "mo",
                "wk",
                "d",
                "h",
                "min",
                "s",
                "Gs",
                "10*3.d",
                "Hz-1",
                "m.s/m",
                "/Hz",
                "1/(/s)",
            )
        ),
    ],
)
def test_values_that_reach_beyond_what_is_shown_are_refused(name, value):
    assert name in refusal("Observation", (name, value))


def one(type_, name, value):
    (clause,) = translated(parse(type_, [(name, value)], LIMITS), NOWHERE).clauses
    return clause.values


def test_codes_that_are_not_shown_are_nobody_s():
    nobody = one("Patient", "_id", "ann")
    assert len(nobody[0]) == 64
    for type_, name, value in (
        ("Patient", "_id", "0" * 32),
        ("Patient", "gender", "MRN-1"),
        ("Patient", "gender", "http://hl7.org/fhir/observation-status|female"),
        ("Patient", "active", "yes"),
        ("Observation", "code", "urn:local|MRN-1"),
        ("Observation", "code", "MRN-1"),
        ("Observation", "code", "http://loinc.org|718-8"),  # not its check digit
        ("Observation", "subject", "Patient/ann"),
        ("Observation", "subject:Patient", "ann"),
        ("Observation", "subject", "https://elsewhere.example/Patient/1"),
        ("Observation", "patient", "urn:uuid:1"),
    ):
        assert one(type_, name, value) == nobody, (name, value)
    assert one("Observation", "code", "718-7") == ("http://loinc.org|718-7",)
    assert one("Patient", "gender", "female") == ("female",)
    assert one("Patient", "gender", "http://hl7.org/fhir/administrative-gender|female") == ("female",)


def test_codes_without_a_system_cannot_become_endless():
    codes = [chr(65 + number) + suffix for number in range(26) for suffix in ("", "1")]
    refused = refusal("Observation", *[(code, ",".join(codes)) for code in ("code", "category", "method")])
    assert "too many values" in refused or "system" in refused


def test_a_kind_of_query_that_is_not_known_is_refused():
    for kind in ("chain", "has", "list", "string", "date", "new"):
        with pytest.raises(AccessDenied):
            names_in(SearchQuery("Patient", (Clause("gender", kind, "", ("female",)),)))
    for change in (
        {"places": ((1, ""),)},
        {"parts": ("token",)},
        {"codes": ()},
        {"links": (("Patient", ()),)},
    ):
        with pytest.raises(AccessDenied):
            names_in(SearchQuery("Patient", (replace(Clause("gender", "token", "", ("female",)), **change),)))
    with pytest.raises(AccessDenied):
        names_in(SearchQuery("Patient", custom=(1,)))
    with pytest.raises(AccessDenied):
        names_in(SearchQuery("Patient", compartment="Practitioner/x"))
    with pytest.raises(AccessDenied):
        names_in(SearchQuery("", (Clause("_lastUpdated", "date", "", ("gt2020",)),), types=("Patient",)))
