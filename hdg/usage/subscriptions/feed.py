"""What a subscription is told of, and nothing else: the only way from stored versions to a notification.

R4 subscription.html; DESIGN §6. For each event the consent predicate of the subscription's own principal is asked
when it is found and once more when it is about to leave; then its AuditEvent and its number are on disk, and only
then are there bytes. What is hidden is passed over like what does not match: it gets no number.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar, TypeVarTuple, Unpack

import orjson
from sqlalchemy import ColumnElement, select, true

from hdg.errors import BadRequest, Conflict, HdgError, NotFound, VaultError
from hdg.management.audit import Access
from hdg.management.consent.policy import Policy
from hdg.management.identity import Principal, RevokedToken
from hdg.management.store import SearchQuery, Store, StoredVersion, WriteSession, subscription
from hdg.management.store.envelope import parse
from hdg.management.store.index import Indexer
from hdg.management.store.subscription import Event, Row
from hdg.usage.scratch import Scratch
from hdg.usage.subscriptions.definition import Definition, Reading, digest
from hdg.usage.subscriptions.register import row_key
from hdg.usage.trail import Caller, Trail

__all__ = ["Feed", "Notice", "Told", "Unusable", "identity"]

JsonObject = dict[str, Any]
Given = TypeVarTuple("Given")
Found = TypeVar("Found")

AT_ONCE = 200
"""Versions that one look at the log takes."""
_THREADS = 2
_TOKENS = RevokedToken.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_log = logging.getLogger("hdg.subscriptions")


class Unusable(HdgError):
    """A subscription that cannot be delivered as it is; the text goes into its ``error``."""

    issue_code = "processing"


@dataclass(frozen=True, slots=True)
class Told:
    """A subscription as it is now."""

    row: Row
    who: Principal = field(repr=False)
    definition: Definition = field(repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """An event that may leave. ``body``: the version's bytes, b'' where the notification holds none."""

    event: Event
    body: bytes = field(repr=False)


def identity(who: Principal) -> tuple[str, ...]:
    """What makes two tokens the same principal's."""
    return who.role, who.user, who.institution, who.patient, who.purpose, who.project


