"""Tokens: RFC 7519 claims checked strictly, RFC 8037 signatures, one answer to everything wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hdg.errors import AccessDenied
from hdg.management import identity
from hdg.management.identity import Authenticator, Principal, mint

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW_US = 1_714_564_800_000_000
CLAIMS: dict[str, Any] = {
    "iss": "hdg",
    "aud": "hdg",
    "sub": "u1",
    "iat": NOW_US // 1_000_000,
    "exp": NOW_US // 1_000_000 + 60,
    "jti": "t1",
    "role": "clinician",
    "user": "u1",
    "institution": "i1",
    "patient": "",
    "purpose": "TREAT",
    "project": "",
}


class Time:
    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        return self.now_us


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def raw_token(
    claims: dict[str, Any] | bytes, header: dict[str, Any] | None = None, key: Ed25519PrivateKey = KEY
) -> str:
    """A token made by hand, so that anything can be wrong with it."""
    head = json.dumps(header or {"alg": "Ed25519", "typ": "at+jwt"}).encode()
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{part(head)}.{part(body)}"
    return f"{signed}.{part(key.sign(signed.encode()))}"


def authenticator(clock: Callable[[], int] = lambda: NOW_US, **options: Any) -> Authenticator:
    return Authenticator(KEY.public_key(), clock, **options)


@pytest.mark.parametrize(
    ("claims", "purpose"),
    [
        ({"role": "patient", "patient": "p1"}, "PATRQT"),
        ({"role": "clinician", "user": "u1", "institution": "i1"}, "TREAT"),
        ({"role": "researcher", "user": "u1", "project": "study"}, "HRESCH"),
        ({"role": "operator"}, "HSYSADMIN"),
        ({"role": "clinician", "user": "u1", "institution": "i1", "purpose": "ETREAT"}, "ETREAT"),
    ],
)
def test_a_minted_token_names_its_principal(claims: dict[str, str], purpose: str) -> None:
    principal = authenticator().authenticate(mint(KEY, at_us=NOW_US, lifetime_s=60, **claims))
    expected = {"user": "", "institution": "", "patient": "", "project": ""} | claims | {"purpose": purpose}
    assert principal == Principal(token_id=principal.token_id, expires_us=NOW_US + 60_000_000, **expected)
    assert len(principal.token_id) > 16


@pytest.mark.parametrize(
    "claims",
    [
        {"role": "admin"},
        {"role": "patient"},
        {"role": "clinician", "user": "u1"},
        {"role": "clinician", "institution": "i1"},
        {"role": "clinician", "user": "u1", "institution": "i1", "patient": "p1"},
        {"role": "researcher", "user": "u1"},
        {"role": "researcher", "user": "u1", "project": "a study"},
        {"role": "researcher", "user": "u1", "project": "x" * 65},
        {"role": "operator", "patient": "p1"},
        {"role": "operator", "lifetime_s": 0},
        {"role": "operator", "lifetime_s": 10**9},
    ],
)
def test_no_token_is_minted_that_no_gateway_would_accept(claims: dict[str, Any]) -> None:
    with pytest.raises(AccessDenied):
        mint(KEY, at_us=NOW_US, **claims)


def test_a_hand_made_token_with_right_claims_is_accepted() -> None:
    assert authenticator().authenticate(raw_token(CLAIMS)).user == "u1"


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "other"},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["hdg"]},
        {"exp": CLAIMS["iat"]},
        {"exp": None},
        {"exp": "never"},
        {"exp": CLAIMS["exp"] + 0.5},
        {"exp": True},
        {"exp": 10**12},
        {"iat": CLAIMS["iat"] + 3_600},
        {"jti": ""},
        {"jti": 7},
        {"role": "root"},
        {"role": ["clinician"]},
        {"user": ""},
        {"user": 5},
        {"user": None},
        {"institution": ""},
        {"patient": "p1"},
        {"purpose": ""},
        {"user": "u" * 257},
    ],
)
def test_a_wrong_claim_is_refused_without_saying_which(change: dict[str, Any]) -> None:
    with pytest.raises(AccessDenied, match=r"^the access token is missing or not valid$") as caught:
        authenticator().authenticate(raw_token(CLAIMS | change))
    assert caught.value.is_authenticated is False


def unsigned() -> str:
    head = json.dumps({"alg": "none", "typ": "at+jwt"}).encode()
    return f"{part(head)}.{part(json.dumps(CLAIMS).encode())}."


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b",
        "a.b.c",
        "..",
        "é.é.é",
        "\udcff.a.b",
        "a" * 10_000,
        unsigned(),
        raw_token(CLAIMS, key=Ed25519PrivateKey.from_private_bytes(bytes(32))),
        raw_token(CLAIMS, {"alg": "HS256", "typ": "at+jwt"}),
        raw_token(CLAIMS, {"alg": "EdDSA", "typ": "at+jwt"}),
        raw_token(CLAIMS, {"alg": "Ed25519", "typ": "JWT"}),
        raw_token(CLAIMS, {"alg": "Ed25519"}),
        raw_token(CLAIMS, {"alg": "Ed25519", "typ": "at+jwt", "crit": ["b64"], "b64": False}),
        raw_token(b"[]"),
        raw_token(b"not json"),
        raw_token(b'"text"'),
        raw_token(CLAIMS)[:-4] + "AAAA",
        raw_token(CLAIMS) + ".x",
    ],
)
def test_a_malformed_or_forged_token_is_refused(token: str) -> None:
    with pytest.raises(AccessDenied, match=r"^the access token is missing or not valid$"):
        authenticator().authenticate(token)


def test_a_token_ends_when_it_expires_even_when_remembered() -> None:
    clock = Time()
    checker, token = authenticator(clock), mint(KEY, role="operator", at_us=NOW_US, lifetime_s=60)
    clock.now_us += 59_999_999
    checker.authenticate(token)
    clock.now_us += 1
    with pytest.raises(AccessDenied):
        checker.authenticate(token)


def test_a_revoked_token_is_refused_within_the_announced_time() -> None:
    clock, revoked = Time(), set[str]()
    checker = authenticator(clock, load_revoked=lambda: revoked)
    token = mint(KEY, role="operator", at_us=NOW_US)
    revoked.add(checker.authenticate(token).token_id)
    clock.now_us += identity.REVOCATION_AGE_US
    with pytest.raises(AccessDenied):
        checker.authenticate(token)
    revoked.clear()
    checker.forget()
    checker.authenticate(token)


def test_a_token_is_verified_once_and_the_memory_of_tokens_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verified = []
    decode = identity.jwt.decode
    monkeypatch.setattr(
        identity.jwt, "decode", lambda *args, **more: verified.append(1) or decode(*args, **more)
    )
    checker = authenticator(cache_max=2)
    tokens = [mint(KEY, role="operator", at_us=NOW_US) for _ in range(3)]
    for token in (tokens[0], tokens[0], tokens[1], tokens[0]):
        checker.authenticate(token)
    assert len(verified) == 2
    for token in (tokens[2], tokens[0], tokens[1]):
        checker.authenticate(token)
    assert len(verified) == 4


def test_a_malformed_token_costs_a_signature_check_too(monkeypatch: pytest.MonkeyPatch) -> None:
    checker, verified = authenticator(), []
    decode = identity.jwt.decode
    monkeypatch.setattr(
        identity.jwt, "decode", lambda *args, **more: verified.append(1) or decode(*args, **more)
    )
    with pytest.raises(AccessDenied):
        checker.authenticate("nonsense")
    assert verified == [1]
