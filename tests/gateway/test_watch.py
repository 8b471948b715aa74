"""The watch folder: pick-up, answers beside the files, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdg.gateway import Answered, Gateway
from hdg.ingestion.sender import Origin
from hdg.settings import Settings
from hdg.watch import Watch
from messages import adt, oru


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    with Gateway.open(Settings(data=tmp_path / "data")) as gateway:
        made = Watch(gateway, tmp_path / "inbox", 0.01)
        made.prepare()
        yield made


def look(watch: Watch, times: int = 2) -> int:
    async def looks() -> int:
        return sum([await watch.look() for _ in range(times)])

    return asyncio.run(looks())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_taken_once_it_no_longer_changes_and_answered_beside_it(watch: Watch) -> None:
    (watch.folder / "m.hl7").write_bytes(oru())
    assert look(watch, 1) == 0
    assert look(watch, 1) == 1
    assert names(watch.folder) == [".working", "failed", "processed"]
    assert names(watch.folder / "processed") == ["m.hl7", "m.hl7.ack"]
    assert b"MSA|AA|C1" in (watch.folder / "processed" / "m.hl7.ack").read_bytes()
    assert look(watch) == 0


def test_a_file_that_still_grows_is_left(watch: Watch) -> None:
    path = watch.folder / "m.hl7"
    for length in (10, 50, 100):
        path.write_bytes(oru()[:length])
        assert look(watch, 1) == 0
    path.write_bytes(oru())
    assert look(watch) == 1
    assert names(watch.folder / "processed") == ["m.hl7", "m.hl7.ack"]


def test_unfinished_names_folders_and_links_are_left(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(oru())
    (watch.folder / "link.hl7").symlink_to(tmp_path / "outside")
    for name in (".m.hl7", "m.tmp", "m.PART", "m.hl7.ack"):
        (watch.folder / name).write_bytes(oru())
    (watch.folder / "sub").mkdir()
    assert look(watch, 3) == 0


def test_a_file_with_a_message_that_is_not_accepted_goes_to_failed_with_its_answers(watch: Watch) -> None:
    (watch.folder / "m.hl7").write_bytes(oru("C1") + b"MSH|^~\\&|bad\r")
    (watch.folder / "n.hl7").write_bytes(b"BHS|^~\\&|LAB\r" + oru("C2") + b"BTS|2\r")
    (watch.folder / "o.hl7").write_bytes(b"")
    assert look(watch) == 3
    assert names(watch.folder / "failed") == [
        name for stem in "mno" for name in (f"{stem}.hl7", f"{stem}.hl7.ack")
    ]
    answer = (watch.folder / "failed" / "m.hl7.ack").read_bytes()
    assert (answer.count(b"MSA|AA|"), answer.count(b"MSA|AR|")) == (1, 1)
    assert b"2 messages announced, 1 found" in (watch.folder / "failed" / "n.hl7.ack").read_bytes()


def test_a_name_that_was_there_before_overwrites_nothing(watch: Watch) -> None:
    for control in ("C1", "C2"):
        (watch.folder / "m.hl7").write_bytes(oru(control))
        assert look(watch) == 1
    assert names(watch.folder / "processed") == ["m.hl7", "m.hl7.ack", "m.hl7~2", "m.hl7~2.ack"]


def test_a_file_that_a_killed_gateway_left_is_taken_again_and_stored_once(watch: Watch) -> None:
    first = watch.gateway.receive_now(oru())
    (watch.folder / ".working" / "m.hl7").write_bytes(oru())
    assert look(watch, 1) == 1
    assert (watch.folder / "processed" / "m.hl7.ack").read_bytes() == first


def test_a_file_whose_messages_cannot_be_kept_stays_for_later(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(raw: bytes, origin: object) -> bytes:
        raise OSError("disk full")

    (watch.folder / "m.hl7").write_bytes(oru())
    with monkeypatch.context() as patch:
        patch.setattr(watch.gateway, "exchange", broken)
        assert look(watch, 3) == 0
    assert names(watch.folder / ".working") == ["m.hl7"]
    assert look(watch, 1) == 1
    assert names(watch.folder / "processed") == ["m.hl7", "m.hl7.ack"]


def test_what_is_written_to_a_file_while_it_is_taken_is_taken_too(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = watch.gateway.exchange
    path = watch.folder / "m.hl7"
    path.write_bytes(oru("C1"))
    with path.open("ab", buffering=0) as writer:

        async def slow(raw: bytes, origin: Origin) -> Answered:
            writer.write(oru("C2"))
            return await exchange(raw, origin)

        with monkeypatch.context() as patch:
            patch.setattr(watch.gateway, "exchange", slow)
            look(watch)
        assert names(watch.folder / "processed") == []
        look(watch, 1)
    assert names(watch.folder / "processed") == ["m.hl7", "m.hl7.ack"]
    assert [
        code in (watch.folder / "processed" / "m.hl7.ack").read_bytes() for code in (b"AA|C1", b"AA|C2")
    ] == [
        True,
        True,
    ]


def test_a_file_that_may_not_be_read_holds_up_no_other(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def closed(path: Path) -> bytes:
        if path.name == "a.hl7":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", closed)
    (watch.folder / "a.hl7").write_bytes(oru("C1"))
    (watch.folder / "b.hl7").write_bytes(oru("C2"))
    assert look(watch) == 2
    assert names(watch.folder / "failed") == ["a.hl7"]
    assert names(watch.folder / "processed") == ["b.hl7", "b.hl7.ack"]


@pytest.mark.parametrize("length", [200, 201, 247, 251, 255])
def test_a_name_of_any_length_is_answered_and_holds_up_no_other(watch: Watch, length: int) -> None:
    long = "ä" * (length // 2 - 2) + "x" * (length % 2) + ".hl7"
    (watch.folder / long).write_bytes(oru("C1"))
    (watch.folder / "z.hl7").write_bytes(oru("C2"))
    assert look(watch, 3) == 2
    assert names(watch.folder / ".working") == []
    found = [name for name in names(watch.folder / "processed") if not name.startswith("z")]
    assert [name.removesuffix(".ack").endswith(".hl7") for name in found] == [True, True]
    assert found[1] == found[0] + ".ack"
    assert found[0].startswith("ä" * 90)


def test_a_file_that_cannot_be_read_just_now_stays_and_holds_up_no_other(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = Path.read_bytes

    def broken(path: Path) -> bytes:
        if path.name == "a.hl7":
            raise OSError(5, "Input/output error")
        return read(path)

    (watch.folder / "a.hl7").write_bytes(oru("C1"))
    (watch.folder / "b.hl7").write_bytes(oru("C2"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", broken)
        assert look(watch, 4) == 1
    assert names(watch.folder / "processed") == ["b.hl7", "b.hl7.ack"]
    assert [record.message for record in caplog.records] == [
        "a file of the inbox folder stays in .working: Input/output error"
    ]
    assert look(watch, 1) == 1
    assert names(watch.folder / "processed") == ["a.hl7", "a.hl7.ack", "b.hl7", "b.hl7.ack"]


@pytest.mark.parametrize("away", [".working", "processed", "failed"])
def test_a_folder_that_somebody_tidied_away_is_made_again(watch: Watch, away: str) -> None:
    (watch.folder / away).rmdir()
    (watch.folder / "a.hl7").write_bytes(oru("C1"))
    (watch.folder / "b.hl7").write_bytes(b"nonsense")
    assert look(watch) == 2
    assert names(watch.folder / "processed") == ["a.hl7", "a.hl7.ack"]
    assert names(watch.folder / "failed") == ["b.hl7", "b.hl7.ack"]


def test_a_file_that_goes_away_while_it_is_taken_holds_up_no_other(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = watch.gateway.exchange

    async def slow(raw: bytes, origin: Origin) -> Answered:
        (watch.folder / ".working" / "a.hl7").unlink(missing_ok=True)
        return await exchange(raw, origin)

    monkeypatch.setattr(watch.gateway, "exchange", slow)
    (watch.folder / "a.hl7").write_bytes(oru("C1"))
    (watch.folder / "b.hl7").write_bytes(oru("C2"))
    assert look(watch) == 1
    assert names(watch.folder / "processed") == ["b.hl7", "b.hl7.ack"]
    assert [record.message for record in caplog.records] == [
        "a file of the inbox folder went away while it was taken"
    ]


def test_nothing_is_taken_while_the_disk_is_nearly_full(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        (watch.folder / f"{number}.hl7").write_bytes(oru(f"C{number}"))
    with monkeypatch.context() as patch:
        patch.setattr(watch.gateway.store.space, "limit_bytes", 10**18)
        assert look(watch, 5) == 0
    assert names(watch.folder / ".working") == []
    assert [record.message.partition(":")[0] for record in caplog.records] == ["disk nearly full"]
    assert look(watch) == 3


def test_a_file_over_the_limit_fails_without_being_read(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = watch.gateway.settings.model_copy(update={"ingest_max_bytes": 100})
    monkeypatch.setattr(watch.gateway, "settings", small)
    (watch.folder / "m.hl7").write_bytes(oru())
    assert look(watch) == 1
    assert names(watch.folder / "failed") == ["m.hl7"]


def test_files_are_taken_oldest_first_and_running_ends_when_told(watch: Watch) -> None:
    for number in range(3):
        (watch.folder / f"{9 - number}.hl7").write_bytes(
            adt(f"A{number}", event="A08", family=f"Name{number}")
        )

    async def run() -> None:
        stopping = asyncio.Event()
        task = asyncio.create_task(watch.run(stopping))
        while len(names(watch.folder / "processed")) < 6:
            await asyncio.sleep(0.01)
        stopping.set()
        await task

    asyncio.run(asyncio.wait_for(run(), 300))
    assert names(watch.folder / ".working") == []
