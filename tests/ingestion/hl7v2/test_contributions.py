"""What the tables say that a field can give of an item, against what conversions without that field leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.traffic import Traffic
from case_pairs import CASES
from hdg.errors import Hl7v2Error
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.hl7v2.contributions import Contributions, contributions
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.without import Blank
from hdg.ingestion.sender import Sender
from hdg.mapping.library import Library

SENDER = Sender("ADT|NORTHGEN", "northgen")
KINDS = ("Patient", "Encounter", "RelatedPerson", "ServiceRequest", "Condition")


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


@pytest.fixture(scope="module")
def known() -> Contributions:
    return contributions(Library("hl7v2"))


def made(converter: Converter, raw: bytes, blanks: tuple[Blank, ...] = ()) -> list[dict[str, Any]]:
    try:
        resources = converter.run(raw, SENDER, at_us=1, blanks=blanks)[0].resources
    except Hl7v2Error:  # without that field it is no message
        return []
    return [one for one in resources if one["resourceType"] in KINDS]


def fields_of(raw: bytes) -> Iterator[tuple[str, int]]:
    for segment in dict.fromkeys(one.name for one in parse(raw).segments if one.name != "MSH"):
        numbers = {at for one in parse(raw).all(segment) for at in range(1, len(one.fields)) if one.field(at)}
        yield from ((segment, number) for number in sorted(numbers))


def check(converter: Converter, known: Contributions, raw: bytes) -> int:
    """Whatever is still there without a field is what another one can give. How many items were looked at."""
    looked_at = 0
    for segment, number in fields_of(raw):
        for resource in made(converter, raw, (Blank(segment, number),)):
            kind = resource["resourceType"]
            for base, items in resource.items():
                if type(items) is not list or len(known.of(kind, base)) < 2:
                    continue
                for item in items:
                    looked_at += 1
                    assert known.may_be_of_others(item, {f"{segment}-{number}"}, kind, base), (
                        kind,
                        base,
                        segment,
                        number,
                    )
    return looked_at


def test_a_county_gives_the_district_of_an_address_and_nothing_else(known: Contributions) -> None:
    assert known.of("Patient", "address") == {"PID-11": None, "PID-12": frozenset({"district"})}
    home = {"line": ["1 Mill Lane"], "city": "Fallow", "use": "home"}
    assert not known.may_be_of_others(home, {"PID-11"}, "Patient", "address")
    assert known.may_be_of_others({**home, "district": "Lane"}, {"PID-11"}, "Patient", "address")
    assert known.may_be_of_others({**home, "_district": {}}, {"PID-11"}, "Patient", "address")
    assert known.may_be_of_others(home, {"PID-12"}, "Patient", "address")
    assert not known.may_be_of_others({"district": "Lane"}, {"PID-11", "PID-12"}, "Patient", "address")


def test_any_item_may_be_of_a_field_that_gives_whole_items(known: Contributions) -> None:
    assert known.of("Patient", "telecom").keys() == {"PID-13", "PID-14", "PID-40"}
    assert known.may_be_of_others({"value": "1"}, {"PID-13", "PID-14"}, "Patient", "telecom")
    assert not known.may_be_of_others({"value": "1"}, {"PID-13", "PID-14", "PID-40"}, "Patient", "telecom")


def test_what_a_row_of_a_message_links_is_never_said_to_be_of_claimed_fields(known: Contributions) -> None:
    assert known.may_be_of_others({"reference": "Account/a"}, {"PID-18", "PV1-19"}, "Encounter", "account")


def test_what_a_message_states_without_a_field_may_be_of_others(
    converter: Converter, known: Contributions
) -> None:
    messages = [path.read_bytes() for path in sorted((CASES / "adt").rglob("*.hl7"))]
    assert sum(check(converter, known, raw) for raw in [*messages, *Traffic(seed=3).take(20)]) > 1000


@pytest.mark.corpus
def test_so_it_is_with_every_real_message(cases: Path, converter: Converter, known: Contributions) -> None:
    looked_at = 0
    for path in sorted((cases / "hl7v2").rglob("*.hl7"))[::4]:
        raw = path.read_bytes()
        try:
            parse(raw)
        except Hl7v2Error:
            continue
        looked_at += check(converter, known, raw)
    assert looked_at > 1000
