"""docs/security.md tells of every table and of every column where a text of a message may stand in plain."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from sqlmodel import SQLModel
from test_no_patient_value_outside import PLAIN

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()


def test_every_table_is_told_of() -> None:
    for module in (
        "audit",
        "audit_shared",
        "consent.schema",
        "identity",
        "ledger.schema",
        "store.replaced",
        "store.schema",
        "store.subscription",
    ):
        importlib.import_module(f"hdg.management.{module}")
    rows = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    told = set(re.findall(r"`(\w+)`", " ".join(rows)))
    ours = {name for name, table in SQLModel.metadata.tables.items() if name != "alembic_version"}
    assert ours <= told
    assert {column.partition(".")[0] for column in PLAIN} <= told
