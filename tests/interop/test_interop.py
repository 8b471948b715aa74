"""The MLLP listeners as clients meet them that others wrote: HAPI (Java), @medplum/hl7 (Node), hl7 (Python).

Plain and over mutual TLS; ``make interop`` fetches and builds the clients.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from bench.measure import start_gateway
from certificates import Authority, Pair
from messages import adt, oru

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
EXPECTED = ["AA", "AA", "AA", "AA", "AR"]


def messages(client: str) -> list[bytes]:
    """What each client sends, under control ids of its own: clients write one message in different bytes."""
    utf_8 = adt(f"{client}4").replace(b"Example", "Müller-Éxample".encode())
    return [
        adt(f"{client}1"),
        oru(f"{client}2"),
        oru(f"{client}3", family="A" * 40_000),
        utf_8.replace(b"|2.5.1\r", b"|2.5.1||||||UNICODE UTF-8\r", 1),
        adt(f"{client}5").replace(b"ADT^A01^ADT_A01", b"ZZZ^Z99^ZZZ_Z99"),
    ]


def expected(client: str) -> list[str]:
    return [f"{code} {client}{number}" for number, code in enumerate(EXPECTED, 1)]


@dataclass(frozen=True, slots=True)
class Peer:
    """A running gateway and what its TLS clients need."""

    plain: int
    tls: int
    authority: Authority
    own: Pair
    folder: Path

    def files(self, client: str) -> list[Path]:
        """The client's messages as files."""
        found = [self.folder / f"{client}{number}.hl7" for number in range(1, 6)]
        for file, message in zip(found, messages(client), strict=True):
            file.write_bytes(message)
        return found


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("interop")
    authority = Authority(folder / "ca")
    server = authority.issue("localhost")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gateway = start_gateway(
        folder / "data",
        HDG_MLLP_TLS=f"127.0.0.1:{port}",
        HDG_MLLP_TLS_CERTIFICATE=str(server.certificate),
        HDG_MLLP_TLS_KEY=str(server.key),
        HDG_MLLP_TLS_CLIENT_CA=str(authority.ca),
    )
    yield Peer(gateway.mllp[1], port, authority, authority.issue("interop-client"), folder)
    gateway.process.terminate()
    gateway.close()


def run(*command: object) -> list[str]:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def java_stores(peer: Peer) -> list[str]:
    """Java's options for a key store and a trust store made of the PEM files."""
    ca = x509.load_pem_x509_certificate(peer.authority.ca.read_bytes())
    own = x509.load_pem_x509_certificate(peer.own.certificate.read_bytes())
    key = serialization.load_pem_private_key(peer.own.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"changeit")
    trusted = pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(ca, b"ca")], secret)
    (peer.folder / "trust.p12").write_bytes(trusted)
    keys = pkcs12.serialize_key_and_certificates(b"me", key, own, None, secret)  # type: ignore[arg-type]  # an EC key
    (peer.folder / "keys.p12").write_bytes(keys)
    options = []
    for name, file in (("trustStore", "trust.p12"), ("keyStore", "keys.p12")):
        options.append(f"-Djavax.net.ssl.{name}={peer.folder / file}")
        options.append(f"-Djavax.net.ssl.{name}Password=changeit")
        options.append(f"-Djavax.net.ssl.{name}Type=PKCS12")
    return options


def java(peer: Peer, *arguments: object) -> list[str]:
    target = HERE / "hapi" / "target"
    return run(
        "java", *java_stores(peer), "-cp", f"{target / 'classes'}:{target / 'lib'}/*", "Driver", *arguments
    )


def test_hapi_plain(peer: Peer) -> None:
    assert java(peer, "127.0.0.1", peer.plain, "plain", *peer.files("HP")) == expected("HP")


def test_hapi_mutual_tls(peer: Peer) -> None:
    assert java(peer, "localhost", peer.tls, "tls", *peer.files("HT")) == expected("HT")


def test_medplum_plain(peer: Peer) -> None:
    driver = HERE / "medplum" / "driver.mjs"
    assert run("node", driver, "127.0.0.1", peer.plain, "plain", *peer.files("MP")) == expected("MP")


def test_medplum_mutual_tls(peer: Peer) -> None:
    driver = HERE / "medplum" / "driver.mjs"
    pems = peer.authority.ca, peer.own.certificate, peer.own.key
    assert run("node", driver, "localhost", peer.tls, "tls", *pems, *peer.files("MT")) == expected("MT")


def test_python_hl7_blocking_client_plain(peer: Peer) -> None:
    from hl7.client import MLLPClient

    with MLLPClient("127.0.0.1", peer.plain) as client:
        answers = [client.send_message(message).decode() for message in messages("PB")]
    assert [
        " ".join(answer.split("\rMSA|")[1].split("\r")[0].split("|")[:2]) for answer in answers
    ] == expected("PB")


@pytest.mark.parametrize("is_tls", [False, True])
def test_python_hl7_streams(peer: Peer, is_tls: bool) -> None:
    import hl7
    from hl7.mllp import open_hl7_connection

    client = "PT" if is_tls else "PP"
    context = None
    if is_tls:
        context = ssl.create_default_context(cafile=peer.authority.ca)
        context.load_cert_chain(peer.own.certificate, peer.own.key)

    async def talk() -> list[str]:
        port = peer.tls if is_tls else peer.plain
        reader, writer = await open_hl7_connection("localhost", port, encoding="utf-8", ssl=context)
        found = []
        for message in messages(client):
            writer.writemessage(hl7.parse(message.decode()))
            await writer.drain()
            answer = await reader.readmessage()
            found.append(f"{answer.segment('MSA')[1]} {answer.segment('MSA')[2]}")
        writer.close()
        return found

    assert asyncio.run(talk()) == expected(client)
