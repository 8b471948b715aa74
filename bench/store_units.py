"""Units of work per second into the store: encryption, index extraction, ledger leaves, COMMIT with FULL.

    python -m bench.store_units [--units 1500] [--url postgresql+psycopg://…] [--profile]

A unit is what one ORU message makes: 2.4 KB of raw bytes, an inbox row, 12 new Observations of about 1 KB, a
report, and an unchanged Patient, Practitioner and Organization. Seconds, not minutes; deterministic input; no
real people.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import random
import shutil
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import sqlalchemy

from hdg.management.keys import KeyRing
from hdg.management.store import InboxRow, Store, WriteSession
from hdg.management.store.batch import table_of
from hdg.management.store.schema import INDEX_TABLES
from hdg.settings import Settings

JsonObject = dict[str, Any]
PATIENTS = 200
IN_FLIGHT = 64


def observation(unit: int, number: int, patient: str) -> JsonObject:
    """About 1 KB, as a laboratory result comes out of the converter."""
    day = f"2026-{unit % 12 + 1:02d}-{unit % 28 + 1:02d}"
    code = f"{1000 + number * 7}-{number % 10}"
    return {
        "resourceType": "Observation",
        "id": f"obs{unit:08d}{number:02d}",
        "identifier": [{"system": "urn:oid:2.999.1.2.3", "value": f"F{unit}-{number}"}],
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                        "display": "Laboratory",
                    }
                ]
            }
        ],
        "code": {
            "coding": [
                {"system": "http://loinc.org", "code": code, "display": f"Analyte {number} in serum"},
                {"system": "urn:oid:2.999.1.2.4", "code": f"L{number}"},
            ],
            "text": f"Analyte {number} in serum or plasma",
        },
        "subject": {"reference": f"Patient/{patient}"},
        "encounter": {"reference": f"Encounter/enc{unit % 997}"},
        "effectiveDateTime": f"{day}T08:{unit % 60:02d}:00+01:00",
        "issued": f"{day}T09:{unit % 60:02d}:00+01:00",
        "performer": [{"reference": "Organization/lab"}],
        "valueQuantity": {
            "value": number * 10 + unit % 10,
            "unit": "mmol/L",
            "system": "http://unitsofmeasure.org",
            "code": "mmol/L",
        },
        "referenceRange": [{"low": {"value": 3}, "high": {"value": 6}, "text": "3 - 6"}],
        "interpretation": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
                        "code": "N",
                    }
                ]
            }
        ],
    }


def unit_of(number: int) -> tuple[str, bytes, list[tuple[JsonObject, str | None]]]:
    """(patient id, raw bytes, resources with the patient to store each under)."""
    dice = random.Random(number)
    patient = f"pat{dice.randrange(PATIENTS):06d}"
    observations = [observation(number, n, patient) for n in range(12)]
    report = {
        "resourceType": "DiagnosticReport",
        "id": f"rep{number:08d}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "24323-8"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "result": [{"reference": f"Observation/{item['id']}"} for item in observations],
    }
    person = {
        "resourceType": "Patient",
        "id": patient,
        "identifier": [{"system": "urn:oid:2.999.1.2", "value": patient.upper()}],
        "name": [{"family": f"Sample{patient[-3:]}", "given": ["Ada", "Test"]}],
        "gender": "female",
        "birthDate": "1970-01-01",
        "address": [{"city": "Sampleton", "postalCode": "12345"}],
    }
    doctor = {
        "resourceType": "Practitioner",
        "id": f"doc{number % 20}",
        "name": [{"family": f"Doc{number % 20}"}],
    }
    laboratory = {"resourceType": "Organization", "id": "lab", "name": "Sample Laboratory"}
    owned: list[tuple[JsonObject, str | None]] = [(item, patient) for item in (person, *observations, report)]
    return patient, dice.randbytes(2400), [*owned, (doctor, None), (laboratory, None)]


def write_unit(session: WriteSession, number: int, unit: Any) -> None:
    """What the gateway does for one message."""
    patient, raw, resources = unit
    if session.inbox_find("LAB|SITE", f"M{number}") is not None:
        return
    session.prefetch([(item["resourceType"], item["id"]) for item, _ in resources])
    for item, owner in resources:
        session.statement(item, sender="LAB|SITE", institution="site", patient=owner)
    cid = session.blob_put(raw, patient=patient, institution="site")
    row = InboxRow("LAB|SITE", f"M{number}", f"{number:064x}", "accepted", session.at_us, cid, b"MSH|ACK")
    session.inbox_add(row)


def measure(store: Store, units: int) -> tuple[float, float, float]:
    """(units a second, units a second of CPU time, median latency in ms) with IN_FLIGHT units under way."""
    made = [unit_of(number) for number in range(units)]
    waiting: deque[tuple[float, Future[None]]] = deque()
    latencies = []
    start, start_cpu = time.perf_counter(), time.process_time()
    for number, unit in enumerate(made):
        if len(waiting) >= IN_FLIGHT:
            since, future = waiting.popleft()
            future.result()
            latencies.append(time.perf_counter() - since)
        waiting.append((time.perf_counter(), store.submit(lambda s, n=number, u=unit: write_unit(s, n, u))))
    for _, future in waiting:
        future.result()
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    return units / wall_s, units / cpu_s, sorted(latencies)[len(latencies) // 2] * 1000


def read_rate(store: Store, units: int, rounds: int = 3, reads: int = 1000) -> float:
    """Reads a second of the current version with decryption, one thread, best of ``rounds``."""
    ids = [f"obs{random.Random(n).randrange(units):08d}03" for n in range(reads)]
    everything = sqlalchemy.true()
    best = 0.0
    for _ in range(rounds):
        start = time.perf_counter()
        for id_ in ids:
            found = store.reader.read("Observation", id_, everything)
            if found is None or not store.reader.body(found):
                raise SystemExit("a stored Observation is missing")
        best = max(best, reads / (time.perf_counter() - start))
    return best


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, default=1500)
    parser.add_argument("--url", default=None)
    parser.add_argument("--profile", action="store_true", help="profile the writer's thread")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hdg-bench-"))
    settings = Settings(data=folder, database_url=options.url)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as a server does: a group makes many short-lived rows and no cycles
    try:
        with Store.open(settings, KeyRing.open(folder / "keys"), lambda: time.time_ns() // 1000) as store:
            profile = cProfile.Profile()
            if options.profile:
                store.submit(lambda _: profile.enable()).result()
            rate, cpu_rate, latency_ms = measure(store, options.units)
            if options.profile:
                store.submit(lambda _: profile.disable()).result()
                pstats.Stats(profile).sort_stats("tottime").print_stats(28)
            with store.engine.connect() as connection:
                count = "SELECT count(*) FROM {}"
                rows = sum(
                    connection.exec_driver_sql(count.format(table_of(model).name)).scalar_one()
                    for model in INDEX_TABLES
                )
                versions = connection.exec_driver_sql(count.format("version")).scalar_one()
            print(f"store_units        {rate:8.0f} units/s")
            print(f"  per CPU second   {cpu_rate:8.0f} units")
            print(f"  median           {latency_ms:8.1f} ms with {IN_FLIGHT} in flight")
            per_unit, per_version = versions / options.units, rows / versions
            print(f"  versions         {per_unit:8.1f} per unit; {per_version:.1f} index rows a version")
            reads = read_rate(store, options.units)
            print(f"store_reads        {reads:8.0f} reads/s  (one thread, decrypted)")
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"  on disk          {size / options.units / 1024:8.1f} KB per unit")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
