"""``hdg pull``: studies are fetched from an archive, by DICOMweb or by C-MOVE. DICOM PS3.18 §10; PS3.4 Annex C.

By DICOMweb (``https://…``) the objects come here and are taken in as any other; by C-MOVE (``dicom://AE@HOST:PORT``)
the archive is asked to send them to the listener of ``hdg serve``, which it must know. What is here already is known
again.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from hdg.errors import BadRequest, DicomError, HdgError
from hdg.fhir import json
from hdg.imaging import Expected, Imaging, Intake, Outcome
from hdg.ingestion.dicom.scp_multipart import Multipart, boundary_of
from hdg.ingestion.dicom.scu import own_handlers
from hdg.ingestion.sender import Origin

__all__ = ["Criteria", "PullFailed", "Pulled", "by_dicomweb", "by_move"]

TRIES = 3
_PAUSE_S = 2.0
_TIMEOUT_S = 60.0
_PIECE_BYTES = 1 << 20
_ANSWER_MAX = 64 * 1024 * 1024
"""Bytes of an answer to a search."""
_PAGE = 200


class PullFailed(HdgError):
    """The archive cannot be asked, or does not answer as it should; without a patient's value.

    ``status``: of its answer; 0 where there was none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which studies: by UID, else by what they are of. ``attributes``: keyword → value to match."""

    studies: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises BadRequest: an archive is never fetched as a whole by oversight."""
        if not self.studies and not any(self.attributes.values()):
            raise BadRequest("which studies: a UID, a patient, a date or a modality")


@dataclass(slots=True)
class Pulled:
    """What became of one study. ``failures``: reasons, without a patient's value."""

    study: str
    stored: int = 0
    known: int = 0
    failures: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        """Counts an object, once however often it came."""
        is_new = outcome.sop_uid not in self._seen
        self._seen.add(outcome.sop_uid)
        if outcome.status:
            self.failures.append(f"{outcome.sop_uid or 'an object'}: {outcome.text}")
        elif is_new and outcome.is_repeat:
            self.known += 1
        elif is_new:
            self.stored += 1


# --- DICOMweb -----------------------------------------------------------------------------------------------------


def by_dicomweb(
    base: str, criteria: Criteria, headers: Mapping[str, str], imaging: Imaging
) -> Iterator[Pulled]:
    """Study by study, each object taken in while it arrives. Raises BadRequest, PullFailed (for the search)."""
    criteria.check()
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest("the address of an archive is http(s)://… or dicom://AE@HOST:PORT")
    remote = _Remote(base.rstrip("/"), dict(headers))
    for study in criteria.studies or remote.studies(criteria.attributes):
        pulled = Pulled(study)
        for attempt in range(TRIES):
            pulled.failures.clear()
            try:
                remote.fetch(study, imaging, pulled)
                break
            except PullFailed as error:
                pulled.failures.append(str(error))
                if attempt < TRIES - 1:
                    time.sleep(_PAUSE_S * (attempt + 1))
        yield pulled


class _Remote:
    def __init__(self, base: str, headers: dict[str, str]) -> None:
        self._base, self._headers = base, headers
        parts = urlsplit(base)
        self._name = f"pull|{parts.hostname}:{parts.port or ''}{parts.path}"
        """A number without an issuer is somebody's within this archive only."""

    def _open(self, path: str, accept: str) -> Any:
        # The scheme was checked; a redirect would send the credentials elsewhere, so none is followed.
        request = urllib.request.Request(  # noqa: S310
            self._base + path, headers={**self._headers, "Accept": accept}
        )
        try:
            return _OPENER.open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            raise PullFailed(f"the archive answers with status {error.code}", error.code) from None
        except (OSError, http.client.HTTPException) as error:
            raise PullFailed(f"the archive does not answer ({type(error).__name__})") from None

    def studies(self, attributes: Mapping[str, str]) -> list[str]:
        """UIDs of all studies that match."""
        found: dict[str, None] = {}
        while True:
            query = {name: value for name, value in attributes.items() if value}
            path = f"/studies?{urlencode({**query, 'limit': _PAGE, 'offset': len(found)})}"
            try:
                with self._open(path, "application/dicom+json") as answer:
                    body = b"" if answer.status == 204 else _read(answer, _ANSWER_MAX)
            except PullFailed as error:
                if error.status != 404 or not found:
                    raise
                body = b""  # behind the last one, some say so
            try:
                page = [one["0020000D"]["Value"][0] for one in json.loads(body)] if body else []
            except (ValueError, KeyError, TypeError, IndexError):
                raise PullFailed("the archive's answer to a search is not DICOM JSON") from None
            before = len(found)
            found.update(dict.fromkeys(map(str, page)))
            if len(found) == before:  # a page may be shorter than asked for though there is more
                return list(found)

    def fetch(self, study: str, imaging: Imaging, pulled: Pulled) -> None:
        """All objects of a study. Raises PullFailed where the answer breaks off: what came before is stored."""
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with self._open(f"/studies/{quote(study, safe='.')}", accept) as answer:
            try:
                taken = _Taking(
                    imaging, self._name, study, Multipart(boundary_of(answer.headers.get("content-type", "")))
                )
                taken.all_of(answer, pulled)
            except DicomError as error:
                raise PullFailed(f"the archive's answer is no multipart ({error.text})") from None
            except (OSError, http.client.HTTPException) as error:
                raise PullFailed(f"the answer broke off ({type(error).__name__})") from None
        if not pulled.stored and not pulled.known and not pulled.failures:
            raise PullFailed("the archive's answer holds no object")


