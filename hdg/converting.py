"""Conversion beside the event loop: helper processes that take raw messages and hand back what to store.

Python runs one thread of a process at a time, so a gateway's conversion and storing share one core; with the
helper they have one each. It is an optimization and nothing else: the parent decides everything that depends
on anything but the message, keeps the order (gateway.py's lanes), and converts for itself whatever the helper
does not answer, be it an error in the message, a defect, or the helper's death. The helper keeps nothing; it
ends when its standard input does, so also when the parent is killed.

Large messages have a process of their own, so that a small one never waits for the conversion of a large one.

helper.py has the processes and the pipes; on them a pickle to the helper, and outcomes.py's bytes from it.
"""

from __future__ import annotations

from dataclasses import fields
from types import MappingProxyType
from typing import Any

from hdg.helper import Process, serve
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.sender import Sender
from hdg.management.store.index import Indexer
from hdg.management.store.ready import MadeReady, Ready
from hdg.management.store.values import hasher
from hdg.mapping.context import JsonObject, Part
from hdg.outcomes import Outcome, opened, packed

__all__ = ["LARGE_BYTES", "Helper", "Outcome"]

LARGE_BYTES = 64 * 1024
"""From this size on a message goes to the process for large ones."""
_BUSY = 4
"""Messages under way at once from which on a helper pays; for a large message it always does."""
_HELD_MAX = 4096
_SENDER = tuple(field.name for field in fields(Sender))


class Helper:
    """The parent's end, for one event loop. A process is started when a message first could use it."""

    def __init__(self, id_key: bytes, index_key: bytes) -> None:
        self._small = Process("hdg.converting", (id_key, index_key), _opened)
        self._large = Process("hdg.converting", (id_key, index_key), _opened)
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
        outcome: Outcome | None = await process.ask((raw, _packed(sender), at_us, generation), len(raw))
        return outcome

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


def _opened(frame: memoryview) -> Outcome | None:
    try:
        return opened(frame)
    except (ValueError, EOFError, TypeError):
        return None


def _packed(sender: Sender) -> tuple[Any, ...]:
    values = [getattr(sender, name) for name in _SENDER]
    return tuple(dict(value) if isinstance(value, MappingProxyType) else value for value in values)


class _Worker:
    """The helper's end."""

    def __init__(self, id_key: bytes, index_key: bytes) -> None:
        self._id_key = id_key
        self._made = MadeReady(Indexer(hasher(index_key)))
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
            return self._made.ready(resource)
        held = self._held.get(id(part))
        if held is None:
            if len(self._held) >= _HELD_MAX:
                self._held.clear()
            held = self._held[id(part)] = (part, self._made.ready(resource))
        return held[1]


def main() -> None:
    """The helper."""
    serve(lambda id_key, index_key: _Worker(id_key, index_key).answer)


if __name__ == "__main__":
    main()
