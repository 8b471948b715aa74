"""Named converters of the tables for orders, specimen results, answers and medication.

HL7 v2.9 §4 (orders, pharmacy), §13.4.3 (SAC), §2.14.5 and §2.14.8 (ERR, MSA).
"""

from __future__ import annotations

from collections.abc import Callable

from hdg.ingestion.hl7v2.authority import part, split
from hdg.ingestion.hl7v2.converters import CONVERTERS, unit_text
from hdg.ingestion.hl7v2.primitives import plain
from hdg.ingestion.hl7v2.state import State

_NULL = '""'


@CONVERTERS.register("hl7v2.structured_text", type="string", is_pure=True)
def structured_text(text: str, state: State) -> str | None:
    """An SN as it is read aloud: ``^1^:^10`` is ``1:10``."""
    return "".join(part(split(text), index, state) for index in (1, 2, 3, 4)) or None


def _index(name: str, field: int) -> Callable[[str, State], str | None]:
    """A SAC index with its name and, from the field after it, its unit."""

    def convert(text: str, state: State) -> str | None:
        value = plain(text, state)
        if not value:
            return None
        given = state.segment.field(field + 1)
        unit = unit_text(given, state) if given and given != _NULL else None
        return f"{name} {value} {unit}" if unit else f"{name} {value}"

    convert.__doc__ = f"SAC-{field} as a note: {name}, value, unit."
    return convert


for _name, _field in (("Hemolysis", 32), ("Lipemia", 34), ("Icterus", 36), ("Fibrin", 38)):
    CONVERTERS.register(f"hl7v2.{_name.lower()}_index", type="string")(_index(f"{_name} index", _field))


def _place(parts: list[str]) -> str | None:
    """``PID-3[2].1`` for segment, its sequence, field, repetition, component, subcomponent."""
    segment, sequence, field, repetition, *rest = (*parts, *[""] * 6)[:6]
    if not segment:
        return None
    found = f"{segment}[{sequence}]" if sequence and sequence != "1" else segment
    if field:
        found += f"-{field}"
        found += f"[{repetition}]" if repetition and repetition != "1" else ""
        for number in rest:
            if not number:
                break
            found += f".{number}"
    return found


@CONVERTERS.register("hl7v2.error_location", type="string", is_pure=True)
def error_location(text: str, state: State) -> str | None:
    """An ERL as a place in the message that was refused."""
    parts = split(text)
    return _place([part(parts, number, state) for number in range(1, 7)])


@CONVERTERS.register("hl7v2.error_code_location", type="string", is_pure=True)
def error_code_location(text: str, state: State) -> str | None:
    """An ELD (before v2.5) as a place in the message that was refused."""
    parts = split(text)
    return _place([part(parts, number, state) for number in range(1, 4)])
