"""The patient's signature on what the patient handed in: a detached JWS by the patient's own key, in a Provenance.

RFC 7515 Appendix F (https://www.rfc-editor.org/rfc/rfc7515#appendix-F), RFC 8037 (EdDSA). The key pair is the one that
vault.py makes with a patient's other keys; the gateway keeps it and signs when the patient's credential brought the
data. What is signed: the canonical bytes of the targets, in the order of ``Provenance.target``, a line feed between
them, without ``meta.versionId`` and ``meta.lastUpdated``. R4 datatypes.html#Signature.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select

from hdg.errors import VaultError
from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.json import JsonObject
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.session import WriteSession
from hdg.management.vault import unwrap

__all__ = ["is_signed_by", "public_key", "sign", "signature"]

_OWNER = table_of(schema.OwnerKey)
_AUTHOR = {
    "system": "urn:iso-astm:E1762-95:2013",
    "code": "1.2.840.10065.1.12.1.1",
    "display": "Author's Signature",
}


def signature(
    session: WriteSession, root: bytes, patient: str, targets: Sequence[JsonObject], when: str
) -> JsonObject:
    """An R4 Signature over ``targets`` by the key of ``patient``. Raises VaultError when that was destroyed."""
    jws = sign(_private_key(session, root, patient), payload_of(targets))
    return {
        "type": [_AUTHOR],
        "when": when,
        "who": {"reference": f"Patient/{patient}"},
        "targetFormat": "application/fhir+json",
        "sigFormat": "application/jose",
        "data": base64.b64encode(jws.encode()).decode(),
    }


def payload_of(targets: Sequence[JsonObject]) -> bytes:
    """What is signed."""
    return b"\n".join(canonical_bytes(one, without_meta_version=True) for one in targets)


def sign(key: Ed25519PrivateKey, payload: bytes) -> str:
    """A compact JWS without its payload; the public key stands in its header."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": _encoded(key.public_key().public_bytes_raw())}
    header = _encoded(json.dumps({"alg": "EdDSA", "jwk": jwk}, separators=(",", ":")).encode())
    return f"{header}..{_encoded(key.sign(f'{header}.{_encoded(payload)}'.encode()))}"


def is_signed_by(provenance: JsonObject, targets: Sequence[JsonObject], key: bytes) -> bool:
    """Whether one of the signatures of a Provenance is that of ``key`` (32 bytes) over ``targets`` as they are."""
    payload = _encoded(payload_of(targets))
    for one in provenance.get("signature", ()):
        try:
            header, empty, signed = base64.b64decode(one["data"]).decode("ascii").split(".")
            told = json.loads(_decoded(header))
            if empty or told["alg"] != "EdDSA" or set(told) - {"alg", "jwk"}:
                continue
            Ed25519PublicKey.from_public_bytes(key).verify(_decoded(signed), f"{header}.{payload}".encode())
        except (InvalidSignature, ValueError, KeyError, TypeError):
            continue
        return True
    return False


def public_key(session: WriteSession, patient: str) -> bytes:
    """The patient's public key, 32 bytes; makes the patient's keys when new."""
    return _row(session, patient)[1]


def _private_key(session: WriteSession, root: bytes, patient: str) -> Ed25519PrivateKey:
    code, _, wrapped = _row(session, patient)
    if wrapped is None:
        raise VaultError("the patient's key was destroyed")
    return Ed25519PrivateKey.from_private_bytes(unwrap(AESGCM(root), wrapped, b"private/" + code.encode()))


def _row(session: WriteSession, patient: str) -> tuple[str, bytes, bytes | None]:
    """(code, public key, wrapped private key); those of a new patient are not in the table yet."""
    code = session.patient_code(patient)
    for kind, owner, _, _, public, private, *_ in session.batch.owner_rows:
        if (kind, owner) == ("patient", patient):
            return code, public, private
    columns = (_OWNER.c.public_key, _OWNER.c.wrapped_private_key)
    query = select(*columns).where(_OWNER.c.kind == "patient", _OWNER.c.owner == patient)
    public, private = session.connection.execute(query).one()
    return code, bytes(public), None if private is None else bytes(private)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
