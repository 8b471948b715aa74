"""C-GET as pynetdicom asks it: objects on the association that asks, of what the caller may see. PS3.4 §C.4.3."""

from __future__ import annotations

import socket
import tracemalloc
from io import BytesIO
from types import SimpleNamespace

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
)
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet
from sqlalchemy import text

from dicom_asking import asked_for
from dicom_objects import image, part10, uid
from hdg import imaging_retrieve as retrieve
from hdg.errors import VaultError
from hdg.ingestion.dicom import association_dimse as dimse
from hdg.ingestion.dicom import association_pdu as pdu
from hdg.ingestion.dicom.association import Association, Closed, Limits
from hdg.management.consent.resource import grant

SLICES = [uid(1, 1, 1), uid(1, 1, 2), uid(1, 2, 1)]


def sops(received) -> list[str]:
    return [one.SOPInstanceUID for one in received]


def test_a_study_comes_on_the_association_that_asks(asking) -> None:
    answers, received = asking.get("READER", StudyInstanceUID=uid(1))
    assert sops(received) == SLICES
    last, _ = answers[-1]
    assert (last.Status, last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations) == (0, 3, 0)
    assert [(one.Status, one.NumberOfRemainingSuboperations) for one, _ in answers[:-1]] == [
        (0xFF00, 2),
        (0xFF00, 1),
    ]
    assert received[0].PixelData == image(1).PixelData
    _, received = asking.get("READER", StudyInstanceUID=uid(1), SeriesInstanceUID=uid(1, 2))
    assert sops(received) == [uid(1, 2, 1)]


def test_whose_objects_leave_is_in_the_audit_before_the_first_does(asking) -> None:
    def audited() -> list[str]:
        with asking.site.gateway.store.engine.connect() as connection:
            return list(connection.scalars(text("SELECT patient FROM audit_event")))

    seen = []

    def look(_) -> int:
        seen.append(audited())
        return 0x0000

    with asking.getting("READER", handler=look) as (association, _):
        model = StudyRootQueryRetrieveInformationModelGet
        list(association.send_c_get(asked_for(StudyInstanceUID=uid(1)), model))
    (patient,) = seen[0]
    assert patient
    assert seen == [[patient]] * 3
    asking.get("STRANGER", StudyInstanceUID=uid(1))
    assert sorted(audited()) == ["", patient]


def test_who_may_see_nothing_gets_nothing_as_if_it_were_not_there(asking) -> None:
    hidden, received = asking.get("STRANGER", StudyInstanceUID=uid(1))
    absent, _ = asking.get("STRANGER", StudyInstanceUID=uid(77))
    assert (received, str(hidden)) == ([], str(absent))
    assert hidden[-1][0].Status == 0x0000
    for title in ("FAR", "SENDER"):
        answers, received = asking.get(title, StudyInstanceUID=uid(1))
        assert (received, answers[-1][0].Status) == ([], 0x0124)
    answers, received = asking.get("READER", PatientID="4711")
    assert (received, answers[-1][0].Status) == ([], 0xA900)


def test_an_object_of_which_a_finding_is_withheld_is_withheld_too(asking) -> None:
    asking.site.take(part10(image(3, PatientWeight="70.5")), "north")
    asking.site.imaging.studies.make_due()
    (study,) = [one for one in asking.site.all_of("ImagingStudy") if one["numberOfInstances"] == 4]
    patient = study["subject"]["reference"].removeprefix("Patient/")
    until = asking.site.gateway.clock() + 3_600_000_000
    consent = grant(patient, ["Organization/east"], ["TREAT"], ["ImagingStudy"], from_us=0, until_us=until)
    work = lambda session: session.put(consent, institution="north", patient=patient)  # noqa: E731
    asking.site.gateway.store.submit(work).result(120)
    _, received = asking.get("STRANGER", StudyInstanceUID=uid(1))
    assert sops(received) == SLICES
    found, _ = asking.find(
        "STRANGER", "IMAGE", StudyInstanceUID=uid(1), SeriesInstanceUID=uid(1, 1), SOPInstanceUID=""
    )
    assert [one.SOPInstanceUID for one in found] == SLICES[:2]
    assert asking.get("STRANGER", StudyInstanceUID=uid(1), SOPInstanceUID=uid(1, 1, 3))[1] == []


def test_without_the_role_of_a_provider_nothing_is_sent_and_each_object_is_named_as_failed(asking) -> None:
    answers, received = asking.get("READER", is_provider=False, StudyInstanceUID=uid(1))
    last, identifier = answers[-1]
    assert (received, last.Status, last.NumberOfFailedSuboperations) == ([], 0xA702, 3)
    assert list(identifier.FailedSOPInstanceUIDList) == SLICES


