"""Real connections to a real gateway: TLS as it goes wrong, frames cut anywhere, connections side by side, kill -9."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import true

from bench.measure import Running, start_gateway
from bench.promise import findings
from certificates import Authority, Pair
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.ack_mode import code_of
from hdg.ingestion.hl7v2.mllp_client import MllpClient
from hdg.ingestion.hl7v2.mllp_frame import frame
from hdg.ingestion.hl7v2.mllp_tls import client_context
from hdg.management.store.search import SearchQuery
from hdg.settings import Settings
from messages import adt, oru
from receiver import kept_port
from stored import all_of

SENDERS = """
[senders.lab]
tls_subject = "CN=lab-1"
institution = "by-certificate"
messages = ["ORU"]

[senders."ADT|SOUTHGEN"]
institution = "southgen"
"""


class Wire:
    """A gateway whose TLS listener wants a certificate, and that knows lab-1 by it; and who may issue one."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.stranger = Authority(folder / "other", "Another CA")
        own = self.authority.issue("localhost")
        self.data = folder / "data"
        self.data.mkdir()
        (self.data / "senders.toml").write_text(SENDERS)
        with kept_port() as self.tls:
            self.running: Running = start_gateway(
                self.data,
                HDG_MLLP_TLS=f"127.0.0.1:{self.tls}",
                HDG_MLLP_TLS_CERTIFICATE=str(own.certificate),
                HDG_MLLP_TLS_KEY=str(own.key),
                HDG_MLLP_TLS_CLIENT_CA=str(self.authority.ca),
            )

    def secure(self, pair: Pair) -> MllpClient:
        context = client_context(self.authority.ca, pair.certificate, pair.key)
        return MllpClient("localhost", self.tls, tls=context, timeout_s=120)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    made = Wire(tmp_path_factory.mktemp("wire"))
    yield made
    made.running.process.terminate()
    made.running.close()
    assert made.running.process.returncode == 0


def answered(wire: Wire, control: str) -> None:
    """The gateway serves others as ever."""
    with MllpClient(*wire.running.mllp, timeout_s=120) as plain:
        assert code_of(plain.send(oru(control, number=control))) == "AA"


