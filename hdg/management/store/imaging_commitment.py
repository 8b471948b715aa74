"""Promises to report on a storage commitment, kept until the report was taken. DICOM PS3.4 §J.3.3.

Kept in the transaction behind which the request is answered; what is asked about (UIDs) is sealed under the
institution's key. The outcome is not kept: it is found out anew when the report is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from hdg.fhir.json import dumps, loads
from hdg.management.store.batch import table_of
from hdg.management.store.imaging_schema import ImagingCommitment
from hdg.management.store.read import Reader
from hdg.management.store.session import WriteSession

__all__ = ["Promise", "add", "claim", "count", "drop", "due", "next_due_us", "postpone"]

_ROWS = table_of(ImagingCommitment)
_DROP = "DELETE FROM imaging_commitment WHERE ckey = ?"
_POSTPONE = "UPDATE imaging_commitment SET due_us = ?, tries = ? WHERE ckey = ?"
_DUE = "SELECT due_us FROM imaging_commitment WHERE ckey = ?"
_PAGE = 100

Reference = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Promise:
    """A row. ``references``: (SOP Class UID, SOP Instance UID)."""

    ckey: int
    calling: str
    called: str
    created_us: int
    due_us: int
    tries: int
    transaction: str
    references: tuple[Reference, ...]


def add(
    session: WriteSession,
    *,
    calling: str,
    called: str,
    institution: str,
    due_us: int,
    transaction: str,
    references: Sequence[Reference],
) -> int:
    """Keeps a promise; its key."""
    ckey = session.next_key("imaging_commitment", "ckey")
    body = dumps({"transaction": transaction, "references": [list(one) for one in references]})
    code, _, sealed = session.seal(body, _place(ckey), patient=None, institution=institution)
    session.insert_later(_ROWS, (ckey, calling, called, session.at_us, due_us, 0, code, sealed))
    return ckey


def drop(session: WriteSession, ckey: int) -> None:
    """The report was taken, or is given up."""
    session.change_later(_DROP, (ckey,))


def postpone(session: WriteSession, ckey: int, due_us: int, tries: int) -> None:
    """It is to be sent later."""
    session.change_later(_POSTPONE, (due_us, tries, ckey))


def claim(session: WriteSession, promise: Promise, until_us: int) -> bool:
    """Takes one for the time of sending, so that no other process sends it too. False: another has, or it is gone."""
    row = session.fetch(_DUE, (promise.ckey,))
    if row is None or row[0] != promise.due_us:
        return False
    postpone(session, promise.ckey, until_us, promise.tries)
    return True


def count(engine: Engine, calling: str) -> int:
    """How many wait for one AE title."""
    with engine.connect() as connection:
        query = select(func.count()).where(_ROWS.c.calling == calling)
        return connection.execute(query).scalar() or 0


def due(engine: Engine, reader: Reader, now_us: int) -> list[Promise]:
    """Those that are to be sent now, longest due first; some hundred at most. Raises VaultError."""
    query = select(_ROWS).where(_ROWS.c.due_us <= now_us).order_by(_ROWS.c.due_us, _ROWS.c.ckey).limit(_PAGE)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    found = []
    for row in rows:
        asked = loads(reader.open_row(row.key_code, row.request, _place(row.ckey)).body)
        references = tuple((one[0], one[1]) for one in asked["references"])
        found.append(
            Promise(
                row.ckey,
                row.calling,
                row.called,
                row.created_us,
                row.due_us,
                row.tries,
                asked["transaction"],
                references,
            )
        )
    return found


def next_due_us(engine: Engine) -> int | None:
    """When the next one is to be sent; None when none waits."""
    with engine.connect() as connection:
        return connection.execute(select(func.min(_ROWS.c.due_us))).scalar()


def _place(ckey: int) -> str:
    return f"imaging_commitment/{ckey}"
