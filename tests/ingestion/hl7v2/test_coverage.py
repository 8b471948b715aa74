"""Coverage and explain: what becomes of every valued place; nothing is lost in silence."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from hdg.errors import HdgError
from hdg.ingestion.hl7v2.batch import split_messages
from hdg.ingestion.hl7v2.coverage import coverage
from hdg.ingestion.hl7v2.explain import explain, lines
from hdg.ingestion.hl7v2.grammar import SourceError

HEAD = "MSH|^~\\&|LAB|NORTH|HDG|REGION|20260314113000-0500||ADT^A31^ADT_A05|C1|P|2.5.1\rEVN||20260314\r"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def statuses(pid: str) -> dict[str, str]:
    found = coverage((HEAD + pid + "\r").encode())
    return {place.place: place.status for place in found.places if place.place.startswith("PID")}


def test_each_valued_place_is_mapped_noted_reported_or_lost() -> None:
    found = statuses("PID|1||10042^^^NORTH&2.999.1.1&ISO^MR||Doe^Jane~Roe||1961xx|F" + "|" * 33 + "beyond")
    assert found == {
        "PID-1": "unmapped",
        "PID-3.1": "mapped",
        "PID-3.4.1": "mapped",
        "PID-3.4.2": "mapped",
        "PID-3.4.3": "mapped",
        "PID-3.5": "mapped",
        "PID-5.1": "mapped",
        "PID-5.2": "mapped",
        "PID-5[2]": "mapped",
        "PID-7": "reported",
        "PID-8": "mapped",
        "PID-41": "lost",
    }


def test_an_unmapped_place_says_why() -> None:
    (place,) = [item for item in coverage((HEAD + "PID|1||7").encode()).places if item.place == "PID-1"]
    assert place.note


def test_a_local_segment_is_reported_and_a_left_out_one_noted() -> None:
    found = coverage((HEAD + "PID|1||7\rZPD|local\rUAC|KERB^x|secret").encode())
    by_place = {place.place: place.status for place in found.places}
    assert by_place["ZPD-1"] == "reported"
    assert by_place["UAC-2"] == "unmapped"


@pytest.mark.parametrize("name", ["adt-a01-admission", "oru-r01-chemistry", "vxu-v04-immunization"])
def test_the_examples_are_covered(name: str) -> None:
    assert coverage((EXAMPLES / f"{name}.hl7").read_bytes()).share > 0.85


def test_explain_names_file_and_line_and_what_a_message_became() -> None:
    message = (HEAD + "PID|1||10042^^^NORTH^MR~7").encode()
    (found,) = [row for row in explain("PID-3", message) if row.rule.target == "identifier[]"]
    assert found.rule.file == "hl7v2/segments/PID.Patient.csv"
    assert [place for place, _ in found.made] == ["PID-3", "PID-3[2]"]
    assert '"value":"10042"' in found.made[0][1]


def test_explain_works_without_a_message_and_for_datatypes() -> None:
    assert any("CX.Identifier.csv" in line for line in lines("CX.4"))
    assert any("note:" in line for line in lines("PID-1"))
    with pytest.raises(SourceError):
        explain("PID-999")


@pytest.mark.corpus
def test_little_of_the_corpus_is_lost(cases: Path) -> None:
    """Figures of this run: about 98 % of valued places are mapped or noted; the rest is listed by name."""
    total: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for path in sorted((cases / "hl7v2").rglob("*.hl7")):
        try:
            for message in split_messages(path.read_bytes()):
                found = coverage(message)
                total.update(place.status for place in found.places)
                lost.update(re.sub(r"\[\d+\]", "", place) for place in found.lost)
        except HdgError:
            continue  # messages that nothing maps; counted elsewhere
    assert total["lost"] < 0.03 * sum(total.values()), lost.most_common(20)
