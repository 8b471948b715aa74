"""Other people's converters of C-CDA documents beside ours: same documents, same machine, same run.

    python -m bench.peers.cda --folder FOLDER [--seconds 5] [--only NAME …]

Needs pip and npm with their registries. Builds under bench/out/peers/cda. See bench/peers/README.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from bench.cda import whole_files
from bench.peers.cda.facts import Facts
from hdg import __version__
from hdg.fhir import bundle, ids
from hdg.fhir import json as fhir_json
from hdg.ingestion.cda.convert import Converter
from tests.ingestion.cda.test_corpus_cda_truth import STATEMENTS

HERE = Path(__file__).parent
WORK = HERE.parents[1] / "out" / "peers" / "cda"
PYTHON_PEERS = {"ccda-to-fhir": "0.3", "python-fhir-converter": "0.3.0"}
NODE_PEER = "@medplum/ccda"
Made = tuple[float, list[dict[str, Any]]]
"""Documents per CPU second, of those converted, and a Bundle or an error for each."""


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", nargs="*", default=[*PYTHON_PEERS, NODE_PEER])
    given = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    files = whole_files(given.folder)
    documents = [one.read_bytes() for one in files]
    listed = WORK / "documents.json"
    listed.write_text(json.dumps([str(one.resolve()) for one in files]))
    print(
        f"{date.today()}, {platform.system()} {platform.machine()}, Python {platform.python_version()};",
        end=" ",
    )
    print(
        f"{len(documents)} documents, {sum(map(len, documents)) / len(documents) / 1000:.0f} KB on average\n"
    )
    columns = {f"hdg {__version__}": _ours(documents, given.seconds)}
    for name, release in PYTHON_PEERS.items():
        if name in given.only:
            columns[f"{name} {release}"] = _theirs([*_python(name, release), listed, given.seconds])
    if NODE_PEER in given.only:
        folder = _node()
        release = json.loads((folder / "node_modules" / NODE_PEER / "package.json").read_text())["version"]
        columns[f"{NODE_PEER} {release}"] = _theirs(["node", folder / "peer.mjs", listed, given.seconds])
    _print(documents, columns)


def _print(documents: list[bytes], columns: dict[str, Made]) -> None:
    facts = {name: Facts() for name in columns}
    for name, (_, bundles) in columns.items():
        for document, made in zip(documents, bundles, strict=True):
            facts[name].add(document, made)
    first, *_ = facts.values()
    print(f"| | in | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")

    def row(title: str, there: object, cell: Callable[[Facts], object]) -> None:
        print(f"| {title} | {there} | {' | '.join(str(cell(one)) for one in facts.values())} |")

    rates = " | ".join(f"{rate:,.1f}" for rate, _ in columns.values())
    print(f"| documents/CPU s, of those it converts | | {rates} |")
    row("documents converted", len(documents), lambda one: one.documents)
    row("wholly valid documents (hdg's validator)", len(documents), lambda one: one.wholly_valid)
    row("valid resources", "", lambda one: f"{one.valid} of {one.resources}")
    row("references that lead nowhere", "", lambda one: one.dangling)
    there = first.codings["there"]
    row("codings kept, with their system", there, lambda one: _share(one.codings["with system"], there))
    row("codings kept, the code alone", there, lambda one: _share(one.codings["kept"], there))
    row(
        "the same, of documents it converts",
        "",
        lambda one: _share(one.codings["kept"], one.codings["of converted"]),
    )
    for kind in STATEMENTS:
        if count := sum(number for (of, _), number in first.negated.items() if of == kind):
            row(f"negated, {kind}: denied, inverted, gone", count, lambda one, kind=kind: _fates(one, kind))
    row("stated, comes out as denied", sum(first.stated.values()), lambda one: one.stated["inverted"])
    for name, one in facts.items():
        print(f"\n{name}\n")
        for title, counter in (("refused", one.refusals), ("not valid", one.problems)):
            for text, number in _grouped(counter).most_common(6):
                print(f"- {title}, {number}: {text}")


def _grouped(counter: Counter[str]) -> Counter[str]:
    """Texts that differ in numbers alone are one."""
    found: Counter[str] = Counter()
    for text, number in counter.items():
        found[re.sub(r"\d[\d.]*", "N", text)[:160]] += number
    return found


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole else ""


def _fates(facts: Facts, kind: str) -> str:
    return ", ".join(str(facts.negated[kind, fate]) for fate in ("denied", "inverted", "gone"))


# --- ours ---


def _ours(documents: list[bytes], seconds: float) -> Made:
    converter = Converter(id_key=ids.PUBLIC_KEY)

    def work(raw: bytes) -> bytes:
        return fhir_json.dumps(bundle.transaction(converter.convert(raw, at_us=0).resources))

    made: list[dict[str, Any]] = []
    good = []
    for raw in documents:
        try:
            made.append(fhir_json.loads(work(raw)))
            good.append(raw)
        except Exception as error:  # refused: counted as such
            made.append({"error": str(error)})
    _rate(work, good, seconds)  # warm-up
    return _rate(work, good, seconds), made


def _rate(work: Callable[[bytes], object], documents: list[bytes], seconds: float) -> float:
    started, done = time.process_time(), 0
    while not done or time.process_time() - started < seconds:
        for raw in documents:
            work(raw)
        done += len(documents)
    return done / (time.process_time() - started)


# --- theirs ---


def _theirs(command: list[object]) -> Made:
    out = WORK / "made.ndjson"
    done = subprocess.run([*map(str, command), str(out)], capture_output=True, text=True, check=True)
    bundles = [fhir_json.loads(line) for line in out.read_bytes().split(b"\n") if line]
    return json.loads(done.stdout.strip().splitlines()[-1])["rate"], bundles


def _python(name: str, release: str) -> list[object]:
    python = WORK / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(WORK / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"{name}=={release}"], check=True)
    return [python, HERE / "peer.py", name]


def _node() -> Path:
    folder = WORK / "node"
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "peer.mjs"):
        shutil.copy(HERE / name, folder)
    if not (folder / "node_modules").exists():
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    return folder


if __name__ == "__main__":
    main()
