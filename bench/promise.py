"""The promise of the gateway, looked for in what it left behind: accepted = stored exactly once, nothing half.

Reads the database itself (SQLite or PostgreSQL), not through the gateway; then does what ``hdg verify`` does.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sqlalchemy import Connection, create_engine, text

from hdg.errors import HdgError
from hdg.operator import verify_store
from hdg.settings import load

_ACCEPTED = "SELECT control_id, count(*) FROM inbox WHERE status='accepted' GROUP BY control_id"
_COUNTS = {
    "versions without a resource": (
        "SELECT count(*) FROM version v LEFT JOIN resource r ON r.rkey=v.rkey WHERE r.rkey IS NULL"
    ),
    "resources whose current version is missing": (
        "SELECT count(*) FROM resource r LEFT JOIN version v ON v.rkey=r.rkey AND v.version=r.version "
        "WHERE v.rkey IS NULL"
    ),
    "inbox rows without their message": (
        "SELECT count(*) FROM inbox i LEFT JOIN blob b ON b.cid=i.blob WHERE b.cid IS NULL AND i.blob <> ''"
    ),
    "versions without their leaf": (
        "SELECT count(*) FROM version v LEFT JOIN ledger_leaf l ON l.leaf_index=v.leaf_index "
        "WHERE l.leaf_index IS NULL"
    ),
    "versions that are older than the one before": (
        "SELECT count(*) FROM version v JOIN version w ON w.rkey=v.rkey AND w.version=v.version+1 "
        "WHERE w.updated_us <= v.updated_us"
    ),
}
_HEADERS = "SELECT count(*) FROM resource WHERE type='MessageHeader'"


def findings(
    data: Path,
    acknowledged: Collection[str],
    *,
    url: str | None = None,
    is_exact: bool = False,
    is_verified: bool = True,
) -> list[str]:
    """What is wrong; empty when nothing is. ``acknowledged``: control ids that were answered AA.

    ``is_exact``: nothing may be stored beyond what was acknowledged. ``url``: SQLAlchemy's, None for SQLite in
    the data folder.
    """
    engine = create_engine(url or f"sqlite:///{data / 'hdg.db'}")
    try:
        with engine.connect() as connection:
            found = _look(connection, set(acknowledged), is_exact)
    finally:
        engine.dispose()
    return found + (_verify(data, url) if is_verified else [])


def _look(connection: Connection, acknowledged: set[str], is_exact: bool) -> list[str]:
    found = []
    counts: dict[str, int] = {row[0]: row[1] for row in connection.execute(text(_ACCEPTED))}
    if missing := acknowledged - counts.keys():
        found.append(f"{len(missing)} acknowledged messages are missing")
    if doubled := [control for control, count in counts.items() if count > 1]:
        found.append(f"{len(doubled)} messages are there twice")
    if is_exact and (extra := counts.keys() - acknowledged):
        found.append(f"{len(extra)} messages are stored that were never acknowledged")
    headers = connection.execute(text(_HEADERS)).scalar_one()
    if headers != len(counts):
        found.append(f"{headers} MessageHeaders for {len(counts)} accepted messages")
    for what, query in _COUNTS.items():
        if wrong := connection.execute(text(query)).scalar_one():
            found.append(f"{wrong} {what}")
    return found


def _verify(data: Path, url: str | None) -> list[str]:
    """As ``hdg verify``, without the second or two that a process takes to start."""
    try:
        report = verify_store(load(data=data, **({"database_url": url} if url else {})), "")
    except HdgError as error:
        return [f"the ledger cannot be verified: {str(error)[:300]}"]
    return [f"the ledger does not verify: {finding}"[:300] for finding in report.findings]
