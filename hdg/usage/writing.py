"""What one request does to stored data, inside the writer's transaction, under the caller's own view of it.

DESIGN §1, §6; R4 http.html#create, #update, #delete. ``Writing`` is all that the FHIR API is handed: it shows
only what the caller may read, changes only what the policy lets the caller change, stores nothing that was not
validated, and notes every access for the audit trail, which is committed with it.

Works of several requests share a transaction (group commit), and what the others of the group have written so
far cannot be seen by SQL. Where that could matter the work gives up with ``Again`` and runs in the next group,
where it is committed: so a conditional create sees every resource that was created before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, bindparam, select

from hdg.errors import AccessDenied, BadRequest, Conflict, HdgError, Issue, NotFound, ValidationFailed
from hdg.fhir.profiles.current import Current
from hdg.management.consent.policy import Policy
from hdg.management.identity import Principal
from hdg.management.store import SearchQuery, WriteSession, schema
from hdg.management.store.batch import State, table_of
from hdg.management.store.index import Indexer, IndexRows
from hdg.management.store.index_state import IndexState, needs_index
from hdg.management.store.prepared import Prepared
from hdg.management.store.search import conditions
from hdg.management.store.together import token_searches
from hdg.management.store.values import Hash
from hdg.usage import permits, search_parameters
from hdg.usage.drafts import Draft, draft
from hdg.usage.references import may_be_odd, own_references
from hdg.usage.scratch import Scratch
from hdg.usage.subscriptions.register import Registrar

__all__ = [
    "Again",
    "CannotCreate",
    "Means",
    "Place",
    "PreconditionFailed",
    "SeveralMatches",
    "Writing",
    "Written",
    "check_types",
    "place_query",
]

JsonObject = dict[str, Any]
T = TypeVar("T")
Key = tuple[str, str]
"""Type and id."""

_COMPARTMENT = table_of(schema.Compartment)
_RESOURCE = table_of(schema.Resource)
_COLUMNS = tuple(
    _RESOURCE.c[name] for name in ("rkey", "type", "id", "version", "updated_us", "deleted", "institution")
)
_ASKED_AT_ONCE = 500
_UNKNOWN_PATIENT = Issue(
    "error", "business-rule", "", "it is about a patient that is not known here; write the Patient first"
)


class Again(Exception):
    """The work met another of its group: run it once more, in the next one."""


class PreconditionFailed(Conflict):
    """If-Match, If-None-Match or the number of matches stands against the write (HTTP 412)."""


class SeveralMatches(PreconditionFailed):
    """A condition finds more than one resource."""

    issue_code = "multiple-matches"


class CannotCreate(HdgError):
    """Nothing to update is here, and the client may not create a resource of that name (HTTP 405)."""

    issue_code = "not-supported"


@dataclass(frozen=True, slots=True)
class Place:
    """A resource that the caller may read, as it is now. ``institution``: who sent the current version."""

    rkey: int
    type: str
    id: str
    version: int
    updated_us: int
    is_deleted: bool
    institution: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a write came to. ``is_changed`` False: nothing new was said, and no version was made.

    ``body``: the stored bytes of the version, b'' for a deletion; ``updated_us``: µs, UTC. ``version`` 0: there
    was nothing to delete.
    """

    type: str
    id: str
    version: int
    updated_us: int
    is_created: bool
    is_changed: bool
    is_deleted: bool
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Means:
    """What every write needs. ``keeper``: the institution that keeps what patients write.

    ``scratch`` belongs to the writer's thread.
    """

    policy: Policy
    indexer: Indexer
    hash: Hash
    scratch: Scratch
    keeper: str
    subscriptions: Registrar
    index: IndexState
    profiles: Current | None = None
    """Whose errors refuse what is written; None: they are for $validate only."""
    base: str = ""
    """Our own FHIR base URL: references below it are stored as relative ones, which compartments are made of."""


def place_query() -> Select[Any]:
    """The query behind ``Writing.find``, to be prepared with the caller's predicate."""
    named = (_RESOURCE.c.type == bindparam("t"), _RESOURCE.c.id == bindparam("i"))
    return select(*_COLUMNS).where(*named)


