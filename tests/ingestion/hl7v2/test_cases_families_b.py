"""Orders, specimen results, answers and medication, and everything they become, pair by pair.

HL7 v2.5.1 §4.4, §7.3, §4.13. The expected files are as in test_cases_oru: readable ids, deletions, issues,
decimals digit for digit; without the gateway's Provenance.
"""

from __future__ import annotations

import re

import pytest

from case_pairs import CASES, convert, expected, names_of, of_type, readable
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter

FAMILIES = ("ack", "oml", "omg", "org", "orl", "orm", "orr", "oul", "ras", "rde", "rds", "rgv")
NAMES = names_of(*FAMILIES)
_REFERENCE = re.compile(rb'"reference":"([A-Za-z]+/[a-z0-9]+)"')


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


def from_text(converter: Converter, *segments: str) -> Converted:
    return converter.convert("\r".join(segments).encode() + b"\r", at_us=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_message_of_these_families_becomes_exactly_what_its_case_says(
    converter: Converter, name: str
) -> None:
    assert readable(convert(converter, name)) == expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_out_is_valid_and_refers_to_what_is_there(converter: Converter, name: str) -> None:
    resources = convert(converter, name).resources
    assert [issue for item in resources for issue in validate(item)] == []
    there = {f"{item['resourceType']}/{item['id']}" for item in resources}
    named = {found.decode() for item in resources for found in _REFERENCE.findall(dumps(item))}
    assert named - there == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_obx_of_a_case_is_an_observation(converter: Converter, name: str) -> None:
    sent = (CASES / f"{name}.hl7").read_text(encoding="utf-8").count("\nOBX|")
    assert len(of_type(convert(converter, name), "Observation")) == sent


MSH = "MSH|^~\\&|OE|HOSP|LAB|LABFAC|20260304103000+0100||{}|1|P|2.5.1"
PID = "PID|1||4711^^^HOSP^MR||Probe^Petra"


def test_an_order_after_an_order_is_no_earlier_result_of_it(converter: Converter) -> None:
    """HL7 v2.9 §4.4.6: ORC may begin either; only PID or ORC-1 = PR begins an earlier result."""
    converted = from_text(
        converter,
        MSH.format("OML^O21^OML_O21"),
        PID,
        "ORC|NW|P1",
        "OBR|1|P1||A",
        "SPM|1|S1",
        "ORC|NW|P2",
        "OBR|2|P2||B",
        "ORC|PR||F1",
        "OBR|1||F1|C",
        "OBX|1|ST|C||x||||||F",
        "ORC|NW|P3",
        "OBR|3|P3||D",
    )
    codes = [order["code"]["coding"][0]["code"] for order in of_type(converted, "ServiceRequest")]
    assert codes == ["A", "B", "D"]
    (report,) = of_type(converted, "DiagnosticReport")
    assert report["code"]["coding"][0]["code"] == "C"
    assert len(report["result"]) == 1


def test_an_earlier_result_of_another_person_stays_that_persons(converter: Converter) -> None:
    converted = convert(converter, "oml/prior-result")
    names = {
        f"Patient/{person['id']}": person["name"][0]["given"][0] for person in of_type(converted, "Patient")
    }
    whose = {
        f"{kind} {item['code']['coding'][0]['code']}": names[item["subject"]["reference"]]
        for kind in ("ServiceRequest", "DiagnosticReport")
        for item in of_type(converted, kind)
    }
    assert whose == {
        "ServiceRequest 883-9": "Petra",
        "ServiceRequest 718-7": "Petra",
        "DiagnosticReport 883-9": "Maria",
        "DiagnosticReport 718-7": "Petra",
    }


def test_what_is_told_with_an_order_does_not_take_the_time_of_the_order(converter: Converter) -> None:
    converted = convert(converter, "oml/order")
    told = {item["code"]["coding"][0]["code"]: item for item in of_type(converted, "Observation")}
    assert "effectiveDateTime" not in told["3141-9"]
    assert told["49541-6"]["effectiveDateTime"] == "2026-03-04T08:00:00+01:00"


OBR = "OBR|{0}|P{0}|R{0}|{1}^Test^L|||20260304090000+0100|||||||||||||||||LAB|F"


@pytest.mark.parametrize("trigger", ["R22", "R23", "R24"])
@pytest.mark.parametrize(
    "order",
    [
        ("SPM", "OBR", "OBX"),
        ("OBR", "SPM", "OBX"),
        ("OBR", "OBX", "SPM"),
        ("ORC", "OBR", "OBX", "SPM"),
        ("SPM", "SAC", "OBR", "OBX"),
        ("SPM", "OBX", "OBR", "OBX", "SPM", "OBX"),
        ("OBX", "SPM", "OBX", "OBX", "OBR"),
        ("OBR", "OBX", "ORC", "OBR", "OBX"),
        ("OBX",),
    ],
)
def test_no_order_of_segments_loses_an_obx(
    converter: Converter, trigger: str, order: tuple[str, ...]
) -> None:
    """HL7 v2.5.1 §7.3.6 to §7.3.8."""
    lines = []
    for number, name in enumerate(order, 1):
        lines.append(
            {
                "SPM": f"SPM|{number}|S{number}",
                "SAC": f"SAC|||C{number}",
                "ORC": f"ORC|RE|P{number + 1}|R{number + 1}",
                "OBR": OBR.format(number, f"T{number}"),
                "OBX": f"OBX|{number}|ST|X{number}^Item^L||v{number}||||||F",
            }[name]
        )
    converted = from_text(converter, MSH.format(f"OUL^{trigger}^OUL_{trigger}"), PID, *lines)
    values = sorted(item["valueString"] for item in of_type(converted, "Observation"))
    assert values == sorted(f"v{number}" for number, name in enumerate(order, 1) if name == "OBX")
    orders = {item["identifier"][0]["value"] for item in of_type(converted, "ServiceRequest")}
    assert orders == {f"P{number}" for number, name in enumerate(order, 1) if name == "OBR"}


def test_an_order_without_specimen_does_not_take_that_of_another(converter: Converter) -> None:
    reports = of_type(convert(converter, "oul/orders"), "DiagnosticReport")
    assert [len(report.get("specimen", ())) for report in reports] == [2, 0]


@pytest.mark.parametrize(
    "kind, code, condition, response",
    [
        ("ACK", "AA", "", "ok"),
        ("ACK^A01", "CA", "", "ok"),
        ("ACK^A01^ACK", "AE", "101", "fatal-error"),
        ("ACK^O21^ACK", "AR", "200", "fatal-error"),
        ("ACK^R01^ACK", "CE", "206", "transient-error"),
        ("ACK^R01^ACK", "AR", "207", "transient-error"),
        ("ORL^O22^ORL_O22", "AE", "102", "fatal-error"),
    ],
)
def test_an_acknowledgement_says_whether_sending_again_helps(
    converter: Converter, kind: str, code: str, condition: str, response: str
) -> None:
    """HL7 v2.9 §2.9.2; R4 messageheader response-code."""
    error = [f"ERR|||{condition}^x^HL70357|E"] if condition else []
    converted = from_text(converter, MSH.format(kind), f"MSA|{code}|77", *error)
    (header,) = of_type(converted, "MessageHeader")
    assert header["response"]["code"] == response
    assert header["response"]["identifier"] == "77"
    assert ("details" in header["response"]) == bool(condition)
    assert [str(issue) for issue in converted.issues] == []


def test_a_dose_is_given_only_when_the_message_says_so(converter: Converter) -> None:
    """HL7 v2.5.1 §4.14.7.18, §4.14.7.20 (RXA-18, RXA-20)."""
    doses = of_type(convert(converter, "ras/states"), "MedicationAdministration")
    states = [dose["status"] for dose in doses]
    assert states == ["completed", "not-done", "stopped", "unknown", "entered-in-error", "completed"]


def test_order_dispense_and_dose_mean_the_same_request(converter: Converter) -> None:
    """The request of ORC-2 = RX1 has one id, whichever message tells of it."""
    ordered = of_type(convert(converter, "rde/encoded"), "MedicationRequest")[0]["id"]
    dispensed = of_type(convert(converter, "rds/dispense"), "MedicationDispense")[0]
    assert dispensed["authorizingPrescription"] == [{"reference": f"MedicationRequest/{ordered}"}]
    original = of_type(convert(converter, "ras/administered"), "MedicationRequest")[0]["id"]
    told = from_text(converter, MSH.format("ORM^O01"), PID, "ORC|NW|RX1^OE|PH1^PHARM", "RXO|OXY^Oxy^L|1||TAB")
    assert of_type(told, "MedicationRequest")[0]["id"] == original != ordered


def test_a_compound_keeps_every_component_with_its_own_order(converter: Converter) -> None:
    converted = convert(converter, "rde/compound")
    medications = {f"Medication/{item['id']}": item for item in of_type(converted, "Medication")}
    parts = {
        request["intent"]: [
            part["itemCodeableConcept"]["coding"][0]["code"]
            for part in medications[request["medicationReference"]["reference"]]["ingredient"]
        ]
        for request in of_type(converted, "MedicationRequest")
    }
    assert parts == {"original-order": ["D5W"], "order": ["D5W", "HEP"]}


def test_the_confidentiality_of_an_order_protects_what_is_told_under_it(converter: Converter) -> None:
    order = "ORC|RE|RX7^OE" + "|" * 26 + "R^Restricted^HL70177"
    converted = from_text(
        converter, MSH.format("RAS^O17^RAS_O17"), PID, order, "RXA|0|1|20260304||DRUG^Drug^L|1|mg"
    )
    (dose,) = of_type(converted, "MedicationAdministration")
    assert dose["meta"]["security"][0]["code"] == "R"
    assert dose["request"]["identifier"]["value"] == "RX7"


RDE = "MSH|^~\\&|A|B|||20240101120000Z||RDE^O11|1|P|2.5\rPID|1||1^^^B^MR||X^Y\rORC|NW|P1\rRXE||D1^Drug|{dose}||mg\r"


def dosages(converter: Converter, text: str) -> list[dict[str, object]]:
    [order] = of_type(converter.convert(text.encode(), at_us=0), "MedicationRequest")
    found: list[dict[str, object]] = order["dosageInstruction"]
    return found


def test_each_step_of_a_taper_has_its_own_dose(converter: Converter) -> None:
    """HL7 v2.9 §4.5.4 (TQ1): each further TQ1 is a step of its own."""
    steps = "".join(f"TQ1|{number}|{dose}^mg|QD\r" for number, dose in enumerate((40, 20, 10), 1))
    found = dosages(converter, RDE.format(dose=40) + steps)
    assert re.findall(r'"value":(\d+)', dumps(found).decode()) == ["40", "20", "10"]
    assert [one["sequence"] for one in found] == [1, 2, 3]


def test_a_further_route_of_an_order_is_kept_beside_the_first(converter: Converter) -> None:
    [found] = dosages(converter, RDE.format(dose=5) + "RXR|PO\rRXR|NG\r")
    codes = re.findall(r'"code":"(PO|NG)"', dumps(found).decode())
    assert sorted(codes) == ["NG", "PO"]
    assert re.search(r'"route":{"coding":\[{"code":"PO"', dumps(found).decode())


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("VXU^V04^VXU_V04", "Immunization"),
        ("RSP^K11^RSP_K11", "Immunization"),
        ("RAS^O17^RAS_O17", "MedicationAdministration"),
    ],
)
@pytest.mark.parametrize("dose", ["0.5", "999"])
def test_a_second_route_and_site_of_a_dose_are_kept_beside_the_first_and_begin_no_other_dose(
    converter: Converter, kind: str, resource: str, dose: str
) -> None:
    """RXR stands once in these structures; the next order begins with its own ORC or RXA."""
    shot = f"ORC|RE|7^P|1^X\rRXA|0|1|20240101||08^Hep B^CVX|{dose}\rRXR|IM^^HL70162|LD^^HL70163\r"
    head = f"MSH|^~\\&|A|B|||20240101120000Z||{kind}|1|P|2.5.1\rPID|1||1^^^A||Doe^Jo\r"
    text = f"{head}{shot}RXR|SC^^HL70162|RD^^HL70163\r"
    other = "ORC|RE|8^P|2^X\rRXA|0|1|20240101||09^Td^CVX|0.5\rRXR|PO^^HL70162\r"
    converted = converter.convert((text + other).encode(), at_us=0)
    first, second = (dumps(one).decode() for one in of_type(converted, resource))
    assert sorted(re.findall(r'"code":"(IM|SC|LD|RD|PO)"', first)) == ["IM", "LD", "RD", "SC"]
    assert re.findall(
        r'further-(route|site)","valueCodeableConcept":{"coding":\[{"code":"(SC|RD)"', first
    ) == [
        ("route", "SC"),
        ("site", "RD"),
    ]
    assert re.findall(r'"code":"(IM|SC|LD|RD|PO)"', second) == ["PO"]
    assert {issue.place for issue in converted.issues} == {"RXR[2]-1", "RXR[2]-2"}


@pytest.mark.parametrize(("dose", "words"), [("1-2 tabs", [{"text": "1-2 tabs"}]), ("5", None)])
def test_a_dose_in_words_is_kept_as_an_instruction(converter: Converter, dose: str, words: object) -> None:
    [found] = dosages(converter, RDE.format(dose=dose))
    assert found.get("additionalInstruction") == words
