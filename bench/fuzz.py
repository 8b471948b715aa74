"""Fuzzing what reads bytes from strangers: parser, escapes, framing, batches, answers, lanes, conversion.

    python -m bench.fuzz [--seconds 60] [--seed N] [--target NAME]

Mutates real messages (examples/, tests/cases) and keeps every input that makes a target behave in a way not
seen before. A finding is an exception that the target must not raise, a broken law, an input that takes
longer than ``HANG_S``, or memory past ``MEMORY_MAX_MB``. Its input is written to bench/out/fuzz; it becomes a
case in tests/ingestion/hl7v2/test_fuzz.py. Exit 1 on any finding. For 10 minutes: --seconds 600.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.ack import acknowledge
from hdg.ingestion.hl7v2.ack_mode import awaited, code_of, replies
from hdg.ingestion.hl7v2.batch import read_batch, response, split_messages
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.escape import escape, unescape
from hdg.ingestion.hl7v2.header import peek
from hdg.ingestion.hl7v2.mllp_frame import FrameDecoder, Oversize, frame
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.query import is_query
from hdg.ingestion.hl7v2.query import read as read_query
from hdg.ingestion.hl7v2.query_response import Answer, respond
from hdg.ingestion.lanes import patient_numbers

ROOT = Path(__file__).parents[1]
OUT = ROOT / "bench" / "out" / "fuzz"
HANG_S = 5.0
MEMORY_MAX_MB = 1_500
POOL_MAX = 4_000
INPUT_MAX = 64 * 1024

TOKENS = [
    *(
        b"|",
        b"^",
        b"~",
        b"\\",
        b"&",
        b"#",
        b"\r",
        b"\n",
        b"\r\n",
        b"\x0b",
        b"\x1c\r",
        b"\x1c",
        b"\x00",
        b"\x1b",
    ),
    *(
        b'""',
        b"\\F\\",
        b"\\X0D\\",
        b"\\XZZ\\",
        b"\\C2842\\",
        b"\\M244A\\",
        b"\\.br\\",
        b"\\.sp99999\\",
        b"\\H\\",
    ),
    *(
        b"MSH|^~\\&|",
        b"MSH",
        b"FHS|^~\\&|",
        b"BHS|",
        b"BTS|1",
        b"BTS|99999999999999",
        b"FTS|1",
        b"PID|",
        b"OBX|1|NM|",
    ),
    *(
        b"UNICODE UTF-8",
        b"8859/1",
        b"ISO IR87",
        b"GB 18030-2000",
        b"KS X 1001",
        b"UNICODE UTF-16",
        b"ASCII~ISO IR159",
    ),
    *(
        b"ADT^A01^ADT_A01",
        b"ORU^R01",
        b"|AL|AL",
        b"2.5.1",
        b"20240230",
        b"-1",
        b"1E999",
        b"9" * 400,
        b"\xff\xfe",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xc3",
        b"\x1b$B",
        "é".encode(),
        "é".encode("utf-16-le"),
        b"|" * 300,
        b"~" * 300,
        b"^" * 300,
    ),
]


_QUERY = (
    b"MSH|^~\\&|EHR@|CLINIC|HDG|R|20260314113000||QBP^Q11^QBP_Q11|Q1|P|2.5.1|||ER|AL\r"
    b"QPD|Z34^Request Immunization History^CDCPHINVS|Q@|10042^^^NORTHGEN&2.999.1.1&ISO^MR|%^Ada^@|@|1961@|F\rRCP|I|@^RD"
)
"""A template; ``@`` and ``%`` stand for what is tried."""


class Hang(BaseException):
    """An input took more than HANG_S of processor time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect: which target, what happened, and where the input lies."""

    target: str
    what: str
    data: bytes

    @property
    def path(self) -> Path:
        return OUT / f"{self.target}-{hashlib.sha256(self.data).hexdigest()[:12]}.bin"


class Broken(Exception):
    """A law that must hold does not."""


def fuzz_parse(data: bytes, random_: random.Random) -> str:
    peek(data)
    try:
        message = parse(data)
    except Hl7v2Error as error:
        return _shape(str(error))
    for segment in message.segments:
        _hold(segment.place() != "", "a segment without a place")
    again = parse(message.encode(charset="utf-8"), charset="utf-8")
    _hold([s.name for s in again.segments] == [s.name for s in message.segments], "encoding loses a segment")
    return _shape(" ".join(sorted(f"{issue.code} {issue.text}" for issue in message.issues)))


def fuzz_escape(data: bytes, random_: random.Random) -> str:
    text = data.decode("latin-1")
    found = unescape(text, random_.choice(["utf-8", "ascii", "iso2022_jp", "latin-1"]))
    _hold(len(found) <= 2_000_000, "unescaping makes a text far longer")
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f]", "", text)
    _hold(unescape(escape(plain), "utf-8") == plain, "escape and unescape are no inverses")
    return f"{len(found) < len(text)} {found.count(chr(10)) > 0}"


def fuzz_frames(data: bytes, random_: random.Random) -> str:
    is_lenient = random_.random() < 0.5
    max_bytes = random_.choice([10, 1000, 1 << 24])
    whole = FrameDecoder(max_bytes, is_lenient=is_lenient)
    pieces = FrameDecoder(max_bytes, is_lenient=is_lenient)
    stream = data + frame(data) + b"\x0bx\x1c\r"
    expected = whole.feed(stream)
    found = []
    at = 0
    while at < len(stream):
        size = random_.choice([1, 2, 7, 100, 5000])
        found += pieces.feed(stream[at : at + size])
        at += size
        _hold(len(pieces._buffer) <= max_bytes + size + 2, "the decoder holds more than it may")
    _hold(list(map(_size, found)) == list(map(_size, expected)), "frames depend on how the stream is cut")
    _hold(whole.junk_bytes == pieces.junk_bytes, "junk is counted by how the stream is cut")
    return f"{min(len(found), 5)} {is_lenient} {[type(each).__name__ for each in found[:4]]}"


def _size(found: bytes | Oversize) -> bytes | int:
    return found.size_bytes if isinstance(found, Oversize) else found


def fuzz_batch(data: bytes, random_: random.Random) -> str:
    batch = read_batch(data)
    _hold(batch.messages == tuple(split_messages(data)), "reading and splitting find other messages")
    acks = [acknowledge(piece, "AA", control_id="A1", at_us=0) for piece in batch.messages[:20]]
    answer = response(batch, acks, control_id="B1", at="2026")
    if not any(ack.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in ack for ack in acks):
        again = read_batch(answer)
        _hold(len(again.messages) == len(acks), "the response holds other messages than the acknowledgements")
        _hold(not again.errors, "the response's counts do not agree")
    return _shape(" ".join(f"{issue.place} {issue.text}" for issue in batch.issues)) + str(
        len(batch.messages) > 1
    )


def fuzz_ack(data: bytes, random_: random.Random) -> str:
    error = Hl7v2Error("wrong | ^ value", "PID-3[2].1", condition="102")
    code = random_.choice(["AA", "AE", "AR"])
    ack = acknowledge(data, code, errors=[error] if code != "AA" else [], control_id="A1", at_us=0)  # type: ignore[arg-type]  # one of them
    _hold(code_of(ack) == code, "the acknowledgement cannot be read")
    is_narrow = b"\x00" not in ack
    _hold(not (is_narrow and (b"\x0b" in ack or b"\x1c" in ack)), "a framing byte in an acknowledgement")
    sent = replies(data, ack, is_kept=random_.random() < 0.8)
    for reply in sent:
        _hold(code_of(reply) in {"AA", "AE", "AR", "CA", "CE", "CR"}, "an acknowledgement without a code")
    return f"{[code_of(reply) for reply in sent]} {awaited(data, sent)}"


_converter = Converter(id_key=bytes(32))


def fuzz_convert(data: bytes, random_: random.Random) -> str:
    try:
        converted = _converter.convert(data, at_us=0)
    except Hl7v2Error as error:
        return _shape(str(error))
    return _shape(" ".join(sorted({f"{issue.code} {issue.place}" for issue in converted.issues})))


def fuzz_lanes(data: bytes, random_: random.Random) -> str:
    """Which patients a message is about is read from its bytes, before anything else."""
    numbers = patient_numbers(data)
    _hold(all(len(number) <= len(data) for number in numbers), "a patient number that is not in the message")
    return f"{len(numbers)} {b'' in numbers}"


def fuzz_query(data: bytes, random_: random.Random) -> str:
    """A question for immunizations is answered, or refused, in a message that can be read."""
    if not is_query(data):
        data = _QUERY.replace(b"@", random_.choice(TOKENS)).replace(b"%", data[:500])
    if not is_query(data):
        return "no query"
    asked, answer = None, Answer("NF")
    try:
        asked = read_query(parse(data), {})
    except Hl7v2Error as error:
        answer = Answer("AE", errors=[error])
    raw = respond(data, asked, answer, control_id="R1", at_us=0)
    _hold(code_of(raw) in {"AA", "AE", "AR"}, "an answer without a code")
    return f"{code_of(raw)} {_shape(' '.join(error.text for error in answer.errors))}"


TARGETS: dict[str, Callable[[bytes, random.Random], str]] = {
    "parse": fuzz_parse,
    "escape": fuzz_escape,
    "frames": fuzz_frames,
    "batch": fuzz_batch,
    "ack": fuzz_ack,
    "lanes": fuzz_lanes,
    "query": fuzz_query,
    "convert": fuzz_convert,
}


def _hold(is_true: bool, law: str) -> None:
    if not is_true:
        raise Broken(law)


def _shape(text: str) -> str:
    """What is the same about two outcomes that differ in numbers only."""
    return re.sub(r"[0-9]+", "#", text)[:300]


def seeds() -> list[bytes]:
    """Real messages, and small broken ones."""
    files = sorted([*ROOT.glob("examples/*.hl7"), *ROOT.glob("tests/cases/hl7v2/**/*.hl7")])
    found = [file.read_bytes() for file in files]
    small = [b"", b"MSH", b"MSH|^~\\&|", b"\x0b\x1c\r", b"FHS|^~\\&|\rBHS|^~\\&|\rBTS|0\rFTS|1\r"]
    return [data for data in found if len(data) <= INPUT_MAX] + small


def mutate(data: bytes, pool: list[bytes], random_: random.Random) -> bytes:
    """``data`` changed in one to eight places."""
    changed = bytearray(data)
    for _ in range(random_.choice([1, 1, 1, 2, 3, 8])):
        at = random_.randrange(len(changed) + 1)
        end = min(len(changed), at + random_.choice([1, 1, 2, 8, 60, 500]))
        kind = random_.randrange(8)
        if kind == 0 and at < len(changed):
            changed[at] = random_.randrange(256)
        elif kind in (1, 2):
            changed[at:at] = random_.choice(TOKENS)
        elif kind == 3:
            changed[at:end] = random_.choice(TOKENS)
        elif kind == 4:
            del changed[at:end]
        elif kind == 5:
            changed[at:at] = bytes(changed[at:end]) * random_.choice([1, 2, 20])
        elif kind == 6:
            other = random_.choice(pool)
            begin = random_.randrange(len(other) + 1)
            changed[at:end] = other[begin : begin + random_.choice([10, 200, 2000])]
        else:
            del changed[at:]
    if random_.random() < 0.02:
        changed = bytearray(
            bytes(changed).decode("latin-1").encode(random_.choice(["utf-16", "utf-16-le", "utf-32"]))
        )
    return bytes(changed[:INPUT_MAX])


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    def stop(number: int, frame_: FrameType | None) -> None:
        raise Hang(f"longer than {seconds} s")

    before = signal.signal(signal.SIGVTALRM, stop)  # processor time: a busy machine is no hang
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def attempt(target: str, data: bytes, random_: random.Random) -> str | Finding:
    """The behaviour's shape, or what is wrong with it."""
    try:
        with _no_longer_than(HANG_S):
            return TARGETS[target](data, random_)
    except (Exception, Hang) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {str(error)[:200]} at {Path(last.filename).name}:{last.lineno}"
        return Finding(target, what, data)


