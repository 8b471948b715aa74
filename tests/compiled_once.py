"""Queries and mapping tables are compiled once a run, not once for each of thousands of databases and gateways.

SQLAlchemy keeps compiled queries by their cache key for each engine, hdg for each store (store/asking.py); here all
databases of one kind share what is kept. That stores keep their own apart is nothing that a test looks at. Of HL7 v2's
tables all converters share the programs of those that are shipped, as those of one gateway do; what they remember
of messages stays their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from hdg.ingestion.hl7v2 import convert
from hdg.management.store.asking import Asker
from hdg.mapping.compile import Compiler, Program
from hdg.mapping.plans import Plans
from hdg.mapping.table import Table

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
    if convert.__file__.endswith(".py"):  # compiled modules look nothing up
        _share_tables(patch)


def _share_tables(patch: pytest.MonkeyPatch) -> None:
    first: dict[bool, Any] = {}
    plans: dict[Compiler, list[Plans]] = {}
    tables_of, program_of = convert.Converter.tables, Compiler._program

    def tables(self: convert.Converter, override: Path | None, maps: Path | None = None) -> Any:
        if (override, maps) != (None, None) or (override, maps) in self._tables:
            return tables_of(self, override, maps)
        made = tables_of(self, override, maps)
        shared = first.setdefault(self._is_tracing, made)
        made.library, made.grammar, made.compiler = shared.library, shared.grammar, shared.compiler
        made._programs = shared._programs
        for each in plans.setdefault(shared.compiler, []):
            each._by_shape.clear()  # what shapes there were so far is no part of the tables
        return made

    def program(self: Compiler, table: Table, depth: int) -> Program:
        made = program_of(self, table, depth)
        if self in plans:
            plans[self].append(made.plans)
        return made

    patch.setattr(convert.Converter, "tables", tables)
    patch.setattr(Compiler, "_program", program)
