"""The store as a researcher sees it: what consented patients' resources are to one project, and nothing else.

docs/access-policy.md ("Researchers"). The consent predicate and the allow-list of types are in the SQL of every
query, those of chains, includes and look-ups of pseudonyms among them; whatever is found passes the Deidentifier
before it is handed over. Nothing tells a version, a time, an order of events, or an id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, False_, Select, and_, literal, literal_column, select

from hdg.errors import AccessDenied, BadRequest
from hdg.fhir import definitions, json
from hdg.management.consent.decide import AccessRequest
from hdg.management.consent.policy import Policy
from hdg.management.consent.sql import predicate
from hdg.management.identity import Principal
from hdg.management.store import SearchQuery, Store, StoredVersion, schema
from hdg.management.store.batch import table_of
from hdg.management.store.everything import Everything
from hdg.management.store.prepared import Prepared
from hdg.management.store.search import Include
from hdg.management.store.values import Hash
from hdg.usage.research.deidentify import Deidentifier
from hdg.usage.research.elements import SHOWN
from hdg.usage.research.pseudonyms import Pseudonyms
from hdg.usage.research.questions import Question, names_in, rule, translated

__all__ = ["ROLE", "Found", "Researchers", "Shown", "medications"]

ROLE = "researcher"
"""Who has this role is served by this module alone, whatever the policy file says of obligations."""
_FULFILLED = frozenset({"deidentify"})
_COMPARTMENT = table_of(schema.Compartment)
_RESOURCE = table_of(schema.Resource)
_IS_SHOWN = _RESOURCE.c.type.in_([literal_column(f"'{name}'") for name in sorted(SHOWN)])
"""Inline: a list of bound values is not part of a prepared statement's text."""
_KEPT = 256
"""Projects and principals whose keys and predicates are kept."""
_AT_ONCE = 400
_MATCHES_MAX = 50
"""Of a page that brings something along."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A resource as a project sees it: ``id`` is its pseudonym, ``body`` JSON. ``patients``, ``place``: the real
    ones, for the audit trail."""

    type: str
    id: str
    body: bytes
    patients: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Found:
    """A page. ``total`` counts what Consents open, also what cannot be shown without misleading."""

    matches: tuple[Shown, ...] = ()
    total: int | None = 0
    next_cursor: str = ""
    included: tuple[Shown, ...] = ()
    withheld: int = 0
    """Matches of this page that cannot be shown without misleading."""

    @property
    def patients(self) -> tuple[str, ...]:
        """The patients whom something shown is about."""
        every = (*self.matches, *self.included)
        return tuple(dict.fromkeys(patient for shown in every for patient in shown.patients))


class _Project(Deidentifier):
    """One project's keys. Its pseudonyms can be read back (pseudonyms.py)."""

    def __init__(self, project_key: bytes, base: str, hash_: Hash) -> None:
        super().__init__(project_key, base)
        self.pseudonyms = Pseudonyms(project_key, hash_)

    def pseudonym(self, type_: str, id_: str) -> str:
        """The id that the project sees: 32 hexadecimal digits."""
        return self.pseudonyms.of(type_, id_)


