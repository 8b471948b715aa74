"""One ImagingStudy out of many instances, whatever their order and however often they come."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_headers import code, obj
from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.ingestion.dicom.convert import Converter
from hdg.ingestion.dicom.gather import Gathering
from hdg.ingestion.dicom.header import read_header
from hdg.ingestion.dicom.study import InstanceFacts, facts_of, imaging_study

CONVERTER = Converter(id_key=PUBLIC_KEY)


def facts(number=1, series=1, **attributes):
    sop = f"1.2.826.1.{series}.{number}"
    usual = {"SeriesInstanceUID": f"1.2.826.1.{series}", "SOPInstanceUID": sop, "SeriesNumber": str(series)}
    data = obj(**{**usual, "InstanceNumber": str(number), **attributes})
    found = facts_of(CONVERTER.convert(read_header(data), at_us=0))
    assert found is not None
    return found


def test_a_ct_of_1000_slices_is_one_study_with_right_counts_however_shuffled():
    one = facts(1, 1, StudyDescription="Chest")
    text = one.statement
    instances = [
        dataclasses.replace(
            one,
            series_uid=f"1.2.826.1.{series}",
            sop_uid=f"1.2.826.1.{series}.{number}",
            statement=text.replace('"1.2.826.1.1.1"', f'"1.2.826.1.{series}.{number}"')
            .replace('"1.2.826.1.1"', f'"1.2.826.1.{series}"')
            .replace('"number":1,"sopClass"', f'"number":{number},"sopClass"'),
        )
        for series in (1, 2)
        for number in range(1, 501)
    ]
    expected, issues = imaging_study(instances)
    assert (expected["numberOfSeries"], expected["numberOfInstances"]) == (2, 1000)
    assert [one["numberOfInstances"] for one in expected["series"]] == [500, 500]
    assert [one["number"] for one in expected["series"][0]["instance"]] == list(range(1, 501))
    assert not issues
    assert not validate(expected)
    for seed in range(3):
        shuffled = instances + random.Random(seed).sample(instances, 100)
        random.Random(seed).shuffle(shuffled)
        assert dumps(imaging_study(shuffled)[0]) == dumps(expected)


POOL = [
    facts(1, 1),
    facts(2, 1, SeriesDescription="A"),
    facts(3, 1, SeriesDescription="B"),
    facts(3, 1, SeriesDescription="B", InstanceNumber="4"),
    facts(1, 2, Modality="SR", StudyDescription="x", AccessionNumber="7"),
    facts(2, 2, Modality="SR", StudyDescription="y", StudyTime="020000"),
    facts(1, 3, ProcedureCodeSequence=[code("1", "LN", "one")], StudyTime=None),
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(POOL), min_size=1, max_size=12), st.randoms())
def test_any_order_and_any_duplicates_give_the_same_bytes(instances, rng):
    made, issues = imaging_study(instances)
    again = [*instances, rng.choice(instances)]
    rng.shuffle(again)
    other, other_issues = imaging_study(again)
    assert dumps(other) == dumps(made)
    assert other_issues == issues
    assert made["numberOfInstances"] == len({one.sop_uid for one in instances})
    assert made["numberOfSeries"] == len({one.series_uid for one in instances})
    assert not validate(made)


def test_contradictions_are_settled_by_the_majority_and_the_earliest_start_and_are_reported():
    made, issues = imaging_study(
        [
            facts(1, 1, StudyDescription="a", StudyTime="030000"),
            facts(2, 1, StudyDescription="b", StudyTime="020000"),
            facts(3, 1, StudyDescription="b", StudyTime="040000"),
        ]
    )
    assert made["description"] == "b"
    assert made["started"] == "2026-01-02T02:00:00+01:00"
    assert {issue.place for issue in issues} == {"ImagingStudy.description", "ImagingStudy.started"}
    assert all(issue.text != "a" for issue in issues)


def test_modalities_and_accession_numbers_of_all_instances_are_united():
    made, _ = imaging_study([facts(1, 1, Modality="CT"), facts(1, 2, Modality="SR", AccessionNumber="7")])
    assert [one["code"] for one in made["modality"]] == ["CT", "SR"]
    assert made["identifier"][0]["system"] == "urn:dicom:uid"
    assert made["basedOn"][0]["identifier"]["value"] == "7"


def test_objects_of_two_patients_under_one_study_uid_are_two_studies():
    one, other = facts(1, 1), facts(2, 1, PatientID="4712")
    assert one.study_id != other.study_id
    with pytest.raises(ValueError, match="one study"):
        imaging_study([one, other])


def test_facts_go_to_json_and_back():
    one = facts(1, 1, StudyDescription="Thorax — 胸")
    assert InstanceFacts(**json.loads(json.dumps(dataclasses.asdict(one)))) == one


def test_no_instance_is_no_study():
    with pytest.raises(ValueError, match="one or more"):
        imaging_study([])


def test_what_the_objects_of_a_study_tell_of_others_is_there_once():
    gathering = Gathering(PUBLIC_KEY)
    datas = [
        obj(SOPInstanceUID=f"1.2.826.1.1.{n}", Manufacturer="ACME", OtherPatientIDs=str(n), PatientSex=sex)
        for n, sex in ((1, "F"), (2, "F"), (3, "M"))
    ]
    for data in datas:
        gathering.add(CONVERTER.convert(read_header(data), at_us=0))
    (made,) = gathering.studies()
    kinds = [one["resourceType"] for one in made.resources]
    assert sorted(kinds) == ["Device", "ImagingStudy", "Patient", "Provenance"]
    patient, study, *_, provenance = made.resources
    assert study["numberOfInstances"] == 3
    assert [one["value"] for one in patient["identifier"]] == ["4711", "1", "2", "3"]
    assert patient["gender"] == "female"
    assert [issue.place for issue in made.issues] == ["Patient.gender"]
    assert len(provenance["entity"]) == 3
    assert all(not validate(one) for one in made.resources)


def test_facts_of_one_header_are_the_same_each_time():
    assert canonical_bytes(json.loads(facts(5, 2).statement)) == canonical_bytes(
        json.loads(facts(5, 2).statement)
    )
