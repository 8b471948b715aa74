"""Watches the free space under the data folder, so that work is refused while there is still room to refuse
it.

A full disk is the one fault that a store meets while it writes everywhere at once: database, log, vault.
Looked at once a second at most. A database elsewhere (PostgreSQL) must be watched there.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from hdg.management.store.engine import NotCommitted

__all__ = ["SpaceGuard"]

_LOOK_S = 1.0
_log = logging.getLogger("hdg.store")


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class SpaceGuard:
    """Free bytes against a limit. May be used by several threads."""

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        *,
        free: Callable[[Path], int] = _free,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_bytes = limit_bytes
        self._folder = folder
        self._free = free
        self._clock = clock
        self._looked = float("-inf")
        self._free_bytes = 0
        self._was_low = False

    def free_bytes(self) -> int:
        """Bytes free at the last look, which is at most a second old."""
        now = self._clock()
        if now - self._looked >= _LOOK_S:
            self._free_bytes = self._free(self._folder)
            self._looked = now
        return self._free_bytes

    def is_low(self) -> bool:
        """Whether less is free than the limit; says so in the log when that changes."""
        free_bytes = self.free_bytes()
        is_low = free_bytes < self.limit_bytes
        if is_low != self._was_low:
            self._was_low = is_low
            if is_low:
                _log.error(
                    "disk nearly full: %d bytes free, limit %d; messages are refused",
                    free_bytes,
                    self.limit_bytes,
                )
            else:
                _log.warning("disk has room again: %d bytes free; messages are taken", free_bytes)
        return is_low

    def check(self) -> None:
        """Raises NotCommitted when space is low."""
        if self.is_low():
            raise NotCommitted("the gateway's disk is nearly full: nothing was kept, send it again later")
