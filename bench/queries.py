"""The FHIR API at size: reads, creates, searches of 50 hits and chains, with token, consent and audit.

    python -m bench.queries [--resources 100000] [--database sqlite|postgresql] [--seconds 10] [--data FOLDER]
    python -m bench.queries --grow [--large 2000000] [--database sqlite|postgresql] [--data FOLDER]

Imports synthetic records by transactions first, lets PostgreSQL do what it would do by itself in the minutes after
(VACUUM, ANALYZE, a checkpoint), then asks with 16 keep-alive clients. One line a figure: requests a second at full
load, and the 99th percentile at half the rate that is asked for, each request sent when it is due.

``--data``: a folder that is kept, on PostgreSQL beside the server's own (``FOLDER-server``): the first run imports
``--resources`` into it, the next of the same number ask at once.

``--grow``: how much longer a search of few hits takes in ``--large`` resources (in the folder, if one is named) than in
``--resources``: two gateways, asked in turn by one client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import http_load
from bench.fault_store import postgresql
from bench.measure import Running, gateway, median
from bench.records import bundles
from bench.service import hdg_command

Loaded = tuple[Running, str, list[tuple[str, str]]]
GROWING = ("read", "50 hits by token and date, of one patient", "chained")
"""What finds as much among many as among few."""
CLIENTS = 16
STEP = 200
"""Bundles of one seed."""
GOALS = {
    "read": 1500,
    "create": 800,
    "50 hits by token and date, of one patient": 300,
    "50 hits by token and date, of 50 patients": 300,
    "chained": 100,
}
"""An audit entry is written for each patient whose data an answer holds, so it matters of how many the hits are."""


def main() -> None:
    """Imports and asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resources", type=int, default=100_000)
    parser.add_argument("--database", default="sqlite", choices=["sqlite", "postgresql"])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--grow", action="store_true")
    parser.add_argument("--large", type=int, default=2_000_000)
    given = parser.parse_args()
    if given.grow:
        _grow(given)
        return
    with _loaded(given.database, given.data, given.resources) as (running, token, some):
        print(f"{len(some)} patients of {given.resources} resources, {given.database}", flush=True)
        for name, requests in _requests(running, token, some).items():
            _figure(running, name, requests, given.seconds)


@contextlib.contextmanager
def _loaded(database: str, data: Path | None, resources: int) -> Iterator[Loaded]:
    """A gateway with records in it, a token, and some of the patients. ``data``: a folder that is kept; if it is there
    already, it has them.
    """
    is_filled = data is not None and data.exists()
    with contextlib.ExitStack() as stack:
        url = ""
        if database == "sqlite":
            running = stack.enter_context(gateway(data))
        else:
            kept = None if data is None else data.with_name(data.name + "-server")
            _, url = stack.enter_context(postgresql(kept))
            running = stack.enter_context(gateway(data, HDG_DATABASE_URL=url))
        token = hdg_command(
            running, "token", "--role", "clinician", "--user", "loader", "--institution", "north"
        )
        some = (patients if is_filled else import_records)(running, token, resources)
        if url:
            _settle(url)
        yield running, token, some


