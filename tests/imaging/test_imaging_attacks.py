"""Images under attack on their way in: studies that cannot be made, archives with the same numbers, defects logged."""

from __future__ import annotations

import logging
import socket
import threading
import time

import pytest
from test_pull import Archive

from dicom_objects import image, part10, uid
from hdg import imaging, imaging_studies
from hdg.ingestion.dicom.association import Association, Limits, Peer
from hdg.pull import Criteria, by_dicomweb


def test_a_study_that_cannot_be_made_keeps_no_other_out(site, monkeypatch) -> None:
    for number in (1, 2, 3):
        site.take(part10(image(study=number)))
    made = imaging_studies.imaging_study

    def failing(facts):
        facts = list(facts)
        if facts[0].study_uid == uid(1):
            raise ValueError("Doe")
        return made(facts)

    monkeypatch.setattr(imaging_studies, "imaging_study", failing)
    with pytest.raises(ValueError, match="Doe"):
        site.imaging.studies.make_due()
    found = {one["identifier"][0]["value"] for one in site.all_of("ImagingStudy")}
    assert found == {f"urn:oid:{uid(2)}", f"urn:oid:{uid(3)}"}
    site.imaging.start()
    site.imaging.stop()
    monkeypatch.setattr(imaging_studies, "imaging_study", made)
    site.imaging.studies.make_due()
    assert len(site.all_of("ImagingStudy")) == 3


def test_one_number_in_two_archives_is_two_patients(make_site) -> None:
    """A number without an issuer means somebody within its archive only."""
    site, archives = make_site(), [Archive(), Archive()]
    try:
        for number, (archive, name) in enumerate(zip(archives, ("Doe^Jane", "Roe^Richard"), strict=True)):
            archive.studies[uid(number)] = [part10(image(study=number, PatientName=name))]
            (one,) = by_dicomweb(archive.url, Criteria((uid(number),), {}), {}, site.imaging)
            assert one.stored == 1
    finally:
        for archive in archives:
            archive.server.shutdown()
            archive.server.server_close()
    patients = site.all_of("Patient")
    assert sorted(one["name"][0]["family"] for one in patients) == ["Doe", "Roe"]


class _Broken:
    """A provider with a defect whose text has a value in it."""

    def refusal(self, peer):
        raise ValueError("Doe^Jane")

    def ended(self, association):
        """Nothing."""


def test_a_defect_is_logged_by_its_place_and_never_by_its_text(caplog, monkeypatch) -> None:
    from hdg.ingestion.dicom import association
    from hdg.ingestion.dicom import association_pdu as pdu

    monkeypatch.setattr(association, "_QUICKACK", 0)
    ours, theirs = socket.socketpair()
    body = (1).to_bytes(2, "big") + bytes(2) + b"HDG".ljust(16) + b"CT".ljust(16) + bytes(32)
    theirs.sendall(bytes((pdu.ASSOCIATE_RQ, 0)) + len(body).to_bytes(4, "big") + body)
    with caplog.at_level(logging.DEBUG), ours, theirs:
        Association(ours, lambda request: Peer(request.calling, "", ""), _Broken(), Limits()).run()
    assert "ValueError" in caplog.text
    assert "Doe" not in caplog.text


def test_few_headers_of_large_objects_are_read_at_a_time(make_site, monkeypatch) -> None:
    """Each may hold long sequences."""
    lock, under_way, most = threading.Lock(), [0], [0]
    original = imaging.read_header

    def counted(source):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        try:
            return original(source)
        finally:
            with lock:
                under_way[0] -= 1

    monkeypatch.setattr(imaging, "read_header", counted)
    site = make_site(inline_blob_bytes=1000)
    threads = [
        threading.Thread(target=site.take, args=(part10(image(number, pixels=bytes(4000))),))
        for number in range(1, 13)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert most[0] <= 4
    assert site.study()["numberOfInstances"] == 12
