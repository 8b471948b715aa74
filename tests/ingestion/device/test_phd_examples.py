"""The examples of HL7's Personal Health Device guide: a message or measurement made from each gives it again.

Inputs are made here from the examples (the guide has the target form only): PCD-01 where PCD-01 can say it, else a
Measurement as readers of BLE and 11073-20601 make them. What still differs is listed in DIFFERENCES with who is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hdg.fhir.json import dumps, loads
from hdg.fhir.validate import validate
from hdg.ingestion.device.floats import Special
from hdg.ingestion.device.mdc import MDC, Mdc
from hdg.ingestion.device.observations import (
    Absent,
    Bits,
    Coded,
    Compound,
    Measurement,
    Member,
    Quantity,
    Samples,
    Text,
    Value,
    observation,
)
from tests.pcd_messages import convert, devices, observations

pytestmark = pytest.mark.corpus

MINE = Mdc()
CLOCKS = ("coin-20181119174911", "coin-20181119202022", "coin-example-1")
PRIVATE = "ACMEIncPrivateMDCCodes"
OBSERVATIONS = (
    "compound-numeric-blood-pressure",
    "compound-numeric-blood-pressure-no-mean",
    "numeric-spotnumeric",
    "numeric-spo2-alarm",
    "temperature-observation",
    "glucose-observation",
    "meal-context-observation",
    "numeric-observation-not-a-number",
    "bits-observation",
    "bpm-status",
    "stringenum-1234",
    "string-observation-1",
    "compound-observation-glucose",
    "rtsa-example",
    "rtsa-example-2",
)
BY_MESSAGE = tuple(name for name in OBSERVATIONS if not name.startswith("rtsa"))
DEVICES = (
    "phd-00601900010E9234.F45EABA80832",
    "phd-711000FEFF5F49B0.B0495F001071",
    "phd-74E8FFFEFF051C00.001C05FFE874",
    "phg-ecde3d4e58532d31.000000000000",
    "phg-example",
)
UNITS = {
    "mm[Hg]": "266016^MDC_DIM_MMHG^MDC",
    "%": "262688^MDC_DIM_PERCENT^MDC",
    "/min": "264864^MDC_DIM_BEAT_PER_MIN^MDC",
    "mg/dL": "264274^MDC_DIM_MILLI_G_PER_DL^MDC",
    "mmol/L": "266866^MDC_DIM_MILLI_MOLE_PER_L^MDC",
    "Cel": "268192^MDC_DIM_DEGC^MDC",
    "mV": "266418^MDC_DIM_MILLI_VOLT^MDC",
    "us": "264339^MDC_DIM_MICRO_SEC^MDC",
}
DIFFERENCES = {
    "text": "narrative and words for people: the guide's vary between examples; the codes say it",
    "meta": "compared apart",
    "id": "ours are made from facts",
    "language": "of the narrative",
    "identifier": "the guide's conditional-create identifier holds the patient's number; our ids do its work",
    "performer": "the guide says to give it only when the patient is known to have measured; PCD-01 does not say it",
    "interpretation.coding.display": "words",
    "coding.display": "the examples leave out what others of them give: a LOINC display, a bit's name",
    "unit": "words for a code: the examples say C, Cel and {beat}/min}",
}


def read(cases: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = loads((cases / "device" / "phd" / f"{name}.json").read_bytes())
    return found


def bare(value: Any) -> Any:
    """Without what DIFFERENCES names, references by type, displays and units left out, lists of components in order."""
    if isinstance(value, list):
        return [bare(one) for one in value]
    if not isinstance(value, dict):
        return value
    gone = {"text", "id", "meta", "language", "performer", "display", "unit"}
    found = {key: bare(one) for key, one in value.items() if key not in gone}
    if value.get("resourceType") == "Observation":
        found.pop("identifier", None)
    if "reference" in found:
        found["reference"] = found["reference"].partition("/")[0]
    return found


def compared(resource: dict[str, Any]) -> str:
    """Comparable text, digit for digit; order of object keys and of extensions and categories does not matter."""
    out = bare(resource)
    for element in ("extension", "category"):
        if element in out:
            out[element] = sorted(out[element], key=lambda one: dumps(one))
    return json.dumps(json.loads(dumps(out), parse_float=str), sort_keys=True, indent=1)


def profiles(resource: dict[str, Any]) -> list[str]:
    found: list[str] = resource.get("meta", {}).get("profile", [])
    return found


# A measurement of each example


def code_of(concept: dict[str, Any]) -> int:
    return int(concept["coding"][0]["code"].partition(".")[0])


def value_of(item: dict[str, Any]) -> Value:
    if "dataAbsentReason" in item:
        reason = item["dataAbsentReason"]["coding"][0]["code"]
        return Quantity(Special.NAN, {}) if reason == "not-a-number" else Absent(reason)
    if "valueQuantity" in item:
        quantity = dict(item["valueQuantity"])
        return Quantity(quantity.pop("value"), quantity)
    if "valueCodeableConcept" in item:
        return Coded(MINE.concept(code_of(item["valueCodeableConcept"])))
    if "valueSampledData" in item:
        data = item["valueSampledData"]
        origin = dict(data["origin"])
        return Samples(
            origin=origin.pop("value"),
            unit=origin,
            period_ms=data["period"],
            data=data["data"],
            factor=data.get("factor"),
            lower=data.get("lowerLimit"),
            upper=data.get("upperLimit"),
        )
    return Text(item["valueString"])


def supplemental(item: dict[str, Any]) -> Iterator[int]:
    for component in item.get("component", ()):
        if code_of(component["code"]) == 68193:
            yield code_of(component["valueCodeableConcept"])


def measured(example: dict[str, Any]) -> Measurement:
    extensions = {one["url"].rpartition("/")[2]: one for one in example.get("extension", ())}
    members = [one for one in example.get("component", ()) if code_of(one["code"]) != 68193]
    if members and "valueBoolean" in members[0]:
        numbers = [int(one["code"]["coding"][0]["code"].partition(".")[2]) for one in members]
        value: Value = Bits(sum(1 << (15 - number) for number in numbers), 16)
    elif members:
        value = Compound(tuple(Member(bare_code(one["code"]), value_of(one)) for one in members))
    else:
        value = value_of(example)
    limits = extensions.get("Confidence95", {}).get("valueRange")
    flags = [one["coding"][0]["code"] for one in example.get("interpretation", ())]
    return Measurement(
        code=code_of(example["code"]),
        value=value,
        time=example["effectiveDateTime"],
        device=example["device"]["reference"],
        gateway="Device/gateway",
        subject=example["subject"]["reference"],
        clock="Observation/clock" if "CoincidentTimeStampReference" in extensions else "",
        supplemental=tuple(supplemental(example)),
        conditions=tuple(flags),
        derived_from=tuple(one["reference"] for one in example.get("derivedFrom", ())),
        confidence=(limits["low"]["value"], limits["high"]["value"]) if limits else None,
        accuracy=extensions["Accuracy"]["valueQuantity"]["value"] if "Accuracy" in extensions else None,
    )


def bare_code(concept: dict[str, Any]) -> dict[str, Any]:
    return concept if PRIVATE in concept["coding"][0]["system"] else MINE.concept(code_of(concept))


def known(example: dict[str, Any]) -> dict[str, Any]:
    """The example without what neither input says, and with private codes by the number alone."""
    example = loads(dumps(example))
    for extension in list(example.get("extension", ())):
        if extension["url"].endswith("SimpleAlerting"):
            example["extension"].remove(extension)
    for concept in (example["code"], *(one["code"] for one in example.get("component", ()))):
        for coding in concept["coding"]:
            if PRIVATE in coding["system"]:
                coding["system"] = MDC
    return dict(example)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_the_measurement_of_each_example_gives_the_example(cases: Path, name: str) -> None:
    example = read(cases, name)
    made = observation(measured(example), MINE, "x")
    assert validate({**made, "id": "x"}) == []
    assert compared(made) == compared(known(example))
    assert profiles(made) == profiles(example)


# A message of each example


def stamp(text: str) -> str:
    day, _, clock = text.partition("T")
    return f"{day.replace('-', '')}{clock[:8].replace(':', '')}{clock[8:].replace(':', '')}"


def obx(code: dict[str, Any], path: str, item: dict[str, Any], *, when: str = "", kind: str = "NM") -> str:
    coding = code["coding"][0]
    value, unit = "", ""
    if "dataAbsentReason" in item:
        value = "NaN"
    elif "valueQuantity" in item:
        quantity = item["valueQuantity"]
        value, unit = str(getattr(quantity["value"], "literal", quantity["value"])), UNITS[quantity["code"]]
    elif "valueCodeableConcept" in item:
        kind, one = "CWE", item["valueCodeableConcept"]["coding"][0]
        value = f"{one['code']}^{one['display']}^MDC"
    elif "valueString" in item:
        kind, value = "ST", item["valueString"]
    else:
        kind = ""
    status = "R" if value else "X"
    name = coding.get("display", "MDCX")
    return f"OBX||{kind}|{coding['code']}^{name}^MDC|{path}|{value}|{unit}|||||{status}|||{when}"


def message(example: dict[str, Any]) -> list[str]:
    """OBX of a gateway, a device with a clock where the example has one, and the example's measurement."""
    lines = [
        "OBX|||531981^MDC_MOC_VMS_MDS_AHD^MDC|0|||||||X|||||||ECDE3D4E58532D31^^ECDE3D4E58532D31^EUI-64",
        "OBX|||528388^MDC_DEV_SPEC_PROFILE_PULS_OXIM^MDC|1|||||||X|||||||74E8FFFEFF051C00^^74E8FFFEFF051C00^EUI-64",
    ]
    extensions = {one["url"].rpartition("/")[2]: one for one in example.get("extension", ())}
    if "CoincidentTimeStampReference" in extensions:
        lines.append(
            "OBX||DTM|67975^MDC_ATTR_TIME_ABS^MDC|1.0.0.1|20181111113810||||||R|||20181111113812-0500"
        )
    when = stamp(example["effectiveDateTime"])
    members = [one for one in example.get("component", ()) if code_of(one["code"]) != 68193]
    if members and "valueBoolean" in members[0]:
        numbers = [one["code"]["coding"][0]["code"].partition(".")[2] for one in members]
        coding = example["code"]["coding"][0]
        value = "~".join(f"1^x({number})" for number in numbers)
        lines.append(f"OBX||CWE|{coding['code']}^{coding['display']}^MDC|1.0.0.9|{value}||||||R|||{when}")
    elif members:
        lines.append(obx(example["code"], "1.0.1", {}, when=when))
        lines += [obx(one["code"], f"1.0.1.{index}", one) for index, one in enumerate(members, 1)]
    else:
        lines.append(obx(example["code"], "1.0.0.9", example, when=when))
        if any("in-alarm" in dumps(one).decode() for one in example.get("interpretation", ())):
            lines[-1] = lines[-1].replace("|||||R|", "||ALACT|||R|")
    for index, code in enumerate(supplemental(example), 1):
        lines.append(f"OBX||CWE|68193^MDC_ATTR_SUPPLEMENTAL_TYPES^MDC|1.0.0.9.{index}|{code}^^MDC")
    if "Accuracy" in extensions:
        value = extensions["Accuracy"]["valueQuantity"]["value"].literal
        lines.append(f"OBX||NM|67914^MDC_ATTR_NU_ACCUR_MSMT^MDC|1.0.0.9.8|{value}")
    if "Confidence95" in extensions:
        limits = extensions["Confidence95"]["valueRange"]
        low, high = (
            str(getattr(limits[side]["value"], "literal", limits[side]["value"])) for side in ("low", "high")
        )
        lines.append(f"OBX||NR|68236^MDC_ATTR_MSMT_CONFIDENCE_95^MDC|1.0.0.9.7|{low}^{high}")
    if "derivedFrom" in example:
        lines.append("OBX||ST|68167^MDC_ATTR_SOURCE_HANDLE_REF^MDC|1.0.0.9.6|1.0.0.5")
        lines.append(
            "OBX||NM|149546^MDC_PULS_RATE_NON_INV^MDC|1.0.0.5|60|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R"
        )
    return lines


