"""A small HTTP/1.1 load client: N keep-alive connections, each sends one request at a time, over raw asyncio.

    python -m bench.http_load --port 8080 --path /fhir/Patient/x --token TOKEN --clients 16 --requests 8000

Bounded by a number of requests: it ends when they are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a run. Times in milliseconds; ``statuses`` counts answers by HTTP status."""

    requests: int
    seconds: float
    statuses: dict[int, int]
    median_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class _Client(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last one is complete."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = bytearray()
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        taken = self._run.take()
        if taken is None:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        request, due = taken
        now = time.perf_counter()
        self._sent_at = due or now  # late: whoever asked has waited since it was due
        if due > now:
            asyncio.get_running_loop().call_later(due - now, self._transport.write, request)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        if b"transfer-encoding: chunked" in head:
            whole = len(self._buffer) if self._buffer.endswith(b"\r\n0\r\n\r\n") else sys.maxsize
        else:
            start = head.find(b"content-length:")
            length = int(head[start + 15 : (head + b"\r\n").find(b"\r\n", start)]) if start >= 0 else 0
            whole = end + 4 + length
        if len(self._buffer) < whole:
            return
        self._run.answered(int(head[9:12]), time.perf_counter() - self._sent_at)
        del self._buffer[:whole]
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))


class _Run:
    def __init__(self, requests: Sequence[bytes], total: int, rate: float) -> None:
        self._requests = requests
        self._left = self._total = total
        self._rate = rate
        self._started = time.perf_counter()
        self.times: list[float] = []
        self.statuses: dict[int, int] = {}

    def take(self) -> tuple[bytes, float] | None:
        """The next request and when it is due, 0 for at once."""
        if self._left == 0:
            return None
        due = self._started + (self._total - self._left) / self._rate if self._rate else 0.0
        self._left -= 1
        return self._requests[self._left % len(self._requests)], due

    def answered(self, status: int, seconds: float) -> None:
        self.times.append(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1


async def load(
    host: str, port: int, paths: Sequence[str], token: str = "", *, clients: int = 16, total: int = 4000
) -> Load:
    """Asks for ``paths`` in turn, ``total`` times in all, over ``clients`` connections."""
    extra = f"Authorization: Bearer {token}\r\n" if token else ""
    accept = "Accept: application/fhir+json\r\n"
    requests = [f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{accept}{extra}\r\n".encode() for path in paths]
    return await send(host, port, requests, clients=clients, total=total)


async def send(
    host: str, port: int, requests: Sequence[bytes], *, clients: int, total: int, rate: float = 0.0
) -> Load:
    """Sends whole requests in turn, ``total`` times in all, over ``clients`` connections.

    ``rate``: so many a second, whether or not the answers come; times count from when one was due. 0: each client asks
    as soon as it has its answer.
    """
    run = _Run(requests, total, rate)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = [await loop.create_connection(lambda: _Client(run), host, port) for _ in range(clients)]
    await asyncio.gather(*(client.done for _, client in made))
    seconds = time.perf_counter() - started
    times = sorted(run.times)
    median, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    return Load(len(times), seconds, run.statuses, median * 1000, p99 * 1000)


def main() -> None:
    """Prints one line: requests per second, median, p99, statuses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--path", action="append", required=True)
    parser.add_argument("--token", default="")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=4000)
    given = parser.parse_args()
    result = asyncio.run(
        load(given.host, given.port, given.path, given.token, clients=given.clients, total=given.requests)
    )
    times = f"median {result.median_ms:.2f} ms, p99 {result.p99_ms:.2f} ms"
    print(f"{result.per_second:.0f}/s, {times}, {result.statuses}")


if __name__ == "__main__":
    main()
