"""The tables of one Library compiled on demand, for formats whose rows stand by themselves (puts.py)."""

from __future__ import annotations

from typing import Generic, TypeVar

from mypy_extensions import mypyc_attr

from hdg.errors import TableError
from hdg.mapping.library import Library
from hdg.mapping.table import Table

__all__ = ["Programs"]

Program = TypeVar("Program")


@mypyc_attr(allow_interpreted_subclasses=True)
class Programs(Generic[Program]):
    """Compiles the tables of one Library by ``_program``, which a format has; keeps what it compiled."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._programs: dict[str, Program] = {}

    def program(self, name: str) -> Program:
        """Raises TableError."""
        found = self._programs.get(name)
        if found is None:
            table = self.library.table("tables", name)
            if table is None:
                raise TableError(f"tables/{name}.csv", 1, "there is no such table")
            found = self._programs[name] = self._program(table)
        return found

    def _program(self, table: Table) -> Program:
        """A table compiled. Raises TableError."""
        raise NotImplementedError
