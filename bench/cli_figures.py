"""The command line as a user meets it: start-up, one message, a folder of 10,000."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from bench.measure import Figure, median
from bench.traffic import Traffic

FILES = 10_000
_last_folder: dict[str, float] = {}
"""What the one run over the folder measured, for the two figures that it gives."""


def _hdg(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("hdg")), *arguments]


def _times(command: list[str], rounds: int = 7) -> float:
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def cli_help() -> Figure:
    """``hdg --help`` from the shell; limit: a bare interpreter."""
    limit = _times([sys.executable, "-c", "pass"])
    return Figure("cli_help", _times(_hdg("--help")), "s", limit, "bare interpreter", "< 0.3")


def cli_convert_one() -> Figure:
    """One small message, from shell prompt to FHIR; limit: a bare interpreter."""
    message = Path(__file__).parents[1] / "examples" / "oru-r01-chemistry.hl7"
    limit = _times([sys.executable, "-c", "pass"])
    return Figure(
        "cli_convert_one", _times(_hdg("convert", str(message))), "s", limit, "bare interpreter", "< 0.7"
    )


def convert_folder() -> Figure:
    """``hdg convert`` on a folder of 10,000 messages, all cores; limit: one core's conversion rate times the cores."""
    from bench.core import convert_oru

    _measure_folder()
    limit = convert_oru().value * (psutil.cpu_count() or 1)
    return Figure(
        "convert_folder", _last_folder["rate"], "messages/s", limit, "convert_oru x cores", "all cores"
    )


def convert_folder_memory() -> Figure:
    """Peak resident memory of that run, workers included (shared pages counted once); limit: the goal itself."""
    if not _last_folder:
        _measure_folder()
    return Figure("convert_folder_memory", _last_folder["peak_mb"], "MB", 300.0, "the goal", "< 300")


def _measure_folder() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "in"
        source.mkdir()
        for number, raw in enumerate(Traffic(seed=9).take(FILES)):
            (source / f"{number:05d}.hl7").write_bytes(raw)
        started = time.perf_counter()
        process = subprocess.Popen(
            _hdg("convert", str(source), "-o", str(Path(scratch) / "out")), stderr=subprocess.PIPE, text=True
        )
        peak = _Peak(process.pid)
        peak.start()
        _, errors = process.communicate()
        _last_folder["rate"] = FILES / (time.perf_counter() - started)
        _last_folder["peak_mb"] = peak.stop() / 1e6
        written = sum(1 for _ in (Path(scratch) / "out").iterdir())
    if process.returncode or written != FILES:
        raise RuntimeError(f"{written} of {FILES} converted (exit {process.returncode}): {errors[-500:]}")


class _Peak(threading.Thread):
    """Samples the unique memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._stopping = threading.Event()
        self._peak = 0

    def run(self) -> None:
        while not self._stopping.wait(0.1):
            try:
                members = [self._root, *self._root.children(recursive=True)]
                self._peak = max(self._peak, sum(member.memory_full_info().pss for member in members))
            except psutil.NoSuchProcess:
                continue

    def stop(self) -> int:
        self._stopping.set()
        self.join()
        return self._peak
