"""Verifies the store against the ledger from stored bytes alone, with nothing but the log's public key.

Shares no code with the log (import-linter holds that). Every leaf is hashed again and every checkpoint's root
and signature checked (recompute.py); every version is opened and compared with the commitment of its leaf;
every leaf of a version must have its version and every version its leaf; every current row must be its
resource's newest version. Reads in pages; memory: one bit per leaf. See DESIGN §6; commitments are
HMAC-SHA-256 (RFC 2104).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, FromClause, and_, func, or_, select, tuple_

from hdg.errors import HdgError
from hdg.management.ledger.recompute import Finding, Findings, Trust, recompute, stored
from hdg.management.ledger.schema import LedgerCheckpoint, LedgerLeaf
from hdg.management.ledger.verify_audit import AuditTrail, OpenAudit
from hdg.management.ledger.verify_revoked import Revocations
from hdg.management.store.schema import Resource, Version

__all__ = ["Finding", "OpenAudit", "OpenVersion", "Report", "SealedVersion", "Trust", "verify"]

PAGE = 256
VERSION_KINDS = frozenset({"resource", "consent"})
AUDIT_KINDS = frozenset({"access", "accesses"})
FINDINGS_MAX = 200

_LEAF: FromClause = LedgerLeaf.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy
_HEAD: FromClause = LedgerCheckpoint.__table__  # type: ignore[attr-defined]
_RESOURCE: FromClause = Resource.__table__  # type: ignore[attr-defined]
_VERSION: FromClause = Version.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class SealedVersion:
    """A stored version as its row has it; ``sealed`` is the encrypted envelope."""

    type: str
    id: str
    version: int
    patient_code: str
    sealed: bytes


OpenVersion = Callable[[SealedVersion], tuple[bytes, bytes] | None]
"""(salt, body) of a version, or None (or any HdgError) when it cannot be opened."""

Progress = Callable[[str, int], None]
"""Called with what is being checked (``leaves`` or ``versions``) and how many were, about every thousand."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked and found. ``erased``: versions whose key a recorded erasure destroyed."""

    size: int
    root: str
    versions: int
    erased: int
    findings: tuple[Finding, ...]
    total: int

    @property
    def is_sound(self) -> bool:
        """Nothing was found."""
        return self.total == 0


def verify(
    connection: Connection,
    trust: Trust,
    open_version: OpenVersion,
    *,
    only: str = "",
    known: str | None = None,
    open_audit: OpenAudit | None = None,
    progress: Progress | None = None,
) -> Report:
    """Checks everything, or with ``only`` (``Type/id``) the log and that one resource.

    ``known``: a checkpoint note kept elsewhere, see ``recompute``. With ``open_audit`` the audit trail and the
    revoked tokens too, unless ``only`` is given. Findings beyond FINDINGS_MAX are only
    counted.
    """
    findings = Findings(FINDINGS_MAX)
    trail = AuditTrail(connection, findings, open_audit) if open_audit is not None and not only else None
    wanted = _Wanted(only, findings, trail, progress)
    head = recompute(connection, trust, findings, wanted.see, known=known)
    if trail is not None:
        trail.finish(wanted.erased_subjects, head.at_us if head else 0, head.size if head else 0)
        wanted.revocations.finish(connection, findings)
    _outside_checkpoints(connection, findings)
    versions = _Versions(connection, findings, wanted, open_version, progress)
    versions.check(only)
    wanted.report_unclaimed(connection)
    _current_rows(connection, only, findings)
    return Report(
        size=head.size if head else 0,
        root=head.root.hex() if head else "",
        versions=versions.count,
        erased=versions.erased,
        findings=tuple(findings.kept),
        total=findings.total,
    )


