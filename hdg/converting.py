"""Conversion beside the event loop: helper processes that take raw messages and hand back what to store.

Python runs one thread of a process at a time, so a gateway's conversion and storing share one core; with the
helper they have one each. It is an optimization and nothing else: the parent decides everything that depends
on anything but the message, keeps the order (gateway.py's lanes), and converts for itself whatever the helper
does not answer, be it an error in the message, a defect, or the helper's death. The helper keeps nothing; it
ends when its standard input does, so also when the parent is killed.

Large messages have a process of their own, so that a small one never waits for the conversion of a large one.

Frames on the pipes: length (4 bytes, big endian), then a pickle to the helper, and outcomes.py's bytes from
it. Only the two processes have the pipes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import signal
import sys
import time
from collections import deque
from dataclasses import fields
from types import MappingProxyType
from typing import Any, BinaryIO

from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.sender import Sender
from hdg.management.store.index import Indexer
from hdg.management.store.ready import Ready, ready
from hdg.management.store.values import hasher
from hdg.mapping.context import JsonObject, Part
from hdg.outcomes import Outcome, opened, packed

__all__ = ["LARGE_BYTES", "Helper", "Outcome"]

LARGE_BYTES = 64 * 1024
"""From this size on a message goes to the process for large ones."""
_BUSY = 4
"""Messages under way at once from which on a helper pays; for a large message it always does."""
_RESTART_S = 60.0
_END_S = 5.0
_ANSWER_S = 10.0
"""A helper that takes longer for an answer stands still and is ended."""
_ANSWER_S_PER_BYTE = 1.0 / (1 << 20)
"""Added for every byte that it has been asked about: ten times what it takes."""
_HELD_MAX = 4096
_HEAD = 4
_SENDER = tuple(field.name for field in fields(Sender))


class Helper:
    """The parent's end, for one event loop. A process is started when a message first could use it."""

    def __init__(self, id_key: bytes, index_key: bytes) -> None:
        self._small = _Process(id_key, index_key)
        self._large = _Process(id_key, index_key)
        self._under_way = 0
        self._is_closed = False

    def __enter__(self) -> Helper:
        self._under_way += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1

    async def convert(self, raw: bytes, sender: Sender, at_us: int, generation: int) -> Outcome | None:
        """The outcome, or None: convert it here. Call it within ``with helper``."""
        is_large = len(raw) >= LARGE_BYTES
        if self._is_closed or (self._under_way < _BUSY and not is_large):
            return None
        process = self._large if is_large else self._small
        return await process.convert(raw, sender, at_us, generation)

    @property
    def pid(self) -> int | None:
        """The process for small messages, when it is ready."""
        return self._small.pid

    @property
    def large_pid(self) -> int | None:
        """The process for large messages, when it is ready."""
        return self._large.pid

    async def close(self) -> None:
        """Ends the processes, and waits for that."""
        self._is_closed = True
        await self._small.close()
        await self._large.close()


