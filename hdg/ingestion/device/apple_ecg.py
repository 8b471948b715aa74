"""One electrocardiogram of an Apple Health export, ``electrocardiograms/*.csv``: SampledData of one lead.

HealthKit writes a header of ``name,value`` lines in the phone's language, then one sample a line, with the comma or the
point of that language. So a header's line is known by what its value looks like, not by its name: the time of the
recording, a rate in hertz, a unit of voltage; what stands in the four lines behind the time are classification,
symptoms, version and device. Name and birth date of the header are left out. R4 datatypes.html#SampledData.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context
from decimal import Decimal as Exact

from hdg.errors import DeviceError
from hdg.fhir.json import Decimal, JsonObject
from hdg.ingestion.device.home import DEVICE_ASSERTED, UCUM, Home
from hdg.ingestion.device.mdc import Mdc

__all__ = ["SEGMENT_SAMPLES", "read_ecg"]

APPLE = "http://developer.apple.com/documentation/healthkit"
SEGMENT_SAMPLES = 65_536
"""Of one Observation: two minutes at 512 Hz; a recording of a watch takes 30 s."""
_HEAD_MAX = 64
_POTENTIAL = "MDC_ECG_ELEC_POTL"
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}", re.ASCII)
_RATE = re.compile(r"(\d{1,5}(?:[.,]\d{1,6})?)[\s\u00a0\u202f]*([^\W\d_]+)")
_SAMPLE = re.compile(r"[+-]?(?:\d{1,9}(?:[.,]\d{1,12})?|[.,]\d{1,12})", re.ASCII)
_UNITS = {"µV": "uV", "μV": "uV", "uV": "uV", "mV": "mV", "V": "V"}
_BEHIND_TIME = ("Classification", "Symptoms", "SoftwareVersion", "Device")
_PERIOD = Context(prec=12)


@dataclass(slots=True)
class _Head:
    start: datetime | None = None
    rate: Exact | None = None
    unit: str = ""
    lead: str = ""
    behind: dict[str, str] = field(default_factory=dict)


def read_ecg(lines: Iterator[str], home: Home, place: str) -> Iterator[JsonObject]:
    """The device and the Observations of one recording.

    ``place``: how issues call the file. Raises DeviceError when it is no such recording, before anything is yielded.
    """
    head, first = _head(lines, place)
    period = _PERIOD.divide(Exact(1000), head.rate or Exact(1))
    # The offset is that of the phone when it exported, the words its language: neither makes another recording.
    moment = "" if head.start is None else str(int(head.start.timestamp()))
    facts = ("apple-ecg", moment, head.behind.get("Device", ""), *head.lead.upper().split()[-1:])
    device = _device(head, home)
    count, run, made = 0, [first], []
    for line in lines:
        if not line.strip():
            continue
        if len(run) == SEGMENT_SAMPLES:
            made.append(_segment(head, home, facts, count, run, period))
            count, run = count + len(run), []
        run.append(_sample(line, place))
    made.append(_segment(head, home, facts, count, run, period))
    if device is not None:
        yield device
    for one in made:
        if device is not None:
            one["device"] = {"reference": f"Device/{device['id']}"}
        yield one


def _head(lines: Iterator[str], place: str) -> tuple[_Head, str]:
    """The header, and the first sample. Raises DeviceError."""
    head, behind, before = _Head(), list(_BEHIND_TIME), ""
    for number, line in enumerate(lines):
        if number >= _HEAD_MAX:
            break
        text = line.strip()
        if head.unit and head.rate and head.start is not None and _SAMPLE.fullmatch(text):
            return head, _sample(text, place)
        _, comma, value = text.partition(",")
        value = value.strip().strip('"').strip()
        if not comma:
            continue
        if head.start is None:
            if _TIME.fullmatch(value):
                head.start = _moment(value, place)
        elif behind:
            head.behind[behind.pop(0)] = value
        elif head.rate is None and (rate := _RATE.fullmatch(value)):
            head.rate = Exact(rate[1].replace(",", "."))
        elif value in _UNITS and head.rate is not None:
            head.unit, head.lead = _UNITS[value], before
        before = value
    raise DeviceError("not an electrocardiogram as HealthKit writes it", place)


def _moment(text: str, place: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        raise DeviceError("the time of a recording is none", place) from None


def _sample(text: str, place: str) -> str:
    """A sample's digits as written, with a point. Raises DeviceError."""
    text = text.strip()
    if _SAMPLE.fullmatch(text) is None:
        raise DeviceError("a sample that is no number", place)
    text = text.replace(",", ".").removeprefix("+")
    return text.replace(".", "0.", 1) if text.startswith((".", "-.")) else text


def _device(head: _Head, home: Home) -> JsonObject | None:
    model = head.behind.get("Device", "")
    return home.device(("apple-ecg-device", model), {"modelNumber": model}) if model else None


def _segment(
    head: _Head, home: Home, facts: tuple[str, ...], before: int, run: list[str], period: Exact
) -> JsonObject:
    """``before``: samples of the recording in front of these."""
    if head.rate is None or not head.rate or head.start is None:
        raise DeviceError("a rate of nothing")
    times = {"start": _at(head.start, before, period)}
    if len(run) > 1:
        times["end"] = _at(head.start, before + len(run) - 1, period)
    part = (str(before),) if before else ()
    made = home.observation(
        (*facts, *part),
        _code(head, home),
        {"effectivePeriod": times},
        kind="procedure",
        marks=[DEVICE_ASSERTED],
    )
    made["valueSampledData"] = {
        "origin": {"value": 0, "unit": head.unit, "system": UCUM, "code": head.unit},
        "period": Decimal(format(period.normalize(), "f")),
        "dimensions": 1,
        "data": " ".join(run),
    }
    told = [_told(name, head.behind.get(name, "")) for name in _BEHIND_TIME[:3] if head.behind.get(name)]
    if told:
        made["component"] = told
    return made


def _code(head: _Head, home: Home) -> JsonObject:
    """The MDC code of the lead, where its name ends like one, and Apple's own name of the thing."""
    mdc = Mdc(home.library.concept_map)
    lead = head.lead.upper().split()[-1] if head.lead.split() else ""
    code = mdc.code(f"{_POTENTIAL}_{lead}") or mdc.code(_POTENTIAL)
    concept = mdc.concept(code) if code else {"coding": []}
    own = {"system": APPLE, "code": "HKElectrocardiogram"}
    return {"coding": [*concept["coding"], own], "text": f"Electrocardiogram {head.lead}".strip()}


def _told(name: str, text: str) -> JsonObject:
    """What the watch or the person says of a recording, in the words of the file."""
    return {
        "code": {"coding": [{"system": APPLE, "code": f"HKElectrocardiogram.{name}"}], "text": name},
        "valueString": text,
    }


def _at(start: datetime, count: int, period: Exact) -> str:
    micros = int((count * period * 1000).to_integral_value())
    return (start + timedelta(microseconds=micros)).isoformat()
