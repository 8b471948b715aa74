"""Progress is a live line on a terminal and plain lines, rarely, elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from hdg import bulk, bulk_report, progress
from hdg.bulk_jobs import Plan
from messages import oru


def test_without_a_terminal_a_plain_line_comes_only_after_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress.shown("verifying") as report:
        report("leaves", 1024)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    with progress.shown("verifying") as report:
        report("leaves", 2048)
    assert capsys.readouterr().err == "verifying: 2,048 leaves\n"


def test_convert_shows_a_bar_on_a_terminal_and_none_elsewhere(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.hl7").write_bytes(oru(control=f"C{number}"))
    command = [sys.executable, "-m", "hdg", "convert", str(tmp_path), "-o", str(tmp_path / "out")]
    parent, child = pty.openpty()
    done = subprocess.run(command, stderr=child, check=False)
    os.close(child)
    shown = os.read(parent, 65_536).decode()
    os.close(parent)
    assert done.returncode == 0
    assert "3/3" in shown
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "3/3" not in plain.stderr
    assert "3 converted" in plain.stderr


def test_one_long_export_shows_how_far_it_is(tmp_path: Path) -> None:
    record = (
        '<Record type="HKQuantityTypeIdentifierHeartRate" sourceName="W" unit="count/min" value="{}"'
        ' startDate="2026-02-27 07:00:00 +0100" endDate="2026-02-27 07:00:00 +0100"/>'
    )
    records = "".join(record.format(number) for number in range(30_000))
    (tmp_path / "export.xml").write_text(f'<HealthData locale="en">{records}</HealthData>')
    oftener = "from hdg import bulk_report, cli; bulk_report.PLAIN_EVERY_S = 0.05; cli.main()"
    command = [sys.executable, "-c", oftener, "convert", str(tmp_path / "export.xml"), "--patient", "p1"]
    parent, child = pty.openpty()
    with subprocess.Popen(
        [*command, "--to", "ndjson", "-o", str(tmp_path / "out.ndjson")], stderr=child
    ) as done:
        os.close(child)
        shown = b""
        with suppress(OSError):  # how the end of a terminal is told
            while piece := os.read(parent, 65_536):
                shown += piece
    os.close(parent)
    assert done.returncode == 0
    counts = {int(text.replace(",", "")) for text in re.findall(r"([\d,]+) resources", shown.decode())}
    assert max(counts) > 30_000
    assert any(0 < count < 30_000 for count in counts)


def test_convert_writes_plain_lines_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.hl7").write_bytes(oru(control=f"C{number}"))
    monkeypatch.setattr(bulk_report, "PLAIN_EVERY_S", 0.0)
    plan = Plan(folder=tmp_path / "out")
    assert bulk_report.deliver(bulk.jobs_of([str(tmp_path)]), plan, None, None, None) == 0
    lines = capsys.readouterr().err.splitlines()
    shown = [line for line in lines if re.fullmatch(r"\d of 3 files, [\d,]+ resources", line)]
    assert [int(line[0]) for line in shown] == [1, 2, 3]
    assert not any("\x1b" in line or "\r" in line for line in lines)
