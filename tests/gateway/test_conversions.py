"""What messages of late state is known without converting them again, and only under the tables of today."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from bench.traffic import Traffic
from hdg.conversions import Conversions, Stated
from hdg.converting import _packed, _Worker
from hdg.gateway import Gateway
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender
from hdg.outcomes import opened
from stored import all_of, send

SENDER = Sender("REGISTRATION|NORTHGEN", "northgen")


converter = cache(lambda: Converter(id_key=b"i" * 32))
worker = cache(lambda: _Worker(b"i" * 32, b"k" * 32))


def _converted(raw: bytes) -> Converted:
    return converter().convert(raw, SENDER, at_us=1)


def _helped(raw: bytes) -> Stated:
    return Stated(*opened(worker().answer(raw, _packed(SENDER), 1, 0)))


def test_what_the_helper_made_states_what_a_conversion_does() -> None:
    for raw in Traffic(seed=3).take(12):
        here, there = Stated(_converted(raw)), _helped(raw)
        assert there.whole() == here.whole()
        for one in here.facts.resources:
            key = (one["resourceType"], one["id"])
            assert there.resource(key) == here.resource(key) == one
            assert there.count(key[0]) == here.count(key[0]) > 0
        assert there.resource(("Patient", "another")) == here.resource(("Patient", "another")) == {}


def test_a_message_is_known_to_its_sender_under_the_same_tables() -> None:
    [raw] = Traffic(seed=3).take(1)
    stated = _helped(raw)
    digest = stated.facts.source.sha256
    of_late = Conversions()
    assert of_late.find(digest, SENDER, 0) is None
    of_late.keep(stated, SENDER, 0)
    known = of_late.find(digest, replace(SENDER), 0)
    assert known is not None
    assert not known.is_whole
    for one in stated.whole().resources:
        if known.holds(one["resourceType"]):
            assert known.resource((one["resourceType"], one["id"])) == one
    assert [type_ for type_ in ("Patient", "Encounter", "Observation") if known.holds(type_)] == [
        "Patient",
        "Encounter",
    ]
    assert of_late.find(digest, replace(SENDER, zone="Asia/Seoul"), 0) is None
    assert of_late.find(digest, SENDER, 1) is None
    of_late.keep(_helped(Traffic(seed=4).take(1)[0]), SENDER, 1)
    assert of_late.find(digest, SENDER, 1) is None


def test_the_least_recently_used_is_let_go_when_they_take_too_much() -> None:
    every = [_helped(raw) for raw in Traffic(seed=3).take(40)]
    digests = [stated.facts.source.sha256 for stated in every]
    of_late = Conversions(held_bytes=sum(stated.kept()[1] for stated in every) // 2)
    for stated in every:
        of_late.keep(stated, SENDER, 0)
        of_late.keep(stated, SENDER, 0)  # once more is not twice as much
        assert of_late.find(digests[0], SENDER, 0) is not None
    known = [of_late.find(digest, SENDER, 0) is not None for digest in digests]
    assert 15 <= sum(known) <= 25
    assert all(known[-10:])


def test_what_is_too_large_takes_no_others_place() -> None:
    [raw] = Traffic(seed=3).take(1)
    stated = Stated(_converted(raw))
    of_late = Conversions(held_bytes=stated.kept()[1])
    of_late.keep(stated, SENDER, 0)
    assert of_late.find(stated.facts.source.sha256, SENDER, 0) is None


def _update(number: int, *, name: str = "Ada", line: str = "1 Mill Lane") -> bytes:
    lines = (
        f"MSH|^~\\&|ADT|NORTHGEN|HDG|REGION|2026031410{number:02}00+0100||ADT^A08|M{number}|P|2.5.1",
        f"EVN|A08|2026031410{number:02}00+0100",
        f"PID|||4711^^^NORTHGEN^MR||Example^{name}||19700101|F|||{line}^^Fallow^OR^97301^USA^H",
    )
    return "\r".join(lines).encode() + b"\r"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The messages that are converted."""
    found: list[bytes] = []
    run = Converter.run

    def counted(self: Converter, data: bytes, *given: Any, **named: Any) -> Any:
        found.append(data)
        return run(self, data, *given, **named)

    monkeypatch.setattr(Converter, "run", counted)
    return found


def test_a_name_that_changes_each_time_converts_no_message_twice(gateway: Gateway, runs: list[bytes]) -> None:
    messages = [_update(number, name=f"Ada{number}") for number in range(10, 16)]
    for raw in messages:
        send(gateway, raw)
    # Each when it comes, and once more when the next one asks for it.
    assert max(runs.count(raw) for raw in messages) == 2
    assert len(runs) == 11


def test_an_address_that_no_other_field_can_have_made_asks_for_no_earlier_message(
    gateway: Gateway, runs: list[bytes]
) -> None:
    messages = [_update(number, line=f"{number} Mill Lane") for number in range(10, 16)]
    for raw in messages:
        send(gateway, raw)
    assert runs == messages
    [patient] = all_of(gateway, "Patient")
    assert [one["line"] for one in patient["address"]] == [["15 Mill Lane"]]
