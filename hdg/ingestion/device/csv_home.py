"""CSV files of home measurements, by a table that says what each column is (mappings/device/home/, docs/devices.md).

RFC 4180 (https://www.rfc-editor.org/rfc/rfc4180), with comma, semicolon or tab. Every problem names file, line and
column. A cell that is no number costs its measurement, a time that is none its row; the others stand.
"""

from __future__ import annotations

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from io import TextIOWrapper
from typing import Any, BinaryIO

from hdg.errors import DeviceError
from hdg.fhir.ids import resource_id
from hdg.fhir.json import Decimal
from hdg.ingestion.device.csv_stream import Streams
from hdg.ingestion.device.csv_table import Column, Layout, layout_for
from hdg.ingestion.device.home import (
    DEVICE_ASSERTED,
    PATIENT_ASSERTED,
    Home,
    absent,
    number,
    quantity,
)
from hdg.mapping.context import JsonObject

__all__ = ["read"]

HEADER_MAX = 100_000
_SEPARATORS = (";", "\t", ",")
_TOLD = re.compile(r"\ufeff?sep=([;,\t])", re.IGNORECASE)
"""A first line that tells a spreadsheet what separates."""
_AS_TEXT = re.compile(r'="([^"]*)"')
"""How a cell is written that a spreadsheet shall leave as it is."""
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)
"""Where a comma is the decimal sign, 12.345 is twelve thousand; where it is not, it is a little more than twelve."""


@dataclass(slots=True)
class _Row:
    """A row under way. ``clock``: its time as written, where ``when`` is only the date of it."""

    line: int
    cells: list[str]
    when: str = ""
    clock: str = ""
    notes: tuple[str, ...] = ()
    device: JsonObject | None = None


def read(
    open_: Callable[[], BinaryIO], home: Home, progress: Callable[[int], None] | None = None
) -> Iterator[JsonObject]:
    """The resources of a file. Raises DeviceError for a file that no table knows."""
    with open_() as raw:
        is_wide = raw.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE)  # a spreadsheet's "Unicode text"
    encoding = "utf-16" if is_wide else "utf-8-sig"
    with open_() as raw, TextIOWrapper(raw, encoding=encoding, newline="") as text:
        try:
            yield from _File(home, text).resources()
        except UnicodeError:
            raise DeviceError("not UTF-8", home.name) from None


