"""What the local operator does from the command line: tokens, consents, verification.

Whoever can read the data folder is the operator: these functions take their authority from its keys, and every
change they make goes through the same writer and ledger as the server's, also while a server is running.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import true
from sqlalchemy.exc import DBAPIError

from hdg.errors import BadRequest, NotFound
from hdg.fhir import json as fhir_json
from hdg.gateway import Gateway, now_us
from hdg.management import identity, revocation
from hdg.management.consent import resource as consents
from hdg.management.consent.decide import PROJECT_SYSTEM
from hdg.management.consent.policy import load_policy
from hdg.management.keys import KeyRing
from hdg.management.ledger.recompute import Findings, lenient
from hdg.management.ledger.verify import Finding, Progress, SealedVersion, Trust, verify
from hdg.management.store.check import check
from hdg.management.store.index import Indexer
from hdg.management.store.meta import index_key
from hdg.management.store.read import Reader
from hdg.management.store.refill import Refill
from hdg.management.store.reindexing import Reindexing, Scope
from hdg.management.store.search import Clause, SearchQuery
from hdg.management.store.session import WriteSession
from hdg.management.store.text_check import put_right
from hdg.management.store.values import hasher
from hdg.management.verify_objects import check_objects
from hdg.management.verify_signatures import check_signatures
from hdg.settings import Settings, existing

LIST_MAX = 1000
_DAY_US = 86_400_000_000


def mint_token(
    settings: Settings,
    *,
    role: str,
    hours: float,
    user: str = "",
    institution: str = "",
    patient: str = "",
    purpose: str = "",
    project: str = "",
) -> str:
    """A bearer token signed with the data folder's token key.

    Raises BadRequest for an impossible principal, or a purpose that its role may not act for by the access policy.
    """
    if role not in identity.ROLES:
        raise BadRequest(f"a role is one of {', '.join(sorted(identity.ROLES))}")
    needs = {"patient": {"patient": patient}, "clinician": {"user": user, "institution": institution}}
    needs["researcher"] = {"user": user, "project": project}
    needs["sender"] = {"institution": institution}
    missing = [name for name, value in needs.get(role, {}).items() if not value]
    if missing:
        raise BadRequest(f"role {role} needs {' and '.join(f'--{name}' for name in missing)}")
    if role == "researcher" and not identity.is_project(project):
        raise BadRequest("a project's id is made of up to 64 letters, digits, hyphens and points")
    if purpose:
        _check_purposes(settings, [purpose], "" if role == "sender" else role)
    return identity.mint(
        _keys(settings).token_key,
        role=role,
        at_us=now_us(),
        lifetime_s=round(hours * 3600),
        user=user,
        institution=institution,
        patient=patient,
        purpose=purpose,
        project=project,
    )


def _check_purposes(settings: Settings, purposes: Sequence[str], role: str = "") -> None:
    """Raises BadRequest for a purpose that the access policy does not know; ``role``: for this role."""
    known = load_policy(settings.policy).known_purposes(role)
    for purpose in purposes:
        if purpose not in known:
            whose = f"role {role}" if role else "the access policy"
            raise BadRequest(f"no purpose of {whose}: {purpose} (known: {', '.join(sorted(known))})")


def revoke_token(settings: Settings, token: str = "", *, token_id: str = "") -> str:
    """Revokes a token, by itself or by its id; the id. Gateways refuse it within five seconds.

    Raises AccessDenied for a token that is not valid (any more), BadRequest for what is no id or revoked.
    """
    with Gateway.open(existing(settings)) as gateway:
        end_us = gateway.clock() + identity.LIFETIME_MAX_US
        if token:
            public = gateway.keys.token_key.public_key()
            principal = identity.Authenticator(public, gateway.clock).authenticate(token)
            token_id, end_us = principal.token_id, principal.expires_us
        home = settings.institution
        work = partial(revocation.revoke, token_id=token_id, expires_us=end_us, institution=home)
        if not gateway.store.submit(work).result():
            raise BadRequest("this token was revoked before")
    return token_id


def _keys(settings: Settings) -> KeyRing:
    return KeyRing.open(existing(settings).data / "keys")


def grant_consent(
    settings: Settings,
    patient: str,
    to: Sequence[str],
    purposes: Sequence[str],
    types: Sequence[str],
    days: int,
) -> str:
    """Records a consent; the Consent's id. Raises NotFound when the gateway holds no such patient, BadRequest for a
    wrong grantee or a purpose that the access policy does not know: nobody would ever ask for it.
    """
    _check_purposes(settings, purposes)
    with Gateway.open(existing(settings)) as gateway:
        return grant(gateway, patient, to, purposes, types, days=days)


def revoke_consent(settings: Settings, consent_id: str) -> None:
    """Makes a Consent inactive. Raises NotFound."""
    with Gateway.open(existing(settings)) as gateway:
        revoke(gateway, consent_id)


def grant(
    gateway: Gateway,
    patient: str,
    actors: Sequence[str],
    purposes: Sequence[str],
    types: Sequence[str],
    *,
    days: int,
) -> str:
    """Stores an active Consent of that patient; its id. Raises NotFound, or BadRequest for a wrong grantee."""
    start = gateway.clock()
    until = start + days * _DAY_US
    consent = consents.grant(patient, actors, purposes, types, from_us=start, until_us=until)

    def work(session: WriteSession) -> str:
        if session.current("Patient", patient) is None:
            raise NotFound("no such patient")
        session.put(consent, institution=gateway.settings.institution, patient=patient)
        return str(consent["id"])

    return gateway.store.submit(work).result()


def revoke(gateway: Gateway, consent_id: str) -> None:
    """Makes a Consent inactive. Raises NotFound."""

    def work(session: WriteSession) -> None:
        current = session.current("Consent", consent_id)
        if current is None:
            raise NotFound("no such consent")
        patient = str(current["patient"]["reference"]).removeprefix("Patient/")
        session.put(consents.revoked(current), institution=gateway.settings.institution, patient=patient)

    gateway.store.submit(work).result()


def list_consents(settings: Settings, patient: str) -> Iterator[str]:
    """A line a Consent: id, status, permit or deny, grantees, purposes, types, period."""
    with Gateway.open(existing(settings)) as gateway:
        reader = gateway.store.reader
        about = Clause("patient", "reference", "", (f"Patient/{patient}",))
        page = reader.search(SearchQuery("Consent", (about,), LIST_MAX), true())
        for version in page.versions:
            yield _consent_line(fhir_json.loads(reader.body(version)))
        if page.next_cursor:
            yield f"… more than {LIST_MAX}; the rest is not shown"


def _consent_line(consent: dict) -> str:  # type: ignore[type-arg]
    provision = consent.get("provision", {})
    period = provision.get("period", {})
    parts = [
        consent["id"],
        consent["status"],
        provision.get("type", "-"),
        "to "
        + (", ".join(_grantee(a.get("reference", {})) for a in provision.get("actor", ())) or "anybody"),
        "for " + (", ".join(p.get("code", "?") for p in provision.get("purpose", ())) or "any purpose"),
        "types " + (", ".join(c.get("code", "?") for c in provision.get("class", ())) or "all"),
        f"{period.get('start', '…')} to {period.get('end', '…')}",
    ]
    return "  ".join(parts)


def _grantee(reference: dict) -> str:  # type: ignore[type-arg]
    """Whom a Consent's actor names, as ``grant_consent`` takes it."""
    identifier = reference.get("identifier") or {}
    if identifier.get("system") == PROJECT_SYSTEM:
        return f"ResearchStudy/{identifier.get('value', '?')}"
    return str(reference.get("reference", "?"))


