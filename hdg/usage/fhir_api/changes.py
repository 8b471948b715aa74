"""create, update, patch and delete as values, and what each does inside the writer's transaction.

R4 http.html#create, #ccreate, #update, #upsert, #cond-update, #delete, #cdelete, #patch, #concurrency. One
request is one Change; a transaction Bundle is many. Nothing here reads HTTP.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hdg.errors import BadRequest, NotFound
from hdg.management.store import SearchQuery
from hdg.usage.drafts import Draft
from hdg.usage.outcomes import Place, PreconditionFailed, SeveralMatches, Written
from hdg.usage.writing import Writing

__all__ = ["Change", "Patch", "apply", "new_id", "resolve", "run"]

JsonObject = dict[str, Any]
Patch = Callable[[JsonObject], JsonObject]
"""Pure: the content before → after. Raises BadRequest, ValidationFailed."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write. ``method``: POST, PUT, PATCH or DELETE; ``id`` '' where the server or a search decides.

    ``query``: the condition (If-None-Exist of a POST, the URL's search of the others); ``asked``: the same as
    text, for the audit. ``if_match``: versions of which one must be current, empty: there must be one at all;
    None: no condition. ``only_new``: If-None-Match ``*``. ``draft``: the resource of a POST or PUT, under
    ``id`` or an id made for it.
    """

    method: str
    type: str
    id: str = ""
    query: SearchQuery | None = None
    asked: str = ""
    if_match: frozenset[int] | None = None
    only_new: bool = False
    draft: Draft | None = field(default=None, repr=False)
    patch: Patch | None = field(default=None, repr=False)

    @property
    def interaction(self) -> str:
        """The name of the interaction (R4 valueset-restful-interaction)."""
        return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[self.method]

    @property
    def place(self) -> str:
        """``Type/id``, or the type alone."""
        return f"{self.type}/{self.id}" if self.id else self.type


def new_id() -> str:
    """A random id (R4 datatypes.html#id): nothing can be guessed from it, or back to it.

    What is made within the same quarter of a second begins alike, so that an import's ids are neighbours in the
    index and not each on a page of its own; 104 bits are each one's own.
    """
    return _begin(time.monotonic_ns() >> 28) + secrets.token_hex(13)


@lru_cache(maxsize=1)
def _begin(_slot: int) -> str:
    return secrets.token_hex(3)


def resolve(change: Change, writing: Writing) -> Place | None:
    """The resource that a change is about, as the caller may see it now; None where there is none.

    Raises PreconditionFailed when a condition finds more than one, or a version or its absence is not as the
    client expects; BadRequest when the client's id is not that of the match.
    """
    if change.query is not None:
        place = _match(change, writing)
    else:
        place = writing.find(change.type, change.id) if change.id else None
    is_live = place is not None and not place.is_deleted
    if change.if_match is not None and not _is_expected(place, change.if_match):
        raise PreconditionFailed("If-Match: the current version is another one, or there is none")
    if change.only_new and is_live:
        raise PreconditionFailed("If-None-Match: there is one already")
    return place


def _is_expected(place: Place | None, versions: frozenset[int]) -> bool:
    return place is not None and (place.version in versions if versions else not place.is_deleted)


def _match(change: Change, writing: Writing) -> Place | None:
    if change.query is None:
        return None
    found = writing.matches(change.query)
    if len(found) > 1:
        raise SeveralMatches("the condition finds more than one resource")
    if change.method == "PUT" and change.id:
        if found and found[0].id != change.id:
            raise BadRequest("the id of the resource is not that of the one which the condition finds")
        return found[0] if found else writing.find(change.type, change.id)
    return found[0] if found else None


def run(change: Change, writing: Writing) -> Written:
    """Does it. Raises what ``resolve`` and ``Writing`` raise; NotFound for nothing to patch or delete."""
    place = resolve(change, writing)
    return apply(change, place, writing)


def apply(change: Change, place: Place | None, writing: Writing) -> Written:
    """The second half of ``run``."""
    if change.method == "POST":
        return writing.seen(place) if place is not None else writing.create(_drafted(change))
    if change.method == "PUT":
        return _update(change, place, writing)
    if place is None and change.method == "DELETE" and change.query is not None:
        return writing.nothing(change.type)
    if place is None:
        raise NotFound("nothing is here")
    if change.method == "DELETE":
        return writing.delete(place)
    return _patch(change, place, writing)


def _update(change: Change, place: Place | None, writing: Writing) -> Written:
    draft = _drafted(change)
    if place is None and change.query is not None and not change.id:
        return writing.create(draft)
    if place is not None and place.id != draft.id:
        draft = writing.draft(draft.content, place.id)
    return writing.put(draft, place)


def _patch(change: Change, place: Place, writing: Writing) -> Written:
    before = writing.content(place)
    if change.patch is None:
        raise BadRequest("a patch is needed", code="required")
    after = change.patch(before)
    if after.get("resourceType") != place.type or after.get("id") != place.id:
        raise BadRequest("a patch changes neither the type nor the id of a resource")
    return writing.put(writing.draft(after, place.id), place)


def _drafted(change: Change) -> Draft:
    if change.draft is None:
        raise BadRequest("a resource is needed", code="required")
    return change.draft
