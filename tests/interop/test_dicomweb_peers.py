"""DICOMweb as others speak it: dicomweb-client (PyPI), and Orthanc with its DICOMweb plugin, in both directions.

``tests/interop/tools.sh`` installs Debian's orthanc and orthanc-dicomweb.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from bench.measure import Running, start_gateway
from dicom_objects import image, part10, uid

pytestmark = pytest.mark.interop
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
QUIET_S = 240
GIGABYTE = 1_000_000_000


def hdg(*arguments: str) -> str:
    command = [sys.executable, "-m", "hdg", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def ports() -> tuple[int, int]:
    """Where Orthanc listens: HTTP, DICOM."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def served(tmp_path: Path, ports: tuple[int, int]) -> Iterator[Running]:
    data = tmp_path / "data"
    data.mkdir()
    (data / "hdg.toml").write_text(
        "[dicom_peers.ORTHANC]\n"
        f'address = "127.0.0.1:{ports[1]}"\nfrom_address = "127.0.0.1"\nreads = {{ user = "orthanc" }}\n'
    )
    running = start_gateway(data)
    yield running
    running.process.terminate()
    running.close()


def token(served: Running, role: str) -> str:
    return hdg("token", "--role", role, "--user", "u1", "--institution", "local", "--data", str(served.data))


def url(served: Running) -> str:
    return f"http://{served.http[0]}:{served.http[1]}/dicomweb"


def client(served: Running, role: str) -> Any:
    from dicomweb_client.api import DICOMwebClient  # of the extra "interop": make test has it not

    return DICOMwebClient(url(served), headers={"Authorization": f"Bearer {token(served, role)}"})


def slices(count: int) -> list[Any]:
    return [image(number, pixels=bytes([number]) * 512) for number in range(1, count + 1)]


def wait_for(found, count: int):
    """ImagingStudies are made when it is quiet."""
    end = time.monotonic() + QUIET_S
    while True:
        got = found()
        if len(got) == count or time.monotonic() > end:
            return got
        time.sleep(0.1)


def test_dicomweb_client_stores_finds_and_retrieves(served: Running) -> None:
    made = slices(3)
    answer = client(served, "sender").store_instances(made)
    assert len(answer.ReferencedSOPSequence) == 3
    reader = client(served, "clinician")
    (study,) = wait_for(reader.search_for_studies, 1)
    assert study["0020000D"]["Value"] == [uid(1)]
    assert len(wait_for(lambda: reader.search_for_instances(uid(1)), 3)) == 3
    assert reader.search_for_studies(search_filters={"PatientID": "nobody"}) == []
    assert len(reader.search_for_series(uid(1), search_filters={"Modality": "CT"})) == 1
    for one in reader.retrieve_study(uid(1)):
        (sent,) = (data for data in made if data.SOPInstanceUID == one.SOPInstanceUID)
        assert one == sent
    place = uid(1), uid(1, 1), uid(1, 1, 2)
    assert reader.retrieve_instance(*place).PixelData == bytes([2]) * 512
    assert reader.retrieve_instance_metadata(*place)["00100020"]["Value"] == ["4711"]
    (frame,) = reader.retrieve_instance_frames(*place, [1])
    assert frame == bytes([2]) * 512
    assert reader.retrieve_instance_rendered(*place, media_types=("image/png",)).startswith(b"\x89PNG")
    assert len(reader.retrieve_series_metadata(uid(1), uid(1, 1))) == 3


class Orthanc:
    """One Orthanc with the gateway as its modality and its DICOMweb server."""

    def __init__(self, folder: Path, served: Running, ports: tuple[int, int]) -> None:
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.dicom = f"dicom://ORTHANC@127.0.0.1:{ports[1]}"
        remote = {
            "Url": url(served),
            "HttpHeaders": {"Authorization": f"Bearer {token(served, 'operator')}"},
            "HasDelete": False,
            "ChunkedTransfers": True,
        }
        reading = {**remote, "HttpHeaders": {"Authorization": f"Bearer {token(served, 'clinician')}"}}
        settings = {
            "StorageDirectory": str(folder / "orthanc"),
            "HttpPort": ports[0],
            "DicomServerEnabled": True,
            "DicomPort": ports[1],
            "DicomAet": "ORTHANC",
            "DicomCheckModalityHost": False,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [PLUGIN],
            "DicomModalities": {"hdg": ["HDG", served.dicom[0], int(served.dicom[1])]},
            "DicomWeb": {"Enable": True, "Servers": {"hdg-in": remote, "hdg-out": reading}},
        }
        file = folder / "orthanc.json"
        file.write_text(json.dumps(settings))
        self.log = (folder / "orthanc.log").open("wb")
        self.process = subprocess.Popen(["Orthanc", str(file)], stdout=self.log, stderr=self.log)
        end = time.monotonic() + QUIET_S
        while True:
            try:
                self.get("/system")
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=300) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method="POST")
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def delete_all(self) -> None:
        for one in self.get("/studies"):
            urllib.request.urlopen(
                urllib.request.Request(f"{self.url}/studies/{one}", method="DELETE"), timeout=300
            )

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(300)
        self.log.close()


