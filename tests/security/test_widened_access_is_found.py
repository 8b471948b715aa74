"""Who can write to the database file can give access in its plain columns; ``hdg verify`` names it."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys

from gateway_site import Site


def verify(site: Site) -> tuple[int, str]:
    command = [sys.executable, "-m", "hdg", "verify", "--data", str(site.data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def change(site: Site, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(site.data / "hdg.db")) as database, database:
        database.execute(sql)


def test_access_given_behind_the_gateway_s_back_is_found(site: Site) -> None:
    site.put({"resourceType": "Patient", "id": "ann"}, "north", "ann")
    consent = site.grant("ann", "Organization/friend")
    thief = site.token("clinician", institution="thief")
    code, output = verify(site)
    assert code == 0, output
    assert site.get("Patient/ann", thief).status == 404
    change(site, "UPDATE consent_rule SET actor = 'Organization/thief'")
    assert site.get("Patient/ann", thief).status == 200
    code, output = verify(site)
    assert code == 1
    assert f"consent-rules-wrong at Consent/{consent}" in output
    change(site, "UPDATE consent_rule SET actor = 'Organization/friend'")
    change(site, "UPDATE compartment SET patient = 'thief' WHERE rkey = 1")
    assert site.get("Patient/ann", site.token("patient", patient="thief")).status == 200
    code, output = verify(site)
    assert code == 1
    assert "compartment-wrong at Patient/ann" in output
