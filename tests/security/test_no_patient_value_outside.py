"""Planted values come out of no log, acknowledgement, report or unlisted plain column; file modes."""

from __future__ import annotations

import random
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from gateway_site import Site

from messages import adt, oru

CANARY = b"CANARY"
PLAIN = {
    "idx_string.value": "names, addresses and other texts that are searched by their beginning",
    "idx_composite.text": "texts inside composite parameters",
    "inbox.sender": "MSH-3 and MSH-4 as sent",
    "inbox.control_id": "MSH-10 as sent",
    "inbox.ack": "the acknowledgement, which repeats the header's names",
    "outbox.sender": "MSH-3 and MSH-4 as sent",
    "outbox.control_id": "MSH-10 as sent",
    "owner_key.owner": "institutions (MSH-4) and patients' ids",
    "resource.institution": "MSH-4 in lower case",
    "version.institution": "MSH-4 in lower case",
    "ledger_leaf.entry": "the institution (MSH-4); nothing else of a message",
}
"""Columns where a text of a message may stand in plain; all others hold ids, hashes, numbers, ciphertext."""


def spoiled() -> Iterator[bytes]:
    """Messages with canaries where patients' values stand, whole and broken."""
    base = oru("B", number="CANARYNUM", family="CANARYFAM", value="CANARYVAL")
    yield adt("A1", number="CANARYNUM", family="CANARYFAM")
    yield adt("LARGE", number="CANARYNUM", family="CANARYFAM") + b"NTE|1||" + CANARY * 60_000 + b"\r"
    yield from (
        b"CANARY garbage " * 20,
        b"MSH|CANARY",
        b"CANARY" + base,
        base.replace(b"PID|1", b"CANARYSEG|1"),
    )
    yield base.replace(b"19610412", b"CANARYDOB").replace(b"|F\r", b"|CANARYSEX\r", 1)
    yield base.replace(b"|NM|", b"|CANARYTYPE|")
    yield base.replace(b"\r", b"\n").replace(b"ORC|RE", b"ORC|CANARYCODE")
    rng = random.Random(5)
    pieces = (CANARY, b"|", b"^", b"~", b"&", b"\\", b"\r", b"\x00", b'""', b"\\X00\\")
    start = base.index(b"\rPID|") + 1
    for number in range(80):
        message = bytearray(base)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(start, len(message))
            message[at : at + rng.randint(0, 3)] = rng.choice(pieces)
        yield bytes(message).replace(b"|B|P|", f"|R{number}|P|".encode())


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    return list(spoiled())


@pytest.fixture(scope="module")
def fed(
    tmp_path_factory: pytest.TempPathFactory, messages: list[bytes]
) -> Iterator[tuple[Site, list[bytes]]]:
    """A gateway started under the worst umask in a folder that others may read; all is to be sent on."""
    data = tmp_path_factory.mktemp("open") / "data"
    data.mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"mllp://127.0.0.1:{nobody.getsockname()[1]}"
    text = f'[destinations.hub]\naddress = "{address}"\nmessages = ["*"]\nbackoff_s = 0.1\n'
    (data / "destinations.toml").touch(0o600)
    (data / "destinations.toml").write_text(text)
    made = Site(data, umask=0).start()
    yield made, made.send(*messages)
    made.stop()


def test_acknowledgements_name_places_and_no_value(fed: tuple[Site, list[bytes]]) -> None:
    site, answers = fed
    assert {answer.split(b"\rMSA|")[1][:2] for answer in answers} >= {b"AA", b"AE"}
    for answer in answers:
        assert CANARY not in answer.split(b"\r", 1)[1]
    assert site.rows("SELECT 1 FROM inbox WHERE reason LIKE '%CANARY%' OR place LIKE '%CANARY%'") == []


def test_logs_and_error_texts_hold_no_value(fed: tuple[Site, list[bytes]]) -> None:
    site, _ = fed
    token = site.token("clinician", institution="northgen")
    assert site.get("Patient", token, family="CANARYFAM").json()["total"] > 0
    for query in (
        "name:exact=CANARY&x=1",
        "birthdate=CANARY",
        "_sort=CANARY",
        "_page=CANARY",
        "_format=CANARY",
    ):
        answer = site.request("GET", f"/fhir/Patient?{query}", token)
        assert answer.status in (400, 406)
        assert CANARY not in answer.body
    assert CANARY not in site.request("GET", "/fhir/Patient/CANARY", token).body
    assert CANARY not in site.output.read_bytes()


def test_texts_stand_in_plain_in_no_other_column_than_the_listed(fed: tuple[Site, list[bytes]]) -> None:
    site, _ = fed
    found = set()
    with closing(sqlite3.connect(site.data / "hdg.db")) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for column in database.execute(f"PRAGMA table_info({table})").fetchall():
                text = f"lower(cast({column[1]} AS TEXT))"
                sql = f"SELECT 1 FROM {table} WHERE instr({text}, 'canary') > 0 LIMIT 1"
                if database.execute(sql).fetchone():
                    found.add(f"{table}.{column[1]}")
        assert database.execute("SELECT count(*) FROM outbox WHERE tries > 0").fetchone() == (1,)
    assert "idx_string.value" in found
    assert found <= PLAIN.keys()


def test_files_and_folders_are_the_owners_only_whatever_the_umask(fed: tuple[Site, list[bytes]]) -> None:
    site, _ = fed
    places = [site.data, *site.data.rglob("*")]
    assert {"hdg.db", "root.key", "keys", "vault", "outbox-hub.lock"} <= {place.name for place in places}
    others = [place for place in places if place.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    assert others == []


def test_convert_names_no_value_in_messages_and_report(tmp_path: Path, messages: list[bytes]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, message in enumerate(messages):
        (folder / f"{number}.hl7").write_bytes(message)
    report = tmp_path / "report.jsonl"
    command = [
        sys.executable,
        "-m",
        "hdg",
        "convert",
        str(folder),
        "-o",
        str(tmp_path / "out"),
        "--report",
        str(report),
    ]
    done = subprocess.run([*command, "--workers", "1"], capture_output=True, check=False)
    assert done.returncode == 1
    assert CANARY not in done.stdout + done.stderr
    assert CANARY not in report.read_bytes()


def test_a_missing_or_open_key_stops_the_start(tmp_path: Path) -> None:
    site = Site(tmp_path / "data")
    assert site.operator.keys.root
    site.stop()
    key = site.data / "keys" / "root.key"
    secret = key.read_bytes()
    for spoil in (lambda: key.unlink(), lambda: (key.write_bytes(secret), key.chmod(0o644))):
        spoil()
        site.output.unlink(missing_ok=True)
        with pytest.raises(RuntimeError, match=r"root\.key") as refused:
            site.start()
        assert secret.strip().decode() not in str(refused.value)
