"""The FHIR API at size: reads, creates, searches of 50 hits and chains, with token, consent and audit.

    python -m bench.queries [--resources 100000] [--database sqlite|postgresql] [--seconds 10]

Imports synthetic records by transactions first, then asks with 16 keep-alive clients. One line a figure: requests a
second at full load, and the 99th percentile with one client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import urllib.request
from collections.abc import Iterator, Sequence

from bench import http_load
from bench.fault_store import postgresql
from bench.measure import Running, gateway
from bench.records import bundles
from bench.service import hdg_command

CLIENTS = 16
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
    given = parser.parse_args()
    with _gateway(given.database) as running:
        token = hdg_command(
            running, "token", "--role", "clinician", "--user", "loader", "--institution", "north"
        )
        patients = import_records(running, token, given.resources)
        print(f"{len(patients)} patients, {given.resources} resources, {given.database}", flush=True)
        for name, requests in _requests(running, token, patients).items():
            _figure(running, name, requests, given.seconds)


@contextlib.contextmanager
def _gateway(database: str) -> Iterator[Running]:
    if database == "sqlite":
        with gateway() as running:
            yield running
        return
    with postgresql() as (_, url), gateway(HDG_DATABASE_URL=url) as running:
        yield running


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
    step = 200
    for start in range(0, count, step):
        some = [
            _post(running, token, "/fhir", body) for body in bundles(min(step, count - start), seed=start + 1)
        ]
        load = asyncio.run(http_load.send(*running.http, some, clients=4, total=len(some)))
        if set(load.statuses) != {200}:
            raise RuntimeError(f"answers other than 200: {load.statuses}")
        if start // step % 5 == 0:
            print(
                f"  {start * 300} resources, {len(some) * 300 / load.seconds:.0f}/s",
                file=sys.stderr,
                flush=True,
            )
    request = urllib.request.Request(
        f"http://{running.http[0]}:{running.http[1]}/fhir/Patient?_count=1000",
        headers={"Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request) as answer:
        entries = json.loads(answer.read())["entry"]
    return [(entry["resource"]["id"], entry["resource"]["identifier"][0]["value"]) for entry in entries]


def _requests(running: Running, token: str, patients: Sequence[tuple[str, str]]) -> dict[str, list[bytes]]:
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
    for _ in range(400):
        id_, number = rng.choice(patients)
        body = json.dumps({**observation, "subject": {"reference": f"Patient/{id_}"}}).encode()
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
    """One line: the rate with all clients, then latency with so many clients that about half of it is asked."""
    probe = asyncio.run(http_load.send(*running.http, requests, clients=CLIENTS, total=200))
    total = max(200, int(probe.per_second * seconds))
    full = asyncio.run(http_load.send(*running.http, requests, clients=CLIENTS, total=total))
    half = asyncio.run(http_load.send(*running.http, requests, clients=1, total=max(100, total // 4)))
    if not {*full.statuses, *half.statuses} <= {200, 201}:
        raise RuntimeError(f"{name}: answers other than 200 and 201: {full.statuses}")
    print(
        f"{name}: {full.per_second:.0f}/s (asked: {GOALS[name]}), p99 {full.p99_ms:.1f} ms; "
        f"one client: {half.per_second:.0f}/s, p99 {half.p99_ms:.1f} ms",
        flush=True,
    )


if __name__ == "__main__":
    main()
