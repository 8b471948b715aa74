"""What the helper process sends back: an outcome is read as it was, and nothing else is taken for one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from case_pairs import CASES, names_of
from hdg.errors import Hl7v2Error, Issue
from hdg.fhir.canonical import canonical_bytes
from hdg.ingestion.converted import Converted, Defaulted, Deletion, Source
from hdg.ingestion.hl7v2.convert import Converter
from hdg.management.store.index import Indexer
from hdg.management.store.ready import ready
from hdg.management.store.values import hasher
from hdg.outcomes import opened, packed

FAMILIES = sorted(path.name for path in CASES.iterdir() if path.is_dir())
CONVERTER = Converter(id_key=b"i" * 32)
INDEXER = Indexer(hasher(b"k" * 32))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_outcome_is_read_as_it_was(family: str) -> None:
    for name in names_of(family):
        try:
            converted = CONVERTER.convert((CASES / f"{name}.hl7").read_bytes(), at_us=1)
        except Hl7v2Error:
            continue
        made = [ready(resource, INDEXER) for resource in converted.resources]
        found, read = opened(packed(converted, made))
        assert found == replace(converted, resources=())
        assert read == made
        for one, resource in zip(read, converted.resources, strict=True):
            rows = INDEXER.rows(resource, 7)
            assert canonical_bytes(one.resource()) == canonical_bytes(resource)
            assert one.rows(7).tables == rows.tables
            assert one.rows(7).patients == rows.patients


def test_every_field_of_a_conversion_goes_over() -> None:
    source = Source("hl7v2", "A|B", "b", "C\udc80", "ADT^A01", "00", 12)
    converted = Converted(
        source,
        (),
        deletions=(Deletion("Patient", "a", "birthDate"),),
        defaulted=(Defaulted("Encounter", "b", "status"),),
        moved=(("Encounter", "b"),),
        issues=(Issue("warning", "structure", "ZZZ[2]", "text"),),
        patient_id="a",
        mapping_digest="ff",
    )
    assert opened(packed(converted, [])) == (converted, [])


def test_digests_tell_contents_apart_to_the_digit_and_do_not_see_what_the_store_adds() -> None:
    patient = {"resourceType": "Patient", "id": "a", "active": True}
    stored = {**patient, "meta": {"versionId": "7", "lastUpdated": "2026-01-01T00:00:00Z"}}
    others = (
        {**patient, "id": "b"},
        {**patient, "active": False},
        {**patient, "resourceType": "Person"},
        {**patient, "meta": {"source": "x"}},
    )
    assert ready(stored, INDEXER).digest == ready(patient, INDEXER).digest
    assert len({ready(resource, INDEXER).digest for resource in (patient, *others)}) == 5


@pytest.mark.parametrize("data", [b"", b"ready", b"\x00", b"(\x00\x00\x00\x00"])
def test_what_is_no_outcome_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, EOFError, TypeError)):
        opened(data)