@dataclass(frozen=True, slots=True)
class Verification:
    """What ``hdg verify`` says: one line, and every finding."""

    summary: str
    findings: tuple[Finding, ...]


def verify_store(
    settings: Settings, reference: str, progress: Progress | None = None, *, with_objects: bool = False
) -> Verification:
    """Recomputes the ledger and opens the stored versions: all, or with ``reference`` (TYPE/ID) that resource's.

    Checks also that the columns that decide about access say what the bodies say (management/store/check.py), and that
    what patients handed in is what they signed (management/verify_signatures.py). ``with_objects``: every DICOM object
    too (management/verify_objects.py).
    Raises NotFound when there is no such resource.
    """
    try:
        return _verified(settings, reference, progress, with_objects=with_objects)
    except (
        DBAPIError,
        sqlite3.Error,
        TypeError,
        UnicodeError,
    ) as error:  # of what somebody has put into the tables
        text = f"what the tables hold cannot be read ({type(error).__name__})"
        return Verification("1 finding", (Finding("store-unreadable", "database", text),))


def _verified(
    settings: Settings, reference: str, progress: Progress | None, *, with_objects: bool
) -> Verification:
    with Gateway.open(existing(settings)) as gateway:
        reader = gateway.store.reader
        trust = Trust(settings.log_origin, gateway.keys.ledger_key.public_key().public_bytes_raw())
        with gateway.store.engine.connect() as connection, lenient(connection):
            report = verify(
                connection,
                trust,
                lambda version: _opened(reader, version),
                only=reference,
                open_audit=lambda owner, key, sealed: _opened_row(reader, owner, sealed, key),
                progress=progress,
            )
            access = check(connection, gateway.keys.root, only=reference, progress=progress)
            signed, signatures = check_signatures(
                connection,
                gateway.keys.root,
                lambda version: _opened(reader, version),
                only=reference,
                progress=progress,
            )
            objects = check_objects(connection, reader, progress) if with_objects else None
    if reference and not report.versions and report.is_sound:
        raise NotFound(f"the store holds no {reference}")
    held = objects[1] if objects else Findings(0)
    total = report.total + access.total + signatures.total + held.total
    verdict = f"{total} finding{'s' * (total > 1)}" if total else "verified"
    erased = f", {report.erased} erased" if report.erased else ""
    signed_by = f", {signed} signatures of patients" if signed else ""
    size = f"{report.size} leaves, root {report.root[:16]}…"
    read = f", {objects[0]} objects" if objects else ""
    summary = f"{verdict}: {report.versions} versions{erased}{signed_by}{read}, {size}"
    return Verification(summary, (*report.findings, *access.kept, *signatures.kept, *held.kept))


