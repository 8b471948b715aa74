"""Writes a small data folder as an older release made it, for the test that it can still be read after an upgrade.

Run with the older release's code, of the revision before the second migration, and this script's own path:

    git archive f0fb902 | tar -x -C old && cd old && PYTHONPATH=. python …/scripts/generate_old_data.py OUT.json.gz

Holds every row of every table (bytes as base64), the files of the folder beside the database, and what was stored, in
words: each version's body. The messages are the release's own examples, about people who do not exist; the keys were
made for this file and protect nothing else.
"""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

from hdg.gateway import Gateway
from hdg.operator import grant_consent, mint_token, revoke_consent
from hdg.settings import Settings


def main(out: str) -> None:
    """Fills a folder, reads it back, writes one file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(data=folder, inline_blob_bytes=600)
        _fill(settings)
        told = {
            "expected": _expected(settings),
            "tables": _tables(folder / "hdg.db"),
            "files": _files(folder),
        }
    data = json.dumps(told, separators=(",", ":"), sort_keys=True).encode()
    Path(out).write_bytes(gzip.compress(data, 9, mtime=0))


def _fill(settings: Settings) -> None:
    with Gateway.open(settings) as gateway:
        raws = [path.read_bytes() for path in sorted(Path("examples").glob("*.hl7"))[:2]]
        for raw in raws:
            gateway.receive_now(raw)
        gateway.receive_now(raws[0])  # a duplicate
        gateway.receive_now(b"MSH|^~\\&|A|B|C|D|20260101||XYZ^Q99|bad-1|P|2.5.1\r")  # not taken
        with gateway.store.engine.connect() as connection:
            patient = connection.exec_driver_sql("SELECT id FROM resource WHERE type = 'Patient'").scalar()
            observation = connection.exec_driver_sql(
                "SELECT id FROM resource WHERE type = 'Observation'"
            ).scalar()

        def again(session: Any) -> None:
            content = session.current("Patient", patient)
            session.put(content | {"active": False}, institution="other", patient=patient)
            session.delete("Observation", observation, institution="other")

        gateway.store.submit(again).result()
    token = mint_token(
        settings,
        role="patient",
        user="",
        institution="",
        patient=str(patient),
        purpose="",
        project="",
        hours=1,
    )
    _read(settings, token, str(patient))
    consent = grant_consent(settings, str(patient), ("Organization/x",), ("TREAT",), (), 30)
    grant_consent(settings, str(patient), ("Organization/y",), (), (), 30)
    revoke_consent(settings, consent)


def _read(settings: Settings, token: str, patient: str) -> None:
    """One audited read."""
    import asyncio

    from hdg.gateway import now_us
    from hdg.usage.access import Gate

    async def read(gate: Gate) -> None:
        await gate.read(gate.caller(f"Bearer {token}"), "Patient", patient)

    with Gateway.open(settings) as gateway:
        asyncio.run(read(Gate.open(settings, gateway.keys, gateway.store, now_us)))


def _expected(settings: Settings) -> list[list[Any]]:
    """[type, id, version, is deleted, body] of every version."""
    from sqlalchemy import true

    with Gateway.open(settings) as gateway:
        with gateway.store.engine.connect() as connection:
            names = connection.exec_driver_sql("SELECT type, id FROM resource ORDER BY rkey").all()
        found = []
        for type_, id_ in names:
            for version in reversed(gateway.store.reader.history(type_, id_, true()).versions):
                body = gateway.store.reader.body(version).decode()
                found.append([type_, id_, version.version, bool(version.deleted), body])
        return found


def _tables(database: Path) -> dict[str, list[dict[str, Any]]]:
    with sqlite3.connect(database) as connection:
        connection.row_factory = sqlite3.Row
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        names = sorted(row[0] for row in connection.execute(sql))
        return {name: [_told(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}


def _told(row: sqlite3.Row) -> dict[str, Any]:
    return {
        name: {"bytes": _text(value)} if isinstance(value, bytes) else value
        for name, value in dict(row).items()
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _files(folder: Path) -> dict[str, str]:
    """All but the database and locks."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("hdg.db")]
    return {str(path.relative_to(folder)): _text(path.read_bytes()) for path in sorted(paths)}


if __name__ == "__main__":
    main(sys.argv[1])
