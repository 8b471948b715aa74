"""DICOM objects through the gateway: into the vault while they arrive, then one transaction, then the answer.

In that order: the object is durable in the vault; one transaction has its row, its ledger leaf, the Patient and what
else its header states, and the mark that its ImagingStudy is due (imaging_studies.py makes it); then the sender is told
that it is stored. The same object again (UID and data set) is answered as stored; another one under a UID that is
known is refused, and the first is kept. What is refused is not kept: the sender has it, and is told.

A small object waits in memory and lies in the database, a larger one is sealed in a stream (vault_stream.py).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from hdg import statements
from hdg.documents import Documents
from hdg.fhir.json import dumps
from hdg.gateway import Gateway
from hdg.imaging_commitments import Commitments
from hdg.imaging_intake import Expected, Intake, Outcome, Sink
from hdg.imaging_studies import Studies
from hdg.ingestion.converted import Converted
from hdg.ingestion.dicom import scp_commitment as commitment
from hdg.ingestion.dicom.association import Peer
from hdg.ingestion.dicom.association_dimse import Status
from hdg.ingestion.dicom.dataset import Deferred
from hdg.ingestion.dicom.directory import is_directory
from hdg.ingestion.dicom.header import DEFLATED, Header, is_part10, read_header
from hdg.ingestion.dicom.scp_file import file_head
from hdg.ingestion.dicom.study import InstanceFacts, facts_of
from hdg.ingestion.inbox import losses
from hdg.ingestion.sender import Origin, Sender
from hdg.management.store import imaging as rows
from hdg.management.store.engine import NotCommitted
from hdg.management.store.inbox import note_loss
from hdg.management.store.meta import index_key
from hdg.management.store.session import WriteSession
from hdg.management.store.values import hasher
from hdg.management.vault_stream import Stored
from hdg.settings import DicomPeer

if TYPE_CHECKING:
    from hdg.ingestion.dicom.convert import Converter

__all__ = ["Expected", "Imaging", "Intake", "Outcome", "is_dicom"]

_log = logging.getLogger("hdg.imaging")

ENCAPSULATED_CDA = "1.2.840.10008.5.1.4.1.1.104.2"
_DOCUMENT = 0x00420011
_READERS = 4
"""Headers that are read from the disk at a time: one with long sequences may take 128 MB."""
_ABOUT = frozenset(("subject", "patient"))


class _Said:
    """What was stated last with each study, by each sender: a thousand slices say the same of their patient.

    It is stored once. To state it again with each slice would make it newer than what others stated meanwhile.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._digests: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def knows(self, place: tuple[str, str], digest: bytes) -> bool:
        """Whether the very same was stated there last, and is committed."""
        with self._lock:
            return bool(place[0]) and self._digests.get(place) == digest

    def note(self, place: tuple[str, str], digest: bytes) -> None:
        """It is committed."""
        with self._lock:
            self._digests[place] = digest
            self._digests.move_to_end(place)
            if len(self._digests) > self._limit:
                self._digests.popitem(last=False)


def _digest(said: Converted) -> bytes:
    """Of all that is stated and lost, without the Provenance, which is another one for each object."""
    stated = [resource for resource in said.resources if resource["resourceType"] != "Provenance"]
    rest = [repr(one) for one in (*said.deletions, *losses(said.issues))]
    return hashlib.sha256(dumps([stated, rest])).digest()