class _Taking:
    """The objects of one answer."""

    def __init__(self, imaging: Imaging, name: str, study: str, multipart: Multipart) -> None:
        self._imaging, self._name, self._study, self._multipart = imaging, name, study, multipart
        self._intake: Intake | None = None

    def all_of(self, answer: Any, pulled: Pulled) -> None:
        try:
            while data := answer.read(_PIECE_BYTES):
                for event in self._multipart.feed(data):
                    if isinstance(event, dict):
                        self._intake = self._imaging.intake(
                            Origin(self._name), Expected(study_uid=self._study)
                        )
                    elif self._intake is None:
                        continue
                    elif isinstance(event, bytes):
                        self._intake.write(event)
                    else:
                        outcome, self._intake = self._intake.finish(), None
                        pulled.add(outcome)
            self._multipart.close()
        finally:
            if self._intake is not None:
                self._intake.abort()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        """None: the redirect is an error."""


_OPENER = urllib.request.build_opener(_NoRedirect)


def _read(answer: Any, most: int) -> bytes:
    body: bytes = answer.read(most + 1)
    if len(body) > most:
        raise PullFailed("the archive's answer to a search is too long")
    return body


# --- C-MOVE -------------------------------------------------------------------------------------------------------


def by_move(address: str, criteria: Criteria, ours: str, destination: str) -> Iterator[Pulled]:
    """The archive sends study by study to the AE title ``destination``. Raises BadRequest, PullFailed.

    ``address``: ``dicom://AE@HOST:PORT``; ``ours``: the AE title that asks.
    """
    from pydicom import Dataset
    from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
    )

    criteria.check()
    models = StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove
    association = _associated(address, ours, models)
    try:
        for study in criteria.studies or _found(association, criteria.attributes, models[0]):
            asked = Dataset()
            asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", study
            yield _moved(association.send_c_move(asked, destination, models[1]), study)
    finally:
        association.release()


def _associated(address: str, ours: str, models: tuple[str, str]) -> Any:
    from pynetdicom import AE

    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme != "dicom" or not parts.username or not host or not port:
        raise BadRequest("the address of an archive is http(s)://… or dicom://AE@HOST:PORT")
    entity = AE(ae_title=ours)
    for model in models:
        entity.add_requested_context(model)
    entity.acse_timeout = _TIMEOUT_S
    entity.dimse_timeout = entity.network_timeout = 3600
    association = entity.associate(host, port, ae_title=parts.username, evt_handlers=own_handlers())
    if not association.is_established:
        raise PullFailed("the archive accepts no association")
    return association


def _found(association: Any, attributes: Mapping[str, str], model: str) -> list[str]:
    from pydicom import Dataset

    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", ""
    for keyword, value in attributes.items():
        if value:
            setattr(asked, keyword, value)
    found: dict[str, None] = {}
    for status, identifier in association.send_c_find(asked, model):
        if not status or status.Status not in (0x0000, 0xFF00, 0xFF01):
            raise PullFailed(f"the archive refuses the search{_status(status)}")
        if identifier is not None and identifier.get("StudyInstanceUID"):
            found[str(identifier.StudyInstanceUID)] = None
    return list(found)


def _moved(answers: Any, study: str) -> Pulled:
    """``stored``: what the archive says that it has sent; what of it was known, the listener knows."""
    pulled = Pulled(study)
    status: Any = None
    for status, _ in answers:
        pulled.stored = int(status.get("NumberOfCompletedSuboperations") or pulled.stored) if status else 0
    failed = int(status.get("NumberOfFailedSuboperations") or 0) if status else 0
    if failed:
        pulled.failures.append(f"{failed} objects were not sent")
    if not status or status.Status != 0x0000:
        pulled.failures.append(f"the archive did not send all of it{_status(status)}")
    return pulled


def _status(status: Any) -> str:
    return (
        f" (status {status.Status:04X})" if status and "Status" in status else " (the connection broke off)"
    )
