"""Bearer tokens: who calls, in what role, for what purpose.

JWT (RFC 7519) signed with Ed25519 (RFC 8037, algorithm name of RFC 9864). Every claim is checked strictly; a
token that fails for any reason gets the same answer after the same signature check. Verified tokens are
remembered by their SHA-256 until they expire.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import OKPKey
from sqlalchemy import BigInteger, Column, Integer, Text
from sqlmodel import Field, SQLModel

from hdg.errors import AccessDenied

__all__ = ["ROLES", "Authenticator", "Principal", "RevokedToken", "is_project", "mint"]

ROLES = frozenset({"patient", "clinician", "researcher", "operator", "sender"})
DEFAULT_PURPOSE = {
    "patient": "PATRQT",
    "clinician": "TREAT",
    "researcher": "HRESCH",
    "operator": "HSYSADMIN",
    "sender": "HOPERAT",
}
AUDIENCE = "hdg"
TOKEN_MAX_BYTES = 4_096
LIFETIME_MAX_US = 366 * 86_400 * 1_000_000
REVOCATION_AGE_US = 5_000_000
"""How old the list of revoked tokens may get: other processes' revocations are seen within this time."""

_SECOND_US = 1_000_000
_ALGORITHM = "Ed25519"
_TYPE = "at+jwt"
_CLAIMS = ("user", "institution", "patient", "purpose", "project")
_PROJECT = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")


class RevokedToken(SQLModel, table=True):
    """A token that is refused although it has not expired (revocation.py); its ledger leaf asks for the row."""

    __tablename__ = "revoked_token"
    token_id: str = Field(sa_column=Column(Text, primary_key=True))
    expires_us: int = Field(sa_column=Column(BigInteger().with_variant(Integer(), "sqlite"), nullable=False))


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a verified token. '' where a part does not apply; ``expires_us``: µs since the epoch."""

    role: str
    user: str
    institution: str
    patient: str
    purpose: str
    project: str
    token_id: str
    expires_us: int


def mint(
    key: Ed25519PrivateKey,
    *,
    role: str,
    at_us: int,
    lifetime_s: int = 3_600,
    user: str = "",
    institution: str = "",
    patient: str = "",
    purpose: str = "",
    project: str = "",
    issuer: str = AUDIENCE,
) -> str:
    """A signed token; ``purpose`` '': the role's default. Raises AccessDenied for claims none accepts."""
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": user or patient or institution or role,
        "iat": at_us // _SECOND_US,
        "exp": at_us // _SECOND_US + lifetime_s,
        "jti": secrets.token_urlsafe(16),
        "role": role,
        "user": user,
        "institution": institution,
        "patient": patient,
        "purpose": purpose or DEFAULT_PURPOSE.get(role, ""),
        "project": project,
    }
    _principal(claims, issuer, at_us)
    return jwt.encode({"alg": _ALGORITHM, "typ": _TYPE}, claims, _private(key), algorithms=[_ALGORITHM])


def is_project(text: str) -> bool:
    """Whether a text can be the id of a research project (R4 datatypes.html#id)."""
    return _PROJECT.match(text) is not None


def _private(key: Ed25519PrivateKey) -> OKPKey:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return OKPKey.import_key(key.private_bytes(encoding, form, serialization.NoEncryption()))


def _public(key: Ed25519PublicKey) -> OKPKey:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return OKPKey.import_key(key.public_bytes(serialization.Encoding.PEM, form))


def _refusal() -> AccessDenied:
    return AccessDenied("the access token is missing or not valid", is_authenticated=False)


def _principal(claims: Mapping[str, Any], issuer: str, at_us: int) -> Principal:
    """The principal of verified claims. Raises AccessDenied unless all are there, typed and consistent."""
    texts = [claims.get(name, "") for name in (*_CLAIMS, "role", "jti")]
    times: list[Any] = [claims.get(name) for name in ("iat", "exp")]
    if not all(isinstance(text, str) and len(text) <= 256 for text in texts):
        raise _refusal()
    if not all(type(time) is int for time in times):
        raise _refusal()
    user, institution, patient, purpose, project, role, token_id = texts
    issued_us, expires_us = (int(time) * _SECOND_US for time in times)
    is_current = issued_us <= at_us + 60 * _SECOND_US and at_us < expires_us <= issued_us + LIFETIME_MAX_US
    is_ours = claims.get("iss") == issuer and claims.get("aud") == AUDIENCE and bool(token_id)
    is_complete = {
        "patient": bool(patient),
        "clinician": bool(institution and user) and not patient,
        "researcher": bool(user and is_project(project)) and not patient,
        "operator": not patient,
        "sender": bool(institution) and not patient,  # may only send messages, and only its institution's
    }.get(role, False)
    if not (is_current and is_ours and is_complete and purpose):
        raise _refusal()
    return Principal(role, user, institution, patient, purpose, project, token_id, expires_us)


class Authenticator:
    """Verifies tokens. Thread-safe. ``load_revoked`` lists the ids of revoked tokens (see RevokedToken)."""

    def __init__(
        self,
        public_key: Ed25519PublicKey,
        clock: Callable[[], int],
        *,
        issuer: str = AUDIENCE,
        load_revoked: Callable[[], Collection[str]] = tuple,
        cache_max: int = 4_096,
    ) -> None:
        self._key = _public(public_key)
        self._clock = clock
        self._issuer = issuer
        self._load_revoked = load_revoked
        self._cache_max = cache_max
        self._lock = threading.Lock()
        self._cache: OrderedDict[bytes, Principal] = OrderedDict()
        self._revoked: frozenset[str] = frozenset()
        self._revoked_at_us: int | None = None
        self._decoy = mint(Ed25519PrivateKey.generate(), role="operator", at_us=0, issuer=issuer)

    def authenticate(self, token: str) -> Principal:
        """The token's principal. Raises AccessDenied (not authenticated) without saying what is wrong."""
        at_us = self._clock()
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            principal = self._cache.get(digest)
            if principal is not None:
                self._cache.move_to_end(digest)
        if principal is None:
            principal = self._verify(token, at_us)
            with self._lock:
                self._cache[digest] = principal
                while len(self._cache) > self._cache_max:
                    self._cache.popitem(last=False)
        if at_us >= principal.expires_us or principal.token_id in self._revocations(at_us):
            raise _refusal()
        return principal

    def _verify(self, token: str, at_us: int) -> Principal:
        try:
            if len(token) > TOKEN_MAX_BYTES or token.count(".") != 2:
                raise ValueError("not a compact JWS")
            verified = jwt.decode(token, self._key, algorithms=[_ALGORITHM])
        except BadSignatureError:
            raise _refusal() from None
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            self._spend()
            raise _refusal() from None
        if verified.header.get("typ") != _TYPE:
            raise _refusal()
        return _principal(verified.claims, self._issuer, at_us)

    def _spend(self) -> None:
        """A signature check for nothing: a malformed token takes as long as one with a wrong signature."""
        try:
            jwt.decode(self._decoy, self._key, algorithms=[_ALGORITHM])
        except JoseError:
            return

    def _revocations(self, at_us: int) -> frozenset[str]:
        if self._revoked_at_us is None or not 0 <= at_us - self._revoked_at_us < REVOCATION_AGE_US:
            self._revoked = frozenset(self._load_revoked())
            self._revoked_at_us = at_us
        return self._revoked

    def forget(self) -> None:
        """Makes the next call read the revocations again (after revoking in this process)."""
        self._revoked_at_us = None
