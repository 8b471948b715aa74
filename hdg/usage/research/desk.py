"""Researchers' requests, each on the audit trail before its answer leaves: a leaf in the ledger for every patient.

DESIGN §6. What is refused is recorded as well: it may have been a try.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from hdg.errors import AccessDenied, NotFound
from hdg.management.audit import Access
from hdg.management.store import SearchQuery
from hdg.management.store.everything import Everything
from hdg.usage.research.view import ROLE, Found, Researchers, Shown
from hdg.usage.trail import Caller, Trail

__all__ = ["Desk", "is_researcher", "refuse_researcher"]

Aside = Callable[..., Awaitable[Any]]
_SUCCESS, _NOTHING = "0", "4"


def is_researcher(caller: Caller) -> bool:
    """Whether the caller is served here, and nowhere else."""
    return caller.principal.role == ROLE


def refuse_researcher(caller: Caller, what: str) -> None:
    """Raises AccessDenied for a researcher: what is asked is for other roles, whatever is stored."""
    if is_researcher(caller):
        raise AccessDenied(f"{what} is not for researchers")


class Desk:
    """``aside`` runs what may take long on another thread."""

    def __init__(self, researchers: Researchers, trail: Trail, aside: Aside) -> None:
        self._researchers = researchers
        self._trail = trail
        self._aside = aside

    async def read(self, caller: Caller, type_: str, id_: str) -> Shown:
        """The resource with that pseudonym. Raises NotFound, Unavailable."""
        found: Shown | None = await self._aside(self._researchers.read, caller.principal, type_, id_)
        access = Access("read", _SUCCESS, resource=f"{type_}/{id_}")
        return await self._recorded(caller, access, found)

    async def search(self, caller: Caller, query: SearchQuery, asked: str) -> Found:
        """A page; ``asked``: the query as text. Raises AccessDenied, BadRequest, Unavailable."""
        access = Access("search", _SUCCESS, query=asked)
        try:
            page: Found = await self._aside(self._researchers.search, caller.principal, query)
        except AccessDenied:
            await self._trail.record(caller, replace(access, outcome=_NOTHING), ())
            raise
        await self._trail.record(caller, access, page.patients)
        return page

    async def everything(self, caller: Caller, asked: Everything, text: str) -> Found:
        """A page of $everything. Raises NotFound, AccessDenied, BadRequest, Unavailable."""
        access = Access("operation", _SUCCESS, f"{asked.type}/{asked.id}", text)
        try:
            focus, page = await self._aside(self._researchers.everything, caller.principal, asked)
        except AccessDenied:
            await self._trail.record(caller, replace(access, outcome=_NOTHING), ())
            raise
        await self._recorded(caller, access, focus, page)
        found: Found = page
        return found

    async def _recorded(
        self, caller: Caller, access: Access, focus: Shown | None, page: Found | None = None
    ) -> Shown:
        """Records what was shown under its real name. Raises NotFound for nothing."""
        if focus is None:
            await self._trail.record(caller, replace(access, outcome=_NOTHING), ())
            raise NotFound("nothing is here")
        patients = dict.fromkeys((*focus.patients, *(page.patients if page is not None else ())))
        await self._trail.record(caller, replace(access, resource=focus.place), tuple(patients))
        return focus