@pytest.mark.parametrize("name", BY_MESSAGE)
def test_a_message_that_says_each_example_gives_the_example(cases: Path, name: str) -> None:
    example = read(cases, name)
    found = observations(convert(*message(example)))
    wanted = str(code_of(example["code"]))
    (made,) = [one for one in found if one["code"]["coding"][0]["code"] == wanted]
    if "interpretation" in made:
        for item in made["interpretation"]:
            item.pop("text", None)
    assert compared(made) == compared(known(example))
    assert profiles(made) == profiles(example)


@pytest.mark.parametrize("name", [*CLOCKS, "coin-example-timefault"])
def test_a_clock_in_a_message_gives_the_coincident_time_stamp_of_the_example(cases: Path, name: str) -> None:
    example = read(cases, name)
    shown = stamp(example["valueDateTime"])[:14] if "valueDateTime" in example else ""
    lines = [
        "OBX|||531981^MDC_MOC_VMS_MDS_AHD^MDC|0|||||||X|||||||ECDE3D4E58532D31^^ECDE3D4E58532D31^EUI-64",
        "OBX|||528391^MDC_DEV_SPEC_PROFILE_BP^MDC|1|||||||X|||||||711000FEFF5F49B0^^711000FEFF5F49B0^EUI-64",
        f"OBX||DTM|67975^MDC_ATTR_TIME_ABS^MDC|1.0.0.1|{shown}||||||R|||{stamp(example['effectiveDateTime'])}",
    ]
    lines.extend(obx(one["code"], "1.0.0.1.1", one) for one in example.get("component", ()))
    (made,) = observations(convert(*lines))
    assert compared(made) == compared(example)
    assert profiles(made) == profiles(example)


