"""What processes share that fill an index until a test kills them."""

from __future__ import annotations

import time
from functools import partial


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
