"""One object: whole in the vault, once in the store, in the ledger, and in its ImagingStudy."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom.uid import EncapsulatedCDAStorage
from sqlalchemy import select, true
from sqlalchemy import text as sql

from cda_documents import document
from dicom_objects import image, part10, uid
from hdg.errors import VaultError
from hdg.fhir.json import loads
from hdg.ingestion.dicom.association_dimse import Status
from hdg.management.ledger.leaf import commit
from hdg.management.store import imaging as store
from hdg.management.store.imaging_schema import ImagingInstance
from hdg.management.store.writer import NotCommitted


def rows(site, **narrowed):
    return list(store.listed(site.gateway.store.engine, true(), hash_=site.imaging.hash, **narrowed))


@pytest.mark.parametrize("pixels", [512, 300_000, 3_000_000])
def test_an_object_comes_back_as_it_came_whatever_its_size(site, pixels) -> None:
    data = part10(image(pixels=random.Random(1).randbytes(pixels)))
    outcome = site.take(data)
    assert (outcome.status, outcome.sop_uid, outcome.study_uid) == (0, uid(1, 1, 1), uid(1))
    assert site.study()["numberOfInstances"] == 1
    (row,) = rows(site, study_uid=uid(1), series_uid=uid(1, 1), sop_uid=uid(1, 1, 1))
    assert (row.size, row.institution) == (len(data), "local")
    with site.gateway.store.reader.blob_open(row.blob) as source:
        assert source.read() == data
        source.seek(140)
        assert source.read(50) == data[140:190]
    assert len(site.vault_files()) == (1 if pixels > 262_144 else 0)


def test_what_is_searched_is_hashed_and_the_rest_is_sealed(site) -> None:
    site.take(part10(image(SeriesDescription="Thorax nativ")))
    with site.gateway.store.engine.connect() as connection:
        (row,) = connection.execute(select(ImagingInstance.__table__)).all()
    shown = repr(tuple(row)).encode()
    for secret in (uid(1), uid(1, 1, 1), "Doe", "4711", "Thorax"):
        assert secret.encode() not in shown


def test_the_ledger_commits_to_the_data_set_with_a_salt(site) -> None:
    data = part10(image())
    site.take(data)
    with site.gateway.store.engine.connect() as connection:
        leaves = [loads(bytes(row[0])) for row in connection.execute(sql("SELECT entry FROM ledger_leaf"))]
    (leaf,) = [leaf for leaf in leaves if leaf["kind"] == "object"]
    site.study()
    (row,) = rows(site)
    opened = site.gateway.store.reader.open_row(row.key_code, row.sealed, f"imaging_instance/{row.inkey}")
    start = 144 + int.from_bytes(data[140:144], "little")
    digest = hashlib.sha256(data[start:]).digest()
    assert leaf["key"] == f"Object/{row.blob}"
    assert leaf["subject"] == row.key_code
    assert leaf["commitment"] == commit(opened.salt, digest).hex()


def test_the_same_object_again_changes_nothing(site) -> None:
    for pixels in (bytes(512), bytes(400_000)):
        data = part10(image(len(pixels), pixels=pixels))
        first = site.take(data)
        files = site.vault_files()
        again = site.take(data)
        assert (first.status, first.is_repeat) == (0, False)
        assert (again.status, again.is_repeat) == (0, True)
        assert site.vault_files() == files
    assert len(site.study()["series"][0]["instance"]) == 2


def test_another_head_of_the_file_is_no_other_object(site) -> None:
    made = image()
    site.take(part10(made))
    made.file_meta.ImplementationVersionName = "OTHER"
    made.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    assert site.take(part10(made)).is_repeat


def test_another_object_under_a_known_uid_is_refused_and_the_first_is_kept(site) -> None:
    first = part10(image())
    site.take(first)
    for pixels in (b"\1" * 512, b"\1" * 400_000):
        assert site.take(part10(image(pixels=pixels))).status == Status.DUPLICATE
    assert site.study()["numberOfInstances"] == 1
    (row,) = rows(site)
    assert site.gateway.store.reader.blob(row.blob) == first
    assert site.vault_files() == []


def test_of_objects_that_claim_one_uid_at_the_same_moment_one_is_kept(site) -> None:
    for number, size in enumerate((512, 400_000, 512), 1):
        raced = [part10(image(number, pixels=bytes([filled]) * size)) for filled in (1, 1, 2, 3)]
        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(site.take, raced))
        kept = {data for data, outcome in zip(raced, outcomes, strict=True) if outcome.status == 0}
        assert len(kept) == 1
        assert {one.status for one in outcomes} - {0} <= {Status.DUPLICATE}
    assert site.study()["numberOfInstances"] == 3
    assert len(site.vault_files()) == 1


def test_what_one_institution_sent_is_nothing_to_the_objects_of_another(site) -> None:
    assert site.take(part10(image()), "north").status == 0
    assert site.take(part10(image(PatientName="Other^Name")), "south").status == 0
    site.imaging.studies.make_due()
    assert {row.institution for row in rows(site)} == {"north", "south"}
    assert len(site.all_of("ImagingStudy")) == 2


def test_a_study_is_one_resource_however_its_slices_are_shuffled(site) -> None:
    slices = [(series, number) for series in (1, 2, 3) for number in range(1, 21)]
    random.Random(7).shuffle(slices)
    for series, number in [*slices, *slices[:10]]:
        assert site.take(part10(image(number, series=series))).status == 0
    study = site.study()
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (3, 60)
    assert [len(one["instance"]) for one in study["series"]] == [20, 20, 20]
    assert study["meta"]["versionId"] == "1"
    assert len(site.all_of("Patient")) == 1


def test_slices_that_come_later_are_added(site) -> None:
    site.take(part10(image(1)))
    assert site.study()["numberOfInstances"] == 1
    site.take(part10(image(2)))
    study = site.study()
    assert (study["numberOfInstances"], study["meta"]["versionId"]) == (2, "2")


def test_the_worker_makes_studies_once_it_is_quiet_and_what_a_former_run_owed(make_site) -> None:
    first = make_site()
    for number in range(1, 4):
        first.take(part10(image(number)))
    first.gateway.close()  # as if killed: nothing was made
    second = make_site(first.folder)
    assert second.all_of("ImagingStudy") == []
    second.imaging.start()
    second.imaging.stop()
    (study,) = second.all_of("ImagingStudy")
    assert study["numberOfInstances"] == 3
    assert store.due(second.gateway.store.engine) == []


def test_a_slice_that_comes_while_its_study_is_made_is_not_lost(site) -> None:
    site.take(part10(image(1)))
    (due,) = store.due(site.gateway.store.engine)
    site.take(part10(image(2)))
    assert not site.imaging.studies.make(due)
    assert site.study()["numberOfInstances"] == 2


def test_what_is_no_object_of_use_is_refused_and_leaves_nothing(site) -> None:
    for data in (b"", b"abc", bytes(1_000), part10(image(SOPInstanceUID=None))[:300], bytes(500_000)):
        outcome = site.take(data)
        assert outcome.status in (Status.NOT_UNDERSTOOD, Status.NOT_OF_CLASS)
    assert site.vault_files() == []
    assert site.all_of("Patient") == []


def test_with_little_space_nothing_is_taken(make_site) -> None:
    site = make_site(min_free_bytes=1 << 60)
    assert site.take(part10(image())).status == Status.OUT_OF_RESOURCES
    assert site.vault_files() == []


def test_an_object_beyond_the_limit_is_refused_while_it_arrives(make_site) -> None:
    site = make_site(dicom_max_bytes=1_000_000)
    assert site.take(part10(image(pixels=bytes(2_000_000)))).status == Status.OUT_OF_RESOURCES
    assert site.vault_files() == []


def test_a_store_that_cannot_commit_is_no_success(make_site, monkeypatch) -> None:
    site = make_site()

    def fails(*_args, **_more):
        raise NotCommitted("no")

    monkeypatch.setattr(site.gateway.store, "submit", fails)
    assert site.take(part10(image())).status == Status.OUT_OF_RESOURCES
    assert site.take(part10(image(2, pixels=bytes(400_000)))).status == Status.OUT_OF_RESOURCES


def test_what_every_slice_says_of_its_patient_is_stated_once(site) -> None:
    for number in range(1, 6):
        site.take(part10(image(number)))
    assert len(site.all_of("Provenance")) == 1
    site.take(part10(image(6, PatientSex="M")))
    assert len(site.all_of("Provenance")) == 2
    assert site.all_of("Patient")[0]["gender"] == "male"


def cda(size: int):
    text = document("") + b" " * size
    made = image(1, sop_class=EncapsulatedCDAStorage, PixelData=None, Modality="DOC")
    made.EncapsulatedDocument = text + b"\0" * (len(text) % 2)
    made.MIMETypeOfEncapsulatedDocument = "text/XML"
    return part10(made)


@pytest.mark.parametrize("size", [0, 400_000])
def test_a_document_that_cannot_be_kept_is_no_success_and_loses_not_its_object(
    make_site, monkeypatch, size
) -> None:
    site = make_site()

    def fails(*_args):
        raise VaultError("no")

    with monkeypatch.context() as patched:
        patched.setattr(site.imaging._documents, "take_now", fails)
        assert site.take(cda(size)).status == Status.OUT_OF_RESOURCES
    site.study()
    (row,) = rows(site)
    assert site.gateway.store.reader.blob(row.blob) == cda(size)
    assert site.all_of("Composition") == []
    assert site.take(cda(size)).is_repeat
    assert len(site.all_of("Composition")) == 1
