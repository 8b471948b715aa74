"""Who asks reads the answer: the thread of the same association does not take it (pynetdicom's may)."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from hdg.ingestion.dicom.scu import Checkpoint
from receiver import until


def lost(association: SimpleNamespace) -> int:
    """How often the thread went on although it had said that it waited; it does as pynetdicom's does."""
    is_over, passed, found = threading.Event(), [0], 0

    def react() -> None:
        while not is_over.is_set():
            association._is_paused = True
            association._reactor_checkpoint.wait()
            time.sleep(0.002)  # the machine does something else here
            association._is_paused = False
            passed[0] += 1

    thread = threading.Thread(target=react)
    thread.start()
    for _ in range(30):
        association._reactor_checkpoint.clear()
        while not association._is_paused:
            time.sleep(0.0005)
        before = passed[0]
        time.sleep(0.005)
        found += passed[0] != before
        association._reactor_checkpoint.set()
        time.sleep(0.001)
    is_over.set()
    association._reactor_checkpoint.set()
    thread.join()
    return found


def test_while_somebody_asks_the_thread_of_the_association_takes_nothing() -> None:
    association = SimpleNamespace(_is_paused=False)
    association._reactor_checkpoint = Checkpoint(association)
    assert lost(association) == 0


def test_it_waits_no_longer_than_it_is_told_to() -> None:
    made = Checkpoint(SimpleNamespace(_is_paused=False))
    made.clear()
    assert not made.wait(0.01)
    made.set()
    assert made.wait(0.01)


def test_that_it_waits_is_said_again_where_the_word_was_lost() -> None:
    """Seen once on a busy machine: the thread waited, said that it did not, and a release waited for ever."""
    association = SimpleNamespace(_is_paused=False)
    checkpoint = Checkpoint(association)
    checkpoint.clear()
    thread = threading.Thread(target=checkpoint.wait)
    thread.start()
    until(lambda: association._is_paused)
    association._is_paused = False
    until(lambda: association._is_paused)
    checkpoint.set()
    thread.join()
    assert not association._is_paused
