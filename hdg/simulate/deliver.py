"""``hdg simulate``: the stream to standard output, into a folder, or over MLLP at a set rate."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import typer

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.mllp_client import MllpClient
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.send import Peer
from hdg.simulate.hospital import Event

REFUSED_SHOWN = 20
TIMEOUT_S = 30.0


@dataclass
class Delivery:
    """What came of a delivery. Latencies in seconds; ``refused`` names the first few, never their content."""

    sent: int = 0
    accepted: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line."""
        rate = self.sent / self.seconds if self.seconds else 0.0
        ordered = sorted(self.latencies)
        times = ""
        if ordered:
            median, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
            times = f", ACK median {median * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"
        return f"{self.sent} sent, {self.accepted} accepted, {rate:.1f}/s{times}"


def paced(events: Iterable[Event], rate: float | None) -> Iterator[Event]:
    """The events, ``rate`` a second at most, evenly; None: as fast as they are taken."""
    if rate is None:
        yield from events
        return
    started = time.monotonic()
    for number, event in enumerate(events):
        wait_s = started + number / rate - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        yield event


def send(events: Iterable[Event], client: MllpClient) -> Delivery:
    """Sends the events in order, each after the acknowledgement of the one before.

    Raises OSError when the other side is not there or hangs up.
    """
    delivery = Delivery()
    started = time.monotonic()
    for event in events:
        sent_at = time.monotonic()
        answer = client.send(event.raw)
        delivery.latencies.append(time.monotonic() - sent_at)
        delivery.sent += 1
        code = _code(answer)
        if code in ("AA", "CA"):
            delivery.accepted += 1
        elif len(delivery.refused) < REFUSED_SHOWN:
            delivery.refused.append(f"{code or '--'}  {event.control_id}  {event.kind}")
    delivery.seconds = time.monotonic() - started
    return delivery


def _code(answer: bytes) -> str:
    try:
        msa = parse(answer).first("MSA")
    except Hl7v2Error:
        return ""
    return msa.field(1) if msa else ""


def write_folder(events: Iterable[Event], folder: Path) -> int:
    """One file a message, named in the order of arrival; how many. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, event in enumerate(events, 1):
        (folder / f"{count:08d}.hl7").write_bytes(event.raw)
    return count


def write_stream(events: Iterable[Event], out: BinaryIO) -> None:
    """The messages one behind the other, as ``hdg convert -`` and ``hdg send`` read them."""
    for event in events:
        out.write(event.raw)


def run(events: Iterable[Event], rate: float | None, to: str | None, output: Path | None) -> int:
    """The command; its exit code. Raises SettingsError for a wrong address."""
    stream = paced(events, rate)
    if to is not None:
        return _run_send(stream, to)
    if output is not None:
        typer.echo(f"{write_folder(stream, output)} messages in {output}", err=True)
    else:
        write_stream(stream, sys.stdout.buffer)
    return 0


def _run_send(events: Iterable[Event], to: str) -> int:
    try:
        with Peer(to).client(TIMEOUT_S) as client:
            delivery = send(events, client)
    except OSError as error:
        typer.echo(f"hdg: {to}: {error.strerror or error}", err=True)
        return 1
    for line in delivery.refused:
        typer.echo(f"not accepted: {line}", err=True)
    typer.echo(delivery.summary())
    return 0 if delivery.accepted == delivery.sent else 1
