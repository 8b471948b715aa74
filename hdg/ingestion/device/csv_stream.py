"""Rows at a high rate: samples of one column become SampledData in segments. R4 datatypes.html#SampledData."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hdg.fhir.json import Decimal
from hdg.ingestion.device.csv_table import Column
from hdg.ingestion.device.envelope_streams import SEGMENT_MS
from hdg.ingestion.device.home import DEVICE_ASSERTED, UCUM, Home
from hdg.mapping.context import JsonObject

__all__ = ["Streams"]


@dataclass(slots=True)
class _Run:
    start: datetime
    column: Column
    device: JsonObject | None
    patient: str
    values: list[str] = field(default_factory=list)

    @property
    def following(self) -> datetime:
        """When the next sample is due."""
        return self._at(len(self.values))

    @property
    def end(self) -> datetime:
        """When the last one was taken."""
        return self._at(len(self.values) - 1)

    def _at(self, count: int) -> datetime:
        micros = int((count * self.column.period_ms * 1000).to_integral_value())
        return self.start + timedelta(microseconds=micros)


class Streams:
    """Collects samples; gives an Observation for each segment that is over."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._runs: dict[int, _Run] = {}

    def add(
        self, column: Column, moment: datetime | str, value: Decimal | None, device: JsonObject | None
    ) -> Iterator[JsonObject]:
        """The next row's sample; None: a gap."""
        run = self._runs.get(column.at)
        if run is not None and self._is_over(run, moment, value):
            yield from self._ended(self._runs.pop(column.at))
            run = None
        if value is None:
            return
        if isinstance(moment, str):
            self._home.note("error", "value", "", "a sample without a time of day is left out")
            return
        if run is None:
            run = self._runs[column.at] = _Run(moment, column, device, self._home.patient)
        run.values.append(value.literal)

    def rest(self) -> Iterator[JsonObject]:
        """What is not over at the end of the file."""
        for run in self._runs.values():
            yield from self._ended(run)
        self._runs.clear()

    def _is_over(self, run: _Run, moment: datetime | str, value: Decimal | None) -> bool:
        if value is None or isinstance(moment, str) or run.patient != self._home.patient:
            return True
        is_full = len(run.values) * run.column.period_ms >= SEGMENT_MS
        return is_full or moment != run.following

    def _ended(self, run: _Run) -> Iterator[JsonObject]:
        column, unit = run.column, run.column.unit
        start, end = _text(run.start), _text(run.end)
        times: JsonObject = {"effectivePeriod": {"start": start, "end": end}}
        code = column.code
        origin: JsonObject = (
            {"value": 0, "unit": unit, "system": UCUM, "code": unit} if unit else {"value": 0}
        )
        current, self._home.patient = self._home.patient, run.patient
        made = self._home.observation(
            ("csv", str(code), start, end), code, times, kind=column.category, marks=[DEVICE_ASSERTED]
        )
        self._home.patient = current
        made["valueSampledData"] = {
            "origin": origin,
            "period": Decimal(str(column.period_ms)),
            "dimensions": 1,
            "data": " ".join(run.values),
        }
        if run.device is not None:
            made["device"] = {"reference": f"Device/{run.device['id']}"}
        yield made


def _text(moment: datetime) -> str:
    text = moment.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
