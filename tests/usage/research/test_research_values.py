"""Codes, units and places that are shown are what they say, by lists and check digits; ages over 89 are folded."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from hdg.fhir.json import Decimal
from hdg.usage.research import coding, elements, places, units, values
from hdg.usage.research.dates import Calendar

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
UNII, ICD_10_PCS = "http://fdasis.nlm.nih.gov", "http://www.cms.gov/Medicare/Coding/ICD10"
DICOM, MRN = "http://dicom.nema.org/resources/ontology/DCM", "http://hospital.example/mrn"
OLD = {"value": 89, "comparator": ">", "system": UCUM, "code": "a"}


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (LOINC, "15074-8"),
        (LOINC, "LA33-6"),
        (SNOMED, "73211009"),
        (UNII, "R16CO5Y76E"),
        (ICD_10_PCS, "02100Z8"),
        (DICOM, "CT"),
        (UCUM, "mg/dL"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "E11.65"),
        ("http://terminology.hl7.org/CodeSystem/v3-ActCode", "IMP"),
    ],
)
def test_codes_of_listed_systems_are_shown(system: str, code: str) -> None:
    item = {"system": system, "code": code, "display": "Ann", "version": "1", "userSelected": True}
    assert coding.coding(item) == {"system": system, "code": code}
    assert system in coding.systems()


@pytest.mark.parametrize(
    ("system", "code"),
    [
        (LOINC, "15074-7"),
        (LOINC, "Smith"),
        (SNOMED, "73211008"),
        (SNOMED, "٧٣٢١١٠٠٩"),  # digits, not ASCII
        (UNII, "0123456789"),
        (ICD_10_PCS, "BARBARA"),
        (DICOM, "SMITH"),
        (UCUM, "Smith"),
        (UCUM, "{Smith}"),
        (MRN, "73211009"),
        ("http://terminology.hl7.org/CodeSystem/v3-ActCode", "Smith"),
        (None, "IMP"),
        (LOINC, None),
        (LOINC, ["15074-8"]),
        (LOINC, "15074-8\n"),
    ],
)
def test_other_codes_are_not(system: Any, code: Any) -> None:
    assert coding.coding({"system": system, "code": code}) is None


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("mg", "mg"),
        ("10*3/uL", "10*3/uL"),
        ("mm[Hg]", "mm[Hg]"),
        ("mL/min/{1.73_m2}", "mL/min/{1.73_m2}"),
        ("mg{creat}", "mg{creat}"),
        ("10*3/uL{Smith}", "10*3/uL"),
        ("{Smith}", "1"),
        ("/{Smith}", "/1"),
        ("(m.g)/s2", "(m.g)/s2"),
        ("Ann", None),
        ("mg Smith", None),
        ("[Smith]", None),
        ("{Ann", None),
        ("(mg", None),
        ("", None),
        ("m" * 50, None),
        ("555123456", None),
    ],
)
def test_units_are_ucum_without_words(unit: str, shown: str | None) -> None:
    assert units.plain(unit) == shown


@pytest.mark.parametrize("unit", ["a", "mo", "wk", "d", "h", "min", "s"])
def test_the_longest_time_that_is_shown_is_89_years(unit: str) -> None:
    per_year = {"a": 1, "mo": 12, "wk": 52.1775, "d": 365.25, "h": 8766, "min": 525_960, "s": 31_557_600}[
        unit
    ]
    assert units.is_age(unit, int(90 * per_year))
    assert not units.is_age(unit, int(88 * per_year))
    quantity = {"value": int(95 * per_year), "system": UCUM, "code": unit, "unit": "x"}
    assert values.quantity(quantity) == OLD
    assert values.quantity(quantity, is_simple=True) is None
    assert values.quantity({"value": int(95 * per_year), "unit": unit}) == OLD


@pytest.mark.parametrize("unit", ["(a)", "10*3.d", "Gs", "a{score}", "a1"])
def test_times_in_unusual_writing_count_as_ages(unit: str) -> None:
    assert units.is_age(unit, 95)


@pytest.mark.parametrize("unit", ["/min", "{beats}/min", "ug.h/mL", "mg/h", "s-1", "ms", "mg", "mL/(kg.h)"])
def test_rates_and_doses_are_no_ages(unit: str) -> None:
    quantity = {"value": Decimal("100000.50"), "system": UCUM, "code": unit}
    assert values.quantity(quantity | {"unit": "Ann"}) == quantity


def test_a_quantity_without_a_unit_that_can_be_shown_is_not_shown() -> None:
    assert values.quantity({"value": 5, "unit": "Ann"}) is None
    assert values.quantity({"value": 5, "system": MRN, "code": "x"}) is None
    assert values.quantity({"value": 5, "system": MRN, "code": "mg", "unit": "mg"}) is None
    assert values.quantity({"value": "Ann", "system": UCUM, "code": "mg"}) is None
    assert values.quantity({"value": 5, "comparator": "Ann", "system": UCUM, "code": "mg"}) is None
    assert values.quantity({"value": 5, "unit": "mg"}) == {"value": 5, "unit": "mg"}
    assert values.quantity({"value": 5, "unit": "\u00b5mol/L"}) == {"value": 5, "unit": "\u00b5mol/L"}
    assert values.quantity({"value": 5, "unit": "mmol/L{Ann}"}) is None
    assert values.quantity({"value": 5}) == {"value": 5}


def test_a_range_over_89_years_is_open() -> None:
    def years(number: int) -> dict[str, Any]:
        return {"value": number, "system": UCUM, "code": "a"}

    assert values.range_({"low": years(80), "high": years(95)}) == {"low": years(80)}
    assert values.range_({"low": years(92), "high": years(95)}) == {"low": years(89)}
    assert values.range_({"high": years(95)}) is None
    assert values.range_({"low": years(30), "high": years(40)}) == {"low": years(30), "high": years(40)}
    assert values.range_({"low": {"value": 1, "unit": "Ann"}, "high": years(40)}) is None


def test_half_a_ratio_is_none() -> None:
    whole = {"value": 1}
    assert values.ratio({"numerator": whole, "denominator": whole}) == {
        "numerator": whole,
        "denominator": whole,
    }
    assert values.ratio({"numerator": whole, "denominator": {"value": 1, "unit": "Ann"}}) is None
    assert values.ratio({"numerator": whole}) is None


def test_a_period_whose_end_is_not_shown_does_not_look_open() -> None:
    shown = values.period({"start": "2020-01-01", "end": "soon"}, Calendar(-1, date(2026, 11, 21)))
    assert shown is not None
    assert shown["start"] == "2019-12-31"
    assert shown["_end"]["extension"][0]["valueCode"] == "masked"


@pytest.mark.parametrize(
    ("country", "state", "postal_code", "shown"),
    [
        ("US", "CA", "94110-1234", {"state": "CA", "postalCode": "941", "country": "US"}),
        ("USA", None, "94110", {"postalCode": "941", "country": "US"}),
        (None, "CA", "941101234", {"state": "CA", "postalCode": "941"}),
        ("US", "VT", "05901", {"state": "VT", "postalCode": "000", "country": "US"}),
        ("US", "WY", "82190", {"state": "WY", "postalCode": "000", "country": "US"}),
        (None, None, "94110", {}),
        ("DE", "BY", "80331", {"country": "DE"}),
        ("DE", "CA", "80331", {"country": "DE"}),
        ("Bavaria", "CA", "80331", {}),
        ("US", "Smith", "Ann", {"country": "US"}),
        (["US"], ["CA"], 94110, {}),
    ],
)
def test_places_are_a_state_and_zip3(
    country: Any, state: Any, postal_code: Any, shown: dict[str, str]
) -> None:
    assert places.place(country, state, postal_code) == shown


def test_zip3_of_few_people_are_000() -> None:
    seventeen = "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893"
    for prefix in seventeen.split():
        assert places.place("US", None, prefix + "01")["postalCode"] == "000"


def test_the_allow_list_names_elements_of_r4_and_no_text() -> None:
    for element in elements.LISTED:
        owner, _, name = element.rpartition(".")
        if owner:
            shape = elements.shape(owner)
            assert any(member.element == name for member in shape.members.values()), element
            assert owner in elements.LISTED or owner in ("Timing", "Dosage", "SampledData"), element
