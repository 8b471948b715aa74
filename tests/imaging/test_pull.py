"""Studies are fetched from archives: by DICOMweb from a server of this test, by C-MOVE from one of pynetdicom's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_objects import image, part10, uid
from hdg import pull
from hdg.errors import BadRequest
from hdg.pull import Criteria, PullFailed, by_dicomweb, by_move

MARK = "a-boundary"


class Archive:
    """Studies by UID, as DICOMweb gives them; ``cuts``: so many answers break off after the first object.

    ``page``: studies of one answer at most; ``says_404``: where there are none.
    """

    def __init__(self) -> None:
        self.studies: dict[str, list[bytes]] = {}
        self.cuts, self.page, self.says_404 = 0, 1000, False
        self.asked: list[tuple[str, str | None]] = []
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.asked.append((self.path, self.headers["Authorization"]))
                archive.answer(self)

            def log_message(self, *_args: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        name = parts.path.removeprefix("/dicom-web/studies").strip("/")
        if not name:
            offset = int(parse_qs(parts.query)["offset"][0])
            some = list(self.studies)[offset : offset + self.page]
            found = [{"0020000D": {"vr": "UI", "Value": [one]}} for one in some]
            if not found and self.says_404:
                self.send(handler, 404, "text/plain", b"")
                return
            self.send(handler, 200, "application/dicom+json", json.dumps(found).encode())
        elif name not in self.studies:
            self.send(handler, 404, "text/plain", b"")
        else:
            body = b"".join(
                f"--{MARK}\r\nContent-Type: application/dicom\r\n\r\n".encode() + one + b"\r\n"
                for one in self.studies[name]
            )
            whole = body + f"--{MARK}--\r\n".encode()
            kind = f'multipart/related; type="application/dicom"; boundary={MARK}'
            is_cut, self.cuts = self.cuts > 0, self.cuts - 1
            self.send(handler, 200, kind, whole, whole[: len(body) - 300] if is_cut else whole)

    @staticmethod
    def send(
        handler: BaseHTTPRequestHandler, status: int, kind: str, body: bytes, sent: bytes | None = None
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if sent is None else sent)


@pytest.fixture
def archive(monkeypatch) -> Iterator[Archive]:
    monkeypatch.setattr(pull, "_PAUSE_S", 0.0)
    made = Archive()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def slices(archive) -> list[bytes]:
    found = [part10(image(number)) for number in (1, 2, 3)]
    archive.studies[uid(1)] = found
    return found


def pulled(archive, site, *studies, **attributes):
    criteria = Criteria(studies, attributes)
    return list(by_dicomweb(archive.url, criteria, {"Authorization": "Bearer x"}, site.imaging))


def test_a_study_is_fetched_and_known_the_next_time(archive, slices, site) -> None:
    (one,) = pulled(archive, site, uid(1))
    assert (one.stored, one.known, one.failures) == (3, 0, [])
    assert site.study()["numberOfInstances"] == 3
    (one,) = pulled(archive, site, uid(1))
    assert (one.stored, one.known) == (0, 3)
    assert {authorization for _, authorization in archive.asked} == {"Bearer x"}


def test_studies_are_searched_for(archive, slices, make_site) -> None:
    archive.studies[uid(2)] = [part10(image(1, study=2))]
    found = pulled(archive, make_site(), PatientID="4711", StudyDate="")
    assert [(one.study, one.stored) for one in found] == [(uid(1), 3), (uid(2), 1)]
    asked = parse_qs(urlsplit(archive.asked[0][0]).query)
    assert asked["PatientID"] == ["4711"]
    assert "StudyDate" not in asked


@pytest.mark.parametrize("says_404", [False, True])
def test_an_archive_that_gives_fewer_at_a_time_than_it_was_asked_for_is_fetched_whole(
    archive, slices, make_site, says_404
) -> None:
    archive.studies[uid(2)] = [part10(image(1, study=2))]
    archive.page, archive.says_404 = 1, says_404
    found = pulled(archive, make_site(), PatientID="4711")
    assert [(one.study, one.stored) for one in found] == [(uid(1), 3), (uid(2), 1)]


def test_an_answer_that_breaks_off_is_asked_for_again(archive, slices, make_site) -> None:
    archive.cuts = 2
    site = make_site()
    (one,) = pulled(archive, site, uid(1))
    assert (one.stored, one.known, one.failures) == (3, 0, [])
    assert site.study()["numberOfInstances"] == 3


def test_an_answer_that_always_breaks_off_is_a_failure_and_what_came_is_kept(
    archive, slices, make_site
) -> None:
    archive.cuts = 100
    site = make_site()
    (one,) = pulled(archive, site, uid(1))
    assert one.failures
    assert site.study()["numberOfInstances"] == 2
    assert site.vault_files() == []


def test_what_the_archive_does_not_have_is_a_failure(archive, make_site) -> None:
    (one,) = pulled(archive, make_site(), uid(9))
    assert one.failures == ["the archive answers with status 404"]


def test_an_object_of_another_study_is_not_taken(archive, make_site) -> None:
    archive.studies[uid(1)] = [part10(image(1, study=2))]
    site = make_site()
    (one,) = pulled(archive, site, uid(1))
    assert one.stored == 0
    assert "Study Instance UID" in one.failures[0]
    assert site.all_of("ImagingStudy") == []


def test_an_archive_is_never_fetched_as_a_whole_by_oversight(archive, make_site) -> None:
    with pytest.raises(BadRequest):
        pulled(archive, make_site())
    with pytest.raises(BadRequest):
        list(by_dicomweb("file:///etc/passwd", Criteria((uid(1),)), {}, make_site().imaging))
    with pytest.raises(BadRequest):
        list(by_move("dicom://nobody", Criteria((uid(1),)), "HDG", "HDG"))


def test_an_archive_that_is_not_there_is_told_apart(make_site) -> None:
    archive = Archive()
    archive.server.server_close()
    with pytest.raises(PullFailed, match="does not answer"):
        list(by_dicomweb(archive.url, Criteria((), {"PatientID": "1"}), {}, make_site().imaging))


@pytest.fixture
def mover(site) -> Iterator[str]:
    """An archive with one study, which knows our listener as HDG."""
    made = [image(number) for number in (1, 2, 3)]
    host, _, port = site.address.rpartition(":")

    def found(event: evt.Event) -> Iterator[tuple[int, Any]]:
        answer = image(1)
        if event.identifier.get("PatientID") in ("4711", ""):
            yield 0xFF00, answer[0x0020000D:0x0020000E]
        yield 0x0000, None

    def moved(event: evt.Event) -> Iterator[Any]:
        if event.move_destination != "HDG":
            yield None, None
            return
        yield host, int(port), {"contexts": _contexts()}
        yield len(made)
        for one in made:
            yield 0xFF00, one

    entity = AE(ae_title="PACS")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, found), (evt.EVT_C_MOVE, moved)]
    )
    yield f"dicom://PACS@127.0.0.1:{server.socket.getsockname()[1]}"
    server.shutdown()


def _contexts() -> Any:
    entity = AE()
    entity.add_requested_context(CTImageStorage)
    return entity.requested_contexts


def test_by_c_move_the_archive_sends_to_the_listener(site, mover) -> None:
    (one,) = by_move(mover, Criteria((), {"PatientID": "4711"}), "HDG", "HDG")
    assert (one.study, one.stored, one.failures) == (uid(1), 3, [])
    assert site.study()["numberOfInstances"] == 3


def test_a_destination_that_the_archive_does_not_know_is_a_failure(site, mover) -> None:
    (one,) = by_move(mover, Criteria((uid(1),)), "HDG", "NOBODY")
    assert one.stored == 0
    assert "A801" in one.failures[0]