@pytest.fixture
def orthanc(tmp_path: Path, served: Running, ports: tuple[int, int]) -> Iterator[Orthanc]:
    made = Orthanc(tmp_path, served, ports)
    yield made
    made.close()


@pytest.mark.parametrize("way", ["c-store", "stow-rs"])
def test_orthanc_pushes_a_study_and_pulls_it_back_whole(served: Running, orthanc: Orthanc, way: str) -> None:
    for one in slices(4):
        orthanc.post("/instances", part10(one))
    (study,) = orthanc.get("/studies")
    if way == "c-store":
        orthanc.post("/modalities/hdg/store", study)
    else:
        orthanc.post("/dicom-web/servers/hdg-in/stow", {"Resources": [study], "Synchronous": True})
    reader = client(served, "clinician")
    wait_for(lambda: reader.search_for_instances(uid(1)) if reader.search_for_studies() else [], 4)
    orthanc.delete_all()
    assert orthanc.get("/instances") == []
    found = orthanc.post(
        "/dicom-web/servers/hdg-out/qido", {"Uri": "/studies", "Arguments": {"PatientID": "4711"}}
    )
    assert found[0]["0020000D"]["Value"] == uid(1)
    orthanc.post(
        "/dicom-web/servers/hdg-out/retrieve", {"Resources": [{"Study": uid(1)}], "Synchronous": True}
    )
    back = orthanc.get("/instances")
    assert len(back) == 4
    for one in back:
        with urllib.request.urlopen(f"{orthanc.url}/instances/{one}/file", timeout=300) as answer:
            data = dcmread(io.BytesIO(answer.read()))
        assert data.PixelData == bytes([data.InstanceNumber]) * 512
        assert (data.PatientID, str(data.PatientName)) == ("4711", "Doe^Jane")


def test_studies_are_pulled_from_orthanc_by_dicomweb_and_by_c_move(served: Running, orthanc: Orthanc) -> None:
    for one in slices(4):
        orthanc.post("/instances", part10(one))
    said = hdg("pull", orthanc.dicom, "--patient", "4711", "--to", "HDG", "--data", str(served.data))
    assert said.splitlines() == [f"{uid(1)}  4 objects", "1 studies, 0 not whole"]
    said = hdg("pull", f"{orthanc.url}/dicom-web", "--patient", "4711", "--data", str(served.data))
    assert said.splitlines()[0] == f"{uid(1)}  0 objects, 4 known already"
    orthanc.post("/instances", part10(image(1, study=2)))
    said = hdg("pull", f"{orthanc.url}/dicom-web", "--study", uid(2), "--data", str(served.data))
    assert said.splitlines()[0] == f"{uid(2)}  1 objects"
    reader = client(served, "clinician")
    assert len(wait_for(reader.search_for_studies, 2)) == 2
    assert len(reader.search_for_instances()) == 5


