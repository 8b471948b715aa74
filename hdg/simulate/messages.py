"""Builders of HL7 v2.5.1 messages about a made-up person, in the shape that hospital systems send them.

One function a message family: ADT (v2.9 §3.3), ORU (§7.3), OML and ORM (§4.4), VXU (§4A.7); MDM is in
documents.py. All are pure: what is said is in the arguments.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hdg.simulate.people import AUTHORITY, FACILITY, GIVEN, Person, stamp

# code, name, unit, low, high, decimals
LABS = (
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 12.0, 17.5, 1),
    ("4544-3", "Hematocrit [Volume Fraction] of Blood", "%", 36.0, 50.0, 1),
    ("6690-2", "Leukocytes [#/volume] in Blood", "10*3/uL", 4.0, 11.0, 2),
    ("777-3", "Platelets [#/volume] in Blood", "10*3/uL", 150.0, 400.0, 0),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 70.0, 99.0, 0),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 0.6, 1.3, 2),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 135.0, 145.0, 0),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 3.5, 5.1, 1),
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", 8.5, 10.5, 1),
    (
        "1742-6",
        "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma",
        "U/L",
        7.0,
        55.0,
        0,
    ),
)
PANEL = "58410-2^CBC panel - Blood by Automated count^LN"
IMAGING = "18748-4^Diagnostic imaging study^LN"
VACCINES = (
    ("08", "Hep B, adolescent or pediatric"),
    ("20", "DTaP"),
    ("03", "MMR"),
    ("21", "varicella"),
    ("133", "PCV13"),
)
STRUCTURES = {
    "A01": "ADT_A01", "A02": "ADT_A02", "A03": "ADT_A03", "A04": "ADT_A01", "A08": "ADT_A01",
    "A11": "ADT_A09", "A13": "ADT_A01", "A28": "ADT_A05", "A31": "ADT_A05",
}  # fmt: skip
"""HL7 table 0354: the structure of each ADT event used here."""
_BRIEF = frozenset({"ADT_A02", "ADT_A09"})
"""Structures that have neither kin nor allergies nor insurance."""
_FINDINGS = (
    "The heart is not enlarged. The mediastinal contours are unremarkable.",
    "No focal consolidation, effusion or pneumothorax is seen.",
    "Degenerative changes of the spine, as before.",
    "The line ends above the carina; its position has not changed.",
    "Compared with the earlier study there is no change of note.",
)


@dataclass(frozen=True, slots=True)
class Header:
    """Who says it, when, and under what number."""

    at: datetime
    control_id: str
    app: str

    @property
    def stamp(self) -> str:
        """MSH-7."""
        return stamp(self.at)

    def msh(self, kind: str) -> str:
        """The MSH segment."""
        return (
            f"MSH|^~\\&|{self.app}|{FACILITY}|HDG|REGION|{self.stamp}||{kind}|{self.control_id}|P|2.5.1"
            "|||||USA|UNICODE UTF-8"
        )


@dataclass(frozen=True, slots=True)
class Result:
    """One OBX: a row of LABS and its value as text; with a comparator it is sent as SN."""

    lab: tuple[str, str, str, float, float, int]
    value: str
    comparator: str = ""

    def obx(self, index: int, taken: str, status: str, observer: str) -> str:
        """The OBX segment."""
        code, name, unit, low, high, _ = self.lab
        number = float(self.value)
        flag = "L" if number < low else "H" if number > high else "N"
        kind, value = ("SN", f"{self.comparator}^{self.value}") if self.comparator else ("NM", self.value)
        return (
            f"OBX|{index}|{kind}|{code}^{name}^LN||{value}|{unit}^^UCUM|{low:g}-{high:g}|{flag}|||{status}"
            f"|||{taken}||{observer}"
        )


@dataclass(frozen=True, slots=True)
class Order:
    """An order, and what came of it. ``text`` is a report in words; ``status``: HL7 table 0085 (P, F, C)."""

    serial: int
    taken: str
    results: tuple[Result, ...] = ()
    text: str = ""
    status: str = "F"
    part: int = 0

    @property
    def numbers(self) -> str:
        """Placer's and filler's number, two fields."""
        number = f"{self.serial:08d}" + (f"-{self.part}" if self.part else "")
        return f"PL{number}^OE^2.999.2^ISO|FI{number}^LAB^2.999.3^ISO"

    @property
    def service(self) -> str:
        """OBR-4."""
        return IMAGING if self.text else PANEL

    def obr(self, index: int, doctor: str, reported: str, status: str) -> str:
        """The OBR segment."""
        section = "RAD" if self.text else "HM"
        return (
            f"OBR|{index}|{self.numbers}|{self.service}|||{self.taken}|||||||||{doctor}||||||{reported}"
            f"||{section}|{status}"
        )


def results(rng: random.Random, count: int = 9, comparators: float = 0.0) -> tuple[Result, ...]:
    """Made-up values, some out of range; ``comparators``: the share told as below the lower limit."""
    made = []
    for lab in rng.sample(LABS, count):
        _, _, _, low, high, digits = lab
        if comparators and rng.random() < comparators:
            made.append(Result(lab, f"{low:g}", "<"))
        else:
            made.append(Result(lab, f"{rng.uniform(low * 0.8, high * 1.2):.{digits}f}"))
    return tuple(made)


def corrected(rng: random.Random, order: Order) -> Order:
    """The same order with one other value, and status C."""
    chosen = rng.randrange(len(order.results))
    _, _, _, low, high, digits = lab = order.results[chosen].lab
    value = Result(lab, f"{rng.uniform(low, high):.{digits}f}")
    changed = (*order.results[:chosen], value, *order.results[chosen + 1 :])
    return replace(order, results=changed, status="C")


def report_text(rng: random.Random, sentences: int) -> str:
    """A report in FT: sentences with line breaks between them."""
    return "\\.br\\".join(rng.choice(_FINDINGS) for _ in range(sentences))


def joined(segments: list[str]) -> bytes:
    """Segments as a message."""
    return "\r".join(segments).encode() + b"\r"


def adt(header: Header, person: Person, event: str, kin: str = "") -> bytes:
    """An ADT of 1 to 2.5 KB; what its structure has: kin, allergies, diagnoses, guarantor, insurance."""
    structure = STRUCTURES[event]
    at = header.stamp
    segments = [
        header.msh(f"ADT^{event}^{structure}"),
        f"EVN|{event}|{at}|||{person.attending}|{at}",
        person.pid,
        f"PD1|||NORTH GENERAL HOSPITAL^L^^^^{AUTHORITY}^XX^^^NG1|{person.attending}",
    ]
    visit = [person.pv1, "PV2|||^Chest pain on exertion|||||||||Observation after intervention"]
    if structure in _BRIEF:
        return joined([*segments, *visit])
    area, local = person.phone[:3], person.phone[3:]
    segments.append(
        f"NK1|1|{person.family}^{kin or person.kin}^Q^^^^L|SPO^Spouse^HL70063|{person.kin_home}"
        f"^H|^PRN^PH^^1^{area}^5551234|^WPN^PH^^1^{area}^5559876|EC^Emergency contact^HL70131"
    )
    if event != "A28":
        segments += visit
    segments += [
        "AL1|1|DA^Drug allergy^HL70127|7980^Penicillin G^RXNORM|MO^Moderate^HL70128|Hives|20150612",
        "AL1|2|FA^Food allergy^HL70127|^Peanut|SV^Severe^HL70128|Anaphylaxis",
        f"DG1|1||I20.9^Angina pectoris, unspecified^I10C||{at[:8]}|A",
        f"DG1|2||E11.9^Type 2 diabetes mellitus without complications^I10C||{at[:8]}|F",
        f"GT1|1||{person.family}^{person.given}^{person.middle}^^^^L||{person.kin_home}^H"
        f"|^PRN^PH^^1^{area}^{local}||||P|SEL^Self^HL70063",
        "IN1|1|PPO1^Preferred plan^L|77001^^^MUTUAL&2.999.7&ISO|MUTUAL OF EASTMERE"
        f"|1 Plan Sq^^Eastmere^ME^04101||^WPN^PH^^1^207^5550100|G{person.number % 97:04d}"
        f"||||20260101|20261231|||{person.family}^{person.given}|SEL^Self^HL70063"
        f"|{person.born:%Y%m%d}|{person.kin_home}|||1||||||||||||||POL{person.number:08d}",
    ]
    return joined(segments)


def merge(header: Header, survivor: Person, retired: Person) -> bytes:
    """An A40: the record of ``retired`` becomes part of ``survivor``'s."""
    return joined(
        [
            header.msh("ADT^A40^ADT_A39"),
            f"EVN|A40|{header.stamp}|||{survivor.attending}|{header.stamp}",
            survivor.pid,
            f"MRG|{retired.mrn}^^^{AUTHORITY}^MR||||||{retired.family}^{retired.given}^{retired.middle}^^^^L",
        ]
    )


