"""Forms give what the table itself gives, and stand back where a part is more than the text it shows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.sender import Sender
from hdg.mapping.compile import Compiler
from hdg.mapping.context import Context, Shared
from hdg.mapping.forms import Parts, formed
from hdg.mapping.library import Library
from messages import oru

_TABLES = ("CX.Identifier", "XTN.ContactPoint", "XPN.HumanName", "XAD.Address", "EI.Identifier")
_PART = st.one_of(
    st.sampled_from(["", '""', "MR", "L", "PRN", "PH", "Internet", "NET", "CP", "H", "BA", "ISO", "1.2.3"]),
    st.sampled_from(
        ["A&1.2.3&ISO", "A&B&C", "\\T\\", "\\X0A\\", " x", "x ", "a b", "\x07", "é", "&", "20260105"]
    ),
    st.text("ab1 &\\~+", max_size=4),
)


def _state(compiler: Compiler, shared: Shared | None) -> State:
    state = State(parse(oru()), Sender("x", "x"), compiler, b"key", None)
    state.shared = shared
    return state


class _Both:
    """One table as it is used, with what is shared kept, and the same with nothing shared."""

    def __init__(self) -> None:
        self.compiler = Compiler(Library("hl7v2"), V2Grammar())
        self.shared = Shared()

    def said(self, table: str, text: str, shared: Shared | None) -> tuple[str, list[str]]:
        state = _state(self.compiler, shared)
        made = self.compiler.datatype(table, 1)(text, state)
        return repr(made), [repr(problem) for problem in state.problems]


@pytest.fixture(scope="module")
def both() -> _Both:
    return _Both()


@pytest.mark.parametrize("table", _TABLES)
@given(parts=st.lists(_PART, min_size=1, max_size=14))
def test_a_form_gives_what_the_table_gives(both: _Both, table: str, parts: list[str]) -> None:
    text = "^".join(parts)
    for _ in range(2):
        assert both.said(table, text, both.shared) == both.said(table, text, None)


@pytest.mark.parametrize("table", _TABLES)
def test_a_second_text_of_the_same_kind_fills_the_form(both: _Both, table: str) -> None:
    first, second = "one^two^^^5^6^L", "1ne^t w2^^^55^66^L"
    if table == "EI.Identifier":
        first, second = "one^NG^1.2^ISO", "t w-o^NG^1.2^ISO"
    if table == "CX.Identifier":
        first, second = "one^^^NG&1.2&ISO^MR", "two^^^NG&1.2&ISO^MR"
    if table == "XTN.ContactPoint":
        first, second = "^PRN^PH^^1^933^555", "^PRN^PH^^44^1 2^77-7"
    shared = Shared()
    both.said(table, first, shared)
    forms = {key: value for key, value in shared.items() if str(key[0]).endswith("form")}
    assert len(forms) == 1
    assert all(forms.values())
    assert both.said(table, second, shared) == both.said(table, second, None)
    assert {key for key in shared if str(key[0]).endswith("form")} == set(forms)


def _form_of(build: Any, **more: Any) -> tuple[Any, Context]:
    context = Context()
    context.shared = Shared()
    return formed("form", build, Parts("^", (1,), more.get("composing"), ("&", "\\"), '""')), context


def test_values_are_new_each_time() -> None:
    convert, context = _form_of(lambda text, context: {"inner": {"value": text}})
    first, second = convert("a", context), convert("a", context)
    first["inner"]["value"] = "changed"
    assert second == convert("a", context) == {"inner": {"value": "a"}}


def test_what_a_table_makes_of_the_text_of_a_part_is_never_kept() -> None:
    """A table that is wrongly taken for pure in its parts has no form: the form would not give the same."""
    convert, context = _form_of(lambda text, context: {"length": len(text), "value": text})
    assert [convert(text, context)["length"] for text in ("ab", "abc", "a")] == [2, 3, 1]


def test_a_text_that_holds_the_marker_is_built() -> None:
    seen: list[str] = []

    def build(text: str, context: Context) -> dict[str, str]:
        seen.append(text)
        return {"value": text}

    convert, context = _form_of(build)
    convert("plain", context)
    seen.clear()
    assert convert("hdgfreepart0x", context) == {"value": "hdgfreepart0x"}
    assert seen == ["hdgfreepart0x"]
