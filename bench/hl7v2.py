"""HL7 v2 conversion: the simulated mix, a large result, a large document, growth. One core, no I/O, CPU time.

Each message is converted to validated FHIR JSON bytes; the limit of all but the growth is splitting it and
writing the same resources as JSON.

    python -m bench.hl7v2 [--by-kind]     the figures, or what each message type of the mix costs
"""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from bench.measure import Figure, median
from hdg.fhir import bundle, ids
from hdg.fhir import json as fhir_json
from hdg.helper import tune_collector
from hdg.ingestion.hl7v2.convert import Converter
from hdg.simulate import Simulation, documents, messages, people

CHUNK = 500
CHUNKS = 8
_LIMIT = "split and write the same JSON"


def convert_mix() -> Figure:
    """Messages a second of the simulated mix, with its repeats, corrections and embedded PDFs; the median of CHUNKS.

    No message is converted twice but the stream's own repeats; 500 patients recur. The first chunk is not counted.
    """
    tune_collector()  # as hdg serve, its helper and the processes of hdg convert do
    stream = [event.raw for event in Simulation(seed=9, patients=500).take((CHUNKS + 1) * CHUNK)]
    converter = Converter(id_key=ids.PUBLIC_KEY)
    chunks = [stream[start : start + CHUNK] for start in range(0, len(stream), CHUNK)]
    _spent(converter, chunks[0])
    spent = [_spent(converter, chunk) for chunk in chunks[1:]]
    limit = median([_bare(converter, chunk) for chunk in chunks[1:4]])
    return Figure("convert_mix", CHUNK / median(spent), "messages/s", CHUNK / limit, _LIMIT, ">= 2,000")


def convert_oru_200() -> Figure:
    """CPU time of one ORU of 200 OBX (31 KB); each has values of its own."""
    tune_collector()
    made = [result(200, seed) for seed in range(24)]
    converter = Converter(id_key=ids.PUBLIC_KEY)
    return _one(converter, "convert_oru_200", made, "<= 5 ms")


def convert_mdm_5mb() -> Figure:
    """CPU time of one MDM of 5 MB, nearly all of it an embedded PDF."""
    tune_collector()
    made = [document(5_000_000, seed) for seed in range(4)]
    return _one(Converter(id_key=ids.PUBLIC_KEY), "convert_mdm_5mb", made, "<= 100 ms")


def convert_linear() -> Figure:
    """KB a second of an ORU of 100 orders with 200 OBX each (3.1 MB); limit: of ORUs of one such order."""
    tune_collector()
    converter = Converter(id_key=ids.PUBLIC_KEY)
    small, large = [result(200, seed) for seed in range(100, 130)], result(200, 99, orders=100)
    _all(converter, small[:2])
    ours = min(_spent(converter, [large]) for _ in range(3))
    limit = min(_spent(converter, small) for _ in range(3))
    kilobytes = sum(len(one) for one in small) / 1000
    return Figure(
        "convert_linear",
        len(large) / ours / 1000,
        "KB/s",
        kilobytes / limit,
        "an ORU of 200 OBX",
        "ratio near 1",
    )


# --- messages ---


def result(count: int, seed: int, *, orders: int = 1) -> bytes:
    """An ORU of so many orders, each with ``count`` results of a code of their own."""
    rng = random.Random(seed)
    header = messages.Header(people.EPOCH + timedelta(seconds=seed), f"R{seed}", "LAB")
    made = [messages.Order(seed * 1000 + one, header.stamp, _results(rng, count)) for one in range(orders)]
    return messages.oru(header, people.person(1, seed), made)


def _results(rng: random.Random, count: int) -> tuple[messages.Result, ...]:
    made = (one for _ in range(count) for one in messages.results(rng))
    return tuple(
        messages.Result((f"{index}-{index % 10}", *one.lab[1:]), one.value)
        for index, one in zip(range(count), made, strict=False)
    )


def document(size: int, seed: int) -> bytes:
    """An MDM^T02 of about ``size`` bytes."""
    rng = random.Random(seed)
    header = messages.Header(people.EPOCH + timedelta(seconds=seed), f"D{seed}", "DOCUMENTS")
    pdf = documents.pdf(rng, size * 3 // 4)
    return documents.mdm(header, people.person(1, seed), documents.Document(seed, pdf=pdf), "T02")


# --- measuring ---


def _one(converter: Converter, name: str, made: Sequence[bytes], goal: str) -> Figure:
    _all(converter, made[:2])
    ours = median([_spent(converter, [raw]) for raw in made])
    return Figure(name, ours * 1000, "ms", _bare(converter, made) / len(made) * 1000, _LIMIT, goal)


def _all(converter: Converter, made: Sequence[bytes]) -> None:
    for raw in made:
        fhir_json.dumps(bundle.transaction(converter.convert(raw, at_us=0).resources))


def _bare(converter: Converter, made: Sequence[bytes]) -> float:
    """CPU seconds of the limit; the least of five."""
    results = [list(converter.convert(raw, at_us=0).resources) for raw in made]

    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for raw, resources in zip(made, results, strict=True):
            [line.split("|") for line in raw.decode().split("\r")]
            fhir_json.dumps(resources)
        best = min(best, time.process_time() - started)
    return best


def _spent(converter: Converter, made: Sequence[bytes]) -> float:
    """CPU seconds of all of them."""
    started = time.process_time()
    _all(converter, made)
    return time.process_time() - started


def by_kind(count: int = 4000) -> list[tuple[str, int, float, float]]:
    """What each message type of the mix costs: kind, messages, KB and CPU ms of all of them."""
    tune_collector()
    converter = Converter(id_key=ids.PUBLIC_KEY)
    events = list(Simulation(seed=9, patients=500).take(count + CHUNK))
    _all(converter, [event.raw for event in events[:CHUNK]])
    found: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for event in events[CHUNK:]:
        row = found[event.kind]
        row[0] += 1
        row[1] += len(event.raw) / 1000
        row[2] += _spent(converter, [event.raw]) * 1000
    rows = [(kind, int(number), size, spent) for kind, (number, size, spent) in found.items()]
    return sorted(rows, key=lambda row: -row[3])


def main() -> None:
    """Prints the figures, or the table by kind."""
    if "--by-kind" in sys.argv[1:]:
        print("| kind | messages | KB each | CPU ms each | CPU ms/KB |\n|---|---|---|---|---|")
        for kind, number, size, spent in by_kind():
            print(f"| {kind} | {number} | {size / number:.1f} | {spent / number:.2f} | {spent / size:.3f} |")
        return
    for measure in (convert_mix, convert_oru_200, convert_mdm_5mb, convert_linear):
        figure = measure()
        print(
            f"{figure.name}: {figure.value:,.4g} {figure.unit} ({figure.goal}); "
            f"limit {figure.limit:,.4g} ({figure.limit_is}), ratio {figure.ratio:.2f}"
        )


if __name__ == "__main__":
    main()
