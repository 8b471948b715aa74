"""What taking an entry of the inbox in again changes: the part of a replay that every format shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hdg.errors import SourceError
from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store import Store
from hdg.management.store.inbox import Entry, mark
from hdg.management.store.session import WriteSession

__all__ = ["Replayed", "replayed"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to: why it was refused, or (before, after) of every resource that it changes.

    ``is_gone``: there was nothing to replay, as its bytes are there no more.
    """

    error: SourceError | None
    changes: tuple[tuple[JsonObject | None, JsonObject], ...] = ()
    is_gone: bool = False


class _DryRun(Exception):
    """Raised by a work that is not to be kept."""


def replayed(
    store: Store,
    entry: Entry,
    converted: Converted,
    take: Callable[[WriteSession], None],
    *,
    is_dry: bool,
) -> Replayed:
    """What ``take`` changes, which stores it again or takes it in from quarantine. It may raise SourceError."""
    changes: list[tuple[JsonObject | None, JsonObject]] = []

    def work(session: WriteSession) -> None:
        changes.clear()
        keys = [(one["resourceType"], one["id"]) for one in converted.resources]
        before = {key: session.current(*key) for key in keys}
        take(session)
        if entry.status != "accepted":
            mark(session, entry.ikey, "replayed")
        for key, old in before.items():
            new = session.current(*key)
            if new is not None and new != old:
                changes.append((old, new))
        if is_dry:
            raise _DryRun

    try:
        store.submit(work).result()
    except _DryRun:
        pass
    except SourceError as error:
        return Replayed(error)
    return Replayed(None, tuple(changes))