def test_an_object_of_a_class_that_the_peer_does_not_take_is_named_as_failed(asking) -> None:
    asking.site.take(part10(image(1, series=3, sop_class=MRImageStorage)), "north")
    asking.site.imaging.studies.make_due()
    answers, received = asking.get("READER", StudyInstanceUID=uid(1))
    last, identifier = answers[-1]
    assert sops(received) == SLICES
    assert (last.Status, last.NumberOfCompletedSuboperations, last.NumberOfFailedSuboperations) == (
        0xB000,
        3,
        1,
    )
    assert identifier.FailedSOPInstanceUIDList == uid(1, 3, 1)


def test_an_object_that_the_peer_refuses_is_named_as_failed(asking) -> None:
    def refuse(event) -> int:
        return 0xA700 if event.request.AffectedSOPInstanceUID == SLICES[1] else 0x0000

    with asking.getting("READER", handler=refuse) as (association, _):
        model = StudyRootQueryRetrieveInformationModelGet
        last, identifier = list(association.send_c_get(asked_for(StudyInstanceUID=uid(1)), model))[-1]
    assert (last.Status, last.NumberOfFailedSuboperations) == (0xB000, 1)
    assert identifier.FailedSOPInstanceUIDList == SLICES[1]


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_an_object_leaves_as_it_is_stored_where_the_peer_takes_that(asking, syntax) -> None:
    made = image(1, study=5, syntax=syntax)
    asking.site.take(part10(made), "north")
    asking.site.imaging.studies.make_due()
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
    _, (got,) = asking.get("READER", *syntaxes, StudyInstanceUID=uid(5))
    assert got.file_meta.TransferSyntaxUID == syntax
    assert got == dcmread(BytesIO(part10(made)))


def test_a_compressed_object_leaves_as_it_is_or_unpacked_as_the_peer_takes_it(asking) -> None:
    made = image(1, study=5)
    pixels = made.PixelData = bytes(range(256)) * 2
    made.compress(RLELossless, generate_instance_uid=False)
    asking.site.take(part10(made), "north")
    asking.site.imaging.studies.make_due()
    _, (packed,) = asking.get("READER", RLELossless, ExplicitVRLittleEndian, StudyInstanceUID=uid(5))
    assert (packed.file_meta.TransferSyntaxUID, packed.PixelData) == (RLELossless, made.PixelData)
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        _, (plain,) = asking.get("READER", syntax, StudyInstanceUID=uid(5))
        assert (plain.file_meta.TransferSyntaxUID, plain.PixelData) == (syntax, pixels)


def test_an_object_that_cannot_be_unpacked_is_named_as_failed(asking) -> None:
    made = image(1, study=5, syntax=JPEG2000Lossless, PixelData=encapsulate([b"none"]))
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    asking.site.take(part10(made), "north")
    asking.site.imaging.studies.make_due()
    answers, received = asking.get("READER", StudyInstanceUID=uid(5))
    assert (received, answers[-1][0].Status) == ([], 0xA702)


def test_of_contexts_with_several_transfer_syntaxes_the_plain_one_is_taken_for_c_get(asking) -> None:
    with asking.getting("READER", [JPEG2000Lossless, ImplicitVRLittleEndian]) as (association, _):
        (chosen,) = [
            one.transfer_syntax
            for one in association.accepted_contexts
            if one.abstract_syntax == CTImageStorage
        ]
    assert chosen == [ImplicitVRLittleEndian]


def test_a_cancelled_c_get_stops(asking) -> None:
    with asking.getting("READER") as (association, received):
        model = StudyRootQueryRetrieveInformationModelGet
        answers = []
        for status, _ in association.send_c_get(asked_for(StudyInstanceUID=uid(1)), model, msg_id=7):
            answers.append(status.Status)
            if len(answers) == 1:
                association.send_c_cancel(7, None, model)
        association.release()
    assert answers[-1] in (0xFE00, 0x0000)  # it may be over before the word of it arrives
    assert len(received) == (3 if answers[-1] == 0x0000 else 2)


RELEASE = bytes((pdu.RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0))


class Draining:
    """A socket whose other side takes everything and answers each C-STORE."""

    def __init__(self) -> None:
        self.sent = 0
        self.waiting = b""

    def settimeout(self, _: float) -> None:
        """Nothing takes long here."""

    def setsockopt(self, *_: int) -> None:
        """There is nothing to set."""

    def sendall(self, data: bytes) -> None:
        self.sent += len(data)
        if data[11] == 3:  # the last of a command
            asked = dimse.decode(data[12:])
            if asked[dimse.COMMAND_FIELD] == dimse.C_STORE:
                answer = dimse.encode(dimse.response(asked, 0))
                self.waiting = pdu.piece_pdus(data[10], answer, 0, is_command=True, is_last=True)

    def recv_into(self, buffer: memoryview) -> int:
        count = len(self.waiting)
        buffer[:count], self.waiting = self.waiting, b""
        return count


