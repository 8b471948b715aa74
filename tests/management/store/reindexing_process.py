"""``hdg reindex`` in windows of two, until a test kills it in its second: arguments are the folder and the database."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hdg.management.keys import KeyRing
from hdg.management.store import Store, reindexing
from hdg.management.store.reindexing import Reindexing, Scope
from hdg.settings import Settings

_fix, _windows = reindexing._fix, []


def _hanging(session, window, rkeys):
    done = _fix(session, window, rkeys)
    _windows.append(rkeys)
    if len(_windows) == 2:
        print("hangs", flush=True)
        time.sleep(600)
    return done


if __name__ == "__main__":
    reindexing.WINDOW = 2
    reindexing._fix = _hanging
    keys = KeyRing.of_bytes(*(bytes([number]) * 32 for number in range(1, 6)))
    settings = Settings(data=Path(sys.argv[1]), database_url=sys.argv[2] or None)
    with Store.open(settings, keys, lambda: time.time_ns() // 1000) as store:
        Reindexing(store, store._shared.indexer, Scope()).repair()