# Devices


def attributes(example: dict[str, Any], path: str) -> Iterator[str]:
    names = {
        "manufacturer": "531970^MDC_ID_MODEL_MANUFACTURER",
        "modelNumber": "531969^MDC_ID_MODEL_NUMBER",
        "serialNumber": "531972^MDC_ID_PROD_SPEC_SERIAL",
    }
    for index, (element, code) in enumerate(names.items(), 1):
        if element in example:
            yield f"OBX||ST|{code}^MDC|{path}.0.0.{index}|{example[element]}"
    for index, version in enumerate(example.get("version", ()), 10):
        coding = version["type"]["coding"][0]
        yield f"OBX||ST|{coding['code']}^{coding['display']}^MDC|{path}.0.0.{index}|{version['value']}"
    bits: dict[str, list[str]] = {}
    for index, item in enumerate(example.get("property", ()), 30):
        coding = item["type"]["coding"][0]
        if "valueQuantity" in item:
            yield f"OBX||NM|{coding['code']}^^MDC|{path}.0.0.{index}|{item['valueQuantity'][0]['value']}|264339^^MDC"
            continue
        if "coding" not in item["valueCode"][0]:
            continue  # a USB product number: no attribute of 11073
        value = item["valueCode"][0]["coding"][0]
        if "." in coding["code"]:
            whole, _, number = coding["code"].partition(".")
            bits.setdefault(whole, []).append(f"{int(value['code'] == 'Y')}^x({number})")
        elif "PHDInterface" in value["system"] or "HFS" in value["system"]:
            yield f"OBX||NM|{coding['code']}^^MDC|{path}.0.0.{index}|{value['code']}"
        else:
            yield f"OBX||CWE|{coding['code']}^^MDC|{path}.0.0.{index}|{value['code']}^^MDC"
    for index, (code, values) in enumerate(bits.items(), 90):
        yield f"OBX||CWE|{code}^^MDC|{path}.0.0.{index}|{'~'.join(values)}"


