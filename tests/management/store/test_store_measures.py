"""Numbers and quantities: found as R4 says, on both databases, held against exact fractions (R4 search.html#prefix)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import true

from hdg.fhir import json
from hdg.management.store import Clause, SearchQuery, Sort, Store
from hdg.management.store.measures import CANONICAL, MAX, measure_emitters, rounded, sought
from hdg.management.store.values import hasher
from hdg.terminology import ucum

UCUM = "http://unitsofmeasure.org"
PREFIXES = ("", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap")
HASH = hasher(b"k" * 32)
NUMBER, QUANTITY = measure_emitters(HASH)


def quantity(value: str, code: str = "", comparator: str = "", **more):
    found = {"value": json.decimal(value) if set(value) & set(".eE") else int(value), **more}
    if code:
        found |= {"system": UCUM, "code": code}
    return found | ({"comparator": comparator} if comparator else {})


@dataclass(frozen=True)
class Covered:
    """What a stored value covers, exactly; None: no bound."""

    low: Fraction | None
    high: Fraction | None
    is_low_open: bool = False
    is_high_open: bool = False

    def has_above(self, value: Fraction, *, or_at: bool) -> bool:
        if self.high is None or self.high > value:
            return True
        return or_at and self.high == value and not self.is_high_open

    def has_below(self, value: Fraction, *, or_at: bool) -> bool:
        if self.low is None or self.low < value:
            return True
        return or_at and self.low == value and not self.is_low_open

    def matches(self, prefix: str, text: str, unit: ucum.Unit | None) -> bool:
        number = Decimal(text)
        value, half = Fraction(number), half_of(text)
        scaled = unit.canonical if unit is not None else (lambda each: each)
        at = scaled(value)
        start, end = scaled(value - half), scaled(value + half)
        inside = not self.has_below(start, or_at=False) and not self.has_above(end, or_at=True)
        match prefix:
            case "" | "eq":
                return inside
            case "ne":
                return not inside
            case "gt" | "ge":
                return self.has_above(at, or_at=prefix == "ge")
            case "lt" | "le":
                return self.has_below(at, or_at=prefix == "le")
            case "sa":
                return not self.has_below(at, or_at=True)
            case "eb":
                return not self.has_above(at, or_at=True)
        slack = max(abs(value) / 10, half)
        near, far = scaled(value - slack), scaled(value + slack)
        return self.has_above(near, or_at=True) and self.has_below(far, or_at=True)


def half_of(text: str) -> Fraction:
    """Half a unit of the last figure, by counting characters."""
    digits, has_exponent, power = text.lower().lstrip("+-").partition("e")
    whole, _, rest = digits.partition(".")
    places = len(rest) - int(power or 0)
    if has_exponent and len((whole + rest).lstrip("0") or "0") == 1:
        places += 1
    return Fraction(1, 2) * Fraction(10) ** -places


def covered(value: dict[str, object], unit: ucum.Unit | None) -> Covered:
    number = Fraction(str(value["value"]))
    at = unit.canonical(number) if unit is not None else number
    match value.get("comparator"):
        case "<":
            return Covered(None, at, is_high_open=True)
        case "<=":
            return Covered(None, at)
        case ">":
            return Covered(at, None, is_low_open=True)
        case ">=":
            return Covered(at, None)
    return Covered(at, at)


STORED = [
    *(
        quantity(value, "mg")
        for value in ("5.4", "5.35", "5.45", "5.449", "5", "6", "0", "-5.4", "100", "94.9")
    ),
    *(
        quantity(value, "g")
        for value in ("0.0054", "0.00535", "0.00545", "5.4e-3", "1e-7", "0.1", "100", "1e400")
    ),
    *(quantity(value, "ug") for value in ("5400", "5349.9", "123456789012345", "100", "95", "105", "1e-400")),
    *(quantity("5", "mg", comparator) for comparator in ("<", "<=", ">", ">=")),
    *(quantity("0.005", "g", comparator) for comparator in ("<", "<=", ">", ">=")),
    *(quantity(value, "Cel") for value in ("37", "36.5", "37.5", "-40", "0")),
    *(quantity(value, "[degF]") for value in ("98.6", "-40", "97.7", "99.5")),
    *(quantity(value, "K") for value in ("310.15", "309.65", "5.4")),
    *(quantity(value, "mmol/L") for value in ("5.4", "100")),
    *(quantity(value, "mg/dL") for value in ("100", "5.4")),
    *(quantity(value, "g/L") for value in ("1", "0.054", "1.005")),
    *(quantity(value, "/min") for value in ("100", "72")),
    *(quantity(value, "{nonsense") for value in ("100", "5.4")),
    *(
        quantity(value)
        for value in (
            "100",
            "5.4",
            "-100",
            "99.5",
            "100.5",
            "150",
            "50",
            "105",
            "94.999",
            "12345678901234567",
        )
    ),
]
ASKED = [
    ("5.4", "mg"), ("5", "mg"), ("5.40", "mg"), ("0.0054", "g"), ("5.4e-3", "g"), ("5400", "ug"), ("5.4e3", "ug"),
    ("0", "mg"), ("-5.4", "mg"), ("1e-1", "g"), ("100", "mg"), ("123456789.012345", "mg"), ("1e2", "g"),
    ("37", "Cel"), ("37.0", "Cel"), ("98.6", "[degF]"), ("-40", "Cel"), ("310.15", "K"), ("310", "K"),
    ("5.4", "mmol/L"), ("5400", "umol/L"), ("100", "mg/dL"), ("1.00", "g/L"), ("1", "kg/m3"), ("1.2", "Hz"),
    ("100", "{nonsense"), ("5.4", "{nonsense"),
    ("100", ""), ("100.00", ""), ("1e2", ""), ("1.0e2", ""), ("1e+2", ""), ("5.4", ""), ("-100", ""), ("-1e2", ""),
    ("0.0", ""), ("12345678901234567", ""), ("+99.50", ""), ("1e999", ""), ("1e-999", ""), ("-1e999", ""),
]  # fmt: skip


def expected(stored: dict[str, object], prefix: str, text: str, code: str) -> bool:
    unit = ucum.unit(code) if code else None
    if not code:
        return covered(stored, None).matches(prefix, text, None)
    own = ucum.unit(str(stored.get("code", "")))
    if unit is None or own is None:
        return code == stored.get("code") and covered(stored, None).matches(prefix, text, None)
    return own.dimension == unit.dimension and covered(stored, own).matches(prefix, text, unit)


def found(store: Store, param: str, kind: str, value: str, type_: str = "Observation") -> set[str]:
    query = SearchQuery(type_, (Clause(param, kind, "", (value,)),), count=200)
    return {version.id for version in store.reader.search(query, true()).versions}


def put(do, values: list[dict[str, object]], element: str = "valueQuantity") -> None:
    def work(session) -> None:
        for number, value in enumerate(values):
            resource = {"resourceType": "Observation", "id": f"n{number}", "status": "final", element: value}
            resource["code"] = {"coding": [{"code": "x"}]}
            session.put(resource, institution="site")

    do(work)


def test_every_prefix_unit_and_precision_finds_what_exact_arithmetic_says(store: Store, do) -> None:
    put(do, STORED)
    wrong = []
    for text, code in ASKED:
        for prefix in PREFIXES:
            value = f"{prefix}{text}|{UCUM}|{code}" if code else f"{prefix}{text}"
            should = {f"n{n}" for n, each in enumerate(STORED) if expected(each, prefix, text, code)}
            if found(store, "value-quantity", "quantity", value) != should:
                wrong.append(value)
    # A number of 17 digits has neighbours in the same float, and beyond 1e308 there is one float for all.
    beyond = ("12345678901234567", "1e999", "-1e999", "1e-999")
    assert [value for value in wrong if not any(text in value for text in beyond)] == []
    assert "12345678901234567" not in wrong


def test_a_composite_compares_units_too(store: Store, do) -> None:
    put(do, STORED)
    for prefix in PREFIXES:
        should = {f"n{n}" for n, each in enumerate(STORED) if expected(each, prefix, "5.4", "mg")}
        assert found(store, "code-value-quantity", "composite", f"x${prefix}5.4|{UCUM}|mg") == should
        assert found(store, "combo-code-value-quantity", "composite", f"x${prefix}5.4|{UCUM}|mg") == should


def test_without_a_system_the_code_or_the_text_of_the_unit_counts_as_it_is_written(store: Store, do) -> None:
    put(
        do,
        [
            quantity("5.4", "mg"),
            quantity("0.0054", "g"),
            {"value": 5, "unit": "mg"},
            {"value": 5, "unit": "milligram", "code": "mg", "system": "urn:local"},
            quantity("5", "g", unit="mg"),
        ],
    )
    assert found(store, "value-quantity", "quantity", "5.0||mg") == {"n2", "n3", "n4"}
    assert found(store, "value-quantity", "quantity", "5.0||milligram") == {"n3"}
    assert found(store, "value-quantity", "quantity", "5.0|urn:local|mg") == {"n3"}
    assert found(store, "value-quantity", "quantity", "5|urn:local|g") == set()
    assert found(store, "value-quantity", "quantity", "5.4") == {"n0"}
    assert found(store, "value-quantity", "quantity", f"5.0|{UCUM}|") == {"n4"}
    assert found(store, "value-quantity", "quantity", "0.0054||ucum:g") == set()


RANGE = {"low": quantity("5", "mg"), "high": quantity("0.01", "g")}
DATA = {"origin": quantity("2", "mg"), "period": 10, "dimensions": 1}


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (RANGE, {"gt9": True, "gt10": False, "ge10": True, "lt6": True, "lt5": False, "sa4": True, "eb11": True}),
        ({"low": quantity("5", "mg")}, {"gt1000": True, "lt5": False, "le5": True, "eb10000": False, "sa4": True}),
        ({"high": quantity("5", "mg")}, {"lt-1000": True, "gt5": False, "ge5": True, "5": False, "ne5": True}),
        (DATA | {"data": "1 2 E 3"}, {"gt4.9": True, "gt5": False, "lt4": True, "lt3": False, "sa2.9": True}),
        (DATA | {"data": "1 L 3"}, {"lt-100": True, "gt5": False}),
        (DATA | {"data": "1 U 3"}, {"gt100": True, "lt3": False}),
        (DATA | {"data": "10 20", "factor": json.decimal("-0.1")}, {"ge1": True, "gt1": False, "le0": True}),
        (DATA | {"data": "U", "factor": json.decimal("-0.1")}, {"lt-100": True}),
        (DATA | {"data": "E E"}, {"gt-100": False, "ne1": False}),
    ],
)  # fmt: skip
def test_ranges_and_sampled_data_are_found_by_what_they_cover(value, asked) -> None:
    number = HASH("ucum:g")
    rows = [row for row in QUANTITY(value) if row[2:] == (number, CANONICAL)]
    assert len(rows) == (0 if value.get("data") == "E E" else 1)
    unit = ucum.unit("mg")
    got = {}
    for text in asked:
        prefix = text[:2] if text[:2] in PREFIXES else ""
        got[text] = any(matches(row, prefix, text.removeprefix(prefix), unit) for row in rows)
    assert got == asked


def matches(row, prefix: str, text: str, unit: ucum.Unit | None) -> bool:
    low, high = (None if abs(end) == MAX else Fraction(str(end)) for end in row[:2])
    return Covered(low, high).matches(prefix, text, unit)


def test_sampled_data_is_searched_on_the_database(store: Store, do) -> None:
    put(do, [DATA | {"data": "1 2 E 3"}, DATA | {"data": "8 9"}], "valueSampledData")
    assert found(store, "value-quantity", "quantity", f"gt4|{UCUM}|mg") == {"n0", "n1"}
    assert found(store, "value-quantity", "quantity", f"sa0.005|{UCUM}|g") == {"n1"}


def test_money_is_found_by_its_currency() -> None:
    rows = QUANTITY({"value": json.decimal("9.90"), "currency": "EUR"})
    assert rows == [(9.9, 9.9, HASH("EUR"), HASH("urn:iso:std:iso:4217"))]


def test_ranges_in_two_units_that_are_not_comparable_have_one_bound_each() -> None:
    rows = QUANTITY({"low": {"value": 1, "code": "a"}, "high": {"value": 2, "code": "b"}})
    assert rows == [(1.0, MAX, HASH("a"), 0), (-MAX, 2.0, HASH("b"), 0)]


def test_a_probability_may_be_a_range_and_percent(store: Store, do) -> None:
    low, high = quantity("10", "%"), quantity("20", "%")
    risks = [
        {"probabilityDecimal": json.decimal("0.15")},
        {"probabilityRange": {"low": low, "high": high}},
        {"probabilityRange": {"low": {"value": json.decimal("0.3")}}},
    ]

    def work(session) -> None:
        for number, each in enumerate(risks):
            resource = {"resourceType": "RiskAssessment", "id": f"n{number}", "prediction": [each]}
            session.put(resource, institution="site")

    do(work)
    for value, should in [
        ("gt0.16", "n1 n2"),
        ("lt0.15", "n1"),
        ("0.15", "n0"),
        ("sa0.25", "n2"),
        ("le0.3", "n0 n1 n2"),
    ]:
        assert found(store, "probability", "number", value, "RiskAssessment") == set(should.split()), value


def test_quantities_are_sorted_by_canonical_values_where_they_have_any(store: Store, do) -> None:
    values = [
        quantity("2", "g"),
        quantity("300", "mg"),
        quantity("1", "kg"),
        quantity("5000", "ug"),
        quantity("7"),
    ]
    put(do, values)
    for is_descending, should in ((False, "n3 n1 n0 n4 n2"), (True, "n2 n4 n0 n1 n3")):
        sort = (Sort("value-quantity", "quantity", is_descending),)
        seen, cursor = [], ""
        while True:
            page = store.reader.search(SearchQuery("Observation", count=2, sort=sort, cursor=cursor), true())
            seen += [version.id for version in page.versions]
            cursor = page.next_cursor
            if not cursor:
                break
        assert seen == should.split()


def test_outermost_values_are_stored_compared_and_paged(store: Store, do) -> None:
    put(do, [quantity(v, "1") for v in ("1e400", "-1e400", "1e-400", "-1e-400", "0", "1e5000", "9" * 400)])
    assert found(store, "value-quantity", "quantity", "gt0") == {"n0", "n2", "n5", "n6"}
    assert found(store, "value-quantity", "quantity", f"lt0|{UCUM}|%") == {"n1", "n3"}
    assert found(store, "value-quantity", "quantity", "0") == {"n2", "n3", "n4"}
    sort = (Sort("value-quantity", "quantity"),)
    first = store.reader.search(SearchQuery("Observation", count=5, sort=sort), true())
    rest = store.reader.search(
        SearchQuery("Observation", count=5, sort=sort, cursor=first.next_cursor), true()
    )
    assert len(first.versions) + len(rest.versions) == 7


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**8), max_value=10**8)
UNITS = "mg g kg ug [oz_av] [gr] Cel [degF] K mmol/L mg/dL % /min mm[Hg] a mo [pH] dB"
CODES = st.sampled_from(UNITS.split())


@given(DECIMALS, CODES)
def test_a_canonical_value_is_the_exact_one_rounded_once(value, code) -> None:
    unit = ucum.unit(code)
    rows = QUANTITY({"value": json.decimal(str(value)), "system": UCUM, "code": code})
    assert rows[-1] == (
        *[rounded(unit.canonical(Fraction(value)))] * 2,
        HASH(f"ucum:{unit.dimension}"),
        CANONICAL,
    )


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_rounding_keeps_the_order_and_is_finite(one, other) -> None:
    low, high = sorted((one, other))
    assert rounded(low) <= rounded(high)
    assert isfinite(rounded(one))
    assert (rounded(one) == 0) == (one == 0)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("100", "99.5", "100.5"),
        ("100.00", "99.995", "100.005"),
        ("1e2", "95", "105"),
        ("1E2", "95", "105"),
        ("1.0e2", "95", "105"),
        ("1.00e2", "99.5", "100.5"),
        ("10e1", "95", "105"),
        ("5.4", "5.35", "5.45"),
        ("5.40e-3", "0.005395", "0.005405"),
        ("-5", "-5.5", "-4.5"),
        ("0", "-0.5", "0.5"),
        (".5", "0.45", "0.55"),
        ("5.", "4.5", "5.5"),
    ],
)
def test_a_number_covers_what_its_figures_leave_open(text, low, high) -> None:
    number = sought(text)
    assert (number.value - number.half, number.value + number.half) == (Fraction(low), Fraction(high))


@pytest.mark.parametrize(
    "text", ["", "x", "1,5", "0x1", "1e", "1e1000", "--1", "NaN", "inf", "١", "1" * 401, " 1"]
)
def test_what_is_no_number_is_none(text) -> None:
    assert sought(text) is None
