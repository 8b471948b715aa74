"""What a write may see of stored data, inside the writer's transaction: only what its caller may read.

DESIGN §1, §6. Works of several requests share a transaction (group commit), and what the others of the group have
written so far cannot be seen by SQL. Where that could matter the work gives up with ``Again`` and runs in the next
group, where it is committed: so a conditional create sees every resource that was created before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, select

from hdg.errors import BadRequest, NotFound
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
from hdg.usage.drafts import Draft
from hdg.usage.outcomes import COLUMNS, Again, Key, Place, place_of
from hdg.usage.scratch import Scratch
from hdg.usage.subscriptions.register import Registrar

__all__ = ["Looking", "Means"]

JsonObject = dict[str, Any]
T = TypeVar("T")

_COMPARTMENT = table_of(schema.Compartment)
_RESOURCE = table_of(schema.Resource)
_ASKED_AT_ONCE = 500


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


class Looking:
    """One request's view of the store; lives for one run of its work, on the writer's thread."""

    def __init__(self, means: Means, who: Principal, session: WriteSession, visible: Prepared) -> None:
        self.at_us = session.at_us
        """The time of everything that this request writes."""
        self._means = means
        self._who = who
        self._session = session
        self._visible = visible
        self._own: set[Key] = set()
        """What this request itself has written."""
        self._places: dict[Key, Place | None] = {}
        self._matches: dict[SearchQuery, list[Place]] = {}
        self._compartments: dict[int, tuple[str, ...]] = {}

    def look_up(self, keys: Collection[Key], also: Collection[Key] = ()) -> None:
        """Answers ``find`` for all ``keys`` in a few queries; those of ``also`` are about to be created.

        For a work that writes many resources: to be called once, before it writes anything. Raises Again.
        """
        if any(self._is_pending(key) for key in keys):
            raise Again
        self._session.prefetch([*keys, *also])
        if not keys:
            return  # not even the connection is asked for: until then the commit before may go on (groups.py)
        connection = self._session.connection
        self._places.update(dict.fromkeys(keys))
        by_type: defaultdict[str, list[str]] = defaultdict(list)
        for type_, id_ in keys:
            by_type[type_].append(id_)
        for type_, ids in by_type.items():
            for some in _batched(ids):
                named = (_RESOURCE.c.type == type_, _RESOURCE.c.id.in_(some))
                for row in connection.execute(select(*COLUMNS).where(*named, self._predicate)):
                    self._places[type_, row[2]] = place_of(row)
        rkeys = [place.rkey for place in self._places.values() if place is not None]
        for numbers in _batched(rkeys):
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
        row = self._session.place(self._visible, type_, id_)
        return None if row is None else place_of(row)

    def look_for(self, queries: Collection[SearchQuery]) -> None:
        """Answers ``matches`` for as many of the searches as a few queries can.

        For a work with many conditions: to be called once, before it writes anything. Raises Again.
        """
        if not queries:
            return
        if self._finds_pending(queries):
            raise Again
        self._means.index.check(self._session.connection)
        for group in token_searches(queries, self._means.hash):
            for query, rows in group.find(self._session.connection, COLUMNS, self._predicate).items():
                self._matches[query] = self._settled([place_of(row) for row in rows])

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
        statement = select(*COLUMNS).where(*where, self._predicate).order_by(_RESOURCE.c.rkey).limit(most)
        rows = self._session.connection.execute(statement).all()
        found = self._settled([place_of(row) for row in rows])
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

    def _patients_of(self, place: Place) -> tuple[str, ...]:
        known = self._compartments.get(place.rkey)
        if known is not None:
            return known
        query = select(_COMPARTMENT.c.patient).where(_COMPARTMENT.c.rkey == place.rkey)
        return tuple(sorted(self._session.connection.scalars(query)))


def _batched(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Parts of a sequence that are not too long for one query."""
    for at in range(0, len(items), _ASKED_AT_ONCE):
        yield items[at : at + _ASKED_AT_ONCE]


def _is_unwritten(state: State) -> bool:
    """Whether the database does not hold this version yet."""
    return state.base is None or state.base.version != state.version
