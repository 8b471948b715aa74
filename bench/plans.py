"""What the databases do for each kind of question, at size: their plans, and that none of them reads a table through.

    python -m bench.plans [--resources 300000] [--database sqlite|postgresql] [--data FOLDER] [--write]

Imports synthetic records (or takes a data folder of SQLite that has them), asks each question through the FHIR API in
one process, and has the database EXPLAIN every statement that the question came to, those that go to the driver past
SQLAlchemy among them. ``--write`` keeps them in bench/plans-DATABASE.md. A ``--data`` of PostgreSQL has its URL in
HDG_DATABASE_URL. Ends with 1 if a plan of a question that finds less than a tenth reads an index
table, ``resource`` or ``version`` from end to end.
The third time of a question is after PostgreSQL may have turned to plans that fit any value (ten uses).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection, Engine, event

from bench.fault_store import postgresql
from bench.measure import gateway
from bench.queries import import_records
from bench.service import hdg_command
from hdg.gateway import now_us
from hdg.management import identity
from hdg.management.keys import KeyRing
from hdg.management.store import Store
from hdg.management.store.asking import Asker
from hdg.settings import Settings
from hdg.usage.access import Gate
from hdg.usage.fhir_api.app import create_app
from hdg.usage.fhir_api.results import TOTAL_MAX

CODE, OTHER = "http://loinc.org|1100-1", "http://loinc.org|1200-1"
QUESTIONS = {
    "id": "Patient?_id={patient}",
    "identifier": "Patient?identifier=urn:example:mrn|{number}",
    "token, sparse": f"Observation?code={CODE}",
    "token, dense": "Observation?category=laboratory",
    "tokens, dense then sparse": f"Observation?status=final&code={CODE}",
    "tokens, sparse then dense": f"Observation?code={CODE}&status=final",
    "tokens, both dense": "Observation?category=laboratory&status=final",
    "token, several": f"Observation?code={CODE},{OTHER}",
    "token, nothing has it": "Observation?code=http://loinc.org|none",
    "token, dense, :not": "Observation?patient={patient}&status:not=final",
    ":missing, nothing": "Observation?value-quantity:missing=true",
    ":missing=false, all": "Observation?value-quantity:missing=false",
    "token and date": f"Observation?code={CODE}&date=ge2015",
    "token, dense, and date, sparse": "Observation?category=laboratory&date=2015-05-05",
    "reference": "Observation?patient={patient}",
    "reference, token and date": "Observation?patient={patient}&category=laboratory&date=ge2015",
    "date, sparse": "Observation?date=2015-05-05",
    "date, dense": "Observation?date=ge2012",
    "date, two bounds, dense": "Observation?date=ge2012-05-05&date=lt2020-05-06",
    "date, two bounds": "Observation?date=ge2015-05-05&date=lt2015-05-06",
    "quantity, sparse": "Observation?value-quantity=gt399.9|http://unitsofmeasure.org|g/L",
    "quantity, dense": "Observation?value-quantity=gt10",
    "composite": f"Observation?code-value-quantity={CODE}$gt350",
    "string, dense": "Patient?family=amsel",
    "string, sparse": "Patient?address-postalcode=12345",
    "string, :contains": "Patient?family:contains=ergfi",
    "_lastUpdated": "Observation?_lastUpdated=lt2020",
    "type alone": "Observation?",
    "chain, sparse": "Observation?subject:Patient.identifier=urn:example:mrn|{number}",
    "chain, dense": "Observation?subject:Patient.family=amsel",
    "chain, most": "Observation?subject:Patient.gender=female",
    "chain, dense, and token": f"Observation?subject:Patient.family=amsel&code={CODE}",
    "chain of two": "Observation?encounter.subject:Patient.identifier=urn:example:mrn|{number}",
    "_has, sparse": f"Patient?_has:Observation:patient:code={CODE}",
    "_has, dense": "Patient?_has:Observation:patient:category=laboratory",
    "_has, dense, and string": "Patient?family=amsel&_has:Observation:patient:category=laboratory",
    "_has, sparse, and token, dense": f"Patient?gender=female&_has:Observation:patient:code={CODE}",
    "_has, nested": f"Encounter?_has:Observation:encounter:_has:Observation:has-member:code={CODE}",
    "_include": "Observation?patient={patient}&_include=Observation:encounter",
    "_revinclude": "Encounter?patient={patient}&_revinclude=Observation:encounter",
    "_sort, sparse": f"Observation?code={CODE}&_sort=-date",
    "_sort, dense": "Observation?category=laboratory&_sort=-date",
    "_sort, type alone": "Patient?_sort=family,birthdate",
    "compartment": "Patient/{patient}/Observation?",
    "compartment and token": f"Patient/{{patient}}/Observation?code={CODE}",
    "all types": "?_id={patient}&_type=Patient,Observation",
    "number alone": f"Observation?code={CODE}&_summary=count",
    "number alone, dense": "Observation?category=laboratory&_summary=count",
    "number alone, _has, dense": "Patient?_has:Observation:patient:category=laboratory&_summary=count",
    "everything": "Patient/{patient}/$everything?",
    "history of a type": "Patient/_history?",
    "history": "Patient/{patient}/_history?",
}
_TABLE = r"(idx_\w+|resource|version|compartment)\b"
_THROUGH = re.compile(rf"^(?: *SCAN {_TABLE}|.*Seq Scan on {_TABLE})", re.MULTILINE)
AGAIN = 12
MORE = f"> {TOTAL_MAX}"
NOTE = """Two shared cores: times say what is slower than what, and nothing else. Tests of
single rows, and the sub-plans that look up consent, are left out. Of a question that finds much, reading a table
through is right."""


@dataclass(slots=True)
class Asked:
    """A question, how it went, and the plans of its statements."""

    name: str
    path: str
    resources: int
    hits: str = ""
    generic: int = 0
    times_ms: list[float] = field(default_factory=list)
    plans: dict[str, str] = field(default_factory=dict)

    def through(self) -> list[str]:
        """The lines of plans that read a table from end to end, unless much of it is found."""
        if self.hits == MORE or (self.hits.isdigit() and int(self.hits) > self.resources / 10):
            return []
        return [match[0].strip() for plan in self.plans.values() for match in _THROUGH.finditer(plan)]


def main() -> None:
    """Prints the table; writes the plans."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--resources", type=int, default=300_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with _settings(given) as settings:
        title, asked = asyncio.run(_ask_all(settings))
    text = _page(f"{title}, {given.database}", asked)
    sys.stdout.write(text.split("\n## ")[0])
    if given.write:
        (Path(__file__).parent / f"plans-{given.database}.md").write_text(text)
    found = [f"{one.name}: {line}" for one in asked for line in one.through()]
    sys.exit("\n".join(["", "read from end to end:", *found]) if found else 0)