class Writing:
    """One request's hand on the store; lives for one run of its work, on the writer's thread."""

    def __init__(self, means: Means, who: Principal, session: WriteSession, visible: Prepared) -> None:
        self.at_us = session.at_us
        """The time of everything that this request writes."""
        self.notes: list[tuple[str, frozenset[str]]] = []
        """(``Type/id``, patients concerned) of what was written or shown, for the audit trail."""
        self._means = means
        self._who = who
        self._session = session
        self._visible = visible
        self._own: set[tuple[str, str]] = set()
        self._places: dict[tuple[str, str], Place | None] = {}
        self._matches: dict[SearchQuery, list[Place]] = {}
        self._compartments: dict[int, tuple[str, ...]] = {}
        self._known_patients: set[str] = set()
        self._permitted: set[str] = set()

    # --- what is there --------------------------------------------------------------------------------------

    def look_up(self, keys: Collection[Key], also: Collection[Key] = ()) -> None:
        """Answers ``find`` for all ``keys`` in a few queries; those of ``also`` are about to be created.

        For a work that writes many resources: to be called once, before it writes anything. Raises Again.
        """
        if any(self._is_pending(key) for key in keys):
            raise Again
        self._session.prefetch([*keys, *also])
        connection = self._session.connection
        self._places.update(dict.fromkeys(keys))
        by_type: defaultdict[str, list[str]] = defaultdict(list)
        for type_, id_ in keys:
            by_type[type_].append(id_)
        for type_, ids in by_type.items():
            for some in batched(ids):
                named = (_RESOURCE.c.type == type_, _RESOURCE.c.id.in_(some))
                for row in connection.execute(select(*_COLUMNS).where(*named, self._predicate)):
                    self._places[type_, row[2]] = _place(row)
        rkeys = [place.rkey for place in self._places.values() if place is not None]
        for numbers in batched(rkeys):
            patients: dict[int, list[str]] = {rkey: [] for rkey in numbers}
            about = select(_COMPARTMENT).where(_COMPARTMENT.c.rkey.in_(numbers))
            for rkey, patient in connection.execute(about):
                patients[rkey].append(patient)
            self._compartments.update({rkey: tuple(sorted(found)) for rkey, found in patients.items()})
        for key, place in self._places.items():
            state = self._session.batch.states.get(key)
            if place is not None and state is not None and state.patients is None:
                state.patients = frozenset(self._compartments[place.rkey])

    def find(self, type_: str, id_: str) -> Place | None:
        """The current version, also when it is a deletion; None when absent or hidden. Raises Again."""
        if (type_, id_) in self._places:
            return self._places[type_, id_]
        if self._is_pending((type_, id_)):
            raise Again
        row = self._session.ahead.place(self._session.connection, self._visible, type_, id_)
        return None if row is None else _place(row)

    def look_for(self, queries: Collection[SearchQuery]) -> None:
        """Answers ``matches`` for as many of the searches as a few queries can.

        For a work with many conditions: to be called once, before it writes anything. Raises Again.
        """
        if self._finds_pending(queries):
            raise Again
        self._means.index.check(self._session.connection)
        for group in token_searches(queries, self._means.hash):
            for query, rows in group.find(self._session.connection, _COLUMNS, self._predicate).items():
                self._matches[query] = self._settled([_place(row) for row in rows])

    def matches(self, query: SearchQuery, most: int = 2) -> list[Place]:
        """At most ``most`` resources that the search finds for this caller.

        Raises Again, BadRequest, IndexIncomplete.
        """
        known = self._matches.get(query)
        if known is not None:
            return known[:most]
        if not self._session.custom.are_ready(query.custom):
            raise BadRequest("a search parameter has changed just now; ask again", code="not-supported")
        if needs_index(query):
            self._means.index.check(self._session.connection)
        where = conditions(query, self._means.hash, self.at_us, self._predicate)
        statement = select(*_COLUMNS).where(*where, self._predicate).order_by(_RESOURCE.c.rkey).limit(most)
        rows = self._session.connection.execute(statement).all()
        found = self._settled([_place(row) for row in rows])
        if self._finds_pending([query]):
            raise Again
        return found

    def _settled(self, found: list[Place]) -> list[Place]:
        """Raises Again when another work of this group has changed one of them."""
        if any(self._is_pending((place.type, place.id)) for place in found):
            raise Again
        return found

    def would_find(self, queries: Sequence[SearchQuery], drafts: Mapping[int, Draft]) -> list[set[int]]:
        """What each search would find among resources that are not stored: the numbers that they go by here.

        A search with a chain finds none of them: it depends on more than they are.
        """
        scratch = self._means.scratch
        scratch.clear()
        scratch.add_all(
            (number, one.type, one.id, self.at_us, self._rows(one.ready.rows(number), one.content, number))
            for number, one in drafts.items()
        )
        found = scratch.find_all([query for query in queries if not query.led_over()], self.at_us)
        scratch.clear()
        return [set(found.get(query, ())) for query in queries]

    @property
    def _predicate(self) -> ColumnElement[bool]:
        return self._visible.predicate

    def _finds_pending(self, queries: Collection[SearchQuery]) -> bool:
        """Whether one of them finds what others of this group have written, which SQL does not see yet."""
        states = self._session.batch.states.values()
        led_over = frozenset[str]().union(*(query.led_over() for query in queries))
        if led_over and any(
            state is not None
            and state.type in led_over
            and _is_unwritten(state)
            and (state.type, state.id) not in self._own
            for state in states
        ):
            return True  # whatever it says: the far ends of a chain are not looked at here
        queries = [query for query in queries if not query.led_over()]
        types = {query.type for query in queries}
        pending = [
            state
            for state in states
            if state is not None
            and state.type in types
            and not state.deleted
            and _is_unwritten(state)
            and (state.type, state.id) not in self._own
        ]
        if not pending:
            return False
        scratch = self._means.scratch
        scratch.clear()
        scratch.add_all(
            (state.rkey, state.type, state.id, state.updated_us, self._rows_of(state)) for state in pending
        )
        found = scratch.find_all(queries, self.at_us)
        scratch.clear()
        return any(found.values())

    def _rows_of(self, state: State) -> IndexRows:
        return self._rows(state.rows(self._means.indexer), state.content(), state.rkey)

    def _rows(self, rows: IndexRows, content: JsonObject, number: int) -> IndexRows:
        """With those of search parameters that are not R4's own."""
        custom = self._session.custom_rows
        if custom is None or not custom.has(content["resourceType"]):
            return rows
        own = custom.of(content, number)
        together = zip(rows.tables, own.tables, strict=True)
        return IndexRows(tuple([*known, *more] for known, more in together), rows.patients)

    def _is_pending(self, key: tuple[str, str]) -> bool:
        state = self._session.batch.states.get(key)
        return state is not None and _is_unwritten(state) and key not in self._own

    def content(self, place: Place) -> JsonObject:
        """The current content, meta included; a copy. Raises NotFound for a deletion."""
        found = self._session.current(place.type, place.id)
        if found is None:
            raise NotFound("nothing is here")
        return found

    def seen(self, place: Place) -> Written:
        """The resource as it is, for an answer to a write that changed nothing."""
        self._session.version(place.type, place.id)
        state = self._session.batch.states[place.type, place.id]
        if state is None:
            raise NotFound("nothing is here")
        self._note(place, self._patients_of(place))
        return Written(place.type, place.id, place.version, place.updated_us, False, False, False, state.body)

    def nothing(self, type_: str) -> Written:
        """A conditional deletion that finds nothing has nothing to do (R4 http.html#cdelete). Raises AccessDenied."""
        self._check_type(type_)
        return Written(type_, "", 0, self.at_us, False, False, True, b"")

    def draft(self, content: JsonObject, id_: str) -> Draft:
        """What could not be made ready before, since it depends on what is there. Raises ValidationFailed."""
        return draft(content, id_, self._means.indexer)

    # --- changes --------------------------------------------------------------------------------------------

    def expect(self, keys: Collection[tuple[str, str]]) -> None:
        """These are about to be written: looks them up in one query."""
        self._session.prefetch(keys)

    def about_to_create(self, patients: Collection[str]) -> None:
        """Patients that this request itself writes, so that its other resources may be about them."""
        self._known_patients.update(patients)

    def create(self, draft: Draft) -> Written:
        """A new resource under an id that the server has chosen. Raises AccessDenied, ValidationFailed."""
        self._session.expect_none(draft.type, draft.id)
        return self._store(draft, None, ())

    def put(self, draft: Draft, place: Place | None) -> Written:
        """Stores ``draft`` over what ``find`` gave; without a place creates it, if that id may be chosen.

        Raises CannotCreate where there is nothing that the caller may see and the id is not the caller's to
        choose; NotFound where an id of the caller's choice is taken by what the caller may not see.
        """
        if place is not None:
            before = self._patients_of(place)
            permits.check_change(self._who, place.institution, before)
            return self._store(draft, place, before)
        if not permits.may_choose_id(self._means.policy, self._who, draft.id):
            raise CannotCreate("there is nothing to update, and a client may not choose this id")
        if self._session.version(draft.type, draft.id) is not None:
            raise NotFound("nothing is here")
        return self._store(draft, None, ())

    def _store(self, draft: Draft, place: Place | None, before: Collection[str]) -> Written:
        self._check_type(draft.type)
        if self._who.role == "patient":
            permits.check_about(self._who, draft.content, draft.patients)
        own = self._own_references(draft)
        if own is not draft:
            permits.check_about(self._who, own.content, own.patients)
            draft = own
        self._check_patients(draft, before)
        self._check_profiles(draft)
        home = permits.home_of(self._who, self._means.keeper)
        if place is None:
            put = self._session.statement(draft.ready, sender="", institution=home)
        else:
            kept = self._kept_patient(draft, place, before)
            put = self._session.put(draft.content, institution=home, patient=kept)
        self._own.add((draft.type, draft.id))
        state = self._session.batch.states[draft.type, draft.id]
        if state is None:
            raise NotFound("nothing is here")
        if draft.type == "Subscription":
            register = self._means.subscriptions
            register.written(self._session, self._who, state.content(), put.version, home)
        if draft.type == "SearchParameter":
            self._check_alone()
            search_parameters.written(self._session, state.content(), self._own)
        self._note(draft, {*before, *draft.patients})
        at_us = self.at_us if put.is_changed else state.updated_us
        is_created = place is None or place.is_deleted
        return Written(
            draft.type, draft.id, put.version, at_us, is_created, put.is_changed, False, state.body
        )

    def delete(self, place: Place) -> Written:
        """A deletion version; nothing new where it is one already. Raises AccessDenied."""
        self._check_type(place.type)
        patients = self._patients_of(place)
        permits.check_change(self._who, place.institution, patients)
        self._note(place, patients)
        if place.is_deleted:
            return Written(place.type, place.id, place.version, place.updated_us, False, False, True, b"")
        home = permits.home_of(self._who, self._means.keeper)
        put = self._session.delete(place.type, place.id, institution=home)
        if place.type == "Subscription":
            self._means.subscriptions.deleted(self._session, place.id)
        self._own.add((place.type, place.id))
        if place.type == "SearchParameter":
            self._check_alone()
            search_parameters.deleted(self._session, place.id)
        self._places[place.type, place.id] = replace(place, is_deleted=True)
        return Written(place.type, place.id, put.version, self.at_us, False, True, True, b"")

    def _check_alone(self) -> None:
        """Raises Again when another of this group has written search parameters, which are not known yet."""
        for key in self._session.batch.states:
            if key[0] == "SearchParameter" and self._is_pending(key):
                raise Again

    def _check_type(self, type_: str) -> None:
        if type_ not in self._permitted:
            permits.check_type(self._means.policy, self._who, type_)
            self._permitted.add(type_)

    def _check_patients(self, draft: Draft, before: Collection[str]) -> None:
        """Raises ValidationFailed when it is about a patient whom the caller may not read, or nobody."""
        if not self._means.policy.needs_known_patient:
            return
        for patient in draft.patients:
            is_itself = draft.type == "Patient" and draft.id == patient
            if is_itself or patient in before or patient in self._known_patients:
                continue
            found = self.find("Patient", patient)
            if found is None or found.is_deleted:
                raise ValidationFailed([_UNKNOWN_PATIENT])
            self._known_patients.add(patient)

    def _check_profiles(self, draft: Draft) -> None:
        """Raises ValidationFailed when profiles are enforced and it breaks one that is loaded and that it claims."""
        if self._means.profiles is None:
            return
        found = self._means.profiles.check(draft.content)
        if any(issue.severity == "error" for issue in found):
            raise ValidationFailed(found)

    def _patients_of(self, place: Place) -> tuple[str, ...]:
        known = self._compartments.get(place.rkey)
        if known is not None:
            return known
        query = select(_COMPARTMENT.c.patient).where(_COMPARTMENT.c.rkey == place.rkey)
        return tuple(sorted(self._session.connection.scalars(query)))

    def _own_references(self, draft: Draft) -> Draft:
        """With relative references to what is ours: another spelling would put it into nobody's compartment.

        Raises ValidationFailed for references that are not understood.
        """
        if not may_be_odd(draft.ready.tail):
            return draft
        made = own_references(draft.content, self._means.base)
        return draft if made == draft.content else self.draft(made, draft.id)

    def _kept_patient(self, draft: Draft, place: Place, before: Collection[str]) -> str | None:
        """Whose it stays though it does not say so itself, like the original of a document (a Binary)."""
        if place.is_deleted or draft.type == "Patient" or set(before) <= draft.patients:
            return None
        _, named = self._means.indexer.heads(self.content(place))
        return min(set(before) - named, default=None)

    def _note(self, what: Draft | Place, patients: Collection[str]) -> None:
        self.notes.append((f"{what.type}/{what.id}", frozenset(patients)))


def check_types(policy: Policy, who: Principal, types: Collection[str]) -> None:
    """Raises AccessDenied unless the caller may write all these types at all: asked before any data is."""
    if not types:
        raise AccessDenied("nothing to write")
    for type_ in types:
        permits.check_type(policy, who, type_)


def batched(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Parts of a sequence that are not too long for one query."""
    for at in range(0, len(items), _ASKED_AT_ONCE):
        yield items[at : at + _ASKED_AT_ONCE]


def _place(row: Sequence[Any]) -> Place:
    rkey, type_, id_, version, updated_us, is_deleted, institution = row
    return Place(rkey, type_, id_, version, updated_us, bool(is_deleted), institution)


def _is_unwritten(state: State) -> bool:
    """Whether the database does not hold this version yet."""
    return state.base is None or state.base.version != state.version
