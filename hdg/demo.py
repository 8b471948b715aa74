"""``hdg demo``: the main job, end to end, over the real listeners, in a scratch folder.

In this order: messages over MLLP and their ACKs; the resources they became; a clinician's query before consent,
after it and after its revocation, and who looked; an inclusion proof; a tampered row caught. Raises DemoFailed when a
step does not show what it claims, so that the demo is also a check.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hdg import data, operator
from hdg.errors import HdgError
from hdg.fhir import json as fhir_json
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.send import Peer, acknowledgements
from hdg.management.ledger.checkpoint import verify_note
from hdg.management.ledger.proof import is_included
from hdg.server import Server
from hdg.settings import Settings, load

CLINIC = "city-clinic"


class DemoFailed(HdgError):
    """A step of the demo did not show what it should."""


def run(keep: Path | None = None) -> None:
    """Runs the demo, printing to standard output. Raises DemoFailed."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hdg-demo-") as scratch:
        free = "127.0.0.1:0"
        settings = load(data=(keep or Path(scratch)) / "demo-data", http=free, mllp=free, dicom=free)
        if settings.data.exists():
            raise DemoFailed(f"{settings.data} is there already; choose an empty folder")
        Demo(settings, Console(highlight=False)).run()
    print(f"\nDone in {time.monotonic() - started:.1f} s.", f"Kept in {settings.data}." if keep else "")