class Feed:
    """Reads the log for subscriptions and records what they are told. For any thread and event loop."""

    def __init__(
        self,
        store: Store,
        trail: Trail,
        policy: Policy,
        visible_to: Callable[[Principal], ColumnElement[bool]],
        reading: Reading,
        indexer: Indexer,
        clock: Callable[[], int],
    ) -> None:
        self.engine = store.engine
        self._store = store
        self._reader = store.reader
        self._trail = trail
        self._policy = policy
        self._visible_to = visible_to
        self.reading = reading
        self._indexer = indexer
        self.now_us = clock
        self._scratch = Scratch(reading.hash)
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(_THREADS, "hdg-subscription")
        self._under_way: set[Future[Any]] = set()
        self.listeners: set[Callable[[], None]] = set()
        """Called, from any thread, when something was committed."""

    def tell(self) -> None:
        """Something was committed."""
        for listener in tuple(self.listeners):
            listener()

    async def aside(self, work: Callable[[Unpack[Given]], Found], *given: *Given) -> Found:
        """Runs what asks the database on a thread of the feed's own."""
        future = self._threads.submit(work, *given)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return await asyncio.wrap_future(future)

    def settle(self) -> None:
        """Waits for what was given up while it ran: the store may be closed then."""
        wait(tuple(self._under_way))

    # --- whose, and what ------------------------------------------------------------------------------------

    def told(self, row: Row) -> Told:
        """The subscription of a row. Raises Unusable, Conflict when it is being changed."""
        found = self._reader.read("Subscription", row.id, true())
        if found is None or found.deleted or found.version != row.version:
            raise Conflict("the subscription has changed meanwhile")
        content = parse(self._reader.body(found))
        try:
            opened = self._reader.open_row(row.owner_code, row.sealed, row_key(row.id, row.written))
        except VaultError:
            raise Unusable("whose it is cannot be read") from None
        claims = orjson.loads(opened.body)
        if claims["digest"] != digest(content):
            raise Unusable("it is not what was asked for")
        try:
            definition = self.reading.read(content)
        except BadRequest as error:
            raise Unusable(f"{error.place}: {error}") from None
        return Told(row, Principal(**claims["who"]), definition)

    def told_to(self, who: tuple[str, ...], id_: str) -> Told:
        """A subscription that is its own (``identity``). Raises NotFound for any other; Unusable, Conflict."""
        row = subscription.one(self.engine, id_)
        if row is None:
            raise NotFound("nothing is here")
        told = self.told(row)
        if identity(told.who) != who:
            raise NotFound("nothing is here")
        return told

    def check(self, told: Told) -> None:
        """Raises Unusable when the credential that it was written with is good no more.

        Nobody gets notifications whose data must be altered first: nothing here does that.
        """
        if self._policy.obligations.get(told.who.role):
            raise Unusable("this role gets no notifications")
        if not self.is_valid(told.who.token_id, told.who.expires_us):
            raise Unusable("the access token that it was written with is no longer valid: write it anew")

    def is_valid(self, token_id: str, expires_us: int) -> bool:
        """Whether an access token has neither expired nor been revoked, as the database says now."""
        if self.now_us() >= expires_us:
            return False
        query = select(_TOKENS.c.token_id).where(_TOKENS.c.token_id == token_id)
        with self.engine.connect() as connection:
            return connection.execute(query).first() is None

    def is_over(self, told: Told) -> bool:
        """Whether its ``end`` has come."""
        end_us = told.definition.end_us
        return end_us is not None and self.now_us() >= end_us

    # --- events ---------------------------------------------------------------------------------------------

    def look(self, told: Told, after: int) -> tuple[list[StoredVersion], int]:
        """Events behind a leaf, in order, and the leaf up to which that is all."""
        head = subscription.head(self.engine)
        if head <= after:
            return [], after
        query = told.definition.query
        found = self._reader.committed(query.type, self._visible_to(told.who), after, head, AT_ONCE)
        until = found[-1].leaf_index if len(found) == AT_ONCE else head
        matching = self._matching(query, found)
        return [version for version in matching if self._is_event(told, version)], until

    def _matching(self, query: SearchQuery, found: Sequence[StoredVersion]) -> list[StoredVersion]:
        """Those whose own content the search finds: not what the resource has become since."""
        if not query.clauses or not found:
            return list(found)
        rounds: defaultdict[int, list[StoredVersion]] = defaultdict(list)
        seen: Counter[str] = Counter()
        for version in found:  # the scratch takes one version of a resource at a time
            rounds[seen[version.id]].append(version)
            seen[version.id] += 1
        hits = {leaf for versions in rounds.values() for leaf in self._hits(query, versions)}
        return [version for version in found if version.leaf_index in hits]

    def _hits(self, query: SearchQuery, versions: Sequence[StoredVersion]) -> list[int]:
        """The leaves of those that match."""
        with self._lock:
            self._scratch.clear()
            for number, version in enumerate(versions):
                try:
                    content = parse(self._reader.body(version))
                except VaultError:  # erased meanwhile
                    continue
                rows = self._indexer.rows(content, number)
                self._scratch.add(number, version.type, version.id, version.updated_us, rows)
            numbers = self._scratch.find(query, self.now_us())
            self._scratch.clear()
        return [versions[number].leaf_index for number in numbers]

    def _is_event(self, told: Told, version: StoredVersion) -> bool:
        topic = told.definition.topic
        if topic is None:
            return True
        before = None
        if version.version > 1:  # one that is hidden is as if it had not been
            visible = self._visible_to(told.who)
            before = self._reader.vread(version.type, version.id, version.version - 1, visible)
        is_new = before is None or before.deleted
        if ("create" if is_new else "update") not in topic.on:
            return False
        state = told.definition.before
        return state is None or before is None or before.deleted or not self._matching(state, [before])

    async def admit(self, told: Told, version: StoredVersion, client: str) -> Notice | None:
        """An event that is about to leave: recorded and numbered. None when it may not be told any more.

        Raises Unusable, Conflict (the lease is lost), NotCommitted.
        """
        await self.aside(self.check, told)
        again = await self.aside(self._again, told, version)
        if again is None:
            return None
        found, body = again

        def work(session: WriteSession) -> None:
            subscription.check_epoch(session, told.row)
            place = f"{found.type}/{found.id}/_history/{found.version}"
            access = Access("vread", "0", resource=place, query=f"Subscription/{told.row.id}")
            self._trail.write(session, Caller(told.who, client), access, found.patients)
            subscription.add_event(
                session,
                told.row,
                leaf=found.leaf_index,
                at_us=found.updated_us,
                type_=found.type,
                resource=found.id,
                version=found.version,
            )

        await self._store.perform(work)
        event = await self.aside(subscription.event_at, self.engine, told.row.id, found.leaf_index)
        if event is None:
            raise Conflict("the subscription has changed meanwhile")
        return Notice(event, body)

    def _again(self, told: Told, version: StoredVersion) -> tuple[StoredVersion, bytes] | None:
        leaf = version.leaf_index
        found = self._reader.committed(version.type, self._visible_to(told.who), leaf - 1, leaf, 1)
        if not found:
            return None
        try:
            body = self._reader.body(found[0])
        except VaultError:
            return None
        return found[0], body if told.definition.content == "full-resource" else b""

    async def recall(
        self, caller: Caller, id_: str, since: int, until: int | None, most: int
    ) -> list[Notice]:
        """Events that were told before, as far as the caller may see them now; audited before this returns.

        Raises Unavailable.
        """
        found = await self.aside(self._recalled, caller.principal, id_, since, until, most)
        patients = tuple(dict.fromkeys(patient for _, version in found for patient in version.patients))
        places = tuple(dict.fromkeys(f"{notice.event.type}/{notice.event.resource}" for notice, _ in found))
        place = f"Subscription/{id_}"
        access = Access("operation", "0", resource=place, query=f"{place}/$events", resources=places)
        await self._trail.record(caller, access, patients)
        return [notice for notice, _ in found]

    def _recalled(
        self, who: Principal, id_: str, since: int, until: int | None, most: int
    ) -> list[tuple[Notice, StoredVersion]]:
        made: list[tuple[Notice, StoredVersion]] = []
        for event in subscription.events(self.engine, id_, since=since, until=until, most=most):
            leaf = event.leaf_index
            found = self._reader.committed(event.type, self._visible_to(who), leaf - 1, leaf, 1)
            for version in found:
                with contextlib.suppress(VaultError):  # erased meanwhile
                    made.append((Notice(event, self._reader.body(version)), version))
        return made

    # --- what becomes of it ---------------------------------------------------------------------------------

    async def claim(self, row: Row, *, is_fresh: bool = False) -> Row:
        """Takes the lease (subscription.claim); the row as it is then. Raises Conflict."""
        await self._store.perform(lambda session: subscription.claim(session, row, is_fresh=is_fresh))
        return await self.row(row.id)

    async def row(self, id_: str) -> Row:
        """Raises NotFound."""
        found = await self.aside(subscription.one, self.engine, id_)
        if found is None:
            raise NotFound("nothing is here")
        return found

    async def done(self, row: Row, leaf: int) -> None:
        """Everything up to that leaf is delivered. Raises Conflict."""

        def work(session: WriteSession) -> None:
            subscription.check_epoch(session, row)
            subscription.advance(session, row, leaf)

        await self._store.perform(work)

    async def retry(self, row: Row, failures: int, next_us: int) -> None:
        """An attempt has failed."""
        await self._store.perform(lambda session: subscription.retry_later(session, row, failures, next_us))

    async def status(self, row: Row, status: str, error: str = "") -> Row:
        """The server changes its status. Raises Conflict."""
        await self._store.perform(lambda session: subscription.change_status(session, row, status, error))
        _log.info("Subscription/%s is %s%s", row.id, status, f": {error}" if error else "")
        return await self.row(row.id)

    async def resend(self, told: Told, since: int) -> int:
        """Has the events from that number on told again; the first of them, 0: there is none. Raises Conflict."""
        found = await self.aside(lambda: subscription.events(self.engine, told.row.id, since=since, most=1))
        if not found:
            return 0
        leaf = min(found[0].leaf_index - 1, told.row.done_leaf)
        await self._store.perform(lambda session: subscription.rewind(session, told.row, leaf))
        self.tell()
        return found[0].number

    def count(self, id_: str) -> int:
        """How many events it was told of."""
        return subscription.event_count(self.engine, id_)
