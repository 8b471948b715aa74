"""Other people's parsers and converters beside ours: same inputs, same machine, same run.

    python -m bench.peers [--seconds 5] [--messages 300] [--only NAME …]

Needs pip, npm, Java 17 and Maven with their registries. Builds under bench/out/peers. See README.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.core import FIELDS
from bench.peers.kept import JsonObject, Tally
from hdg import __version__
from hdg.fhir import bundle, ids
from hdg.fhir import json as fhir_json
from hdg.fhir.validate import validate
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.parser import parse
from hdg.simulate import ORDERLY, Simulation

HERE = Path(__file__).parent
WORK = HERE.parent / "out" / "peers"
PYTHON_PEERS = {"hl7": "0.4.5", "hl7apy": "1.3.5"}
NODE_PEERS = {"medplum": "@medplum/core", "nodehl7": "node-hl7-client"}
JAVA = ("linuxforhealth", "hapi")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A row of the first table."""

    name: str
    rate: float
    failed: int
    obx: int


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=[*PYTHON_PEERS, *NODE_PEERS, *JAVA])
    given = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    messages = [e.raw for e in Simulation(seed=6, patients=40, disorder=ORDERLY).take(given.messages)]
    source = WORK / "simulated.bin"
    source.write_bytes(b"".join(b"\x0b" + raw + b"\x1c\r" for raw in messages))
    obx = sum(raw.count(b"\rOBX|") for raw in messages)
    size_kb = sum(map(len, messages)) / len(messages) / 1000
    print(
        f"{len(messages)} simulated messages, {size_kb:.1f} KB on average, {obx} OBX; seconds are of CPU time"
    )
    print(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}\n")
    _parsers(messages, source, given)
    _converters(messages, source, given)


def _parsers(messages: list[bytes], source: Path, given: argparse.Namespace) -> None:
    rows = [_ours_parsed(messages, given.seconds)]
    for name, release in PYTHON_PEERS.items():
        if name in given.only:
            rows.append(_parsed(f"{name} {release}", [*_python(), name, source, given.seconds]))
    for name, package in NODE_PEERS.items():
        if name in given.only:
            folder = _node()
            release = json.loads((folder / "node_modules" / package / "package.json").read_text())["version"]
            rows.append(
                _parsed(f"{package} {release}", ["node", folder / "peer.mjs", name, source, given.seconds])
            )
    if "hapi" in given.only:
        rows.append(_parsed("HAPI v2 2.6.0", [*_java("hapi"), source, given.seconds]))
    print("| parser | messages/CPU s | refused | OBX seen |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.name} | {row.rate:,.0f} | {row.failed} | {row.obx} |")
    print()