class Demo:
    """One run over one fresh data folder."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self.settings = settings
        self.console = console
        self.base = ""
        self.ledger_key = b""

    def run(self) -> None:
        """All steps."""
        with Gateway.open(self.settings) as gateway, _serving(self.settings, gateway) as server:
            self.base = f"http://{server.http_address}"
            self.ledger_key = gateway.keys.ledger_key.public_key().public_bytes_raw()
            self._send(server)
            patient = self._resources()
            token = self._token()
            self._consent(patient, token)
            self._who_looked(patient)
            self._proof(patient)
        self._tamper(patient)

    def _step(self, title: str) -> None:
        self.console.print(f"\n[bold]{title}[/bold]")

    def _send(self, server: Server) -> None:
        self._step(f"1. HL7 v2 messages over MLLP to {server.mllp_address}")
        files = sorted(data.folder("examples").glob("*.hl7"))
        for answer in acknowledgements(files, Peer(f"mllp://{server.mllp_address}"), 10.0):
            self.console.print(f"   {answer.line()}", markup=False)
            if not answer.is_accepted:
                raise DemoFailed(f"{answer.file} was not accepted")

    def _resources(self) -> str:
        self._step(
            "2. What they became: validated FHIR R4, each version encrypted and with its leaf in the ledger"
        )
        with sqlite3.connect(self.settings.data / "hdg.db") as database:
            rows = database.execute(
                "SELECT r.type, count(*), min(v.leaf_index), max(v.leaf_index) FROM resource r"
                " JOIN version v ON v.rkey = r.rkey AND v.version = r.version GROUP BY r.type ORDER BY r.type"
            ).fetchall()
            [(patient,)] = database.execute("SELECT id FROM resource WHERE type = 'Patient'").fetchall()
        database.close()
        table = Table("resource", "count", "ledger leaves")
        for kind, count, first, last in rows:
            table.add_row(kind, str(count), str(first) if first == last else f"{first} … {last}")
        self.console.print(table)
        return str(patient)

    def _token(self) -> str:
        return operator.mint_token(
            self.settings, role="clinician", user="dr-lee", institution=CLINIC, hours=1
        )

    def _consent(self, patient: str, token: str) -> None:
        self._step(
            f"3. Dr Lee of {CLINIC} (which did not send the record) asks for the patient's observations"
        )
        query = f"/fhir/Observation?patient=Patient/{patient}"
        self._expect(query, token, "before consent ", is_full=False)
        consent = operator.grant_consent(
            self.settings, patient, [f"Organization/{CLINIC}"], ["TREAT"], [], 30
        )
        self.console.print(
            f"   [dim]hdg consent grant {patient} --to Organization/{CLINIC} --purpose TREAT[/dim]"
        )
        for line in self._expect(query, token, "after consent  ", is_full=True):
            self.console.print(f"      {line}", markup=False)
        operator.revoke_consent(self.settings, consent)
        self.console.print(f"   [dim]hdg consent revoke {consent}[/dim]")
        self._expect(query, token, "after revocation", is_full=False)

    def _who_looked(self, patient: str) -> None:
        self.console.print("   the patient asks who looked: GET /fhir/AuditEvent", markup=False)
        events = self._get("/fhir/AuditEvent?action=E", self._patient_token(patient)).get("entry", [])
        found = [line for entry in events if "dr-lee" in (line := _accessed(entry["resource"]))]
        for line in found:
            self.console.print(f"      {line}", markup=False)
        if len(found) != 1:
            raise DemoFailed(f"{len(found)} answers with the patient's data are in the trail, not one")

    def _expect(self, query: str, token: str, label: str, *, is_full: bool) -> list[str]:
        bundle = self._get(query, token)
        total = bundle["total"]
        self.console.print(f"   {label}: total {total}")
        if bool(total) is not is_full:
            raise DemoFailed(f"{label.strip()}: {total} observations")
        return [_result(entry["resource"]) for entry in bundle.get("entry", ())]

    def _get(self, path: str, token: str) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(self.base + path, headers=headers)  # noqa: S310 — our own listener
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 — our own listener
                return fhir_json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise DemoFailed(f"HTTP {error.code} for {path.partition('?')[0]}") from None

    def _patient_token(self, patient: str) -> str:
        return operator.mint_token(self.settings, role="patient", patient=patient, hours=1)

    def _proof(self, patient: str) -> None:
        self._step("4. The ledger: the patient asks for the proof that this record is in the signed tree")
        token = self._patient_token(patient)
        proof = self._get(f"/ledger/proof?type=Patient&id={patient}", token)
        leaf, path = proof["leaf"].encode(), [bytes.fromhex(node) for node in proof["path"]]
        size, root = verify_note(proof["checkpoint"], self.settings.log_origin, self.ledger_key)
        if not is_included(leaf, proof["index"], size, path, root):
            raise DemoFailed("the inclusion proof does not verify")
        self.console.print(
            f"   leaf {proof['index']} of {size}, {len(path)} hashes up to the root that the checkpoint signs: included"
        )
        report = operator.verify_store(self.settings, f"Patient/{patient}")
        self.console.print(f"   hdg verify Patient/{patient}: {report.summary}", markup=False)
        if report.findings:
            raise DemoFailed(f"the stored bytes do not verify: {report.findings[0]}")

    def _tamper(self, patient: str) -> None:
        self._step("5. Somebody changes one byte of that Patient behind the gateway's back")
        with sqlite3.connect(self.settings.data / "hdg.db") as database:
            [(rkey, version, body)] = database.execute(
                "SELECT rkey, version, body FROM version WHERE type = 'Patient' AND id = ? LIMIT 1",
                (patient,),
            ).fetchall()
            changed = body[:-20] + bytes([body[-20] ^ 1]) + body[-19:]
            database.execute(
                "UPDATE version SET body = ? WHERE rkey = ? AND version = ?", (changed, rkey, version)
            )
        database.close()
        report = operator.verify_store(self.settings, "")
        for finding in report.findings:
            self.console.print(f"   hdg verify: [red]NOT VERIFIED[/red] {finding}")
        if not report.findings:
            raise DemoFailed("the tampered row was not noticed")


def _accessed(event: dict[str, Any]) -> str:
    """When, who and for what, of an AuditEvent."""
    who = next(agent["who"] for agent in event["agent"] if agent["requestor"])
    name = who.get("identifier", {}).get("value", "the patient")
    purpose = event["purposeOfEvent"][0]["coding"][0]["code"]
    what = event["subtype"][0]["code"]
    return f"{event['recorded'][:19]}Z {name}, {who['display']}, {purpose}, {what}"


def _result(observation: dict[str, Any]) -> str:
    """A result line of the made-up example patient."""
    name = _display(observation.get("code", {}))
    quantity = observation.get("valueQuantity")
    if quantity:
        return f"{name}: {quantity.get('comparator', '')}{quantity.get('value')} {quantity.get('unit', '')}"
    return (
        f"{name}: {observation.get('valueString') or _display(observation.get('valueCodeableConcept', {}))}"
    )


def _display(concept: dict[str, Any]) -> str:
    displays = (coding["display"] for coding in concept.get("coding", []) if "display" in coding)
    return str(next(displays, concept.get("text", "?")))


@contextmanager
def _serving(settings: Settings, gateway: Gateway) -> Iterator[Server]:
    """The listeners on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = Server(settings, gateway)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(20)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