class Imaging:
    """Takes DICOM objects in for one gateway; the Archive of its listener. ``start``, then ``stop``."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.store, self.settings = gateway.store, gateway.settings
        self.hash = hasher(index_key(gateway.keys.root))
        self.studies = Studies(gateway)
        self._documents = Documents(gateway)
        self._turn = threading.Lock()
        """Objects are converted one at a time: more would only take the interpreter from the writer."""
        self._reading = threading.BoundedSemaphore(_READERS)
        self._made: Converter | None = None
        self._said = _Said()
        self._commitments = Commitments(gateway, self.failures)

    def start(self) -> None:
        """From now on ImagingStudies are made and reports sent, those that a former run left due first."""
        self.studies.start()
        self._commitments.start()

    def stop(self) -> None:
        """What is due is made before this returns."""
        self._commitments.stop()
        self.studies.stop()

    # --- the listener's side --------------------------------------------------------------------------------

    def refusal(self, peer: Peer) -> tuple[int, int, int] | None:
        """PS3.8 Table 9-21: 7 called, 3 calling AE title not recognized."""
        settings = self.gateway.settings
        if settings.dicom_ae_title is not None and peer.called != settings.dicom_ae_title:
            return 1, 1, 7
        declared = settings.dicom_peers.get(peer.calling)
        if settings.dicom_peers and declared is None:
            return 1, 1, 3
        if declared is not None and declared.tls_subject not in (None, peer.tls_subject):
            return 1, 1, 3
        return None

    def begin(self, peer: Peer, sop_class: str, sop_uid: str, transfer_syntax: str) -> Sink:
        """A C-STORE."""
        head = file_head(sop_class, sop_uid, transfer_syntax, peer.calling)
        return Sink(Intake(self, self.sender(peer), Expected(sop_class, sop_uid), head))

    def failures(self, peer: Peer, references: Sequence[commitment.Reference]) -> list[int]:
        """Storage commitment: what is there, under its class, with its bytes."""
        institution = self.sender(peer).institution
        uids = [uid for _, uid in references]
        held = rows.held(self.gateway.store.engine, self.hash, institution, uids)
        return [self._failure(held.get(uid), sop_class) for sop_class, uid in references]

    def _failure(self, held: tuple[str, str, int, bool] | None, sop_class: str) -> int:
        if held is None:
            return Status.NO_SUCH_INSTANCE
        known_class, cid, size, is_file = held
        if known_class != sop_class:
            return Status.CLASS_CONFLICT
        if is_file:
            try:
                is_whole = self.gateway.store.files.path(cid).stat().st_size == size
            except OSError:
                is_whole = False
            return Status.SUCCESS if is_whole else Status.PROCESSING_FAILURE
        return Status.SUCCESS

    def promise(self, peer: Peer, request: commitment.Request) -> int:
        """Durable before this returns."""
        return self._commitments.promise(peer, request, self.sender(peer).institution)

    def taken(self, promise: int) -> None:
        """Nothing is owed any more."""
        self._commitments.taken(promise)

    def untaken(self, promise: int) -> None:
        """It is sent on an association of our own, where it is declared to whom."""
        self._commitments.untaken(promise)

    def ended(self, peer: Peer) -> None:
        """Nothing waits for it: what came is stored, and its studies are made when it is quiet."""

    def _declared(self, title: str) -> DicomPeer:
        return self.gateway.settings.dicom_peers.get(title) or DicomPeer()

    def sender(self, peer: Peer) -> Sender:
        """Who sends, by the AE title."""
        declared, settings = self._declared(peer.calling), self.gateway.settings
        institution = declared.institution or settings.institution
        return Sender(f"dicom|{peer.calling}", institution, zone=declared.zone or settings.zone)

    # --- files ----------------------------------------------------------------------------------------------

    def intake(self, origin: Origin, expected: Expected = Expected()) -> Intake:  # noqa: B008  # frozen
        """A Part 10 file from elsewhere."""
        settings = self.gateway.settings
        sender = Sender(
            f"dicom|{origin.listener}", origin.institution or settings.institution, zone=settings.zone
        )
        return Intake(self, sender, expected)

    def take_file(self, path: Path, origin: Origin) -> Outcome:
        """A whole file. Raises OSError when it cannot be read."""
        intake = self.intake(origin)
        try:
            with path.open("rb") as source:
                while data := source.read(1 << 20):
                    intake.write(data)
            return intake.finish()
        finally:
            intake.abort()

    # --- storing --------------------------------------------------------------------------------------------

    def keep(
        self, source: BufferedIOBase, content: bytes | Stored, sha256: str, sender: Sender, expected: Expected
    ) -> Outcome:
        """``source``: the plaintext of ``content``, a Part 10 file. Raises DicomError, NotCommitted."""
        at_us = self.gateway.store.now_us()
        header = self._header(source, content)
        outcome = _named(header)
        if is_directory(header):
            return replace(outcome, status=Status.NOT_OF_CLASS, text="a DICOMDIR is no object to store")
        if mismatch := _mismatch(outcome, expected):
            return replace(outcome, status=Status.NOT_OF_CLASS, text=mismatch)
        with self._turn:
            converted = self._converter().convert(header, sender, at_us=at_us, sha256=sha256)
        size = len(content) if isinstance(content, bytes) else content.plain_size
        made = _made(converted)
        if outcome.sop_class == ENCAPSULATED_CDA:
            made += self._made_of_document(header, source, sender, at_us)
        new = _instance(header, converted, sender, sha256, size, made)
        said = replace(
            converted,
            resources=tuple(r for r in converted.resources if r["resourceType"] != "ImagingStudy"),
        )
        digest = _digest(said)
        work = self._work(new, content, said, sender, at_us, outcome, digest)
        outcome = self.gateway.store.submit(work).result()
        if outcome.status == Status.SUCCESS:
            self._said.note((new.imaging_study, sender.name), digest)
            if new.imaging_study and not outcome.is_repeat:
                self.studies.touch(new.imaging_study)
            if outcome.sop_class == ENCAPSULATED_CDA:
                self._document(header, source, sender)
        return outcome

    def _work(
        self,
        new: rows.NewInstance,
        content: bytes | Stored,
        said: Converted,
        sender: Sender,
        at_us: int,
        outcome: Outcome,
        digest: bytes,
    ) -> Callable[[WriteSession], Outcome]:
        is_said = self._said.knows((new.imaging_study, sender.name), digest)

        def work(session: WriteSession) -> Outcome:
            known = rows.find(session, self.hash, new.sop_uid, new.institution)
            if known is not None and known.sha256 == new.sha256:
                return replace(outcome, is_repeat=True)
            if known is not None:
                text = "another object was stored under this SOP Instance UID"
                note_loss(session, "conflict", sender.name, "DICOM", "(0008,0018)", text, ikey=0)
                return replace(outcome, status=Status.DUPLICATE, text=text)
            rows.add(session, self.hash, new, content)
            if not is_said:
                statements.store_statements(session, said, session.in_order(at_us))
                for loss in dict.fromkeys(losses(said.issues)):
                    note_loss(session, loss.kind, sender.name, "DICOM", loss.place, loss.text, ikey=0)
            return outcome

        return work

    def _document(self, header: Header, source: BufferedIOBase, sender: Sender) -> None:
        """An encapsulated CDA goes the way of a document too, which keeps it in quarantine if it must.

        The object is committed: whatever fails here must not look as if it were not. The sender sends it again.
        """
        try:
            raw = self._encapsulated(header, source)
            if raw:
                self._documents.take_now(raw, _origin(sender))
        except NotCommitted:
            raise
        except Exception as error:
            _log.error("a document in a DICOM object was not taken: %s", type(error).__name__)
            raise NotCommitted("the document in the object could not be kept") from error

    def _made_of_document(
        self, header: Header, source: BufferedIOBase, sender: Sender, at_us: int
    ) -> tuple[tuple[str, str], ...]:
        """What ``_document`` will make of it; nothing where it goes into quarantine."""
        raw = self._encapsulated(header, source)
        try:
            return _made(self._documents.converted(raw, _origin(sender), at_us)) if raw else ()
        except Exception:  # what is wrong with it is told when it is taken
            return ()

    def _encapsulated(self, header: Header, source: BufferedIOBase) -> bytes:
        """The document; b'' when there is none, or it is too large for one."""
        _, value = header.data.raw.get(_DOCUMENT, ("", b""))
        if isinstance(value, Deferred):
            if value.length > self.settings.ingest_max_bytes or header.transfer_syntax in DEFLATED:
                _log.warning("a document of %d bytes in a DICOM object is kept there only", value.length)
                return b""
            source.seek(value.offset)
            value = source.read(value.length)
        return value.rstrip(b"\0") if isinstance(value, bytes) else b""

    def _header(self, source: BufferedIOBase, content: bytes | Stored) -> Header:
        """Raises DicomError. One from the disk is read beside others: to pass over long values takes time there."""
        if isinstance(content, Stored):
            with self._reading:
                return read_header(cast(IO[bytes], source))
        with self._turn:
            return read_header(cast(IO[bytes], source))

    def _converter(self) -> Converter:
        """Used by one thread at a time."""
        if self._made is None:
            # With all its tables: when the first object comes.
            from hdg.ingestion.dicom.convert import Converter

            self._made = Converter(id_key=self.gateway.keys.id_key)
        return self._made


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do. Raises OSError."""
    with path.open("rb") as file:
        return is_part10(file.read(132))


