"""What each principal may see, as SQL over ``Resource``: made once for each, kept, and read anew by the clock.

DESIGN §6. Whoever is decided elsewhere (researchers) sees nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from sqlalchemy import ColumnElement, False_, and_, literal, or_

from hdg.management.consent.decide import AccessRequest
from hdg.management.consent.policy import Policy
from hdg.management.consent.sql import predicate
from hdg.management.identity import Principal
from hdg.management.store import Store, schema
from hdg.management.store.batch import table_of
from hdg.management.store.prepared import Prepared
from hdg.usage import permits
from hdg.usage.outcomes import place_query
from hdg.usage.research import view as research

__all__ = ["Views"]

_RESOURCE = table_of(schema.Resource)
_PREPARED_MAX = 1024
"""Principals whose compiled predicates are kept; one takes about 40 KB."""
_NO_ROW = literal(0) == 1
"""Never true, and kept as a term of the query: ``false()`` would take its joins with it."""


class Views:
    """Thread-safe."""

    def __init__(self, store: Store, policy: Policy, clock: Callable[[], int]) -> None:
        self._reader = store.reader
        self._dialect = store.engine.dialect
        self._policy = policy
        self._clock = clock
        self._prepared = lru_cache(_PREPARED_MAX)(self._prepare)
        self._among = lru_cache(_PREPARED_MAX)(self._prepare_among)
        self._places = lru_cache(_PREPARED_MAX)(self._prepare_place)

    def visible_to(self, who: Principal) -> Prepared:
        """What this principal may see, as SQL over ``Resource``. Kept; the time is read when the SQL runs."""
        return self._prepared(who.role, who.user, who.institution, who.patient, who.purpose)

    def among(self, who: Principal) -> Prepared:
        """The same for many resources at once (Reader.read_among)."""
        return self._among(who.role, who.user, who.institution, who.patient, who.purpose)

    def places(self, who: Principal) -> Prepared:
        """The same in the query that finds where something is, for a write."""
        return self._places(who.role, who.user, who.institution, who.patient, who.purpose)

    def _prepare(self, role: str, user: str, institution: str, patient: str, purpose: str) -> Prepared:
        return self._reader.prepare(self._predicate(role, user, institution, patient, purpose))

    def _prepare_among(self, role: str, user: str, institution: str, patient: str, purpose: str) -> Prepared:
        return self._reader.prepare_among(self._predicate(role, user, institution, patient, purpose))

    def _prepare_place(self, role: str, user: str, institution: str, patient: str, purpose: str) -> Prepared:
        visible = self._predicate(role, user, institution, patient, purpose)
        return Prepared(place_query(), visible, self._dialect)

    def _predicate(
        self, role: str, user: str, institution: str, patient: str, purpose: str
    ) -> ColumnElement[bool]:
        if role == research.ROLE:
            return _NO_ROW  # whatever asks here does not de-identify
        if role == "operator":  # whose view consents have no part in
            types = permits.definitions_of(self._policy, purpose)
            is_one = [_RESOURCE.c.type == type_ for type_ in sorted(types)]
            return and_(or_(*is_one), _RESOURCE.c.patients == 0) if types else _NO_ROW
        request = AccessRequest(role, user, institution, patient, purpose, "access", at_us=0)
        visible = predicate(request, self._policy, self._clock)
        return _NO_ROW if isinstance(visible, False_) else visible
