"""What goes through a value as deep as it is says so when it is deeper than JSON is allowed to be, and stays alive."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hdg.errors import TableError
from hdg.fhir import bundle, ids
from hdg.fhir.json import JsonError
from hdg.ingestion.hl7v2 import groups
from hdg.ingestion.hl7v2.adapter import V2Grammar
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.groups import Definition, definition
from hdg.ingestion.sender import Sender
from hdg.mapping.blocks import _settled
from hdg.mapping.compile import Compiler
from hdg.mapping.forms import _leaves
from hdg.mapping.library import Library
from hdg.mapping.remembered import fresh
from messages import oru

grammar = json.loads((Path(groups.__file__).with_name("grammar.json")).read_bytes())

_MESSAGE = oru().replace(b"OBX|1|NM|", b"OBX|1|CWE|")


def nested(depth: int, *, is_list: bool) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value] if is_list else {"extension": value}
    return value


@pytest.mark.parametrize("is_list", [True, False])
def test_a_copy_is_as_deep_as_json_may_be(is_list: bool) -> None:
    value = nested(200, is_list=is_list)
    copy = fresh(value)
    assert copy == value
    assert copy is not value
    assert [text for _, text in _leaves(value, ())] == ["x"]


@pytest.mark.parametrize("is_list", [True, False])
@pytest.mark.parametrize("depth", [1_000, 20_000])
def test_deeper_values_are_refused(depth: int, is_list: bool) -> None:
    value = nested(depth, is_list=is_list)
    with pytest.raises(JsonError, match="nested too deeply"):
        fresh(value)
    with pytest.raises(JsonError, match="nested too deeply"):
        list(_leaves(value, ()))
    with pytest.raises(JsonError, match="nested too deeply"):
        _settled(value, ())
    patient = {"resourceType": "Patient", "id": "a", "extension": value}
    with pytest.raises(JsonError, match="nested too deeply"):
        bundle.document([patient], identifier={}, timestamp="")


def test_tables_that_open_one_another_without_end_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "hl7v2" / "datatypes"
    folder.mkdir(parents=True)
    head = "source,name,target,as,map,when,default,note\n"
    names = sorted(name for name in grammar["datatypes"] if len(name) <= 3)[:60]
    for name, following in pairwise(names):
        row = f"{name},x,coding[],{following}.CodeableConcept,,,,\n"
        (folder / f"{name}.CodeableConcept.csv").write_text(head + row, encoding="utf-8")
    compiler = Compiler(Library("hl7v2", override=tmp_path), V2Grammar())
    with pytest.raises(TableError, match="too deeply"):
        compiler.datatype(f"{names[0]}.CodeableConcept", 1)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("CWE,x,coding[],CWE.CodeableConcept,,,,", "contains itself"),
        ("CWE,x,extension[http://x.example].value[x],hl7v2.observation_value,,,,", "too deeply"),
    ],
    ids=["table", "named converter"],
)
def test_what_comes_back_to_its_table_is_a_problem_of_the_value_and_no_endless_call(
    tmp_path: Path, row: str, text: str
) -> None:
    folder = tmp_path / "hl7v2" / "datatypes"
    folder.mkdir(parents=True)
    head = "source,name,target,as,map,when,default,note\n"
    (folder / "CWE.CodeableConcept.csv").write_text(
        f"{head}CWE.1,x,text,string,,,,\n{row}\n", encoding="utf-8"
    )
    sender = Sender("x", "x", mappings=tmp_path)
    made = Converter(id_key=ids.PUBLIC_KEY).convert(_MESSAGE, sender, at_us=0)
    assert any(text in issue.text for issue in made.issues)


def test_groups_of_messages_are_no_deeper_than_their_definitions() -> None:
    def depth(node: Definition) -> int:
        return 1 + max((depth(child) for child in node.children), default=0)

    assert max(depth(definition(name)) for name in grammar["structures"]) < 12
