"""The store: versions with exact bytes, typed search indexes, one writer, many readers (DESIGN §6)."""

from __future__ import annotations

from hdg.management.store.read import Reader
from hdg.management.store.search import Clause, Include, SearchQuery, Sort
from hdg.management.store.session import Put, WriteSession
from hdg.management.store.unit import InboxRow
from hdg.management.store.versions import Page, StoredVersion
from hdg.management.store.writer import Store

__all__ = [
    "Clause",
    "InboxRow",
    "Include",
    "Page",
    "Put",
    "Reader",
    "SearchQuery",
    "Sort",
    "Store",
    "StoredVersion",
    "WriteSession",
]
