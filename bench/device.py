"""Figures of personal health devices: an Apple Health export through ``hdg convert``, its speed and its memory.

python -m bench.device [MB]        one run of that size (100), with the time that 1 GB would take
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import psutil
from lxml import etree

from bench.apple import write
from bench.measure import Figure

SIZE_MB = 50
_POLL_S = 0.05
_last: dict[str, float] = {}


def apple_export() -> Figure:
    """MB of ``export.xml`` a second of processor time; limit: lxml.iterparse over the same file, and nothing more."""
    if not _last:
        _measure(SIZE_MB)
    return Figure(
        "apple_export", _last["rate"], "MB/s", _last["limit"], "bare lxml.iterparse", "1 GB in < 240 s: 4.5"
    )


def apple_export_memory() -> Figure:
    """Peak resident memory of that run; limit: the goal itself."""
    if not _last:
        _measure(SIZE_MB)
    return Figure("apple_export_memory", _last["peak_mb"], "MB", 300.0, "the goal", "< 300")


def _measure(size_mb: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "export.xml", Path(scratch) / "out.ndjson"
        records = write(source, size_mb * 1_000_000)
        command = [sys.executable, "-m", "hdg", "convert", str(source), "--patient", "p1", "--to", "ndjson"]
        started = time.perf_counter()
        process = psutil.Popen([*command, "-o", str(target)])
        peak = spent = 0.0
        while process.poll() is None:
            try:
                with process.oneshot():
                    peak = max(peak, process.memory_info().rss)
                    spent = sum(process.cpu_times()[:2])
            except psutil.Error:
                break
            time.sleep(_POLL_S)
        if process.wait():
            raise RuntimeError("the conversion failed")
        _last["wall_s"] = time.perf_counter() - started
        with target.open("rb") as file:
            observations = sum(b'"Observation"' in line[:40] for line in file)
        if observations < records * 0.9:
            raise RuntimeError(f"{observations} of {records} records converted")
        _last.update(
            rate=size_mb / spent,
            cpu_s=spent,
            peak_mb=peak / 1e6,
            records=records,
            limit=_bare(source, size_mb),
        )


def _bare(source: Path, size_mb: int) -> float:
    started = time.process_time()
    for _, element in etree.iterparse(str(source), tag="Record", load_dtd=False, no_network=True):
        dict(element.attrib)
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]
    return size_mb / (time.process_time() - started)


def main(size_mb: int) -> None:
    """One run."""
    _measure(size_mb)
    print(
        f"{size_mb} MB, {_last['records']:,.0f} records: {_last['wall_s']:.1f} s, {_last['cpu_s']:.1f} s of "
        f"the processor ({_last['rate']:.1f} MB/s; bare iterparse {_last['limit']:.1f}), "
        f"{_last['peak_mb']:.0f} MB of memory; 1 GB: {1000 / _last['rate']:.0f} s"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