def _origin(sender: Sender) -> Origin:
    return Origin("dicom", institution=sender.institution)


def _named(header: Header) -> Outcome:
    return Outcome(Status.SUCCESS, "", header.sop_class, header.sop_uid, header.study_uid)


def _mismatch(found: Outcome, expected: Expected) -> str:
    """What an object is not that it should be; '' when nothing."""
    if expected.sop_class and found.sop_class != expected.sop_class:
        return "SOP Class UID is not the one of the request"
    if expected.sop_uid and found.sop_uid != expected.sop_uid:
        return "SOP Instance UID is not the one of the request"
    if expected.study_uid and found.study_uid != expected.study_uid:
        return "Study Instance UID is not the one of the request"
    return ""


def _instance(
    header: Header,
    converted: Converted,
    sender: Sender,
    sha256: str,
    size: int,
    made: tuple[tuple[str, str], ...],
) -> rows.NewInstance:
    facts: InstanceFacts | None = facts_of(converted)
    return rows.NewInstance(
        sop_uid=header.sop_uid,
        series_uid=header.series_uid,
        study_uid=header.study_uid,
        imaging_study=facts.study_id if facts is not None else "",
        institution=sender.institution,
        patient=converted.patient_id,
        sop_class=header.sop_class,
        transfer_syntax=header.transfer_syntax,
        sha256=sha256,
        size=size,
        made=made,
        facts={} if facts is None else {name: getattr(facts, name) for name in facts.__slots__},
    )


def _made(converted: Converted) -> tuple[tuple[str, str], ...]:
    """The resources about the patient that say what the object says: not the ImagingStudy, which is asked itself."""
    return tuple(
        (resource["resourceType"], resource["id"])
        for resource in converted.resources
        if resource["resourceType"] != "ImagingStudy" and not _ABOUT.isdisjoint(resource)
    )
