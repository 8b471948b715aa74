"""The service as its users meet it: durable MLLP ingest, gated reads; limits in the same minute on the same disk."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path

from bench import http_load, mllp_load
from bench.measure import Figure, Running, gateway, median
from bench.traffic import Traffic

MESSAGES = 6_000
CONNECTIONS = 32


def mllp_durable() -> Figure:
    """32 connections, ACK after fsync; limit: the same bytes into bare SQLite, 32 a transaction, synchronous=FULL."""
    messages = Traffic(seed=11).take(MESSAGES + 200)
    with gateway() as running:
        mllp_load.send_all(running.mllp, iter(messages[:200]), CONNECTIONS)
        load = mllp_load.send_all(running.mllp, iter(messages[200:]), CONNECTIONS)
        bodies = stored_rows(running)
    if load.refused:
        raise RuntimeError(f"{len(load.refused)} messages were refused, the first with {load.refused[0]!r}")
    limit = bare_inserts(bodies, MESSAGES + 200)
    return Figure(
        "mllp_durable",
        load.rate,
        "messages/s",
        limit,
        "same rows into bare SQLite, FULL, 32 a commit",
        ">= 300",
    )


def mllp_single_median() -> Figure:
    """One connection, one message at a time; limit: one durable commit of the same bytes into bare SQLite."""
    messages = Traffic(seed=12).take(600)
    with gateway() as running:
        mllp_load.send_all(running.mllp, iter(messages[:100]), 1)
        load = mllp_load.send_all(running.mllp, iter(messages[100:]), 1)
    limit = _commit_median_ms(messages)
    return Figure(
        "mllp_single_median", median(load.latencies) * 1000, "ms", limit, "one bare durable commit", "< 10"
    )


def read_gated() -> Figure:
    """GET Patient with token, consent and audit, 16 clients; limit: the same server answering constant bytes."""
    with gateway() as running:
        mllp_load.send_all(running.mllp, iter(Traffic(seed=13).take(300)), 8)
        patient = _one_patient(running.data)
        hdg_command(
            running, "consent", "grant", patient, "--to", "Organization/city-clinic", "--purpose", "TREAT"
        )
        token = hdg_command(
            running, "token", "--role", "clinician", "--user", "dr-lee", "--institution", "city-clinic"
        )
        url = f"http://{running.http[0]}:{running.http[1]}/fhir/Patient/{patient}"
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        ) as answer:
            body = json.loads(answer.read())
        if body["id"] != patient:
            raise RuntimeError("the read did not give the patient")
        rate = _load(*running.http, f"/fhir/Patient/{patient}", token)
        limit = _bare_server_rate()
    return Figure("read_gated", rate, "reads/s", limit, "bare Starlette route, 2 KB", ">= 800")


def _load(host: str, port: int, path: str, token: str) -> float:
    """Requests per second of 16 keep-alive clients; every answer must be a 200."""
    asyncio.run(http_load.load(host, port, [path], token, clients=16, total=1000))
    result = asyncio.run(http_load.load(host, port, [path], token, clients=16, total=8000))
    if set(result.statuses) != {200}:
        raise RuntimeError(f"answers other than 200: {result.statuses}")
    return result.per_second


def hdg_command(running: Running, *arguments: str) -> str:
    """What a command on the gateway's data folder prints."""
    command = [sys.executable, "-m", "hdg", *arguments, "--data", str(running.data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _one_patient(data: Path) -> str:
    with closing(sqlite3.connect(data / "hdg.db")) as database:
        return str(database.execute("SELECT id FROM resource WHERE type='Patient' LIMIT 1").fetchone()[0])


def stored_rows(running: Running) -> list[bytes]:
    """Every sealed body of the gateway (on SQLite)."""
    with closing(sqlite3.connect(running.data / "hdg.db")) as database:
        bodies = database.execute(
            "SELECT body FROM version UNION ALL SELECT data FROM blob WHERE data IS NOT NULL"
        )
        return [bytes(row[0]) for row in bodies]


def bare_inserts(bodies: list[bytes], units: int, together: int = 32) -> float:
    """Units (messages, resources) a second when all that is done is inserting the same sealed bodies durably.

    ``together``: units a commit.
    """
    with tempfile.TemporaryDirectory() as scratch:
        database = _durable(Path(scratch) / "bare.sqlite")
        per_commit = max(1, len(bodies) * together // units)
        started = time.perf_counter()
        for batch in (
            itertools.batched(bodies, per_commit)
            if sys.version_info >= (3, 12)
            else _batched(bodies, per_commit)
        ):
            with database:
                database.executemany("INSERT INTO body(data) VALUES (?)", [(body,) for body in batch])
        spent = time.perf_counter() - started
        database.close()
    return units / spent


def _batched(items: list[bytes], size: int) -> list[list[bytes]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _commit_median_ms(messages: list[bytes]) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        database = _durable(Path(scratch) / "bare.sqlite")
        spent = []
        for raw in messages:
            started = time.perf_counter()
            with database:
                database.execute("INSERT INTO body(data) VALUES (?)", (raw,))
            spent.append(time.perf_counter() - started)
        database.close()
    return median(spent) * 1000


def _durable(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE body(id INTEGER PRIMARY KEY, data BLOB)")
    return database


BARE = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
async def answer(request):
    return Response(b"x" * 2048, media_type="application/fhir+json")
uvicorn.run(Starlette(routes=[Route("/x", answer)]), port=int(sys.argv[1]), log_level="error", access_log=False)
"""


def _bare_server_rate() -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port)])
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        return _load("127.0.0.1", port, "/x", "none")
    finally:
        process.terminate()
        process.wait()
