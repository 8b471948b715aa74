"""The HTTP listener's bounds: what counts as a head, and that a body of any size arrives."""

from __future__ import annotations

import asyncio
import logging

import uvicorn
from uvicorn.server import ServerState

from hdg.usage.listener import MAX_HEAD_BYTES, BoundedHttp


class _Wire(asyncio.Transport):
    """A transport that keeps what is written and whether it was cut off."""

    def __init__(self):
        super().__init__()
        self.written = bytearray()
        self.is_aborted = False

    def write(self, data):
        self.written += data

    def abort(self):
        self.is_aborted = True

    def close(self):
        pass

    def is_closing(self):
        return False

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


def exchanged(*pieces):
    """What comes of the pieces, each of them one read of the socket."""

    async def app(scope, receive, send):
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        answer = str(size).encode()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def run():
        config = uvicorn.Config(app, http=BoundedHttp, lifespan="off", log_config=None, access_log=False)
        config.load()
        protocol, wire = BoundedHttp(config, ServerState(), {}), _Wire()
        protocol.connection_made(wire)
        for piece in pieces:
            if not wire.is_aborted:
                protocol.data_received(piece)
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        return wire

    return asyncio.run(run())


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def test_the_last_piece_of_a_body_may_be_longer_than_a_head_may_be():
    piece = b"x" * (MAX_HEAD_BYTES * 2)
    wire = exchanged(HEAD % (3 * len(piece)), piece, piece, piece)
    assert not wire.is_aborted
    assert wire.written.endswith(str(3 * len(piece)).encode())


def test_a_second_request_is_answered_after_a_large_body():
    piece = b"x" * (MAX_HEAD_BYTES * 2)
    wire = exchanged(HEAD % len(piece), piece, HEAD % len(piece), piece)
    assert not wire.is_aborted
    assert wire.written.count(b"HTTP/1.1 200") == 2


def test_a_head_that_does_not_end_is_cut_off(caplog):
    caplog.set_level(logging.CRITICAL)
    line = b"X-Filler: " + b"y" * 10_000 + b"\r\n"
    wire = exchanged(b"GET / HTTP/1.1\r\nHost: x\r\n", *[line] * 20)
    assert wire.is_aborted


def test_a_second_head_that_does_not_end_is_cut_off_too(caplog):
    caplog.set_level(logging.CRITICAL)
    line = b"X-Filler: " + b"y" * 10_000 + b"\r\n"
    body = b"x" * 1000
    wire = exchanged(HEAD % len(body), body, b"GET / HTTP/1.1\r\nHost: x\r\n", *[line] * 20)
    assert wire.is_aborted