@pytest.mark.parametrize("name", DEVICES)
def test_the_attributes_of_each_device_give_the_device(cases: Path, name: str) -> None:
    example = read(cases, name)
    is_gateway = name.startswith("phg")
    eui = example["identifier"][0]["value"].replace("-", "")
    code = "531981^MDC_MOC_VMS_MDS_AHD" if is_gateway else ""
    kinds = [one["systemType"]["coding"][0] for one in example.get("specialization", ())]
    code = code or f"{kinds[0]['code']}^{kinds[0]['display']}"
    lines = [f"OBX|||{code}^MDC|1|||||||X|||||||{eui}^^{eui}^EUI-64", *attributes(example, "1")]
    (made,) = devices(convert(*lines))
    assert profiles(made) == profiles(example)
    for element in ("type", "manufacturer", "modelNumber", "serialNumber", "version"):
        assert bare(made.get(element)) == bare(example.get(element)), element
    assert made["identifier"][0]["value"] == example["identifier"][0]["value"].upper()
    assert bare(made["identifier"][0]["type"]) == bare(example["identifier"][0]["type"])
    wanted = [
        bare(one)
        for one in example.get("property", ())
        if "coding" in (one.get("valueCode") or [{"coding": 1}])[0]
    ]
    mine = [bare(one) for one in made.get("property", ())]
    assert sorted(map(dumps, mine)) == sorted(map(dumps, wanted))
    if not is_gateway:
        assert [bare(one["systemType"]) for one in made["specialization"]] == [bare(kinds_of(example))]


