"""Which documents another one stands in the place of, also before they have come.

CDA R2 relatedDocument (RPLC); R4 documentreference-definitions.html#DocumentReference.status. Documents come in any
order, and are taken in again from the inbox: whatever is stored of a replaced one must say that it is superseded.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlmodel import Field, SQLModel

from hdg.management.store.batch import table_of
from hdg.management.store.schema import _text
from hdg.management.store.session import WriteSession

__all__ = ["ReplacedDocument", "is_replaced", "note_replaced"]


class ReplacedDocument(SQLModel, table=True):
    """One row per document that was said to be replaced, and patient whom the replacing one is about.

    ``id``: of its DocumentReference; ``subject``: ``Patient/ID``. A claim counts for that patient's document only.
    """

    __tablename__ = "replaced_document"
    id: str = Field(sa_column=_text(primary=True))
    subject: str = Field(sa_column=_text(primary=True))


_TABLE = table_of(ReplacedDocument)
_NOTE = "INSERT INTO replaced_document (id, subject) VALUES (?, ?) ON CONFLICT (id, subject) DO NOTHING"


def note_replaced(session: WriteSession, id_: str, subject: str) -> None:
    """Keeps for good that the document is replaced, if it is about that patient."""
    session.change_later(_NOTE, (id_, subject))


def is_replaced(session: WriteSession, id_: str, subject: str) -> bool:
    """Whether a document about that patient was replaced, by what is stored or by the group that is being written."""
    if (_NOTE, (id_, subject)) in session.batch.changes:
        return True
    query = select(_TABLE.c.id).where(_TABLE.c.id == id_, _TABLE.c.subject == subject)
    return session.connection.execute(query).first() is not None
