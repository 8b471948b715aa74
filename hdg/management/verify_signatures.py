"""Checks the patients' signatures: that what a patient handed in is still what was signed. Part of ``hdg verify``.

A Provenance of the gateway's own whose signature names a Patient is held to the versions that its targets had when it
was written (by their places in the ledger), and to the patient's key; the public half of that to the private half,
which only the root key opens. What was erased cannot be checked any more and is no finding; what does not open or is
not what its leaf commits to, the ledger's verifier reports itself. patient_signature.py says what is signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, func, select, tuple_

from hdg.errors import HdgError
from hdg.fhir import json
from hdg.fhir.json import JsonObject
from hdg.management.ledger.recompute import Findings, stored
from hdg.management.ledger.verify import OpenVersion, SealedVersion
from hdg.management.patient_signature import is_signed_by
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.vault import unwrap

__all__ = ["check_signatures"]

FINDINGS_MAX = 200
PAGE = 64
_AT_ONCE = 200
_DIGEST = "https://hdg.dev/fhir/StructureDefinition/mapping-digest"
_RESOURCE = table_of(schema.Resource)
_VERSION = table_of(schema.Version)
_OWNER = table_of(schema.OwnerKey)
Progress = Callable[[str, int], None]


def check_signatures(
    connection: Connection,
    root: bytes,
    open_version: OpenVersion,
    *,
    only: str = "",
    progress: Progress | None = None,
) -> tuple[int, Findings]:
    """(signatures checked, what was found): everything, or with ``only`` one Provenance (``Provenance/id``)."""
    checker = _Checker(connection, root, open_version)
    if only and not only.startswith("Provenance/"):
        return 0, checker.findings
    for row in _provenances(connection, only.partition("/")[2]):
        checker.see(row)
        if progress is not None and not checker.count & 0xF:
            progress("signatures", checker.count)
    return checker.count, checker.findings


def _provenances(connection: Connection, id_: str) -> Iterator[Any]:
    """Versions of Provenances in the order of the ledger, a page at a time."""
    columns = _VERSION.c
    query = select(_VERSION).where(columns.type == "Provenance", columns.deleted.is_(False))
    if id_:
        query = query.where(columns.id == id_)
    query = query.order_by(columns.leaf_index).limit(PAGE)
    page: Sequence[Any] = connection.execute(query).all()
    while page:
        yield from page
        page = connection.execute(query.where(columns.leaf_index > page[-1].leaf_index)).all()


class _Checker:
    """``count``: signatures checked so far."""

    def __init__(self, connection: Connection, root: bytes, open_version: OpenVersion) -> None:
        self.count = 0
        self.findings = Findings(FINDINGS_MAX)
        self._connection = connection
        self._root = AESGCM(root)
        self._open = open_version
        self._keys: dict[str, bytes | None] = {}

    def see(self, row: Any) -> None:
        """Takes one version of a Provenance."""
        provenance = self._opened(row)
        patient = "" if provenance is None else _patient_of(provenance)
        if provenance is None or not patient:
            return
        key = self._key(patient)
        if key is None:
            return
        self.count += 1
        place = f"{row.type}/{row.id}/_history/{row.version}"
        names = [_name(target) for target in provenance.get("target", ())]
        held = self._targets([name for name in names if name is not None], row.leaf_index)
        targets: list[JsonObject] = []
        for name in names:
            version = None if name is None else held.get(name)
            if version is None:
                what = "/".join(name) if name is not None else "something"
                text = f"{what}, which the patient signed, is not in the store as it was then"
                self.findings.add("signature-target-missing", place, text)
                return
            content = self._opened(version)
            if content is None:
                return  # erased, or the ledger's verifier names it
            targets.append(content)
        if not is_signed_by(provenance, targets, key):
            text = f"the signature of Patient/{patient} does not fit its {len(targets)} targets as they were stored"
            self.findings.add("signature-wrong", place, text)

    def _opened(self, row: Any) -> JsonObject | None:
        sealed = SealedVersion(row.type, row.id, row.version, row.patient_code, stored(row.body))
        try:
            opened = self._open(sealed)
            found = None if opened is None else json.loads(opened[1])
        except (HdgError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _targets(self, names: Sequence[tuple[str, str]], leaf: int) -> dict[tuple[str, str], Any]:
        """The versions that resources had before a leaf."""
        found: dict[tuple[str, str], Any] = {}
        owner, version = _RESOURCE.c, _VERSION.c
        for at in range(0, len(names), _AT_ONCE):
            newest = (
                select(func.max(version.leaf_index))
                .select_from(_RESOURCE.join(_VERSION, version.rkey == owner.rkey))
                .where(tuple_(owner.type, owner.id).in_(names[at : at + _AT_ONCE]), version.leaf_index < leaf)
                .group_by(version.rkey)
            )
            query = select(_VERSION).where(version.leaf_index.in_(newest), version.deleted.is_(False))
            found |= {(row.type, row.id): row for row in self._connection.execute(query)}
        return found

    def _key(self, patient: str) -> bytes | None:
        """The patient's public key; None when there is none any more, or it was changed, which is a finding."""
        if patient not in self._keys:
            self._keys[patient] = self._found(patient)
        return self._keys[patient]

    def _found(self, patient: str) -> bytes | None:
        columns = (_OWNER.c.code, _OWNER.c.public_key, _OWNER.c.wrapped_private_key)
        query = select(*columns).where(_OWNER.c.kind == "patient", _OWNER.c.owner == patient)
        row = self._connection.execute(query).one_or_none()
        place = f"Patient/{patient}"
        if row is None:
            self.findings.add(
                "signature-key-missing", place, "a Provenance bears a signature of no known key"
            )
            return None
        if row.wrapped_private_key is None:
            return None
        try:
            private = unwrap(self._root, stored(row.wrapped_private_key), b"private/" + row.code.encode())
            public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        except (HdgError, InvalidTag, ValueError):
            public = b""
        if public != stored(row.public_key):
            text = "the public key of the patient's signatures is not that of the private key"
            self.findings.add("signature-key-changed", place, text)
            return None
        return public


def _patient_of(provenance: JsonObject) -> str:
    """The id of the Patient who signed a Provenance of the gateway's own; '' when none did."""
    is_ours = any(one.get("url") == _DIGEST for one in provenance.get("extension", ()))
    for signature in provenance.get("signature", ()) if is_ours else ():
        who = (signature.get("who") or {}).get("reference") or ""
        if signature.get("sigFormat") == "application/jose" and who.startswith("Patient/"):
            return str(who.removeprefix("Patient/"))
    return ""


def _name(target: JsonObject) -> tuple[str, str] | None:
    type_, _, id_ = (target.get("reference") or "").partition("/")
    return (type_, id_) if type_ and id_ and "/" not in id_ else None
