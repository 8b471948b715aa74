"""Waveforms of IHE PCD-01: NA and MA as SampledData by the sampling facets beside them. R4 datatypes.html#SampledData.

Without a period, or with a sample that is no number, the samples stay as text with an issue. IHE Devices TF-2 Appendix
B.8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context
from decimal import Decimal as Number

from hdg.fhir.json import Decimal, JsonObject
from hdg.ingestion.device.mdc import Mdc
from hdg.ingestion.device.observations import Samples, sampled_data
from hdg.ingestion.device.pcd_tree import Node
from hdg.ingestion.device.pcd_values import numbers
from hdg.ingestion.hl7v2.segment import Segment
from hdg.ingestion.hl7v2.state import State
from hdg.mapping.context import Build, Unfit

__all__ = ["keep_unit", "waveform"]

_EXACT = Context(prec=18)


def waveform(out: JsonObject, node: Node, mdc: Mdc, built: Mapping[int, Build], state: State) -> None:
    """NA and MA as SampledData, by the sampling facets beside it; without a period the samples stay as text."""
    text = node.segment.field(5)
    said: dict[str, JsonObject] = {}
    for part in node.parts:
        build = built.get(part.segment.position)
        if build is not None:
            said.setdefault(mdc.role(part.code, part.name), build.resource)
    try:
        samples = numbers(text)
    except Unfit:
        _as_text(node, out, "samples that are no numbers were kept as text", state)
        return
    period = _period_ms(said)
    if not text or not samples:
        return
    if period is None:
        _as_text(node, out, "samples without a sample rate or period were kept as text", state)
        return
    data = " ".join("E" if one is None else str(getattr(one, "literal", one)) for one in samples)
    limits = said.get("data-range", {}).get("valueRange", {})
    factor = said.get("resolution", {}).get("valueQuantity", {}).get("value")
    unit = _unit(node, said, mdc)
    dimensions = len(text.partition("~")[0].split("^")) if node.segment.field(2) == "MA" else 1
    out["valueSampledData"] = sampled_data(
        Samples(
            origin=0,
            unit=unit,
            period_ms=period,
            data=data,
            factor=factor,
            lower=limits.get("low", {}).get("value"),
            upper=limits.get("high", {}).get("value"),
            dimensions=dimensions,
        )
    )
    out.pop("dataAbsentReason", None)
    out["note"] = [note for note in out.get("note", ()) if not note.get("text", "").startswith("Units: ")]
    if not out["note"]:
        del out["note"]


def _unit(node: Node, said: Mapping[str, JsonObject], mdc: Mdc) -> JsonObject:
    """The unit of the samples: OBX-6, else that of their resolution or range."""
    parts = [*node.segment.field(6).partition("~")[0].split("^"), "", ""]
    if parts[2] == "MDC" and parts[0].isdecimal():
        return mdc.unit(int(parts[0]), parts[1])
    if parts[0]:
        system = {"system": "http://unitsofmeasure.org", "code": parts[0]} if parts[2] == "UCUM" else {}
        return {"unit": parts[1] or parts[0], **system}
    held = said.get("resolution", {}).get("valueQuantity") or said.get("data-range", {}).get(
        "valueRange", {}
    ).get("low", {})
    return {key: held[key] for key in ("unit", "system", "code") if key in held}


def _as_text(node: Node, out: JsonObject, problem: str, state: State) -> None:
    state.segment = node.segment
    state.problem(problem, code="incomplete")
    state.settle(5, 1)
    out["valueString"] = re.sub(r"[\^~]+", " ", node.segment.field(5)).strip()
    keep_unit(out, node.segment)
    out.pop("dataAbsentReason", None)


def keep_unit(out: JsonObject, segment: Segment) -> None:
    """The unit of a number that had to stay text, in words."""
    unit = [*segment.field(6).partition("~")[0].split("^"), ""]
    if unit[0]:
        out.setdefault("note", []).append({"text": f"Units: {unit[1] or unit[0]}"})


def _period_ms(said: Mapping[str, JsonObject]) -> Decimal | int | None:
    rate, period = (said.get(role, {}).get("valueQuantity", {}) for role in ("sample-rate", "sample-period"))
    factors = {"s": Number(1000), "ms": Number(1), "us": Number("0.001")}
    found: Number | None = None
    if period.get("code") in factors and period.get("value") is not None:
        found = Number(period["value"]) * factors[period["code"]]
    elif rate.get("code") in ("Hz", "/s") or (rate and "code" not in rate):
        found = _EXACT.divide(Number(1000), Number(rate["value"])) if rate.get("value") else None
    if found is None or found <= 0:
        return None
    plain = found.normalize(_EXACT)
    return int(plain) if plain == plain.to_integral_value() else Decimal(format(plain, "f"))
