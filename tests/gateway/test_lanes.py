"""The load driver keeps the order that a hospital's interfaces keep, and sees what is not accepted."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

from bench.expected import Expected
from bench.lanes import Outcome, drive, shared_out
from hdg.simulate import ORDERLY, SENDERS, Disorder, Simulation

Arrival = tuple[int, bytes]


def exchange(simulation: Simulation, refuse_every: int = 0) -> tuple[list[Arrival], Outcome, Expected]:
    """Half a second of traffic to a responder that notes (connection, message) and refuses some."""
    arrivals: list[Arrival] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = id(writer)
        try:
            while True:
                raw = (await reader.readuntil(b"\x1c\r"))[1:-2]
                arrivals.append((me, raw))
                code = b"AE" if refuse_every and len(arrivals) % refuse_every == 0 else b"AA"
                answer = b"MSH|^~\\&|||||||ACK\rMSA|" + code + b"|" + raw.split(b"|", 10)[9]
                writer.write(b"\x0b" + answer + b"\r\x1c\r")
        except asyncio.IncompleteReadError:
            writer.close()

    async def run() -> tuple[Outcome, Expected]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
        expected = Expected()
        outcome = await drive(
            server.sockets[0].getsockname()[:2],
            iter(simulation),
            connections=dict.fromkeys(SENDERS, 2),
            seconds=0.5,
            rate=None,
            on_accepted=expected.accept,
        )
        server.close()
        await server.wait_closed()
        return outcome, expected

    outcome, expected = asyncio.run(run())
    return arrivals, outcome, expected


def test_each_patients_messages_of_a_sender_keep_one_connection_and_their_order() -> None:
    arrivals, outcome, expected = exchange(Simulation(patients=30, disorder=ORDERLY))
    assert outcome.accepted == len(arrivals) == len(expected.accepted) > 20
    assert len({connection for connection, _ in arrivals}) >= 8
    lanes: defaultdict[tuple[bytes, bytes], list[Arrival]] = defaultdict(list)
    for connection, raw in arrivals:
        fields = raw.split(b"|", 11)
        patient = raw.split(b"\rPID|1||", 1)[1].split(b"^", 1)[0]
        lanes[fields[2], patient].append((connection, fields[9]))
    for lane in lanes.values():
        assert len({connection for connection, _ in lane}) == 1
        assert [number for _, number in lane] == sorted(number for _, number in lane)


def test_repeats_are_the_same_message_once_more() -> None:
    _, outcome, expected = exchange(Simulation(patients=30, disorder=Disorder(repeated=0.3)))
    assert sum(expected.accepted.values()) == outcome.accepted
    assert 0 < outcome.accepted - len(expected.accepted) <= outcome.repeats  # a first may wait as time is up


def test_what_is_not_accepted_is_counted_and_not_expected() -> None:
    arrivals, outcome, expected = exchange(Simulation(patients=30, disorder=ORDERLY), refuse_every=10)
    assert len(outcome.refused) == len(arrivals) // 10 > 0
    assert len(expected.accepted) == outcome.accepted == len(arrivals) - len(outcome.refused)


def test_who_speaks_more_has_more_of_the_connections() -> None:
    events = list(Simulation(patients=30).take(1000))
    spoken = Counter(event.sender for event in events)
    shares = shared_out(64, events)
    assert sum(shares.values()) == 64
    assert shares.keys() == set(SENDERS)
    for sender, count in shares.items():
        assert abs(count - 64 * spoken[sender] / 1000) <= 2
    assert set(shared_out(8, events).values()) == {1}
