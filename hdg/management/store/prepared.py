"""A predicate compiled once into the statement that reads a resource by its name, for the raw driver.

Compiling and binding through Core costs several times what the query itself does; a caller that keeps a
predicate (one for each principal) pays that once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Select

__all__ = ["Prepared"]


class Prepared:
    """``query`` with ``predicate`` in it, as text and values. Thread-safe: it never changes.

    The query binds ``t`` (type) and ``i`` (id), or lists of both. A bound callable (a clock) is called for every use.
    """

    def __init__(self, query: Select[Any], predicate: ColumnElement[bool], dialect: Dialect) -> None:
        self.predicate = predicate
        compiled = query.where(predicate).compile(dialect=dialect)
        self.sql = str(compiled)
        self._values: dict[str, Any] = {}
        self._live: list[tuple[str, Callable[[], Any]]] = []
        for name, bind in compiled.binds.items():
            if bind.callable is not None:
                self._live.append((name, bind.callable))
            else:
                self._values[name] = bind.value
        self._order: list[str] | None = compiled.positiontup

    def values(self, type_: str | list[str], id_: str | list[str]) -> list[Any] | dict[str, Any]:
        """What to bind, in the driver's own style (by position or by name)."""
        values = self._values | {"t": type_, "i": id_}
        for name, source in self._live:
            values[name] = source()
        return values if self._order is None else [values[name] for name in self._order]
