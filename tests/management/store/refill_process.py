"""Goes on filling an index that is made anew until it is done or killed; a line a window. Run by test_store_refill."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hanging import fill

from hdg.management.keys import KeyRing
from hdg.management.store import Store, meta
from hdg.management.store.refill import Refill
from hdg.settings import Settings


def main(folder: str, url: str, windows: int) -> None:
    """``windows``: after so many it waits, in the middle of the next one, to be killed."""
    keys = KeyRing.of_bytes(*(bytes([number]) * 32 for number in range(1, 6)))
    settings = Settings(data=Path(folder), database_url=url or None)
    meta.AT_ONCE, meta.INDEX_VERSION = 0, "next"
    with Store.open(settings, keys, lambda: time.time_ns() // 1000) as store:
        fill(Refill(store, store._shared.indexer, window=2), windows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
