"""The trail as AuditEvents: who reads it, what of it, and how it is searched.

R4 auditevent.html; docs/access-policy.md#the-trail.
A patient reads what is recorded about the own record, and about the records that were merged into it; an operator, if
the policy says so, that of one patient at a time, without content. Everybody else is answered as if there were nothing.
To read the trail is an access, and recorded before the answer leaves. AuditEvents are no resources of the store: no
chain, include or ``_has`` leads to them, and they are in no search over several types.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Lock
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, or_, select, true

from hdg.errors import BadRequest, NotFound
from hdg.fhir import json
from hdg.management import audit_read
from hdg.management.audit import Access
from hdg.management.audit_read import Entry, Record, Span
from hdg.management.consent.decide import AccessRequest, terms_of
from hdg.management.consent.policy import Policy
from hdg.management.identity import Principal
from hdg.management.store import Clause, SearchQuery, Store, pages, schema
from hdg.management.store.batch import table_of
from hdg.management.store.everything import named
from hdg.management.store.index import Indexer, lookups
from hdg.management.store.operators import prefixed, unescape
from hdg.management.store.search import conditions
from hdg.management.store.values import Hash, date_range
from hdg.management.store.versions import StoredVersion, current_of
from hdg.usage.audit_view import View, asked_about, shown
from hdg.usage.scratch import Scratch
from hdg.usage.trail import Caller, Trail
from hdg.usage.visible import Results, Visible

__all__ = ["CODE_SETS", "TYPE", "Accesses", "reader_of"]

JsonObject = dict[str, Any]
Aside = Callable[..., Awaitable[Any]]
"""Runs a function with arguments on another thread."""

TYPE = "AuditEvent"
_SUCCESS, _NOTHING = "0", "4"
_MERGED_MAX = 50
"""Records that were merged into one, over several steps."""
_AT_ONCE = 200
_LOOKED_MAX = 2_000
"""Entries that one request opens: what the sealed part is asked for, is looked for there."""
_WALKED_MAX = 1 << 23
"""Leaves of the ledger that one request goes over to find what several patients share: half a second's work."""
_RESOURCE = table_of(schema.Resource)
_COMPARTMENT = table_of(schema.Compartment)
_REFERENCE = table_of(schema.IdxReference)
_SORTED = frozenset({"date", "_lastUpdated"})
_UNSUPPORTED = frozenset({"chain", "has", "_list", "list", "text"})
CODE_SETS = frozenset({"in", "not-in", "above", "below"})
"""Modifiers of tokens that AuditEvents cannot be asked by."""
_FIRST_US, _LAST_US = 0, (1 << 62) - 1


