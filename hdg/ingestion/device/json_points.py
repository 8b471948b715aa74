"""JSON that holds one object, a list, or an object a line: the data points of Open mHealth and Health Connect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, BinaryIO

from hdg.errors import DeviceError
from hdg.fhir.json import Decimal, JsonError, loads
from hdg.fhir.times import is_date, is_date_time
from hdg.ingestion.device.home import Home, number

__all__ = ["MAX_BYTES", "amount", "dig", "objects", "plus", "time_of"]

MAX_BYTES = 256 * 1024 * 1024


def objects(open_: Callable[[], BinaryIO], *keys: str) -> Iterator[tuple[str, Any]]:
    """(place, value) of each data point; under one of ``keys`` where the file is one object around a list.

    Raises DeviceError.
    """
    with open_() as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DeviceError("larger than is taken", f"byte {MAX_BYTES}")
    try:
        whole = loads(data)
    except JsonError as error:
        if b"\n" not in data.strip():
            raise _unread(error) from None
        yield from _lines(data)
        return
    if isinstance(whole, dict):
        whole = next((whole[key] for key in keys if isinstance(whole.get(key), list)), [whole])
    if not isinstance(whole, list):
        raise DeviceError("neither an object nor a list of objects")
    yield from ((f"[{number}]", one) for number, one in enumerate(whole))


def _lines(data: bytes) -> Iterator[tuple[str, Any]]:
    for line, text in enumerate(data.splitlines(), 1):
        if text.strip():
            try:
                yield f"line {line}", loads(text)
            except JsonError as error:
                raise _unread(error, f"line {line}") from None


def _unread(error: JsonError, place: str = "") -> DeviceError:
    at = "" if error.position is None else f"byte {error.position}"
    return DeviceError("not JSON as it is used here", ", ".join(part for part in (place, at) if part))


def dig(value: Any, *path: str) -> Any:
    """What lies at a path of keys; None where there is nothing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def amount(value: Any) -> Decimal | int | None:
    """A JSON number as it was written, or a number in a string; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal | int):
        return value
    return number(value) if isinstance(value, str) else None


def time_of(text: Any, offset: Any, home: Home, place: str) -> str:
    """A dateTime; ``offset``: on whose clocks to say it. '' with an Issue for what is no time."""
    if not isinstance(text, str) or not text:
        return ""
    if is_date(text):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        home.note("error", "value", place, "not a time (ISO 8601): left out")
        return ""
    if isinstance(offset, str) and offset and moment.tzinfo is not None:
        try:
            there = datetime.fromisoformat(f"2000-01-01T00:00:00{offset}").tzinfo
            moment = moment.astimezone(there)
        except (ValueError, OverflowError):
            home.note("warning", "value", place, "not an offset from UTC: the time stays as it is written")
    moment = home.at(moment, None, place)
    if moment.tzinfo is None:
        home.note("warning", "value", place, "a time without offset or zone was cut to its date")
        return moment.date().isoformat()
    found = _written(text, moment)
    return found if is_date_time(found) else ""


def _written(text: str, moment: datetime) -> str:
    """As R4 writes it, with the fraction's digits as the source wrote them."""
    whole = moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")
    _, point, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{whole[:19]}.{digits}{whole[19:]}" if point and digits else whole


def plus(start: str, seconds: float) -> str:
    """A dateTime so many seconds after another one; '' when that is no time of the calendar."""
    try:
        return (datetime.fromisoformat(start) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        return ""
