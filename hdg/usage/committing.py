"""One write of a caller: a work in one transaction with its AuditEvents, or rehearsed and taken back.

DESIGN §6. What meets another of its group is run again in the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from hdg.errors import Conflict, HdgError, LedgerError
from hdg.management.audit import Access
from hdg.management.store import Store, WriteSession
from hdg.management.store.ahead import Expected, Planned
from hdg.management.store.engine import NotCommitted
from hdg.usage.looking import Means
from hdg.usage.outcomes import Again
from hdg.usage.trail import Caller, Trail
from hdg.usage.views import Views
from hdg.usage.writing import Writing, check_types

__all__ = ["Committing", "Finding"]

Found = TypeVar("Found")
_ATTEMPTS = 200
"""How often a write may meet another of its group; each time it waits for a whole group of the writer."""


@dataclass(frozen=True, slots=True)
class Finding(Generic[Found]):
    """A work that tells beforehand what it will ``find``, and what of this it may write: (type, id)."""

    work: Callable[[Writing], Found]
    found: Collection[tuple[str, str]]
    written: Collection[tuple[str, str]] = ()

    def __call__(self, writing: Writing) -> Found:
        """Runs it."""
        return self.work(writing)


class _TakenBack(Exception):
    """A rehearsal came to its end: the store undoes what raises."""


class Committing:
    """Both raise what the work raises, AccessDenied, and NotCommitted when nothing was kept."""

    def __init__(self, store: Store, trail: Trail, views: Views, means: Means) -> None:
        self._store = store
        self._trail = trail
        self._views = views
        self._means = means

    async def write(
        self, caller: Caller, access: Access, types: Collection[str], work: Callable[[Writing], Found]
    ) -> Found:
        """Returns when what ``work`` wrote and the events about it are on disk. ``types``: what it may write."""
        who = caller.principal
        check_types(self._means.policy, who, types)
        visible = self._views.places(who)

        def unit(session: WriteSession) -> Found:
            writing = Writing(self._means, who, session, visible)
            result = work(writing)
            self._record(session, caller, access, writing)
            return result

        if isinstance(work, Finding):
            places = [(visible, *key) for key in work.found]
            owners = [("patient", id_) for type_, id_ in work.found if type_ == "Patient"]
            expected = Expected(keys=work.written, places=places, owners=owners)
            return await self._perform(Planned(unit, expected))
        return await self._perform(unit)

    async def rehearse(
        self, caller: Caller, types: Collection[str], work: Callable[[Writing], object]
    ) -> tuple[HdgError | None, list[str]]:
        """(why it would be refused, None if it would not; the patients whose data it looked at)."""
        who = caller.principal
        notes: list[tuple[str, frozenset[str]]] = []
        refusal: HdgError | None = None
        try:
            check_types(self._means.policy, who, types)
            visible = self._views.places(who)

            def unit(session: WriteSession) -> None:
                writing = Writing(self._means, who, session, visible)
                work(writing)
                notes.extend(writing.notes)
                raise _TakenBack

            await self._perform(unit)
        except _TakenBack:
            pass
        except (NotCommitted, LedgerError):
            raise
        except HdgError as error:
            refusal = error
        return refusal, sorted({patient for _, about in notes for patient in about})

    async def _perform(self, unit: Callable[[WriteSession], Found]) -> Found:
        for _ in range(_ATTEMPTS):
            try:
                return await self._store.perform(unit)
            except Again:
                continue
        raise Conflict("others keep changing the same resource")

    def _record(self, session: WriteSession, caller: Caller, access: Access, writing: Writing) -> None:
        """One event for each patient concerned, which names what was written about that patient."""
        by_patient: defaultdict[str, list[str]] = defaultdict(list)
        for name, patients in writing.notes:
            for patient in sorted(patients) or ("",):
                by_patient[patient].append(name)
        if not by_patient:
            by_patient[""].append(access.resource)
        for patient, names in by_patient.items():
            event = replace(access, resource="", resources=tuple(dict.fromkeys(names)))
            self._trail.write(session, caller, event, (patient,))