def oru(header: Header, person: Person, orders: list[Order], *, note: bool = True) -> bytes:
    """An ORU: an ORC and an OBR an order, an OBX a result; 2.4 KB with nine results."""
    segments = [header.msh("ORU^R01^ORU_R01"), person.pid, person.pv1]
    for index, order in enumerate(orders, 1):
        state = "CM" if order.status != "P" else "IP"
        segments.append(f"ORC|RE|{order.numbers}||{state}||||{header.stamp}|||{person.attending}")
        segments.append(order.obr(index, person.attending, header.stamp, order.status))
        if order.text:
            segments.append(
                f"OBX|1|FT|{IMAGING}||{order.text}||||||{order.status}|||{order.taken}||{person.observer}"
            )
        segments += [
            result.obx(number, order.taken, order.status, person.observer)
            for number, result in enumerate(order.results, 1)
        ]
    if note:
        segments.append("NTE|1|L|Specimen slightly haemolysed; interpret potassium with care.")
    return joined(segments)


def laboratory_order(header: Header, person: Person, order: Order, kind: str) -> bytes:
    """A new order: OML^O21, or ORM^O01 where that is ``kind``."""
    structure = {"OML^O21": "OML_O21", "ORM^O01": "ORM_O01"}[kind]
    placer = order.numbers.split("|")[0]
    return joined(
        [
            header.msh(f"{kind}^{structure}"),
            person.pid,
            person.pv1,
            f"ORC|NW|{placer}|||SC||^^^{order.taken}^^R||{header.stamp}|||{person.attending}",
            f"OBR|1|{placer}||{order.service}|||{order.taken}|||||||||{person.attending}",
            f"DG1|1||I20.9^Angina pectoris, unspecified^I10C||{header.stamp[:8]}|W",
        ]
    )