class _Wanted:
    """Which leaves need a version: one bit each, cleared when a version claims it. Notes erasures too."""

    def __init__(
        self, only: str, findings: Findings, trail: AuditTrail | None, progress: Progress | None
    ) -> None:
        self._only = only
        self._findings = findings
        self._trail = trail
        self._progress = progress
        self._bits = bytearray()
        self.erased_subjects: set[str] = set()
        self.revocations = Revocations()

    def see(self, index: int, entry: bytes | None) -> None:
        """Takes the leaves in order."""
        if index // 8 == len(self._bits):
            self._bits.append(0)
        if self._progress is not None and index % 1_024 == 0:
            self._progress("leaves", index)
        if entry is None:
            return
        leaf = _fields(entry)
        if leaf is None:
            self._findings.add("leaf-form", f"leaf {index}", "it is not a leaf of this gateway")
        elif leaf["kind"] == "erasure":
            self.erased_subjects.add(leaf["subject"])
        elif leaf["kind"] == "key":
            self.revocations.see(leaf)
        elif leaf["kind"] in AUDIT_KINDS:
            if self._trail is not None:
                self._trail.see(index, leaf)
        elif leaf["kind"] in VERSION_KINDS and self._only in ("", leaf["key"]):
            self._bits[index // 8] |= 1 << index % 8

    def covers(self, index: int) -> bool:
        """The leaf was there when the verification began."""
        return index // 8 < len(self._bits)

    def claim(self, index: int) -> bool:
        """A version claims the leaf; False when it is no version's leaf or was claimed before."""
        if not self.covers(index) or not self._bits[index // 8] >> index % 8 & 1:
            return False
        self._bits[index // 8] &= ~(1 << index % 8)
        return True

    def report_unclaimed(self, connection: Connection) -> None:
        """Findings for the leaves that no version claimed."""
        for at, bits in enumerate(self._bits):
            for index in (at * 8 + bit for bit in range(8) if bits >> bit & 1):
                entry = connection.execute(select(_LEAF.c.entry).where(_LEAF.c.leaf_index == index)).scalar()
                leaf = _fields(stored(entry or b"")) or {"key": "?", "version": 0}
                place = f"{leaf['key']}/_history/{leaf['version']}"
                self._findings.add("version-missing", place, f"leaf {index} has no stored version")


def _fields(entry: bytes) -> dict[str, Any] | None:
    """The leaf's fields, if it has them all in the right types."""
    kinds = {
        "at_us": int,
        "commitment": str,
        "institution": str,
        "key": str,
        "kind": str,
        "subject": str,
        "version": int,
    }
    try:
        found = orjson.loads(entry)
    except ValueError:
        return None
    is_leaf = isinstance(found, dict) and found.keys() == kinds.keys()
    return found if is_leaf and all(isinstance(found[name], kind) for name, kind in kinds.items()) else None


def _outside_checkpoints(connection: Connection, findings: Findings) -> None:
    """Leaves that no checkpoint covers."""
    covered = select(func.coalesce(func.max(_HEAD.c.size), 0)).scalar_subquery()
    query = select(func.count(), func.min(_LEAF.c.leaf_index)).where(_LEAF.c.leaf_index >= covered)
    count, first = connection.execute(query).one()
    if count:
        findings.add("leaf-unsigned", f"leaf {first}", f"{count} leaves are beyond the newest checkpoint")


class _Versions:
    """Checks every stored version against its leaf."""

    def __init__(
        self,
        connection: Connection,
        findings: Findings,
        wanted: _Wanted,
        open_version: OpenVersion,
        progress: Progress | None,
    ) -> None:
        self._connection = connection
        self._findings = findings
        self._wanted = wanted
        self._open = open_version
        self._progress = progress
        self.count = 0
        self.erased = 0

    def check(self, only: str) -> None:
        """All versions, or those of one resource."""
        for page in _pages(self._connection, only):
            leaves = self._leaves([row.leaf_index for row in page])
            for row in page:
                self.count += 1
                if self._progress is not None and self.count % 1_024 == 0:
                    self._progress("versions", self.count)
                self._version(row, leaves.get(row.leaf_index))

    def _leaves(self, indexes: Sequence[int]) -> dict[int, bytes]:
        query = select(_LEAF).where(_LEAF.c.leaf_index.in_(indexes))
        return {row.leaf_index: stored(row.entry) for row in self._connection.execute(query)}

    def _version(self, row: Any, entry: bytes | None) -> None:
        place = f"{row.type}/{row.id}/_history/{row.version}"
        leaf = _fields(entry) if entry is not None else None
        if leaf is None:
            self._findings.add("leaf-missing", place, f"its leaf {row.leaf_index} is not in the log")
            return
        is_first = self._wanted.claim(row.leaf_index)
        expected = {
            "key": f"{row.type}/{row.id}",
            "version": row.version,
            "institution": row.institution,
            "at_us": row.updated_us,
            "subject": row.patient_code,
        }
        wrong = [name for name, value in expected.items() if leaf[name] != value]
        if leaf["kind"] not in VERSION_KINDS:
            wrong.append("kind")
        if wrong:
            text = f"its row and its leaf {row.leaf_index} differ in {', '.join(wrong)}"
            self._findings.add("version-changed", place, text)
        elif not is_first and self._wanted.covers(row.leaf_index):
            self._findings.add(
                "leaf-shared", place, f"leaf {row.leaf_index} belongs to another version already"
            )
        self._body(row, place, leaf["commitment"])

    def _body(self, row: Any, place: str, commitment: str) -> None:
        sealed = SealedVersion(row.type, row.id, row.version, row.patient_code, stored(row.body))
        try:
            opened = self._open(sealed)
        except HdgError:
            opened = None
        if opened is None:
            if row.patient_code in self._wanted.erased_subjects:
                self.erased += 1
            else:
                self._findings.add(
                    "body-unreadable", place, "its body does not open, and no erasure is recorded"
                )
        elif hmac.digest(*opened, "sha256").hex() != commitment:
            self._findings.add("body-changed", place, "its body is not the one its leaf commits to")


def _pages(connection: Connection, only: str) -> Iterator[Sequence[Any]]:
    """Version rows in key order, PAGE at a time."""
    key = tuple_(_VERSION.c.rkey, _VERSION.c.version)
    query = select(_VERSION).order_by(_VERSION.c.rkey, _VERSION.c.version).limit(PAGE)
    if only:
        query = query.where(_is(_VERSION, only))
    page: Sequence[Any] = connection.execute(query).all()
    while page:
        yield page
        last = tuple_(page[-1].rkey, page[-1].version)
        page = connection.execute(query.where(key > last)).all()


def _is(table: FromClause, only: str) -> ColumnElement[bool]:
    type_, _, id_ = only.partition("/")
    return and_(table.c.type == type_, table.c.id == id_)


def _current_rows(connection: Connection, only: str, findings: Findings) -> None:
    """Current rows that are not their newest version, gaps in numbering, versions without a current row."""
    newest = (
        select(_VERSION.c.rkey, func.max(_VERSION.c.version).label("version"), func.count().label("count"))
        .group_by(_VERSION.c.rkey)
        .subquery()
    )
    row, version = _RESOURCE.c, _VERSION.c
    joined = _RESOURCE.join(newest, newest.c.rkey == row.rkey, isouter=True).join(
        _VERSION, and_(version.rkey == row.rkey, version.version == row.version), isouter=True
    )
    differs = or_(
        version.rkey.is_(None),
        row.version != newest.c.version,
        *(row[name] != version[name] for name in ("type", "id", "updated_us", "institution", "deleted")),
    )
    query = select(
        row.type,
        row.id,
        row.version,
        newest.c.version.label("newest"),
        newest.c.count,
        differs.label("is_off"),
    )
    query = query.select_from(joined).where(or_(differs, newest.c.count != newest.c.version))
    for found in connection.execute(query.where(_is(_RESOURCE, only)) if only else query):
        place = f"{found.type}/{found.id}"
        if found.is_off:
            text = f"its current row (version {found.version}) is not its newest version ({found.newest})"
            findings.add("current-wrong", place, text)
        if found.count is not None and found.count != found.newest:
            findings.add(
                "version-gap",
                place,
                f"{found.count} versions are stored, the newest is number {found.newest}",
            )
    orphans = select(version.type, version.id).distinct().where(version.rkey.not_in(select(row.rkey)))
    for found in connection.execute(orphans.where(_is(_VERSION, only)) if only else orphans):
        findings.add("current-missing", f"{found.type}/{found.id}", "it has versions but no current row")
