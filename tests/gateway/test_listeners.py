"""A running gateway with all its listeners: TLS, HTTP ingest, watch folder, enhanced mode."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.measure import Running, start_gateway
from certificates import Authority, Pair
from hdg import server
from hdg.ingestion.hl7v2.ack_mode import code_of
from hdg.ingestion.hl7v2.mllp_client import MllpClient
from hdg.ingestion.hl7v2.mllp_tls import client_context
from messages import adt, oru
from receiver import kept_port


class Service:
    """The gateway, the port of its TLS listener, its inbox folder, and who may talk TLS with it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        own = self.authority.issue("localhost")
        self.client: Pair = self.authority.issue("lab-1", "North")
        self.inbox = folder / "inbox"
        with kept_port() as self.tls:
            self.running: Running = start_gateway(
                folder / "data",
                HDG_MLLP_TLS=f"127.0.0.1:{self.tls}",
                HDG_MLLP_TLS_CERTIFICATE=str(own.certificate),
                HDG_MLLP_TLS_KEY=str(own.key),
                HDG_MLLP_TLS_CLIENT_CA=str(self.authority.ca),
                HDG_INBOX=str(self.inbox),
                HDG_INBOX_POLL_S="0.05",
            )

    def token(self) -> str:
        command = [sys.executable, "-m", "hdg", "token", "--role", "sender", "--institution", "northgen"]
        data = ["--data", str(self.running.data)]
        return subprocess.run([*command, *data], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("listeners"))
    yield made
    made.running.process.terminate()
    made.running.close()
    assert made.running.process.returncode == 0


def test_mutual_tls_takes_messages_and_refuses_strangers(service: Service) -> None:
    known = client_context(service.authority.ca, service.client.certificate, service.client.key)
    with MllpClient("localhost", service.tls, tls=known) as client:
        assert code_of(client.send(oru("T1"))) == "AA"
        assert code_of(client.send(oru("T2", number="2", family="A" * 300_000))) == "AA"
    stranger = MllpClient("localhost", service.tls, tls=client_context(service.authority.ca))
    with pytest.raises(OSError):
        stranger.send(oru("T3"))
    stranger.close()


def test_enhanced_mode_gets_commit_then_application_acknowledgement(service: Service) -> None:
    both = oru("E1", number="3").replace(b"|P|2.5.1", b"|P|2.5.1|||AL|AL")
    with MllpClient(*service.running.mllp) as client:
        first = client.exchange(both)
        assert [code_of(answer) for answer in first] == ["CA", "AA"]
        assert client.exchange(both) == first
        wrong = both.replace(b"ORU^R01^ORU_R01", b"ZZZ^Z99^ZZZ_Z99").replace(b"|E1|", b"|E2|")
        assert [code_of(answer) for answer in client.exchange(wrong)] == ["CR"]


def test_http_takes_a_message_from_a_sender(service: Service) -> None:
    host, port = service.running.http
    headers = {"content-type": "text/plain", "authorization": f"Bearer {service.token()}"}
    url = f"http://{host}:{port}/ingest/hl7v2"
    with urllib.request.urlopen(urllib.request.Request(url, oru("H1", number="4"), headers)) as answer:
        assert (answer.status, code_of(answer.read())) == (200, "AA")
    del headers["authorization"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, oru("H2"), headers))
    with refused.value as answer:
        assert answer.code == 401


def test_the_watch_folder_takes_files(service: Service) -> None:
    partial = service.inbox / "m.hl7.tmp"
    partial.write_bytes(adt("W1", number="5") + adt("W2", number="6"))
    os.replace(partial, service.inbox / "m.hl7")
    answer = service.inbox / "processed" / "m.hl7.ack"
    deadline = time.monotonic() + 120
    while not answer.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert answer.read_bytes().count(b"MSA|AA|W") == 2


def test_a_tls_listener_without_a_certificate_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hdg", "serve", "--http", "127.0.0.1:0", "--mllp", "127.0.0.1:0"]
    command += ["--dicom", "127.0.0.1:0"]
    environment = {**os.environ, "HDG_MLLP_TLS": "127.0.0.1:0", "HDG_DATA": str(tmp_path / "data")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "hdg: mllp_tls needs mllp_tls_certificate"


@pytest.mark.parametrize("listener", ["http", "mllp", "dicom"])
def test_an_address_that_is_in_use_is_named_with_its_listener(tmp_path: Path, listener: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addresses = dict.fromkeys(("http", "mllp", "dicom"), "127.0.0.1:0")
        addresses[listener] = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "hdg", "serve", "--data", str(tmp_path / "data")]
        command += [part for name, address in addresses.items() for part in (f"--{name}", address)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    reason = f"{addresses[listener]} cannot be opened: Address already in use"
    assert done.stderr.strip().splitlines()[-1] == f"hdg: {listener}: {reason}"
    assert "Traceback" not in done.stderr


def test_idle_connections_leave_files_to_open_for_everything_else() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1_024, before[1]), before[1]))
        allowed = server.open_files()
        assert allowed == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert allowed == min(server.FILES, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
