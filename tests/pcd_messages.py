"""IHE PCD-01 messages about made-up people, for tests: a gateway, a device, measurements; and what comes of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import dumps, loads
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter

PROFILE = "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"
EUI = "00A037009A0053DE"
MONITOR = f"OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||{EUI}^^{EUI}^EUI-64"
GATEWAY = "OBX|1||531981^MDC_MOC_VMS_MDS_AHD^MDC|0|||||||X|||||||ECDE3D4E58532D31^^ECDE3D4E58532D31^EUI-64"
CUFF = "OBX|2||528391^MDC_DEV_SPEC_PROFILE_BP^MDC|1|||||||X|||||||711000FEFF5F49B0^^711000FEFF5F49B0^EUI-64"
MMHG, PERCENT, BPM = (
    "266016^MDC_DIM_MMHG^MDC",
    "262688^MDC_DIM_PERCENT^MDC",
    "264864^MDC_DIM_BEAT_PER_MIN^MDC",
)
SPO2, PULSE = "150456^MDC_PULS_OXIM_SAT_O2^MDC", "149530^MDC_PULS_OXIM_PULS_RATE^MDC"


def pcd(
    *obx: str,
    profile: str = PROFILE,
    control: str = "P1",
    sent: str = "20260101120010+0000",
    observed: str = "20260101120000+0000",
    patient: str = "10042",
) -> bytes:
    """One message with one order and these OBX."""
    segments = [
        f"MSH|^~\\&|AHD^{EUI}^EUI-64|HOME|||{sent}||ORU^R01^ORU_R01|{control}|P|2.6|||NE|AL|||||{profile}",
        *([f"PID|||{patient}^^^&2.999.1.1&ISO^MR||Example^Ada^^^^^L"] if patient else []),
        f"OBR|1|A1^AHD^{EUI}^EUI-64|C1^AHD^{EUI}^EUI-64|182777000^monitoring of patient^SCT|||{observed}",
        *obx,
    ]
    return "\r".join(segments).encode() + b"\r"


@cache
def converter() -> Converter:
    """One for all tests: it reads its tables once."""
    return Converter(id_key=PUBLIC_KEY)


def convert(*obx: str, **options: Any) -> Converted:
    """The conversion of such a message."""
    return converter().convert(pcd(*obx, **options), at_us=0)


def number(code: str, path: str, value: str, unit: str = "", *, more: str = "|||||R") -> str:
    """An OBX of a number."""
    return f"OBX||NM|{code}|{path}|{value}|{unit}{more}"


def observations(converted: Converted) -> list[dict[str, Any]]:
    """Its Observations as plain JSON, decimals as their digits."""
    return [plain(one) for one in converted.resources if one["resourceType"] == "Observation"]


def devices(converted: Converted) -> list[dict[str, Any]]:
    """Its Devices as plain JSON."""
    return [plain(one) for one in converted.resources if one["resourceType"] == "Device"]


def measured_by(converted: Converted, code: str) -> str:
    """The reference of the device that measured a code: the nearest, through the DeviceMetric where there is one."""
    found: str = by_code(observations(converted), code)["device"]["reference"]
    type_, _, id_ = found.partition("/")
    if type_ == "DeviceMetric":
        metric = next(one for one in converted.resources if (one["resourceType"], one["id"]) == (type_, id_))
        found = metric.get("parent", metric["source"])["reference"]
    return found


def plain(resource: dict[str, Any]) -> Any:
    """As read back from JSON."""
    return loads(dumps(resource))


def by_code(found: list[dict[str, Any]], code: str) -> dict[str, Any]:
    """The one with that code."""
    (one,) = [item for item in found if any(coding["code"] == code for coding in item["code"]["coding"])]
    return one


def codings(concept: dict[str, Any]) -> list[tuple[str, str]]:
    """(system, code) of a CodeableConcept."""
    return [(coding["system"], coding["code"]) for coding in concept["coding"]]
