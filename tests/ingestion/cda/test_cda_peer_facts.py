"""What the bench counts in other people's Bundles: a denial, an inversion and a loss are told apart."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from bench.cda import repeated, small_documents, whole_files
from bench.peers.cda.facts import Facts
from cda_documents import CONVERTER
from hdg.fhir import bundle

EXAMPLE = Path(__file__).parents[3] / "examples" / "ccd-summary.xml"
IMMUNIZATION = "immunization"


@pytest.fixture(scope="module")
def made():
    return bundle.transaction(CONVERTER.convert(EXAMPLE.read_bytes(), at_us=0).resources)


def facts_of(made):
    facts = Facts()
    facts.add(EXAMPLE.read_bytes(), made)
    return facts


def immunization(made):
    resources = [entry["resource"] for entry in made["entry"]]
    return next(one for one in resources if one["resourceType"] == "Immunization")


def test_what_the_converter_makes_of_the_example_denies_what_it_denies_and_keeps_every_coding(made):
    facts = facts_of(made)
    assert facts.negated[IMMUNIZATION, "denied"] == 1
    assert not [fate for _, fate in facts.negated if fate != "denied"]
    assert facts.stated["inverted"] == facts.stated["gone"] == 0
    assert facts.codings["kept"] == facts.codings["with system"] == facts.codings["there"] > 0
    assert (facts.documents, facts.wholly_valid, facts.dangling) == (1, 1, 0)


def test_a_refused_immunization_that_comes_out_as_given_is_inverted(made):
    other = deepcopy(made)
    immunization(other)["status"] = "completed"
    assert facts_of(other).negated[IMMUNIZATION, "inverted"] == 1


def test_an_immunization_that_does_not_come_out_is_gone(made):
    other = deepcopy(made)
    other["entry"] = [one for one in other["entry"] if one["resource"]["resourceType"] != "Immunization"]
    facts = facts_of(other)
    assert facts.negated[IMMUNIZATION, "gone"] == 1
    assert facts.codings["kept"] < facts.codings["there"]


def test_a_given_one_that_comes_out_as_refused_is_inverted_too(made):
    other = deepcopy(made)
    for entry in other["entry"]:
        if entry["resource"]["resourceType"] == "Condition":
            entry["resource"]["verificationStatus"] = {"coding": [{"code": "refuted"}]}
    assert facts_of(other).stated["inverted"] == 1


def test_another_name_of_a_code_system_keeps_the_code_alone(made):
    other = deepcopy(made)
    immunization(other)["vaccineCode"]["coding"][0]["system"] = "http://example.org/vaccines"
    facts = facts_of(other)
    assert facts.codings["with system"] < facts.codings["kept"] == facts.codings["there"]
    assert facts.negated[IMMUNIZATION, "denied"] == 1


def test_a_refused_document_loses_all_and_an_invalid_resource_is_named(made):
    facts = facts_of({"error": "no"})
    assert (facts.documents, facts.refusals["no"], facts.negated[IMMUNIZATION, "gone"]) == (0, 1, 1)
    other = deepcopy(made)
    del immunization(other)["status"]
    facts = facts_of(other)
    assert facts.wholly_valid == 0
    assert facts.problems["Immunization.status: a required element is missing"] == 1


def test_a_large_document_has_so_many_more_statements_than_a_small_one():
    small, large = (CONVERTER.convert(repeated(size), at_us=0) for size in (30_000, 90_000))
    counts = [sum(one["resourceType"] == "Condition" for one in found.resources) for found in (small, large)]
    assert counts[1] >= 3 * counts[0] > 3
    assert 85_000 < len(repeated(90_000)) < 95_000


def test_small_documents_and_those_of_a_folder_are_whole(tmp_path):
    for number, document in enumerate(small_documents()):
        (tmp_path / f"{number}.xml").write_bytes(document)
        assert CONVERTER.convert(document, at_us=0).patient_id is not None
    (tmp_path / "piece.xml").write_text("<section><!-- of a ClinicalDocument --></section>")
    assert [one.name for one in whole_files(tmp_path)] == [f"{n}.xml" for n in range(len(small_documents()))]
