"""Messages of one patient, one behind the other, whatever connection they come by.

*Received* is the moment at which a listener hands the whole message over (``Gateway.receive`` is called):
there the message takes a ticket for each patient number in it. It lines up for the writer, which stores in
that order, when every message with an earlier ticket for one of its numbers has done so; conversion does not
wait. A merge has both patients' numbers and so waits for, and holds up, both. Tickets are taken all at once,
so waiting never goes in a circle. Messages without a patient number wait for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from types import TracebackType

__all__ = ["Lanes", "Ticket", "patient_numbers"]

_FIELDS = {b"PID": (2, 3), b"MRG": (1,)}
_ENDS = (b"\r", b"\n")


def patient_numbers(raw: bytes) -> frozenset[bytes]:
    """Every patient number (CX.1 of PID-2, PID-3, MRG-1) of raw message bytes. Never raises.

    For text of several bytes a character (UTF-16) one number stands for all messages: they share one lane.
    """
    start = raw.find(b"MSH")
    if start < 0 or len(raw) < start + 8 or b"\x00" in raw[:64]:
        return (
            frozenset((b"",)) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in raw[:64] else frozenset()
        )
    separator, component, repetition = (raw[start + n : start + n + 1] for n in (3, 4, 5))
    found: set[bytes] = set()
    for name, numbers in _FIELDS.items():
        for line in _segments(raw, name + separator):
            fields = line.split(separator, 4)
            for number in numbers:
                if number < len(fields):
                    texts = fields[number].split(repetition)
                    found.update(text.split(component, 1)[0].strip() for text in texts)
    return frozenset(number for number in found if number not in (b"", b'""'))


def _segments(raw: bytes, head: bytes) -> Iterator[bytes]:
    at = raw.find(head)
    while at >= 0:
        if at and raw[at - 1 : at] in _ENDS:
            ends = [end for mark in _ENDS if (end := raw.find(mark, at)) >= 0]
            yield raw[at : min(ends, default=len(raw))]
        at = raw.find(head, at + 1)


class Ticket:
    """A message's place in its lanes; a context that leaves them, done or failed."""

    def __init__(self, lanes: Lanes, keys: Iterable[bytes]) -> None:
        self._tails, self._done = lanes.tails, asyncio.get_running_loop().create_future()
        self._keys = tuple(keys)
        self._before = [self._tails[key] for key in self._keys if key in self._tails]
        for key in self._keys:
            self._tails[key] = self._done

    async def turn(self) -> None:
        """Waits for everybody who is before."""
        for other in self._before:
            if not other.done():
                await asyncio.shield(other)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        waiting = [other for other in self._before if not other.done()]
        if waiting:  # given up before its turn: who is behind must still wait for who is before
            together = asyncio.gather(*waiting, return_exceptions=True)
            together.add_done_callback(lambda _: self.leave())
        else:
            self.leave()

    def leave(self) -> None:
        """The message has its place: who is behind may go on. Leaving again changes nothing."""
        if not self._done.done():
            self._done.set_result(None)
        for key in self._keys:
            if self._tails.get(key) is self._done:
                del self._tails[key]


class Lanes:
    """The lanes of one event loop; a lane is there as long as a message is in it."""

    def __init__(self) -> None:
        self.tails: dict[bytes, asyncio.Future[None]] = {}
        """Last ticket of each patient number."""

    def ticket(self, raw: bytes) -> Ticket:
        """Takes a message's tickets, now: call it before the first ``await``."""
        return Ticket(self, patient_numbers(raw))
