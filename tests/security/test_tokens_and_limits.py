"""Forged tokens, and requests made to cost: refused with 4xx or a closed connection, never a 500."""

from __future__ import annotations

import base64
import json
import socket
import time

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gateway_site import Site

from hdg.management import identity
from messages import oru

FORM = {"content-type": "application/x-www-form-urlencoded"}


def part(content: bytes | dict[str, object]) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def token(site: Site) -> str:
    site.send(oru("C1"))
    return site.token("clinician", institution="northgen")


def test_a_token_that_is_not_exactly_ours_is_refused(site: Site, token: str) -> None:
    assert site.get("Patient", token).json()["total"] == 1
    head, claims, signature = token.split(".")
    ours = {"alg": "Ed25519", "typ": "at+jwt"}
    more = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"institution": "other"}
    at_us = time.time_ns() // 1000
    stranger = identity.mint(
        Ed25519PrivateKey.generate(), role="clinician", at_us=at_us, user="u", institution="northgen"
    )
    forged = [
        f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{claims}.",
        f"{part({'alg': 'HS256', 'typ': 'at+jwt'})}.{claims}.{signature}",
        f"{part(ours | {'crit': ['b64'], 'b64': False})}.{claims}.{signature}",
        f"{part(ours | {'jwk': {'kty': 'OKP', 'crv': 'Ed25519', 'x': 'AAAA'}})}.{claims}.{signature}",
        f"{part({'alg': ['Ed25519']})}.{claims}.{signature}",
        f"{part(b'[' * 2900)}.{claims}.{signature}",
        f"{part(b'{' + b'9' * 2900)}.{claims}.{signature}",
        f"{part(b'null')}.{claims}.{signature}",
        f"{head}.{part(more)}.{signature}",
        f"{head}.{claims}.",
        stranger,
        site.token("clinician", institution="northgen", at_us=at_us - 7_200_000_000),
        "a" * 50_000,
        "\xe9.\xe9.\xe9",
    ]
    for each in forged:
        answer = site.get("Patient", each)
        assert answer.status == 401, each[:60]
        assert "www-authenticate" in answer.headers


def worked_s(site: Site) -> float:
    """What the gateway has computed; whatever else the machine does."""
    assert site.process is not None
    spent = psutil.Process(site.process.pid).cpu_times()
    return float(spent.user + spent.system)


COSTLY = {
    "10,000 parameters": "&".join(f"p{n}=1" for n in range(10_000)),
    "65 parameters": "&".join(["code=x"] * 65),
    "201 values": "code=" + ",".join("x" * 201),
    "12,800 values": "&".join(["code-value-quantity=" + ",".join(["a$1"] * 200)] * 64),
    "an unknown parameter": "CANARY=1",
    "a chain": "has-member." * 12 + "code=CANARY",
    "a reverse chain": "_has:Patient:general-practitioner:name=CANARY",
    "a date that is none": "date=CANARY",
    "a number beyond any": "value-quantity=CANARY1e999999999",
    "a page that is none": "_page=CANARY",
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_query_made_to_cost_is_refused_at_once_and_its_values_are_not_repeated(
    site: Site, token: str, name: str
) -> None:
    before_s = worked_s(site)
    answers = [site.request("POST", "/fhir/Observation/_search", token, FORM, COSTLY[name].encode())]
    if len(COSTLY[name]) < 60_000:
        answers.append(site.request("GET", f"/fhir/Observation?{COSTLY[name]}", token))
    assert all(400 <= answer.status < 500 for answer in answers)
    assert name == "an unknown parameter" or not any(b"CANARY" in answer.body for answer in answers)
    assert worked_s(site) - before_s < 2


def test_the_dearest_query_that_is_allowed_stays_cheap(site: Site, token: str) -> None:
    body = "&".join(["code-value-quantity=" + ",".join(["a$1"] * 200)] * 2).encode()
    before_s = worked_s(site)
    assert site.request("POST", "/fhir/Observation/_search", token, FORM, body).status == 200
    assert worked_s(site) - before_s < 3


def test_odd_values_never_break_the_server(site: Site, token: str) -> None:
    odd = (
        "1e999",
        "-1e400",
        "ap1e308",
        "9999-12-31T23:59:59%2B14:00",
        "0001-01-01",
        "%F0%9D%95%8F",
        "%EF%BF%BF",
        "%00",
    )
    odd += (
        "%ff",
        "|",
        "||",
        "$",
        "a%5C",
        "18446744073709551616",
        "Patient/x/_history/9999999999999",
        "%2525" * 500,
    )
    for name in (
        "date",
        "value-quantity",
        "code",
        "subject",
        "code-value-quantity",
        "_lastUpdated",
        "_id",
        "status:not",
    ):
        for value in odd:
            assert site.request("GET", f"/fhir/Observation?{name}={value}", token).status in (200, 400), (
                name,
                value,
            )
    for path in (
        "Patient/%00",
        "Patient/%ff",
        "Patient/..%2f..%2fkeys",
        "Patient/x/_history/0",
        "Patient/" + "%25" * 5000,
    ):
        assert site.request("GET", f"/fhir/{path}", token).status == 404, path


def until_closed(site: Site, first: bytes, piece: bytes, most: int) -> int:
    """Sends ``piece`` over and over; how many bytes the server took before it closed."""
    sent = 0
    with socket.create_connection(site.http, timeout=120) as connection:
        connection.sendall(first)
        try:
            while sent < most:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            return sent
    return most


def test_a_head_without_end_is_cut_off_and_nobody_else_notices(site: Site, token: str) -> None:
    most = 64_000_000
    assert until_closed(site, b"GET /fhir/Patient?", b"a" * 100_000, most) < most
    assert until_closed(site, b"GET / HTTP/1.1\r\n", (b"X: " + b"a" * 8_000 + b"\r\n") * 100, most) < most
    assert site.get("Patient", token).status == 200


def test_many_requests_on_one_connection_are_all_answered(site: Site, token: str) -> None:
    request = f"GET /fhir/Patient HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with socket.create_connection(site.http, timeout=120) as connection:
        connection.sendall(request * 300)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 300:
            answers += connection.recv(1_000_000)


def test_the_log_holds_no_place_of_a_fault_after_all_this(site: Site, token: str) -> None:
    assert "internal error" not in site.output.read_text()
