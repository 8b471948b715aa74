"""Grouping of segments: tolerant, and nothing is ever lost. HL7 v2.9 §2.5.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.errors import Issue
from hdg.ingestion.hl7v2.groups import Group, group
from hdg.ingestion.hl7v2.parser import Segment


def segments(text: str) -> list[Segment]:
    counts: dict[str, int] = {}
    made = []
    for position, name in enumerate(text.split(), 1):
        counts[name] = counts.get(name, 0) + 1
        made.append(Segment(name, position, counts[name], f"{name}|"))
    return made


def shape(here: Group) -> str:
    """``A B (NAME C)`` in message order."""
    parts: list[tuple[int, str]] = [(segment.position, segment.name) for segment in here.segments]
    for child in here.children:
        first = min(_positions(child))
        parts.append((first, f"({child.definition.path[-1]} {shape(child)})"))
    return " ".join(text for _, text in sorted(parts))


def _positions(here: Group) -> list[int]:
    own = [segment.position for segment in here.segments]
    return own + [position for child in here.children for position in _positions(child)]


def grouped(text: str, structure: str = "ORU_R01") -> tuple[str, list[Issue]]:
    issues: list[Issue] = []
    return shape(group(segments(text), structure, issues).root), issues


def result(text: str) -> str:
    """The part below the first PATIENT_RESULT."""
    return grouped(f"MSH {text}")[0].removeprefix("MSH ")


def test_a_regular_oru_is_grouped_as_the_structure_says() -> None:
    found, issues = grouped("MSH PID PV1 ORC OBR NTE OBX NTE OBX SPM OBX ORC OBR OBX")
    assert found == (
        "MSH (PATIENT_RESULT (PATIENT PID (VISIT PV1)) "
        "(ORDER_OBSERVATION ORC OBR NTE (OBSERVATION OBX NTE) (OBSERVATION OBX) (SPECIMEN SPM OBX)) "
        "(ORDER_OBSERVATION ORC OBR (OBSERVATION OBX)))"
    )
    assert issues == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("PID OBR OBX OBR OBX", "two orders without ORC"),
        ("PID ORC OBR OBX OBR OBX", "one ORC, two OBR"),
        ("PID OBR ORC OBX", "ORC after its OBR"),
    ],
)
def test_missing_and_late_openers_are_tolerated(text: str, expected: str) -> None:
    patient = "(PATIENT_RESULT (PATIENT PID) "
    order = "(ORDER_OBSERVATION OBR (OBSERVATION OBX))"
    shapes = {
        "two orders without ORC": f"{patient}{order} {order})",
        "one ORC, two OBR": f"{patient}(ORDER_OBSERVATION ORC OBR (OBSERVATION OBX)) {order})",
        "ORC after its OBR": f"{patient}(ORDER_OBSERVATION OBR ORC (OBSERVATION OBX)))",
    }
    assert result(text) == shapes[expected]


def test_an_orc_between_orders_begins_the_next_one() -> None:
    found = result("PID OBR OBX ORC OBR OBX")
    assert found.endswith(
        "(ORDER_OBSERVATION OBR (OBSERVATION OBX)) (ORDER_OBSERVATION ORC OBR (OBSERVATION OBX)))"
    )


def test_a_second_patient_begins_a_new_result() -> None:
    assert grouped("MSH PID OBR OBX PID OBR OBX")[0].count("PATIENT_RESULT") == 2


def test_results_after_a_specimen_stay_results_when_the_order_has_none_yet() -> None:
    assert "(SPECIMEN SPM) (OBSERVATION OBX) (OBSERVATION OBX)" in result("PID OBR SPM OBX OBX")


def test_a_segment_out_of_order_goes_back_to_its_group() -> None:
    assert result("PID OBR OBX PV1 OBX").startswith("(PATIENT_RESULT (PATIENT PID (VISIT PV1))")


def test_a_note_belongs_to_the_segment_before_it() -> None:
    assert "(SPECIMEN SPM NTE)" in result("PID OBR SPM NTE")
    assert "(PATIENT PID NTE)" in result("PID NTE OBR")


def test_unknown_and_local_segments_stay_and_are_reported() -> None:
    found, issues = grouped("MSH PID OBR OBX ZXX RXA")
    assert "(OBSERVATION OBX ZXX RXA)" in found
    assert [(issue.place, issue.severity) for issue in issues] == [("ZXX", "information"), ("RXA", "warning")]


def test_a_vaccination_without_orc_opens_an_order_each() -> None:
    found, _ = grouped("MSH PID RXA RXR OBX OBX RXA OBX", "VXU_V04")
    assert found.count("(ORDER RXA") == 2
    assert "(ORDER RXA RXR (OBSERVATION OBX) (OBSERVATION OBX))" in found


def test_insurances_and_procedures_repeat_as_groups() -> None:
    found, issues = grouped("MSH EVN PID PV1 DG1 DG1 PR1 ROL PR1 IN1 IN2 IN1 ZPI", "ADT_A01")
    assert found == (
        "MSH EVN PID PV1 DG1 DG1 (PROCEDURE PR1 ROL) (PROCEDURE PR1) (INSURANCE IN1 IN2) (INSURANCE IN1 ZPI)"
    )
    assert len(issues) == 1


NAMES = ["PID", "PD1", "NTE", "PV1", "ORC", "OBR", "OBX", "SPM", "TQ1", "RXA", "ZZZ", "DSC", "MSH"]


@given(
    st.lists(st.sampled_from(NAMES), max_size=30),
    st.sampled_from(["ORU_R01", "VXU_V04", "ADT_A01", "NO_SUCH"]),
)
def test_every_segment_is_placed_exactly_once(names: list[str], structure: str) -> None:
    made = segments(" ".join(["MSH", *names]))
    found = group(made, structure, [])
    assert [segment for segment, _ in found.placed] == made
    assert sorted(_positions(found.root)) == [segment.position for segment in made]
    assert all(segment in place.segments for segment, place in found.placed)