def read_answer(connection: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\x1c\r"):
        piece = connection.recv(65536)
        assert piece, "closed without an answer"
        found += piece
    return found


def drain(connection: socket.socket) -> None:
    """Reads until the gateway has ended the connection; TimeoutError when it does not."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass


def test_what_the_certificate_says_of_the_sender_holds_whoever_msh_names(wire: Wire) -> None:
    """IHE ITI TF-2 §3.19: MSH-3 and MSH-4 are text that anybody may write."""
    lab, other = wire.authority.issue("lab-1"), wire.authority.issue("lab-2")
    posing = oru("P1", number="P1").replace(b"|LAB|NORTHGEN|", b"|ADT|SOUTHGEN|", 1)
    admission = adt("P2", number="P1").replace(b"|LAB|NORTHGEN|", b"|ADT|SOUTHGEN|", 1)
    with wire.secure(lab) as client:
        assert code_of(client.send(posing)) == "AA"
        assert code_of(client.send(admission)) == "AR"  # lab-1 may send ORU only
    with wire.secure(other) as client:
        assert code_of(client.send(admission.replace(b"|P2|", b"|P3|", 1))) == "AA"
    with Gateway.open(Settings(data=wire.data)) as beside:
        page = beside.store.reader.search(SearchQuery("DiagnosticReport", (), 100), true())
        posed = [one for one in page.versions if b'"F-P1"' in beside.store.reader.body(one)]
        assert [one.institution for one in posed] == ["by-certificate"]


@pytest.mark.parametrize("case", ["expired", "not yet valid", "unknown issuer", "none", "plain"])
def test_who_shows_no_valid_certificate_sends_nothing_and_hinders_nobody(wire: Wire, case: str) -> None:
    pairs = {
        "expired": lambda: wire.authority.issue("lab-1", from_now=timedelta(days=-2)),
        "not yet valid": lambda: wire.authority.issue("lab-1", from_now=timedelta(days=2)),
        "unknown issuer": lambda: wire.stranger.issue("lab-1"),
    }
    if case in pairs:
        client = wire.secure(pairs[case]())
    else:
        context = None if case == "plain" else client_context(wire.authority.ca)
        client = MllpClient("localhost", wire.tls, tls=context, timeout_s=120)
    name = f"X{case.replace(' ', '')}"
    with pytest.raises(OSError):
        client.send(oru(name, number=name))
    client.close()
    answered(wire, f"Y{case.replace(' ', '')}")


def test_tls_to_the_plain_listener_fails_and_the_gateway_goes_on(wire: Wire) -> None:
    client = MllpClient(*wire.running.mllp, tls=client_context(wire.authority.ca), timeout_s=2)
    with pytest.raises(OSError):
        client.send(oru("T1", number="T1"))
    client.close()
    answered(wire, "T2")


def test_handshakes_that_stall_hinder_nobody_and_are_ended_by_the_gateway(wire: Wire) -> None:
    lab = wire.authority.issue("lab-1")
    context = client_context(wire.authority.ca, lab.certificate, lab.key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    begun = outgoing.read()
    stalled = [socket.create_connection(("localhost", wire.tls), timeout=120) for _ in range(20)]
    for number, each in enumerate(stalled):
        each.sendall((b"", begun[:1], begun[: len(begun) // 2], begun)[number % 4])
    with wire.secure(lab) as client:
        assert code_of(client.send(oru("S1", number="S1"))) == "AA"
    for each in stalled:
        with each:
            drain(each)


def test_a_frame_is_one_message_wherever_the_stream_is_cut(wire: Wire) -> None:
    small = oru("CUT", number="CUT").split(b"\rORC")[0] + b"\r"
    whole = frame(small.replace(b"ORU^R01^ORU_R01", b"ADT^A31^ADT_A05"))
    with socket.create_connection(wire.running.mllp, timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first = b""
        for at in range(1, len(whole)):
            connection.sendall(whole[:at])
            connection.sendall(whole[at:])
            answer = read_answer(connection)
            assert answer.count(b"\x0b") == 1
            first = first or answer
            assert answer == first  # the same message again: the same bytes
    assert b"\rMSA|AA|CUT" in first


def test_a_message_whose_connection_is_cut_is_none_until_it_comes_whole(wire: Wire) -> None:
    whole = frame(oru("HALF", number="HALF"))
    for at in (1, 10, len(whole) // 2, len(whole) - 2, len(whole) - 1):
        with socket.create_connection(wire.running.mllp, timeout=120) as connection:
            connection.sendall(whole[:at])
            connection.shutdown(socket.SHUT_WR)
            drain(connection)
    with socket.create_connection(wire.running.mllp, timeout=120) as connection:
        connection.sendall(whole)
        assert b"\rMSA|AA|HALF" in read_answer(connection)


def test_connections_of_one_sender_side_by_side_for_one_patient_lose_and_double_nothing(
    tmp_path: Path,
) -> None:
    running = start_gateway(tmp_path / "data")
    failed: list[BaseException] = []

    def feed(lane: int) -> None:
        try:
            with MllpClient(*running.mllp, timeout_s=120) as client:
                for number in range(8):
                    control = f"I{lane}-{number}"
                    raw = adt(control, event="A31") if number % 3 == 0 else oru(control)
                    assert code_of(client.send(raw)) == "AA"
                    assert code_of(client.send(raw)) == "AA"
        except BaseException as error:
            failed.append(error)

    lanes = [threading.Thread(target=feed, args=(lane,)) for lane in range(6)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    running.process.terminate()
    running.close()
    assert failed == []
    assert findings(running.data, {f"I{lane}-{number}" for lane in range(6) for number in range(8)}) == []
    with Gateway.open(Settings(data=running.data)) as gateway:
        assert len(all_of(gateway, "Patient")) == 1
        assert len(all_of(gateway, "Observation")) == 6 * 5
        assert len(all_of(gateway, "DiagnosticReport")) == 6 * 5


def test_what_got_its_commit_acknowledgement_is_there_once_after_kill_9(tmp_path: Path) -> None:
    """HL7 v2.9 §2.9.2: CA says that the message is kept, so nobody sends it again."""
    data, sent = tmp_path / "data", []
    for turn in range(3):
        running = start_gateway(data)
        with socket.create_connection(running.mllp, timeout=120) as connection:
            raws = [
                oru(f"K{turn}-{number}", number=f"K{turn}").replace(b"|P|2.5.1", b"|P|2.5.1|||AL|AL", 1)
                for number in range(4)
            ]
            connection.sendall(b"".join(map(frame, raws)))
            found = b""
            while b"\x1c\r" not in found:
                found += connection.recv(1 if turn else 65536)
            running.kill()
        sent += [f"K{turn}-{number}" for number in range(4) if f"|CA|K{turn}-{number}".encode() in found]
    assert len(sent) >= 3
    running = start_gateway(data)
    running.process.terminate()
    running.close()
    assert findings(data, set(sent)) == []
    with Gateway.open(Settings(data=data)) as gateway:
        kept = [one["identifier"] for one in all_of(gateway, "DiagnosticReport")]
        values = [each["value"] for identifiers in kept for each in identifiers]
        assert [values.count(f"F-{control}") for control in sent] == [1] * len(sent)