@dataclass(frozen=True, slots=True)
class Reindexed:
    """``summary``: one line; ``problems``: what is not right even now, a line each."""

    summary: str
    problems: tuple[str, ...]


def reindex_store(settings: Settings, scope: Scope, *, resume: bool, progress: Progress | None) -> Reindexed:
    """Makes index rows anew from the stored bodies, then compares all of them once more.

    ``resume``: goes on where an interrupted run of the same scope has come to. Raises BadRequest for a scope that
    does not exist.
    """
    with Gateway.open(existing(settings)) as gateway:
        indexer = Indexer(hasher(index_key(gateway.keys.root)))
        fill = Refill(gateway.store, indexer)
        while fill.step():  # after an upgrade; else there is nothing to do
            pass
        run = Reindexing(gateway.store, indexer, scope, progress=progress)
        made = run.repair(run.position() if resume else 0)
        left = run.verify()
        words = 0 if scope.type or scope.parameter else put_right(gateway.store, indexer.id_hash)
    problems = [f"{place}: its body does not open" for place in left.unreadable]
    if left.missing or left.extra:
        problems.append(f"{left.missing} index rows are missing and {left.extra} have no reason even now")
    rows = f"{made.missing} rows added, {made.extra} removed"
    rows += f", words of {words} resources put right" if words else ""
    verdict = "not verified" if problems else "verified"
    return Reindexed(f"{made.resources} resources indexed: {rows}; {verdict}", tuple(problems))


def _opened(reader: Reader, version: SealedVersion) -> tuple[bytes, bytes]:
    opened = reader.opened(version)
    return opened.salt, opened.body


def _opened_row(reader: Reader, owner: str, sealed: bytes, key: str) -> tuple[bytes, bytes]:
    opened = reader.open_row(owner, sealed, key)
    return opened.salt, opened.body
