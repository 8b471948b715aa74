"""Clocks of devices in IHE PCD-01: coincident time stamps, and times put on the gateway's time line.

An OBX MDC_ATTR_TIME_ABS under a device says what the device's clock showed (OBX-5) when the gateway's showed OBX-14.
The difference corrects times without offset; both times are kept. PHD guide,
https://hl7.org/fhir/uv/phd/CoincidentTimeStamp.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from hdg.fhir.json import JsonObject
from hdg.ingestion.device.mdc import Mdc
from hdg.ingestion.device.observations import PHD, absent, clock_reference
from hdg.ingestion.device.pcd_device import GATEWAY
from hdg.ingestion.device.pcd_tree import MDS, Devices, Node
from hdg.ingestion.device.pcd_values import microseconds, moment, shifted
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Build, Facts, Unfit

__all__ = ["Clocks"]

_CLOCKS = frozenset({"clock", "clock-relative", "clock-relative-us"})
_RELATIVE = {
    "time-stamp-relative": 125,
    "time-stamp-relative-us": 1,
    "clock-relative": 125,
    "clock-relative-us": 1,
}
"""Microseconds of one count, where the OBX has no unit: 11073-20601's relative time is in 1/8 ms."""
_OWN_TIMES = frozenset({"clock", "time-stamp"})
_STATED = 67984


