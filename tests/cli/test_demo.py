"""``hdg demo`` shows its five steps in order, over real listeners, and exits 0."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STEPS = [
    "1. HL7 v2 messages over MLLP",
    "AA EX-ADT-0001",
    "AA EX-ORU-0001",
    "AA EX-VXU-0001",
    "2. What they became",
    "Patient",
    "3. Dr Lee",
    "before consent",
    "total 0",
    "after consent",
    "total 5",
    "1.50 mg/dL",
    "after revocation",
    "total 0",
    "4. The ledger",
    ": included",
    "verified",
    "5. Somebody changes one byte",
    "NOT VERIFIED",
    "Done in",
]


def test_the_demo_shows_its_steps_in_order_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hdg", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = " ".join(done.stdout.split())
    for step in STEPS:
        assert step in shown, step
        shown = shown.partition(step)[2]
    assert list(tmp_path.iterdir()) == []


def test_the_demo_keeps_its_folder_on_request_and_never_reuses_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hdg", "demo", "--keep", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "demo-data" / "hdg.db").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "there already" in again.stderr
