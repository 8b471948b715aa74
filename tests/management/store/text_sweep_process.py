"""Sweeps words of what was erased, and hangs within its first transaction. Run by test_store_text_erase."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hdg.management.keys import KeyRing
from hdg.management.store import Store, text_erase
from hdg.settings import Settings


def main(folder: str, url: str) -> None:
    keys = KeyRing.of_bytes(*(bytes([number]) * 32 for number in range(1, 6)))
    settings = Settings(data=Path(folder), database_url=url or None)
    remove = text_erase._remove

    def hang(session, bounds) -> None:
        remove(session, bounds)
        print("hangs", flush=True)
        time.sleep(600)

    text_erase._remove = hang
    text_erase._done = lambda session, mark: hang(session, {"after": 0, "until": 0})
    with Store.open(settings, keys, lambda: time.time_ns() // 1000) as store:
        sweep = text_erase.Sweep(store)
        while sweep.step():
            pass


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
