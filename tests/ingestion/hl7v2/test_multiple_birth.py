"""PID-24 and PID-25 together: a single birth that a sender numbers 1 must not come out as a multiple one."""

from __future__ import annotations

import pytest

import hdg
from messages import oru


@pytest.mark.parametrize(
    ("indicator", "order", "expected"),
    [
        ("N", "1", {"multipleBirthBoolean": False}),
        ("N", "", {"multipleBirthBoolean": False}),
        ("Y", "2", {"multipleBirthInteger": 2}),
        ("Y", "", {"multipleBirthBoolean": True}),
        ("", "2", {"multipleBirthInteger": 2}),
        ("", "", {}),
    ],
)
def test_a_plain_no_wins_over_the_birth_order(
    indicator: str, order: str, expected: dict[str, object]
) -> None:
    message = oru().replace(b"|F\rORC", f"|F||||||||||||||||{indicator}|{order}\rORC".encode())
    patient = next(r for r in hdg.convert(message).resources if r["resourceType"] == "Patient")
    assert {name: value for name, value in patient.items() if name.startswith("multipleBirth")} == expected
