"""A log line that a fault repeats a thousand times a second is written once a second, with its count."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

__all__ = ["Throttle"]


class Throttle:
    """Passes lines on to a logger, each text (before its arguments) at most once in ``every_s``.

    The next line of that text says how many were left out. Texts are constants: they are few.
    """

    def __init__(
        self, log: logging.Logger, *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._every_s = every_s
        self._clock = clock
        self._written: dict[str, tuple[float, int]] = {}

    def __call__(self, level: int, text: str, *values: object) -> None:
        """Logs, or only counts."""
        now = self._clock()
        at, left_out = self._written.get(text, (float("-inf"), 0))
        if now - at < self._every_s:
            self._written[text] = (at, left_out + 1)
            return
        self._written[text] = (now, 0)
        more = f" (and {left_out} more like it)" if left_out else ""
        self._log.log(level, text + more, *values)