def vxu(header: Header, person: Person, rng: random.Random, serial: int, kin: str = "") -> bytes:
    """A VXU of about 2 KB: two given doses and one refusal."""
    segments = [
        header.msh("VXU^V04^VXU_V04"),
        person.pid,
        "PD1|||||||||||02^Reminder/recall - any method^HL70215|||||A|20260101|20260101",
        f"NK1|1|{person.family}^{kin or rng.choice(GIVEN)}^^^^^L|MTH^Mother^HL70063|{person.kin_home}^L",
    ]
    for index, (code, name) in enumerate(rng.sample(VACCINES, 3), 1):
        given = header.at - timedelta(days=30 * index)
        is_refused = index == 3
        amount = "999" if is_refused else "0.5"
        tail = "00^Parental decision^NIP002||RE" if is_refused else "||CP"
        segments += [
            f"ORC|RE||{serial:08d}{index}^IMMS^2.999.4^ISO|||||||{person.attending}||{person.attending}",
            f"RXA|0|1|{given:%Y%m%d}|{given:%Y%m%d}|{code}^{name}^CVX|{amount}|mL^milliliter^UCUM"
            f"||00^New immunization record^NIP001|{person.attending}|^^^NORTHGEN-CLINIC"
            f"||||LOT{serial % 9999:04d}|20270630|MSD^Merck and Co., Inc.^MVX|{tail}|A",
        ]
        if not is_refused:
            segments += [
                "RXR|IM^Intramuscular^HL70162|LD^Left Deltoid^HL70163",
                "OBX|1|CE|64994-7^Vaccine funding program eligibility category^LN|1"
                "|V02^VFC eligible - Medicaid^HL70064||||||F",
                "OBX|2|TS|29768-9^Date vaccine information statement published^LN|2|20200312||||||F"
                f"|||{given:%Y%m%d}",
            ]
    return joined(segments)
