"""The newest Observations of each code, for $lastn. R4 observation-operation-lastn.html.

Codes that share a coding (else the same text) are one group, also over a third code. What has the time of the last
that comes is not older than it, and comes too. Each subject's groups are its own.
"""

from __future__ import annotations

from typing import Any

import orjson

from hdg.management.store.emit import date_rows
from hdg.usage.access import Visible

__all__ = ["Last"]

Name = tuple[str, str, str]
"""Subject, system and code of a coding."""
_TIMES = ("effectiveDateTime", "effectivePeriod", "effectiveInstant", "effectiveTiming")


class Last:
    """The newest ``most`` of each group: ``take`` all of them, newest first, then ask for ``kept``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._above: dict[Name, Name] = {}
        """A name that means the same group; the group's own name leads to itself."""
        self._counts = _Counts(most)
        self._taken: list[tuple[Name, int | None, Visible]] = []

    def take(self, match: Visible) -> None:
        """Notes what it shares with others; keeps it unless there are enough newer ones of a code of its own."""
        content = orjson.loads(match.body)
        names, at_us = _names(content), _at_us(content)
        groups = [self._group(name) for name in names]
        self._above.update(dict.fromkeys(groups, groups[0]))
        if all(self._counts.has_room(name, at_us) for name in names):
            for name in names:
                self._counts.add(name, at_us)
            self._taken.append((names[0], at_us, match))

    def kept(self) -> tuple[Visible, ...]:
        """What was taken that is among the newest of its group, newest first."""
        counts = _Counts(self._most)
        found = []
        for name, at_us, match in self._taken:
            group = self._group(name)
            if counts.has_room(group, at_us):
                counts.add(group, at_us)
                found.append(match)
        return tuple(found)

    def _group(self, name: Name) -> Name:
        while (above := self._above.setdefault(name, name)) != name:
            name = above
        return name


class _Counts:
    """How many of each name, and the time of the last of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[Name, tuple[int, int | None]] = {}

    def has_room(self, name: Name, at_us: int | None) -> bool:
        count, last_us = self._found.get(name, (0, None))
        return count < self._most or at_us == last_us

    def add(self, name: Name, at_us: int | None) -> None:
        self._found[name] = self._found.get(name, (0, None))[0] + 1, at_us


def _names(content: dict[str, Any]) -> list[Name]:
    subject = str((content.get("subject") or {}).get("reference", "")).partition("/_history/")[0]
    code: dict[str, Any] = content.get("code") or {}
    codings = [coding for coding in code.get("coding", ()) if "code" in coding]
    names = [(subject, coding.get("system", ""), coding["code"]) for coding in codings]
    return names or [(subject, "text", code.get("text", ""))]


def _at_us(content: dict[str, Any]) -> int | None:
    """The µs by which it is sorted; None: it tells no time."""
    rows = [row for name in _TIMES if name in content for row in date_rows(content[name])]
    return max((hi for _, hi in rows), default=None)