class _File:
    def __init__(self, home: Home, text: TextIOWrapper) -> None:
        self._home = home
        self._caller = home.patient
        first = text.readline(HEADER_MAX)
        self._first = 1
        told = _TOLD.fullmatch(first.strip())
        if told is not None:
            first, self._first = text.readline(HEADER_MAX), 2
        self._separator = told[1] if told is not None else max(_SEPARATORS, key=first.count)
        header = next(csv.reader([first], delimiter=self._separator), [])
        self._rows = csv.reader(text, delimiter=self._separator, strict=True)
        self._layout: Layout = layout_for(home.library, header, home.name)
        self._devices: set[str] = set()
        self._people: set[str] = set()
        for at, name in self._layout.unknown:
            shown = name if len(name) <= 40 and name.isprintable() else "?"
            text_ = f"the column {shown!r} is in no row of the table and is left out"
            home.note("warning", "incomplete", self._place(self._first, at), text_)

    def _place(self, line: int, column: int | None = None) -> str:
        """``file:line:column``, the column counted from 1."""
        parts = [self._home.name, str(line), *([] if column is None else [str(column + 1)])]
        return ":".join(part for part in parts if part)

    def resources(self) -> Iterator[JsonObject]:
        """Row by row."""
        streams = Streams(self._home)
        line = self._first + 1
        try:
            for cells in self._rows:
                if any(cell.strip() for cell in cells):
                    yield from self._row(_Row(line, cells), streams)
                line = self._rows.line_num + self._first + 1
        except csv.Error as error:
            raise DeviceError(f"not CSV: {error}", self._place(line)) from None
        yield from streams.rest()

    def _row(self, row: _Row, streams: Streams) -> Iterator[JsonObject]:
        if len(row.cells) > self._layout.width:
            text = "more cells than the header has: the row is left out"
            self._home.note("error", "structure", self._place(row.line), text)
            return
        moment = self._moment(row)
        if moment is None:
            return
        if not self._caller:
            patient = self._patient(row)
            if patient is None:
                return
            yield patient
        for column in self._layout.of("subject") if self._caller else ():
            if who := self._cell(row, column):
                self._home.check_one(self._people, who, self._place(row.line, column.at))
        row.when = _written(moment)
        row.notes = tuple(text for column in self._layout.of("note") if (text := self._cell(row, column)))
        device = self._device(row)
        if device is not None:
            row.device = device
            if device["id"] not in self._devices:
                self._devices.add(device["id"])
                yield device
        sampled = self._layout.of("sampled")
        for column in sampled:
            value = self._number(row, column)
            yield from streams.add(column, moment, value, row.device)
        yield from self._measurements(row)

    # --- cells --------------------------------------------------------------------------------------------------

    def _cell(self, row: _Row, column: Column) -> str:
        text = row.cells[column.at].strip() if column.at < len(row.cells) else ""
        quoted = _AS_TEXT.fullmatch(text) if text.startswith("=") else None
        return quoted[1].strip() if quoted is not None else text

    def _moment(self, row: _Row) -> datetime | str | None:
        """When: a datetime with offset, a date as text where no zone is known; None, with an issue, for neither."""
        (column,) = self._layout.of("when")[:1]
        text = self._cell(row, column)
        clock = next((self._cell(row, one) for one in self._layout.of("clock")), "")
        moment = _parsed(text, clock, column.formats)
        if moment is None:
            text = "not a time" if text else "a row without a time"
            self._home.note(
                "error", "value", self._place(row.line, column.at), f"{text}: the row is left out"
            )
            return None
        if not isinstance(moment, datetime):
            return moment
        zone: tzinfo | None = self._home.named_zone(column.zone) if column.zone else None
        found = self._home.at(moment, zone, self._place(row.line, column.at))
        if found.tzinfo is None:
            text = "a time without offset or zone was cut to its date"
            self._home.note("warning", "value", self._place(row.line, column.at), text)
            row.clock = found.isoformat()
            return found.date().isoformat()
        return found

    def _patient(self, row: _Row) -> JsonObject | None:
        columns = self._layout.of("subject")
        if not columns:
            self._caller = "nobody"
            return self._home.nobody()
        column, home = columns[0], self._home
        value = self._cell(row, column)
        if not value:
            text = "a row without a patient is left out"
            home.note("error", "required", self._place(row.line, column.at), text)
            return None
        facts = (column.system, value) if column.system else ("", "csv", value)
        id_ = resource_id(home.id_key, "Patient", home.institution, facts)
        identifier = {"system": column.system, "value": value} if column.system else {"value": value}
        home.patient = f"Patient/{id_}"
        return {"resourceType": "Patient", "id": id_, "identifier": [identifier]}

    def _device(self, row: _Row) -> JsonObject | None:
        name = next((self._cell(row, column) for column in self._layout.of("device")), "")
        if not name:
            return None
        content = {"deviceName": [{"name": name, "type": "user-friendly-name"}]}
        return self._home.device(("csv", name), content)

    def _number(self, row: _Row, column: Column) -> Decimal | None:
        text = self._cell(row, column)
        if not text:
            return None
        if self._separator == ";":
            if _THOUSANDS.fullmatch(text):
                problem = "a point that may separate thousands or decimals: the measurement is left out"
                self._home.note("error", "value", self._place(row.line, column.at), problem)
                return None
            if text.count(",") == 1 and "." not in text:
                text = text.replace(",", ".")
        found = number(text)
        if found is None and column.map and self._reason(text, column):
            return None
        if found is None:
            text = "not a number: the measurement is left out"
            self._home.note("error", "value", self._place(row.line, column.at), text)
        return found

    def _reason(self, text: str, column: Column) -> str | None:
        return self._home.code_of(column.map, text.upper()) if column.map else None

    # --- measurements -------------------------------------------------------------------------------------------

    def _measurements(self, row: _Row) -> Iterator[JsonObject]:
        panels: dict[str, list[tuple[Column, JsonObject]]] = {}
        for column in self._layout.of("value"):
            value = self._value(row, column)
            if value is None:
                continue
            if column.panel_label:
                panels.setdefault(column.panel_label, []).append((column, value))
            else:
                yield self._observation(row, column, value, column.code, ())
        for parts in panels.values():
            first = parts[0][0]
            components = [{"code": column.code, **value} for column, value in parts]
            yield self._observation(row, first, {"component": components}, first.panel, components)

    def _value(self, row: _Row, column: Column) -> JsonObject | None:
        text = self._cell(row, column)
        if not text:
            return None
        if column.kind == "string":
            return {"valueString": text}
        found = self._number(row, column)
        if found is not None:
            return {"valueQuantity": quantity(found, column.unit)}
        reason = self._reason(text, column)
        return {"dataAbsentReason": absent(reason)} if reason else None

    def _observation(
        self, row: _Row, column: Column, value: JsonObject, code: JsonObject, components: Any
    ) -> JsonObject:
        marks = [PATIENT_ASSERTED] if row.device is None else [DEVICE_ASSERTED]
        told = [f"{part['code']}{part.get('valueQuantity')}" for part in components] or [str(value)]
        by = () if row.device is None else (str(row.device["id"]),)
        facts = ("csv", str(code["coding"]), row.clock or row.when, *told, *by)
        made = self._home.observation(
            facts, code, {"effectiveDateTime": row.when}, kind=column.category, marks=marks
        )
        made |= value
        if row.device is not None:
            made["device"] = {"reference": f"Device/{row.device['id']}"}
        if row.notes:
            made["note"] = [{"text": text} for text in row.notes]
        return made


def _parsed(text: str, clock: str, formats: tuple[str, ...]) -> datetime | str | None:
    """ISO 8601 or one of the table's formats; a date alone stays one, unless a clock stands beside it."""
    whole = f"{text} {clock}".strip()
    try:
        if len(whole) == 10:
            return datetime.strptime(whole, "%Y-%m-%d").date().isoformat()
        if len(whole) > 10 and whole[4] == "-":
            return datetime.fromisoformat(whole)
    except ValueError:
        pass
    for form in formats:
        for full in (form,) if "%H" in form else (form, f"{form} %H:%M", f"{form} %H:%M:%S"):
            try:
                found = datetime.strptime(whole, full)
            except ValueError:
                continue
            return found if "%H" in full else found.date().isoformat()
    return None


def _written(moment: datetime | str) -> str:
    if isinstance(moment, str):
        return moment
    text = moment.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
