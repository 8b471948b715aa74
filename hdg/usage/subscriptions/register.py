"""A Subscription on its way through the gate: checked, and noted with whose it is, in its own transaction.

R4 subscription.html. It belongs to the principal who wrote its newest version, whatever its content says; what a
change of it asks for is asked for by who makes the change.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from hdg.management.identity import Principal
from hdg.management.store import WriteSession, subscription
from hdg.usage.subscriptions.definition import Reading, digest

__all__ = ["Registrar", "row_key"]

JsonObject = dict[str, Any]


def row_key(id_: str, written: int) -> str:
    """What a sealed principal is bound to: the version that its bearer wrote."""
    return f"Subscription/{id_}@{written}"


@dataclass(frozen=True, slots=True)
class Registrar:
    """Called by ``Writing`` for every Subscription. ``reading`` decides what is understood."""

    reading: Reading

    def written(
        self, session: WriteSession, who: Principal, content: JsonObject, version: int, institution: str
    ) -> None:
        """``content`` is stored as ``version``. Raises BadRequest for what is not understood.

        ``active`` is the server's word: the client's means that it shall be.
        """
        definition = self.reading.read(content)
        id_ = str(content["id"])
        claims = orjson.dumps({"who": asdict(who), "digest": digest(content)})
        sealed = session.seal(claims, row_key(id_, version), patient=None, institution=institution)
        status = "requested" if content["status"] == "active" else content["status"]
        subscription.save(
            session,
            id_,
            version=version,
            status=status,
            channel=definition.channel,
            owner_code=sealed[0],
            sealed=sealed[2],
        )

    def deleted(self, session: WriteSession, id_: str) -> None:
        """It is no more."""
        subscription.forget(session, id_)
