"""The pure figures: parser, conversion, validation; one core, no I/O."""

from __future__ import annotations

import random
import time
from typing import Any

import orjson

from bench.measure import Figure, median, rate
from bench.traffic import Traffic
from hdg.fhir import bundle, ids
from hdg.fhir import json as fhir_json
from hdg.fhir.validate import validate
from hdg.helper import tune_collector
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.parser import parse as parse_message

FIELDS = [
    ("MSH", 9), ("MSH", 10), ("PID", 3), ("PID", 5), ("PID", 7), ("PID", 8), ("PID", 11), ("PV1", 2), ("PV1", 19),
    ("ORC", 2), ("OBR", 4), ("OBR", 7), ("OBX", 3), ("OBX", 5), ("OBX", 6),
]  # fmt: skip


def _messages(count: int = 200, *, patients: int = 50) -> list[bytes]:
    traffic = Traffic(seed=3)
    rng = random.Random(3)
    return [traffic.oru(rng, traffic.person(rng.randrange(patients)), i) for i in range(count)]


def parse() -> Figure:
    """Parse and open 15 fields, against a bare split of the same bytes into segments and fields."""
    messages = _messages()

    def ours() -> None:
        for raw in messages:
            message = parse_message(raw)
            for name, number in FIELDS:
                segment = message.first(name)
                if segment is not None:
                    segment.field(number)

    def bare() -> None:
        for raw in messages:
            [line.split("|") for line in raw.decode().split("\r")]

    limit = rate(bare, len(messages))
    return Figure(
        "parse",
        rate(ours, len(messages)),
        "messages/s",
        limit,
        "bare split of segments and fields",
        "ratio >= 0.4",
    )


def convert_oru() -> Figure:
    """ORU of 15 segments, 2.4 KB, to validated FHIR JSON bytes; limit: splitting it and writing its resources as JSON.

    No message is converted twice, so nothing that is remembered from one helps with itself: 500 patients recur, as in
    a hospital's stream; values, times and order numbers are new each time. The figure is the median of ten chunks.
    """
    tune_collector()  # as hdg serve, its helper and the processes of hdg convert do
    chunk = 400
    messages = _messages(11 * chunk, patients=500)
    converter = Converter(id_key=ids.PUBLIC_KEY)
    results = [list(converter.convert(raw, at_us=0).resources) for raw in messages[:chunk]]
    rates = []
    for start in range(chunk, len(messages), chunk):
        started = time.perf_counter()
        for raw in messages[start : start + chunk]:
            fhir_json.dumps(bundle.transaction(converter.convert(raw, at_us=0).resources))
        rates.append(chunk / (time.perf_counter() - started))

    def bare() -> None:
        for raw, resources in zip(messages[:chunk], results, strict=True):
            [line.split("|") for line in raw.decode().split("\r")]
            fhir_json.dumps(resources)

    limit = rate(bare, chunk)
    return Figure(
        "convert_oru", median(rates), "messages/s", limit, "split and write the same JSON", ">= 1,500"
    )


def validate_observation() -> Figure:
    """A laboratory Observation as converted; limit: visiting each of its values once in Python."""
    resources = Converter(id_key=ids.PUBLIC_KEY).convert(_messages(1)[0], at_us=0).resources
    observation = next(r for r in resources if r["resourceType"] == "Observation")
    if problems := validate(observation):
        raise RuntimeError(f"the bench's Observation is not valid: {problems}")

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                visit(item)
        elif isinstance(value, list):
            for item in value:
                visit(item)

    size = len(orjson.dumps(observation, default=str))
    ours = rate(lambda: [validate(observation) for _ in range(100)], 100)
    limit = rate(lambda: [visit(observation) for _ in range(100)], 100)
    return Figure(
        "validate_observation", ours, "resources/s", limit, f"a walk over its {size} bytes", ">= 30,000"
    )
