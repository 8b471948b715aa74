"""The commands of a day in the order in which people use them, each a process of its own, beside a running gateway."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.measure import Running, start_gateway
from messages import adt, oru

MEMORY_MB = 300


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    gateway = start_gateway(tmp_path / "data")
    yield gateway
    if gateway.process.poll() is None:
        gateway.process.terminate()
    gateway.close()


def hdg(*arguments: str | Path, code: int = 0) -> str:
    command = [sys.executable, "-m", "hdg", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def read(running: Running, path: str, token: str) -> tuple[int, bytes]:
    url = f"http://{running.http[0]}:{running.http[1]}/fhir/{path}"
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_send_token_consent_and_verify_from_the_shell(running: Running, tmp_path: Path) -> None:
    data = ("--data", running.data)
    message = tmp_path / "a.hl7"
    message.write_bytes(adt("DAY-1"))
    assert "AA" in hdg("send", message, "--to", f"mllp://{running.mllp[0]}:{running.mllp[1]}")
    with sqlite3.connect(running.data / "hdg.db") as database:
        ((patient,),) = database.execute("SELECT id FROM resource WHERE type = 'Patient'").fetchall()
    token = hdg("token", "--role", "clinician", "--user", "dr-lee", "--institution", "far", *data).strip()
    place = f"Patient/{patient}"
    absent = read(running, "Patient/nobody", token)
    assert absent[0] == 404
    assert read(running, place, token) == absent
    consent = hdg(
        "consent", "grant", patient, "--to", "Organization/far", "--purpose", "TREAT", *data
    ).split()[-1]
    assert consent in hdg("consent", "list", patient, *data)
    status, body = read(running, place, token)
    assert (status, json.loads(body)["id"]) == (200, patient)
    hdg("consent", "revoke", consent, *data)
    assert read(running, place, token) == absent
    assert "verified" in hdg("verify", *data).lower()
    assert "verified" in hdg("verify", place, *data).lower()
    running.process.terminate()
    running.process.wait(120)
    with sqlite3.connect(running.data / "hdg.db") as database:
        database.execute(
            "UPDATE version SET body = substr(body, 1, length(body) - 1) || x'00' WHERE type = 'Patient'"
        )
    assert place in hdg("verify", *data, code=1)


GARBAGE = {
    "empty": b"",
    "random": os.urandom(4096),
    "pipes": b"MSH" + b"|" * 50_000_000,
    "bare-pipes": b"|" * 50_000_000,
    "cut": b"MSH|^~\\&|LAB",
    "trigger": oru("G1").replace(b"ORU^R01^ORU_R01", b"ZZZ^Z99^ZZZ_Z99"),
    "version": oru("G2").replace(b"|2.5.1", b"|9.9"),
    "nul": oru("G3").replace(b"Example", b"Exa\x00mple"),
    "charsets": oru("G5")
    .replace(b"|2.5.1\r", b"|2.5.1||||||UNICODE UTF-8\r")
    .replace(b"Example", b"Ex\xe4mple"),
}


def test_garbage_fails_file_by_file_within_bounded_memory_and_the_rest_is_converted(tmp_path: Path) -> None:
    folder, out, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.jsonl"
    folder.mkdir()
    for name, content in GARBAGE.items():
        (folder / f"{name}.hl7").write_bytes(content)
    (folder / "long.hl7").write_bytes(adt("LONG", family="A" * 65_536))
    (folder / "good.hl7").write_bytes(oru("GOOD"))
    measured = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode;"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, code)"
    )
    command = [
        sys.executable,
        "-c",
        measured,
        sys.executable,
        "-m",
        "hdg",
        "convert",
        str(folder),
        "-o",
        str(out),
    ]
    done = subprocess.run([*command, "--report", str(report)], capture_output=True, text=True, check=True)
    peak_kb, code = map(int, done.stdout.split()[-2:])
    assert code == 1
    assert "Traceback" not in done.stderr
    outcomes = {Path(one["file"]).stem: one for one in map(json.loads, report.read_text().splitlines())}
    assert {name for name, one in outcomes.items() if one["status"] == "failed"} == set(GARBAGE)
    assert {path.stem for path in out.iterdir()} == {"good", "long"}
    for name in GARBAGE:
        assert f"failed: {name}.hl7" in done.stderr
    assert peak_kb / 1000 < MEMORY_MB
