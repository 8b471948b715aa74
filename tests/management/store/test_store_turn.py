"""Writers of several processes on one SQLite database take turns."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

from hdg.management.store.turn import Turn


def is_locked(path: Path) -> bool:
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def test_who_has_written_does_not_write_again_while_somebody_waits(tmp_path: Path) -> None:
    busy, waiting = Turn(tmp_path), Turn(tmp_path)
    seen: list[str] = []

    def wait() -> None:
        with waiting:
            seen.append("waiting")

    for _ in range(20):
        seen.clear()
        with busy:
            thread = threading.Thread(target=wait)
            thread.start()
            while not is_locked(tmp_path / "writer-next.lock"):
                time.sleep(0.001)
            seen.append("busy")
        with busy:
            seen.append("busy again")
        thread.join()
        assert seen == ["busy", "waiting", "busy again"]
    busy.close()
    waiting.close()


def test_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []

    def work(turn: Turn) -> None:
        for _ in range(20):
            with turn:
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    turns = [Turn(tmp_path) for _ in range(3)]
    threads = [threading.Thread(target=work, args=(turn,)) for turn in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == []
    for turn in turns:
        turn.close()


def test_a_process_that_stands_still_does_not_stop_the_others_for_ever(tmp_path: Path) -> None:
    standing, other = Turn(tmp_path), Turn(tmp_path, wait_s=0.05)
    with standing, other:
        pass
    with other:
        assert is_locked(tmp_path / "writer.lock")
    standing.close()
    other.close()


def test_without_a_folder_nobody_waits(tmp_path: Path) -> None:
    with Turn(None), Turn(None):
        assert list(tmp_path.iterdir()) == []
