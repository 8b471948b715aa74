"""STOW-RS: what is stored, what is answered, what is refused."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from dicom_objects import image, part10, uid
from hdg import imaging_api
from hdg.errors import DicomError
from hdg.ingestion.dicom.scp_multipart import Multipart, boundary_of
from hdg.management import identity
from hdg.usage.access import Gate
from hdg.usage.fhir_api.app import create_app

KIND = 'multipart/related; type="application/dicom"; boundary=B'


class Web:
    """The STOW endpoint of a site."""

    def __init__(self, site) -> None:
        gateway = site.gateway
        settings = gateway.settings
        gate = Gate.open(settings, gateway.keys, gateway.store, gateway.clock)
        app = create_app(gate, settings)
        imaging_api.mount(app, gate, site.imaging)
        self._app, self._key, self._clock = app, gateway.keys.token_key, gateway.clock

    def post(
        self, content, *, path="/dicomweb/studies", role="sender", kind=KIND, institution="north", user="u"
    ):
        now_us = self._clock()
        bound = {} if role == "operator" else {"institution": institution}
        token = identity.mint(self._key, role=role, user=user, at_us=now_us, **bound)
        headers = {"authorization": f"Bearer {token}", "content-type": kind}

        async def send():
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="https://gateway.example") as client:
                return await client.post(path, content=content, headers=headers)

        return asyncio.run(send())


@pytest.fixture
def web(site):
    made = Web(site)
    made.site = site
    return made


def body(*objects, kind="application/dicom"):
    parts = (f"--B\r\nContent-Type: {kind}\r\n\r\n".encode() + one + b"\r\n" for one in objects)
    return b"".join(parts) + b"--B--\r\n"


def test_objects_are_stored_and_named_in_the_answer(web) -> None:
    objects = [part10(image(number, pixels=bytes(size))) for number, size in ((1, 512), (2, 3_000_000))]
    answer = web.post(body(*objects))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    told = answer.json()
    assert told["00081190"]["Value"] == [f"https://gateway.example/dicomweb/studies/{uid(1)}"]
    assert [item["00081155"]["Value"] for item in told["00081199"]["Value"]] == [
        [uid(1, 1, 1)],
        [uid(1, 1, 2)],
    ]
    assert web.post(body(*objects)).json() == told
    assert web.site.study()["numberOfInstances"] == 2


def test_what_fails_is_named_with_its_reason(web) -> None:
    good, other = part10(image(1)), part10(image(1, pixels=b"\1" * 512))
    answer = web.post(body(good, other, b"junk"))
    assert answer.status_code == 202
    told = answer.json()
    assert [item["00081197"]["Value"] for item in told["00081198"]["Value"]] == [[0x0111]]
    assert [item["00081197"]["Value"] for item in told["0008119A"]["Value"]] == [[0xC000]]
    assert web.post(body(b"junk")).status_code == 409


def test_an_object_of_another_study_than_the_paths_is_refused(web) -> None:
    answer = web.post(body(part10(image(1))), path=f"/dicomweb/studies/{uid(2)}")
    assert answer.status_code == 409
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xA900]
    assert web.post(body(part10(image(1))), path=f"/dicomweb/studies/{uid(1)}").status_code == 200


def test_only_senders_and_operators_store_and_only_dicom(web) -> None:
    data = body(part10(image(1)))
    assert web.post(data, role="clinician").status_code == 403
    assert web.post(data, kind="application/dicom").status_code == 415
    assert (
        web.post(data, kind='multipart/related; type="application/dicom+json"; boundary=B').status_code == 415
    )
    assert web.post(data, kind="multipart/related").status_code == 400
    assert web.post(body(part10(image(1)), kind="text/plain")).status_code == 409
    assert web.site.all_of("Patient") == []
    assert web.post(data, role="operator").status_code == 200


def test_a_body_that_is_cut_leaves_nothing_of_its_last_part(web) -> None:
    data = body(part10(image(1)), part10(image(2, pixels=bytes(2_000_000))))
    assert web.post(data[:-200_000]).status_code == 400
    assert web.site.study()["numberOfInstances"] == 1
    assert web.site.vault_files() == []


def test_with_little_space_the_sender_is_told_to_come_again(make_site) -> None:
    answer = Web(make_site(min_free_bytes=1 << 60)).post(body(part10(image(1))))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50, 10_000])
def test_parts_are_the_same_in_whatever_pieces_they_come(piece) -> None:
    data = b"preamble\r\n--B\r\nContent-Type: a/b\r\nX: y\r\n\r\none\r\n--C\r\n--B \t\r\n\r\n\r\n\r\n--B--\r\nepilogue"
    parser = Multipart(b"B")
    events = [event for at in range(0, len(data), piece) for event in parser.feed(data[at : at + piece])]
    parser.close()
    parts, held = [], b""
    for event in events:
        if isinstance(event, bytes):
            held += event
        elif event is None:
            parts.append(held)
            held = b""
    assert parts == [b"one\r\n--C", b"\r\n"]
    assert events[0] == {"content-type": "a/b", "x": "y"}


def test_a_multipart_is_bounded_and_must_end() -> None:
    assert boundary_of('multipart/related; boundary="a b"') == b"a b"
    with pytest.raises(DicomError):
        boundary_of("multipart/related")
    with pytest.raises(DicomError):
        list(Multipart(b"B").feed(bytes(100_000)))
    with pytest.raises(DicomError):
        list(Multipart(b"B").feed(b"--B\r\n" + b"x" * 100_000))
    half = Multipart(b"B")
    list(half.feed(b"--B\r\n\r\nabc"))
    with pytest.raises(DicomError):
        half.close()


def test_a_number_without_an_issuer_means_somebody_of_one_sender_only(web) -> None:
    for number, name in enumerate(("Doe^Jane", "Roe^Richard")):
        answer = web.post(body(part10(image(study=number, PatientName=name))), user=f"sender{number}")
        assert answer.status_code == 200
    assert sorted(one["name"][0]["family"] for one in web.site.all_of("Patient")) == ["Doe", "Roe"]


def test_a_body_that_arrives_too_slowly_is_given_up_and_what_was_whole_is_kept(web, monkeypatch) -> None:
    monkeypatch.setattr(imaging_api, "IDLE_S", 0.2)
    objects = [part10(image(number)) for number in (1, 2)]
    whole = body(*objects)

    async def slowly():
        yield whole[: len(whole) // 2 + 200]
        await asyncio.sleep(30)
        yield whole[len(whole) // 2 + 200 :]

    answer = web.post(slowly())
    assert answer.status_code == 408
    assert web.site.study()["numberOfInstances"] == 1
    assert web.site.vault_files() == []
    assert web.post(whole).status_code == 200
