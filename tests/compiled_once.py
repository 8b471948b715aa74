"""Queries are compiled once a run, not once for each of thousands of databases: the same query is the same text.

SQLAlchemy keeps compiled queries by their cache key for each engine, hdg for each store (store/asking.py); here all
databases of one kind share what is kept. That stores keep their own apart is nothing that a test looks at.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from hdg.management.store.asking import Asker

__all__ = ["share"]


class _Shared:
    """A cache of compiled queries for all engines: the dialect in a key counts by its kind and version."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    @staticmethod
    def _key(key: Any) -> Any:
        dialect, *rest = key
        return (type(dialect), dialect.paramstyle, getattr(dialect, "server_version_info", None), *rest)

    def get(self, key: Any, default: Any = None) -> Any:
        return self._kept.get(self._key(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        self._kept[self._key(key)] = compiled


def share(patch: pytest.MonkeyPatch) -> None:
    """From now on."""
    kept, texts = _Shared(), dict[str, dict[Any, Any]]()
    make_engine, make_asker = Engine.__init__, Asker.__init__

    def engine(self: Engine, *arguments: Any, **named: Any) -> None:
        make_engine(self, *arguments, **named)
        if self._compiled_cache is not None:
            self._compiled_cache = kept  # type: ignore[assignment]  # what SQLAlchemy asks of it

    def asker(self: Asker, dialect: Any) -> None:
        make_asker(self, dialect)
        self._texts = texts.setdefault(dialect.name, {})

    patch.setattr(Engine, "__init__", engine)
    patch.setattr(Asker, "__init__", asker)
