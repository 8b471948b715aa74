"""MLLP over TLS and mutual TLS, IPv6, both acknowledgements on one connection, frames without CR."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority
from hdg.errors import SettingsError
from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.ack_mode import code_of, replies
from hdg.ingestion.hl7v2.mllp import MllpClient, MllpServer, frame, serve_mllp
from hdg.ingestion.hl7v2.mllp_tls import client_context, server_context
from hdg.ingestion.hl7v2.send import Peer, acknowledgements
from hdg.ingestion.sender import Origin
from receiver import until

ADT = b"MSH|^~\\&|A|B|C|D|2024||ADT^A01|N1|P|2.5\rPID|1\r"
BOTH = ADT.replace(b"|2.5\r", b"|2.5|||AL|AL\r", 1)
ERRORS_ONLY = ADT.replace(b"|2.5\r", b"|2.5|||AL|ER\r", 1)
NONE = ADT.replace(b"|2.5\r", b"|2.5|||NE|NE\r", 1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


class Seen:
    """A running listener and the origins that its handler was given."""

    def __init__(self) -> None:
        self.origins: list[Origin] = []
        self.messages: list[bytes] = []
        self.server: MllpServer

    async def __call__(self, message: bytes, origin: Origin) -> tuple[bytes, ...]:
        self.origins.append(origin)
        self.messages.append(message)
        return replies(message, acknowledge(message, "AA", control_id="A1", at_us=0))


@contextmanager
def listening(host: str = "127.0.0.1", **options: Any) -> Iterator[Seen]:
    seen = Seen()
    loop = asyncio.new_event_loop()
    seen.server = loop.run_until_complete(serve_mllp(host, 0, seen, **options))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield seen
    finally:
        # asyncio leaks a connection that is being accepted while its server closes: let it be accepted.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.02), loop).result(120)
        asyncio.run_coroutine_threadsafe(seen.server.close(grace_s=1), loop).result(120)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0.02))  # transports that were told to close do it now
        loop.close()


def client(seen: Seen, tls: ssl.SSLContext | None = None, timeout_s: float = 120) -> MllpClient:
    return MllpClient(seen.server.host, seen.server.port, tls=tls, timeout_s=timeout_s)


def connected(seen: Seen) -> socket.socket:
    return socket.create_connection((seen.server.host, seen.server.port))


def test_a_message_over_tls_is_answered(authority: Authority) -> None:
    own = authority.issue("gateway")
    listener = listening(tls=server_context(own.certificate, own.key, None))
    with listener as seen, client(seen, client_context(authority.ca)) as sender:
        assert code_of(sender.send(ADT)) == "AA"
        assert code_of(sender.send(ADT + b"Z" * 200_000 + b"\r")) == "AA"
    assert seen.origins == [Origin("mllps")] * 2


def test_the_subject_of_a_client_certificate_reaches_the_handler(authority: Authority) -> None:
    own, lab = authority.issue("gateway"), authority.issue("lab-1", "North, General")
    listener = listening(tls=server_context(own.certificate, own.key, authority.ca))
    shown = client_context(authority.ca, lab.certificate, lab.key)
    with listener as seen, client(seen, shown) as sender:
        assert code_of(sender.send(ADT)) == "AA"
    assert seen.origins == [Origin("mllps", r"CN=lab-1,O=North\, General")]


def test_mutual_tls_refuses_a_client_without_a_certificate_of_the_issuer(
    authority: Authority, tmp_path: Path
) -> None:
    own = authority.issue("gateway")
    stranger = Authority(tmp_path, "Another CA").issue("lab-1")
    with listening(tls=server_context(own.certificate, own.key, authority.ca)) as seen:
        for context in (
            client_context(authority.ca),
            client_context(authority.ca, stranger.certificate, stranger.key),
        ):
            refused = client(seen, context)
            with pytest.raises(OSError):  # TLS 1.3 tells the client with the first read
                refused.send(ADT)
            refused.close()
    assert seen.messages == []


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("expired", "certificate has expired"),
        ("stranger", "unable to get local issuer certificate"),
        ("none", "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        ("plain", "WRONG_VERSION_NUMBER"),
        ("distrusts", "TLSV1_ALERT_UNKNOWN_CA"),
    ],
)
def test_why_a_handshake_failed_is_in_the_log(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str, why: str
) -> None:
    own = authority.issue("gateway")
    stranger = Authority(tmp_path, "Another CA")
    pairs = {
        "expired": lambda: authority.issue("lab-1", from_now=timedelta(days=-2)),
        "stranger": lambda: stranger.issue("lab-1"),
    }
    shown = pairs[case]() if case in pairs else None
    ca = stranger.ca if case == "distrusts" else authority.ca
    context = (
        None if case == "plain" else client_context(ca, *((shown.certificate, shown.key) if shown else ()))
    )
    with listening(tls=server_context(own.certificate, own.key, authority.ca)) as seen:
        refused = client(seen, context)
        with pytest.raises(OSError):
            refused.send(ADT)
        refused.close()
        until(lambda: bool(caplog.records))
    assert [record.getMessage() for record in caplog.records if record.name.startswith("hdg")] == [
        f"a TLS connection was refused: {why}"
    ]


def test_a_client_refuses_a_server_that_its_issuers_do_not_know(authority: Authority, tmp_path: Path) -> None:
    own = authority.issue("gateway")
    other = Authority(tmp_path, "Another CA")
    listener = listening(tls=server_context(own.certificate, own.key, None))
    with listener as seen, pytest.raises(ssl.SSLError):
        client(seen, client_context(other.ca)).send(ADT)
    assert seen.messages == []


def test_plain_bytes_to_the_tls_listener_reach_no_handler(authority: Authority) -> None:
    own = authority.issue("gateway")
    listener = listening(tls=server_context(own.certificate, own.key, None))
    with listener as seen, pytest.raises(OSError):
        client(seen).send(ADT)
    assert seen.messages == []


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for make in (lambda: server_context(bad, None, None), lambda: client_context(bad)):
        with pytest.raises(SettingsError, match=r"bad\.pem"):
            make()
    with pytest.raises(SettingsError, match=r"absent\.pem"):
        server_context(tmp_path / "absent.pem", None, None)


def test_a_listener_on_ipv6_answers_and_names_its_address_in_brackets() -> None:
    with listening("::1") as seen, client(seen) as sender:
        assert seen.server.address == f"[::1]:{seen.server.port}"
        assert code_of(sender.send(ADT)) == "AA"


def test_both_acknowledgements_come_on_the_same_connection_commit_first() -> None:
    with listening() as seen, client(seen) as sender:
        assert [code_of(answer) for answer in sender.exchange(BOTH)] == ["CA", "AA"]
        assert sender.exchange(NONE) == ()
        assert [code_of(answer) for answer in sender.exchange(ADT)] == ["AA"]


def test_an_acknowledgement_that_may_not_come_is_not_awaited_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hdg.ingestion.hl7v2.mllp_client.QUIET_S", 0.1)
    with listening() as seen, client(seen) as sender:
        assert [code_of(answer) for answer in sender.exchange(ERRORS_ONLY)] == ["CA"]
        assert [code_of(answer) for answer in sender.exchange(ADT)] == ["AA"]


@pytest.mark.parametrize(("pause_s", "count"), [(0.05, 2), (0.0, 0)])
def test_a_frame_without_cr_ends_at_the_pause_only_where_that_is_set(pause_s: float, count: int) -> None:
    with listening(end_pause_s=pause_s) as seen, connected(seen) as sender:
        for number in range(2):
            sender.sendall(b"\x0b" + ADT + b"\x1c")
            if count:
                until(lambda least=number: len(seen.messages) > least)
            else:
                time.sleep(0.2)
    assert seen.messages == [ADT] * count


def test_a_cr_that_comes_within_the_pause_ends_the_frame_once() -> None:
    with listening(end_pause_s=0.1) as seen, connected(seen) as sender:
        sender.sendall(frame(ADT)[:-1])
        time.sleep(0.02)
        sender.sendall(b"\r" + frame(ADT))
        until(lambda: len(seen.messages) >= 2)
    assert seen.messages == [ADT] * 2


def test_hdg_send_over_mutual_tls_prints_both_codes(authority: Authority, tmp_path: Path) -> None:
    own, lab = authority.issue("gateway"), authority.issue("lab-1")
    (tmp_path / "m.hl7").write_bytes(BOTH)
    with listening(tls=server_context(own.certificate, own.key, authority.ca)) as seen:
        to = f"mllps://{seen.server.address}"
        peer = Peer(to, authority.ca, lab.certificate, lab.key)
        [answer] = acknowledgements([tmp_path / "m.hl7"], peer, 120)
        assert answer.is_accepted
        assert answer.line() == "CA AA  N1  m.hl7 message 1"
        [refused] = acknowledgements([tmp_path / "m.hl7"], Peer(to, authority.ca), 120)
        assert not refused.is_accepted


@pytest.mark.parametrize(
    "peer",
    [
        Peer("http://h:1"),
        Peer("mllp://h"),
        Peer("mllp://h:99999"),
        Peer("mllp://h:1", ca=Path("ca.pem")),
        Peer("mllps://h:1", key=Path("k.pem")),
    ],
)
def test_a_destination_that_makes_no_sense_is_wrong_usage(peer: Peer) -> None:
    with pytest.raises(SettingsError):
        peer.client(1)
