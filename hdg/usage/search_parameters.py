"""A SearchParameter on its way through the gate: checked, and in use from the commit of the transaction that stores it.

R4 searchparameter.html. Only ``active`` ones are used; a draft is stored and nothing else, a retired or deleted one
is used no more.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hdg.management.store import WriteSession
from hdg.management.store.custom import Definition, definition_of
from hdg.management.store.custom_register import RESOURCE, save

__all__ = ["deleted", "written"]

JsonObject = dict[str, Any]
Key = tuple[str, str]


def written(session: WriteSession, content: JsonObject, own: Collection[Key]) -> None:
    """``content`` is stored. Raises ValidationFailed for what cannot be indexed, or clashes with another.

    ``own``: what the same request has written so far.
    """
    origin = _origin(content["id"])
    save(session, origin, _defined(content), _pending(session, own, origin))


def deleted(session: WriteSession, id_: str) -> None:
    """It is no more."""
    save(session, _origin(id_), None)


def _origin(id_: str) -> str:
    return f"{RESOURCE}{id_}"


def _defined(content: JsonObject) -> Definition | None:
    return definition_of(content) if content["status"] == "active" else None


def _pending(session: WriteSession, own: Collection[Key], origin: str) -> dict[str, Definition | None]:
    """What the same request says of others, which the database does not know yet."""
    states = {key: session.batch.states[key] for key in own if key[0] == "SearchParameter"}
    return {
        _origin(id_): None if state is None or state.deleted else _defined(state.content())
        for (_, id_), state in states.items()
        if _origin(id_) != origin
    }
