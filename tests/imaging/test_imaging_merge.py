"""Slices that come after their patient's record was merged (A40): none is lost, none is shown under another record."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset

from dicom_objects import image, part10, uid
from stored import send

AUTHORITY = "^^^NORTHGEN&2.999.1.1&ISO"
OLD, NEW = "2", "1"


def merge(control: str) -> bytes:
    """A40: record 2 is merged into record 1."""
    segments = (
        f"MSH|^~\\&|LAB|NORTHGEN|HDG|REGION|20260314180000-0500||ADT^A40^ADT_A39|{control}|P|2.5.1",
        "EVN|A40|20260314180000-0500",
        f"PID|1||{NEW}{AUTHORITY}^MR||Doe^Jane||19700101|F",
        f"MRG|{OLD}{AUTHORITY}^MR",
    )
    return "\r".join(segments).encode() + b"\r"


def slice_of(number: int, record: str) -> bytes:
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "2.999.1.1", "ISO"
    made = image(number, patient=record, IssuerOfPatientIDQualifiersSequence=[issuer])
    return part10(made)


def studies(site) -> dict[str, dict[str, Any]]:
    """The ImagingStudies by the record number of their patients."""
    site.imaging.studies.make_due()
    records = {f"Patient/{one['id']}": one["identifier"][0]["value"] for one in site.all_of("Patient")}
    return {records[one["subject"]["reference"]]: one for one in site.all_of("ImagingStudy")}


def slices(study: dict[str, Any]) -> set[str]:
    return {instance["uid"] for series in study["series"] for instance in series["instance"]}


def test_a_slice_under_the_old_record_joins_the_others_and_the_link_stays(site) -> None:
    assert site.take(slice_of(1, OLD), "northgen").status == 0
    studies(site)
    send(site.gateway, merge("M1"))
    assert site.take(slice_of(2, OLD), "northgen").status == 0
    found = studies(site)
    assert len(site.all_of("Patient")) == 2
    assert slices(found[OLD]) == {uid(1, 1, 1), uid(1, 1, 2)}
    assert found[OLD]["numberOfInstances"] == 2
    patients = {one["identifier"][0]["value"]: one for one in site.all_of("Patient")}
    assert [link["type"] for link in patients[OLD]["link"]] == ["replaced-by"]
    assert [link["type"] for link in patients[NEW]["link"]] == ["replaces"]
    assert patients[OLD]["active"] is False


@pytest.mark.parametrize("is_merged_first", [False, True])
def test_a_slice_under_the_new_record_is_a_study_of_that_record(site, is_merged_first: bool) -> None:
    if is_merged_first:
        send(site.gateway, merge("M1"))
    assert site.take(slice_of(1, OLD), "northgen").status == 0
    studies(site)
    if not is_merged_first:
        send(site.gateway, merge("M1"))
    assert site.take(slice_of(2, NEW), "northgen").status == 0
    found = studies(site)
    assert slices(found[OLD]) == {uid(1, 1, 1)}
    assert slices(found[NEW]) == {uid(1, 1, 2)}
    assert found[OLD]["identifier"][0] == found[NEW]["identifier"][0]
    assert found[OLD]["id"] != found[NEW]["id"]


def test_a_slice_that_comes_again_under_the_new_record_is_refused_and_the_first_stays(site) -> None:
    """Another data set under one SOP Instance UID: the archive that merged sends what it has changed."""
    assert site.take(slice_of(1, OLD), "northgen").status == 0
    send(site.gateway, merge("M1"))
    assert site.take(slice_of(1, NEW), "northgen").status == 0x0111
    assert set(studies(site)) == {OLD}
