"""Every real message at hand, whole: nothing vanishes, nothing invalid comes out, no reference leads nowhere.

DESIGN §3, §4; what a place can be: hdg.ingestion.hl7v2.coverage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from case_pairs import references
from hdg.errors import Hl7v2Error
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.batch import split_messages
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.coverage import coverage, tracing_converter
from hdg.simulate import Simulation

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
REJECTED = {
    "empty.hl7": ("", "empty"),
    "msh_present_but_missing_all_fields.hl7": ("MSH-2", "encoding characters"),
    "msh_present_but_missing_msh-2.hl7": ("MSH-2", "encoding characters"),
    "msh_present_but_missing_msh-9.hl7": ("MSH-9", "no message type"),
}
"""The files that are no messages: where each is broken, and what of the reason is checked."""


def messages(cases: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((cases / "hl7v2").rglob("*.hl7")):
        if path.name not in REJECTED:
            for number, message in enumerate(split_messages(path.read_bytes()), 1):
                yield f"{path.relative_to(cases).as_posix()}#{number}", message


@pytest.fixture(scope="module")
def converted(cases: Path) -> list[tuple[str, bytes, Converted]]:
    converter = Converter(id_key=PUBLIC_KEY)
    return [(name, data, converter.convert(data, at_us=0)) for name, data in messages(cases)]


@pytest.mark.corpus
def test_no_valued_place_of_the_corpus_is_lost(cases: Path) -> None:
    lost = []
    total: Counter[str] = Counter()
    for name, message in messages(cases):
        found = coverage(message)
        total.update(place.status for place in found.places)
        lost += [f"{name} {place}" for place in found.lost]
    assert lost == []
    assert total["mapped"] > 0.8 * sum(total.values())
    assert all(place.note for place in found.places if place.status == "unmapped")


@pytest.mark.corpus
def test_every_message_is_converted_or_refused_with_a_reason(
    cases: Path, converted: list[tuple[str, bytes, Converted]]
) -> None:
    assert len(converted) >= 220
    broken = {path.name: path for path in (cases / "hl7v2").rglob("*.hl7") if path.name in REJECTED}
    assert set(broken) == set(REJECTED)
    converter = Converter(id_key=PUBLIC_KEY)
    for name, (place, reason) in REJECTED.items():
        with pytest.raises(Hl7v2Error, match=reason) as refused:
            converter.convert(broken[name].read_bytes(), at_us=0)
        assert refused.value.place == place


@pytest.mark.corpus
def test_every_resource_is_valid_and_every_reference_leads_somewhere(
    converted: list[tuple[str, bytes, Converted]],
) -> None:
    wrong = []
    for name, _, result in converted:
        held = {f"{item['resourceType']}/{item['id']}" for item in result.resources}
        for item in result.resources:
            where = f"{name} {item['resourceType']}"
            wrong += [f"{where}: {issue}" for issue in validate(item)]
            wrong += [f"{where}: dangling {text}" for text in references(item) if text not in held]
        assert len(held) == len(result.resources), name
    assert wrong == []


@pytest.mark.corpus
def test_the_tracing_compilation_says_what_the_fast_one_says(
    converted: list[tuple[str, bytes, Converted]],
) -> None:
    """Coverage is judged on the tracing compilation: it must be the same conversion."""
    for name, data, result in converted:
        traced = tracing_converter().convert(data, at_us=0)
        assert traced.resources == result.resources, name
        assert set(traced.issues) == set(result.issues), name


@pytest.mark.parametrize("name", ["adt-a01-admission", "oru-r01-chemistry", "vxu-v04-immunization"])
def test_no_place_of_the_examples_is_lost(name: str) -> None:
    assert coverage((EXAMPLES / f"{name}.hl7").read_bytes()).lost == ()


def test_no_place_of_the_simulated_traffic_is_lost() -> None:
    lost: Counter[str] = Counter()
    for event in islice(Simulation(seed=7), 300):
        lost.update(coverage(event.raw).lost)
    assert lost == Counter()
