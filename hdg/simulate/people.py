"""People who do not exist: names, places and numbers of made-up patients, and the segments about them.

Object identifiers lie under 2.999, the arc that is reserved for examples (ITU-T X.660); telephone numbers
under 555; mail addresses under ``.example`` (RFC 2606).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

FAMILY = (
    "Abara", "Brandvold", "Castellane", "Dufresne", "Ekwueme", "Fjeldstad", "Garrone", "Hollis", "Iyengar",
    "Jansson",
)  # fmt: skip
GIVEN = (
    "Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Farah", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena",
)  # fmt: skip
STREET = ("Harbour Rd", "Mill Lane", "Orchard St", "Quarry Hill", "Station Ave", "Willow Way")
CITY = (
    ("Eastmere", "ME", "04101"),
    ("Fallow", "OR", "97301"),
    ("Greywater", "OH", "43004"),
    ("Hartwell", "GA", "30643"),
)
DOCTORS = (
    ("1000000004", "Okafor", "Ngozi", "A"),
    ("1000000012", "Lindqvist", "Per", "B"),
    ("1000000020", "Marchetti", "Rosa", "C"),
    ("1000000038", "Tanaka", "Ken", "D"),
)
MARITAL = (("M", "Married"), ("S", "Single"), ("D", "Divorced"), ("W", "Widowed"), ("A", "Separated"))
WARDS = ("3W", "4E", "ICU", "SURG")
FACILITY = "NORTHGEN"
AUTHORITY = "NORTHGEN&2.999.1.1&ISO"
EPOCH = datetime(2026, 1, 5, 8, 0, tzinfo=timezone(timedelta(hours=-5)))
"""When every simulation begins: in the past, so that no message is from the future."""


def stamp(at: datetime) -> str:
    """A DTM to the second with its offset."""
    return f"{at:%Y%m%d%H%M%S}-0500"


@dataclass
class Person:
    """One made-up patient, with the fields that every message about them repeats.

    ``unit``: number of the flat in PID-11.2, left out when 0. It is counted up with every move, so that the stored
    address tells which of the messages was applied last. Beds are ``ward^room^bed``; ``admitted``
    and ``discharged`` are DTM texts.
    """

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
    kin: str = "Ada"
    unit: int = 0
    marital: tuple[str, str] = MARITAL[0]
    patient_class: str = "I"
    bed: str = ""
    prior_bed: str = ""
    admitted: str = "20260104093000-0500"
    discharged: str = ""

    def moved(self) -> None:
        """Another flat of the house, and another marital status."""
        self.unit += 1
        self.marital = MARITAL[self.unit % len(MARITAL)]

    @property
    def mrn(self) -> str:
        """The medical record number."""
        return f"MR{self.number:08d}"

    @property
    def home(self) -> str:
        """XAD without the kind of address."""
        city, state, zip_code = self.city
        flat = f"Apt {self.unit}" if self.unit else ""
        return f"{self.street}^{flat}^{city}^{state}^{zip_code}^USA"

    @property
    def kin_home(self) -> str:
        """The same house, without the flat: it does not change."""
        city, state, zip_code = self.city
        return f"{self.street}^^{city}^{state}^{zip_code}^USA"

    @property
    def pid(self) -> str:
        """The PID segment."""
        area, local = self.phone[:3], self.phone[3:]
        return (
            f"PID|1||{self.mrn}^^^{AUTHORITY}^MR~{900000000 + self.number}^^^NATIONAL&2.999.1.2&ISO^NI"
            f"||{self.family}^{self.given}^{self.middle}^^^^L||{self.born:%Y%m%d}|{self.sex}"
            f"||2106-3^White^HL70005|{self.home}^H||^PRN^PH^^1^{area}^{local}"
            f"~^NET^Internet^{self.given.lower()}.{self.number}@mail.example"
            f"|^WPN^PH^^1^{area}^5550{self.number % 1000:03d}"
            f"|en^English^HL70296|{self.marital[0]}^{self.marital[1]}^HL70002"
            f"||AC{self.number:07d}^^^{AUTHORITY}^AN"
            "||||||||||||N"
        )

    @property
    def attending(self) -> str:
        """The XCN of the attending doctor."""
        number, family, given, middle = self.doctor
        return f"{number}^{family}^{given}^{middle}^^DR^^^NPI&2.16.840.1.113883.4.6&ISO^L^^^NPI"

    @property
    def observer(self) -> str:
        """The same doctor as laboratories name them: number and name."""
        return f"{self.doctor[0]}^{self.doctor[1]}^{self.doctor[2]}"

    @property
    def pv1(self) -> str:
        """The PV1 segment."""
        bed = self.bed or f"3W^310^{self.number % 4 + 1}"
        prior = f"{self.prior_bed}^{FACILITY}^^^^3" if self.prior_bed else ""
        kind = "IP" if self.patient_class == "I" else "OP"
        return (
            f"PV1|1|{self.patient_class}|{bed}^{FACILITY}^^^^3|U||{prior}|{self.attending}|||MED||||1||||{kind}"
            f"|{self.visit}^^^{AUTHORITY}^VN{'|' * 25}{self.admitted}|{self.discharged}"
        )


def person(seed: int, number: int) -> Person:
    """The person of that number (below 100,000); the same one for the same seed."""
    rng = random.Random(seed * 1_000_003 + number)
    return Person(
        number=seed * 100_000 + number,
        family=rng.choice(FAMILY),
        given=rng.choice(GIVEN),
        middle=rng.choice("ABCDEFG"),
        born=datetime(rng.randint(1930, 2020), rng.randint(1, 12), rng.randint(1, 28)),
        sex=rng.choice("MF"),
        street=f"{rng.randint(1, 999)} {rng.choice(STREET)}",
        city=rng.choice(CITY),
        phone=f"{rng.randint(200, 989)}555{rng.randint(0, 9999):04d}",
        visit=f"V{seed:03d}{number:07d}",
        doctor=rng.choice(DOCTORS),
        kin=rng.choice(GIVEN),
    )
