"""Blocks put what their rows would put, wherever else the messages differ, and stand back where rows act
beyond their own elements.
"""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from hdg.errors import HdgError
from hdg.fhir import ids
from hdg.fhir import json as fhir_json
from hdg.ingestion.hl7v2.convert import Converter
from hdg.mapping import blocks
from hdg.mapping.blocks import Extent, Row, fused
from hdg.mapping.context import Build, Context, JsonObject, Shared
from messages import oru

_CASES = sorted((Path(__file__).parents[1] / "cases" / "hl7v2").glob("*/*.hl7"))
_ODD = ("", '""', "X", "1~2", "A^B^C&D", "20260105", "N", "PRN^PH^^1", "x\\T\\y", "^^^NG&1.2.3&ISO^MR")


def _said(converter: Converter, raw: bytes) -> object:
    try:
        made = converter.convert(raw, at_us=0)
    except HdgError as error:
        return str(error)
    rest = (made.issues, made.deletions, made.defaulted, made.moved, made.deleted, made.patient_id)
    return fhir_json.dumps(list(made.resources)), rest


def _lines(raw: bytes) -> list[str]:
    return raw.decode().replace("\n", "\r").rstrip("\r").split("\r")


def _message(lines: list[str]) -> bytes:
    return ("\r".join(lines) + "\r").encode()


def _elsewhere(raw: bytes, rng: random.Random) -> list[bytes]:
    """The message with one segment changed, doubled or left out at a time, all others as they are."""
    lines = _lines(raw)
    found = []
    for at in rng.sample(range(1, len(lines)), min(4, len(lines) - 1)):
        fields = lines[at].split("|")
        for _ in range(2):
            fields[rng.randrange(1, len(fields))] = rng.choice(_ODD)
        found.append(_message([*lines[:at], "|".join(fields), *lines[at + 1 :]]))
        found.append(_message([*lines[:at], *rng.choice(([], [lines[at]] * 2)), *lines[at + 1 :]]))
    return found


@pytest.fixture(scope="module")
def both() -> tuple[Converter, Converter]:
    return Converter(id_key=ids.PUBLIC_KEY), Converter(id_key=ids.PUBLIC_KEY, is_tracing=True)


@pytest.mark.parametrize("case", _CASES, ids=lambda path: path.stem)
def test_segments_that_come_again_among_others_become_the_same(
    case: Path, both: tuple[Converter, Converter]
) -> None:
    fast, tracing = both
    raw = case.read_bytes()
    for _ in range(3):
        fast.convert(raw, at_us=0)
    for other in [*_elsewhere(raw, random.Random(case.stem)), raw]:
        assert _said(fast, other) == _said(tracing, other)


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    put = blocks._put

    def counting(known: Any, out: JsonObject, context: Context) -> None:
        found.append(out["resourceType"])
        put(known, out, context)

    monkeypatch.setattr(blocks, "_put", counting)
    return found


def test_from_the_third_time_on_a_segment_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _counted(monkeypatch)
    converter = Converter(id_key=ids.PUBLIC_KEY)
    for number in range(4):  # a plan is made when a shape comes a second time
        before = len(found)
        converter.convert(oru(f"N{number}"), at_us=0)
        assert ("Patient" in found[before:]) == (number == 3)


def _kept(converter: Converter, raw: bytes) -> list[list[str]]:
    """The elements of each fragment that is remembered."""
    _, state = converter.run(raw, at_us=0)
    assert state.values is not None
    return [[*entry.fields] for entry in state.values.young.values() if isinstance(entry, blocks._Fragment)]


def test_what_a_patient_keeps_is_remembered_as_one_though_each_message_has_a_new_address() -> None:
    fast, tracing = Converter(id_key=ids.PUBLIC_KEY), Converter(id_key=ids.PUBLIC_KEY, is_tracing=True)
    for number in range(6):
        pid = (
            f"PID|1||7^^^A||Doe^Jo||19700101|F|||{number} Mill Lane^^Apt^ME||^PRN^PH^^1^2^3|^WPN^PH^^1^2^4|en"
        )
        lines = [pid if line.startswith("PID") else line for line in _lines(oru(f"N{number}"))]
        assert _said(fast, _message(lines)) == _said(tracing, _message(lines))
    kept = _kept(fast, _message(lines))
    assert ["identifier", "name", "birthDate", "gender"] in kept
    assert ["telecom", "communication"] in kept