def reader_of(policy: Policy, who: Principal) -> str:
    """What ``who`` is to the trail: ``patient`` (of the own record), ``auditor``, or '' for nobody."""
    if policy.obligations.get(who.role):
        return ""
    if who.role == "patient":
        request = AccessRequest(who.role, who.user, who.institution, who.patient, who.purpose, "access", 0)
        is_open = policy.patient_reads_own and who.role in policy.restricted.get(TYPE, (who.role,))
        return "patient" if is_open and who.patient and terms_of(request, policy) is not None else ""
    if who.role == "operator" and who.role in policy.restricted.get(TYPE, ()):
        may_act = not policy.purpose_line(who.purpose).isdisjoint(policy.role_purposes.get(who.role, ()))
        return "auditor" if may_act else ""
    return ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search. ``patients``, ``ids``: None where none is named; ``rest``: what the events themselves are asked for."""

    patients: frozenset[str] | None
    ids: frozenset[str] | None
    span: Span
    rest: SearchQuery
    total: int | None
    is_newest_first: bool


@dataclass(slots=True)
class _Found:
    """A page as it grows. ``last``: the entry that was looked at last; ``is_more``: there are others behind it."""

    matches: list[Visible] = field(default_factory=list)
    last: Entry | None = None
    is_more: bool = False
    looked: int = 0


class Accesses:
    """``clock``: µs since the epoch, for dates that are said to be approximate. Thread-safe."""

    def __init__(
        self, store: Store, policy: Policy, trail: Trail, aside: Aside, hash_: Hash, clock: Callable[[], int]
    ) -> None:
        self._engine = store.engine
        self._reader = store.reader
        self._policy = policy
        self._trail = trail
        self._aside = aside
        self._hash = hash_
        self._clock = clock
        self._indexer = Indexer(hash_)
        self._scratch = Scratch(hash_)
        self._lock = Lock()
        """Of the scratch."""

    async def search(self, caller: Caller, query: SearchQuery, asked: str) -> Results:
        """A page of the trail; ``asked``: the query as text. Raises BadRequest, Unavailable."""
        wanted = self._asked(query)
        reader = reader_of(self._policy, caller.principal)
        if reader == "auditor" and (wanted.patients is None or len(wanted.patients) != 1):
            raise BadRequest("parameter 'patient' is needed, with one patient", code="required")
        page, patients = await self._aside(self._search, caller.principal, reader, wanted)
        await self._trail.record(caller, Access("search", _SUCCESS, query=asked), patients)
        found: Results = page
        return found

    async def read(self, caller: Caller, id_: str) -> Visible:
        """One event. Raises NotFound (absent or hidden), Unavailable."""
        reader = reader_of(self._policy, caller.principal)
        found = await self._aside(self._read, caller.principal, reader, id_)
        outcome, patients = (_NOTHING, ()) if found is None else (_SUCCESS, (found[1],))
        await self._trail.record(caller, Access("read", outcome, resource=f"{TYPE}/{id_}"), patients)
        if found is None:
            raise NotFound("nothing is here")
        visible: Visible = found[0]
        return visible

    def of_patient(self, patient: str) -> list[Record]:
        """The records whose trail is a patient's: the own one, and those that were merged into it."""
        with self._engine.connect() as connection:
            return audit_read.records(connection, self._merged(connection, patient))

    def listed(self, of: Sequence[Record], span: Span) -> Iterator[JsonObject]:
        """All that is recorded about one patient's records, newest first, as an auditor sees it.

        For the operator's own commands, which ask no policy and record it themselves.
        """
        own = frozenset(record.patient for record in of)
        with self._engine.connect() as connection:
            found = audit_read.entries(connection, of, span)
            while some := list(islice(found, _AT_ONCE)):
                yield from (event for _, event in self._events(connection, some, own, "auditor"))

    # --- what is asked --------------------------------------------------------------------------------------

    def _asked(self, query: SearchQuery) -> _Asked:
        """What a query asks for. Raises BadRequest for what AuditEvents cannot be asked by, whatever is stored."""
        _check(query)
        conditions(replace(query, compartment=""), self._hash, 0)  # values that cannot be read
        position = pages.decoded(query.cursor, 3) if query.cursor else None
        is_newest_first = not query.sort or query.sort[0].is_descending
        named_: list[frozenset[str]] = []
        ids: list[frozenset[str]] = []
        rest: list[Clause] = []
        first, last = _FIRST_US, _LAST_US
        if query.compartment:
            named_.append(frozenset({query.compartment.removeprefix("Patient/")}))
        for clause in query.clauses:
            dates = _range(clause)
            if clause.param == "patient" and clause.modifier in ("", "Patient"):
                named_.append(frozenset(_patient(value) for value in clause.values))
            elif clause.param == "_id" and not clause.modifier:
                ids.append(frozenset(map(unescape, clause.values)))
            elif dates is not None:
                first, last = max(first, dates[0]), min(last, dates[1])
            else:
                rest.append(clause)
        after = None if position is None else (position[0], str(position[1]))
        return _Asked(
            frozenset.intersection(*named_) if named_ else None,
            frozenset.intersection(*ids) if ids else None,
            Span(first, last, after),
            replace(query, clauses=tuple(rest), compartment="", sort=(), cursor=""),
            None if position is None else position[2],
            is_newest_first,
        )

    # --- what is found --------------------------------------------------------------------------------------

    def _search(self, who: Principal, reader: str, asked: _Asked) -> tuple[Results, tuple[str, ...]]:
        """A page, and the patients whose trail was looked into."""
        query = asked.rest
        if not reader:
            return Results((), 0 if query.with_total else None, ""), ()
        with self._engine.connect() as connection:
            own = self._own(connection, who, reader, asked.patients)
            of = audit_read.records(connection, own)
            found, total = _Found(), asked.total
            is_first = asked.span.after is None
            if asked.ids is None and not query.clauses and is_first and (query.with_total or not query.count):
                total = audit_read.count(connection, of, asked.span, leaves_max=_share(of))
            is_looked_at = bool(query.count or query.clauses or asked.ids is not None)
            if is_looked_at:
                self._fill(connection, found, of, frozenset(own), reader, asked)
        is_all = is_first and is_looked_at and not found.is_more
        if is_all and total is None and (query.with_total or not query.count):
            total = len(found.matches)
        if not query.count and total is None:
            raise BadRequest("too many events to count; ask for less time by 'date'", code="too-costly")
        cursor = ""
        if found.is_more and found.last is not None and query.count:
            cursor = pages.encoded([*found.last.place, total])
        matches = tuple(found.matches) if query.count else ()
        return Results(matches, total, cursor), tuple(record.patient for record in of)

    def _fill(
        self,
        connection: Connection,
        found: _Found,
        of: Sequence[Record],
        own: frozenset[str],
        reader: str,
        asked: _Asked,
    ) -> None:
        """Looks at entries until the page is full, they are all looked at, or it has been enough for one request."""
        query = asked.rest
        most = query.count or _LOOKED_MAX
        milestones: list[Entry] = []
        entries = _until_milestone(self._entries(connection, of, asked), milestones)
        step = _AT_ONCE if query.clauses else most + 1
        while some := list(islice(entries, step)):
            if found.looked >= _LOOKED_MAX:
                found.is_more = True
                return
            events = self._events(connection, some, own, reader)
            for entry, event in self._matching(query, events):
                if len(found.matches) == most:
                    found.is_more = True
                    return
                if event is not None:
                    body = json.dumps(event)
                    found.matches.append(Visible(TYPE, entry.id, 0, entry.at_us, False, body))
                found.last = entry
                found.looked += 1
        for milestone in milestones:
            found.last, found.is_more = milestone, True

    def _entries(self, connection: Connection, of: Sequence[Record], asked: _Asked) -> Iterator[Entry]:
        newest_first = asked.is_newest_first
        if asked.ids is None:
            return audit_read.entries(
                connection, of, asked.span, is_newest_first=newest_first, leaves_max=_share(of)
            )
        found = (audit_read.find(connection, id_) for id_ in asked.ids)
        span, ours = asked.span, set(of)
        entries = [
            entry
            for entry in found
            if entry is not None and entry.record in ours and span.first_us <= entry.at_us <= span.last_us
        ]
        entries.sort(key=lambda entry: entry.place, reverse=newest_first)
        if span.after is None:
            return iter(entries)
        after = span.after
        return (entry for entry in entries if (entry.place < after if newest_first else entry.place > after))

    def _read(self, who: Principal, reader: str, id_: str) -> tuple[Visible, str] | None:
        """The event and its patient; None when it is absent or hidden."""
        with self._engine.connect() as connection:
            entry = audit_read.find(connection, id_)
            if entry is None or not reader:
                return None
            patient = entry.record.patient
            own = self._own(connection, who, reader, None if reader == "patient" else frozenset({patient}))
            if patient not in own:
                return None
            ((_, event),) = self._events(connection, [entry], frozenset(own), reader)
        return Visible(TYPE, id_, 0, entry.at_us, False, json.dumps(event)), patient

    def _own(
        self, connection: Connection, who: Principal, reader: str, patients: Iterable[str] | None
    ) -> list[str]:
        """The records of those ``patients`` that the reader may look into, each with what was merged into it."""
        if reader == "auditor":
            return [one for patient in patients or () for one in self._merged(connection, patient)]
        own = self._merged(connection, who.patient)
        if patients is None:
            return own
        asked = {one for patient in patients if patient in own for one in self._merged(connection, patient)}
        return [one for one in own if one in asked]

    def _merged(self, connection: Connection, patient: str) -> list[str]:
        """A patient's record and those that say of themselves that it has replaced them, from the same institution.

        R4 patient.html#links. What another institution says is not believed here: it would open its own patients' trail
        to whom it likes, or by mistake.
        """
        found = [patient]
        while len(reached := self._replaced(connection, found)) > len(found) and len(found) < _MERGED_MAX:
            found = reached
        return found

    def _replaced(self, connection: Connection, into: list[str]) -> list[str]:
        """The records of ``into`` and those that one of them has replaced."""
        heirs = current_of(
            connection,
            [row[0] for row in named(connection, [("Patient", one) for one in into], true())],
            true(),
        )
        home = {heir.id: heir.institution for heir in heirs}
        if not home:
            return into
        columns = _REFERENCE.c
        refers = select(columns.rkey).where(
            columns.param.in_([number for number, _ in lookups("Patient", "link")]),
            columns.code.in_([self._hash(id_) for id_ in home]),
            columns.system == self._hash("Patient"),
        )
        query = select(_RESOURCE.c.rkey).where(_RESOURCE.c.type == "Patient", _RESOURCE.c.rkey.in_(refers))
        rkeys = list(connection.scalars(query.order_by(_RESOURCE.c.rkey).limit(4 * _MERGED_MAX)))
        old = [
            version.id
            for version in current_of(connection, rkeys, true())
            if any(home.get(heir) == version.institution for heir in self._heirs(version))
        ]
        return list(dict.fromkeys([*into, *old]))

    def _heirs(self, version: StoredVersion) -> Iterator[str]:
        """The ids of the records that a Patient says have replaced it."""
        for link in json.loads(self._reader.body(version)).get("link", ()):
            reference: str = (link.get("other") or {}).get("reference") or ""
            if link.get("type") == "replaced-by" and reference.startswith("Patient/"):
                yield reference.removeprefix("Patient/")

    # --- what of it is shown --------------------------------------------------------------------------------

    def _events(
        self, connection: Connection, some: Sequence[Entry], own: frozenset[str], reader: str
    ) -> list[tuple[Entry, JsonObject]]:
        events = [audit_read.event_of(entry, self._opened) for entry in some]
        names = dict.fromkeys(name for event in events for name in asked_about(event))
        view = View(own, self._about(connection, own, names), with_codes=reader == "patient")
        return [(entry, shown(event, view)) for entry, event in zip(some, events, strict=True)]

    def _opened(self, code: str, sealed: bytes, key: str) -> bytes:
        return self._reader.open_row(code, sealed, key).body

    def _about(self, connection: Connection, own: frozenset[str], names: Iterable[str]) -> frozenset[str]:
        """Those of the resources (``Type/id``) that are about one of the records."""
        parts = [(type_, id_) for type_, _, id_ in (name.partition("/") for name in names)]
        is_theirs = exists(
            select(1).where(_COMPARTMENT.c.rkey == _RESOURCE.c.rkey, _COMPARTMENT.c.patient.in_(sorted(own)))
        ).correlate(_RESOURCE)
        visible: ColumnElement[bool] = or_(is_theirs, _RESOURCE.c.patient.in_(sorted(own)))
        return frozenset(f"{type_}/{id_}" for _, type_, id_ in named(connection, parts, visible))

    def _matching(
        self, query: SearchQuery, events: Sequence[tuple[Entry, JsonObject]]
    ) -> Iterator[tuple[Entry, JsonObject | None]]:
        """The entries, with the event of those that match."""
        if not query.clauses:
            yield from events
            return
        with self._lock:
            self._scratch.clear()
            self._scratch.add_all(
                (number, TYPE, entry.id, entry.at_us, self._indexer.rows(event, number))
                for number, (entry, event) in enumerate(events)
            )
            hits = set(self._scratch.find(query, self._clock()))
            self._scratch.clear()
        for number, (entry, event) in enumerate(events):
            yield entry, event if number in hits else None


