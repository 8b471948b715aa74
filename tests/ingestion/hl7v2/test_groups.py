"""Grouping of segments: tolerant, and nothing is ever lost. HL7 v2.9 §2.5.2."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hdg.errors import Issue
from hdg.ingestion.hl7v2.groups import Group, Grouped, group
from hdg.ingestion.hl7v2.parser import Segment
from hdg.mapping.context import Build


def segments(text: str) -> list[Segment]:
    counts: dict[str, int] = {}
    made = []
    for position, name in enumerate(text.split(), 1):
        counts[name] = counts.get(name, 0) + 1
        made.append(Segment(name, position, counts[name], f"{name}|"))
    return made


def own_segments(found: Grouped) -> dict[Group, list[Segment]]:
    """Each group's own segments, in message order."""
    own: dict[Group, list[Segment]] = {}
    for segment, place in found.placed:
        own.setdefault(place, []).append(segment)
    return own


def shape(here: Group, own: dict[Group, list[Segment]]) -> str:
    """``A B (NAME C)`` in message order."""
    parts: list[tuple[int, str]] = [(segment.position, segment.name) for segment in own.get(here, [])]
    for child in here.children:
        first = min(_positions(child, own))
        parts.append((first, f"({child.definition.path[-1]} {shape(child, own)})"))
    return " ".join(text for _, text in sorted(parts))


def _positions(here: Group, own: dict[Group, list[Segment]]) -> list[int]:
    positions = [segment.position for segment in own.get(here, [])]
    return positions + [position for child in here.children for position in _positions(child, own)]


def grouped(text: str, structure: str = "ORU_R01") -> tuple[str, list[Issue]]:
    issues: list[Issue] = []
    found = group(segments(text), structure, issues)
    return shape(found.root, own_segments(found)), issues


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
    own = own_segments(found)
    assert sorted(_positions(found.root, own)) == [segment.position for segment in made]
    assert all(place.names == _firsts(own[place]) for place in own)


def _firsts(own: list[Segment]) -> dict[str, Segment]:
    return {segment.name: segment for segment in reversed(own)}


def _below(here: Group, begun: list[Build], *, is_top: bool = True) -> list[Build]:
    """What was begun in an instance and in those inside it, but for what is apart."""
    if here.definition.is_apart and not is_top:
        return []
    inside = [build for child in here.children for build in _below(child, begun, is_top=False)]
    return [build for build in begun if build.group is here or build in inside]


@given(
    st.lists(st.sampled_from(["PID", "PV1", "ORC", "OBR", "OBX", "NTE", "SPM"]), max_size=14),
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from("ABC")), max_size=14),
)
@example(
    ["PID", "OBR", "OBX", "ORC", "OBR", "PID", "OBX", "ORC", "OBR", "OBX"], [(at, "A") for at in range(9)]
)
def test_what_is_begun_is_found_where_it_was_begun_and_from_each_instance_around_it(
    names: list[str], begins: list[tuple[int, str]]
) -> None:
    found = group(segments(" ".join(["MSH", *names])), "ORU_R01", [])
    begun: list[Build] = []
    for at, label in begins:
        segment, place = found.placed[at % len(found.placed)]
        begun.append(Build("Basic", label, {}, segment.name, place, segment))
        place.take(begun[-1])
    pending = [found.root]
    for here in pending:
        pending.extend(here.children)
        inside = _below(here, begun)
        for label in "ABC":
            own = [build for build in begun if build.group is here and build.label == label]
            assert here.builds.get(label, []) == own
            assert here.subtree.get(label, []) == [build for build in inside if build.label == label]
