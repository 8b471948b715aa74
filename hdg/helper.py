"""A helper process beside the event loop, and the pipes between the two.

Python runs one thread of a process at a time: work on bytes alone that takes long has a core of its own in a
helper. It is an optimization and nothing else: whoever asks does for itself whatever the helper does not
answer, be it an error in the input, a defect, or the helper's death. The helper keeps nothing; it ends when its
standard input does, so also when the parent is killed.

Frames on the pipes: length (4 bytes, big endian), then a pickle to the helper, and bytes from it. Only the two
processes have the pipes.
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
from collections.abc import Callable
from typing import Any, BinaryIO

__all__ = ["Process", "serve", "tune_collector", "unpickled"]

THRESHOLDS = (50_000, 20, 50)
"""Of the garbage collector, see ``tune_collector``."""
_RESTART_S = 60.0
_END_S = 5.0
_ANSWER_S = 10.0
"""A helper that takes longer for an answer stands still and is ended."""
_ANSWER_S_PER_BYTE = 1.0 / (1 << 20)
"""Added for every byte that it has been asked about: ten times what it takes."""
_HEAD = 4


def unpickled(frame: memoryview) -> Any:
    """An answer that is a pickle; None where it cannot be read."""
    try:
        return pickle.loads(frame)  # noqa: S301  # from our own child
    except (ValueError, EOFError, TypeError, pickle.UnpicklingError):
        return None


class Process(asyncio.SubprocessProtocol):
    """One helper process, the parent's end, for one event loop.

    It is started by the first question, which it does not answer yet. ``module`` runs ``serve`` with ``keys``;
    ``opened``: an answer's bytes → the answer, None for none.
    """

    def __init__(
        self, module: str, keys: tuple[bytes, ...], opened: Callable[[memoryview], Any] = unpickled
    ) -> None:
        self._module = module
        self._keys = keys
        self._opened = opened
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

    async def ask(self, question: object, size: int) -> Any:
        """The answer, or None: do it here. ``size`` of the question in bytes."""
        if not self._is_ready:
            self._start()
            return None
        self._asked_bytes += size
        try:
            async with asyncio.timeout(_ANSWER_S + self._asked_bytes * _ANSWER_S_PER_BYTE):
                while not self._has_room.is_set():  # what waits here is not copied yet
                    await self._has_room.wait()
                if self._input is None:  # lost in the meantime
                    return None
                return await self._ask(question)
        except TimeoutError:
            self._stop_standing()
            return None
        finally:
            self._asked_bytes -= size

    def _ask(self, question: object) -> asyncio.Future[Any]:
        """The answer to come; None when there will be none."""
        data = pickle.dumps(question, 5)
        future = asyncio.get_running_loop().create_future()
        self._asked.append(future)
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
            command = (sys.executable, "-P", "-m", self._module)  # -P: not from the current folder
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
                    future.set_result(self._opened(frame) if len(frame) > 0 else None)
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


def _frames(pipe: BinaryIO) -> Any:
    while len(head := pipe.read(_HEAD)) == _HEAD:
        length = int.from_bytes(head, "big")
        data = pipe.read(length)
        if len(data) != length:
            return
        yield pickle.loads(data)  # noqa: S301  # from our own parent


def tune_collector() -> None:
    """Collects garbage rarely from here on: for processes that do nothing but convert and serve.

    Tables and validators live as long as the process, messages free themselves. Python's default looks at every
    young object each 700 allocations, which costs a third of the ingest rate.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def serve(make: Callable[..., Callable[..., bytes]]) -> None:
    """The helper's main: ``make(*keys)`` gives what answers each question (b'' for none) until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    with os.fdopen(os.dup(1), "wb") as output, os.fdopen(0, "rb", buffering=1 << 16, closefd=False) as pipe:
        os.dup2(2, 1)  # nothing else may write among the frames
        frames = _frames(pipe)
        keys = next(frames, None)
        if keys is None:
            return
        answer = make(*keys)
        tune_collector()
        try:
            _answer(output, b"")
            for asked in frames:
                _answer(output, answer(*asked))
        except ConnectionError:  # the parent is gone; its end of a pipe may be a socket's
            os._exit(0)


def _answer(output: BinaryIO, data: bytes) -> None:
    output.write(len(data).to_bytes(_HEAD, "big") + data)
    output.flush()
