"""C-STORE on loopback from DCMTK's storescu, to the gateway and to DCMTK's storescp in the same run.

The gateway answers once an object and its transaction are on disk (fsync); storescp writes a file and syncs nothing.
Needs ``storescu`` and ``storescp`` (Debian: dcmtk). Rounds are interleaved; the best of each side counts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measure import Figure, gateway

Address = tuple[str, int]

ROUNDS = 3
SMALL = 400
"""Objects of 14 KB an association and round."""
LARGE_BYTES = 300 << 20
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
"""Without it DCMTK sends 20 objects a second to itself (Nagle); to the gateway as many as with it."""


def dicom_store_one() -> Figure:
    """Objects a second on one association."""
    return _figure("dicom_store_one", 1, SMALL, 13_000, "objects/s", "≥ 300 objects/s")


def dicom_store_four() -> Figure:
    """Objects a second on four associations."""
    return _figure("dicom_store_four", 4, SMALL, 13_000, "objects/s", "≥ 500 objects/s")


def dicom_store_large() -> Figure:
    """MB a second of large objects."""
    return _figure("dicom_store_large", 1, 2, LARGE_BYTES, "MB/s", "≥ 300 MB/s")


def _figure(name: str, associations: int, objects: int, pixels: int, unit: str, goal: str) -> Figure:
    work = associations * objects * (pixels / 1e6 if unit == "MB/s" else 1)
    with tempfile.TemporaryDirectory() as scratch, gateway(HDG_MIN_FREE_BYTES="0") as running:
        ours = theirs = float("inf")
        with _storescp(Path(scratch) / "received") as peer:
            _send(running.dicom, [_objects(Path(scratch) / "warm", 0, 1, pixels=512)])
            for number in range(ROUNDS):
                folder = Path(scratch) / str(number)
                batches = [
                    _objects(folder / str(one), number * associations + one + 1, objects, pixels)
                    for one in range(associations)
                ]
                theirs = min(theirs, _send(peer, batches))
                ours = min(ours, _send(running.dicom, batches))
                shutil.rmtree(folder)
    return Figure(name, work / ours, unit, work / theirs, "dcmtk storescp, which syncs nothing", goal)


def _objects(folder: Path, study: int, count: int, pixels: int) -> list[Path]:
    """Files of one study: a CT header of common size and ``pixels`` bytes."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    folder.mkdir(parents=True)
    path = get_testdata_file("CT_small.dcm")
    made = dcmread(str(path))
    made.remove_private_tags()
    made.StudyInstanceUID, made.SeriesInstanceUID = f"1.2.3.{study}", f"1.2.3.{study}.1"
    made.PatientID = f"P{study}"
    made.PixelData = bytes(range(256)) * (pixels // 256)
    files = []
    for number in range(count):
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{study}.1.{number + 1}"
        made.InstanceNumber = number + 1
        files.append(folder / f"{number:05}.dcm")
        made.save_as(files[-1])
    return files


def _send(address: Address, batches: list[list[Path]]) -> float:
    """Seconds until the last storescu has its last answer. Raises RuntimeError when an object was refused."""
    host, port = address
    commands = [["storescu", host, str(port), *map(str, files)] for files in batches]
    started = time.perf_counter()
    running = [subprocess.Popen(command, env=_ENVIRONMENT) for command in commands]
    codes = [one.wait() for one in running]
    if any(codes):
        raise RuntimeError("storescu failed")
    return time.perf_counter() - started


@contextlib.contextmanager
def _storescp(folder: Path) -> Iterator[Address]:
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["storescp", "--fork", "--output-directory", str(folder), str(port)]
    process = subprocess.Popen(command, env=_ENVIRONMENT)
    try:
        _wait(lambda: subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True, check=True))
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait()


def _wait(until: Callable[[], object]) -> None:
    for _ in range(100):
        with contextlib.suppress(subprocess.CalledProcessError):
            until()
            return
        time.sleep(0.05)
    raise RuntimeError("storescp did not start")
