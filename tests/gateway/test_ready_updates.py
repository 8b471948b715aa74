"""What the helper made of a resource serves for a later version, too, where the statement is all of it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hdg.errors import Hl7v2Error
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.convert import Converter
from hdg.management.store.index import Indexer
from hdg.management.store.merge import merge
from hdg.management.store.meta import index_key
from hdg.management.store.ready import ready
from hdg.management.store.reindexing import Reindexing, Scope
from hdg.management.store.session import _fitting
from hdg.management.store.values import hasher
from hdg.settings import Settings
from hdg.simulate import Simulation
from hdg.statements import store_statements


def _stated(value: str = "1.50", **more: Any) -> dict[str, Any]:
    quantity = {"value": Decimal(value), "unit": "mg"}
    return {"resourceType": "Observation", "id": "a", "status": "final", "valueQuantity": quantity, **more}


def _fits(merged: dict[str, Any], statement: dict[str, Any]) -> bool:
    made = ready(statement, Indexer(hasher(b"k" * 32)))
    return _fitting(made, merged, statement) is made


def test_rows_are_in_the_index_as_the_bodies_give_them_after_many_updates(tmp_path: Path) -> None:
    with Gateway.open(Settings(data=tmp_path / "data")) as gateway:
        indexer = Indexer(hasher(index_key(gateway.keys.root)))
        converter = Converter(id_key=b"i" * 32)
        versions = []
        for at, event in enumerate(Simulation(seed=4, patients=6).take(150), 1):
            try:
                converted = converter.convert(event.raw, at_us=at)
            except Hl7v2Error:
                continue
            made = [ready(resource, indexer) for resource in converted.resources]

            def work(session: Any, converted: Any = converted, made: Any = made, at: int = at) -> list[int]:
                store_statements(session, converted, at, made, None, None)
                return [session.version(one.type, one.id) for one in made]

            versions += gateway.store.submit(work).result()
        assert sum(version is not None and version > 1 for version in versions) > 50
        found = Reindexing(gateway.store, indexer, Scope()).verify()
        assert found.resources > 300
        assert found.is_equal


@pytest.mark.parametrize(
    ("stored", "statement", "is_all"),
    [
        (_stated(), _stated("1.5"), True),
        (_stated("1.5"), _stated(), True),
        (_stated(note=[{"text": "x"}]), _stated(), False),
        (_stated(), _stated(note=[{"text": "x"}]), True),
        (_stated(valueString="x"), _stated(), True),
    ],
    ids=["fewer digits", "more digits", "more is stored", "more is said", "another form of a choice"],
)
def test_a_merged_content_is_its_statement_only_if_nothing_else_stays(
    stored: dict[str, Any], statement: dict[str, Any], is_all: bool
) -> None:
    merged, _ = merge(stored, {"a": None}, statement, sender="a")
    assert _fits(merged, statement) is is_all
    assert (merged == statement) is is_all


def test_what_another_sender_stated_is_no_part_of_the_statement() -> None:
    merged, _ = merge(_stated(note=[{"text": "x"}]), {"b": None}, _stated(note=[{"text": "y"}]), sender="a")
    assert not _fits(merged, _stated(note=[{"text": "y"}]))
