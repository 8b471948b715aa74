"""Fills the index of new search parameters until it is done or killed; a line a batch. Run by test_store_custom."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hanging import fill

from hdg.management.keys import KeyRing
from hdg.management.store import Store
from hdg.management.store.custom_fill import Filler
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher
from hdg.settings import Settings


def main(folder: str, url: str, batches: int) -> None:
    """``batches``: after so many it says so and waits to be killed in the middle of the next one; 0: to the end."""
    keys = KeyRing.of_bytes(*(bytes([number]) * 32 for number in range(1, 6)))
    settings = Settings(data=Path(folder), database_url=url or None)
    with Store.open(settings, keys, lambda: time.time_ns() // 1000) as store:
        filler = Filler(store, hasher(index_key(keys.root)), batch=3, lease_us=0)
        fill(filler, batches)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
