"""Objects sealed in a stream: nothing of them can be changed, cut or moved unseen, and nothing is left over."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import threading

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hdg.errors import VaultError
from hdg.management.vault import BlobFiles, cid_of
from hdg.management.vault_stream import (
    SEGMENT_BYTES,
    Sealer,
    Stored,
    StreamFile,
    chunks,
    open_stream,
    sweep,
    unwrap,
    wrap,
)

SIZES = [0, 1, 1000, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES, 3_300_000]


def sealed(files: BlobFiles, plain: bytes, piece: int = 100_000) -> Stored:
    with Sealer(files) as sealer:
        for at in range(0, len(plain), piece):
            sealer.write(plain[at : at + piece])
        return sealer.finish()


@pytest.fixture
def files(tmp_path) -> BlobFiles:
    return BlobFiles(tmp_path / "vault")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [7_777, 100_000, SEGMENT_BYTES, 5_000_000])
def test_what_comes_in_pieces_comes_out_whole(files, size, piece) -> None:
    plain = os.urandom(size)
    stored = sealed(files, plain, piece)
    assert stored.plain_size == size
    assert files.path(stored.cid).stat().st_size == stored.size
    assert cid_of(files.path(stored.cid).read_bytes()) == stored.cid
    with open_stream(files.path(stored.cid), stored.dek, stored.size) as source:
        assert source.read() == plain


def test_any_range_is_read_without_the_rest(files) -> None:
    plain = os.urandom(3_300_000)
    stored = sealed(files, plain)
    for start, length in ((0, 10), (SEGMENT_BYTES - 5, 10), (2_500_000, 700_000), (3_299_999, 50), (9**9, 5)):
        source = open_stream(files.path(stored.cid), stored.dek, stored.size)
        assert b"".join(chunks(source, start, length)) == plain[start : start + length]
        assert source.closed


def test_plaintext_is_nowhere_on_the_disk_while_it_arrives(files) -> None:
    plain = b"Featherstonehaugh" * 200_000
    with Sealer(files) as sealer:
        sealer.write(plain)
        (part,) = (files.folder / "incoming").iterdir()
        assert part.stat().st_size > SEGMENT_BYTES
        assert b"Featherstonehaugh" not in part.read_bytes()


def test_what_was_not_finished_leaves_nothing(files) -> None:
    with Sealer(files) as sealer:
        sealer.write(os.urandom(2_000_000))
    assert [path for path in files.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("at", [0, 1, 8, 5_000, SEGMENT_BYTES + 30, -1])
def test_a_changed_byte_does_not_open(files, at) -> None:
    stored = sealed(files, os.urandom(1_500_000))
    path = files.path(stored.cid)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(VaultError), open_stream(path, stored.dek, stored.size) as source:
        source.read()


def test_a_cut_at_the_border_of_a_segment_does_not_open_whatever_the_row_says(files) -> None:
    stored = sealed(files, os.urandom(2 * SEGMENT_BYTES + 5))
    path = files.path(stored.cid)
    size = 8 + 2 * (SEGMENT_BYTES + 16)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(VaultError):
        open_stream(path, stored.dek, stored.size)
    with pytest.raises(VaultError), open_stream(path, stored.dek, size) as source:
        source.read()


def test_segments_that_changed_places_do_not_open(files) -> None:
    stored = sealed(files, os.urandom(2 * SEGMENT_BYTES + 5))
    path = files.path(stored.cid)
    data, step = path.read_bytes(), SEGMENT_BYTES + 16
    path.write_bytes(data[:8] + data[8 + step : 8 + 2 * step] + data[8 : 8 + step] + data[8 + 2 * step :])
    with pytest.raises(VaultError), open_stream(path, stored.dek, stored.size) as source:
        source.read()


def test_the_key_opens_only_for_its_owner_and_its_object(files) -> None:
    stored = sealed(files, b"x")
    kek = AESGCM(os.urandom(32))
    wrapped = wrap(kek, "code", stored)
    assert unwrap(kek, "code", stored.cid, wrapped) == stored.dek
    for key, code, cid in (
        (AESGCM(os.urandom(32)), "code", stored.cid),
        (kek, "other", stored.cid),
        (kek, "code", "bother"),
    ):
        with pytest.raises(VaultError):
            unwrap(key, code, cid, wrapped)


def test_a_sweep_takes_what_a_killed_process_left_and_nothing_that_is_being_written(files) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from hdg.management.vault import BlobFiles\n"
        "from hdg.management.vault_stream import Sealer\n"
        "sealer = Sealer(BlobFiles(pathlib.Path(sys.argv[1])))\n"
        "sealer.write(bytes(3_000_000))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(files.folder)], check=False)
    plain = os.urandom(2_000_000)
    with Sealer(files) as sealer:
        sealer.write(plain)
        assert len(list((files.folder / "incoming").iterdir())) == 2
        assert sweep(files.folder) == 1
        stored = sealer.finish()
    with StreamFile(files.path(stored.cid), stored.dek, stored.size) as source:
        assert source.read(4) == plain[:4]
    assert sweep(files.folder) == 0


def settled(sealer: Sealer) -> None:
    """Until all that was given is written and what was begun is on the disk."""
    while sealer._ahead or (sealer._flushing is not None and sealer._flushing.is_alive()):
        sealer._wait_for(0)


def kept(files: BlobFiles) -> list[object]:
    return [path for path in files.folder.rglob("*") if path.is_file()]


def running() -> list[str]:
    """Threads of sealers."""
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name.startswith(("hdg-seal", "hdg-flush"))]


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("is_told", [False, True])
def test_an_object_that_the_disk_did_not_take_is_not_finished_whenever_it_says_so(
    files, monkeypatch, failing, is_told
) -> None:
    """The one who writes may or may not stop at the first error that it is told."""
    calls = []

    def fails(descriptor):
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with Sealer(files) as sealer:
        for _ in range(35):
            try:
                sealer.write(bytes(1 << 20))
                settled(sealer)
            except OSError:
                if is_told:
                    break
        with pytest.raises(OSError, match="Input/output"):
            sealer.finish()
        with pytest.raises(OSError, match="Input/output"):
            sealer.finish()
    assert len(calls) >= failing
    assert kept(files) == []


@pytest.mark.parametrize("failing", [2, 3, 6])
def test_an_object_that_was_not_written_whole_is_not_finished_though_what_came_after_was(
    files, monkeypatch, failing
) -> None:
    calls = []
    write = os.write

    def fails(descriptor, data):
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", fails)
    with Sealer(files) as sealer:
        told = 0
        for _ in range(6):
            try:
                sealer.write(os.urandom(1 << 20))
            except OSError:
                told += 1
        with pytest.raises(OSError, match="No space"):
            sealer.finish()
        with pytest.raises(OSError, match="No space"):
            sealer.finish()
    assert kept(files) == []


def test_where_there_are_no_more_threads_an_object_is_refused_and_nothing_is_left(files, monkeypatch) -> None:
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with Sealer(files) as sealer:
        with pytest.raises(OSError, match="no more threads"):
            sealer.write(bytes(2 << 20))
        with pytest.raises(OSError, match="no more threads"):
            sealer.finish()
    assert kept(files) == []


def test_what_is_sealed_in_a_thread_is_sealed_in_order(files) -> None:
    """Pieces of every length, across several windows of the disk."""
    chance = random.Random(7)
    plain = chance.randbytes(40_000_000)
    at = 0
    with Sealer(files) as sealer:
        while at < len(plain):
            piece = plain[at : at + chance.choice((1, 70_000, 131_066, 1 << 20, 3_000_001))]
            lent = bytearray(piece)  # memory that the caller uses again at once
            sealer.write(memoryview(lent))
            lent[:] = bytes(len(lent))
            at += len(piece)
        stored = sealer.finish()
    with open_stream(files.path(stored.cid), stored.dek, stored.size) as source:
        assert source.read() == plain
    assert [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("hdg-seal", "hdg-flush"))
    ] == []


def test_an_object_that_is_aborted_in_the_middle_leaves_no_file_and_no_thread(files) -> None:
    with Sealer(files) as sealer:
        sealer.write(os.urandom(40 << 20))
    assert kept(files) == []
    assert [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("hdg-seal", "hdg-flush"))
    ] == []


def test_memory_does_not_grow_with_the_object(files) -> None:
    piece = os.urandom(1 << 18)
    with Sealer(files) as sealer:
        sealer.write(piece)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(800):
            sealer.write(piece)
        stored = sealer.finish()
    assert stored.plain_size == 801 << 18
    with open_stream(files.path(stored.cid), stored.dek, stored.size) as source:
        assert sum(map(len, chunks(source))) == stored.plain_size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB; the object has 200 MB
