"""One process at a time where a folder's contents are made: several gateways may start at once on one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["exclusive"]


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Waits for every other process (and thread) that is in here with the same folder, which must exist.

    The lock is the kernel's and ends with its process. Where there is no flock (Windows) nothing is locked.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
