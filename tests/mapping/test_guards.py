"""Guards: just the slots that some text could pass by all rows of, and the condition under which it does."""

from __future__ import annotations

import pytest

from hdg.mapping.guards import guarded
from hdg.mapping.table import Rule, Table
from hdg.mapping.when import Node, parse_when, simplified


def table(*rows: tuple[str, str, str]) -> Table:
    """(source, target, when)."""
    made = [
        Rule(
            "t.csv", at, source, "", target, "string" if target else "", "", when, "", "" if target else "no"
        )
        for at, (source, target, when) in enumerate(rows, 2)
    ]
    return Table("PID.Patient", "t.csv", tuple(made))


def slots(*rows: tuple[str, str, str]) -> dict[int, Node]:
    number = lambda rule: int(rule.source.partition("-")[2].partition(".")[0] or 0)  # noqa: E731
    return dict(guarded(table(*rows), number, lambda rule: rule.note != "see X"))


@pytest.mark.parametrize(
    "conditions",
    [
        ["PID-2 valued", ""],
        ["PID-2 valued", "PID-2 not valued"],
        ["PID-2 = A", "PID-2 != A and PID-3 valued", "PID-2 != A and PID-3 not valued"],
        ["PID-2 not in (A, B)", "PID-2 in (A, B)"],
    ],
)
def test_a_slot_that_some_row_reads_in_any_case_has_no_guard(conditions: list[str]) -> None:
    assert slots(*(("PID-1", "x", when) for when in conditions)) == {}


def test_any_other_slot_has_one_that_holds_when_no_row_does() -> None:
    [(number, node)] = slots(("PID-1", "x", "PID-2 = A"), ("PID-1", "", "PID-3 valued")).items()
    assert number == 1
    for first in (True, False):
        for second in (True, False):
            known = {parse_when("PID-2 = A"): first, parse_when("PID-3 valued"): second}
            assert simplified(node, known.get) is not (first or second)


def test_what_reads_no_slot_and_what_gives_the_id_has_none() -> None:
    assert slots(("PID", "x", "PID-2 valued"), ("PID-3", "id", "PID-2 valued")) == {}
