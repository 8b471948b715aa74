"""Conditions that look at a field's raw text alone say what those say that read it."""

from __future__ import annotations

from functools import cache

from hypothesis import example, given
from hypothesis import strategies as st

from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.sender import Sender
from hdg.mapping.compile import Compiler
from hdg.mapping.library import Library
from hdg.mapping.table import Table
from hdg.mapping.when import Readers, compile_when, parse_when

OWN = Table("OBX", "OBX.csv", ())
TYPE = Table("CX.Identifier", "CX.csv", ())
CONDITIONS = (
    "{0} valued",
    "{0} not valued",
    "not ({0} valued)",
    "{0} count > 1",
    "{0} count = 0",
    "{0} count <= 1",
)


@cache
def state() -> State:
    message = parse(b"MSH|^~\\&|A|B|||20260101||ORU^R01|1|P|2.5\rOBX|1\r")
    return State(message, Sender("A|B", "B"), Compiler(Library("hl7v2"), V2Grammar()), b"key", None)


def _long(readers: Readers) -> Readers:
    """Readers that tell nothing by a raw text."""
    return Readers(readers.text, readers.is_valued, readers.repetitions)


@given(
    st.lists(st.text('A1 ^&~\\"é', max_size=80), max_size=5),
    st.sampled_from(["OBX-3", "OBX-3.1", "OBX-3.2", "OBX-3[1]", "OBX-3[2]", "OBX-3.1.1"]),
    st.sampled_from(CONDITIONS),
)
@example(["", "", "^^~&"], "OBX-3", "{0} valued")
@example(["", "", "x" * 70], "OBX-3", "{0} not valued")
@example(["", "", "~"], "OBX-3", "{0} count > 1")
def test_of_a_field(texts: list[str], operand: str, condition: str) -> None:
    readers = V2Grammar().readers(operand, OWN, 0)
    node = parse_when(condition.format(operand))
    view = ["OBX", *texts]
    short = compile_when(node, lambda _: readers)(view, state())
    assert short is compile_when(node, lambda _: _long(readers))(view, state())


@given(
    st.lists(st.text("A1 &\\", max_size=6), max_size=4),
    st.sampled_from(["CX.1", "CX.2", "CX.2.1", "CX.2.2"]),
    st.sampled_from(CONDITIONS),
    st.sampled_from([1, 2]),
)
@example(["", "&&"], "CX.2", "{0} valued", 1)
def test_of_a_component(texts: list[str], operand: str, condition: str, depth: int) -> None:
    readers = V2Grammar().readers(operand, TYPE, depth)
    node = parse_when(condition.format(operand))
    view = ["^".join(texts), *texts]
    short = compile_when(node, lambda _: readers)(view, state())
    assert short is compile_when(node, lambda _: _long(readers))(view, state())
