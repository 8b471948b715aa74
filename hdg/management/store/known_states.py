"""The states that the writer keeps from one group of works to the next, bounded by bytes.

Two queues, each in the order of use (a segmented LRU). A message brings a dozen resources that are hardly ever spoken
of again (results, orders) and a few that are stated with every message (the person, the visit): what a group has made
new waits in the first queue, and what was used once more goes into the second, from which no flood of new resources
takes it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from hdg.management.store.batch import State

__all__ = ["KnownStates"]

_BYTES = 64 << 20
_NEW_SHARE = 4
"""What is new takes at most one in so many of the bytes."""

_Key = tuple[str, str]


class KnownStates:
    """States by type and id. Owned by the writer's thread."""

    def __init__(self, limit_bytes: int = _BYTES, parsed_limit: int = 512) -> None:
        """``limit_bytes``: of all states (``State.weight``); ``parsed_limit``: how many may hold more than bytes."""
        self.limit_bytes = limit_bytes
        self.parsed_limit = parsed_limit
        self._new = _Queue()
        self._used = _Queue()
        self._parsed: OrderedDict[_Key, State] = OrderedDict()

    def __iter__(self) -> Iterator[State]:
        yield from self._new.states.values()
        yield from self._used.states.values()

    @property
    def held_bytes(self) -> int:
        """What the states hold, about, without what is parsed of them."""
        return self._new.bytes + self._used.bytes

    def get(self, key: _Key) -> State | None:
        """The state of a resource; None: nothing is known."""
        return self._used.states.get(key) or self._new.states.get(key)

    def keep(self, key: _Key, state: State) -> None:
        """A state as it is after a group that has made it or looked at it."""
        used, new = self._used, self._new
        if used.states.get(key) is state:
            used.states.move_to_end(key)
        elif state.before is None and not state.is_stored:
            new.put(key, state.settled())
        else:
            if new.states.get(key) is not state:
                state.settled()
            new.drop(key)
            used.drop(key)
            used.put(key, state)
        if state.is_parsed:
            self._keep_parsed(key, state)

    def shrink(self) -> None:
        """Forgets the least recently used."""
        most_new = self.limit_bytes // _NEW_SHARE
        while self._new.bytes > most_new:
            self._parsed.pop(self._new.pop(), None)
        while self.held_bytes > self.limit_bytes and self._used.states:
            self._parsed.pop(self._used.pop(), None)

    def clear(self) -> None:
        """Forgets everything."""
        self._new, self._used = _Queue(), _Queue()
        self._parsed.clear()

    def _keep_parsed(self, key: _Key, state: State) -> None:
        self._parsed[key] = state
        self._parsed.move_to_end(key)
        if len(self._parsed) > self.parsed_limit:
            self._parsed.popitem(last=False)[1].slim()


class _Queue:
    """The one used last comes last."""

    __slots__ = ("bytes", "states")

    def __init__(self) -> None:
        self.states: OrderedDict[_Key, State] = OrderedDict()
        self.bytes = 0

    def put(self, key: _Key, state: State) -> None:
        self.states[key] = state
        self.bytes += state.weight

    def drop(self, key: _Key) -> None:
        state = self.states.pop(key, None)
        if state is not None:
            self.bytes -= state.weight

    def pop(self) -> _Key:
        key, state = self.states.popitem(last=False)
        self.bytes -= state.weight
        return key
