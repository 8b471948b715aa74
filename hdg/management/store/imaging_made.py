"""What was made from DICOM objects, and that who may not see one of these resources does not see the object.

DESIGN §6. A report, a document, a finding says what its object says. A Consent that withholds it would be in vain if
the object were given out. Asked in the SQL that lists objects, before anything is counted or cut into pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, and_, case, or_, select

from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.imaging_schema import ImagingInstance, ImagingMade
from hdg.management.store.session import WriteSession
from hdg.management.store.values import Hash

__all__ = ["is_shown", "note"]

_ROWS = table_of(ImagingInstance)
_MADE = table_of(ImagingMade)
_RESOURCE = table_of(schema.Resource)
_COMPARTMENT = table_of(schema.Compartment)
_NOTE = "INSERT INTO imaging_made (made, type, id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_TELLING = ("DiagnosticReport", "DocumentReference", "Media", "Observation")
"""Types that an object is judged by of which is not known what was made from it."""


def note(session: WriteSession, hash_: Hash, made: Sequence[tuple[str, str]]) -> int:
    """Keeps a set of (type, id); what names it, 0 for none."""
    each = sorted(set(made))
    name = hash_("made " + " ".join(f"{type_}/{id_}" for type_, id_ in each)) if each else 0
    for type_, id_ in each:
        session.change_later(_NOTE, (name, type_, id_))
    return name


def is_shown(predicate: ColumnElement[bool], narrow: Mapping[str, int | str]) -> ColumnElement[bool]:
    """Of a row of imaging_instance: nothing that was made from it is hidden by ``predicate`` (over ``resource``).

    ``narrow``: columns and values that the rows asked for have: only their sets are looked at, each once.
    """
    other = _ROWS.alias("o")
    among = [other.c[name] == value for name, value in narrow.items()]
    is_hidden = and_(
        _RESOURCE.c.deleted.is_(False), case((predicate, 0), else_=1) == 1
    )  # also where it is NULL
    sets = select(other.c.made).where(other.c.made.is_not(None), *among).correlate(None)
    hidden = (
        select(_MADE.c.made)
        .join(_RESOURCE, and_(_RESOURCE.c.type == _MADE.c.type, _RESOURCE.c.id == _MADE.c.id))
        .where(_MADE.c.made.in_(sets), is_hidden)
        .correlate(None)
    )
    patients = select(other.c.patient).where(other.c.made.is_(None), other.c.patient.is_not(None), *among)
    doubtful = (
        select(_COMPARTMENT.c.patient)
        .join(_RESOURCE, _RESOURCE.c.rkey == _COMPARTMENT.c.rkey)
        .where(
            _COMPARTMENT.c.patient.in_(patients.correlate(None)), _RESOURCE.c.type.in_(_TELLING), is_hidden
        )
        .correlate(None)
    )
    is_known = and_(_ROWS.c.made.is_not(None), _ROWS.c.made.not_in(hidden))
    is_old = and_(_ROWS.c.made.is_(None), or_(_ROWS.c.patient.is_(None), _ROWS.c.patient.not_in(doubtful)))
    return or_(is_known, is_old)
