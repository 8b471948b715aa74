"""Checks what decides about access against the sealed bodies: compartments, scopes, compiled consent rules.

Part of ``hdg verify`` (DESIGN §6), beside the ledger's verifier. That one holds bodies, institutions and
owners of versions to their leaves; this one derives from the bodies (derived.py) what the plain columns must
say, so that whoever can write to the database cannot widen access through them unnoticed. Memory: one page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, and_, func, select

from hdg.management import vault
from hdg.management.consent.rules import rows_for
from hdg.management.consent.schema import ConsentRuleRow
from hdg.management.ledger.recompute import Findings
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.derived import Derived, walk
from hdg.management.store.index import Indexer
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher

__all__ = ["check"]

FINDINGS_MAX = 200
Progress = Callable[[str, int], None]

_COMPARTMENT = table_of(schema.Compartment)
_RESOURCE = table_of(schema.Resource)
_RULE = table_of(ConsentRuleRow)


def check(
    connection: Connection, root: bytes, *, only: str = "", progress: Progress | None = None
) -> Findings:
    """Everything, or with ``only`` (Type/id) one resource. ``root``: the gateway's root key.

    What does not open is the ledger's verifier's to report. ``connection`` must see one state throughout.
    """
    findings = Findings(FINDINGS_MAX)
    indexer = Indexer(hasher(index_key(root)))
    count = 0
    for page in walk(connection, vault.KekCache(root), indexer, only=only, is_lenient=True):
        count += len(page)
        if progress is not None:
            progress("access columns", count)
        for version in page:
            if version.patients is not None:
                _scope(version, findings)
        current = [version for version in page if version.is_current and version.patients is not None]
        _compartments(connection, current, findings)
        _rules(connection, [version for version in current if version.row.type == "Consent"], findings)
    if not only:
        _strays(connection, findings)
    return findings


def _scope(version: Derived, findings: Findings) -> None:
    row = version.row
    place = f"{row.type}/{row.id}/_history/{row.version}"
    if row.scope != version.scope:
        findings.add("scope-wrong", place, "its scope is not that of its patients and institution")
    if row.type == "Patient" and row.kind == "patient" and row.owner != row.id:
        findings.add("owner-wrong", place, "it lies under the key of another patient")


def _compartments(connection: Connection, current: list[Derived], findings: Findings) -> None:
    stored = _by_rkey(connection, _COMPARTMENT, current)
    for version in current:
        row, patients = version.row, version.patients or frozenset()
        named = {found.patient for found in stored[row.rkey]}
        wrong = []
        if named != patients:
            wrong.append("compartment rows")
        if (row.patient, row.patients) != (version.sole, len(patients)):
            wrong.append("patient columns")
        if wrong:
            text = f"its {' and '.join(wrong)} are not those that its body gives"
            findings.add("compartment-wrong", f"{row.type}/{row.id}", text)


def _rules(connection: Connection, consents: list[Derived], findings: Findings) -> None:
    stored = _by_rkey(connection, _RULE, consents)
    for version in consents:
        row, content = version.row, version.content
        wanted = rows_for(content, row.rkey) if content is not None else []
        if _comparable(wanted) != _comparable(found._mapping for found in stored[row.rkey]):
            text = "its compiled rules are not those that its body gives"
            findings.add("consent-rules-wrong", f"{row.type}/{row.id}", text)


def _comparable(rows: Iterable[Any]) -> list[tuple[Any, ...]]:
    return sorted(tuple(row[column.name] for column in _RULE.columns) for row in rows)


def _by_rkey(connection: Connection, table: Any, versions: list[Derived]) -> defaultdict[int, list[Any]]:
    found: defaultdict[int, list[Any]] = defaultdict(list)
    if versions:
        rkeys = [version.row.rkey for version in versions]
        for row in connection.execute(select(table).where(table.c.rkey.in_(rkeys))):
            found[row.rkey].append(row)
    return found


def _strays(connection: Connection, findings: Findings) -> None:
    """Rows of no resource (they would come to life with the next one), and rules of what is no Consent."""
    consents = and_(_RESOURCE.c.rkey == _RULE.c.rkey, _RESOURCE.c.type == "Consent")
    for table, owner in (
        (_COMPARTMENT, _RESOURCE.c.rkey == _COMPARTMENT.c.rkey),
        (_RULE, consents),
    ):
        joined = table.outerjoin(_RESOURCE, owner)
        query = select(func.count()).select_from(joined).where(_RESOURCE.c.rkey.is_(None))
        count = connection.execute(query).scalar() or 0
        if count:
            findings.add("stray-rows", table.name, f"{count} rows belong to no resource that could have them")