@contextlib.contextmanager
def _settings(given: argparse.Namespace) -> Iterator[Settings]:
    """A data folder with records in it."""
    with contextlib.ExitStack() as stack:
        if given.data is not None:
            yield Settings(data=given.data)
            return
        url = stack.enter_context(postgresql())[1] if given.database == "postgresql" else None
        environment: dict[str, Any] = {"HDG_DATABASE_URL": url} if url else {}
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with gateway(data, **environment) as running:
            token = hdg_command(
                running, "token", "--role", "clinician", "--user", "loader", "--institution", "north"
            )
            import_records(running, token, given.resources)
        yield Settings(data=data, database_url=url)


async def _ask_all(settings: Settings) -> tuple[str, list[Asked]]:
    keys = KeyRing.open(settings.data / "keys")
    clock = now_us
    store = Store.open(settings, keys, clock)
    try:
        token = identity.mint(
            keys.token_key, role="clinician", user="loader", institution="north", patient="", purpose="",
            project="", at_us=clock(), lifetime_s=24 * 3600,
        )  # fmt: skip
        transport = httpx.ASGITransport(create_app(Gate.open(settings, keys, store, clock), settings))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://plans", headers=headers) as client:
            first = (await client.get("/fhir/Patient?_count=1")).json()["entry"][0]["resource"]
            marks = {"patient": first["id"], "number": first["identifier"][0]["value"]}
            title, resources = _title(store.engine)
            asked = [await _ask(client, store.engine, name, marks, resources) for name in QUESTIONS]
        return title, asked
    finally:
        store.close()


