"""Fuzzing the FHIR API as a stranger with a token would: the whole application, its gate and its store.

    python -m bench.fuzz_fhir [--seconds 60] [--seed N] [--database sqlite|postgresql]

Sends mutated searches, resources, patches, Bundles, operations and headers (bench/fhir_requests.py) straight
into the ASGI application. A finding is a 5xx; an error whose body is no valid OperationOutcome, or that repeats a
value of the request; an answer that is not valid R4; a name of the hidden patient; or a request that takes more
than ``HANG_S`` of processor time. Exit 1 on any; the request is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import logging
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI

from bench.fault_store import postgresql
from bench.fhir_requests import Ask, Requests
from bench.fhir_words import CANARY, stored
from hdg.fhir import json, xml
from hdg.fhir.validate import validate
from hdg.management import identity
from hdg.management.keys import KeyRing
from hdg.management.store import Store, WriteSession
from hdg.settings import Settings
from hdg.usage.access import Gate
from hdg.usage.fhir_api.app import create_app

BASE = "https://gateway.example/fhir"
HIDDEN = "Cholmondeley"
"""The family name of a patient whom nobody who asks may see."""
HANG_S = 5.0
SHOWN = "Featherstonehaugh"
"""The family name of a patient whom all may see but researchers, who see her by a pseudonym."""
PROJECT = "fuzz"
ROLES = ("clinician", "clinician", "clinician", "patient", "operator", "researcher")


@dataclass(slots=True)
class Answer:
    """What came back. ``headers``: lower case; ``body``: unpacked."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and with which request."""

    what: str
    ask: Ask
    answer: Answer

    def __str__(self) -> str:
        body = self.answer.body[:400].decode("utf-8", "backslashreplace")
        return f"{self.what}: {self.ask}\n    {self.answer.status} {body}"


class Target:
    """An application that holds ``stored()``, and a token for each of ROLES."""

    def __init__(self, app: FastAPI, tokens: Mapping[str, str]) -> None:
        self.app = app
        self.tokens = tokens

    async def ask(self, ask: Ask, role: str) -> Answer:
        """One request as a server would hand it on."""
        given = {"authorization": f"Bearer {self.tokens[role]}", **ask.headers}
        if ask.body:
            given.setdefault("content-length", str(len(ask.body)))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": ask.method,
            "scheme": "https",
            "path": unquote(ask.path),
            "raw_path": ask.path.encode(),
            "root_path": "",
            "query_string": ask.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("gateway.example", 443),
        }
        answer = Answer()
        body = bytearray()
        is_read = False

        async def receive() -> dict[str, Any]:
            nonlocal is_read
            if is_read:
                return {"type": "http.disconnect"}
            is_read = True
            return {"type": "http.request", "body": ask.body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode().lower(): v.decode("latin-1") for k, v in message["headers"]}
            else:
                body.extend(message.get("body", b""))

        begin = time.process_time()
        await self.app(scope, receive, send)
        answer.cpu_s = time.process_time() - begin
        zipped = answer.headers.get("content-encoding") == "gzip"
        answer.body = gzip.decompress(bytes(body)) if zipped and body else bytes(body)
        return answer


def own_place(id_: str) -> tuple[str, str | None]:
    """(institution, patient) of a resource of ``stored()``: bob's came from elsewhere and are hidden."""
    patient = next((name for name in ("ann", "bob") if id_.partition("-")[0] == name), None)
    return "south" if patient == "bob" else "north", patient


@contextmanager
def opened(folder: Path, database_url: str | None = None) -> Iterator[Target]:
    """An application around a store of its own in ``folder``, or in the database of that URL."""
    settings = Settings(data=folder, base_url=BASE, institution="north", database_url=database_url)
    keys = KeyRing.open(folder / "keys")
    with closing(Store.open(settings, keys, _now_us)) as store:
        for resource in stored():
            institution, patient = own_place(resource["id"])
            put = partial(WriteSession.put, resource=resource, institution=institution, patient=patient)
            store.submit(put).result(30)
        app = create_app(Gate.open(settings, keys, store, _now_us), settings)
        yield Target(app, {role: _token(keys, role) for role in sorted(set(ROLES))})


