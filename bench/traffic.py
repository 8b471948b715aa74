"""A seeded generator of realistic HL7 v2 traffic: ADT, ORU and VXU of 2–3 KB about people who do not exist.

The same seed makes the same stream. Patients recur (as they do in a hospital), so that re-statements of a known
Patient, Practitioner or Organization are part of the load. Control ids are unique within one stream.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

FAMILY = [
    "Abara",
    "Brandvold",
    "Castellane",
    "Dufresne",
    "Ekwueme",
    "Fjeldstad",
    "Garrone",
    "Hollis",
    "Iyengar",
    "Jansson",
]
GIVEN = ["Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Farah", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena"]
STREET = ["Harbour Rd", "Mill Lane", "Orchard St", "Quarry Hill", "Station Ave", "Willow Way"]
CITY = [
    ("Eastmere", "ME", "04101"),
    ("Fallow", "OR", "97301"),
    ("Greywater", "OH", "43004"),
    ("Hartwell", "GA", "30643"),
]
DOCTORS = [
    ("1000000004", "Okafor", "Ngozi", "A"),
    ("1000000012", "Lindqvist", "Per", "B"),
    ("1000000020", "Marchetti", "Rosa", "C"),
    ("1000000038", "Tanaka", "Ken", "D"),
]
# code, name, unit, low, high, decimals
LABS = [
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
]
VACCINES = [
    ("08", "Hep B, adolescent or pediatric"),
    ("20", "DTaP"),
    ("03", "MMR"),
    ("21", "varicella"),
    ("133", "PCV13"),
]
EPOCH = datetime(2026, 1, 5, 8, 0, tzinfo=timezone(timedelta(hours=-5)))


@dataclass
class Person:
    """One made-up patient, with the fields that every message about them repeats."""

    number: int
    family: str
    given: str
    middle: str
    born: datetime
    sex: str
    street: str
    city: tuple[str, str, str]
    phone: str
    visit: str
    doctor: tuple[str, str, str, str]

    @property
    def pid(self) -> str:
        """The PID segment."""
        city, state, zip_code = self.city
        return (
            f"PID|1||MR{self.number:08d}^^^NORTHGEN&2.999.1.1&ISO^MR~{900000000 + self.number}^^^NATIONAL&2.999.1.2&ISO^NI"
            f"||{self.family}^{self.given}^{self.middle}^^^^L||{self.born:%Y%m%d}|{self.sex}||2106-3^White^HL70005"
            f"|{self.street}^^{city}^{state}^{zip_code}^USA^H||^PRN^PH^^1^{self.phone[:3]}^{self.phone[3:]}"
            f"~^NET^Internet^{self.given.lower()}.{self.number}@mail.example|^WPN^PH^^1^{self.phone[:3]}^5550{self.number % 1000:03d}"
            f"|en^English^HL70296|M^Married^HL70002||AC{self.number:07d}^^^NORTHGEN&2.999.1.1&ISO^AN||||||||||||N"
        )

    @property
    def attending(self) -> str:
        """The XCN of the attending doctor."""
        number, family, given, middle = self.doctor
        return f"{number}^{family}^{given}^{middle}^^DR^^^NPI&2.16.840.1.113883.4.6&ISO^L^^^NPI"

    @property
    def pv1(self) -> str:
        """The PV1 segment."""
        return (
            f"PV1|1|I|3W^310^{self.number % 4 + 1}^NORTHGEN^^^^3|U|||{self.attending}|||MED||||1||||IP"
            f"|{self.visit}^^^NORTHGEN&2.999.1.1&ISO^VN|||||||||||||||||||||||||20260104093000-0500"
        )


@dataclass
class Traffic:
    """The stream. ``patients`` is how many people it is about; ``mix`` weighs ADT, ORU, VXU."""

    seed: int = 1
    patients: int = 500
    mix: tuple[int, int, int] = (3, 6, 1)
    prefix: str = "T"
    _people: dict[int, Person] = field(default_factory=dict)

    def __iter__(self) -> Iterator[bytes]:
        rng = random.Random(self.seed)
        builders = (self.adt, self.oru, self.vxu)
        serial = 0
        while True:
            serial += 1
            person = self.person(rng.randrange(self.patients))
            (build,) = rng.choices(builders, self.mix)
            yield build(rng, person, serial)

    def take(self, count: int) -> list[bytes]:
        """The first ``count`` messages."""
        stream = iter(self)
        return [next(stream) for _ in range(count)]

    def person(self, number: int) -> Person:
        """The person of that number; the same one for the same seed."""
        if number not in self._people:
            rng = random.Random(self.seed * 1_000_003 + number)
            self._people[number] = Person(
                number=self.seed * 100_000 + number,
                family=rng.choice(FAMILY),
                given=rng.choice(GIVEN),
                middle=rng.choice("ABCDEFG"),
                born=datetime(rng.randint(1930, 2020), rng.randint(1, 12), rng.randint(1, 28)),
                sex=rng.choice("MF"),
                street=f"{rng.randint(1, 999)} {rng.choice(STREET)}",
                city=rng.choice(CITY),
                phone=f"{rng.randint(200, 989)}555{rng.randint(0, 9999):04d}",
                visit=f"V{self.seed:03d}{number:07d}",
                doctor=rng.choice(DOCTORS),
            )
        return self._people[number]

    def msh(self, at: datetime, kind: str, serial: int, app: str) -> str:
        """The MSH segment."""
        return (
            f"MSH|^~\\&|{app}|NORTHGEN|HDG|REGION|{at:%Y%m%d%H%M%S}-0500||{kind}|{self.prefix}{self.seed}-{serial:08d}|P|2.5.1"
            "|||AL|NE|USA|UNICODE UTF-8"
        )

    def adt(self, rng: random.Random, person: Person, serial: int) -> bytes:
        """An ADT of about 2 KB: admission or update, with kin, allergies, diagnoses and insurance."""
        at = EPOCH + timedelta(seconds=serial * 7)
        event = rng.choice(["A01", "A08", "A08", "A04", "A31"])
        structure = "ADT_A05" if event == "A31" else "ADT_A01"
        segments = [
            self.msh(at, f"ADT^{event}^{structure}", serial, "REGISTRATION"),
            f"EVN|{event}|{at:%Y%m%d%H%M%S}-0500|||{person.attending}|{at:%Y%m%d%H%M%S}-0500",
            person.pid,
            f"PD1|||NORTH GENERAL HOSPITAL^L^^^^NORTHGEN&2.999.1.1&ISO^XX^^^NG1|{person.attending}",
            f"NK1|1|{person.family}^{rng.choice(GIVEN)}^Q^^^^L|SPO^Spouse^HL70063|{person.street}^^{person.city[0]}^{person.city[1]}^{person.city[2]}"
            f"^USA^H|^PRN^PH^^1^{person.phone[:3]}^5551234|^WPN^PH^^1^{person.phone[:3]}^5559876|EC^Emergency contact^HL70131",
            person.pv1,
            "PV2|||^Chest pain on exertion|||||||||||Observation after intervention",
            "AL1|1|DA^Drug allergy^HL70127|7980^Penicillin G^RXNORM|MO^Moderate^HL70128|Hives|20150612",
            "AL1|2|FA^Food allergy^HL70127|^Peanut|SV^Severe^HL70128|Anaphylaxis",
            f"DG1|1||I20.9^Angina pectoris, unspecified^I10C||{at:%Y%m%d}|A",
            f"DG1|2||E11.9^Type 2 diabetes mellitus without complications^I10C||{at:%Y%m%d}|F",
            f"GT1|1||{person.family}^{person.given}^{person.middle}^^^^L||{person.street}^^{person.city[0]}^{person.city[1]}^{person.city[2]}^USA^H"
            f"|^PRN^PH^^1^{person.phone[:3]}^{person.phone[3:]}||||P|SE^Self^HL70063",
            f"IN1|1|PPO1^Preferred plan^L|77001^^^MUTUAL&2.999.7&ISO|MUTUAL OF EASTMERE|1 Plan Sq^^Eastmere^ME^04101||^WPN^PH^^1^207^5550100|G{person.number % 97:04d}"
            f"||||20260101|20261231|||{person.family}^{person.given}|SEL^Self^HL70063|{person.born:%Y%m%d}"
            f"|{person.street}^^{person.city[0]}^{person.city[1]}^{person.city[2]}|||1||||||||||||||POL{person.number:08d}",
        ]
        return "\r".join(segments).encode() + b"\r"

    def oru(self, rng: random.Random, person: Person, serial: int) -> bytes:
        """An ORU of 15 segments and about 2.4 KB: one order, nine results, a comment."""
        at = EPOCH + timedelta(seconds=serial * 7)
        stamp = f"{at:%Y%m%d%H%M%S}-0500"
        order = f"PL{serial:08d}^OE^2.999.2^ISO|FI{serial:08d}^LAB^2.999.3^ISO"
        segments = [
            self.msh(at, "ORU^R01^ORU_R01", serial, "LAB"),
            person.pid,
            person.pv1,
            f"ORC|RE|{order}||CM||||{stamp}|||{person.attending}",
            f"OBR|1|{order}|58410-2^CBC panel - Blood by Automated count^LN|||{stamp}|||||||||{person.attending}||||||{stamp}||HM|F",
        ]
        for index, (code, name, unit, low, high, digits) in enumerate(rng.sample(LABS, 9), 1):
            value = rng.uniform(low * 0.8, high * 1.2)
            flag = "L" if value < low else "H" if value > high else "N"
            segments.append(
                f"OBX|{index}|NM|{code}^{name}^LN||{value:.{digits}f}|{unit}^^UCUM|{low:g}-{high:g}|{flag}|||F|||{stamp}||{person.doctor[0]}^{person.doctor[1]}^{person.doctor[2]}"
            )
        segments.append("NTE|1|L|Specimen slightly haemolysed; interpret potassium with care.")
        return "\r".join(segments).encode() + b"\r"

    def vxu(self, rng: random.Random, person: Person, serial: int) -> bytes:
        """A VXU of about 2 KB: two given doses and one refusal."""
        at = EPOCH + timedelta(seconds=serial * 7)
        segments = [
            self.msh(at, "VXU^V04^VXU_V04", serial, "IMMS"),
            person.pid,
            "PD1|||||||||||02^Reminder/recall - any method^HL70215|||||A|20260101|20260101",
            f"NK1|1|{person.family}^{rng.choice(GIVEN)}^^^^^L|MTH^Mother^HL70063|{person.street}^^{person.city[0]}^{person.city[1]}^{person.city[2]}^USA^L",
        ]
        for index, (code, name) in enumerate(rng.sample(VACCINES, 3), 1):
            given = at - timedelta(days=30 * index)
            is_refused = index == 3
            amount = "999" if is_refused else "0.5"
            tail = "00^Parental decision^NIP002||RE" if is_refused else "||CP"
            segments += [
                f"ORC|RE||{serial:08d}{index}^IMMS^2.999.4^ISO|||||||{person.attending}||{person.attending}",
                f"RXA|0|1|{given:%Y%m%d}|{given:%Y%m%d}|{code}^{name}^CVX|{amount}|mL^milliliter^UCUM||00^New immunization record^NIP001"
                f"|{person.attending}|^^^NORTHGEN-CLINIC||||LOT{serial % 9999:04d}|20270630|MSD^Merck and Co., Inc.^MVX|{tail}|A",
            ]
            if not is_refused:
                segments += [
                    "RXR|IM^Intramuscular^HL70162|LD^Left Deltoid^HL70163",
                    "OBX|1|CE|64994-7^Vaccine funding program eligibility category^LN|1|V02^VFC eligible - Medicaid^HL70064||||||F",
                    f"OBX|2|TS|29768-9^Date vaccine information statement published^LN|2|20200312||||||F|||{given:%Y%m%d}",
                ]
        return "\r".join(segments).encode() + b"\r"