async def _ask(
    client: httpx.AsyncClient, engine: Engine, name: str, marks: dict[str, str], resources: int
) -> Asked:
    path = QUESTIONS[name].format(**marks)
    asked = Asked(name, path, resources)
    statements: dict[str, Any] = {}

    def listen(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith(("SELECT", "WITH")) and re.search(rf"(FROM|JOIN) {_TABLE}", statement):
            statements.setdefault(statement, parameters)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        for _ in range(AGAIN):
            started = time.perf_counter()
            answer = await client.get(f"/fhir/{path}")
            asked.times_ms.append((time.perf_counter() - started) * 1000)
            if asked.times_ms[-1] > 5000:
                break
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    with _heard(asked.plans):
        await client.get(f"/fhir/{path}")
    asked.hits = _hits(answer)
    if engine.dialect.name == "postgresql":
        asked.generic = _generic(engine, statements)
    for statement, parameters in statements.items():
        asked.plans[statement] = _explained(engine, statement, parameters)
    print(
        f"{name}: {asked.hits}, {asked.times_ms[0]:.1f} ms, {min(asked.times_ms):.1f} ms",
        file=sys.stderr,
        flush=True,
    )
    return asked


def _hits(answer: httpx.Response) -> str:
    if answer.status_code != 200:
        return f"status {answer.status_code}"
    bundle = answer.json()
    return str(bundle.get("total", MORE if bundle["type"] == "searchset" else ""))


@contextlib.contextmanager
def _heard(plans: dict[str, str]) -> Iterator[None]:
    """Explains what goes to the driver without SQLAlchemy (asking.py), on the connection by whose settings it runs.

    On PostgreSQL as it is planned for any values, where the connection is told to do so.
    """
    fetched = Asker.fetched

    def explained(self: Asker, connection: Connection, sql: str, values: Any) -> list[Any]:
        if re.search(rf"(FROM|JOIN) {_TABLE}", sql) and sql not in plans:
            driver: Any = connection.connection.driver_connection
            if connection.dialect.name == "sqlite":
                plans[sql] = _tree(driver.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall())
            else:
                mode = driver.execute("SHOW plan_cache_mode").fetchone()[0]
                if mode == "force_generic_plan":  # without values only the simple protocol will do
                    rows = driver.execute(f"EXPLAIN (COSTS OFF, GENERIC_PLAN) {sql}").fetchall()
                else:
                    rows = fetched(self, connection, f"EXPLAIN (COSTS OFF) {sql}", values)
                plans[sql] = _short([str(row[0]) for row in rows])
        return fetched(self, connection, sql, values)

    Asker.fetched = explained  # type: ignore[method-assign]  # for this question only
    try:
        yield
    finally:
        Asker.fetched = fetched  # type: ignore[method-assign]


def _generic(engine: Engine, statements: dict[str, Any]) -> int:
    """How many of the statements PostgreSQL has turned to a plan for any value (on the one connection in use)."""
    with engine.connect() as connection:
        sql = "SELECT statement FROM pg_prepared_statements WHERE generic_plans > 0"
        turned = {re.sub(r"\$\d+", "?", row[0]) for row in connection.exec_driver_sql(sql)}
    return sum(re.sub(r"%\(\w+\)s", "?", statement) in turned for statement in statements)


def _explained(engine: Engine, statement: str, parameters: Any) -> str:
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        head = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN (COSTS OFF)"
        rows = connection.exec_driver_sql(f"{head} {statement}", parameters).all()
    if not is_sqlite:
        return _short([str(row[0]) for row in rows])
    return _tree(rows)


def _tree(rows: Sequence[Any]) -> str:
    """A plan of SQLite."""
    depths = {0: -1}
    for number, parent, _, _ in rows:
        depths[number] = depths[parent] + 1
    return _short([f"{'  ' * depths[row[0]]}{row[3]}" for row in rows])


def _short(plan: list[str]) -> str:
    """Without what a row is tested by, and without the sub-plans that look up consent alone."""
    kept: list[str] = []
    while plan:
        line, *plan = plan
        depth = _depth(line)
        size = next((at for at, one in enumerate(plan) if _depth(one) <= depth), len(plan))
        is_part = "SubPlan" in line or "SUBQUERY" in line or "InitPlan" in line
        if is_part and not any("idx_" in one for one in plan[:size]):
            plan = plan[size:]
        elif not re.match(r"\s*(Filter|Recheck Cond|Join Filter|Rows Removed)\b", line):
            kept.append(line if len(line) < 150 else f"{line[:147]}...")
    return "\n".join(kept)


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _title(engine: Engine) -> tuple[str, int]:
    tables = ("token", "reference", "string", "uri", "date", "number", "quantity", "composite")
    with engine.connect() as connection:
        resources = connection.exec_driver_sql("SELECT count(*) FROM resource").scalar_one()
        rows = sum(
            connection.exec_driver_sql(f"SELECT count(*) FROM idx_{name}").scalar_one() for name in tables
        )
    return f"{resources:,} resources, {rows:,} index rows", resources


def _page(title: str, asked: list[Asked]) -> str:
    lines = [
        f"# Plans: {title}",
        "",
        f"{datetime.date.today()}. {NOTE}",
        "",
        "| kind | hits | first, ms | best, ms | after ten, ms | plans for any value |",
        "|---|---|---|---|---|---|",
    ]
    for one in asked:
        last = f"{one.times_ms[-1]:.1f}" if len(one.times_ms) == AGAIN else ""
        lines.append(
            f"| {one.name} | {one.hits} | {one.times_ms[0]:.1f} | {min(one.times_ms):.1f} | {last} | {one.generic} |"
        )
    for one in asked:
        lines += ["", f"## {one.name}", "", f"`{one.path}`", "", "```"]
        lines += ["\n\n".join(one.plans.values()), "```"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
