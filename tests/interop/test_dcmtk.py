"""DCMTK (OFFIS) as the other side of the DICOM listener of ``hdg serve``: echoscu, storescu, dcmsend, findscu, getscu.

``tests/interop/tools.sh`` installs Debian's package.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue

import pytest
from pydicom import data as pydicom_data
from pydicom import dcmread
from sqlalchemy import true

from bench.measure import Running, start_gateway
from certificates import Authority
from dicom_objects import image, part10, uid
from hdg.gateway import Gateway
from hdg.imaging import Imaging
from hdg.management.store import imaging as store
from hdg.settings import Settings
from receiver import until
from stored import all_of

pytestmark = pytest.mark.interop


def run(*command: str | Path, code: int = 0) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    running = start_gateway(tmp_path / "data")
    yield running
    if running.process.poll() is None:
        running.process.terminate()
    running.close()


def write(folder: Path, *numbers: int, series: int = 1, pixels: int = 512) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{series}-{number}.dcm" for number in numbers]
    for number, file in zip(numbers, files, strict=True):
        file.write_bytes(part10(image(number, series=series, pixels=bytes(pixels))))
    return files


def studies(running: Running) -> list[dict]:
    """What is stored, once the gateway has ended."""
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(300)
    with Gateway.open(Settings(data=running.data)) as gateway:
        imaging = Imaging(gateway)
        imaging.studies.make_due()
        return all_of(gateway, "ImagingStudy")


def test_echoscu_is_answered(served: Running) -> None:
    assert "Success" in run("echoscu", "-v", *map(str, served.dicom))


def test_storescu_and_dcmsend_store_small_and_large_objects(served: Running, tmp_path: Path) -> None:
    files = [*write(tmp_path / "a", *range(1, 21)), *write(tmp_path / "a", 1, 2, series=2, pixels=5_000_000)]
    run("storescu", *served.dicom, *files)
    run("dcmsend", *served.dicom, *files)
    (study,) = studies(served)
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (2, 22)


@pytest.mark.parametrize("option", ["-x=", "-xi", "-xb", "-xd"])
def test_the_transfer_syntaxes_that_dcmtk_proposes_are_taken(served: Running, tmp_path: Path, option) -> None:
    run("storescu", option, *served.dicom, *write(tmp_path / "a", 1))
    assert studies(served)[0]["numberOfInstances"] == 1


def test_many_users_at_once_make_one_study(served: Running, tmp_path: Path) -> None:
    commands = [
        ["storescu", *map(str, served.dicom), *map(str, write(tmp_path / "a", *range(1, 26), series=series))]
        for series in range(1, 5)
    ]
    running = [subprocess.Popen(command) for command in commands]
    assert [one.wait(600) for one in running] == [0, 0, 0, 0]
    (study,) = studies(served)
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (4, 100)


def test_pydicoms_own_files_are_stored_or_refused_and_the_gateway_goes_on(served: Running) -> None:
    folder = Path(pydicom_data.__file__).parent / "test_files"
    files = [file for file in folder.rglob("*.dcm") if file.stat().st_size < 2_000_000]
    assert len(files) > 50
    for file in files:  # each by itself: storescu gives up with the first that it cannot read
        subprocess.run(["storescu", "-xs", *map(str, served.dicom), file], capture_output=True, check=False)
    assert "Success" in run("echoscu", "-v", *map(str, served.dicom))
    assert len(studies(served)) > 5


def test_what_was_answered_is_there_after_kill_9(served: Running, tmp_path: Path) -> None:
    small, large = (
        write(tmp_path / "a", *range(1, 400)),
        write(tmp_path / "b", 1, 2, 3, series=2, pixels=4_000_000),
    )
    answered: SimpleQueue[str] = SimpleQueue()

    def send() -> None:
        command = ["storescu", "-v", *map(str, served.dicom), *map(str, [*large, *small])]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                if "Received Store Response (Success)" in line:
                    answered.put(line)

    sender = threading.Thread(target=send)
    sender.start()
    while answered.qsize() < 40 and sender.is_alive():
        time.sleep(0.001)
    os.kill(served.process.pid, signal.SIGKILL)
    sender.join()
    served.process.wait()
    count = answered.qsize()
    assert count >= 40
    (study,) = studies(served)
    assert study["numberOfInstances"] >= count
    with sqlite3.connect(served.data / "hdg.db") as database:
        named = {row[0] for row in database.execute("SELECT cid FROM blob WHERE data IS NULL")}
    files = {path.name for path in (served.data / "vault").glob("??/*")}
    assert named <= files
    assert len(named) == 3
    assert list((served.data / "vault" / "incoming").iterdir()) == []
    check = run(sys.executable, "-m", "hdg", "verify", "--data", served.data)
    assert "wrong" not in check.lower()


@contextmanager
def narrow(address: tuple[str, int], most: int) -> Iterator[tuple[str, int]]:
    """A way to a listener on which only so many bytes get through, until the one who sends is gone."""

    def forward(ours: socket.socket, theirs: socket.socket) -> None:
        left = most
        with ours, theirs:
            with suppress(OSError):
                while data := ours.recv(65536):
                    theirs.sendall(data[:left])
                    left -= len(data[:left])
            theirs.shutdown(socket.SHUT_RDWR)  # ``back`` waits in it: to close it alone would end nothing

    def back(ours: socket.socket, theirs: socket.socket) -> None:
        with suppress(OSError):
            while data := theirs.recv(65536):
                ours.sendall(data)

    def accept(server: socket.socket) -> None:
        ours, _ = server.accept()
        theirs = socket.create_connection(address)
        for way in (forward, back):
            threading.Thread(target=way, args=(ours, theirs), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        yield server.getsockname()


def test_a_user_that_is_killed_in_mid_object_leaves_nothing(served: Running, tmp_path: Path) -> None:
    (file,) = write(tmp_path / "a", 1, pixels=20_000_000)
    incoming = served.data / "vault" / "incoming"
    with narrow(served.dicom, 12_000_000) as way:
        process = subprocess.Popen(["storescu", *map(str, way), file])
        until(lambda: incoming.exists() and bool(list(incoming.iterdir())))
        process.kill()
        assert process.wait() < 0
    until(lambda: not list(incoming.iterdir()))
    assert studies(served) == []
    assert not list((served.data / "vault").glob("??/*"))


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Running]:
    """A gateway that GETSCU may ask, with a study that FINDSCU sent to it; NOBODY reads as another user."""
    data = tmp_path / "data"
    data.mkdir()
    peer = '[dicom_peers.{}]\nfrom_address = "127.0.0.1"\nreads = {{ user = "{}", institution = "{}" }}\n'
    (data / "hdg.toml").write_text(
        peer.format("GETSCU", "station", "local") + peer.format("NOBODY", "other", "elsewhere")
    )
    running = start_gateway(data)
    run("storescu", "-aet", "GETSCU", *running.dicom, *write(tmp_path / "a", 1, 2, 3))
    run("storescu", "-aet", "GETSCU", *running.dicom, *write(tmp_path / "a", 1, series=2, pixels=5_000_000))
    deadline = time.monotonic() + 300
    query = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid(1)}")
    while (
        "NumberOfStudyRelatedInstances"
        not in run(
            "findscu", "-aet", "GETSCU", "-v", *running.dicom, *query, "-k", "NumberOfStudyRelatedInstances=4"
        ).partition("Find Response")[2]
    ):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield running
    running.process.terminate()
    running.close()


@pytest.mark.parametrize("option", ["+x=", "+xi", "+xv", "+xd"])
def test_getscu_receives_a_study_and_nothing_of_what_is_hidden(
    asked: Running, tmp_path: Path, option
) -> None:
    query = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid(1)}")
    for title, count in (("GETSCU", 4), ("NOBODY", 0)):
        folder = tmp_path / title
        folder.mkdir()
        run("getscu", option, "-aet", title, "-od", folder, *query, *asked.dicom)
        got = [dcmread(file) for file in sorted(folder.iterdir())]
        assert len(got) == count
        assert {one.SOPInstanceUID: len(one.PixelData) for one in got} == (
            {uid(1, 1, 1): 512, uid(1, 1, 2): 512, uid(1, 1, 3): 512, uid(1, 2, 1): 5_000_000}
            if count
            else {}
        )


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[Running, int, Authority]]:
    """A gateway that takes objects over TLS only from CT1 with its certificate."""
    authority = Authority(tmp_path / "ca")
    own = authority.issue("localhost")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = tmp_path / "data"
    data.mkdir()
    (data / "hdg.toml").write_text(
        f'dicom_tls = "127.0.0.1:{port}"\ndicom_tls_certificate = "{own.certificate}"\n'
        f'dicom_tls_key = "{own.key}"\ndicom_tls_client_ca = "{authority.ca}"\n'
        '[dicom_peers.CT1]\ntls_subject = "CN=ct-1"\n'
    )
    running = start_gateway(data)
    yield running, port, authority
    if running.process.poll() is None:
        running.process.terminate()
    running.close()


def test_over_tls_only_a_listed_title_with_its_certificate_stores(
    secured: tuple[Running, int, Authority], tmp_path: Path
) -> None:
    running, port, authority = secured
    files = write(tmp_path / "a", 1, 2)
    right, wrong = authority.issue("ct-1"), authority.issue("ct-2")
    for pair, title, is_taken in ((right, "CT1", True), (right, "CT2", False), (wrong, "CT1", False)):
        secure = ("+tls", pair.key, pair.certificate, "+cf", authority.ca, "localhost", str(port))
        done = subprocess.run(
            ["storescu", "-aet", title, *map(str, secure), files[0 if is_taken else 1]],
            capture_output=True,
            timeout=600,
            check=False,
        )
        assert (done.returncode == 0) == is_taken
    plain = ["storescu", "-aet", "CT1", *map(str, running.dicom), str(files[1])]
    assert subprocess.run(plain, capture_output=True, timeout=600, check=False).returncode != 0
    assert studies(running)[0]["numberOfInstances"] == 1


@pytest.mark.parametrize(
    ("packer", "option", "syntax"),
    [
        (("dcmcjpeg",), "-xs", "1.2.840.10008.1.2.4.70"),
        (("dcmcjpeg", "+eb"), "-xy", "1.2.840.10008.1.2.4.50"),
        (("dcmcjpls",), "-xt", "1.2.840.10008.1.2.4.80"),
        (("dcmcjpls", "+en"), "-xu", "1.2.840.10008.1.2.4.81"),
        (("dcmcrle",), "-xr", "1.2.840.10008.1.2.5"),
        (("dcmconv", "+td"), "-xd", "1.2.840.10008.1.2.1.99"),
    ],
)
def test_what_dcmtk_packed_is_kept_as_it_came(
    served: Running, tmp_path: Path, packer, option, syntax
) -> None:
    plain, packed = tmp_path / "plain.dcm", tmp_path / "packed.dcm"
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    plain.write_bytes(part10(image(pixels=bytes(range(256)), **eight)))
    run(*packer, plain, packed)
    run("storescu", option, *served.dicom, packed)
    assert studies(served)[0]["numberOfInstances"] == 1
    with Gateway.open(Settings(data=served.data)) as gateway:
        (row,) = store.listed(gateway.store.engine, true(), hash_=Imaging(gateway).hash)
        kept = dcmread(BytesIO(gateway.store.reader.blob(row.blob)))
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert kept.PixelData == dcmread(packed).PixelData
