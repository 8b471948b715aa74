"""One request to an endpoint that means no good: every answer ends, and none is followed or kept."""

from __future__ import annotations

import asyncio

import pytest

from certificates import Authority
from endpoint import Endpoint
from hdg.ingestion.hl7v2.mllp_tls import server_context
from hdg.usage.subscriptions.endpoints import Endpoints, Target
from hdg.usage.subscriptions.hook import tls_context
from hdg.usage.subscriptions.post import Connection, NotDelivered


async def asked(answer, *, drip=False, target=None, limit=60):
    """Posts to a server that says ``answer``; the error's text, '' for none; what it was sent. ``limit``: seconds."""
    sent = bytearray()

    async def talk(reader, writer):
        sent.extend(await reader.readuntil(b"\r\n\r\n"))
        try:
            for byte in [answer[i : i + 1] for i in range(len(answer))] if drip else [answer]:
                writer.write(byte)
                await writer.drain()
                await asyncio.sleep(0.01 if drip else 0)
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = target or Target(False, "127.0.0.1", port, "/x", True)
    try:
        async with asyncio.timeout(limit), Connection(made, tls_context(None)) as connection:
            await connection.request("POST", "/x", [("X-A", "b")], b"body")
        return "", bytes(sent)
    except NotDelivered as error:
        return str(error), bytes(sent)
    except TimeoutError:
        return "time", bytes(sent)
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 204 \r\n\r\n", ""),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n" + b"x" * 100_000, ""),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\n\r\n", "it answered 301"),
        (b"HTTP/1.1 500 secret text\r\n\r\n", "it answered 500"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "it hung up before it had answered"),
        (b"", "it hung up before it had answered"),
        (b"SSH-2.0-OpenSSH\r\n", "its answer is no HTTP"),
        (b"x" * 100_000, "its answer is no HTTP"),
        (b"HTTP/1.1 100 C\r\n" + b"X: y\r\n" * 1000, "it hung up before it had answered"),
    ],
)
def test_answers(answer, error):
    found, sent = asyncio.run(asked(answer))
    assert found == error
    assert sent.startswith(b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-A: b\r\n" in sent


def test_an_answer_that_drips_in_is_given_up():
    assert asyncio.run(asked(b"HTTP/1.1 200 " + b"O" * 6000 + b"\r\n\r\n", drip=True, limit=0.5))[0] == "time"


@pytest.mark.parametrize("host", ["a..partner.example", "a" * 64 + ".partner.example"])
def test_a_host_that_is_no_name_is_a_failure_like_any_other(host):
    target = Endpoints(["https://*.partner.example"]).target(f"https://{host}/")
    assert asyncio.run(asked(b"", target=target))[0] == "no connection: its host is no name"


def test_a_name_that_only_a_wildcard_covers_and_that_leads_into_the_own_network_is_not_connected_to():
    target = Target(False, "localhost", 1, "/", False)
    assert asyncio.run(asked(b"", target=target))[0] == "its address is not one that this gateway sends to"
    named = Target(False, "localhost", 1, "/", True)
    assert asyncio.run(asked(b"", target=named))[0].startswith("no connection: ")


def test_certificates_are_verified_with_the_issuers_that_are_set(tmp_path):
    authority = Authority(tmp_path / "ca")
    own = authority.issue("hub")
    endpoint = Endpoint(tls=server_context(own.certificate, own.key, None))
    target = Endpoints([f"https://localhost:{endpoint.port}"]).target(endpoint.url)

    async def post(tls, to):
        async with asyncio.timeout(5), Connection(to, tls) as connection:
            await connection.request("POST", to.path, [], b"")

    try:
        with pytest.raises(NotDelivered, match="certificate"):
            asyncio.run(post(tls_context(None), target))
        assert endpoint.got == []
        asyncio.run(post(tls_context(authority.ca), target))
        assert endpoint.places == ["/hook"]
    finally:
        endpoint.close()
