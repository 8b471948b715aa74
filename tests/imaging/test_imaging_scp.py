"""Associations: with pynetdicom as the other side, and with bytes that no decent side would send."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    CTImageStorage,
    EncapsulatedCDAStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from certificates import Authority
from dicom_objects import Refusals, associated, image, part10, uid
from dicom_wire import connected, store_command
from hdg.ingestion.dicom import association_dimse as dimse
from hdg.ingestion.dicom import association_pdu as pdu
from hdg.ingestion.dicom.association import Limits
from hdg.ingestion.dicom.scp import Listener, is_storage
from hdg.ingestion.dicom.scu import own_handlers
from hdg.ingestion.hl7v2.mllp_tls import server_context, subject_of
from hdg.settings import DicomPeer
from receiver import until

PRIVATE = "1.3.12.2.1107.5.9.1"


def test_echo_and_store_are_answered_after_the_commit(site) -> None:
    with associated(site.address, Verification, CTImageStorage) as association:
        assert association.send_c_echo().Status == 0
        for number in (1, 2):
            assert association.send_c_store(image(number)).Status == 0
        assert association.send_c_store(image(1)).Status == 0
        assert association.send_c_store(image(1, pixels=b"\1" * 512)).Status == 0x0111
        assert association.send_c_store(image(3, pixels=bytes(2_000_000))).Status == 0
    assert site.study()["numberOfInstances"] == 3


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSLossless]
)
def test_every_transfer_syntax_is_taken_and_kept(make_site, syntax) -> None:
    site = make_site()
    made = image(syntax=syntax)
    if syntax == JPEGLSLossless:
        made.PixelData = encapsulate([b"abcd"])
        made["PixelData"].VR = "OB"
        made["PixelData"].is_undefined_length = True
    entity = AE()
    entity.add_requested_context(CTImageStorage, syntax)
    host, port = site.address.split(":")
    association = entity.associate(host, int(port), evt_handlers=own_handlers())
    assert association.send_c_store(dcmread(BytesIO(part10(made)))).Status == 0
    association.release()
    study = site.study()
    assert study["numberOfInstances"] == 1


def test_every_storage_class_of_the_standard_is_taken_in_every_transfer_syntax_that_is_proposed(
    make_site,
) -> None:
    """Those that pynetdicom and pydicom know, in associations of 128 presentation contexts (PS3.8 §9.3.2.2)."""
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    syntaxes = [str(one) for one in AllTransferSyntaxes]
    assert (len(classes) > 150, len(syntaxes) > 35) == (True, True)
    host, port = make_site().address.split(":")
    pairs = [(one, syntaxes[number % len(syntaxes)]) for number, one in enumerate(classes)]
    pairs += [(str(CTImageStorage), one) for one in syntaxes]
    accepted = []
    for start in range(0, len(pairs), 128):
        entity = AE()
        entity.requested_contexts = [build_context(*pair) for pair in pairs[start : start + 128]]
        association = entity.associate(host, int(port), evt_handlers=own_handlers())
        accepted += [
            (str(one.abstract_syntax), *one.transfer_syntax) for one in association.accepted_contexts
        ]
        association.release()
    assert sorted(accepted) == sorted(pairs)


def test_an_object_of_every_storage_class_becomes_its_instance(make_site) -> None:
    site = make_site()
    kinds = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    for number, kind in enumerate(kinds, 1):
        made = image(number, sop_class=UID(kind), series=number, PixelData=None, Modality="OT")
        assert site.take(part10(made)).status == 0, kind
    study = site.study()
    found = {one["instance"][0]["sopClass"]["code"] for one in study["series"]}
    assert found == {f"urn:oid:{kind}" for kind in kinds}


def test_small_answers_do_not_wait_for_more_on_connections_that_come_and_on_those_of_ours(
    make_site, monkeypatch
) -> None:
    """TCP_NODELAY."""
    site = make_site()
    accepted: list[socket.socket] = []
    serve = Listener._serve

    def spied(self, sock, address):
        accepted.append(sock.dup())
        serve(self, sock, address)

    monkeypatch.setattr(Listener, "_serve", spied)
    with associated(site.address, Verification) as association:
        assert association.send_c_echo().Status == 0
        assert accepted[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    with associated(site.address, Verification) as association:
        assert association.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    for sock in accepted:
        sock.close()


@pytest.mark.filterwarnings("ignore:The value length")
def test_storage_classes_that_nobody_knows_are_taken_and_other_services_are_not(make_site) -> None:
    site = make_site()
    with associated(site.address, PRIVATE, "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.3.1.2.3.3") as one:
        assert [context.abstract_syntax for context in one.accepted_contexts] == [PRIVATE]
        assert one.send_c_store(image(sop_class=UID(PRIVATE))).Status == 0
    assert is_storage("1.2.840.10008.5.1.4.34.7")
    assert not is_storage("1.2.840.10008.5.1.4.31")


def test_an_object_that_is_not_what_its_request_says_is_refused(make_site) -> None:
    site = make_site()
    with associated(site.address) as association:
        made = image()
        made.SOPInstanceUID = uid(9, 9, 9)
        made.file_meta.MediaStorageSOPInstanceUID = uid(1, 1, 1)
        status = _store_as(association, made, uid(1, 1, 1))
    assert status == 0xA900


def _store_as(association, made, instance):
    """C-STORE with another SOP Instance UID in the command."""

    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    context = association.accepted_contexts[0]
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, instance
    syntax = context.transfer_syntax[0]
    request.DataSet = BytesIO(encode(made, syntax.is_implicit_VR, syntax.is_little_endian))
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return answer.Status


def test_only_declared_titles_may_associate_and_what_they_send_is_their_institutions(make_site) -> None:
    site = make_site(dicom_ae_title="HDG", dicom_peers={"CT1": DicomPeer(institution="north")})
    with associated(site.address) as association:
        assert association.send_c_store(image()).Status == 0
    for title, called, reason in (("CT2", "HDG", 3), ("CT1", "OTHER", 7)):
        refusals = Refusals()
        with associated(
            site.address, title=title, called=called, evt_handlers=refusals.handlers
        ) as association:
            assert not association.is_established
        assert refusals.seen == [(1, 1, reason)]
    from sqlalchemy import text

    with site.gateway.store.engine.connect() as connection:
        assert connection.execute(text("SELECT institution FROM imaging_instance")).all() == [("north",)]


def test_more_associations_than_allowed_are_told_to_come_again(make_site) -> None:
    site = make_site()
    held = [AE().associate for _ in range(4)]
    host, port = site.address.split(":")
    entity = AE()
    entity.add_requested_context(Verification)
    open_ = [entity.associate(host, int(port), evt_handlers=own_handlers()) for _ in held]
    assert all(one.is_established for one in open_)
    refusals = Refusals()
    fifth = entity.associate(host, int(port), evt_handlers=[*own_handlers(), *refusals.handlers])
    assert not fifth.is_established
    assert refusals.seen == [(2, 3, 2)]
    for one in open_:
        one.release()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        again = entity.associate(host, int(port), evt_handlers=own_handlers())
        if again.is_established:
            break
    assert again.is_established
    again.release()


def test_several_associations_at_once_lose_nothing(site) -> None:
    address = site.address

    def send(series):
        with associated(address) as association:
            return [association.send_c_store(image(number, series=series)).Status for number in range(1, 16)]

    with ThreadPoolExecutor(4) as pool:
        assert set(chain.from_iterable(pool.map(send, range(1, 5)))) == {0}
    study = site.study()
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (4, 60)


def test_commitment_is_given_for_what_is_there_and_for_nothing_else(site) -> None:
    reports = []

    def reported(event):
        reports.append((event.event_type, event.event_information))
        return 0, None

    with associated(
        site.address,
        CTImageStorage,
        StorageCommitmentPushModel,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)],
    ) as association:
        for number, pixels in ((1, 512), (2, 400_000), (3, 400_000)):
            assert association.send_c_store(image(number, pixels=bytes(pixels))).Status == 0
        (path, *_) = site.vault_files()
        path.unlink()  # what is lost is not promised
        request = Dataset()
        request.TransactionUID = uid(77)
        request.ReferencedSOPSequence = [_reference(uid(1, 1, number)) for number in (1, 2, 3, 4)]
        status, _ = association.send_n_action(
            request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
        )
        assert status.Status == 0
        deadline = time.monotonic() + 120
        while not reports and time.monotonic() < deadline:
            time.sleep(0.01)
    ((event, report),) = reports
    assert (event, report.TransactionUID) == (2, uid(77))
    kept = [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence]
    failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in report.FailedSOPSequence}
    assert len(kept) == 2
    assert failed.pop(uid(1, 1, 4)) == 0x0112
    assert set(failed.values()) == {0x0110}


def _reference(instance):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, instance
    return item


# --- what goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [100, 100_000, 2_500_000])
def test_a_connection_cut_in_mid_object_leaves_nothing_visible_and_nothing_over(site, sent) -> None:
    data = part10(image(pixels=bytes(3_000_000)))[330:]
    whole = pdu.data_pdus(1, store_command(uid(1, 1, 1)), data, 16384)
    with connected(site.address) as connection:
        connection.sendall(whole[:sent])
        if sent > 300_000:
            deadline = time.monotonic() + 120
            while not site.vault_files() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert site.vault_files()
    deadline = time.monotonic() + 120
    while (site.vault_files() or site.listener._open) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert site.vault_files() == []
    assert site.all_of("Patient") == []
    site.imaging.studies.make_due()
    assert site.all_of("ImagingStudy") == []


def test_bytes_in_any_pieces_are_one_object(make_site) -> None:
    site = make_site()
    raw = part10(image())
    data = raw[144 + int.from_bytes(raw[140:144], "little") :]
    with connected(site.address) as connection:
        whole = pdu.data_pdus(1, store_command(uid(1, 1, 1)), data, 200)
        for at in range(0, len(whole), 7):
            connection.sendall(whole[at : at + 7])
        answer = connection.recv(4096)
    assert dimse.decode(answer[12:])[dimse.STATUS] == 0
    assert site.study()["numberOfInstances"] == 1


@pytest.mark.parametrize(
    "bad",
    [
        b"\x09" + bytes(9),
        struct.pack(">BxI", 4, 1 << 30),
        struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 99, 1, 3),
        struct.pack(">BxI", 4, 6) + struct.pack(">IBB", 2, 77, 3),
        struct.pack(">BxI", 4, 10) + struct.pack(">IBB", 6, 1, 2) + b"data",
        struct.pack(">BxI", 4, 10) + struct.pack(">IBB", 6, 1, 3) + b"junk",
        pdu.data_pdus(1, store_command(uid(1)) * 2000, b"", 16384),
    ],
)
def test_bytes_that_are_no_dicom_abort_the_association_and_nothing_else(make_site, bad) -> None:
    site = make_site()
    with connected(site.address) as connection:
        connection.sendall(bad)
        connection.settimeout(120)
        answer = b""
        try:
            while piece := connection.recv(4096):
                answer += piece
        except ConnectionResetError:
            pass
        assert answer[:1] in (b"\x07", b"")
    with associated(site.address, Verification) as association:
        assert association.send_c_echo().Status == 0


def test_who_says_nothing_is_hung_up_on(make_site) -> None:
    site = make_site()
    first = Listener("127.0.0.1", 0, site.imaging, limits=Limits(artim_s=0.1, idle_s=600))
    first.start()
    host, port = first.address.split(":")
    with socket.create_connection((host, int(port)), 120) as silent:
        assert silent.recv(10) == b""
    then = Listener("127.0.0.1", 0, site.imaging, limits=Limits(artim_s=600, idle_s=0.1))
    then.start()
    with connected(then.address) as idle:
        assert idle.recv(10) == b""
    for listener in (first, then):
        listener.close()


def test_closing_finishes_what_is_under_way(make_site) -> None:
    site = make_site()
    data = part10(image(pixels=bytes(600_000)))
    data = data[144 + int.from_bytes(data[140:144], "little") :]
    whole = pdu.data_pdus(1, store_command(uid(1, 1, 1)), data, 16384)
    with connected(site.address) as idle, connected(site.address) as busy:
        busy.sendall(whole[:400_000])
        until(lambda: bool(site.vault_files()))
        closing = threading.Thread(target=site.listener.close, args=(300,))
        closing.start()
        assert idle.recv(10) == b""
        busy.sendall(whole[400_000:])
        answer = busy.recv(4096)
        closing.join()
    assert dimse.decode(answer[12:])[dimse.STATUS] == 0
    assert site.study()["numberOfInstances"] == 1


def test_over_tls_a_title_can_be_bound_to_a_certificate(make_site, tmp_path) -> None:
    authority = Authority(tmp_path / "ca")
    own, ours, others = (authority.issue(name) for name in ("localhost", "ct-1", "ct-2"))
    site = make_site(dicom_peers={"CT1": DicomPeer(tls_subject="CN=ct-1")})
    listener = Listener(
        "127.0.0.1",
        0,
        site.imaging,
        tls=server_context(own.certificate, own.key, authority.ca),
        subject_of=subject_of,
    )
    listener.start()
    established = []
    for pair in (ours, others):
        context = ssl.create_default_context(cafile=str(authority.ca))
        context.check_hostname = False
        context.load_cert_chain(pair.certificate, pair.key)
        with associated(listener.address, tls_args=(context, "localhost")) as association:
            established.append(association.is_established)
            if association.is_established:
                assert association.send_c_store(image(pixels=bytes(400_000))).Status == 0
    listener.close()
    assert established == [True, False]


def test_an_encapsulated_cda_goes_the_way_of_a_document_too(site) -> None:
    from cda_documents import document

    made = image(sop_class=EncapsulatedCDAStorage, PixelData=None, Modality="DOC")
    raw = document("")
    made.EncapsulatedDocument = raw + b"\0" * (len(raw) % 2)
    made.MIMETypeOfEncapsulatedDocument = "text/XML"
    with associated(site.address, EncapsulatedCDAStorage) as association:
        assert association.send_c_store(made).Status == 0
    assert site.all_of("Composition")
