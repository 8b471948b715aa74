"""The one gate: every read and write of stored data passes here; nothing leaves before its audit entry is on disk.

DESIGN §1, §6. A read asks the consent predicate inside the SQL, has the AuditEvent and its ledger leaf
committed (trail.py), and only then returns bytes. What is hidden is answered exactly like what is absent, by
the same steps: same query, same audit, same error. A write is ``writing.py``'s, in one transaction with its
AuditEvents; a refused one is recorded as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple, Unpack

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import SQLAlchemyError

from hdg.errors import AccessDenied, Gone, HdgError, LedgerError, NotFound, ValidationFailed
from hdg.fhir.profiles.current import Current
from hdg.helper import Process
from hdg.management.audit import Access
from hdg.management.consent.policy import load_policy
from hdg.management.identity import Authenticator, RevokedToken
from hdg.management.keys import KeyRing
from hdg.management.store import Page, SearchQuery, Store, StoredVersion, outbox
from hdg.management.store.custom_register import Catalog
from hdg.management.store.engine import NotCommitted
from hdg.management.store.everything import Everything
from hdg.management.store.index import Indexer
from hdg.management.store.meta import index_key
from hdg.management.store.space import SpaceGuard
from hdg.management.store.values import hasher
from hdg.management.store.versions import ALWAYS, Span
from hdg.settings import Settings
from hdg.terminology.hierarchies import Hierarchies
from hdg.usage import accesses, record
from hdg.usage.ccd.document import CARRIED
from hdg.usage.committing import Committing
from hdg.usage.dicomweb.archive import Archive, Told
from hdg.usage.drafts import Draft, draft
from hdg.usage.fhir_api.parameters import Limits
from hdg.usage.looking import Means
from hdg.usage.reads import Reads
from hdg.usage.refusals import Refusals
from hdg.usage.research import view as research
from hdg.usage.research.desk import Desk, is_researcher, refuse_researcher
from hdg.usage.scratch import Scratch
from hdg.usage.subscriptions.definition import Reading
from hdg.usage.subscriptions.endpoints import Endpoints
from hdg.usage.subscriptions.feed import Feed
from hdg.usage.subscriptions.register import Registrar
from hdg.usage.subscriptions.ways import channels
from hdg.usage.trail import Caller, Trail, Unavailable
from hdg.usage.value_sets import Resolver, is_resolved
from hdg.usage.views import Views
from hdg.usage.visible import Proof, Results, Visible, deidentified, deidentified_page, patients_of
from hdg.usage.writing import Writing

__all__ = ["Caller", "Gate", "Proof", "Results", "Unavailable", "Visible"]

Clock = Callable[[], int]
JsonObject = dict[str, Any]
Given = TypeVarTuple("Given")
Found = TypeVar("Found")
Shown = TypeVar("Shown", bound=Told)

_SEARCH_THREADS = 4
"""Fewer than the reader has connections. Measured with 16 clients: 470 searches/s; 400 with 1 or with 40."""
_SUCCESS, _NOTHING = "0", "4"
"""R4 valueset-audit-event-outcome: success; minor failure (hidden or absent, which are not told apart)."""


class Gate:
    """Everything that the usage layer may ask of the store. Coroutines run on the server's event loop."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        authenticator: Authenticator,
        page_key: bytes,
        hash_key: bytes,
        project_key: Callable[[str], bytes],
    ) -> None:
        self._store = store
        self._reader = store.reader
        self._clock = clock
        self._authenticator = authenticator
        self._log = store.log
        self._trail = Trail(store, settings)
        self._refusals = Refusals(store, settings, clock)
        self.policy = load_policy(settings.policy)
        """What the CapabilityStatement may tell: roles and types, nothing about anybody."""
        self._threads = ThreadPoolExecutor(_SEARCH_THREADS, "hdg-search")
        self._views = Views(store, self.policy, clock)
        self._reads = Reads(store.reader, self._views, self._aside)
        hash_ = hasher(hash_key)
        self._indexer = Indexer(hash_)
        limits = Limits(settings.search_page_default, settings.search_page_max, settings.fhir_base)
        endpoints = Endpoints(settings.subscription_endpoints, channels(settings))
        reading = Reading(limits, hash_, endpoints, clock)
        self.catalog = Catalog(store.engine)
        """The search parameters that are not R4's own: definitions, nothing about anybody."""
        self._base_url = settings.fhir_base
        self.institution = settings.institution
        """Who keeps what is here."""
        self.profiles = Current(settings.data)
        """The loaded profiles: public definitions, nothing about anybody."""
        self._hierarchies = Hierarchies(settings.data)
        self._means = Means(
            self.policy,
            Indexer(hash_),
            hash_,
            Scratch(hash_),
            settings.institution,
            Registrar(reading),
            store.reader.index,
            self.profiles if settings.enforce_profiles else None,
            settings.fhir_base,
        )
        self._committing = Committing(store, self._trail, self._views, self._means)
        self.feed = Feed(
            store,
            self._trail,
            self.policy,
            lambda who: self._views.visible_to(who).predicate,
            reading,
            Indexer(hash_),
            clock,
        )
        """What subscriptions are told of."""
        self.accesses = accesses.Accesses(store, self.policy, self._trail, self._aside, hash_, clock)
        """The trail as AuditEvents."""
        base = settings.fhir_base
        researchers = research.Researchers(store, self.policy, clock, project_key, hash_, base)
        self._desk = Desk(researchers, self._trail, self._aside)
        self._hash_key = hash_key
        self.helper: Process | None = None
        """Makes large transactions ready, where there is one."""
        self.page_key = page_key
        """64 bytes for page tokens, derived from the root key."""

    @classmethod
    def open(cls, settings: Settings, keys: KeyRing, store: Store, clock: Clock) -> Gate:
        """The gate of an open store. Raises SettingsError when the policy file cannot be used."""
        table = RevokedToken.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy

        def revoked() -> list[str]:
            with store.engine.connect() as connection:
                return list(connection.scalars(select(table.c.token_id)))

        authenticator = Authenticator(keys.token_key.public_key(), clock, load_revoked=revoked)
        page_key = HKDF(SHA256(), 64, salt=None, info=b"hdg page token v1").derive(keys.root)
        hash_key = index_key(keys.root)
        return cls(settings, store, clock, authenticator, page_key, hash_key, keys.project_key)

    def now_us(self) -> int:
        """The gate's clock."""
        return self._clock()

    def use_helper(self, module: str) -> None:
        """From now on ``helper`` is there: ``module`` run as a process (helper.py) that is given the index key."""
        self.helper = Process(module, (self._hash_key,))

    async def end_helper(self) -> None:
        """Ends the helper process, if there is one; call it before the event loop ends."""
        helper, self.helper = self.helper, None
        if helper is not None:
            await helper.close()

    # --- who asks -------------------------------------------------------------------------------------------

    def caller(self, authorization: str | None, address: str = "") -> Caller:
        """The bearer of an Authorization header (RFC 6750 §2.1). Raises AccessDenied (not authenticated)."""
        scheme, _, token = (authorization or "").partition(" ")
        try:
            if scheme.lower() != "bearer" or not token:
                raise AccessDenied("an access token is needed", is_authenticated=False)
            principal = self._authenticator.authenticate(token.strip())
        except AccessDenied:
            self._refusals.note(address)
            raise
        if self._refusals.pending:
            self._refusals.write_if_due()
        return Caller(principal, address)

    async def _aside(self, work: Callable[[Unpack[Given]], Found], *given: *Given) -> Found:
        """Runs what may take long on one of the gate's own threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    # --- reads ----------------------------------------------------------------------------------------------

    async def read(self, caller: Caller, type_: str, id_: str) -> Visible:
        """The current version. Raises NotFound (absent or hidden), Gone, Unavailable."""
        if is_researcher(caller):
            return deidentified(await self._desk.read(caller, type_, id_))
        if type_ == accesses.TYPE:
            return await self.accesses.read(caller, id_)
        found = await self._reads.read(caller.principal, type_, id_)
        return await self._one(caller, "read", f"{type_}/{id_}", found)

    async def vread(self, caller: Caller, type_: str, id_: str, version: int) -> Visible:
        """One version. Raises NotFound, Gone, Unavailable."""
        refuse_researcher(caller, "an old version")
        visible_to = self._views.visible_to(caller.principal).predicate
        found = self._reader.vread(type_, id_, version, visible_to)
        return await self._one(caller, "vread", f"{type_}/{id_}/_history/{version}", found)

    async def _one(
        self, caller: Caller, interaction: str, place: str, found: StoredVersion | None
    ) -> Visible:
        visible = None if found is None else self._open(found)
        patients = patients_of(() if found is None else (found,))
        outcome = _NOTHING if found is None else _SUCCESS
        await self._trail.record(caller, Access(interaction, outcome, resource=place), patients)
        if visible is None:
            raise NotFound("nothing is here")
        if visible.is_deleted:
            raise Gone("this resource was deleted")
        return visible

    async def history(
        self, caller: Caller, type_: str, id_: str, count: int, cursor: str, span: Span = ALWAYS
    ) -> Results:
        """A page of the versions of one resource, newest first. Raises NotFound, Unavailable."""
        refuse_researcher(caller, "the history")
        visible_to = self._views.visible_to(caller.principal)
        page = await self._aside(self._reader.history, type_, id_, visible_to.predicate, count, cursor, span)
        results = self._opened(page)
        is_found = bool(page.versions or page.total)
        if not is_found and span != ALWAYS:
            is_found = self._reader.read(type_, id_, visible_to) is not None
        outcome = _SUCCESS if is_found else _NOTHING
        access = Access("history", outcome, resource=f"{type_}/{id_}")
        await self._trail.record(caller, access, patients_of(page.versions))
        if not is_found:
            raise NotFound("nothing is here")
        return results

    async def changes(
        self, caller: Caller, type_: str, count: int, cursor: str, span: Span, asked: str
    ) -> Results:
        """A page of the versions of all resources (of a type, '' any), newest first. Raises Unavailable."""
        refuse_researcher(caller, "the history")
        visible_to = self._views.visible_to(caller.principal).predicate
        page = await self._aside(self._reader.changes, type_, visible_to, count, cursor, span)
        results = await self._aside(self._opened, page)
        access = Access("history-type" if type_ else "history-system", _SUCCESS, query=asked)
        await self._trail.record(caller, access, patients_of(page.versions))
        return results

    async def search(self, caller: Caller, query: SearchQuery, asked: str) -> Results:
        """A page of matches; ``asked``: the query as text, for the audit. Raises BadRequest, Unavailable."""
        if is_researcher(caller):
            return deidentified_page(await self._desk.search(caller, query, asked))
        if query.type == accesses.TYPE:
            return await self.accesses.search(caller, query, asked)
        visible_to = self._views.visible_to(caller.principal).predicate
        page, results = await self._aside(self._search, query, visible_to)
        access = Access("search", _SUCCESS, query=asked)
        await self._trail.record(caller, access, patients_of(page))
        return results

    def _search(
        self, query: SearchQuery, visible_to: ColumnElement[bool]
    ) -> tuple[Sequence[StoredVersion], Results]:
        if is_resolved(query):
            page = self._reader.search(query, visible_to)
            return (*page.versions, *page.included), self._opened(page)
        found = self.profiles.find, self._base_url, self._hierarchies.tree
        resolver = Resolver(self._reader, visible_to, *found)
        page = self._reader.search(resolver.query(query), visible_to)
        return (*page.versions, *page.included, *resolver.consulted), self._opened(page)

    async def everything(self, caller: Caller, asked: Everything, text: str) -> Results:
        """A page of $everything; ``text``: what was asked, for the audit. Raises NotFound, Gone, Unavailable."""
        if is_researcher(caller):
            return deidentified_page(await self._desk.everything(caller, asked, text))
        visible_to = self._views.visible_to(caller.principal)
        focus = self._reader.read(asked.type, asked.id, visible_to)
        place = f"{asked.type}/{asked.id}"
        if focus is None or focus.deleted:
            await self._trail.record(caller, Access("operation", _NOTHING, place, text), patients_of(()))
            raise NotFound("nothing is here") if focus is None else Gone("this resource was deleted")
        page = await self._aside(self._reader.everything, asked, visible_to.predicate)
        results = await self._aside(self._opened, page)
        patients = patients_of((focus, *page.versions, *page.included))
        await self._trail.record(caller, Access("operation", _SUCCESS, place, text), patients)
        return results

    async def document(self, caller: Caller, id_: str, asked: str) -> Results:
        """A Composition, first of the matches, and what it leads to; ``asked``: for the audit.

        Raises NotFound, Gone, BadRequest (too much), Unavailable.
        """
        refuse_researcher(caller, "a document")
        visible_to = self._views.visible_to(caller.principal)
        place = f"Composition/{id_}"
        focus = self._reader.read("Composition", id_, visible_to)
        found: Sequence[StoredVersion] = ()
        if focus is not None and not focus.deleted:
            found = await self._aside(self._reader.document, id_, visible_to.predicate)
        access = Access("operation", _SUCCESS if found else _NOTHING, place, asked)
        await self._trail.record(caller, access, patients_of(found))
        if not found:
            raise NotFound("nothing is here") if focus is None else Gone("this resource was deleted")
        matches = await self._aside(lambda: tuple(map(self._open, found)))
        return Results(matches, None, "")

    async def record(self, caller: Caller, id_: str, asked: str) -> Results:
        """All of a patient that goes into a document, the Patient first; ``asked``: for the audit.

        Raises AccessDenied (researchers), NotFound, Gone, BadRequest (too much), Unavailable.
        """
        refuse_researcher(caller, "a document")
        visible_to = self._views.visible_to(caller.principal)
        focus = self._reader.read("Patient", id_, visible_to)
        found: Sequence[StoredVersion] = ()
        if focus is not None and not focus.deleted:
            found = await self._aside(record.gathered, self._reader, focus, CARRIED, visible_to)
        access = Access("operation", _SUCCESS if found else _NOTHING, f"Patient/{id_}", asked)
        await self._trail.record(caller, access, patients_of(found))
        if not found:
            raise NotFound("nothing is here") if focus is None else Gone("this resource was deleted")
        matches = await self._aside(lambda: tuple(map(self._open, found)))
        return Results(matches, None, "")

    async def images(
        self, caller: Caller, find: Callable[[Archive], Sequence[Shown]], asked: str
    ) -> Sequence[Shown]:
        """What ``find`` makes of the DICOM objects that the caller may see; ``asked``: for the audit.

        Raises AccessDenied (researchers), Unavailable, and what ``find`` raises.
        """
        refuse_researcher(caller, "an image")
        visible_to = self._views.visible_to(caller.principal).predicate
        archive = Archive(self._store.engine, self._reader, self._means.hash, visible_to)
        found = await self._aside(find, archive)
        patients = tuple(dict.fromkeys(one.patient for one in found if one.patient))
        access = Access("search", _SUCCESS if found else _NOTHING, query=asked)
        await self._trail.record(caller, access, patients)
        return found

    def _opened(self, page: Page) -> Results:
        matches, included = tuple(map(self._open, page.versions)), tuple(map(self._open, page.included))
        return Results(matches, page.total, page.next_cursor, included, page.is_cut)

    async def proof(self, caller: Caller, type_: str, id_: str, version: int | None) -> Proof:
        """Inclusion proof of a version that the caller may read. Raises NotFound, Unavailable."""
        refuse_researcher(caller, "a proof of the ledger")
        visible_to = self._views.visible_to(caller.principal)
        place = f"{type_}/{id_}" if version is None else f"{type_}/{id_}/_history/{version}"
        if version is None:
            found = self._reader.read(type_, id_, visible_to)
        else:
            found = self._reader.vread(type_, id_, version, visible_to.predicate)
        outcome = _NOTHING if found is None else _SUCCESS
        interaction = "read" if version is None else "vread"
        access = Access(interaction, outcome, resource=place)
        await self._trail.record(caller, access, patients_of(() if found is None else (found,)))
        if found is None:
            raise NotFound("nothing is here")
        return await self._aside(self._proof, found)

    def _proof(self, found: StoredVersion) -> Proof:
        with self._store.engine.connect() as connection:
            checkpoint = self._log.checkpoint(connection)
            if checkpoint is None:
                raise LedgerError("the log has no checkpoint")
            index, size = found.leaf_index, checkpoint.size
            return Proof(
                found.type,
                found.id,
                found.version,
                self._log.leaf(connection, index),
                index,
                size,
                tuple(self._log.proof(connection, index, size)),
                checkpoint.note,
                self._log.verifier_key,
            )

    def _open(self, found: StoredVersion) -> Visible:
        body = b"" if found.deleted else self._reader.body(found)
        return Visible(found.type, found.id, found.version, found.updated_us, found.deleted, body)

    # --- writes ---------------------------------------------------------------------------------------------

    async def draft(self, content: JsonObject, id_: str, *, is_long: bool) -> Draft:
        """Validates a resource under that id and makes it ready. Raises ValidationFailed.

        ``is_long``: it may be, and is done on a thread, so that other requests go on.
        """
        if is_long:
            return await self._aside(draft, content, id_, self._indexer)
        return draft(content, id_, self._indexer)

    async def drafts_or_errors(
        self, contents: Sequence[tuple[JsonObject, str]]
    ) -> list[Draft | ValidationFailed]:
        """``draft`` of many: beside those that can be stored, what is wrong with the others."""

        def made() -> list[Draft | ValidationFailed]:
            return [_drafted(*content, self._indexer) for content in contents]

        return await self._aside(made) if contents else []

    async def write(
        self,
        caller: Caller,
        interaction: str,
        place: str,
        types: Collection[str],
        work: Callable[[Writing], Found],
        asked: str = "",
    ) -> Found:
        """Runs ``work`` in one transaction with its AuditEvents; returns when both are on disk.

        ``types``: what it may write; ``place``: the path asked for; ``asked``: the search it depends on. The
        work may run several times: no outside effects. Raises what the work raises (recorded as refused);
        NotCommitted when nothing was kept; Unavailable when a refusal cannot be recorded.
        """
        self._store.space.check()
        try:
            refuse_researcher(caller, "writing")
            access = Access(interaction, _SUCCESS, place, asked)
            return await self._committing.write(caller, access, types, work)
        except (NotCommitted, LedgerError):
            raise
        except HdgError:
            await self._trail.record(caller, Access(interaction, _NOTHING, place, asked), ())
            raise

    async def rehearse(
        self, caller: Caller, place: str, types: Collection[str], work: Callable[[Writing], object]
    ) -> HdgError | None:
        """Runs a ``work`` of ``write`` and takes all of it back: None, or why it would be refused.

        What it looked at is recorded. Raises NotFound (nothing here, or hidden), Unavailable, NotCommitted.
        """
        refuse_researcher(caller, "writing")
        refusal, patients = await self._committing.rehearse(caller, types, work)
        outcome = _SUCCESS if refusal is None else _NOTHING
        await self._trail.record(caller, Access("operation", outcome, place, f"{place}/$validate"), patients)
        if isinstance(refusal, NotFound):
            raise refusal
        return refusal

    async def examined(self, caller: Caller, place: str) -> None:
        """Records that a caller had a resource examined that is not stored. Raises Unavailable."""
        await self._trail.record(caller, Access("operation", _SUCCESS, place, f"{place}/$validate"), ())

    # --- public facts ---------------------------------------------------------------------------------------

    def checkpoint(self) -> str:
        """The newest signed checkpoint. Raises NotFound while the ledger is empty."""
        with self._store.engine.connect() as connection:
            newest = self._log.checkpoint(connection)
        if newest is None:
            raise NotFound("the ledger is empty")
        return newest.note

    def outbox(self) -> outbox.Depth:
        """What waits to be sent on, over all destinations."""
        return outbox.depth(self._store.engine)

    def space(self) -> SpaceGuard:
        """The free space that writing depends on."""
        return self._store.space

    def is_ready(self) -> bool:
        """Whether the database answers, the ledger's head can be read, and there is room to write."""
        if self._store.space.is_low():
            return False
        try:
            with self._store.engine.connect() as connection:
                self._log.checkpoint(connection)
        except (SQLAlchemyError, HdgError):
            return False
        return True


def _drafted(content: JsonObject, id_: str, indexer: Indexer) -> Draft | ValidationFailed:
    try:
        return draft(content, id_, indexer)
    except ValidationFailed as error:
        return error
