"""Rows as one statement for PostgreSQL: each column is an array, ``INSERT … SELECT … FROM unnest(…)``.

https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO. Unlike COPY it may be sent without waiting for what was
sent before it (engine.pipelined), and costs about the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Boolean, Float, LargeBinary, String, Table
from sqlalchemy.types import TypeEngine

__all__ = ["arrays_of", "insertion"]

Encode = Callable[[Iterable[Any]], str]


def _numbers(values: Iterable[Any]) -> str:
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


def _texts(values: Iterable[str | None]) -> str:
    quoted = [
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for value in values
    ]
    return f"{{{','.join(quoted)}}}"


def _bytes(values: Iterable[bytes | None]) -> str:
    written = ["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values]
    return f"{{{','.join(written)}}}"


_KINDS: tuple[tuple[type[TypeEngine[Any]], str, Encode], ...] = (
    (Boolean, "boolean", _numbers),
    (String, "text", _texts),
    (LargeBinary, "bytea", _bytes),
    (Float, "double precision", _numbers),
)


def _kind(type_: TypeEngine[Any]) -> tuple[str, Encode]:
    for each, name, encode in _KINDS:
        if isinstance(type_, each):
            return name, encode
    return "bigint", _numbers


def insertion(table: Table, head: str) -> tuple[str, tuple[Encode, ...]]:
    """(the statement, what makes the array of each column). ``head``: INSERT INTO … (every column)."""
    kinds = [_kind(column.type) for column in table.columns]
    marks = ", ".join(f"%s::{name}[]" for name, _ in kinds)
    sql = f"{head} SELECT * FROM unnest({marks})"  # noqa: S608  # our own names
    return sql, tuple(encode for _, encode in kinds)


def arrays_of(encoders: Sequence[Encode], rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """The statement's parameters."""
    return [encode(column) for encode, column in zip(encoders, zip(*rows, strict=True), strict=True)]
