"""High-rate streams: samples at a fixed rate become SampledData in segments, with exact times.

R4 datatypes.html#SampledData. A segment has at most SEGMENT_MS of samples; a gap (``null``) ends one, and the next
begins at its own time. The value of a sample is data × factor + origin, as it came: nothing is computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal as Exact
from typing import Any

from hdg.errors import DeviceError
from hdg.fhir.json import Decimal, JsonObject
from hdg.ingestion.device.home import UCUM, Home
from hdg.ingestion.device.json_points import amount, dig
from hdg.ingestion.device.mdc import Mdc
from hdg.ingestion.device.observations import Measurement, Samples

__all__ = ["SEGMENT_MS", "segments"]

SEGMENT_MS = 10_000
_PERIOD_MIN = Exact("0.001")
_NAME = re.compile(r"MDC_[A-Z0-9_]{1,80}")
Number = Decimal | int


def segments(
    stream: Any,
    shared: Measurement,
    mdc: Mdc,
    home: Home,
    place: str,
    correct: Callable[[datetime], datetime] | None = None,
) -> Iterator[Measurement]:
    """A Measurement for each segment. ``correct``: from the device's clock, for a start without offset.

    Raises DeviceError for a stream without code, start, period or samples.
    """
    code, name = _code(dig(stream, "code"), mdc, place)
    period = amount(dig(stream, "periodMs"))
    samples = dig(stream, "samples")
    if period is None or not _PERIOD_MIN <= period < 86_400_000:
        raise DeviceError("periodMs: the time between two samples in milliseconds, from 0.001", place)
    if not isinstance(samples, list) or not samples:
        raise DeviceError("samples: a list of numbers, null for a gap", place)
    start, stated = _start(dig(stream, "start"), home, place, correct)
    unit = _unit(dig(stream, "unit"))
    factor, origin = amount(dig(stream, "factor")), amount(dig(stream, "origin"))
    most = max(1, int(SEGMENT_MS // period))
    for first, run in _runs(samples, most, place):
        after = timedelta(microseconds=_micros(first, period))
        try:
            end = start + timedelta(microseconds=_micros(first + len(run) - 1, period))
        except OverflowError:
            raise DeviceError("start: a time beyond the calendar", place) from None
        sampled = Samples(origin if origin is not None else 0, unit, period, " ".join(run), factor)
        yield replace(
            shared,
            code=code,
            name=name,
            value=sampled,
            time=_text(start + after),
            end=_text(end) if len(run) > 1 else None,
            stated=None if stated is None else _text(stated + after),
        )


def _micros(count: int, period: Number) -> int:
    """So many periods in microseconds, rounded once."""
    return int((Exact(count) * Exact(period) * 1000).to_integral_value())


def _runs(samples: list[Any], most: int, place: str) -> Iterator[tuple[int, list[str]]]:
    """(index of the first, texts) of each unbroken run of at most ``most`` samples."""
    run: list[str] = []
    first = 0
    for index, sample in enumerate(samples):
        if sample is None or len(run) >= most:
            if run:
                yield first, run
            run = []
        if sample is None:
            continue
        value = amount(sample) if not isinstance(sample, str) else None
        if value is None and sample not in ("E", "U", "L"):
            raise DeviceError("a sample is a number, E, U or L, or null", f"{place}.samples[{index}]")
        if not run:
            first = index
        run.append(value.literal if isinstance(value, Decimal) else str(sample))
    if run:
        yield first, run


def _start(
    text: Any, home: Home, place: str, correct: Callable[[datetime], datetime] | None
) -> tuple[datetime, datetime | None]:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) and "T" in text else None
    except ValueError:
        moment = None
    if moment is None:
        raise DeviceError("start: the time of the first sample (ISO 8601)", place)
    if moment.tzinfo is not None:
        return moment, None
    if correct is not None:
        try:
            corrected = correct(moment)
        except OverflowError:
            raise DeviceError("start: a time beyond the calendar", place) from None
        return corrected, moment.replace(tzinfo=corrected.tzinfo)
    moment = home.at(moment, None, place)
    if moment.tzinfo is None:
        raise DeviceError("start: an offset, or a clock reading, is needed", place)
    return moment, None


def _code(told: Any, mdc: Mdc, place: str) -> tuple[int, str]:
    if isinstance(told, int) and not isinstance(told, bool) and 0 < told < 1 << 32:
        return told, mdc.name(told)
    if isinstance(told, str) and _NAME.fullmatch(told):
        found = mdc.code(told)
        if found is not None:
            return found, told
    raise DeviceError("code: an MDC code, or the reference identifier of one that is known", place)


def _unit(told: Any) -> JsonObject:
    if not isinstance(told, str) or not told.strip():
        return {}
    return {"unit": told, "system": UCUM, "code": told} if " " not in told else {"unit": told}


def _text(moment: datetime) -> str:
    text = moment.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
