"""How many pages of the database a message changes, by the tree that they are of (SQLite).

    python -m bench.pages [--before 1500] [--messages 1500]

Each page that a group of messages changes is written whole, twice: into the write-ahead log and, later, into the
database. https://www.sqlite.org/fileformat2.html#walformat. Sends ``--before`` messages over 32 connections, then
counts what ``--messages`` more write, while a reader keeps the log from beginning anew.
"""

from __future__ import annotations

import argparse
import sqlite3
import struct
from collections import Counter
from contextlib import closing
from pathlib import Path

from bench import mllp_load
from bench.measure import gateway
from bench.traffic import Traffic

CONNECTIONS = 32
_HEAD, _FRAME_HEAD = 32, 24


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=int, default=1500)
    parser.add_argument("--messages", type=int, default=1500)
    given = parser.parse_args()
    made = Traffic(seed=11).take(given.before + given.messages)
    with gateway() as running:
        mllp_load.send_all(running.mllp, iter(made[: given.before]), CONNECTIONS)
        with closing(sqlite3.connect(running.data / "hdg.db", isolation_level=None)) as database:
            database.execute("BEGIN")
            database.execute("SELECT count(*) FROM inbox").fetchone()
            log = running.data / "hdg.db-wal"
            start = len(frames(log))
            load = mllp_load.send_all(running.mllp, iter(made[given.before :]), CONNECTIONS)
            written = frames(log)[start:]
            database.execute("COMMIT")
            trees = dict(database.execute("SELECT pageno, name FROM dbstat"))
    if load.refused:
        raise RuntimeError(f"{len(load.refused)} messages were refused")
    count = Counter(trees.get(page, "?") for page, _ in written)
    commits = sum(is_last for _, is_last in written)
    print(
        f"{len(written) / given.messages:.1f} pages a message, {given.messages / commits:.1f} messages a commit"
    )
    for name, pages in count.most_common():
        print(f"  {name:36s} {pages / given.messages:6.2f}")


def frames(log: Path) -> list[tuple[int, bool]]:
    """(page, whether a commit ends with it) of each frame of a write-ahead log."""
    data = log.read_bytes()
    size, salt = struct.unpack(">I", data[8:12])[0], data[16:24]
    found: list[tuple[int, bool]] = []
    for at in range(_HEAD, len(data) - size, _FRAME_HEAD + size):
        if data[at + 8 : at + 16] != salt:
            break
        page, pages = struct.unpack(">II", data[at : at + 8])
        found.append((page, pages > 0))
    return found


if __name__ == "__main__":
    main()
