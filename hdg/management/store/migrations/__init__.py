"""Alembic migrations of the whole database, applied when a store is opened.

Only this constant is read on a normal start; Alembic is imported when the database is behind it.
"""

from __future__ import annotations

HEAD = "0021"
