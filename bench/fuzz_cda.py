"""Fuzzing the conversion of CDA documents: structure-aware mutations of small documents or of a folder of real ones.

    python -m bench.fuzz_cda [--seconds 60] [--seed N] [--folder FOLDER]

A finding is an exception other than CdaError, a resource that is not valid R4, a reference that leads nowhere, two
resources with one id, or an input that takes longer than ``HANG_S``. Its input is written to bench/out/fuzz_cda. Exit 1
on any finding. For 10 minutes: --seconds 600.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from lxml import etree

from bench.wrong import wrong
from hdg.errors import CdaError
from hdg.fhir import ids
from hdg.ingestion.cda.convert import Converter

ROOT = Path(__file__).parents[1]
OUT = ROOT / "bench" / "out" / "fuzz_cda"
HANG_S = 20.0
SIZE_MAX = 400_000
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
KINDS = [
    "PQ",
    "CD",
    "CE",
    "ST",
    "ED",
    "TS",
    "IVL_TS",
    "PIVL_TS",
    "EIVL_TS",
    "IVL_PQ",
    "RTO",
    "INT",
    "REAL",
    "BL",
    "x:y:z",
    "",
]
VALUES = [
    "",
    " ",
    "0",
    "-1",
    "1e400",
    "NaN",
    "20240230",
    "2024",
    "99999999999999999999",
    "#",
    "#t1",
    "true",
    "false",
    "1",
    "2.16.840.1.113883.6.96",
    "UNK",
    "junk value",
    "\u2028\ufffd",
    "a" * 70_000,
    "urn:oid:",
    "<&>\"'",
    "tel:",
    "INT",
]
NAMES = [
    "nullFlavor",
    "negationInd",
    "moodCode",
    "value",
    "code",
    "codeSystem",
    "unit",
    "root",
    "extension",
    "typeCode",
    "use",
    "ID",
]


def main() -> int:
    """Runs until the time is up; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="Documents to start from (default: those of the tests).")
    given = parser.parse_args()
    documents = list(_documents(given.folder))
    chance = random.Random(given.seed)  # repeatable, not secret
    converter = Converter(id_key=ids.PUBLIC_KEY)
    outcomes: Counter[str] = Counter()
    findings = 0
    end = time.monotonic() + given.seconds
    while time.monotonic() < end:
        data = _mutated(chance.choice(documents), chance)
        problem = _problem(converter, data, outcomes)
        if problem:
            findings += 1
            OUT.mkdir(parents=True, exist_ok=True)
            name = f"{hashlib.sha256(problem.encode()).hexdigest()[:12]}.xml"
            (OUT / name).write_bytes(data)
            print(f"{name}: {problem}", flush=True)
    print(f"{sum(outcomes.values())} documents: {dict(outcomes)}; {findings} findings (seed {given.seed})")
    return 1 if findings else 0


def _documents(folder: Path | None) -> Iterator[bytes]:
    if folder is None:
        yield from (path.read_bytes() for path in sorted((ROOT / "examples").glob("*.xml")))
        return
    for path in sorted(folder.rglob("*.xml")):
        data = path.read_bytes()
        if len(data) <= SIZE_MAX:
            yield data


def _mutated(data: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.1:  # bytes
        mutable = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(mutable))
            mutable[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        return bytes(mutable)
    try:
        root = etree.fromstring(data)
    except etree.XMLSyntaxError:
        return data
    for _ in range(chance.randint(1, 12)):
        nodes = [node for node in root.iter() if isinstance(node.tag, str)]
        _mutate(chance.choice(nodes), nodes, chance)
    return etree.tostring(root)


def _mutate(node: Any, nodes: list[Any], chance: random.Random) -> None:
    parent = node.getparent()
    match chance.randrange(9):
        case 0 if parent is not None:
            parent.remove(node)
        case 1 if parent is not None:
            parent.insert(chance.randrange(len(parent) + 1), deepcopy(node))
        case 2:
            node.insert(chance.randrange(len(node) + 1), deepcopy(chance.choice(nodes)))
        case 3:
            node.set(chance.choice(NAMES), _value(chance))
        case 4 if node.attrib:
            del node.attrib[chance.choice(list(node.attrib))]
        case 5 if node.attrib:
            node.set(chance.choice(list(node.attrib)), _value(chance))
        case 6:
            node.set(XSI_TYPE, chance.choice(KINDS))
        case 7:
            node.tag = chance.choice(nodes).tag
        case _:
            node.text = _value(chance)


def _value(chance: random.Random) -> str:
    return "".join(letter for letter in chance.choice(VALUES) if letter != "\ufffd" or chance.random() < 0.5)


def _problem(converter: Converter, data: bytes, outcomes: Counter[str]) -> str:
    """What is wrong with what becomes of a document; '' for nothing."""
    started = time.process_time()
    try:
        found = converter.convert(data, at_us=0)
    except CdaError:
        outcomes["refused"] += 1
        return ""
    except Exception as error:
        outcomes["crash"] += 1
        frames = traceback.extract_tb(error.__traceback__)
        return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}: {str(error)[:200]}"
    outcomes["converted"] += 1
    if time.process_time() - started > HANG_S:
        return "too slow"
    return wrong(found.resources)


if __name__ == "__main__":
    sys.exit(main())