def test_orthanc_queries_and_retrieves_by_c_find_and_c_move(served: Running, orthanc: Orthanc) -> None:
    client(served, "sender").store_instances(slices(3))
    reader = client(served, "clinician")
    wait_for(lambda: reader.search_for_instances(uid(1)) if reader.search_for_studies() else [], 3)
    asked = {"Level": "Study", "Query": {"PatientID": "47*", "StudyDate": "20240501", "PatientName": ""}}
    query = orthanc.post("/modalities/hdg/query", asked)["ID"]
    answers = orthanc.get(f"/queries/{query}/answers?expand&simplify")
    assert [(one["StudyInstanceUID"], one["PatientName"]) for one in answers] == [(uid(1), "Doe^Jane")]
    orthanc.post(f"/queries/{query}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    assert len(orthanc.get("/instances")) == 3


def test_findscu_finds_a_study(served: Running) -> None:
    client(served, "sender").store_instances(slices(2))
    reader = client(served, "clinician")
    wait_for(reader.search_for_studies, 1)
    host, port = served.dicom
    command = ["findscu", "-S", "-aet", "ORTHANC", "-aec", "HDG", "-k", "QueryRetrieveLevel=STUDY"]
    keys = ["-k", "PatientID=4711", "-k", "StudyInstanceUID", "-k", "NumberOfStudyRelatedInstances"]
    done = subprocess.run(
        [*command, *keys, "-v", host, str(port)], capture_output=True, text=True, check=True
    )
    assert uid(1) in done.stdout + done.stderr


def test_orthanc_is_given_storage_commitment_for_what_is_there_and_for_nothing_else(
    served: Running, orthanc: Orthanc
) -> None:
    for one in slices(2):
        orthanc.post("/instances", part10(one))
    (study,) = orthanc.get("/studies")
    sent = orthanc.post(
        "/modalities/hdg/store", {"Resources": [study], "StorageCommitment": True, "Synchronous": True}
    )
    unknown = ["1.2.840.10008.5.1.4.1.1.2", uid(1, 1, 9)]
    asked = orthanc.post("/modalities/hdg/storage-commitment", {"DicomInstances": [unknown]})
    kept = wait_for_report(orthanc, sent["StorageCommitmentTransactionUID"])
    assert (kept["Status"], kept["Failures"]) == ("Success", [])
    assert {one["SOPInstanceUID"] for one in kept["Success"]} == {uid(1, 1, 1), uid(1, 1, 2)}
    refused = wait_for_report(orthanc, asked["ID"])
    assert (refused["Status"], refused["Success"]) == ("Failure", [])
    assert [one["SOPInstanceUID"] for one in refused["Failures"]] == [uid(1, 1, 9)]


def wait_for_report(orthanc: Orthanc, transaction: str) -> Any:
    end = time.monotonic() + QUIET_S
    while True:
        found = orthanc.get(f"/storage-commitment/{transaction}")
        if found["Status"] != "Pending" or time.monotonic() > end:
            return found
        time.sleep(0.1)


def write_large(file: Path) -> str:
    """An object of 1 GB without it ever being in memory; the hash of its pixels."""
    frames, frame = GIGABYTE // 2_000_000, 2_000_000
    head = part10(image(1, pixels=b"", Rows=1000, Columns=1000, NumberOfFrames=frames))
    digest = hashlib.sha256()
    with file.open("wb") as out:
        out.write(head[:-4] + GIGABYTE.to_bytes(4, "little"))  # the pixels are last
        for number in range(frames):
            made = hashlib.sha256(b"%d" % number).digest() * (frame // 32)
            out.write(made)
            digest.update(made)
    return digest.hexdigest()


def peak_mb(served: Running) -> float:
    """The most memory that the gateway had so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{served.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


@pytest.mark.parametrize("way", ["c-store", "stow-rs"])
def test_an_object_of_1_gb_goes_in_and_out_whole_in_constant_memory(
    served: Running, tmp_path: Path, way: str
) -> None:
    reader = client(served, "clinician")
    client(served, "sender").store_instances([image(2, pixels=bytes(5_000_000))])
    wait_for(reader.search_for_studies, 1)
    reader.retrieve_study(uid(1))
    before = peak_mb(served)
    file = tmp_path / "large.dcm"
    digest = write_large(file)
    if way == "c-store":
        subprocess.run(["storescu", "-aet", "ORTHANC", *map(str, served.dicom), str(file)], check=True)
    else:
        stow(served, file)
    assert len(wait_for(reader.search_for_instances, 2)) == 2
    place = f"{url(served)}/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"
    headers = {"authorization": f"Bearer {token(served, 'clinician')}", "accept": "application/dicom"}
    with urllib.request.urlopen(urllib.request.Request(place, headers=headers), timeout=300) as answer:
        rest = hashlib.sha256()
        head = answer.read(4096)
        at = head.index(GIGABYTE.to_bytes(4, "little")) + 4
        rest.update(head[at:])
        while piece := answer.read(1 << 20):
            rest.update(piece)
    assert rest.hexdigest() == digest
    assert peak_mb(served) - before < 60


def stow(served: Running, file: Path) -> None:
    """One part, streamed."""
    start, end = b"--B\r\nContent-Type: application/dicom\r\n\r\n", b"\r\n--B--"

    def body() -> Iterator[bytes]:
        yield start
        with file.open("rb") as source:
            while piece := source.read(1 << 20):
                yield piece
        yield end

    headers = {
        "authorization": f"Bearer {token(served, 'sender')}",
        "content-type": 'multipart/related; type="application/dicom"; boundary=B',
        "content-length": str(len(start) + file.stat().st_size + len(end)),
    }
    request = urllib.request.Request(url(served) + "/studies", body(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=300) as answer:
        assert answer.status == 200
