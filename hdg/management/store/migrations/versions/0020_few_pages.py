"""References and composites of the search index lie in another order, in which a message changes fewer pages.

The rows stay as they are. SQLite, where the order is the table's own, writes them anew when the store is opened: some
ten seconds for a million resources.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
FLOAT = sa.Float(precision=53)
REFERENCES: dict[str, sa.types.TypeEngine[Any]] = {
    "param": INT64,
    "code": INT64,
    "system": INT64,
    "rkey": INT64,
}
BY_TARGET = ("code", "param", "rkey", "system")
COMPOSITES: dict[str, sa.types.TypeEngine[Any]] = {
    "param": INT64,
    "code": INT64,
    "system": INT64,
    "code2": INT64,
    "system2": INT64,
    "value": FLOAT,
    "high": FLOAT,
    "lo": INT64,
    "hi": INT64,
    "text": TEXT,
    "rkey": INT64,
}
BY_CODE = ("param", "code", "rkey", "system", "code2", "system2", "value", "high", "lo", "hi", "text")
SLICE_ROWS = 2_000_000
"""What is sorted at a time, in memory."""


def upgrade() -> None:
    """Gives both tables their new keys."""
    if op.get_bind().dialect.name == "postgresql":
        for table, key in (("idx_reference", BY_TARGET), ("idx_composite", BY_CODE)):
            op.drop_constraint(f"{table}_pkey", table, type_="primary")
            op.create_primary_key(f"{table}_pkey", table, list(key))
        op.drop_index("ix_idx_reference_rkey", "idx_reference")
        op.create_index("ix_idx_reference_param", "idx_reference", ["param", "rkey"], unique=False)
        return
    rows = int(op.get_bind().execute(sa.text("SELECT count(*) FROM idx_reference")).scalar() or 0)
    _in_order("idx_reference", REFERENCES, BY_TARGET, _slices(rows // SLICE_ROWS + 1))
    op.create_index("ix_idx_reference_param", "idx_reference", ["param", "rkey"], unique=False)
    _in_order(
        "idx_composite", COMPOSITES, BY_CODE, ["1"]
    )  # it goes by the code already: little is to be sorted


def _slices(count: int) -> list[str]:
    """Conditions that take apart what has a code, which may be any 64 bits, into about equal parts."""
    bounds = [(number << 64) // count - (1 << 63) for number in range(1, count)]
    begins = ["1", *(f"code >= {bound}" for bound in bounds)]
    ends = [*(f"code < {bound}" for bound in bounds), "1"]
    return [f"{begin} AND {end}" for begin, end in zip(begins, ends, strict=True)]


def _in_order(
    table: str, columns: dict[str, sa.types.TypeEngine[Any]], key: Sequence[str], slices: Sequence[str]
) -> None:
    declared = [sa.Column(name, kind, nullable=False) for name, kind in columns.items()]
    new = f"{table}_new"
    op.create_table(
        new,
        *declared,
        sa.PrimaryKeyConstraint(*key),
        sqlite_with_rowid=False,
    )
    names, order = ", ".join(columns), ", ".join(key)
    for some in slices:
        op.execute(f"INSERT INTO {new} ({names}) SELECT {names} FROM {table} WHERE {some} ORDER BY {order}")  # noqa: S608
    op.drop_table(table)
    op.rename_table(new, table)