def _settle(url: str) -> None:
    """What autovacuum and the checkpointer are about to do after an import, done before anything is timed."""
    import psycopg  # SQLite does without

    started = time.perf_counter()
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    print(f"  settled in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def _grow(given: argparse.Namespace) -> None:
    """The median time of each kind in both sizes, asked in turn, and how they compare."""
    with contextlib.ExitStack() as stack:
        small = stack.enter_context(_loaded(given.database, None, given.resources))
        large = stack.enter_context(_loaded(given.database, given.data, given.large))
        asked = [(running, _requests(running, token, some)) for running, token, some in (small, large)]
        for name in GROWING:
            times: tuple[list[float], list[float]] = ([], [])
            for turn in range(-2, max(4, int(given.seconds))):
                for place, (running, requests) in enumerate(asked):
                    load = asyncio.run(http_load.send(*running.http, requests[name], clients=1, total=200))
                    if set(load.statuses) != {200}:
                        raise RuntimeError(f"{name}: answers other than 200: {load.statuses}")
                    if turn >= 0:
                        times[place].append(load.median_ms)
            one, other = (median(found) for found in times)
            print(f"{name}: {one:.2f} ms and {other:.2f} ms, {other / one:.2f} (asked: <= 1.3)", flush=True)


def _post(running: Running, token: str, path: str, body: bytes) -> bytes:
    host, port = running.http
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/fhir+json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _get(running: Running, token: str, path: str) -> bytes:
    host, port = running.http
    return f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def import_records(running: Running, token: str, resources: int) -> list[tuple[str, str]]:
    """(id, identifier) of some of the patients that were made."""
    count = resources // 300
    for start in range(0, count, STEP):
        made = bundles(min(STEP, count - start), seed=start + 1)
        some = [_post(running, token, "/fhir", body) for body in made]
        load = asyncio.run(http_load.send(*running.http, some, clients=4, total=len(some)))
        if set(load.statuses) != {200}:
            raise RuntimeError(f"answers other than 200: {load.statuses}")
        if start // STEP % 5 == 0:
            print(
                f"  {start * 300} resources, {len(some) * 300 / load.seconds:.0f}/s",
                file=sys.stderr,
                flush=True,
            )
    return patients(running, token, resources)


def patients(running: Running, token: str, resources: int) -> list[tuple[str, str]]:
    """(id, identifier) of some of the patients that ``import_records`` made, from all over the data."""
    rng = random.Random(3)
    count = resources // 300
    found = []
    for drawn in rng.sample(range(count), min(800, count)):
        number = f"MRN{drawn // STEP * STEP + 1}-{drawn % STEP}"
        request = urllib.request.Request(
            f"http://{running.http[0]}:{running.http[1]}/fhir/Patient?identifier=urn:example:mrn|{number}",
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request) as answer:
            found.append((json.loads(answer.read())["entry"][0]["resource"]["id"], number))
    return found


def _requests(running: Running, token: str, some: Sequence[tuple[str, str]]) -> dict[str, list[bytes]]:
    rng = random.Random(5)
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "effectiveDateTime": "2024-05-05",
        "valueQuantity": {
            "value": 5.4,
            "unit": "g/dL",
            "system": "http://unitsofmeasure.org",
            "code": "g/dL",
        },
    }
    found: dict[str, list[bytes]] = {name: [] for name in GOALS}
    half = len(some) // 2  # who is given more at each run is not asked about: kept data would grow just there
    for _ in range(400):
        id_, number = rng.choice(some[half:])
        given, _ = rng.choice(some[:half])
        body = json.dumps({**observation, "subject": {"reference": f"Patient/{given}"}}).encode()
        year = rng.randint(2010, 2020)
        code = f"http://loinc.org|{rng.randint(1000, 1400)}-1"
        found["read"].append(_get(running, token, f"/fhir/Patient/{id_}"))
        found["create"].append(_post(running, token, "/fhir/Observation", body))
        dated = f"/fhir/Observation?code={code}&date=ge{year}&_count=50&_total=none"
        found["50 hits by token and date, of 50 patients"].append(_get(running, token, dated))
        own = f"/fhir/Observation?patient={id_}&category=laboratory&date=ge{year - 10}&_count=50&_total=none"
        found["50 hits by token and date, of one patient"].append(_get(running, token, own))
        chained = f"/fhir/Observation?subject:Patient.identifier=urn:example:mrn|{number}&_count=50"
        found["chained"].append(_get(running, token, chained))
    return found


def _figure(running: Running, name: str, requests: list[bytes], seconds: float) -> None:
    """One line: the rate with all clients, then the slowest at half the rate that is asked for."""
    probe = asyncio.run(http_load.send(*running.http, requests, clients=CLIENTS, total=200))
    total = max(200, int(probe.per_second * seconds))
    full = asyncio.run(http_load.send(*running.http, requests, clients=CLIENTS, total=total))
    rate = GOALS[name] / 2
    half = asyncio.run(
        http_load.send(*running.http, requests, clients=CLIENTS, total=int(rate * seconds), rate=rate)
    )
    if not {*full.statuses, *half.statuses} <= {200, 201}:
        raise RuntimeError(f"{name}: answers other than 200 and 201: {full.statuses}")
    print(
        f"{name}: {full.per_second:.0f}/s (asked: {GOALS[name]}), p99 {full.p99_ms:.1f} ms; "
        f"at {rate:.0f}/s: median {half.median_ms:.1f} ms, p99 {half.p99_ms:.1f} ms (asked: < 100)",
        flush=True,
    )


if __name__ == "__main__":
    main()
