"""No field is lost without a word when the condition of its row fails: every such row, in every kind of message.

For each row of a segment table with a ``when``, in each message table that uses it, messages in which the field is
valued and the condition fails: the coverage report must say mapped, unmapped with its note, or reported; never lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import pytest

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.coverage import coverage
from hdg.ingestion.hl7v2.grammar import Source, elements, parse_source, structure
from hdg.mapping.library import Library
from hdg.mapping.table import Rule
from hdg.mapping.when import All, AnyOf, In, Measure, Node, Not, Valued, operands, parse_when

LIBRARY = Library("hl7v2")
TEXTS = {"NM": "7", "SI": "1", "DT": "20260314", "TM": "1015", "DTM": "20260314101500+0100", "SNM": "555"}
OPENERS = {
    kind: segments.split()
    for segments, kinds in {
        "RXA": "VXU RSP RAS",
        "OBR": "ORU OUL OML OMG ORM ORL ORG ORR",
        "RXE": "RDE",
        "RXD": "RDS",
        "RXG": "RGV",
        "SCH": "SIU",
        "PRB": "PPR",
        "RF1 PRD": "REF",
        "FT1": "DFT",
        "MFE STF": "MFN",
        "TXA": "MDM",
        "PV1 MRG": "ADT",
        "PV1": "BAR",
    }.items()
    for kind in kinds.split()
}
"""What a message is nothing without."""
LEAST = {
    "PID": {3: "4711^^^B^MR", 5: "Example^Ada"},
    "OBX": {2: "ST", 3: "C1^Test^L", 5: "text", 11: "F"},
    "OBR": {3: "F1", 4: "T1^Test^L"},
    "RXA": {3: "20260314", 4: "20260314", 5: "08^Vaccine^CVX", 6: "1"},
    "RXE": {2: "D1^Drug^L", 3: "1", 5: "mg"},
    "RXD": {2: "D1^Drug^L", 3: "20260314", 4: "1"},
    "RXG": {3: "^^^20260314", 4: "D1^Drug^L", 5: "1"},
    "RXO": {1: "D1^Drug^L", 2: "1"},
    "SCH": {1: "A1", 2: "B1"},
    "PRB": {1: "AD", 2: "20260314", 3: "P1^Problem^L", 4: "I1"},
    "RF1": {6: "R1"},
    "PRD": {1: "RP^^HL70286", 2: "Doc^Tor"},
    "FT1": {4: "20260314", 6: "CG", 7: "X^Charge^L"},
    "MFE": {1: "MAD", 2: "1", 4: "P1"},
    "STF": {1: "P1", 3: "Doc^Tor"},
    "TXA": {2: "DS", 12: "D1", 17: "AU"},
    "MRG": {1: "4712^^^B^MR"},
    "PV1": {2: "I", 19: "V1"},
    "ORC": {1: "NW", 2: "P1"},
}


@cache
def _value(datatype: str, tag: str) -> str:
    """A text of a datatype with all components that it has at the first level."""
    parts = elements(datatype) or ()
    if datatype in TEXTS or not parts:
        return TEXTS.get(datatype, tag)
    return "^".join(TEXTS.get(part.datatype, f"{tag}c{part.number}") for part in parts)


def _field(segment: str, number: int) -> str:
    known = (elements(segment) or ())[number - 1]
    return _value(known.datatype, f"{segment}{number}")


def _placed(nodes: list[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, _, *inner in nodes:
        if not inner:
            yield name, path
        elif name != "PRIOR_RESULT":
            yield from _placed(inner[0], (*path, name))


def _rows(rules: tuple[Rule, ...], segment: str, path: tuple[str, ...]) -> list[Rule]:
    """The rows of a message table for a segment in a group: those with the longest source that fits."""
    fitting = []
    for rule in rules:
        *groups, name = rule.source.split(".")
        if name == segment and (not groups or list(path[-len(groups) :]) == groups):
            fitting.append((len(groups), rule))
    longest = max((depth for depth, _ in fitting), default=0)
    return [rule for depth, rule in fitting if depth == longest]


def _with(fields: dict[int, str], source: Source, text: str) -> None:
    """Sets a field or a component of it."""
    if not source.component:
        fields[source.number] = text
        return
    parts = fields.get(source.number, "").split("^")
    parts += [""] * (source.component - len(parts))
    inner = parts[source.component - 1].split("&")
    if source.subcomponent:
        inner += [""] * (source.subcomponent - len(inner))
        inner[source.subcomponent - 1] = text
    parts[source.component - 1] = "&".join(inner) if source.subcomponent else text
    fields[source.number] = "^".join(parts)


Given = dict[str, str]
"""Operand → text."""


def _failing(node: Node, wanted: bool = False) -> list[Given]:
    """Texts of operands that make a condition fail (``wanted``: hold)."""
    if isinstance(node, Not):
        return _failing(node.term, not wanted)
    if isinstance(node, All | AnyOf):
        each = [_failing(term, wanted) for term in node.terms]
        if isinstance(node, All) is not wanted:
            return [given for found in each for given in found]
        together: Given = {}
        for found in each:
            together.update(found[0] if found else {})
        return [together]
    if isinstance(node, Valued):
        return [{node.operand: "*" if wanted else ""}]
    if isinstance(node, In):
        others = [{node.operand: text} for text in ("ZZ", "*", "") if text not in node.literals]
        return [{node.operand: text} for text in sorted(node.literals)[:3]] if wanted else others
    return [{node.operand: text} for text in _measuring(node) if node.holds(_measure(node, text)) is wanted][
        :2
    ]


def _measure(node: Measure, text: str) -> int:
    return (text.count("~") + 1 if text else 0) if node.what == "count" else len(text)


def _measuring(node: Measure) -> list[str]:
    return ["", "one", "one~two"] if node.what == "count" else ["", "20260314", "20260314101500+0100"]


def _message(kind: str, names: list[str], segment: str, source: Source, given: Given) -> str | None:
    """The message; None when the field cannot be valued while the condition fails."""
    values: dict[str, dict[int, str]] = {name: dict(LEAST.get(name, {})) for name in names}
    values["MSH"] = {}
    target = values[segment]
    _with(target, source, _field(segment, source.number) if not source.component else "text")
    for operand, text in given.items():
        named = parse_source(operand, segment)
        if not named.number:
            if text and named.unit not in values:
                values[named.unit] = dict(LEAST.get(named.unit, {1: "1"}))
            elif not text:
                values.pop(named.unit, None)
            continue
        if named.unit == "MSH" and named.number == 9:
            continue
        shown = text
        if text == "*":
            whole = _field(named.unit, named.number)
            shown = whole if not named.component else "text"
        _with(values.setdefault(named.unit, dict(LEAST.get(named.unit, {}))), named, shown)
    if segment not in values or not target.get(source.number, "").strip("^&"):
        return None
    header = {3: "APP", 4: "FAC", 7: "20260314101500+0100", 9: kind, 10: "C1", 11: "P", 12: "2.8"}
    header |= values.pop("MSH")
    lines = [_line("MSH", {number - 1: text for number, text in header.items()} | {1: "^~\\&"})]
    ordered = [name for name in names if name in values]
    lines += [_line(name, values[name]) for name in dict.fromkeys([*ordered, *values])]
    return "\r".join(lines) + "\r"


def _line(name: str, fields: dict[int, str]) -> str:
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields, default=0) + 1))])


class Case(NamedTuple):
    """A row with a condition, in the message that uses its table."""

    kind: str
    placed: tuple[tuple[str, tuple[str, ...]], ...]
    segment: str
    row: Rule
    rule: Rule


@cache
def _cases() -> dict[str, list[Case]]:
    """By message table; what several of them have in just the same way is looked at in the first of them."""
    triggers = LIBRARY.table("messages", "triggers")
    assert triggers is not None
    found: dict[str, list[Case]] = {}
    done: set[Any] = set()
    for kind in triggers.rules:
        table = LIBRARY.table("messages", kind.as_) if kind.as_ else None
        if table is None or "@" in kind.source:
            continue
        placed = tuple(_placed(structure(kind.target) or []))
        for segment, path in placed:
            rows = _rows(table.rules, segment, path)
            together = tuple((row.as_, row.when) for row in rows)
            for row in rows:
                inner = LIBRARY.table("segments", row.as_) if row.target else None
                for rule in inner.rules if inner is not None else ():
                    if not (rule.when and rule.target) or "-" not in rule.source:
                        continue
                    named = {operand.partition("-")[0] for operand in operands(parse_when(rule.when))}
                    event = kind.source if "MSH-9" in rule.when + row.when else ""
                    where = "" if named == {segment} else kind.as_
                    key = (rule.file, rule.line, together, event, where)
                    if key not in done:
                        done.add(key)
                        case = Case(kind.source.replace("*", "A01"), placed, segment, row, rule)
                        found.setdefault(kind.as_, []).append(case)
    return found


def _messages(case: Case) -> Iterator[str]:
    source = parse_source(case.rule.source, case.segment)
    wanted = {"PID", case.segment, *OPENERS.get(case.kind[:3], [])}
    names = list(dict.fromkeys(name for name, _ in case.placed if name in wanted))
    holds = _failing(parse_when(case.row.when), wanted=True)[0] if case.row.when else {}
    for given in _failing(parse_when(case.rule.when)):
        message = _message(case.kind, names, case.segment, source, {**holds, **given})
        if message is not None:
            yield message


@pytest.mark.parametrize("table", sorted(_cases()))
def test_no_row_whose_condition_fails_loses_its_field_in_silence(table: str) -> None:
    lost: dict[str, tuple[str, ...]] = {}
    messages = {message: case.rule for case in _cases()[table] for message in islice(_messages(case), 4)}
    for message, rule in messages.items():
        try:
            found = coverage(message.encode()).lost
        except Hl7v2Error:
            continue  # refused as a whole: it is kept, and its sender is told
        if found:
            lost[f"{rule.file}:{rule.line} {message!r}"] = found
    assert lost == {}


def test_the_sweep_reaches_nearly_all_rows_with_a_condition() -> None:
    every = {
        (rule.file, rule.line)
        for name in LIBRARY.names("segments")
        if not name.endswith("-pcd") and (table := LIBRARY.table("segments", name)) is not None
        for rule in table.rules
        if rule.when and rule.target and "-" in rule.source
    }
    cases = [case for found in _cases().values() for case in found]
    reached = {(case.rule.file, case.rule.line) for case in cases if any(_messages(case))}
    assert len(every - reached) < 0.1 * len(every), sorted(every - reached)