def run(seconds: float, seed: int, targets: list[str]) -> tuple[list[Finding], Counter[str], int]:
    """Findings (one of each kind), inputs tried by target, and how many behaviours were seen."""
    random_ = random.Random(seed)
    pool = seeds()
    seen: set[tuple[str, str]] = set()
    findings: dict[tuple[str, str], Finding] = {}
    tried: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = mutate(random_.choice(pool), pool, random_)
        for target in targets:
            tried[target] += 1
            outcome = attempt(target, data, random_)
            if isinstance(outcome, Finding):
                findings.setdefault(
                    (target, outcome.what.split(":")[0] + outcome.what.rsplit(" at ", 1)[-1]), outcome
                )
            elif (target, outcome) not in seen:
                seen.add((target, outcome))
                if len(pool) < POOL_MAX:
                    pool.append(data)
        used_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if used_mb > MEMORY_MAX_MB:
            findings["memory", ""] = Finding("memory", f"{used_mb} MB used", data)
            break
    return list(findings.values()), tried, len(seen)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 nothing found, 1 findings."""
    parser = argparse.ArgumentParser(
        prog="bench.fuzz", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--target", action="append", choices=sorted(TARGETS))
    given = parser.parse_args(arguments)
    findings, tried, behaviours = run(given.seconds, given.seed, given.target or list(TARGETS))
    total = sum(tried.values())
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"seed {given.seed}: {total} runs, {behaviours} behaviours, {len(findings)} findings, {memory_mb} MB"
    )
    for finding in findings:
        OUT.mkdir(parents=True, exist_ok=True)
        finding.path.write_bytes(finding.data)
        print(f"  {finding.target}: {finding.what}\n    {finding.path} ({len(finding.data)} bytes)")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
