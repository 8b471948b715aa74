"""What fuzzing found (bench/fuzz.py), each as a case; and a second of fuzzing in every run of the suite."""

from __future__ import annotations

import pytest

from bench import fuzz
from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.escape import escape, unescape
from hdg.ingestion.hl7v2.parser import parse


@pytest.mark.parametrize("value", [r"AD\C2842\T", r"\M244A\ ".strip(), r"a\C2842\b\C2842\c"])
def test_a_value_that_looks_like_a_charset_switch_comes_back_as_it_was(value: str) -> None:
    assert unescape(escape(value)) == value


def test_a_switch_between_other_sequences_is_still_one() -> None:
    assert unescape(r"\T\\M2442\0!\C2842\\E\x", "iso2022_jp") == "&亜\\x"


def test_a_line_break_behind_a_segment_name_is_not_part_of_the_first_field() -> None:
    head = b"MSH|^~\\&|A|B|C|D|2024||ORU^R01|1|P|2.5\rPID|1\r"
    for lines in (b"OBX\r|2|NM|x\r", b"OBX\r|2|NM\ry|x\r", b"OBX\r2^2^2|NM|x\r"):
        data = head + lines + b"OBX|3\r"
        message = parse(data)
        assert [segment.name for segment in message.segments] == ["MSH", "PID", "OBX", "OBX"]
        assert message.all("OBX")[0].field(1).split("^")[0] == "2"
        assert [s.name for s in parse(message.encode()).segments] == ["MSH", "PID", "OBX", "OBX"]


@pytest.mark.parametrize(
    "structure", ["X" * 300, "籼" * 100, "../segments/PID.Patient", "triggers", "/etc/passwd", "A\\X00\\B"]
)
def test_a_declared_structure_never_names_a_file(structure: str) -> None:
    head = f"MSH|^~\\&|A|B|C|D|20240101||ZZZ^Z99^{structure}|1|P|2.5|||||UNICODE UTF-8\rPID|1||7\r"
    with pytest.raises(Hl7v2Error, match="no table maps this message type"):
        Converter(id_key=bytes(32)).convert(head.encode(), at_us=0)


def test_a_second_of_fuzzing_finds_nothing() -> None:
    findings, tried, behaviours = fuzz.run(
        1.0, 3, ["parse", "escape", "frames", "batch", "ack", "lanes", "query"]
    )
    assert [(finding.target, finding.what) for finding in findings] == []
    assert min(tried.values()) > 20
    assert behaviours > 20


def test_a_planted_defect_and_a_hang_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes, random_: object) -> str:
        raise KeyError("planted")

    def stuck(data: bytes, random_: object) -> str:
        while True:
            pass

    monkeypatch.setattr(fuzz, "HANG_S", 0.05)
    for target, what in ((broken, "KeyError"), (stuck, "Hang")):
        monkeypatch.setitem(fuzz.TARGETS, "parse", target)
        findings, _, _ = fuzz.run(0.2, 1, ["parse"])
        assert [finding.what.split(":")[0] for finding in findings] == [what]
