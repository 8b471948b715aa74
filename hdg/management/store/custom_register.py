"""Which search parameters beside R4's own are in use, in the database: what every process goes by.

R4 searchparameter.html. A row per definition; a changed one gets a new row, and the old one's index rows are removed
later. Whoever changes a row that decides what is indexed or searched raises the version, which every writing
transaction looks at: so from the commit of a row on, whatever is written is indexed for it, by any process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    Row,
    Select,
    Table,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Field, SQLModel

from hdg.errors import Issue, ValidationFailed
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.custom import TEXTS, CustomSet, Definition, Parameter
from hdg.management.store.schema import _int64, _text
from hdg.management.store.session import WriteSession
from hdg.management.store.text_state import stand_of

__all__ = [
    "BUMP",
    "PACKAGE",
    "RESOURCE",
    "VERSION",
    "Catalog",
    "Registered",
    "SearchParameterRow",
    "begin_anew",
    "current_set",
    "registered",
    "save",
    "stand",
]

RESOURCE, PACKAGE = "resource/", "package/"
"""What an origin begins with: then comes the id, or the package's label and the URL."""
VERSION = "search_parameters"
"""The name of the version in store_meta."""
BUMP = (
    f"INSERT INTO store_meta (name, value) VALUES ('{VERSION}', '1') ON CONFLICT (name) "  # noqa: S608  # our own
    "DO UPDATE SET value = CAST(CAST(store_meta.value AS INTEGER) + 1 AS TEXT)"
)
_RETIRE = (
    "UPDATE search_parameter SET status = 'removing' WHERE serial = ? AND status IN ('building', 'ready')"
)
_ADD = (
    "INSERT INTO search_parameter (origin, url, code, status, definition, position, until, lease, lease_us) "
    "VALUES (?, ?, ?, 'building', ?, 0, -1, '', 0)"
)


class SearchParameterRow(SQLModel, table=True):
    """``status``: building, ready, removing. ``position``: every resource up to that rkey is done; ``until``:
    the last there was when it began (-1: it has not begun). ``lease``: who is at it, until ``lease_us``.
    """

    __tablename__ = "search_parameter"
    __table_args__ = ({"sqlite_autoincrement": True},)
    serial: int | None = Field(
        default=None,
        sa_column=Column(
            BigInteger().with_variant(Integer(), "sqlite"),
            primary_key=True,
            nullable=False,
            autoincrement=True,
        ),
    )
    origin: str = Field(sa_column=_text())
    url: str = Field(sa_column=_text())
    code: str = Field(sa_column=_text())
    status: str = Field(sa_column=_text())
    definition: str = Field(sa_column=_text())
    position: int = Field(sa_column=_int64())
    until: int = Field(sa_column=_int64())
    lease: str = Field(sa_column=_text())
    lease_us: int = Field(sa_column=_int64())


_ROWS: Table = table_of(SearchParameterRow)
_META = table_of(schema.StoreMeta)
stand: Select[tuple[str]] = select(_META.c.value).where(_META.c.name == VERSION)
"""The query of the version; no row as long as there never was such a parameter."""
_IN_USE = _ROWS.c.status.in_(("building", "ready"))


@dataclass(frozen=True, slots=True)
class Registered:
    """A row that is in use."""

    serial: int
    origin: str
    definition: Definition


def current_set(connection: Connection) -> CustomSet:
    """What is in use now, with its version, as one snapshot sees it."""
    version = connection.execute(stand).scalar()
    if version is None:
        return CustomSet.of("", ())
    rows = connection.execute(select(_ROWS).where(_IN_USE)).all()
    return CustomSet.of(str(version), map(_parameter, rows), stand_of(connection))


def _parameter(row: Row[tuple[object, ...]]) -> Parameter:
    done = 0 if row.until <= 0 else min(99, row.position * 100 // row.until)
    return Parameter(row.serial, row.status, done, Definition.of_json(orjson.loads(row.definition)))


class Catalog:
    """What is in use, for readers; threads may share it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known = CustomSet.of("", ())

    def current(self) -> CustomSet:
        """As the database says now: one small query, more only when something has changed or is being built."""
        known = self._known
        with self._engine.connect() as connection:
            version = str(connection.execute(stand).scalar() or "")
            is_ready = known.texts is None or known.texts.is_full
            if version == known.version and is_ready and all(one.is_ready for one in known.parameters):
                return known
            self._known = current_set(connection)
            return self._known

    def known_or_current(self) -> CustomSet:
        """The same; what was known last while the database is not there."""
        try:
            return self.current()
        except SQLAlchemyError:
            return self._known


def registered(connection: Connection) -> list[Registered]:
    """All that are in use, the oldest first."""
    rows = connection.execute(select(_ROWS).where(_IN_USE).order_by(_ROWS.c.serial))
    return [Registered(r.serial, r.origin, Definition.of_json(orjson.loads(r.definition))) for r in rows]


def are_ready(connection: Connection, serials: Sequence[int]) -> bool:
    """Whether all of them can be searched by, apart from the index of words (text_state.hold)."""
    serials = [serial for serial in serials if serial != TEXTS]
    if not serials:
        return True
    among = _ROWS.c.serial.in_(serials)
    query = select(func.count()).select_from(_ROWS).where(among, _ROWS.c.status == "ready")
    return connection.execute(query).scalar() == len(set(serials))


def save(
    session: WriteSession,
    origin: str,
    made: Definition | None,
    pending: Mapping[str, Definition | None] | None = None,
) -> None:
    """What ``origin`` defines from this transaction on; None: nothing any more.

    ``pending``: what others define by this transaction. Raises ValidationFailed where the code or the URL is
    another's. A resource takes the place of a package's definition with the same URL.
    """
    pending = pending or {}
    known = registered(session.connection)
    old = [one for one in known if one.origin == origin]
    if made is not None:
        if any(one.definition == made for one in old):
            return
        for one in known:
            if one.origin == origin or one.origin in pending:
                continue
            is_replaced = one.definition.url == made.url and one.origin.startswith(PACKAGE)
            if is_replaced and origin.startswith(RESOURCE):
                old.append(one)
            else:
                _refuse_clash(made, one.definition)
        for other in pending.values():
            if other is not None:
                _refuse_clash(made, other)
    for one in old:
        session.change_later(_RETIRE, (one.serial,))
    if made is not None:
        told = orjson.dumps(made.as_json()).decode()
        session.change_later(_ADD, (origin, made.url, made.code, told))
    if old or made is not None:
        session.change_later(BUMP, ())


def _refuse_clash(made: Definition, other: Definition) -> None:
    if made.url == other.url:
        text, place = "another SearchParameter has this url", "url"
    elif made.meets(other):
        text, place = "another SearchParameter has this code for one of these types", "code"
    else:
        return
    raise ValidationFailed([Issue("error", "duplicate", f"SearchParameter.{place}", text)])


def begin_anew(connection: Connection) -> None:
    """All index rows are gone: every parameter in use is to be filled again. In the only writing transaction."""
    if connection.execute(stand).scalar() is None:
        return
    connection.execute(delete(_ROWS).where(_ROWS.c.status == "removing"))
    connection.execute(update(_ROWS).values(status="building", position=0, until=-1, lease="", lease_us=0))
    connection.exec_driver_sql(BUMP)
