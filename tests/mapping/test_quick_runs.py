"""What a field's text became is put at once where nothing is yet, and nowhere else; rows that cannot run are known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir import ids
from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.groups import Definition, definition
from hdg.ingestion.hl7v2.message import message_program
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.sender import Sender
from hdg.mapping.compile import Compiler
from hdg.mapping.context import Context, JsonObject, Problem, Read, Shared
from hdg.mapping.library import Library
from hdg.mapping.runs import Quick
from hdg.mapping.target import compile_target, parse_target
from messages import oru

_LIBRARY = Library("hl7v2")
_GRAMMAR = V2Grammar()
_COMPILER = Compiler(_LIBRARY, _GRAMMAR)
_TEXTS = st.sampled_from(["", "ED", "RP", "NM", "QST", "SCI", "RSLT", "1", "x^y", "a~b", '""', "DE", "OP"])


def _context() -> Context:
    context = Context()
    context.values = Shared().fields
    return context


def _quick(
    *,
    name: str = "element",
    beside: tuple[int, ...] = (),
    is_list: bool = False,
    is_fleeting: bool = False,
    has_default: bool = False,
) -> Quick:
    assign = compile_target(parse_target("code.text"))
    return Quick(
        *("kind", name, assign, beside), is_list=is_list, is_fleeting=is_fleeting, has_default=has_default
    )


@pytest.mark.parametrize("is_fleeting", [False, True])
def test_a_remembered_value_is_put_where_nothing_is(is_fleeting: bool) -> None:
    context, quick = _context(), _quick(is_fleeting=is_fleeting)
    read = Read("value", ((1, "value", ()),), ())
    assert context.values is not None
    (context.recent if is_fleeting else context.values.young)["kind", "text"] = read
    out: JsonObject = {}
    assert quick.is_put("text", ["", "text"], out, context)
    assert out == {"element": "value"}
    held: JsonObject = {"element": "other"}
    assert not quick.is_put("text", ["", "text"], held, context)
    assert not quick.is_put("another", ["", "another"], {}, context)
    assert held == {"element": "other"}


def test_what_has_problems_or_several_values_is_left_to_the_rule() -> None:
    context = _context()
    assert context.values is not None
    context.values.young["kind", "text"] = Read(None, ((1, "a", ()), (2, "b", ())), ())
    out: JsonObject = {}
    assert not _quick().is_put("text", ["", "text"], out, context)
    assert out == {}


def test_several_objects_are_put_at_once_and_what_the_list_has_already_stays_one_item() -> None:
    context, quick = _context(), _quick(is_list=True)
    assert context.values is not None
    several = [{"value": "1"}, {"value": "2"}]
    items = tuple((number, value, ()) for number, value in enumerate(several, 1))
    context.values.young["kind", "text"] = Read(None, items, tuple(several), several)
    one: JsonObject = {}
    other: JsonObject = {"element": [{"value": "2"}, {"value": "3"}]}
    assert quick.is_put("text", ["", "text"], one, context)
    assert quick.is_put("text", ["", "text"], other, context)
    one["element"].append("more")
    assert other == {"element": [{"value": "2"}, {"value": "3"}, {"value": "1"}]}
    assert several == [{"value": "1"}, {"value": "2"}]
    long: JsonObject = {"element": [{"value": "x"}] * 17}
    assert not quick.is_put("text", ["", "text"], long, context)
    assert len(long["element"]) == 17


def test_a_text_that_gives_nothing_is_settled_unless_the_rule_has_a_default_or_there_is_a_problem() -> None:
    context = _context()
    assert context.values is not None
    context.values.young["kind", "text"] = Read(None, ((1, None, ()),), ())
    out: JsonObject = {}
    assert _quick().is_put("text", ["", "text"], out, context)
    assert not _quick(has_default=True).is_put("text", ["", "text"], out, context)
    problem = Problem("warning", "value", "wrong")
    context.values.young["kind", "text"] = Read(None, ((1, None, (problem,)),), ())
    assert not _quick().is_put("text", ["", "text"], out, context)
    assert out == {}


def test_a_value_is_put_further_in_and_what_holds_another_value_is_left_to_the_rule() -> None:
    context, quick = _context(), _quick(name="")
    assert context.values is not None
    context.values.young["kind", "text"] = Read("value", ((1, "value", ()),), ())
    out: JsonObject = {}
    assert quick.is_put("text", ["", "text"], out, context)
    assert out == {"code": {"text": "value"}}
    held: JsonObject = {"code": {"text": "other"}}
    assert not quick.is_put("text", ["", "text"], held, context)
    assert held == {"code": {"text": "other"}}


def test_a_value_that_depends_on_other_slots_is_put_for_their_texts_alone_and_each_list_is_its_own() -> None:
    context, quick = _context(), _quick(beside=(2, 3), is_list=True)
    assert context.values is not None
    context.values.young["kind", "text|u|"] = Read({"text": "t"}, (), ())
    one: JsonObject = {}
    other: JsonObject = {}
    assert quick.is_put("text", ["", "text", "u"], one, context)
    assert quick.is_put("text", ["", "text", "u", ""], other, context)
    assert not quick.is_put("text", ["", "text", "v"], {}, context)
    assert not quick.is_put("text", ["", "text", "u", "w"], {}, context)
    one["element"].append("more")
    assert other == {"element": [{"text": "t"}]}


def _obx(converter: Converter, *fields: str, sender: Sender | None = None) -> Any:
    lines = [line for line in oru().decode().split("\r") if line[:3] in ("MSH", "PID", "OBR")]
    message = "\r".join([*lines, "|".join(("OBX", *fields)), ""]).encode()
    made = converter.convert(message, sender, at_us=0)
    [found] = [one for one in made.resources if one["resourceType"] == "Observation"]
    return found


def test_a_range_has_the_units_of_its_own_result_each_time() -> None:
    converter = Converter(id_key=ids.PUBLIC_KEY)
    for unit in ("mg/dL", "mmol/L", "mg/dL", "mmol/L", "mmol/L"):
        found = _obx(converter, "1", "NM", "2-1^G^LN", "", "5", f"{unit}^^UCUM", "1-9", "", "", "", "F")
        assert found["referenceRange"][0]["low"]["unit"] == unit
        assert found["valueQuantity"]["unit"] == unit


def test_a_time_and_a_code_are_those_of_the_sender_that_says_them() -> None:
    converter = Converter(id_key=ids.PUBLIC_KEY)
    senders = [Sender("A", "A", zone="Asia/Seoul"), Sender("B", "B", zone="Europe/Berlin")]
    own = [
        Sender(one.name, one.institution, zone=one.zone, authorities={"X1": f"urn:x:{one.name}"})
        for one in senders
    ]
    fields = ("1", "NM", "7^Seven^X1", "", "5", "", "", "", "", "", "F", "", "", "20260105080000")
    for sender, offset in [*zip(own, ("+09:00", "+01:00"), strict=True)] * 3:
        found = _obx(converter, *fields, sender=sender)
        assert found["effectiveDateTime"].endswith(offset)
        assert found["code"]["coding"][0]["system"] == f"urn:x:{sender.name}"


def _definitions(root: Definition) -> list[Definition]:
    pending = [root]
    for one in pending:  # grows while it is gone through
        pending += one.children
    return pending


@given(st.lists(_TEXTS, max_size=31), st.sampled_from(["ORU_R01", "OML_O21", "ADT_A01", "VXU_V04"]))
def test_the_rows_that_a_segment_of_a_size_can_run_are_those_whose_condition_holds(
    texts: list[str], name: str
) -> None:
    program = message_program(name, _COMPILER, _GRAMMAR)
    assert program is not None
    message = parse(oru())
    state = State(message, Sender("A", "A"), _COMPILER, ids.PUBLIC_KEY, None)
    for group in _definitions(definition(name)):
        for segment in group.segments:
            view = [segment, *texts]
            rows = [row for row in program.rows(group, segment) or () if row.program is not None]
            able = [one for one in program.able(group, segment, len(view)) if one[0].program is not None]
            whole = [row for row in rows if row.test is None or row.test(view, state)]
            assert [row for row, test in able if test is None or test(view, state)] == whole


def test_a_segment_longer_than_sizes_are_kept_runs_what_its_fields_say() -> None:
    program = message_program("ORU_R01", _COMPILER, _GRAMMAR)
    assert program is not None
    [group] = [one for one in _definitions(definition("ORU_R01")) if one.path[-1:] == ("OBSERVATION",)]
    sizes = (101, 102, 4000)
    assert all(
        program.able(group, "OBX", one) is program.able(group, "OBX", other) for one, other in pairwise(sizes)
    )
    assert len(program.able(group, "OBX", 101)) == len(program.rows(group, "OBX") or ())
