"""C-FIND and C-MOVE of the DICOM listener, through the same gate as DICOMweb. DICOM PS3.4 Annex C.

An option: only a peer that ``hdg.toml`` names with ``reads`` may ask, and what it sees is what that principal may see
by consent and policy. An AE title is a name that anybody can give, so such a peer must also show its certificate or
come from its address. Objects are sent to peers that read as the same principal, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from io import BytesIO
from typing import Any, TypeVar

from pydicom import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from hdg.errors import AccessDenied, BadRequest, HdgError
from hdg.fhir import json
from hdg.ingestion.dicom.association import Association, Peer
from hdg.ingestion.dicom.association_dimse import (
    COMMAND_FIELD,
    DATA_SET_TYPE,
    Command,
    Status,
    number,
    response,
    text,
)
from hdg.ingestion.dicom.association_pdu import Accepted
from hdg.management.identity import Principal
from hdg.settings import DicomPeer, Settings
from hdg.usage.access import Gate
from hdg.usage.dicomweb.archive import Archive, Image
from hdg.usage.dicomweb.datasets import whole
from hdg.usage.dicomweb.matching import Asked, keys_of, narrowing, vr_of
from hdg.usage.dicomweb.pixels import WHOLE_MAX
from hdg.usage.dicomweb.query import Query
from hdg.usage.fhir_api import parameters
from hdg.usage.fhir_api.parameters import Limits
from hdg.usage.trail import Caller

__all__ = ["MODELS", "QueryRetrieve"]

_log = logging.getLogger("hdg.dicom")

PATIENT_FIND, PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_FIND, STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"
MODELS = (PATIENT_FIND, PATIENT_MOVE, STUDY_FIND, STUDY_MOVE)
C_FIND, C_MOVE = 0x0020, 0x0021
_DESTINATION = 0x0600
_REMAINING, _COMPLETED, _FAILED, _WARNING = 0x1020, 0x1021, 0x1022, 0x1023
_PENDING, _CANNOT, _UNKNOWN_DESTINATION, _SOME_FAILED = 0xFF00, 0xA900, 0xA801, 0xB000
_NO_RESOURCES = 0xA700
RESULTS_MAX = 10_000
_CANDIDATES = 200
_ANSWER_S = 600.0
_LEVELS = {"PATIENT": "study", "STUDY": "study", "SERIES": "series", "IMAGE": "instance"}
_OF_QUERY = frozenset((0x00080005, 0x00080052, 0x00080054, 0x00080056))
Found = TypeVar("Found")


class QueryRetrieve:
    """The service for all of MODELS. Its methods run in the threads of associations; the gate on ``loop``."""

    def __init__(self, gate: Gate, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._gate, self._settings, self._loop = gate, settings, loop
        self._limits = Limits(
            settings.search_page_default, settings.search_page_max, settings.fhir_base, gate.catalog
        )

    def handle(self, association: Association, context: Accepted, command: Command, data: bytes) -> None:
        """A C-FIND or C-MOVE request."""
        try:
            caller = self._caller(association.peer)
            asked = _data_set(data, context)
            kind = number(command, COMMAND_FIELD)
            if kind == C_FIND and context.abstract_syntax in (PATIENT_FIND, STUDY_FIND):
                self._find(association, context, command, asked, caller)
            elif kind == C_MOVE and context.abstract_syntax in (PATIENT_MOVE, STUDY_MOVE):
                self._move(association, context, command, asked, caller)
            else:
                association.send(context.id, response(command, Status.UNRECOGNIZED))
        except AccessDenied as error:
            association.send(context.id, response(command, Status.NOT_AUTHORIZED, str(error)))
        except BadRequest as error:
            association.send(context.id, response(command, _CANNOT, str(error)))
        except HdgError as error:
            _log.error("a DICOM query failed: %s", type(error).__name__)
            association.send(context.id, response(command, _NO_RESOURCES, "the gateway could not answer"))

    def _caller(self, peer: Peer) -> Caller:
        """As whom the peer reads. Raises AccessDenied."""
        declared = self._settings.dicom_peers.get(peer.calling)
        if declared is None or not is_proved(declared, peer):
            raise AccessDenied("this AE title may not query")
        reads = declared.reads
        if reads is None:
            raise AccessDenied("this AE title may not query")
        principal = Principal(
            reads.role,
            reads.user,
            reads.institution or self._settings.institution,
            "",
            reads.purpose,
            "",
            f"dicom:{peer.calling}",
            0,
        )
        return Caller(principal, peer.address)

    def _run(self, work: Coroutine[Any, Any, Found]) -> Found:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_S)

    # --- C-FIND ---------------------------------------------------------------------------------------------

    def _find(
        self, association: Association, context: Accepted, command: Command, asked: Dataset, caller: Caller
    ) -> None:
        level = _level(asked)
        study, series = _uid(asked, "StudyInstanceUID"), _uid(asked, "SeriesInstanceUID")
        if (level in ("SERIES", "IMAGE") and not study) or (level == "IMAGE" and not series):
            raise BadRequest(f"a query of level {level} names the levels above it by their UIDs")
        name = _LEVELS[level]
        keys = keys_of(name, asked)
        fields = frozenset(key.path[0] for key in keys)
        query_of = Asked(name, keys, fields, RESULTS_MAX, 0, False)
        place = study if name != "study" else ""
        pairs = narrowing(query_of, place)
        narrowed = parameters.parse("ImagingStudy", pairs, self._limits, count=_CANDIDATES)
        query = Query(
            query_of, narrowed, "", study_uid=place, series_uid=series if name == "instance" else ""
        )
        found = self._run(self._gate.images(caller, query, f"C-FIND {level} {_said(asked)}"))
        wanted = [int(tag) for tag in asked.keys() if int(tag) not in _OF_QUERY]  # noqa: SIM118
        seen: set[bytes] = set()
        for match in found[: query_of.limit]:
            answer = _answer(match.attributes, wanted, level, self._title())
            body = _encoded(answer, context)
            if level == "PATIENT" and body in seen:
                continue
            seen.add(body)
            pending = {**response(command, _PENDING), DATA_SET_TYPE: 1}
            association.send(context.id, pending, body)
        status = _NO_RESOURCES if query.is_cut else Status.SUCCESS
        association.send(
            context.id, response(command, status, "there are more; ask more narrowly" if query.is_cut else "")
        )

    def _title(self) -> str:
        return self._settings.dicom_ae_title or "HDG"

    # --- C-MOVE ---------------------------------------------------------------------------------------------

    def _move(
        self, association: Association, context: Accepted, command: Command, asked: Dataset, caller: Caller
    ) -> None:
        destination = text(command, _DESTINATION)
        address = self._address(association.peer, destination)
        if not address:
            association.send(
                context.id, response(command, _UNKNOWN_DESTINATION, "destination is not declared")
            )
            return
        studies = _uids(asked, "StudyInstanceUID")
        series, sops = _uids(asked, "SeriesInstanceUID"), _uids(asked, "SOPInstanceUID")
        level = _level(asked)
        if level == "PATIENT" or not studies:
            raise BadRequest("what is to be sent is named by Study Instance UID")

        def find(archive: Archive) -> list[Image]:
            return [
                image
                for study in studies
                for image in archive.images(study_uid=study)
                if (not series or image.series_uid in series) and (not sops or image.sop_uid in sops)
            ]

        found = self._run(self._gate.images(caller, find, f"C-MOVE to {destination} {_said(asked)}"))
        counts = _Counts(len(found))
        if found:
            self._send_all(address, destination, found, counts, association, context, command)
        status = Status.SUCCESS if not counts.failed else _SOME_FAILED if counts.completed else 0xA702
        association.send(context.id, {**response(command, status), **counts.fields(is_last=True)})

    def _address(self, peer: Peer, destination: str) -> str:
        """Where a peer listens that reads as the one who asks; '' where there is none."""
        peers = self._settings.dicom_peers
        target, asking = peers.get(destination), peers.get(peer.calling)
        if target is None or asking is None or target.reads != asking.reads:
            return ""
        return target.address or ""

    def _send_all(
        self,
        address: str,
        destination: str,
        found: Sequence[Image],
        counts: _Counts,
        association: Association,
        context: Accepted,
        command: Command,
    ) -> None:
        from pynetdicom import AE

        entity = AE(ae_title=self._title())
        for sop_class, syntax in dict.fromkeys((one.sop_class, one.transfer_syntax) for one in found):
            if len(entity.requested_contexts) < 128:
                entity.add_requested_context(sop_class, syntax)
        host, _, port = address.rpartition(":")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
        target: Any = entity.associate(host.strip("[]"), int(port), ae_title=destination)
        if not target.is_established:
            counts.fail(len(found))
            return
        try:
            for number_, image in enumerate(found):
                counts.add(is_sent=_sent(target, image, association.peer.calling, command))
                if number_ < len(found) - 1:
                    association.send(context.id, {**response(command, _PENDING), **counts.fields()})
        finally:
            target.release()


def is_proved(declared: DicomPeer, peer: Peer) -> bool:
    """Whether a peer is who it says: by its certificate or its address, whichever is declared; both, if both are."""
    if declared.tls_subject is None and declared.from_address is None:
        return False
    is_subject = declared.tls_subject in (None, peer.tls_subject)
    return is_subject and declared.from_address in (None, peer.address)


class _Counts:
    """Sub-operations (PS3.4 §C.4.2.1.6)."""

    def __init__(self, all_: int) -> None:
        self.remaining, self.completed, self.failed = all_, 0, 0

    def add(self, *, is_sent: bool) -> None:
        self.remaining -= 1
        self.completed += is_sent
        self.failed += not is_sent

    def fail(self, count: int) -> None:
        self.remaining -= count
        self.failed += count

    def fields(self, *, is_last: bool = False) -> Command:
        told: Command = {
            _COMPLETED: min(self.completed, 0xFFFF),
            _FAILED: min(self.failed, 0xFFFF),
            _WARNING: 0,
        }
        return told if is_last else {**told, _REMAINING: min(self.remaining, 0xFFFF)}


def _sent(target: Any, image: Image, asking: str, command: Command) -> bool:
    """Whether an object has arrived. A very large one is not held in memory for this: it is told as failed."""
    if image.size > WHOLE_MAX or not target.is_established:
        return False
    try:
        with image.open() as source:
            data = whole(source)
        status = target.send_c_store(data, originator_aet=asking, originator_id=number(command, 0x0110))
    except (
        ValueError,
        RuntimeError,
        AttributeError,
        HdgError,
    ):  # pynetdicom: no context accepted, the other side gone
        return False
    return bool(status) and status.Status in (0x0000, 0xB000, 0xB006, 0xB007)


# --- data sets ----------------------------------------------------------------------------------------------------


def _is_implicit(context: Accepted) -> bool:
    return context.transfer_syntax == "1.2.840.10008.1.2"


def _data_set(data: bytes, context: Accepted) -> Dataset:
    """Raises BadRequest."""
    try:
        found = read_dataset(BytesIO(data), is_implicit_VR=_is_implicit(context), is_little_endian=True)
        found.decode()
    except Exception as error:
        raise BadRequest(f"the identifier cannot be read ({type(error).__name__})") from None
    return found


def _encoded(data: Dataset, context: Accepted) -> bytes:
    made = BytesIO()
    out = DicomFileLike(made)
    out.is_little_endian, out.is_implicit_VR = True, _is_implicit(context)
    write_dataset(out, data)
    return made.getvalue()


def _level(asked: Dataset) -> str:
    level = str(asked.get("QueryRetrieveLevel", ""))
    if level not in _LEVELS:
        raise BadRequest("the level is PATIENT, STUDY, SERIES or IMAGE")
    return level


def _uid(asked: Dataset, keyword: str) -> str:
    return next(iter(_uids(asked, keyword)), "")


def _uids(asked: Dataset, keyword: str) -> tuple[str, ...]:
    value = asked.get(keyword)
    if not value:
        return ()
    return (str(value),) if isinstance(value, str) else tuple(map(str, value))


def _said(asked: Dataset) -> str:
    """The identifier for the audit entry, which is sealed."""
    return json.dumps(asked.to_json_dict()).decode()


def _answer(attributes: dict[str, Any], wanted: Sequence[int], level: str, title: str) -> Dataset:
    """What was asked for, empty where it is not known."""
    told = Dataset.from_json({tag: one for tag, one in attributes.items() if int(tag, 16) in set(wanted)})
    for tag in wanted:
        if tag not in told:
            told.add_new(tag, vr_of(tag), None)
    told.SpecificCharacterSet = "ISO_IR 192"
    told.QueryRetrieveLevel, told.RetrieveAETitle, told.InstanceAvailability = level, title, "ONLINE"
    return told