def _converters(messages: list[bytes], source: Path, given: argparse.Namespace) -> None:
    early = [_specimen_first(raw) for raw in messages if b"|ORU^R01" in raw]
    early_file = WORK / "specimen-first.bin"
    early_file.write_bytes(b"".join(b"\x0b" + raw + b"\x1c\r" for raw in early))
    columns = {f"hdg {__version__}": (*_ours(messages, given.seconds), _ours(early, 0.0)[1])}
    if "linuxforhealth" in given.only:
        rate, bundles = _theirs(source, given.seconds)
        columns["LinuxForHealth 1.0.19"] = rate, bundles, _theirs(early_file, 0.0)[1]
    names = list(columns)
    print(f"| conversion | in | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    print(f"| messages/CPU s | | {' | '.join(f'{columns[name][0]:,.0f}' for name in names)} |")
    _print_kept("", messages, [columns[name][1] for name in names])
    _print_kept("SPM before OBX: ", early, [columns[name][2] for name in names])


def _specimen_first(raw: bytes) -> bytes:
    """A specimen between each OBR and its results, where v2.5 has it behind them: many laboratories do so."""
    lines = raw.split(b"\r")
    made = []
    for line in lines:
        made.append(line)
        if line.startswith(b"OBR|"):
            made.append(b"SPM|1|||119297000^Blood specimen^SCT|||||||||||||" + line.split(b"|")[7])
    return b"\r".join(made)


def _print_kept(title: str, inputs: list[bytes], outputs: list[list[JsonObject | None]]) -> None:
    tallies = []
    for bundles in outputs:
        tally = Tally()
        for raw, made in zip(inputs, bundles, strict=True):
            tally.add(raw, made)
        tallies.append(tally)
    for kind, count in tallies[0].given.items():
        if not title or kind in ("message", "result", "comparator", "report text"):
            print(f"| {title}{kind} | {count} | {' | '.join(str(tally.kept[kind]) for tally in tallies)} |")
    if title:
        return
    print(f"| ids a patient | 1 | {' | '.join(f'{tally.ids_a_patient:.1f}' for tally in tallies)} |")
    valid = []
    for bundles in outputs:
        resources = [entry["resource"] for made in bundles if made for entry in made["entry"]]
        valid.append(f"{sum(not validate(r) for r in resources)} of {len(resources)}")
    print(f"| valid R4 resources (hdg's validator) | | {' | '.join(valid)} |")


# --- ours ---


def _rate(work: Callable[[bytes], object], messages: list[bytes], seconds: float) -> float:
    for raw in messages:  # warm-up
        work(raw)
    started, done = time.process_time(), 0
    while time.process_time() - started < seconds:
        for raw in messages:
            work(raw)
            done += 1
            if time.process_time() - started >= seconds:
                break
    return done / max(time.process_time() - started, 1e-9)


def _ours_parsed(messages: list[bytes], seconds: float) -> Parsed:
    def work(raw: bytes) -> None:
        message = parse(raw)
        for name, number in FIELDS:
            segment = message.first(name)
            if segment is not None:
                segment.field(number)

    obx = sum(len(parse(raw).all("OBX")) for raw in messages)
    return Parsed(f"hdg {__version__}", _rate(work, messages, seconds), 0, obx)


def _ours(messages: list[bytes], seconds: float) -> tuple[float, list[JsonObject | None]]:
    converter = Converter(id_key=ids.PUBLIC_KEY)

    def work(raw: bytes) -> bytes:
        try:
            return fhir_json.dumps(bundle.transaction(converter.convert(raw, at_us=0).resources))
        except Exception:  # refused: counted as such
            return b"null"

    return _rate(work, messages, seconds), [fhir_json.loads(work(raw)) for raw in messages]


# --- theirs ---


def _parsed(name: str, command: list[object]) -> Parsed:
    answer = _answer(command)
    return Parsed(name, answer["rate"], answer["failed"], answer["obx"])


def _theirs(source: Path, seconds: float) -> tuple[float, list[JsonObject | None]]:
    out = source.with_suffix(".ndjson")
    answer = _answer([*_java("linuxforhealth"), source, seconds, out])
    return answer["rate"], [fhir_json.loads(line) for line in out.read_bytes().splitlines()]


def _answer(command: list[object]) -> JsonObject:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _python() -> list[object]:
    python = WORK / "python" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(WORK / "python")], check=True)
        wanted = [f"{name}=={release}" for name, release in PYTHON_PEERS.items()]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return [python, HERE / "peer.py"]


def _node() -> Path:
    folder = WORK / "node"
    shutil.copytree(HERE / "node", folder, dirs_exist_ok=True)
    if not (folder / "node_modules").exists():
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    return folder


def _java(name: str) -> list[object]:
    folder = WORK / name
    shutil.copytree(HERE / name, folder, dirs_exist_ok=True)
    classpath = folder / "target" / "classpath.txt"
    newest = max(path.stat().st_mtime for path in (HERE / name).iterdir())
    if not classpath.exists() or classpath.stat().st_mtime < newest:
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath"
        command = ["mvn", "-q", "-B", "compile", plugin, "-Dmdep.outputFile=target/classpath.txt"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return ["java", "-cp", f"{folder / 'target' / 'classes'}:{classpath.read_text()}", "Peer"]


if __name__ == "__main__":
    main()
