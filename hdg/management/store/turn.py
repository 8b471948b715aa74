"""Writers of several processes on one SQLite database take turns. https://www.sqlite.org/lockingv3.html

SQLite's own waiting is a poll with ever longer pauses, and a writer under load begins its next transaction
microseconds after the last one: another process could wait for minutes. Here a process that waits holds the
lock ``next``, which a process needs before each transaction: so nobody writes twice while somebody waits.
The locks are the kernel's and end with their process. On PostgreSQL the advisory lock's queue is fair.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType

__all__ = ["Turn"]

_POLL_S = 0.001


class Turn:
    """A context for one transaction after the other. Who waits longer than ``wait_s`` goes in all the same.

    What the database says then is better than no end. For one thread; where there is no flock (Windows), and
    without a ``folder``, nothing is locked.
    """

    def __init__(self, folder: Path | None, wait_s: float = 10.0) -> None:
        self._wait_s = wait_s
        self._files: tuple[int, ...] = ()
        if folder is not None and os.name == "posix":
            names = ("writer-next.lock", "writer.lock")
            self._files = tuple(os.open(folder / name, os.O_CREAT | os.O_RDWR, 0o600) for name in names)

    def __enter__(self) -> None:
        if self._files:
            until_s = time.monotonic() + self._wait_s
            following, writing = self._files
            _lock(following, until_s)
            try:
                _lock(writing, until_s)
            finally:
                _unlock(following)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._files:
            _unlock(self._files[1])

    def close(self) -> None:
        """Lets the files go."""
        files, self._files = self._files, ()
        for file in files:
            os.close(file)


def _lock(file: int, until_s: float) -> None:
    import fcntl

    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                return
            time.sleep(_POLL_S)
        else:
            return


def _unlock(file: int) -> None:
    import fcntl

    fcntl.flock(file, fcntl.LOCK_UN)
