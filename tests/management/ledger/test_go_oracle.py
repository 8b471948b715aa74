"""Go's note and tlog packages verify our checkpoints, tiles and proofs (needs Go and its module proxy: marker
soak).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine, select
from sqlmodel import SQLModel

from hdg.management.ledger import merkle
from hdg.management.ledger.log import Log
from hdg.management.ledger.schema import LedgerCheckpoint, LedgerLeaf, LedgerTile

MODULE = "module oracle\n\ngo 1.23\n\nrequire golang.org/x/mod v0.22.0\n"


@pytest.mark.soak
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1_000, 66_000])
def test_go_verifies_checkpoint_tiles_and_proofs(tmp_path: Path, size: int) -> None:
    (tmp_path / "go.mod").write_text(MODULE)
    shutil.copy(Path(__file__).with_name("oracle.go.txt"), tmp_path / "main.go")
    random, engine = Random(size), create_engine("sqlite://")
    tables = [model.__table__ for model in (LedgerLeaf, LedgerTile, LedgerCheckpoint)]
    SQLModel.metadata.create_all(engine, tables=tables)
    log, entries, heads = Log("example.org/log", Ed25519PrivateKey.generate()), [], {}
    with engine.begin() as connection:
        while len(entries) < size:
            batch = [
                f"leaf {len(entries) + n}" for n in range(min(random.randint(1, 999), size - len(entries)))
            ]
            head = log.append(connection, [text.encode() for text in batch], 1)
            entries += batch
            heads[head.size] = head.root.hex()
        inclusion = [
            {"Index": index, "Path": [value.hex() for value in log.proof(connection, index, size)]}
            for index in {0, size - 1, *(random.randrange(size) for _ in range(40))}
        ]
        consistency = [
            {"Index": old, "Path": [value.hex() for value in log.consistency(connection, old, size)]}
            for old in heads
        ]
        rows = connection.execute(select(tables[1])).all()
    asked = {
        "Key": log.verifier_key,
        "Note": head.note,
        "Tiles": {f"{row.level}/{row.position}": row.hashes.hex() for row in rows},
        "Entries": entries,
        "Inclusion": inclusion,
        "Consistency": consistency,
        "OldRoots": list(heads.values()),
    }
    engine.dispose()
    assert (
        head.root
        == merkle.extend(merkle.EMPTY_EDGE, [merkle.leaf_hash(e.encode()) for e in entries])[0].root()
    )
    go = shutil.which("go") or "go"
    done = subprocess.run(
        [go, "run", "-mod=mod", "."],
        cwd=tmp_path,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.startswith(f"OK {size} "), done.stdout + done.stderr
