"""UCUM expressions: grammar, conversions, what is not to be converted (https://ucum.org/ucum)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.terminology.ucum import Unit, unit, units
from hdg.terminology.ucum import parse as reader


def of(code: str) -> Unit:
    found = unit(code)
    assert found is not None, code
    return found


EQUAL = [
    ("5.4", "mg", "0.0054", "g"),
    ("5400", "ug", "5.4", "mg"),
    ("90", "mg/dL", "0.9", "g/L"),
    ("90", "mg/dL", "900", "ug/mL"),
    ("4.5", "10*3/uL", "4500", "/uL"),
    ("4.5", "10^3/uL", "4.5", "10*9/L"),
    ("72", "/min", "1.2", "Hz"),
    ("72", "{beats}/min", "72", "/min"),
    ("1", "U/L", "1", "umol/min/L"),
    ("60", "U", "1000", "nkat"),
    ("760", "mm[Hg]", "101.32472", "kPa"),
    ("1", "a", "12", "mo"),
    ("2", "wk", "14", "d"),
    ("1", "d", "1440", "min"),
    ("180", "[lb_av]", "81.6466266", "kg"),
    ("70", "[in_i]", "1.778", "m"),
    ("6", "[ft_i]", "2", "[yd_i]"),
    ("12", "g%", "120", "g/L"),
    ("5", "%", "0.05", "1"),
    ("5", "%", "50", "[ppth]"),
    ("37", "Cel", "310.15", "K"),
    ("98.6", "[degF]", "37", "Cel"),
    ("-40", "[degF]", "-40", "Cel"),
    ("2", "kcal", "8368", "J"),
    ("2", "[Cal]", "2", "kcal"),
    ("7", "m[IU]/L", "7", "u[iU]/mL"),
    ("3", "dB", "0.3", "B"),
    ("30", "kg/m2", "30", "kg.m-2"),
    ("1", "(mg/dL)/(g/L)", "1", "%"),
    ("1", "mL/(kg.min)", "1", "mL/kg/min"),
    ("2", "N.s", "2", "kg.m/s"),
    ("1", "10*3", "1000", "{cells}"),
    ("2", "/10*3", "0.002", "1"),
    ("1", "4.[pi].rad2", "4", "[pi].sr"),
]


@pytest.mark.parametrize(("value", "code", "other", "unit_of_other"), EQUAL)
def test_values_that_are_the_same_have_the_same_canonical_value(value, code, other, unit_of_other) -> None:
    here, there = of(code), of(unit_of_other)
    assert here.dimension == there.dimension
    assert here.canonical(Decimal(value)) == there.canonical(Decimal(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mol", "g"),
        ("mol", "1"),
        ("mmol/L", "meq/L"),
        ("mosm/kg", "mmol/kg"),
        ("[iU]", "U"),
        ("[iU]", "[arb'U]"),
        ("[CFU]", "1"),
        ("/[HPF]", "/[LPF]"),
        ("[pH]", "1"),
        ("B", "B[SPL]"),
        ("B", "Np"),
        ("mm[Hg]", "mm"),
        ("rad", "1"),
        ("Cel", "J"),
    ],
)
def test_what_cannot_surely_be_converted_is_of_another_dimension(one, other) -> None:
    assert of(one).dimension != of(other).dimension


@pytest.mark.parametrize(
    "code",
    [
        *(
            "",
            " ",
            "mmHg",
            "mcg",
            "µg",
            "mg dL",
            "mg/dl/",
            "/",
            ".",
            "()",
            "(g",
            "g)",
            "g..m",
            "g//L",
            "{",
            "{a",
            "a}",
        ),
        *(
            "{a}{b}",
            "m-0",
            "m100",
            "10*100",
            "0",
            "1/0",
            "0/g",
            "kmin",
            "m%",
            "k[degF]",
            "M[in_i]",
            "lbs",
            "Mmg",
        ),
        *(
            "Cel/min",
            "s.[pH]",
            "Cel2",
            "/Cel",
            "2.B",
            "(Cel)",
            "m[",
            "m]",
            "[[iU]]",
            "x" * 121,
            "(" * 60 + "g" + ")" * 59,
        ),
    ],
)
def test_what_is_no_unit_or_stands_in_no_product_is_not_converted(code) -> None:
    assert unit(code) is None


def test_a_whole_code_comes_before_a_prefix() -> None:
    assert of("cd").dimension == "cd"
    assert of("Pa").dimension == of("N/m2").dimension
    assert of("min") == of("60.s")
    assert of("m").dimension == "m"
    assert of("dar") == of("10.m2")


def test_division_goes_from_left_to_right() -> None:
    assert of("g/L.m") == of("(g/L).m")
    assert of("g/(L.m)") == of("g/L/m")


def test_an_annotation_changes_nothing() -> None:
    assert of("mg{creat}/dL{serum}") == of("mg/dL")
    assert of("Cel{oral}") == of("Cel")
    assert of("{score}") == of("1")


TABLES = {**reader._METRIC, **reader._PLAIN}


def test_every_unit_of_the_tables_can_be_read() -> None:
    named = units.BASE | units.ARBITRARY | units.ALONE | set(units.AFFINE) | set(units.SAME) | set(TABLES)
    assert len(named) > 200
    assert [code for code in named if unit(code) is None] == []
    assert [
        code for code in [*units.BASE, *reader._METRIC, *units.PREFIXED] if unit(f"m{code}") is None
    ] == []


def test_no_code_is_in_two_tables() -> None:
    several = [
        units.BASE,
        units.ARBITRARY,
        units.ALONE,
        set(units.AFFINE),
        set(reader._METRIC),
        set(reader._PLAIN),
    ]
    assert len(frozenset().union(*several)) == sum(map(len, several))


CODES = st.sampled_from(sorted([*TABLES, *units.BASE, *units.ARBITRARY]))
POWERS = st.integers(-4, 4).filter(bool)


@given(st.lists(st.tuples(CODES, POWERS), min_size=1, max_size=5))
def test_a_product_is_the_product_of_its_parts(parts) -> None:
    found = of(".".join(f"{code}{power}" for code, power in parts))
    factor = Fraction(1)
    for code, power in parts:
        factor *= of(code).factor ** power
    assert found.factor == factor
    assert of(found.dimension) == Unit(Fraction(1), Fraction(0), found.dimension)


@given(CODES, CODES, POWERS)
def test_a_quotient_is_a_negative_power(one, other, power) -> None:
    assert of(f"{one}/{other}{power}") == of(f"{one}.{other}{-power}")


@given(st.text(alphabet="mgLs10*^./()[]{}+-iU% ", max_size=140))
def test_any_text_is_a_unit_or_none(text) -> None:
    found = unit(text)
    assert found is None or found.factor > 0