def test_an_object_of_any_size_leaves_in_constant_memory(tmp_path) -> None:
    size = 60_000_000
    file = tmp_path / "large.dcm"
    file.write_bytes(part10(image(1, pixels=bytes(size))))
    large = SimpleNamespace(
        sop_class=CTImageStorage, sop_uid=uid(1, 1, 1), size=size, open=lambda: file.open("rb")
    )
    drain = Draining()
    association = Association(drain, lambda _: None, None, Limits())
    context = pdu.Accepted(1, CTImageStorage, ExplicitVRLittleEndian)
    association.contexts, association.providers = {1: context}, frozenset((CTImageStorage,))
    tracemalloc.start()
    try:
        retrieve.get(association, context, {dimse.MESSAGE_ID: 1, dimse.COMMAND_FIELD: 0x10}, [large])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert drain.sent > size
    assert peak < 8_000_000


class Answering:
    """A provider that answers each request by one of its own, and then by a response."""

    def __init__(self) -> None:
        self.handled: list[int] = []

    def handle(self, association, context, command, data) -> None:
        self.handled.append(dimse.number(command, dimse.MESSAGE_ID))
        store = {dimse.COMMAND_FIELD: dimse.C_STORE, dimse.DATA_SET_TYPE: 1}
        association.request(context.id, store, [b"a" * 40, b"b" * 40])
        association.send(context.id, dimse.response(command, 0))


def _echo(number: int) -> bytes:
    """A request as one presentation data value."""
    asked = {dimse.COMMAND_FIELD: dimse.C_ECHO, dimse.MESSAGE_ID: number, dimse.DATA_SET_TYPE: 0x0101}
    return pdu.data_pdus(1, dimse.encode(asked), b"", 0)[6:]


def _answering(provider) -> tuple[Association, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), 10)
        ours, _ = listener.accept()
    association = Association(ours, lambda _: None, provider, Limits(idle_s=10))
    association.contexts = {1: pdu.Accepted(1, CTImageStorage, ExplicitVRLittleEndian)}
    return association, theirs


def _pdu(values: bytes) -> bytes:
    return bytes((4, 0)) + len(values).to_bytes(4, "big") + values


def _stored(number: int) -> bytes:
    command = {dimse.COMMAND_FIELD: dimse.C_STORE, dimse.MESSAGE_ID: number}
    return pdu.data_pdus(1, dimse.encode(dimse.response(command, 0)), b"", 0)


def test_a_message_behind_another_in_one_pdu_is_handled_after_the_first_is_answered() -> None:
    """What is answered reads on in the buffer that the PDU lies in."""
    provider = Answering()
    association, theirs = _answering(provider)
    with theirs, association._socket:
        theirs.sendall(_pdu(_echo(7) + _echo(8)) + _stored(1) + _stored(2))
        association._read_pdu()
        assert provider.handled == [7, 8]
        answers = theirs.recv(1 << 16)
    assert answers.count(b"a" * 40) == 2
    assert association.is_idle


@pytest.mark.parametrize(
    "between", [_pdu(_echo(9)), pdu.RELEASE_RESPONSE, RELEASE], ids=["request", "stray", "release"]
)
def test_a_request_or_an_end_before_the_answer_to_ours_ends_the_association(between) -> None:
    association, theirs = _answering(Answering())
    with theirs, association._socket:
        theirs.sendall(_pdu(_echo(7)) + between + _stored(1))
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(Closed):
            association._read_pdu()


def test_an_object_that_breaks_off_while_it_is_sent_ends_the_association() -> None:
    """Half of it has left: what follows could be taken for the rest."""

    class Breaking(Answering):
        def handle(self, association, context, command, data) -> None:
            def pieces():
                yield b"a" * 40
                raise VaultError("damaged")

            association.request(
                context.id, {dimse.COMMAND_FIELD: dimse.C_STORE, dimse.DATA_SET_TYPE: 1}, pieces()
            )

    association, theirs = _answering(Breaking())
    with theirs, association._socket:
        theirs.sendall(_pdu(_echo(7)))
        with pytest.raises(Closed):
            association._read_pdu()
        sent = theirs.recv(1 << 16)
    assert sent[-10] == pdu.ABORT
