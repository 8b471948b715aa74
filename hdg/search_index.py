"""Keeps the search index complete, in a thread beside the server.

R4 searchparameter.html. After an upgrade that changed the rules it fills the index anew (refill.py). It takes over
what packages define, fills the index of what is new and empties that of what is gone (custom_fill.py), and makes or
removes that of words as the settings say (text_fill.py), a batch at a time with pauses, so that what is written
meanwhile waits for no more than one batch. Any number of processes may run one; a database that is not there is waited
for.
"""

from __future__ import annotations

import logging
import threading
import time

from hdg.errors import HdgError
from hdg.fhir.profiles.shelf import FOLDER, Shelf
from hdg.management.store import Store
from hdg.management.store.custom_fill import Filler
from hdg.management.store.custom_packages import Packages
from hdg.management.store.index import Indexer
from hdg.management.store.refill import Refill
from hdg.management.store.text_fill import TextFill
from hdg.management.store.values import Hash
from hdg.settings import Settings
from hdg.throttle import Throttle

__all__ = ["SearchIndex"]

POLL_S = 1.0
_SHARE = 1.0
"""Pause after a batch, in times that it took: half of the time belongs to others."""
_log = logging.getLogger("hdg.store")


class SearchIndex:
    """``start`` and ``stop`` are for any thread."""

    def __init__(self, settings: Settings, store: Store, hash_: Hash, *, poll_s: float = POLL_S) -> None:
        self._packages = Packages(Shelf(settings.data / FOLDER), store)
        self._filler = Filler(store, hash_)
        self._refill = Refill(store, Indexer(hash_))
        self._texts = TextFill(store, hash_, is_on=settings.search_text)
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self._tell = Throttle(_log)
        self._thread = threading.Thread(target=self._run, name="hdg-search-index", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the batch that is under way; another process, or the next start, goes on."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._packages.sync()
                self._work()
            except Exception as error:  # the database's troubles pass
                self._tell(logging.WARNING, "search parameters wait: %s", type(error).__name__)
            self._stopping.wait(self._poll_s)
        try:
            self._filler.release()
        except HdgError as error:
            _log.info("the lease runs out by itself: %s", type(error).__name__)

    def _work(self) -> None:
        is_busy = True
        while is_busy and not self._stopping.is_set():
            started = time.monotonic()
            is_busy = self._refill.step() or self._filler.step() or self._texts.step()
            if is_busy:
                self._stopping.wait((time.monotonic() - started) * _SHARE)