class _Process(asyncio.SubprocessProtocol):
    """One helper process. It is started by the first message, which it does not convert yet."""

    def __init__(self, id_key: bytes, index_key: bytes) -> None:
        self._keys = (id_key, index_key)
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._asked_bytes = 0
        self._buffer = bytearray()
        self._process: asyncio.SubprocessTransport | None = None
        self._input: Any = None
        self._is_ready = self._is_closed = False
        self._has_room = asyncio.Event()
        self._not_before = 0.0
        self._starting: asyncio.Task[None] | None = None
        self._gone: asyncio.Future[None] | None = None

    async def convert(self, raw: bytes, sender: Sender, at_us: int, generation: int) -> Outcome | None:
        """The outcome, or None: convert it here."""
        if not self._is_ready:
            self._start()
            return None
        self._asked_bytes += len(raw)
        try:
            async with asyncio.timeout(_ANSWER_S + self._asked_bytes * _ANSWER_S_PER_BYTE):
                while not self._has_room.is_set():  # what waits here is not copied yet
                    await self._has_room.wait()
                if self._input is None:  # lost in the meantime
                    return None
                outcome: Outcome | None = await self._ask((raw, _packed(sender), at_us, generation))
                return outcome
        except TimeoutError:
            self._stop_standing()
            return None
        finally:
            self._asked_bytes -= len(raw)

    def _ask(self, question: object) -> asyncio.Future[Any]:
        """The answer to come; None when there will be none."""
        future = asyncio.get_running_loop().create_future()
        self._asked.append(future)
        data = pickle.dumps(question, 5)
        self._input.writelines((len(data).to_bytes(_HEAD, "big"), data))
        return future

    def _start(self) -> None:
        if self._starting is None and not self._is_closed and time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + _RESTART_S
            self._starting = asyncio.create_task(self._spawn())

    async def _spawn(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            self._gone = loop.create_future()
            command = (sys.executable, "-P", "-m", "hdg.converting")  # -P: not from the current folder
            process, _ = await loop.subprocess_exec(lambda: self, *command, stderr=None)
            self._process, self._input = process, process.get_pipe_transport(0)
            if self._gone.done():
                raise OSError("the helper ended at once")
            self._has_room.set()
            await self._ask(self._keys)
            self._is_ready = self._input is not None
        except OSError:
            self._lose()
        finally:
            self._starting = None

    def pause_writing(self) -> None:
        """The pipe is full."""
        self._has_room.clear()

    def resume_writing(self) -> None:
        """The pipe is nearly empty."""
        self._has_room.set()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Answers come in the order asked."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) >= at + _HEAD:
            end = at + _HEAD + int.from_bytes(buffer[at : at + _HEAD], "big")
            if len(buffer) < end:
                break
            future = self._asked.popleft()
            if not future.done():
                with memoryview(buffer) as whole, whole[at + _HEAD : end] as frame:
                    future.set_result(_opened(frame))
            at = end
        del buffer[:at]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """The helper is gone, or going."""
        self._lose()

    def process_exited(self) -> None:
        """The helper is gone."""
        self._lose()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _stop_standing(self) -> None:
        """Ends a helper that does not answer; whoever waits for it converts here."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._lose()

    def _lose(self) -> None:
        self._is_ready, self._input = False, None
        self._has_room.set()
        self._buffer.clear()
        while self._asked:
            future = self._asked.popleft()
            if not future.done():
                future.set_result(None)
        if self._process is not None:
            process, self._process = self._process, None
            process.close()

    @property
    def pid(self) -> int | None:
        """The process, when it is ready."""
        return self._process.get_pid() if self._process is not None and self._is_ready else None

    async def close(self) -> None:
        """Ends the helper, and waits for that."""
        self._is_closed = True
        if self._starting is not None:
            await asyncio.wait([self._starting], timeout=_END_S)
        self._lose()
        if self._gone is not None:
            await asyncio.wait([self._gone], timeout=_END_S)


def _opened(frame: memoryview) -> Outcome | None:
    try:
        return opened(frame) if len(frame) > 0 else None
    except (ValueError, EOFError, TypeError):
        return None


def _packed(sender: Sender) -> tuple[Any, ...]:
    values = [getattr(sender, name) for name in _SENDER]
    return tuple(dict(value) if isinstance(value, MappingProxyType) else value for value in values)


class _Worker:
    """The helper's end."""

    def __init__(self, id_key: bytes, index_key: bytes) -> None:
        self._id_key, self._indexer = id_key, Indexer(hasher(index_key))
        self._generation: int | None = None
        self._converter = Converter(id_key=id_key)
        self._held: dict[int, tuple[Part, Ready]] = {}
        """By the identity of a Part, which nobody changes."""

    def answer(self, raw: bytes, sender: tuple[Any, ...], at_us: int, generation: int) -> bytes:
        """The packed Outcome; nothing for whatever went wrong: the parent will meet the same and say so."""
        if self._generation != generation:  # tables and maps are read anew with senders.toml
            if self._generation is not None:
                self._converter = Converter(id_key=self._id_key)
            self._generation = generation
        try:
            declared = Sender(**dict(zip(_SENDER, sender, strict=True)))
            converted, state = self._converter.run(raw, declared, at_us=at_us)
            if state.group is not None:
                state.group.dissolve()
            return packed(converted, [self._ready(resource, state) for resource in converted.resources])
        except Exception:
            return b""

    def _ready(self, resource: JsonObject, state: State) -> Ready:
        """A person or place as an earlier message told it is made ready once."""
        key = (resource["resourceType"], resource["id"])
        part = state.parts.get(key)
        if part is None or not part.is_valid or state.things.get(key) is not resource:
            return ready(resource, self._indexer)
        held = self._held.get(id(part))
        if held is None:
            if len(self._held) >= _HELD_MAX:
                self._held.clear()
            held = self._held[id(part)] = (part, ready(resource, self._indexer))
        return held[1]


def _frames(pipe: BinaryIO) -> Any:
    while len(head := pipe.read(_HEAD)) == _HEAD:
        length = int.from_bytes(head, "big")
        data = pipe.read(length)
        if len(data) != length:
            return
        yield pickle.loads(data)  # noqa: S301  # from our own parent


def main() -> None:
    """The helper: answers until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    with os.fdopen(os.dup(1), "wb") as output, os.fdopen(0, "rb", buffering=1 << 16, closefd=False) as pipe:
        os.dup2(2, 1)  # nothing else may write among the frames
        frames = _frames(pipe)
        worker = _Worker(*next(frames, (b"", b"")))
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        try:
            _answer(output, b"")
            for asked in frames:
                _answer(output, worker.answer(*asked))
        except BrokenPipeError:
            os._exit(0)


def _answer(output: BinaryIO, data: bytes) -> None:
    output.write(len(data).to_bytes(_HEAD, "big") + data)
    output.flush()


if __name__ == "__main__":
    main()