class Clocks:
    """The clocks of the devices of one message. ``builds``: the coincident time stamps."""

    def __init__(self, nodes: Sequence[Node], devices: Devices, mdc: Mdc, state: State) -> None:
        self.builds: list[Build] = []
        self._mdc, self._state, self._devices = mdc, state, devices
        self._shifts: dict[Node, tuple[timedelta, timezone]] = {}
        self._anchors: dict[Node, tuple[int, datetime]] = {}
        self._stamps: dict[Node, JsonObject] = {}
        self._of_clock: dict[Node, JsonObject] = {}
        self.is_used = False
        """Whether any clock says something of a measurement's time."""
        for node in nodes:
            if node.owner is not None and node.owner.kind == MDS and node.owner.code != GATEWAY:
                role = mdc.role(node.code, node.name)
                if role in _CLOCKS:
                    self._pair(node, node.owner, role)
        own = {
            node.segment.position
            for node in nodes
            if node.owner is not None and mdc.role(node.code, node.name) in _OWN_TIMES
        }
        if own:
            state.known["pcd own times"] = own
        if self._shifts:
            self._place(nodes)

    def _pair(self, node: Node, device: Node, role: str) -> None:
        there = moment(node.segment.field(14)) or moment(self._state.message.segments[0].field(7))
        zone = there.tzinfo if there is not None else None
        if there is None or not isinstance(zone, timezone):
            return
        if role == "clock":
            here = moment(node.segment.field(5))
            if here is not None:
                local = here if here.tzinfo is None else here.astimezone(zone)
                shift = there.replace(tzinfo=None) - local.replace(tzinfo=None)
                self._shifts.setdefault(device, (shift, zone))
                self.is_used = True
        else:
            ticks = microseconds(node.segment, _RELATIVE[role])
            if ticks is not None:
                self._anchors.setdefault(device, (ticks, there))
                self.is_used = True

    def _place(self, nodes: Sequence[Node]) -> None:
        """Tells the converter of OBX-14 which clock a time without offset is of."""
        found: dict[int, tuple[timedelta, timezone]] = {}
        for node in nodes:
            if node.kind != MDS and self._mdc.role(node.code, node.name) not in _CLOCKS:
                device = self._device(node)
                if device in self._shifts:
                    found[node.segment.position] = self._shifts[device]
        self._state.known["pcd clocks"] = found

    def _device(self, node: Node) -> Node | None:
        top = node
        while top.owner is not None and top.owner.kind != MDS:
            top = top.owner
        found = top.owner if top.owner is not None else self._devices.of(top)
        while found is not None and found.owner is not None:
            found = found.owner
        return found

    def stamp(
        self,
        node: Node,
        device: Node,
        facts: tuple[str, ...],
        reference: JsonObject,
        gateway: JsonObject | None,
        build: Build,
    ) -> bool:
        """Makes the coincident time stamp of a clock OBX, or adds to it what stands under one. False: it is neither."""
        under = self._of_clock.get(node.owner) if node.owner is not None else None
        if under is not None:
            value = {key: one for key, one in build.resource.items() if key.startswith("value")}
            kind = self._mdc.concept(node.code, node.name)
            under.setdefault("component", []).append(
                {"code": kind, **(value or {"dataAbsentReason": absent("unknown")})}
            )
            return True
        role = self._mdc.role(node.code, node.name)
        if role not in _CLOCKS or device.code == GATEWAY:
            return False
        out: JsonObject = {"resourceType": "Observation", "id": ""}
        out["meta"] = {"profile": [PHD + "PhdCoincidentTimeStampObservation"]}
        out["status"] = "final"
        out["code"] = self._mdc.concept(node.code, node.name)
        out["subject"] = reference
        when = build.resource.get("effectiveDateTime") or self._sent()
        if when:
            out["effectiveDateTime"] = when
        out.update(self._shown(node, role))
        if gateway is not None:
            out["device"] = gateway
        segment = node.segment
        stated = segment.field(14) or self._state.message.segments[0].field(7)
        made = Build("Observation", "Observation:clock", out, "OBX", build.group, origin=segment)
        made.facts = Facts(("clock", *facts, str(node.code), segment.field(5), stated))
        self.builds.append(made)
        self._of_clock[node] = out
        self.is_used = True
        self._stamps.setdefault(
            device, {"reference": f"Observation/{self._state.resource_id('Observation', made.facts)}"}
        )
        return True

    def _sent(self) -> str:
        there = moment(self._state.message.segments[0].field(7))
        return there.isoformat() if there is not None and there.tzinfo is not None else ""

    def _shown(self, node: Node, role: str) -> JsonObject:
        """What the device's clock showed; a time without offset is taken to be in the gateway's zone."""
        if role != "clock":
            ticks = microseconds(node.segment, _RELATIVE[role])
            if ticks is None:
                return {"dataAbsentReason": absent("unknown")}
            return {"valueQuantity": {"value": ticks, **self._mdc.unit(264339)}}
        text = node.segment.field(5)
        here = moment(text)
        there = moment(node.segment.field(14)) or moment(self._state.message.segments[0].field(7))
        zone = here.tzinfo if here is not None and here.tzinfo is not None else there and there.tzinfo
        if here is None or not isinstance(zone, timezone):
            return {"dataAbsentReason": absent("unknown")}
        return {"valueDateTime": shifted(text, timedelta(0), zone)}

    def own_time(self, node: Node) -> str:
        """A measurement's time by the device's own count or clock, as sent; '' when it has none."""
        for part in node.parts:
            role = self._mdc.role(part.code, part.name)
            if role in ("time-stamp", "time-stamp-relative", "time-stamp-relative-us"):
                return f"{part.code} {part.segment.field(5)}"
        return ""

    def refer(self, node: Node, out: JsonObject) -> None:
        """The time of a measurement on the gateway's time line, with the time stamp that says how it got there."""
        if not self.is_used:
            return
        device = self._device(node)
        if device is None:
            return
        if device in self._stamps:
            url = clock_reference(self._stamps[device]["reference"])
            out.setdefault("extension", []).append(url)
        text = node.segment.field(14)
        own = moment(text) if text else None
        if device in self._shifts and own is not None and own.tzinfo is None:
            self._state_it(out, text, self._shifts[device][1])
        if not text:
            self._from_parts(node, out, device)

    def _state_it(self, out: JsonObject, text: str, zone: timezone) -> None:
        """The time as the device stated it, beside the corrected one."""
        stated = shifted(text, timedelta(0), zone)
        if stated != out.get("effectiveDateTime"):
            component = {"code": self._mdc.concept(_STATED), "valueDateTime": stated}
            out.setdefault("component", []).append(component)

    def _from_parts(self, node: Node, out: JsonObject, device: Node) -> None:
        for part in node.parts:
            role = self._mdc.role(part.code, part.name)
            text = part.segment.field(5)
            try:
                if role == "time-stamp" and device in self._shifts:
                    _time(out, shifted(text, *self._shifts[device]))
                elif role in _RELATIVE and device in self._anchors:
                    ticks = microseconds(part.segment, _RELATIVE[role])
                    anchor, there = self._anchors[device]
                    if ticks is not None:
                        when = there + timedelta(microseconds=ticks - anchor)
                        _time(out, when.isoformat(timespec="milliseconds" if when.microsecond else "seconds"))
            except (Unfit, OverflowError):
                continue


def _time(out: JsonObject, when: str) -> None:
    out.pop("effectivePeriod", None)
    out["effectiveDateTime"] = when
