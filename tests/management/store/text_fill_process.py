"""Makes the index of words until it is done or killed; a line a window. Run by test_store_texts_killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hanging import fill

from hdg.management.keys import KeyRing
from hdg.management.store import Store
from hdg.management.store.meta import index_key
from hdg.management.store.text_fill import TextFill
from hdg.management.store.values import hasher
from hdg.settings import Settings


def main(folder: str, url: str, windows: int) -> None:
    """``windows``: after so many it waits, in the middle of the next one, to be killed; 0: to the end."""
    keys = KeyRing.of_bytes(*(bytes([number]) * 32 for number in range(1, 6)))
    settings = Settings(data=Path(folder), database_url=url or None)
    with Store.open(settings, keys, lambda: time.time_ns() // 1000) as store:
        fill(TextFill(store, hasher(index_key(keys.root)), is_on=True, window=3), windows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
