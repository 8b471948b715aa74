"""The clocks of an envelope: what the device's and the gateway's showed at one moment, and times as text.

The device's clock is corrected by the difference (PHD guide, https://hl7.org/fhir/uv/phd/TimeStamping.html).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from hdg.ingestion.device.home import Home
from hdg.ingestion.device.json_points import dig

__all__ = ["Clock", "clock_of", "moment_of", "text_of"]


@dataclass(frozen=True, slots=True)
class Clock:
    """The device's and the gateway's clock at one moment. ``zone``: where the device is."""

    device: datetime
    gateway: datetime
    zone: tzinfo | None

    def corrected(self, stamp: datetime) -> datetime:
        """The moment at which the device's clock showed ``stamp``."""
        moment = self.gateway - (_plain(self.device) - _plain(stamp))
        return moment.astimezone(self.zone or self.gateway.tzinfo)

    def shown(self, stamp: datetime) -> datetime:
        """``stamp`` with the offset that the gateway's clock has: the device's clock knows none."""
        return stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=self.gateway.tzinfo)


def clock_of(told: Any, home: Home, zone: tzinfo | None, place: str) -> Clock | None:
    """``clock`` of an envelope; None, with an issue, when one of the two readings is missing."""
    if told is None:
        return None
    device = moment_of(dig(told, "device"), home, f"{place}.clock.device", is_plain=True)
    gateway = moment_of(dig(told, "gateway"), home, f"{place}.clock.gateway")
    if device is None or gateway is None:
        home.note("warning", "incomplete", f"{place}.clock", "both clocks are needed: times stay as they are")
        return None
    if device.tzinfo is not None:
        device = _plain(device.astimezone(gateway.tzinfo))
    return Clock(device, gateway, zone)


def moment_of(text: Any, home: Home, place: str, *, is_plain: bool = False) -> datetime | None:
    """An ISO 8601 time; ``is_plain``: one without offset stays so, a device's clock has none."""
    if text is None or text == "":
        return None
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) and "T" in text else None
    except ValueError:
        moment = None
    if moment is None:
        home.note("error", "value", place, "not a time (ISO 8601): left out")
        return None
    moment = moment if is_plain else home.at(moment, None, place)
    if moment.tzinfo is None and not is_plain:
        home.note("error", "value", place, "a time without offset: left out")
        return None
    return moment


def _plain(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def text_of(moment: datetime) -> str:
    """A moment as an R4 dateTime."""
    text = moment.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
