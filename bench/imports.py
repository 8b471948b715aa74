"""Import by transaction Bundles, as an institution loads its records: token, validation, indexes, ledger, audit, fsync.

The limit is what the disk and the database give for the same sealed bodies alone.
"""

from __future__ import annotations

import asyncio
import re

from bench import http_load
from bench.fault_store import postgresql
from bench.measure import Figure, Running, gateway
from bench.records import bundles
from bench.service import bare_inserts, hdg_command, stored_rows

BUNDLES = 100
CLIENTS = 4


def import_transactions() -> Figure:
    """Bundles of 100 to 500 resources over 4 connections, SQLite; limit: their bodies into bare SQLite, FULL."""
    with gateway() as running:
        rate, resources = _imported(running)
        limit = bare_inserts(stored_rows(running), resources, 300)
    return Figure(
        "import_transactions",
        rate,
        "resources/s",
        limit,
        "same bodies into bare SQLite, FULL, 300 a commit",
        ">= 4,000",
    )


def import_transactions_postgresql() -> Figure:
    """The same on PostgreSQL; limit: as before."""
    with postgresql() as (_, url), gateway(HDG_DATABASE_URL=url) as running:
        rate, resources = _imported(running)
    with gateway() as running:
        _imported(running)
        limit = bare_inserts(stored_rows(running), resources, 300)
    return Figure(
        "import_transactions_postgresql",
        rate,
        "resources/s",
        limit,
        "same bodies into bare SQLite, FULL, 300 a commit",
        ">= 4,000",
    )


def _imported(running: Running) -> tuple[float, int]:
    """(resources a second, resources in all)."""
    token = hdg_command(running, "token", "--role", "clinician", "--user", "loader", "--institution", "north")
    host, port = running.http
    requests, resources = [], 0
    for body in bundles(BUNDLES + CLIENTS):
        head = (
            f"POST /fhir HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/fhir+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
        if len(requests) > CLIENTS:
            resources += len(re.findall(rb'"request":', body))
    warm, measured = requests[:CLIENTS], requests[CLIENTS:]
    for some in (warm, measured):
        load = asyncio.run(http_load.send(host, port, some, clients=CLIENTS, total=len(some)))
        if set(load.statuses) != {200}:
            raise RuntimeError(f"answers other than 200: {load.statuses}")
    return resources / load.seconds, resources
