"""A server under load and an operator's process on one data folder: nothing lost, no decision stale."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from gateway_site import Site

from hdg.ingestion.hl7v2.mllp_client import MllpClient
from hdg.management.consent import resource as consents
from messages import oru


def test_grants_and_revokes_of_another_process_count_for_the_very_next_query(site: Site) -> None:
    site.send(oru("FIRST"))
    (patient,) = site.get("Patient", site.token("clinician", institution="northgen")).ids
    reader = site.token("clinician", institution="east")
    stop = threading.Event()
    accepted: list[str] = []

    def load(name: str) -> None:
        with MllpClient(*site.mllp, timeout_s=120) as client:
            while not stop.is_set():
                control = f"{name}-{len(accepted)}"
                if b"MSA|AA" in client.send(oru(control, number="77")):
                    accepted.append(control)

    threads = [threading.Thread(target=load, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    seen = []
    until = time.monotonic() + 1
    while time.monotonic() < until or len(seen) < 3:
        consent = site.grant(patient.removeprefix("Patient/"), "Organization/east")
        granted = site.get(patient, reader).status, site.get("Patient", reader).json()["total"]
        site.revoke(consent)
        seen.append((*granted, site.get(patient, reader).status, site.get("Patient", reader).json()["total"]))
    verify = [sys.executable, "-m", "hdg", "verify", "--data", str(site.data)]
    under_load = subprocess.run(verify, capture_output=True, text=True, check=False)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(seen) == {(200, 1, 404, 0)}
    assert len(seen) > 2
    assert under_load.returncode == 0, under_load.stdout + under_load.stderr
    afterwards = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert afterwards.returncode == 0, afterwards.stdout + afterwards.stderr
    kept = [row[0] for row in site.rows("SELECT control_id FROM inbox WHERE status = 'accepted'")]
    assert len(kept) == len(set(kept))
    assert set(accepted) <= set(kept)


def test_a_consent_counts_to_the_end_of_its_period_and_not_a_microsecond_longer(site: Site) -> None:
    now_us = time.time_ns() // 1000
    site.put({"resourceType": "Patient", "id": "timed"}, "north", "timed")
    reader = site.token("clinician", institution="timed-clinic")
    site.grant("timed", "Organization/timed-clinic")
    rule = "SELECT start_us, end_us FROM consent_rule WHERE patient = 'timed'"
    (start_us, end_us) = site.rows(rule)[0]
    assert start_us >= now_us
    assert end_us - start_us == 30 * 86_400_000_000 + 1
    assert site.get("Patient/timed", reader).status == 200
    site.put({"resourceType": "Patient", "id": "brief"}, "north", "brief")
    for lasts_s in (0.5, 5, 60):  # longer where the machine had no time to ask
        until_us = time.time_ns() // 1000 + int(lasts_s * 1_000_000)
        brief = consents.grant(
            "brief", ("Organization/timed-clinic",), (), (), from_us=until_us - 100_000_000, until_us=until_us
        )
        site.put(brief, "local", "brief")
        status = site.get("Patient/brief", reader).status
        if time.time_ns() // 1000 <= until_us:
            break
    assert status == 200
    while time.time_ns() // 1000 <= until_us + 1:
        time.sleep(0.01)
    assert site.get("Patient/brief", reader).status == 404
    assert site.get("Patient", reader, _id="brief").json()["total"] == 0
