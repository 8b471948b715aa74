"""Fuzzing DICOM headers: mutated bytes, lengths, VRs, tags and values of the files that come with pydicom.

    python -m bench.fuzz_dicom [--seconds 60] [--seed N] [--folder FOLDER]

A finding is an exception other than DicomError, a resource that is not valid R4, a reference that leads nowhere, two
resources with one id, a value in a text about a problem, or an input that takes longer than ``HANG_S``. Its input is
written to bench/out/fuzz_dicom. Exit 1 on any finding. For 10 minutes: --seconds 600.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import struct
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from bench.wrong import wrong
from hdg.errors import DicomError
from hdg.fhir import ids
from hdg.ingestion.dicom.convert import Converter
from hdg.ingestion.dicom.document import encapsulated
from hdg.ingestion.dicom.gather import Gathering
from hdg.ingestion.dicom.header import Limits, read_header

ROOT = Path(__file__).parents[1]
OUT = ROOT / "bench" / "out" / "fuzz_dicom"
HANG_S = 5.0
SIZE_MAX = 40_000
LIMITS = Limits(header_bytes=4 << 20, elements=50_000)
SECRET = b"Zq7Secret"
REPORTS, REPORTS_TIMES = b"1.2.840.10008.5.1.4.1.1.88.", 20
"""Structured reports are few and hold most: they are taken more often."""
LENGTHS = [0, 1, 2, 3, 7, 8, 0xFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]
VRS = [b"SQ", b"UN", b"OB", b"PN", b"CS", b"DS", b"IS", b"US", b"FL", b"AT", b"UT", b"??", b"\0\0", b"ZZ"]
TAGS = [
    (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD), (0x0008, 0x0005), (0x0010, 0x0010), (0x0010, 0x0020),
    (0x0040, 0xA730), (0x0040, 0xA043), (0x0040, 0xA300), (0x0008, 0x0100), (0x0040, 0x0275), (0x7FE0, 0x0010),
    (0x0008, 0x0201), (0x0010, 0x1002), (0x0042, 0x0011), (0x0010, 0x1010), (0x0010, 0x1030), (0x0008, 0x0020),
]  # fmt: skip
VALUES = [
    b"", b" ", b"\0", b"\\", b"\\\\\\", b"^^^^", b"===", SECRET, b"\x1b$B", b"\x1b(J\xb1", b"\xff\xfe\x80", b"20260231",
    b"99999999", b"1e400", b"-0.0", b"NaN", b"+5", b".", b"1.", b"ISO_IR 192", b"\\ISO 2022 IR 87", b"GB18030",
    b"ISO 2022 IR 149", b"+2500", b"-0000", b"000Y", b"1.2.840.10008.1.2", b"CONTAINER", b"NUM", b"HAS CONCEPT MOD",
    b"CONTAINS", b"CODE", b"HAS PROPERTIES", b"1234", b"2222", b"Absent", b"\xe2\x80\xa8", b"A" * 70_000,
]  # fmt: skip


def seeds(folder: Path | None = None) -> list[bytes]:
    """What is mutated: small files of a folder, of pydicom's own without one."""
    if folder is None:
        import pydicom.data

        folder = Path(pydicom.data.__file__).parent
    found = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    headers = [data[:SIZE_MAX] for data in found if data[128:132] == b"DICM"]
    return headers + [data for data in headers if REPORTS in data] * REPORTS_TIMES


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to twelve changes; of values only, in every other object, so that it stays one."""
    changed = bytearray(data)
    change = chance.choice((_mutate, _set))
    for _ in range(chance.randint(1, 12)):
        change(changed, chance)
    return bytes(changed)


def _mutate(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(132, max(len(data), 133)) & ~1
    match chance.randrange(9):
        case 0:
            data[at : at + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 4))
        case 1:
            data[at : at + 2] = struct.pack("<H", chance.choice(LENGTHS) & 0xFFFF)
        case 2:
            data[at : at + 4] = struct.pack("<I", chance.choice(LENGTHS))
        case 3:
            data[at : at + 2] = chance.choice(VRS)
        case 4:
            data[at : at + 4] = struct.pack("<HH", *chance.choice(TAGS))
        case 5:
            del data[at : at + chance.randint(1, 64)]
        case 6:
            start = chance.randrange(len(data))
            data[at:at] = data[start : start + chance.randint(8, 400)]
        case 7:
            data[at:at] = _element(chance)
        case _:
            _set(data, chance)


def _element(chance: random.Random) -> bytes:
    """A well-formed element, or a sequence of some depth."""
    group, element = chance.choice(TAGS)
    value = chance.choice(VALUES)
    value += b" " * (len(value) % 2)
    vr = chance.choice(VRS)
    made = struct.pack("<HH2sHI", group, element, vr, 0, len(value)) + value
    for _ in range(chance.choice((0, 0, 1, 3, 120))):
        one = struct.pack("<HHI", 0xFFFE, 0xE000, len(made)) + made
        made = struct.pack("<HH2sHI", *chance.choice(TAGS), b"SQ", 0, len(one)) + one
    return made


def _set(data: bytearray, chance: random.Random) -> None:
    """Another value for an element that is there (explicit VR little endian)."""
    group, element = chance.choice(TAGS)
    at = data.find(struct.pack("<HH", group, element), chance.randrange(132, max(len(data), 133)))
    if at < 0 or at + 8 > len(data) or data[at + 4 : at + 6] in (b"SQ", b"UT", b"UN"):
        return
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    value = chance.choice(VALUES)[:0x7FFE]
    if chance.random() < 0.7:  # as long as the old one: what is around it stays right
        value = value[: min(length, 0x7FFE)].ljust(min(length, 0x7FFE))
    value += b" " * (len(value) % 2)
    data[at + 6 : at + 8 + length] = struct.pack("<H", len(value)) + value


def problem(converter: Converter, data: bytes, outcomes: Counter[str]) -> str:
    """What is wrong with what becomes of an object; '' for nothing."""
    started = time.process_time()
    try:
        header = read_header(data, limits=LIMITS)
        found = converter.convert(header, at_us=0, document=encapsulated(header))
        gathering = Gathering(ids.PUBLIC_KEY)
        gathering.add(found)
        (study,) = gathering.studies()
    except DicomError as error:
        outcomes["refused"] += 1
        return "a value in an error" if SECRET.decode() in str(error) else ""
    except Exception as error:
        outcomes["crash"] += 1
        frames = traceback.extract_tb(error.__traceback__)
        return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}: {str(error)[:200]}"
    outcomes["converted"] += 1
    if time.process_time() - started > HANG_S:
        return "too slow"
    if any(SECRET.decode() in str(issue) for issue in (*found.issues, *study.issues)):
        return "a value in an issue"
    for resources in (found.resources, study.resources):
        if problem := wrong(resources):
            return problem
    return ""


def run(
    seconds: float, seed: int, folder: Path | None = None
) -> tuple[list[tuple[str, bytes]], Counter[str]]:
    """Findings with their inputs, and how many objects were converted and refused."""
    chance = random.Random(seed)  # repeatable, not secret
    start = seeds(folder)
    converter = Converter(id_key=ids.PUBLIC_KEY)
    outcomes: Counter[str] = Counter()
    findings: dict[str, bytes] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(chance.choice(start), chance)
        found = problem(converter, data, outcomes)
        if found:
            findings.setdefault(found, data)
    return list(findings.items()), outcomes


def main() -> int:
    """Runs until the time is up; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="Objects to start from (default: those of pydicom).")
    given = parser.parse_args()
    findings, outcomes = run(given.seconds, given.seed, given.folder)
    for what, data in findings:
        OUT.mkdir(parents=True, exist_ok=True)
        name = f"{hashlib.sha256(what.encode()).hexdigest()[:12]}.dcm"
        (OUT / name).write_bytes(data)
        print(f"{name}: {what}", flush=True)
    print(f"{sum(outcomes.values())} objects: {dict(outcomes)}; {len(findings)} findings (seed {given.seed})")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
