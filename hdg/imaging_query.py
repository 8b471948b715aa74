"""C-FIND, C-MOVE and C-GET of the DICOM listener, through the same gate as DICOMweb. DICOM PS3.4 Annex C.

An option: only a peer that ``hdg.toml`` names with ``reads`` may ask, and what it sees is what that principal may see
by consent and policy. An AE title is a name that anybody can give, so such a peer must also show its certificate or
come from its address. How objects are sent is told in imaging_retrieve.py.
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

from hdg import imaging_retrieve as retrieve
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
from hdg.usage.dicomweb.matching import Asked, keys_of, narrowing, vr_of
from hdg.usage.dicomweb.query import Query
from hdg.usage.fhir_api import parameters
from hdg.usage.fhir_api.parameters import Limits
from hdg.usage.trail import Caller

__all__ = ["MODELS", "QueryRetrieve"]

_log = logging.getLogger("hdg.dicom")

PATIENT_FIND, PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_FIND, STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_GET, STUDY_GET = "1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3"
_FINDS, _MOVES, _GETS = (PATIENT_FIND, STUDY_FIND), (PATIENT_MOVE, STUDY_MOVE), (PATIENT_GET, STUDY_GET)
MODELS = (*_FINDS, *_MOVES, *_GETS)
C_GET, C_FIND, C_MOVE = 0x0010, 0x0020, 0x0021
_PENDING, _CANNOT, _NO_RESOURCES = 0xFF00, 0xA900, 0xA700
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
        """A C-FIND, C-MOVE or C-GET request."""
        try:
            caller = self._caller(association.peer)
            asked = _data_set(data, context)
            kind = number(command, COMMAND_FIELD)
            if kind == C_FIND and context.abstract_syntax in _FINDS:
                self._find(association, context, command, asked, caller)
            elif kind == C_MOVE and context.abstract_syntax in _MOVES:
                self._move(association, context, command, asked, caller)
            elif kind == C_GET and context.abstract_syntax in _GETS:
                found = self._objects(asked, caller, f"C-GET {said(asked)}")
                retrieve.get(association, context, command, found)
            else:
                association.send(context.id, response(command, Status.UNRECOGNIZED))
        except AccessDenied as error:
            association.send(context.id, response(command, Status.NOT_AUTHORIZED, str(error)))
        except BadRequest as error:
            association.send(context.id, response(command, _CANNOT, str(error)))
        except HdgError as error:
            _log.error("a DICOM query failed: %s", type(error).__name__)
            association.send(context.id, response(command, _NO_RESOURCES, "the gateway could not answer"))

    def sends(self, abstract_syntax: str) -> bool:
        """C-GET does."""
        return abstract_syntax in _GETS

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
        found = self._run(self._gate.images(caller, query, f"C-FIND {level} {said(asked)}"))
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

    # --- C-MOVE, C-GET --------------------------------------------------------------------------------------

    def _move(
        self, association: Association, context: Accepted, command: Command, asked: Dataset, caller: Caller
    ) -> None:
        destination = text(command, retrieve.DESTINATION)
        address = self._address(association.peer, destination)
        if not address:
            status = retrieve.UNKNOWN_DESTINATION
            association.send(context.id, response(command, status, "destination is not declared"))
            return
        found = self._objects(asked, caller, f"C-MOVE to {destination} {said(asked)}")
        target = retrieve.Target(address, destination, self._title())
        retrieve.move(association, context, command, found, target)

    def _objects(self, asked: Dataset, caller: Caller, audited: str) -> Sequence[Image]:
        """What is to be sent, of what the caller may see. Raises BadRequest."""
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

        return self._run(self._gate.images(caller, find, audited))

    def _address(self, peer: Peer, destination: str) -> str:
        """Where a peer listens that reads as the one who asks; '' where there is none."""
        peers = self._settings.dicom_peers
        target, asking = peers.get(destination), peers.get(peer.calling)
        if target is None or asking is None or target.reads != asking.reads:
            return ""
        return target.address or ""


def is_proved(declared: DicomPeer, peer: Peer) -> bool:
    """Whether a peer is who it says: by its certificate or its address, whichever is declared; both, if both are."""
    if declared.tls_subject is None and declared.from_address is None:
        return False
    is_subject = declared.tls_subject in (None, peer.tls_subject)
    return is_subject and declared.from_address in (None, peer.address)


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


def said(asked: Dataset) -> str:
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