def _share(of: Sequence[Record]) -> int:
    """Leaves that a request goes over for each of the records."""
    return _WALKED_MAX // max(1, len(of))


def _until_milestone(entries: Iterator[Entry], milestones: list[Entry]) -> Iterator[Entry]:
    """Those before the first milestone, which is put where the caller will find it."""
    for entry in entries:
        if entry.is_milestone:
            milestones.append(entry)
            return
        yield entry


def _check(query: SearchQuery) -> None:
    """Raises BadRequest for what leads from or to the trail, or needs the store's own index."""
    if query.includes or query.custom:
        raise BadRequest(
            "AuditEvents are found by R4's own parameters, without includes", code="not-supported"
        )
    if any(key.param not in _SORTED for key in query.sort) or len(query.sort) > 1:
        raise BadRequest("parameter '_sort': AuditEvents are sorted by date", code="not-supported")
    if query.compartment and not query.compartment.startswith("Patient/"):
        raise BadRequest("AuditEvents are found in the compartment of a Patient", code="not-supported")
    for clause in query.clauses:
        _check_clause(clause)


def _check_clause(clause: Clause) -> None:
    is_coded = clause.kind == "token" and clause.modifier in CODE_SETS
    if clause.kind in _UNSUPPORTED or is_coded:
        text = f"parameter '{clause.param}': AuditEvents cannot be asked for this way"
        raise BadRequest(text, code="not-supported")
    for _, inner in clause.links:
        _check_clause(inner)


def _patient(value: str) -> str:
    """The id that a value names; '' for what names no patient here."""
    text = unescape(value).removeprefix("Patient/")
    return "" if "/" in text else text


def _range(clause: Clause) -> tuple[int, int] | None:
    """The span (µs) that a date asks for; None: it is no date, or asks for something else.

    The time of an event is to the microsecond, so that it has no extent of its own (R4 search.html#date).
    """
    if clause.param not in _SORTED or clause.modifier or len(clause.values) != 1:
        return None
    prefix, text = prefixed(unescape(clause.values[0]))
    covered = date_range(text)
    if covered is None:
        return None
    first, last = covered
    spans = {
        "eq": (first, last),
        "ge": (first, _LAST_US),
        "le": (_FIRST_US, last),
        "gt": (last + 1, _LAST_US),
        "sa": (last + 1, _LAST_US),
        "lt": (_FIRST_US, first - 1),
        "eb": (_FIRST_US, first - 1),
    }
    return spans.get(prefix)
