"""What every bench shares: a figure with the limit measured beside it, timing, and a gateway process to talk to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, the limit measured in the same run, and what the project asks for.

    ``ratio`` is value / limit for rates and limit / value for times: 1.0 means as good as the limit.
    """

    name: str
    value: float
    unit: str
    limit: float
    limit_is: str
    goal: str

    @property
    def ratio(self) -> float:
        """How close to the limit, 1.0 being there."""
        return self.limit / self.value if self.unit in ("ms", "s", "MB") else self.value / self.limit

    def as_json(self) -> dict[str, object]:
        """The row of results.json."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "limit": round(self.limit, 4),
            "ratio": round(self.ratio, 4),
        }


def rate(work: Callable[[], object], units: int, *, rounds: int = 5, seconds: float = 0.4) -> float:
    """Units per second of ``work`` (which does ``units`` of them): the best of ``rounds``, each ``seconds`` long."""
    work()
    best = 0.0
    for _ in range(rounds):
        done = 0
        started = time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            work()
            done += units
        best = max(best, done / spent)
    return best


def median(values: list[float]) -> float:
    """The middle value."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


@dataclass(slots=True)
class Running:
    """A gateway process. ``http`` and ``mllp`` are (host, port)."""

    process: subprocess.Popen[str]
    data: Path
    http: tuple[str, int]
    mllp: tuple[str, int]
    dicom: tuple[str, int] = ("", 0)

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Waits for the process and lets go of its output."""
        self.process.wait(300)
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_gateway(data: Path, *, module: str = "hdg", **environment: str) -> Running:
    """``hdg serve`` on free ports, ready to be used. ``module``: another one that takes the same arguments.

    Raises RuntimeError when it does not start; then no process is left.
    """
    command = [
        sys.executable,
        "-m",
        module,
        "serve",
        "--data",
        str(data),
        "--http",
        "127.0.0.1:0",
        "--mllp",
        "127.0.0.1:0",
        "--dicom",
        "127.0.0.1:0",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    )
    try:
        found = _listeners(process)
    except BaseException:
        process.kill()
        Running(process, data, ("", 0), ("", 0)).close()
        raise
    return Running(process, data, found["FHIR"], found["MLLP"], found["DICOM"])


def _listeners(process: subprocess.Popen[str]) -> dict[str, tuple[str, int]]:
    """What it says that it listens on, by name. Raises RuntimeError when that is not all."""
    found: dict[str, tuple[str, int]] = {}
    for line in process.stdout or ():
        if match := re.match(r"(MLLP|FHIR|DICOM)\s+\w+://([^:/]+):(\d+)", line):
            found[match[1]] = match[2], int(match[3])
        if line.startswith("stop with"):
            break
    if len(found) != 3:
        raise RuntimeError(f"the gateway did not start (exit {process.poll()})")
    return found


@contextlib.contextmanager
def gateway(data: Path | None = None, **environment: str) -> Iterator[Running]:
    """A gateway process that is stopped at the end."""
    with tempfile.TemporaryDirectory() as scratch:
        running = start_gateway(data or Path(scratch) / "data", **environment)
        try:
            yield running
        finally:
            running.process.terminate()
            running.close()
