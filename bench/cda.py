"""CDA documents: converted a second, time per byte of a large one, memory. One core, no I/O; seconds are of CPU time.

    python -m bench.cda [--folder FOLDER]

Without a folder: the example and each of its sections as a document of its own. With one: every whole document in it.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

from lxml import etree

from bench.measure import Figure
from hdg.errors import CdaError
from hdg.fhir import bundle, ids
from hdg.fhir import json as fhir_json
from hdg.helper import tune_collector
from hdg.ingestion.cda.convert import Converter

EXAMPLE = Path(__file__).parents[1] / "examples" / "ccd-summary.xml"
HL7 = "{urn:hl7-org:v3}"
_ROOT = re.compile(rb"<(\w+:)?ClinicalDocument[\s>]")
SMALL, LARGE = 100_000, 5_000_000
ROUNDS = 5


def convert_cda(folder: Path | None = None) -> Figure:
    """Documents to validated FHIR JSON bytes; limit: lxml parsing the same bytes."""
    documents = small_documents() if folder is None else [one.read_bytes() for one in whole_files(folder)]
    converter = Converter(id_key=ids.PUBLIC_KEY)
    convertible = [one for one in documents if _convert(converter, one) and _is_parsed(one)]
    tune_collector()  # as hdg serve, its helper and the processes of hdg convert do
    ours, limit = _least(
        lambda: [_convert(converter, one) for one in convertible],
        lambda: [etree.fromstring(one) for one in convertible],
    )
    count = len(convertible)
    goal = ">= 150 over the 64 of the corpus" if folder is None else ">= 150"
    return Figure("convert_cda", count / ours, "documents/s", count / limit, "bare lxml parse", goal)


def cda_linear() -> Figure:
    """KB a second of a document of 5 MB; limit: of one of 100 KB made in the same way."""
    converter = Converter(id_key=ids.PUBLIC_KEY)
    small, large = repeated(SMALL), repeated(LARGE)
    _convert(converter, small)
    times = LARGE // SMALL // 5
    ours, limit = _least(
        lambda: _convert(converter, large),
        lambda: [_convert(converter, small) for _ in range(times)],
        rounds=2,
    )
    return Figure(
        "cda_linear",
        len(large) / ours / 1000,
        "KB/s",
        times * len(small) / limit / 1000,
        "a document of 100 KB",
        "ratio near 1",
    )


def cda_memory() -> Figure:
    """Peak memory that converting a document of 5 MB adds to a warm process; limit: what lxml's tree of it adds."""
    ours, limit = (_added_mb(name) for name in ("convert", "parse"))
    return Figure(
        "cda_memory", ours, "MB", limit, "bare lxml parse", f"< {10 * LARGE / 1e6:.0f} (10 x the document)"
    )


# --- documents ---


def whole_files(folder: Path) -> list[Path]:
    """Every file with a whole document, by path."""
    return [one for one in sorted(folder.rglob("*.xml")) if _ROOT.search(one.read_bytes())]


def small_documents() -> list[bytes]:
    """The example, and each of its sections as a document of its own."""
    whole = etree.parse(EXAMPLE).getroot()
    made = [etree.tostring(whole)]
    for kept in range(len(_sections(whole))):
        one = deepcopy(whole)
        for number, section in enumerate(_sections(one)):
            if number != kept:
                section.getparent().getparent().remove(section.getparent())
        made.append(etree.tostring(one))
    return made


def repeated(size: int) -> bytes:
    """The example with its entries repeated until it has about ``size`` bytes; each copy has identifiers of its own."""
    root = etree.parse(EXAMPLE).getroot()
    entries = [(one, deepcopy(entry)) for one in _sections(root) for entry in one.findall(HL7 + "entry")]
    once = len(etree.tostring(root))
    _repeat(entries, 1)
    each = len(etree.tostring(root)) - once
    for copy in range(2, (size - once) // each + 1):
        _repeat(entries, copy)
    return etree.tostring(root)


def _repeat(entries: list[tuple[etree._Element, etree._Element]], copy: int) -> None:
    for section, entry in entries:
        other = deepcopy(entry)
        for identifier in other.iter(HL7 + "id"):
            identifier.set("extension", f"{identifier.get('extension', '')}-{copy}")
        section.append(other)


def _sections(root: etree._Element) -> list[etree._Element]:
    return root.findall(f"{HL7}component/{HL7}structuredBody/{HL7}component/{HL7}section")


# --- measuring ---


def _convert(converter: Converter, document: bytes) -> bytes:
    """The JSON; nothing for a document that is refused."""
    try:
        return fhir_json.dumps(bundle.transaction(converter.convert(document, at_us=0).resources))
    except CdaError:
        return b""


def _is_parsed(document: bytes) -> bool:
    """Whether lxml reads it unmended; the converter reads more, with nothing to compare it to."""
    try:
        etree.fromstring(document)
    except etree.XMLSyntaxError:
        return False
    return True


def _least(
    ours: Callable[[], object], limit: Callable[[], object], *, rounds: int = ROUNDS
) -> tuple[float, float]:
    """CPU seconds of each, the least of so many turns."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for number, work in enumerate((ours, limit)):
            started = time.process_time()
            work()
            best[number] = min(best[number], time.process_time() - started)
    return best[0], best[1]


def _added_mb(what: str) -> float:
    """In a process of its own, which gets the document by its standard input: making it takes memory too."""
    command = [sys.executable, "-m", "bench.cda", "--memory", what]
    done = subprocess.run(command, input=repeated(LARGE), check=True, capture_output=True)
    return float(done.stdout)


def _print_added(what: str) -> None:
    large, converter = sys.stdin.buffer.read(), Converter(id_key=ids.PUBLIC_KEY)
    _convert(converter, EXAMPLE.read_bytes())
    before = _peak_mb()
    kept = converter.convert(large, at_us=0) if what == "convert" else etree.fromstring(large)
    print(_peak_mb() - before)
    del kept


def _peak_mb() -> float:
    """The most memory that this process has held. Linux's getrusage would give its parent's if that is more."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--memory", choices=("convert", "parse"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.memory:
        _print_added(given.memory)
        return
    for figure in (convert_cda(given.folder), cda_linear(), cda_memory()):
        print(
            f"{figure.name}: {figure.value:,.4g} {figure.unit} ({figure.goal}); "
            f"limit {figure.limit:,.4g} ({figure.limit_is}), ratio {figure.ratio:.2f}"
        )


if __name__ == "__main__":
    main()
