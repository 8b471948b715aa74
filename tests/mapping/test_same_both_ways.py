"""The fast and the tracing compilation of the tables make the same of every message, however odd its fields.

The fast one plans, remembers and fills forms; the tracing one runs every row of every table on every text.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hdg.errors import HdgError
from hdg.fhir import ids
from hdg.fhir import json as fhir_json
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender
from messages import oru

_CASES = sorted((Path(__file__).parents[1] / "cases" / "hl7v2").glob("*/*.hl7"))
_ODD = """|""|Y|N|A|a b| x |1|20260105|202601050800|20260105080000+0100|20261340|5.2
x\\T\\y|\\X0A\\|x\x07y|A^B^C|A&B^C&D
^^^NG&1.2.3&ISO|1~2|1^^^NG&1.2.3&ISO^MR~2^^^X|^PRN^PH^^1^933^555|^NET^Internet^a@b.c|^WPN^PH^^+1^9 3^5-5^7
555-1234^PRN^CP|Doe^Jo^^Jr^Dr^^L|Doe&van&Doe^Jo^^^^^B|1 Main St&Main&1^Apt^Town^OH^43004^USA^H|L^L^^^^^BA|&&|^^|~
ED|NM|ST|CWE|UNK^unknown^L|M^Male^HL70001|I10^Hyp^I10C^x^y^L|~~a|é|hdgfreepart0x|PL1^R1^B1^NG|X^^^NG&&ISO^XX^\"\"
1^2^3^4^5^6^7^8^9^10^11^12^13^14^15^16^17^18^19^20^21^22^23^24^25^26^27^28^29^30"""
_FIELDS = [text for line in _ODD.split("\n") for text in line.split("|")]
_SENDER = Sender(
    "x", "x", zone="Europe/Berlin", authorities={"NG": "http://ng.example", "L": "http://l.example"}
)


def _changed(raw: bytes, rng: random.Random) -> bytes:
    """A message with some fields of each segment replaced by odd ones; the header keeps what names it."""
    lines = raw.decode().replace("\n", "\r").rstrip("\r").split("\r")
    for at, line in enumerate(lines):
        fields = line.split("|")
        first = 13 if line.startswith("MSH") else 1
        for _ in range(rng.choice((0, 1, 1, 2, 4))):
            number = rng.randrange(first, max(len(fields), first) + 4)
            fields += [""] * (number + 1 - len(fields))
            fields[number] = rng.choice(_FIELDS)
        lines[at] = "|".join(fields)
    return ("\r".join(lines) + "\r").encode()


def _said(converter: Converter, raw: bytes, sender: Sender | None) -> object:
    try:
        made = converter.convert(raw, sender, at_us=0)
    except HdgError as error:
        return str(error)
    rest = (made.issues, made.deletions, made.defaulted, made.moved, made.patient_id)
    return fhir_json.dumps(list(made.resources)), rest


@pytest.fixture(scope="module")
def both() -> tuple[Converter, Converter]:
    return Converter(id_key=ids.PUBLIC_KEY), Converter(id_key=ids.PUBLIC_KEY, is_tracing=True)


@pytest.mark.parametrize("case", _CASES, ids=lambda path: path.stem)
def test_odd_fields_become_the_same_both_ways(case: Path, both: tuple[Converter, Converter]) -> None:
    rng = random.Random(case.stem)
    fast, tracing = both
    raw = case.read_bytes()
    for number in range(2):
        changed = _changed(raw, rng)
        sender = _SENDER if number else None
        expected = _said(tracing, changed, sender)
        assert [_said(fast, changed, sender) for _ in range(3)] == [expected] * 3


def test_a_report_of_many_results_lists_each_of_them_once(both: tuple[Converter, Converter]) -> None:
    head, _, _ = oru().decode().partition("OBX|")
    results = [f"OBX|{n}|NM|{n % 90}-1^Test^LN||{n}|mg/dL^^UCUM|1-9|N|||F" for n in range(100)]
    raw = (head + "\r".join([*results, *results[:30]]) + "\r").encode()
    fast, tracing = both
    made = fast.convert(raw, at_us=0)
    assert _said(fast, raw, None) == _said(tracing, raw, None)
    report = next(each for each in made.resources if each["resourceType"] == "DiagnosticReport")
    listed = [each["reference"] for each in report["result"]]
    observations = {
        f"Observation/{each['id']}" for each in made.resources if each["resourceType"] == "Observation"
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == observations
