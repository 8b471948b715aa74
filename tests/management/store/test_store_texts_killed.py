"""Processes that make the index of words are killed while others write: at the end it is what the bodies give."""

from __future__ import annotations

import random
import time
from pathlib import Path

from sqlalchemy import text, true

from hdg.management.store import SearchQuery, Store
from hdg.management.store.custom_register import Catalog
from hdg.management.store.envelope import parse
from hdg.management.store.texts import Texts
from tests.management.store.hanging import kill_at, started

PROCESS = Path(__file__).with_name("text_fill_process.py")
WORDS = ["bone", "liver", "heart", "naïve", "femur", "肺炎", "환자", "non-small", "metastases"]


def now() -> int:
    return time.time_ns() // 1000


def write(store, chance, ids) -> None:
    """Some creations, changes and deletions, some of them in one group."""
    works = []
    for id_ in ids:
        words = " ".join(chance.choices(WORDS, k=chance.randint(0, 4)))
        content = {"resourceType": "Basic", "id": id_, "code": {"text": words} if words else {"coding": []}}
        if not words:
            content["code"] = {"coding": [{"userSelected": True}]}
        works.append(store.submit(lambda session, content=content: session.put(content, institution="s")))
        if chance.random() < 0.2:
            works.append(store.submit(lambda session, id_=id_: session.delete("Basic", id_, institution="s")))
    for work in works:
        work.result(120)


def is_what_the_bodies_give(store) -> bool:
    """Whether each resource's row is the one that its body makes, and there is no other."""
    is_postgresql = store.engine.dialect.name == "postgresql"
    made = Texts(store._shared.indexer.id_hash, is_postgresql=is_postgresql, is_full=True)
    page = store.reader.search(SearchQuery("Basic", (), 1000), true())
    assert len(page.versions) == page.total
    wanted = {v.rkey: made.row(v.rkey, parse(store.reader.body(v))) for v in page.versions}
    wanted = {rkey: row for rkey, row in wanted.items() if row is not None}
    columns = "words" if is_postgresql else "narrative, rest"
    with store.engine.connect() as connection:
        found = connection.execute(text(f"SELECT rowid, {columns} FROM text_index")).all()
        assert len(found) == len({row[0] for row in found}) == len(wanted)
        if not is_postgresql:
            return {row[0]: tuple(row) for row in found} == wanted
        same = text("SELECT words = CAST(:made AS tsvector) FROM text_index WHERE rowid = :rkey")
        return all(
            connection.execute(same, {"made": row[1], "rkey": rkey}).scalar() for rkey, row in wanted.items()
        )


def test_processes_that_are_killed_in_the_middle_lose_and_double_nothing(settings, keys) -> None:
    chance = random.Random(3)
    with Store.open(settings, keys, now) as store:
        write(store, chance, [f"b{number}" for number in range(40)])
    for turn in range(2):
        kill_at(started(PROCESS, settings, 2))
        with Store.open(settings, keys, now) as store:
            assert not Catalog(store.engine).current().texts.is_full
            write(store, chance, [f"b{chance.randrange(40)}" for _ in range(6)] + [f"n{turn}", f"m{turn}"])
    both = [started(PROCESS, settings, 0) for _ in "12"]
    for each in both:
        out, _ = each.communicate(timeout=120)
        assert each.returncode == 0
        assert out.endswith("end\n")
    with Store.open(settings, keys, now) as store:
        assert Catalog(store.engine).current().texts.is_full
        assert is_what_the_bodies_give(store)
        write(store, chance, [f"b{chance.randrange(40)}" for _ in range(40)])
        assert is_what_the_bodies_give(store)
