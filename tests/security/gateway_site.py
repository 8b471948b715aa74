"""A real gateway process, senders of two institutions, and readers that talk to it over sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.mllp_client import MllpClient
from hdg.management import identity
from hdg.management.keys import KeyRing
from hdg.operator import grant, revoke
from hdg.settings import Settings


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and body of one HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def ids(self) -> list[str]:
        """Type/id of a Bundle's entries."""
        found = (entry["resource"] for entry in self.json().get("entry", ()))
        return [f"{resource['resourceType']}/{resource['id']}" for resource in found]


@dataclass
class Site:
    """``hdg serve`` in a process of its own, its data folder, and what a test does to it from outside."""

    data: Path
    environment: dict[str, str] = field(default_factory=dict)
    umask: int = -1
    process: subprocess.Popen[str] | None = None
    http: tuple[str, int] = ("", 0)
    mllp: tuple[str, int] = ("", 0)
    beside: Gateway | None = None

    @property
    def output(self) -> Path:
        """Everything that the process wrote to stdout and stderr."""
        return self.data.with_name(f"{self.data.name}.out")

    def start(self) -> Site:
        """Starts it and waits for its listeners."""
        command = [sys.executable, "-m", "hdg", "serve", "--data", str(self.data)]
        command += ["--http", "127.0.0.1:0", "--mllp", "127.0.0.1:0", "--dicom", "127.0.0.1:0"]
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment}
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, text=True, env=env, umask=self.umask
            )
        deadline = time.monotonic() + 180
        while "stop with" not in (text := self.output.read_text(errors="replace")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()  # one that is left is the failure of another test
                raise RuntimeError(f"the gateway did not start: {text}")
            time.sleep(0.02)
        found = {
            kind: (host, int(port))
            for kind, host, port in re.findall(r"(MLLP|FHIR)\s+\w+://([^:/]+):(\d+)", text)
        }
        self.http, self.mllp = found["FHIR"], found["MLLP"]
        return self

    def stop(self) -> None:
        """Stops both processes' parts."""
        if self.beside is not None:
            self.beside.close()
            self.beside = None
        if self.process is not None:
            self.process.terminate()
            self.process.wait(180)

    # --- in -------------------------------------------------------------------------------------------------

    def send(self, *messages: bytes) -> list[bytes]:
        """Sends over MLLP; the acknowledgements."""
        with MllpClient(*self.mllp, timeout_s=120) as client:
            return [client.send(message) for message in messages]

    @property
    def operator(self) -> Gateway:
        """A second process's view of the same data folder (it has a writer and caches of its own)."""
        if self.beside is None:
            self.beside = Gateway.open(Settings(data=self.data))
        return self.beside

    def grant(
        self,
        patient: str,
        *actors: str,
        purposes: tuple[str, ...] = ("TREAT",),
        types: tuple[str, ...] = (),
        days: int = 30,
    ) -> str:
        """A consent given beside the running server."""
        return grant(self.operator, patient, actors, purposes, types, days=days)

    def revoke(self, consent: str) -> None:
        """The same for its end."""
        revoke(self.operator, consent)

    def put(self, resource: dict[str, Any], institution: str, patient: str | None = None) -> None:
        """Stores a resource beside the running server."""
        work = lambda session: session.put(resource, institution=institution, patient=patient)  # noqa: E731
        self.operator.store.submit(work).result(120)

    # --- out ------------------------------------------------------------------------------------------------

    def token(
        self,
        role: str,
        *,
        user: str = "u1",
        institution: str = "",
        patient: str = "",
        purpose: str = "",
        project: str = "",
        lifetime_s: int = 3600,
        at_us: int | None = None,
    ) -> str:
        """A token of this gateway."""
        return identity.mint(
            KeyRing.open(self.data / "keys").token_key,
            role=role,
            at_us=at_us if at_us is not None else time.time_ns() // 1000,
            lifetime_s=lifetime_s,
            user=user,
            institution=institution,
            patient=patient,
            purpose=purpose,
            project=project,
        )

    def request(
        self,
        method: str,
        path: str,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.http, timeout=120)
        with contextlib.closing(connection):
            sent = dict(headers or {}) | ({"authorization": f"Bearer {token}"} if token else {})
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def get(
        self, path: str, token: str | None = None, headers: dict[str, str] | None = None, **query: str
    ) -> Answer:
        """GET; ``path`` below /fhir unless it begins with a slash."""
        path = path if path.startswith("/") else f"/fhir/{path}"
        return self.request("GET", f"{path}?{urlencode(query)}" if query else path, token, headers)

    # --- inside ---------------------------------------------------------------------------------------------

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """A query on the database file."""
        with contextlib.closing(sqlite3.connect(self.data / "hdg.db")) as database:
            return database.execute(sql, values).fetchall()

    def count(self, table: str) -> int:
        """Rows of a table."""
        found: int = self.rows(f"SELECT count(*) FROM {table}")[0][0]  # names of our own
        return found
