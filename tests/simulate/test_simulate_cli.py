"""``hdg simulate``: into a folder, to standard output, over MLLP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.measure import Running, start_gateway
from hdg.ingestion.hl7v2.batch import split_messages
from hdg.simulate import Event, Simulation, deliver
from hdg.simulate.deliver import paced


def hdg(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "hdg", *arguments], capture_output=True, check=False)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    gateway = start_gateway(tmp_path / "data")
    yield gateway
    gateway.process.terminate()
    gateway.close()


def test_standard_output_holds_the_messages_one_behind_the_other() -> None:
    done = hdg("simulate", "--count", "12", "--seed", "3")
    assert done.returncode == 0, done.stderr
    expected = [event.raw for event in Simulation(seed=3, patients=200).take(12)]
    assert [raw.rstrip(b"\r\n") for raw in split_messages(done.stdout)] == [raw.rstrip() for raw in expected]


def test_a_folder_gets_a_file_a_message_in_the_order_of_arrival(tmp_path: Path) -> None:
    done = hdg("simulate", "--count", "5", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "out").iterdir())
    assert [file.read_bytes() for file in files] == [e.raw for e in Simulation(patients=200).take(5)]


def test_a_gateway_takes_it_at_the_set_rate(running: Running) -> None:
    host, port = running.mllp
    done = hdg("simulate", "--rate", "40", "--seconds", "1", "--to", f"mllp://{host}:{port}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"40 sent, 40 accepted")


def test_a_refusal_is_named_and_exits_1(running: Running) -> None:
    address = "mllp://{}:{}".format(*running.mllp)
    assert hdg("simulate", "--count", "3", "--patients", "5", "--to", address).returncode == 0
    done = hdg("simulate", "--count", "3", "--patients", "900", "--to", address)
    assert done.returncode == 1, "the same control ids for other messages"
    assert b"not accepted: AR  S1-00000001" in done.stderr


def test_nobody_there_is_one_line_and_exit_1() -> None:
    done = hdg("simulate", "--count", "1", "--to", "mllp://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ("--to", "mllp://h:1", "-o", "x"),
        ("--seconds", "3"),
        ("--seconds", "3", "--rate", "1", "--count", "4"),
        ("--count", "0"),
    ],
)
def test_wrong_usage_exits_2(wrong: tuple[str, ...]) -> None:
    assert hdg("simulate", *wrong).returncode == 2


def test_a_rate_spreads_the_events_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = list(Simulation().take(11))
    now_s, waited = 5.0, []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        waited.append(round(seconds, 6))
        now_s += seconds

    monkeypatch.setattr(deliver, "time", SimpleNamespace(monotonic=lambda: now_s, sleep=sleep))
    assert list(paced(events, 100.0)) == events
    assert waited == [0.01] * 10
