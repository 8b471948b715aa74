"""The listeners as a sender and a reader meet them: garbage is answered, the connection stays, stops are graceful."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.measure import Running, start_gateway
from hdg.ingestion.hl7v2.mllp_client import MllpClient
from messages import adt, oru


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    gateway = start_gateway(tmp_path_factory.mktemp("service") / "data")
    yield gateway
    gateway.process.terminate()
    gateway.close()
    assert gateway.process.returncode == 0


def msa(answer: bytes) -> bytes:
    """MSA-1 of an acknowledgement."""
    return answer.split(b"\rMSA|")[1].split(b"|")[0]


def err(answer: bytes) -> tuple[str, str]:
    """ERR-2 (the location) and the code of ERR-3 of an acknowledgement."""
    fields = answer.split(b"\rERR|")[1].split(b"\r")[0].decode().split("|")
    return fields[1], fields[2].split("^")[0]


# What is sent, MSA-1, ERR-2 and ERR-3 (HL7 table 0357). Where there is no segment, ERR-2 has nothing to name.
GARBAGE = {
    "an empty frame": (b"", b"AR", "", "207"),
    "one byte": (b"x", b"AR", "", "100"),
    "random bytes": (
        bytes(b for b in random.Random(1).randbytes(4096) if b not in b"\x0b\x1c"),
        b"AR",
        "",
        "100",
    ),
    "a header cut short": (b"MSH|^~\\&|LAB", b"AR", "MSH^1^9^1", "101"),
    "no encoding characters": (b"MSH|", b"AR", "MSH^1^2^1", "101"),
    "an unknown trigger": (
        oru("G1").replace(b"ORU^R01^ORU_R01", b"ZZZ^Z99^ZZZ_Z99"),
        b"AR",
        "MSH^1^9^1",
        "200",
    ),
    "a wrong version": (oru("G2").replace(b"|2.5.1", b"|9.9"), b"AR", "MSH^1^12^1", "203"),
    "NULs": (oru("G3").replace(b"Example", b"Exa\x00mple"), b"AE", "PID^1^5^1", "102"),
    "two same delimiters": (b"MSH|^^\\&|A|B|C|D|20260101||ADT^A01|G4|P|2.5\r", b"AR", "MSH^1^2^1", "102"),
    "pipes": (b"MSH" + b"|" * 5_000_000, b"AR", "MSH^1^2^1", "101"),
    "a charset that is not what it says": (
        oru("G5").replace(b"|2.5.1\r", b"|2.5.1||||||UNICODE UTF-8\r").replace(b"Example", b"Ex\xe4mple"),
        b"AE",
        "PID^1^5^1",
        "102",
    ),
    "two charsets in one message": (
        oru("G6").replace(b"Example", b"Ex\xe4mple").replace(b"Creatinine", "Kreatinin \u20ac".encode()),
        b"AE",
        "PID^1^5^1",
        "102",
    ),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_with_a_place_and_the_connection_stays_usable(
    client: MllpClient, name: str
) -> None:
    sent, code, location, condition = GARBAGE[name]
    answer = client.send(sent)
    assert (msa(answer), *err(answer)) == (code, location, condition), answer[:300]
    assert msa(client.send(adt(f"AFTER-{name.replace(' ', '-')}"))) == b"AA"


def test_a_name_of_64_kb_is_taken_whole(client: MllpClient) -> None:
    assert msa(client.send(adt("LONG", number="64000", family="A" * 65_536))) == b"AA"


def test_a_message_over_the_size_limit_is_refused_and_the_connection_stays_usable(
    client: MllpClient, running: Running
) -> None:
    status = Path(f"/proc/{running.process.pid}/status")
    peak = re.compile(r"VmHWM:\s+(\d+) kB")
    before = int(peak.findall(status.read_text())[0])
    for pipes in (b"MSH" + b"|" * 50_000_000, b"|" * 50_000_000):
        refused = client.send(pipes)
        assert (msa(refused), *err(refused)) == (b"AR", "", "207")
        assert b"the limit is" in refused
        assert msa(client.send(adt("AFTER-50MB"))) == b"AA"
    assert int(peak.findall(status.read_text())[0]) - before < 150_000


def test_bytes_outside_frames_are_ignored_and_pipelined_frames_answered_in_order(running: Running) -> None:
    with socket.create_connection(running.mllp, timeout=120) as connection:
        frames = b"junk" + b"".join(b"\x0b" + adt(f"PIPE-{n}") + b"\x1c\r" for n in range(5))
        for start in range(0, len(frames), 100):
            connection.sendall(frames[start : start + 100])
        answers = b""
        while answers.count(b"\x1c\r") < 5:
            answers += connection.recv(65_536)
    found = [
        answer.split(b"\rMSA|AA|")[1].split(b"\r")[0].split(b"|")[0]
        for answer in answers.split(b"\x1c\r")[:5]
    ]
    assert found == [f"PIPE-{n}".encode() for n in range(5)]


def test_nothing_is_readable_without_a_token(running: Running) -> None:
    base = f"http://{running.http[0]}:{running.http[1]}"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{base}/fhir/Patient")
    with refused.value as answer:
        assert answer.code == 401
        assert json.loads(answer.read())["resourceType"] == "OperationOutcome"
    with urllib.request.urlopen(f"{base}/fhir/metadata") as answer:
        assert json.loads(answer.read())["fhirVersion"] == "4.0.1"


def test_an_interrupt_stops_gracefully_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    gateway = start_gateway(tmp_path / "data")
    with MllpClient(*gateway.mllp, timeout_s=120) as opened:
        assert msa(opened.send(oru("LAST"))) == b"AA"
    gateway.process.send_signal(signal.SIGINT)
    gateway.close()
    assert gateway.process.returncode == 0
    again = start_gateway(tmp_path / "data")
    with MllpClient(*again.mllp, timeout_s=120) as opened:
        first = opened.send(oru("LAST"))
        assert msa(first) == b"AA"
        assert opened.send(oru("LAST")) == first
    again.process.terminate()
    again.close()


def test_what_an_operator_has_to_know_is_in_the_log_with_its_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway = start_gateway(tmp_path / "data")
    with socket.create_connection(gateway.mllp, timeout=120) as connection:
        connection.sendall(adt("BARE"))  # no frame, so no answer
        connection.sendall(b"\x0b" + adt("CUT"))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b""
    gateway.process.terminate()
    gateway.close()
    lines = [line for line in capfd.readouterr().err.splitlines() if " mllp: " in line]
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", line) for line in lines] == [
        "WARNING mllp: bytes outside a frame (VT … FS CR) were dropped, without an answer",
        f"INFO mllp: connection ended within a message; {len(adt('BARE')) - 4} bytes of it were outside frames",
    ]