def test_what_a_message_adds_to_a_shared_item_is_not_in_the_next() -> None:
    """OBR-29's basedOn gets a reference only where the message has the parent order."""
    fast, tracing = Converter(id_key=ids.PUBLIC_KEY), Converter(id_key=ids.PUBLIC_KEY, is_tracing=True)
    child = ["OBR|2|P1^OE|F2^LAB|2-2^Child^LN|||20260304090000+0100|||||||||||||||||MB|F||||P1&OE^F1&LAB"]
    parent = ["OBR|1|P1^OE|F1^LAB|1-1^Parent^LN|||20260304090000+0100|||||||||||||||||MB|F"]
    head = [line for line in _lines(oru("N")) if line[:3] in ("MSH", "PID")]
    for orders in (child, child, child, parent + child, child, parent + child, child):
        raw = _message([*head, *orders])
        assert _said(fast, raw) == _said(tracing, raw)


def test_what_a_segment_reports_is_reported_each_time_at_its_own_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = _counted(monkeypatch)
    fast, tracing = Converter(id_key=ids.PUBLIC_KEY), Converter(id_key=ids.PUBLIC_KEY, is_tracing=True)
    lines = [
        line if not line.startswith("PID") else "PID|1||7^^^A||Doe^Jo||19700101|Q||||||||xx^X^NONE|zz"
        for line in _lines(oru())
    ]
    for _ in range(5):
        made = fast.convert(_message(lines), at_us=0)
        assert made.issues == tracing.convert(_message(lines), at_us=0).issues
        assert "PID-8" in {issue.place for issue in made.issues}
    assert "Patient" in found


def _run(row: Any, view: list[str], out: JsonObject, context: Context) -> None:
    context.problems.clear()
    for slot, test, run, _ in row:
        if view[slot] and (test is None or test(view, context)):
            run(view[slot], view, out, context)


def _sets(element: str) -> Any:
    def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
        calls.append(element)
        if raw == "delete":
            context.delete(element)
        else:
            out.setdefault(element, []).append({"text": raw})
        return True

    calls: list[str] = []
    run.calls = calls  # type: ignore[attr-defined]  # how often it ran
    return run


def _row(slot: int, element: str, *, is_own: bool = True) -> Row:
    extent = Extent((slot,) if is_own else None, frozenset([element, f"_{element}"]))
    return Row((slot, None, _sets(element), None), extent, slot)


def _context(resource: JsonObject) -> Context:
    context = Context()
    context.values = _SHARED.fields
    context.build = Build("Patient", "Patient", resource, "PID")
    return context


_SHARED = Shared()


def test_rows_that_depend_on_more_and_rows_that_write_what_is_written_are_in_no_block() -> None:
    names = ["a", "b", "c", "other", "d", "e", "f", "a"]
    rows = [_row(at, name, is_own=name != "other") for at, name in enumerate(names, 1)]
    plan = fused(rows, "T", "|", count())
    assert [slot for slot, *_ in plan] == [0, 4, 0, 8]
    assert [row.firing for row in rows[:2]] == list(fused(rows[:2], "T", "|", count()))


@pytest.mark.parametrize(
    ("name", "view", "start", "runs"),
    [
        ("put", ["x", "1", "2", "3"], {}, 2),
        ("element is there", ["x", "1", "2", "3"], {"b": [{"text": "0"}]}, 5),
        ("shadow is there", ["x", "1", "2", "3"], {"_b": {}}, 5),
        ("delete", ["x", "1", "delete", "3"], {}, 5),
        ("escape", ["x", "1", "\\T\\", "3"], {}, 5),
        ("long", ["x", "1", "2" * 3000, "3"], {}, 5),
    ],
)
def test_a_block_runs_its_rows_unless_they_would_put_the_same_where_nothing_is(
    name: str, view: list[str], start: JsonObject, runs: int
) -> None:
    rows = [_row(at, element) for at, element in enumerate("abc", 1)]
    plan = fused(rows, name, "|", count())
    said = []
    for _ in range(5):
        out = {element: list(value) if isinstance(value, list) else value for element, value in start.items()}
        context = _context(out)
        _run(plan, view, out, context)
        assert context.build is not None
        said.append((out, [*context.build.deletions]))
        assert said[0] == said[-1]
    assert len(rows[1].firing[2].calls) == runs  # type: ignore[attr-defined]  # see _sets


def test_what_one_resource_adds_to_a_list_is_not_in_the_next() -> None:
    plan = fused([_row(at, element) for at, element in enumerate("abc", 1)], "lists", "|", count())
    for _ in range(5):
        out: JsonObject = {}
        _run(plan, ["x", "1", "2", "3"], out, _context(out))
        assert out == {"a": [{"text": "1"}], "b": [{"text": "2"}], "c": [{"text": "3"}]}
        out["a"].append({"text": "more"})


def test_a_deletion_counts_though_an_earlier_row_deleted_the_same() -> None:
    plan = fused([_row(at, element) for at, element in enumerate("abc", 1)], "again", "|", count())
    for number in range(5):
        out: JsonObject = {}
        context = _context(out)
        assert context.build is not None
        if number < 3:
            context.build.deletions["b"] = None
        _run(plan, ["x", "1", "delete", "3"], out, context)
        assert [*context.build.deletions] == ["b"]
