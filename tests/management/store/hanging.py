"""Processes that fill an index until a test kills them: what they share, and how a test starts and kills one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path


def started(script: Path, settings, *arguments: object) -> subprocess.Popen[str]:
    """``script`` on the store of ``settings``; its standard output is to be read."""
    command = [sys.executable, script, settings.data, settings.database_url or "", *arguments]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)


def kill_at(process: subprocess.Popen[str], line: str = "hangs") -> None:
    """SIGKILL once the process has printed ``line``; it must not have ended before."""
    assert process.stdout is not None
    for said in process.stdout:
        if said.strip() == line:
            break
    process.kill()
    assert process.wait(120) == -signal.SIGKILL
    process.stdout.close()


def fill(filler, count: int) -> None:
    """Steps to the end, a line a step. After ``count`` of them it waits in the middle of the next one; 0: never."""
    done = 0
    while filler.step():
        done += 1
        print(done, flush=True)
        if done == count:
            filler._write = partial(_hang, filler._write)
    print("end", flush=True)


def _hang(write, *given) -> None:
    """It is written, its transaction is still open; nobody comes back from here."""
    write(*given)
    print("hangs", flush=True)
    time.sleep(600)
