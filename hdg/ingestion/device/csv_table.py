"""The tables that say what the columns of a CSV file are: ``mappings/device/home/*.csv``, in the form of all tables.

``source``: the names that a column may have, ``|`` between them, in any case. ``target`` and ``as`` say what it is;
``default`` holds ``name=value`` pairs: code, unit, text, category, panel, zone, format, system, period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from hdg.errors import DeviceError, TableError
from hdg.fhir.json import JsonObject
from hdg.mapping.library import Library
from hdg.mapping.table import Rule, Table

__all__ = ["Column", "Layout", "findings", "layout_for"]

_ROLES = {
    ("effectiveDateTime", "dateTime"): "when",
    ("effectivePeriod", "dateTime"): "when",
    ("effectiveDateTime", "time"): "clock",
    ("subject", "identifier"): "subject",
    ("device", "string"): "device",
    ("note[]", "string"): "note",
    ("valueQuantity", "quantity"): "value",
    ("valueString", "string"): "value",
    ("valueSampledData", "sampled"): "sampled",
}
_PANEL = "component["
_KEYS = frozenset(
    {"category", "code", "format", "panel", "panel-text", "period", "system", "text", "unit", "zone"}
)


@dataclass(frozen=True, slots=True)
class Column:
    """What a column is. ``at``: its place, from 0. ``kind``: the cell of ``as``."""

    at: int
    role: str
    kind: str
    map: str = ""
    code: JsonObject = field(default_factory=dict)
    unit: str = ""
    category: str = "vital-signs"
    panel_label: str = ""
    panel: JsonObject = field(default_factory=dict)
    zone: str = ""
    formats: tuple[str, ...] = ()
    system: str = ""
    period_ms: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Layout:
    """A file's columns. ``unknown``: those that no row has, by place and name."""

    columns: tuple[Column, ...]
    unknown: tuple[tuple[int, str], ...]
    width: int

    def of(self, role: str) -> list[Column]:
        """The columns of a role."""
        return [column for column in self.columns if column.role == role]


def layout_for(library: Library, header: Sequence[str], name: str = "") -> Layout:
    """The layout by the table that knows most of the columns, and a time. Raises DeviceError, TableError."""
    best: Layout | None = None
    for table_name in library.names("home"):
        table = library.table("home", table_name)
        if table is None:
            continue
        found = _layout(library, table, header)
        if found.of("when") and (best is None or len(found.columns) > len(best.columns)):
            best = found
    if best is None or not (best.of("value") or best.of("sampled")):
        text = "no table of mappings/device/home knows a time and a value among these columns"
        raise DeviceError(text, ":".join(part for part in (name, "1") if part))
    return best


def findings(override: Path | None = None) -> list[TableError]:
    """What cannot work in the tables, seen through an override folder: one finding a table or row."""
    library = Library("device", override=override)
    found: list[TableError] = []
    for name in library.names("home"):
        try:
            table = library.table("home", name)
        except TableError as error:
            found.append(error)
            continue
        for rule in table.rules if table else ():
            try:
                if rule.is_mapped:
                    _column(library, rule, 0)
                elif not rule.note:
                    raise rule.error("a row without a target needs a note")
            except TableError as error:
                found.append(error)
    return found


def _layout(library: Library, table: Table, header: Sequence[str]) -> Layout:
    rows: dict[str, Rule] = {}
    for rule in table.rules:
        for source in rule.source.split("|"):
            rows.setdefault(source.strip().lower(), rule)
    columns: list[Column] = []
    unknown: list[tuple[int, str]] = []
    taken: set[str] = set()
    for at, title in enumerate(header):
        rule_ = rows.get(title.strip().lower())
        if rule_ is None or rule_.source in taken:
            unknown.append((at, title.strip()))
            continue
        taken.add(rule_.source)
        if rule_.is_mapped:
            columns.append(_column(library, rule_, at))
    return Layout(tuple(columns), tuple(unknown), len(header))


def _column(library: Library, rule: Rule, at: int) -> Column:
    """Raises TableError for a row that says nothing that could be done."""
    pairs = _pairs(rule)
    target, label = rule.target, ""
    if target.startswith(_PANEL):
        label, _, target = target.removeprefix(_PANEL).partition("].")
    role = _ROLES.get((target, rule.as_))
    if role is None or (label and role != "value"):
        raise rule.error("target and as: nothing that a column can become")
    if role in ("value", "sampled") and "code" not in pairs:
        raise rule.error("default: code=SYSTEM#CODE is needed")
    if label and "panel" not in pairs:
        raise rule.error("default: panel=SYSTEM#CODE is needed")
    if rule.map and library.concept_map(rule.map) is None:
        raise rule.error(f"there is no map {rule.map!r}")
    period = pairs.get("period", "0")
    if role == "sampled" and not (period.replace(".", "", 1).isdigit() and Decimal(period) > 0):
        raise rule.error("default: period=MILLISECONDS is needed")
    return Column(
        at,
        role,
        rule.as_,
        rule.map,
        _coding(library, rule, pairs["code"], pairs.get("text", "")) if "code" in pairs else {},
        pairs.get("unit", ""),
        pairs.get("category", "vital-signs"),
        label,
        _coding(library, rule, pairs["panel"], pairs.get("panel-text", "")) if "panel" in pairs else {},
        pairs.get("zone", ""),
        tuple(part.strip() for part in pairs.get("format", "").split("|") if part.strip()),
        pairs.get("system", ""),
        Decimal(period),
    )


def _pairs(rule: Rule) -> dict[str, str]:
    found = {}
    for part in rule.default.split(";"):
        name, mark, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not mark or name not in _KEYS:
            raise rule.error(f"default: one of {', '.join(sorted(_KEYS))} with = and its value")
        found[name] = value.strip()
    return found


def _coding(library: Library, rule: Rule, text: str, shown: str) -> JsonObject:
    name, mark, code = text.partition("#")
    system = library.systems.uri(name)
    if not mark or not code or system is None:
        raise rule.error("default: a code is SYSTEM#CODE, the system one of systems.csv")
    made: JsonObject = {"coding": [{"system": system, "code": code}]}
    return {**made, "text": shown} if shown else made