class Researchers:
    """Answers researchers. Thread-safe; blocking.

    ``project_key``: KeyRing.project_key; ``hash_``: the store's keyed hash; ``base``: our own FHIR base URL.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        clock: Callable[[], int],
        project_key: Callable[[str], bytes],
        hash_: Hash,
        base: str,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._visible = lru_cache(_KEPT)(self._made_visible)
        self._project = lru_cache(_KEPT)(lambda name: _Project(project_key(name), base, hash_))

    # --- who sees what --------------------------------------------------------------------------------------

    def _visible_to(self, who: Principal) -> Prepared:
        return self._visible(who.user, who.institution, who.purpose, who.project)

    def _made_visible(self, user: str, institution: str, purpose: str, project: str) -> Prepared:
        request = AccessRequest(ROLE, user, institution, "", purpose, "access", at_us=0, project=project)
        found = predicate(request, self._policy, self._clock, _FULFILLED)
        if isinstance(found, False_):
            found = literal(0) == 1  # a term of the query: ``false()`` would take its joins with it
        return self._store.reader.prepare(and_(found, _IS_SHOWN))

    def _question(self, who: Principal, names: Iterable[tuple[str, str]]) -> Question:
        """The real ids behind pseudonyms of what the caller may see; of a Patient it is enough that something of
        hers is seen. The others lead nowhere, like those of what is not there: else a reference to what is hidden would
        tell that it is here.
        """
        visible = self._visible_to(who).predicate
        project = self._project(who.project)
        by_hash: dict[tuple[str, int], str] = {}
        for type_, text in names:
            opened = project.pseudonyms.opened(text)
            if opened is not None and type_ in ("", opened[0]):
                by_hash[opened] = text
        ids: dict[str, tuple[str, str]] = {}
        with self._store.engine.connect() as connection:
            for type_ in sorted({type_ for type_, _ in by_hash}):
                hashes = [number for name, number in by_hash if name == type_]
                for at in range(0, len(hashes), _AT_ONCE):
                    query = _named(type_, hashes[at : at + _AT_ONCE], visible)
                    for id_, number in connection.execute(query):
                        ids[by_hash[type_, number]] = type_, id_
        return Question(ids)

    def pseudonym(self, who: Principal, type_: str, id_: str) -> str:
        """What an id is to the caller's project."""
        return self._project(who.project).pseudonym(type_, id_)

    # --- reads ----------------------------------------------------------------------------------------------

    def read(self, who: Principal, type_: str, text: str) -> Shown | None:
        """The resource with that pseudonym; None: hidden, absent, deleted, or not shown."""
        id_ = self._question(who, [(type_, text)]).id(type_, text)
        found = self._store.reader.read(type_, id_, self._visible_to(who))
        if found is None or found.deleted:
            return None
        return next(iter(self._shown(who, (found,))), None)

    def search(self, who: Principal, query: SearchQuery) -> Found:
        """A page in an order of no meaning. Raises AccessDenied for what researchers may not ask, BadRequest."""
        question = self._question(who, names_in(query))
        asked = translated(query, question)
        if query.includes and asked.count > _MATCHES_MAX:
            asked = replace(asked, count=_MATCHES_MAX)
        page = self._store.reader.search(asked, self._visible_to(who).predicate)
        if page.is_cut:  # what comes along is cut by order of creation
            raise BadRequest(
                "_include, _revinclude: too much comes along; ask for less by _count", code="too-costly"
            )
        included = sorted(self._shown(who, page.included), key=lambda shown: (shown.type, shown.id))
        matches = self._shown(who, page.versions)
        return Found(
            matches, page.total, page.next_cursor, tuple(included), len(page.versions) - len(matches)
        )

    def everything(self, who: Principal, asked: Everything) -> tuple[Shown | None, Found]:
        """(the patient or encounter asked about, None: as ``read``; a page of what belongs to it).

        Raises AccessDenied. Records that links join to a patient's are patients of their own here.
        """
        if asked.since_us:
            raise AccessDenied("parameter '_since' is not for researchers: no time of the record is told")
        if asked.cared_us is not None:
            raise AccessDenied("parameters 'start' and 'end' are not for researchers: theirs are moved")
        focus = self.read(who, asked.type, asked.id)
        types = _types_of(asked)
        if focus is None or not types:
            return focus, Found()
        place = f"{asked.type}/{asked.id}"
        query = SearchQuery(
            "", (), asked.count, asked.cursor, types=types, compartment=place, includes=medications(types)
        )
        return focus, self.search(who, query)

    # --- what leaves ----------------------------------------------------------------------------------------

    def _shown(self, who: Principal, versions: Sequence[StoredVersion]) -> tuple[Shown, ...]:
        project = self._project(who.project)
        today = datetime.fromtimestamp(self._clock() / 1_000_000, UTC).date()
        found = (self._one(project, version, today) for version in versions)
        return tuple(shown for shown in found if shown is not None)

    def _one(self, project: _Project, version: StoredVersion, today: date) -> Shown | None:
        """None: what would be left of it could mislead."""
        content = json.loads(self._store.reader.body(version))
        days = project.offset_days(version.patients[0]) if len(version.patients) == 1 else None
        shown = project.resource(content, days, today)
        if shown is None:
            return None
        place = f"{version.type}/{version.id}"
        return Shown(version.type, shown["id"], json.dumps(shown), version.patients, place)


def _named(type_: str, hashes: Sequence[int], visible: ColumnElement[bool]) -> Select[Any]:
    """(id, keyed hash of it) of what is visible, and of Patients of whom anything is."""
    if type_ != "Patient":
        columns = _RESOURCE.c
        return select(columns.id, columns.id_hash).where(
            columns.type == type_, columns.id_hash.in_(hashes), visible
        )
    named = _RESOURCE.alias("named")
    seen = select(1).where(
        _COMPARTMENT.c.patient == named.c.id, _COMPARTMENT.c.rkey == _RESOURCE.c.rkey, visible
    )
    return select(named.c.id, named.c.id_hash).where(
        named.c.type == type_, named.c.id_hash.in_(hashes), seen.correlate(named).exists()
    )


def _types_of(asked: Everything) -> tuple[str, ...]:
    """The shown types that can belong to what is asked about, of those that are asked for."""
    return tuple(
        type_
        for type_ in asked.types or sorted(SHOWN)
        if type_ in SHOWN and (type_ == asked.type or definitions.compartment_parameters(asked.type, type_))
    )


@lru_cache(maxsize=64)
def medications(types: tuple[str, ...]) -> tuple[Include, ...]:
    """What belongs to no patient and is shown comes along with what names it."""
    return tuple(
        Include(type_, parameter.code, "Medication")
        for type_ in types
        for parameter in definitions.search_parameters(type_)
        if parameter.kind == "reference"
        and (not parameter.targets or "Medication" in parameter.targets)
        and rule(type_, parameter.code) is not None
    )
