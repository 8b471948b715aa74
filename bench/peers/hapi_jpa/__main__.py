"""HAPI's JPA server and a gateway on the same records and questions: do they answer alike, and how fast is each.

    python -m bench.peers.hapi_jpa [--resources 30000] [--database h2|postgresql] [--seconds 5] [--rounds 3]
    python -m bench.peers.hapi_jpa --only answers      only whether both answer alike

H2 stands beside SQLite, PostgreSQL beside PostgreSQL. The gateway has token, consent and audit on; HAPI has nothing of
the kind. Both are loaded with the same transaction Bundles, in turn, and asked by the same client, in turn.
Other work on the machine falls on the rates, and most on a server of few threads; CPU time a request tells without it.
Needs Java 17 and Maven with its registry.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
from collections.abc import Callable, Sequence

from bench import http_load
from bench.measure import median
from bench.peers.hapi_jpa import odd
from bench.peers.hapi_jpa.peer import Server, ours, theirs
from bench.peers.hapi_jpa.questions import SETS, answered, difference
from bench.records import bundles

CLIENTS = 16
BATCH = 10
ANSWERS_RESOURCES = 3000


def main() -> None:
    """Loads, compares and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--resources", type=int, default=30_000)
    parser.add_argument("--database", choices=["h2", "postgresql"], default="h2")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["answers", "rates"])
    given = parser.parse_args()
    own = "sqlite" if given.database == "h2" else "postgresql"
    resources = ANSWERS_RESOURCES if given.only == "answers" else given.resources
    with ours(own) as first, theirs(given.database) as second:
        print(
            f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}; hdg on {own}, HAPI on {given.database}"
        )
        both = first, second
        rates, spent = _load(both, list(bundles(resources // 300)))
        if given.only != "rates":
            _compare(both, resources // 300)
        if given.only != "answers":
            size = f"{len(first.ids)} resources, {CLIENTS} clients"
            print(f"\n{size}, {given.rounds} rounds of {given.seconds:g} s in turn\n")
            print("| a second | hdg | HAPI | ratio | CPU ms each, hdg | HAPI | ratio | p99 ms, hdg | HAPI |")
            print("|---|---|---|---|---|---|---|---|---|")
            print(_row("resources imported", rates, spent))
            for name, made in KINDS.items():
                _rates(both, name, made, given.seconds, given.rounds)


def _load(both: Sequence[Server], made: list[bytes]) -> tuple[list[float], list[float]]:
    """Resources a second and CPU ms a resource of each, over the second half: a JVM is slow at first.

    The odd records come last.
    """
    seconds, cpu, counted = [0.0, 0.0], [0.0, 0.0], 0
    for start in range(0, len(made), BATCH):
        some = made[start : start + BATCH]
        is_counted = start >= len(made) // 2
        counted += sum(body.count(b'"request":') for body in some) if is_counted else 0
        for place, server in enumerate(both):
            before = server.cpu_seconds()
            took = server.load(some, start)
            if is_counted:
                seconds[place] += took
                cpu[place] += server.cpu_seconds() - before
    for server in both:
        server.load([odd.bundle()], len(made))
    return [counted / (each or 1) for each in seconds], [each * 1000 / (counted or 1) for each in cpu]


def _row(name: str, rates: Sequence[float], cpu_ms: Sequence[float], slowest: Sequence[float] = ()) -> str:
    tails = " | ".join(f"{each:.0f}" for each in slowest) or " | "
    of, each = " | ".join(f"{rate:,.0f}" for rate in rates), " | ".join(f"{ms:.2f}" for ms in cpu_ms)
    return f"| {name} | {of} | {rates[0] / rates[1]:.1f} | {each} | {cpu_ms[1] / cpu_ms[0]:.1f} | {tails} |"


def _compare(both: Sequence[Server], number: int) -> None:
    print("\n| answers | searches | alike |\n|---|---|---|")
    differing = []
    for name, questions in SETS.items():
        found = [
            difference(asked, *(answered(server, asked, number) for server in both)) for asked in questions
        ]
        differing += [(asked, told) for asked, told in zip(questions, found, strict=True) if told]
        print(f"| {name} | {len(questions)} | {found.count(None)} |", flush=True)
    print("\nNot alike (hdg and HAPI):\n")
    for asked, told in differing:
        print(f"- `{asked}`: {told}")


# --- how fast ---

Made = Callable[[Server, random.Random], bytes]


def _patient(server: Server, rng: random.Random) -> str:
    return server.ids[rng.randrange(max(number for number, _ in server.ids)), 0]


def _code(rng: random.Random) -> str:
    return f"http://loinc.org|{rng.randint(1000, 1400)}-1"


def _search(asked: str) -> Made:
    """``{patient}``, ``{number}``, ``{code}`` and ``{year}`` are drawn for each request, alike for both servers."""

    def made(server: Server, rng: random.Random) -> bytes:
        drawn = rng.randrange(max(number for number, _ in server.ids))
        path = asked.format(
            patient=server.ids[drawn, 0],
            number=f"MRN1-{drawn}",
            code=_code(rng),
            year=rng.randint(2010, 2020),
        )
        return server.raw("GET", f"/fhir/{path}")

    return made


def _create(server: Server, rng: random.Random) -> bytes:
    quantity = {"value": 5.4, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL"}
    body = {
        "resourceType": "Observation", "status": "final", "effectiveDateTime": "2024-05-05", "valueQuantity": quantity,
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "subject": {"reference": f"Patient/{_patient(server, rng)}"},
    }  # fmt: skip
    return server.raw("POST", "/fhir/Observation", json.dumps(body).encode())


KINDS: dict[str, Made] = {
    "read": _search("Patient/{patient}"),
    "token and date, 50 hits of one patient": _search(
        "Observation?patient={patient}&category=laboratory&date=ge{year}&_count=50&_total=none"
    ),
    "token and date, 50 hits of 50 patients": _search(
        "Observation?code={code}&date=ge{year}&_count=50&_total=none"
    ),
    "one patient's of one code": _search("Observation?patient={patient}&code={code}"),
    "chained": _search(
        "Observation?subject:Patient.identifier=urn:example:mrn|{number}&_count=50&_total=none"
    ),
    "_include": _search("Observation?patient={patient}&_include=Observation:encounter&_count=50&_total=none"),
    "_revinclude": _search(
        "Encounter?patient={patient}&_revinclude=Condition:encounter&_count=10&_total=none"
    ),
    "_sort, of one patient": _search("Observation?patient={patient}&_sort=-date&_count=50&_total=none"),
    "_sort, of one code": _search("Observation?code={code}&_sort=-date&_count=50&_total=none"),
    "_has": _search("Patient?_has:Observation:patient:code={code}&_count=50&_total=none"),
    "number of hits": _search("Observation?code={code}&_summary=count"),
    "create": _create,
}


def _rates(both: Sequence[Server], name: str, made: Made, seconds: float, rounds: int) -> None:
    """One row: the median of the rounds, each server asked for a while in turn."""
    requests = []
    for server in both:
        rng = random.Random(5)
        requests.append([made(server, rng) for _ in range(400)])
    rates: tuple[list[float], list[float]] = ([], [])
    slowest: tuple[list[float], list[float]] = ([], [])
    cpu_ms: tuple[list[float], list[float]] = ([], [])
    totals = [0, 0]
    for turn in range(-1, rounds):  # the first round warms up
        for place, server in enumerate(both):
            total = totals[place] or 200
            before = server.cpu_seconds()
            load = asyncio.run(http_load.send(*server.address, requests[place], clients=CLIENTS, total=total))
            if not set(load.statuses) <= {200, 201}:
                raise RuntimeError(f"{server.title}, {name}: answers other than 200 and 201: {load.statuses}")
            totals[place] = max(200, int(load.per_second * seconds))
            if turn >= 0:
                rates[place].append(load.per_second)
                slowest[place].append(load.p99_ms)
                cpu_ms[place].append((server.cpu_seconds() - before) * 1000 / total)
    print(
        _row(name, *([median(found) for found in both_found] for both_found in (rates, cpu_ms, slowest))),
        flush=True,
    )


if __name__ == "__main__":
    main()