def _now_us() -> int:
    return time.time_ns() // 1000


def _token(keys: KeyRing, role: str) -> str:
    is_patient = role == "patient"
    return identity.mint(
        keys.token_key,
        role=role,
        user="u",
        institution="north" if role in ("clinician", "operator") else "",
        patient="ann" if is_patient else "",
        purpose="",
        project=PROJECT if role == "researcher" else "",
        at_us=_now_us(),
        lifetime_s=24 * 3600,
    )


def judge(ask: Ask, answer: Answer, role: str = "") -> str:
    """What is wrong with an answer to that role; '' for nothing."""
    if answer.status >= 500 or answer.status < 200:
        return f"status {answer.status}"
    if answer.cpu_s > HANG_S:
        return f"took {answer.cpu_s:.1f} s"
    if HIDDEN.encode() in answer.body or (role == "researcher" and SHOWN.encode() in answer.body):
        return "a hidden name in the answer"
    is_fhir = unquote(ask.path).startswith("/fhir")
    if ask.method == "HEAD" or answer.status in (204, 304):
        return "a body where none may be" if answer.body and is_fhir else ""
    if answer.status >= 400 and is_fhir:
        return _judge_error(answer)
    return _judge_body(answer) if is_fhir else ""


def _judge_error(answer: Answer) -> str:
    try:
        outcome = _resource(answer)
    except Exception as error:
        return f"an error that cannot be read ({type(error).__name__})"
    if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome":
        return "an error that is no OperationOutcome"
    issues = validate(outcome)
    if issues:
        return f"an OperationOutcome that is not valid ({issues[0]})"
    if CANARY.encode() in answer.body:
        return "an error that repeats a value"
    return ""


def _judge_body(answer: Answer) -> str:
    if not answer.body:
        return ""
    try:
        resource = _resource(answer)
    except Exception as error:
        return f"an answer that cannot be read ({type(error).__name__})"
    issues = [
        one for one in validate(resource) if one.code != "invariant" or not _is_part(resource, one.place)
    ]
    return f"an answer that is not valid ({issues[0]})" if issues else ""


def _is_part(resource: Any, place: str) -> bool:
    """Whether what lies there is only a part of a resource, and says so: an invariant may speak of what is left out."""
    entry = re.match(r"Bundle\.entry\[(\d+)\]", place)
    held = resource["entry"][int(entry[1])].get("resource", {}) if entry else resource
    return any(tag.get("code") == "SUBSETTED" for tag in held.get("meta", {}).get("tag", ()))


def _resource(answer: Answer) -> Any:
    kind = answer.headers.get("content-type", "")
    return xml.loads(answer.body) if "xml" in kind else json.loads(answer.body)


def run(
    target: Target, seed: int, *, seconds: float = 0, requests: int = 0
) -> tuple[list[Finding], Counter[int]]:
    """Findings (one of each kind), and answers by status. Ends after ``seconds``, or after so many requests."""
    made = Requests(seed)
    findings: dict[str, Finding] = {}
    statuses: Counter[int] = Counter()
    until = time.monotonic() + seconds

    async def all_of_them() -> None:
        number = 0
        while number < requests or time.monotonic() < until:
            ask = made.next()
            role = ROLES[number % len(ROLES)]
            answer = await target.ask(ask, role)
            statuses[answer.status] += 1
            what = judge(ask, answer, role)
            if what:
                findings.setdefault(what, Finding(what, ask, answer))
            number += 1

    asyncio.run(all_of_them())
    return list(findings.values()), statuses


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 nothing found, 1 findings."""
    parser = argparse.ArgumentParser(prog="bench.fuzz_fhir", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--database", default="sqlite", choices=["sqlite", "postgresql"])
    given = parser.parse_args(arguments)
    logging.getLogger("hdg").addHandler(logging.StreamHandler())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        url = stack.enter_context(postgresql())[1] if given.database == "postgresql" else None
        target = stack.enter_context(opened(folder, url))
        findings, statuses = run(target, given.seed, seconds=given.seconds)
    by_status = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    print(
        f"seed {given.seed}, {given.database}: {statuses.total()} requests ({by_status}), {len(findings)} findings"
    )
    for finding in findings:
        print(f"  {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
