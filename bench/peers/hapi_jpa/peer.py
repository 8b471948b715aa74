"""HAPI's JPA server beside a gateway: both behind the same small HTTP client, ids told apart from what they name."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil

from bench.fault_store import postgresql
from bench.measure import gateway
from bench.service import hdg_command

HERE = Path(__file__).parent
WORK = HERE.parent.parent / "out" / "peers" / "hapi_jpa"
JSON = "application/fhir+json"


@dataclass(slots=True)
class Server:
    """A FHIR server that was loaded. ``names``: what its ids stand for, (bundle, entry), the same in both servers."""

    title: str
    address: tuple[str, int]
    token: str
    names: dict[str, tuple[int, int]] = field(default_factory=dict)
    ids: dict[tuple[int, int], str] = field(default_factory=dict)
    processes: tuple[int, ...] = ()
    """What works for it: the server, its database."""
    _local: threading.local = field(default_factory=threading.local)

    def cpu_seconds(self) -> float:
        """CPU time of its processes and of their children until now."""
        parents = [psutil.Process(pid) for pid in self.processes]
        every = [one for parent in parents for one in (parent, *parent.children(recursive=True))]
        spent = 0.0
        for one in every:
            with contextlib.suppress(psutil.NoSuchProcess):
                spent += sum(one.cpu_times()[:2])
        return spent

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        """(status, JSON) of one request; a connection a thread."""
        headers = {"Accept": JSON, "Content-Type": JSON}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = getattr(self._local, "connection", None)
        for is_last in (False, True):
            if connection is None:
                connection = self._local.connection = HTTPConnection(*self.address, timeout=600)
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                break
            except RemoteDisconnected:  # it was idle for too long
                connection = None
                if is_last or method != "GET":
                    raise
        content = answer.read()
        return answer.status, json.loads(content) if content else {}

    def raw(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The same request as bytes, for the load client."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address[0]}:{self.address[1]}\r\nAccept: {JSON}\r\n"
        if self.token:
            head += f"Authorization: Bearer {self.token}\r\n"
        if body:
            head += f"Content-Type: {JSON}\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    def load(self, bundles: Sequence[bytes], start: int, clients: int = 4) -> float:
        """Seconds for all of ``bundles``, the first of which is number ``start``."""
        started = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(lambda body: self.ask("POST", "/fhir", body), bundles))
        spent = time.perf_counter() - started
        for number, (status, answer) in enumerate(answers, start):
            if status != 200:
                raise RuntimeError(f"{self.title}: bundle {number}: {status} {json.dumps(answer)[:400]}")
            for index, entry in enumerate(answer["entry"]):
                kind, id_ = entry["response"]["location"].split("/_history")[0].split("/")[-2:]
                self.names[f"{kind}/{id_}"] = number, index
                self.ids[number, index] = id_
        return spent


@contextlib.contextmanager
def ours(database: str) -> Iterator[Server]:
    """A gateway with token, consent and audit."""
    with contextlib.ExitStack() as stack:
        extra: dict[str, Any] = {}
        databases: tuple[int, ...] = ()
        if database == "postgresql":
            own, extra["HDG_DATABASE_URL"] = stack.enter_context(postgresql())
            databases = (own.get_pid(),)
        running = stack.enter_context(gateway(**extra))
        token = hdg_command(
            running, "token", "--role", "clinician", "--user", "loader", "--institution", "north"
        )
        yield Server("hdg", running.http, token, processes=(running.process.pid, *databases))


@contextlib.contextmanager
def theirs(database: str) -> Iterator[Server]:
    """HAPI's JPA server with its starter's settings, on a file of H2 or a PostgreSQL of its own; no access control."""
    with contextlib.ExitStack() as stack:
        databases: tuple[int, ...] = ()
        if database == "h2":
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            arguments = [f"jdbc:h2:file:{scratch}/h2", "sa"]
        else:
            own, url = stack.enter_context(postgresql())
            databases, arguments = (own.get_pid(),), _jdbc(url)
        process = subprocess.Popen(
            ["java", "-Xmx4g", "-cp", _classpath(), "Peer", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            port = next((line.split()[1] for line in process.stdout or () if line.startswith("ready ")), None)
            if port is None:
                raise RuntimeError("HAPI did not start; run the java command by hand to see why")
            yield Server("HAPI", ("127.0.0.1", int(port)), "", processes=(process.pid, *databases))
        finally:
            process.terminate()
            process.wait(60)


def _jdbc(url: str) -> list[str]:
    """JDBC's URL and user for a PostgreSQL that listens on a unix socket, as the gateway's does."""
    folder = parse_qs(urlsplit(url).query)["host"][0]
    factory = "org.newsclub.net.unix.AFUNIXSocketFactory$FactoryArg"
    socket = f"{folder}/.s.PGSQL.5432"
    return [
        f"jdbc:postgresql://localhost/postgres?socketFactory={factory}&socketFactoryArg={socket}",
        "postgres",
    ]


def _classpath() -> str:
    WORK.mkdir(parents=True, exist_ok=True)
    listed = WORK / "target" / "classpath.txt"
    sources = [HERE / "pom.xml", HERE / "Peer.java"]
    if not listed.exists() or listed.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        for path in sources:
            shutil.copy(path, WORK)
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath"
        command = ["mvn", "-q", "-B", "compile", plugin, f"-Dmdep.outputFile={listed}"]
        subprocess.run(command, cwd=WORK, check=True, capture_output=True)
    return f"{WORK / 'target' / 'classes'}:{listed.read_text()}"