def kinds_of(example: dict[str, Any]) -> Any:
    return example["specialization"][0]["systemType"]


@pytest.mark.parametrize("name", ["patientExample-1"])
def test_the_patient_of_a_message_is_the_patient_of_the_example(cases: Path, name: str) -> None:
    example = read(cases, name)
    converted = convert(patient="sisansarahId^^^&2.999.1.2.3.4.5.6.7.8.10&ISO^MR~x")
    patient = next(one for one in converted.resources if one["resourceType"] == "Patient")
    wanted = example["identifier"][0]
    assert patient["identifier"][0]["value"] == wanted["value"]
    assert patient["identifier"][0]["system"] == wanted["system"]
    assert patient["identifier"][0]["type"]["coding"][0]["code"] == wanted["type"]["coding"][0]["code"]


def test_every_observation_of_the_bundles_is_given_again_by_its_measurement(cases: Path) -> None:
    seen = 0
    for name in ("bundle-example-1", "bundle-continuousnonin"):
        for entry in read(cases, name)["entry"]:
            example = entry["resource"]
            if example["resourceType"] != "Observation" or "CoincidentTimeStampObservation" in str(
                profiles(example)
            ):
                continue
            example = no_urn(example)
            made = observation(measured(example), MINE, "x")
            assert compared(made) == compared(known(example))
            assert profiles(made) == profiles(example)
            seen += 1
    assert seen == 49


def no_urn(example: dict[str, Any]) -> dict[str, Any]:
    """References of a transaction as those of resources."""
    text = dumps(example).decode()
    for start, kind in (
        ("752b", "Observation"),
        ("9b67", "Observation"),
        ("c87c", "Device"),
        ("d44b", "Device"),
        ("323f", "Observation"),
        ("5b78", "Patient"),
    ):
        while f"urn:uuid:{start}" in text:
            at = text.index(f"urn:uuid:{start}")
            text = text[:at] + f"{kind}/x" + text[at + 45 :]
    found: dict[str, Any] = loads(text)
    return found
