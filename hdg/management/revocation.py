"""Revoked tokens: a row that the gate refuses by, and a ledger leaf, so that a removed row is found.

RFC 7009 in spirit: a token that is no longer wanted stops working before it expires. The leaf (kind ``key``) is
named ``RevokedToken/<id>@<end in µs>``; ``hdg verify`` holds rows to leaves (ledger/verify_revoked.py), so rows
stay when their token has expired.
"""

from __future__ import annotations

import re

from sqlalchemy import Table, select

from hdg.errors import BadRequest
from hdg.management.identity import RevokedToken
from hdg.management.ledger.leaf import Leaf
from hdg.management.store.session import WriteSession

__all__ = ["revoke"]

_TABLE: Table = RevokedToken.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_ID = re.compile(r"[A-Za-z0-9_.~-]{1,256}")


def revoke(session: WriteSession, token_id: str, expires_us: int, *, institution: str) -> bool:
    """Revokes a token by its id (``jti``). False when it was revoked before. Raises BadRequest for no id."""
    if _ID.fullmatch(token_id) is None:
        raise BadRequest("this is not the id of a token")
    known = select(_TABLE.c.token_id).where(_TABLE.c.token_id == token_id)
    if session.connection.execute(known).first() is not None:
        return False
    session.execute_later(_TABLE, [{"token_id": token_id, "expires_us": expires_us}])
    key = f"RevokedToken/{token_id}@{expires_us}"
    session.leaf(Leaf("key", "", key, 0, institution, session.at_us, b""))
    return True
