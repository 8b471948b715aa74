"""Search parameters: what is understood becomes clauses, what is not is refused by name (R4 search.html)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store.search import Clause, Include, SearchQuery, Sort
from hdg.usage.fhir_api import parameters
from hdg.usage.fhir_api.parameters import Limits, parse, supported
from hdg.usage.fhir_api.results import TOTAL_MAX

LIMITS = Limits(page_default=50, page_max=1000, base_url="https://gateway.example/fhir")


def clauses(resource_type, *pairs):
    return parse(resource_type, list(pairs), LIMITS).clauses


def test_a_search_without_parameters_takes_the_defaults():
    assert parse("Patient", [], LIMITS) == SearchQuery("Patient", (), 50, "", total_max=TOTAL_MAX)


def test_a_parameter_becomes_a_clause_with_its_kind_modifier_and_alternatives():
    assert clauses("Observation", ("code", "http://loinc.org|718-7,718-8"), ("date", "ge2020")) == (
        Clause("code", "token", "", ("http://loinc.org|718-7", "718-8")),
        Clause("date", "date", "", ("ge2020",)),
    )
    assert clauses("Patient", ("name:exact", "Eve")) == (Clause("name", "string", "exact", ("Eve",)),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", "x"),
        ("name:loud", "x"),
        ("name:", "x"),
        ("gender:exact", "x"),
        ("subject.name", "x"),
        ("subject:Device.name", "x"),
        ("general-practitioner.colour", "x"),
        ("_has:Observation:patient:colour", "x"),
        ("_has:Observation:code:code", "x"),
        ("_has:Encounter:location:status", "x"),
        ("_has:Observation:patient", "x"),
        ("_sort", "near"),
        ("_include", "CarePlan:instantiates-canonical"),
        ("_has:CarePlan:instantiates-canonical:status", "x"),
        ("_sort:x", "name"),
        ("_revinclude:iterate", "*"),
        ("_include", "x"),
        ("_summary", "true"),
        ("near", "1|1"),
        ("_text", "x"),
    ],
)
def test_what_is_not_understood_is_refused_by_name_and_never_by_value(name, value):
    with pytest.raises(BadRequest) as caught:
        clauses("Patient", (name, value + "SECRET"))
    assert "SECRET" not in str(caught.value)
    assert caught.value.code == "not-supported"
    if not name.endswith(":"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_count", "many"),
        ("_count", "-1"),
        ("_count", "٣"),
        ("_count", "9" * 10),
        ("_total", "guess"),
        ("active:missing", "maybe"),
        ("name", ""),
        ("name", "a,,b"),
        ("name", ",".join("a" * 201)),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_without_repeating_it(name, value):
    with pytest.raises(BadRequest) as caught:
        clauses("Patient", (name, value))
    assert name in str(caught.value)
    assert not value or value not in str(caught.value)


def test_count_is_cut_to_the_most_and_may_not_be_given_twice():
    assert parse("Patient", [("_count", "100000")], LIMITS).count == 1000
    assert parse("Patient", [("_count", "0")], LIMITS).count == 0
    with pytest.raises(BadRequest, match="_count"):
        parse("Patient", [("_count", "1"), ("_count", "2")], LIMITS)


def test_total_none_asks_for_no_total():
    assert not parse("Patient", [("_total", "none")], LIMITS).with_total
    assert parse("Patient", [("_total", "accurate")], LIMITS).with_total


def test_all_are_counted_where_a_total_is_asked_for_and_else_so_many():
    for asked in ([("_total", "accurate")], [("_total", "estimate")], [("_count", "0")]):
        assert parse("Patient", asked, LIMITS).total_max is None
    for asked in ([], [("_count", "5")], [("gender", "female")]):
        assert parse("Patient", asked, LIMITS).total_max == TOTAL_MAX


def test_a_plus_that_became_a_space_in_a_time_zone_is_understood():
    (clause,) = clauses("Observation", ("date", "ge2020-01-01T10:00:00 02:00"))
    assert clause.values == ("ge2020-01-01T10:00:00+02:00",)


def test_references_below_our_own_base_are_made_relative():
    (clause,) = clauses("Observation", ("subject", "https://gateway.example/fhir/Patient/1,Patient/2"))
    assert clause.values == ("Patient/1", "Patient/2")


def test_a_reference_parameter_takes_its_target_types_as_modifiers_and_no_others():
    assert clauses("Observation", ("subject:Patient", "1"))[0].modifier == "Patient"
    with pytest.raises(BadRequest, match="subject:Medication"):
        clauses("Observation", ("subject:Medication", "1"))


def test_every_search_parameter_of_r4_is_supported():
    missing = {
        (resource_type, parameter.code)
        for resource_type in definitions.resource_types()
        for parameter in definitions.search_parameters(resource_type)
        if parameter.code not in supported(resource_type)
    }
    assert missing == set()


@pytest.mark.parametrize("name", ["_id:not", "_lastUpdated:not", "code-value-quantity:not"])
def test_parameters_take_only_their_own_modifiers(name):
    with pytest.raises(BadRequest, match=name):
        clauses("Observation", (name, "true"))


def test_a_sort_has_several_keys_each_with_a_direction():
    found = parse("Patient", [("_sort", "-_lastUpdated,family,-birthdate")], LIMITS).sort
    assert found == (
        Sort("_lastUpdated", "date", True),
        Sort("family", "string"),
        Sort("birthdate", "date", True),
    )


def test_a_chain_leads_over_each_type_that_knows_what_it_ends_in():
    (typed,) = clauses("Observation", ("subject:Patient.name:exact", "Eve"))
    assert typed == Clause(
        "subject", "chain", "", links=(("Patient", Clause("name", "string", "exact", ("Eve",))),)
    )
    (untyped,) = clauses("Observation", ("subject.identifier", "a"))
    assert {type_ for type_, _ in untyped.links} == {"Device", "Group", "Location", "Patient"}
    (deep,) = clauses("Observation", ("encounter.service-provider.name", "x"))
    assert deep.links[0][1].kind == "chain"
    (had,) = clauses("Patient", ("_has:Observation:patient:_has:DiagnosticReport:result:code", "x"))
    assert had.links[0][0] == "Observation"
    assert had.links[0][1].links[0][1] == Clause("code", "token", "", ("x",))


def test_includes_are_read_with_their_target_and_iteration():
    found = parse(
        "Observation",
        [
            ("_include", "Observation:subject:Patient"),
            ("_include:iterate", "Patient:organization"),
            ("_revinclude", "Provenance:target"),
            ("_include", "*"),
        ],
        LIMITS,
    ).includes
    assert found == (
        Include("Observation", "subject", "Patient"),
        Include("Patient", "organization", is_iterated=True),
        Include("Provenance", "target", is_reverse=True),
        Include("*", "*"),
    )


@given(
    st.lists(
        st.tuples(st.text(max_size=20) | st.sampled_from(sorted(supported("Patient"))), st.text(max_size=20))
    )
)
def test_any_pairs_give_a_query_or_a_bad_request(pairs):
    try:
        query = parse("Patient", pairs, LIMITS)
    except BadRequest:
        return
    assert len(query.clauses) <= len(pairs)


@pytest.mark.parametrize("steps", range(4, 9))
def test_a_chain_over_every_type_is_refused_before_all_of_it_is_tried(steps, monkeypatch):
    """Each step multiplied what was tried: half a second of the server's one event loop at eight."""
    tried = []
    whole = parameters._clause
    monkeypatch.setattr(parameters, "_clause", lambda *given: (tried.append(1), whole(*given))[1])
    with pytest.raises(BadRequest) as refused:
        parse("Observation", [(".".join(["focus"] * steps) + ".code", "x")], LIMITS)
    assert refused.value.code == "too-costly"
    assert len(tried) <= 2_002


def test_a_query_has_a_limited_number_of_chains_however_they_are_written():
    name = ("patient.name", "x")
    has = ("_has:Observation:derived-from:code", "x")
    assert parse("Observation", [name] * 20 + [has] * 12, LIMITS)
    for too_many in (
        [name] * 33,
        [has] * 33,
        [("derived-from:Observation.patient.name", "x")] * 17,
        [("_filter", " and ".join(['subject.name co "x"'] * 33))],
        [("_filter", " and ".join(['subject.name co "x"'] * 20)), *[name] * 20],
    ):
        with pytest.raises(BadRequest) as refused:
            parse("Observation", too_many, LIMITS)
        assert refused.value.code == "too-costly"
