"""The measure of what a conversion kept: it finds every fact where it is, and notices when one is gone."""

from __future__ import annotations

import copy

import pytest

from bench.peers.kept import JsonObject, Tally
from hdg.fhir import bundle, ids
from hdg.fhir import json as fhir_json
from hdg.ingestion.hl7v2.convert import Converter
from hdg.simulate import ORDERLY, Simulation

KINDS = {
    "message",
    "patient number",
    "visit number",
    "result",
    "comparator",
    "report text",
    "dose",
    "allergy",
}


@pytest.fixture(scope="module")
def converted() -> list[tuple[bytes, JsonObject]]:
    converter = Converter(id_key=ids.PUBLIC_KEY)
    return [
        (event.raw, fhir_json.loads(fhir_json.dumps(bundle.transaction(found.resources))))
        for event in Simulation(seed=6, patients=40, disorder=ORDERLY).take(120)
        for found in [converter.convert(event.raw, at_us=0)]
    ]


def test_a_conversion_that_loses_nothing_keeps_every_fact(converted: list[tuple[bytes, JsonObject]]) -> None:
    tally = Tally()
    for raw, made in converted:
        tally.add(raw, made)
    assert tally.given.keys() >= KINDS
    assert tally.kept == tally.given
    assert tally.ids_a_patient == 1.0


def test_a_lost_observation_a_lost_comparator_and_a_refused_message_are_noticed(
    converted: list[tuple[bytes, JsonObject]],
) -> None:
    raw, made = next(pair for pair in converted if b"|SN|" in pair[0])
    whole, cut, refused = Tally(), Tally(), Tally()
    whole.add(raw, made)
    poor = copy.deepcopy(made)
    for entry in poor["entry"]:
        entry["resource"].get("valueQuantity", {}).pop("comparator", None)
    numbers = [e for e in poor["entry"] if "valueQuantity" in e["resource"]]
    poor["entry"].remove(numbers[0])
    cut.add(raw, poor)
    refused.add(raw, None)
    assert whole.kept["result"] - cut.kept["result"] == 1
    assert whole.kept["comparator"] > 0
    assert cut.kept["comparator"] == 0
    assert not +refused.kept
