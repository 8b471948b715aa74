"""IEEE 11073 FLOAT and SFLOAT: the PHD guide's vectors, special values, and that reading undoes writing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir.json import Decimal
from hdg.ingestion.device.floats import (
    Special,
    decimal_of,
    float_bits,
    float_value,
    sfloat_bits,
    sfloat_value,
)

FLOATS = [
    (0x00000002, "2"),
    (0xFF000014, "2.0"),
    (0xFE0000C8, "2.00"),
    (0x01000002, "20"),
    (0x02000002, "200"),
    (0x000000C8, "200"),
    (0x000004D2, "1234"),
    (0x00FFFB2E, "-1234"),
]
SFLOATS = [
    (0x0002, "2"),
    (0xF014, "2.0"),
    (0xE0C8, "2.00"),
    (0x1002, "20"),
    (0x2002, "200"),
    (0x00C8, "200"),
    (0x04D2, "1234"),
    (0x0B2E, "-1234"),
]
SPECIALS = [
    (0x007FFFFF, 0x7FF, Special.NAN, "not-a-number"),
    (0x007FFFFE, 0x7FE, Special.POSITIVE_INFINITY, "positive-infinity"),
    (0x00800002, 0x802, Special.NEGATIVE_INFINITY, "negative-infinity"),
    (0x00800000, 0x800, Special.NRES, "error"),
    (0x00800001, 0x801, Special.RESERVED, "error"),
]


def literal(value: object) -> str:
    return value.literal if isinstance(value, Decimal) else repr(value)


@pytest.mark.parametrize(("bits", "text"), FLOATS)
def test_each_float_vector_of_the_phd_guide_reads_as_its_digits(bits: int, text: str) -> None:
    assert literal(float_value(bits)) == text


@pytest.mark.parametrize(("bits", "text"), SFLOATS)
def test_each_sfloat_vector_of_the_phd_guide_reads_as_its_digits(bits: int, text: str) -> None:
    assert literal(sfloat_value(bits)) == text


@pytest.mark.parametrize(("wide", "narrow", "special", "reason"), SPECIALS)
def test_special_values_have_the_reasons_of_the_phd_guide_both_ways(
    wide: int, narrow: int, special: Special, reason: str
) -> None:
    assert float_value(wide) is special
    assert sfloat_value(narrow) is special
    assert float_bits(special) == wide
    assert sfloat_bits(special) == narrow
    assert special.reason == reason


def test_the_mantissa_of_a_special_value_is_a_number_under_another_exponent() -> None:
    assert literal(sfloat_value(0xF7FF)) == "204.7"
    assert literal(float_value(0xFF7FFFFF)) == "838860.7"


def test_zero_keeps_its_decimals_and_has_no_zeros_before_the_point() -> None:
    assert literal(sfloat_value(0xE000)) == "0.00"
    assert literal(sfloat_value(0x3000)) == "0"
    assert literal(float_value(0xFFFFFFFF)) == "-0.1"


def test_exponents_beyond_the_digits_of_a_decimal_are_written_as_exponents() -> None:
    assert literal(float_value(0x7F000002)) == "2E+127"
    assert literal(float_value(0x80000002)) == "2E-128"
    assert literal(decimal_of(12, 16)) == "12" + "0" * 16


@pytest.mark.parametrize("text", ["2047", "2048", "0.12345", "1E+20", "-2047"])
def test_what_an_sfloat_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="digits"):
        sfloat_bits(Decimal(text))


@pytest.mark.parametrize("bits", [-1, 1 << 16])
def test_what_is_no_sixteen_bits_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="range"):
        sfloat_value(bits)


@given(st.integers(0, (1 << 32) - 1))
def test_writing_a_float_and_reading_it_gives_the_same_value_and_digits(bits: int) -> None:
    value = float_value(bits)
    again = float_value(float_bits(value))
    assert literal(again) == literal(value)


def test_writing_an_sfloat_and_reading_it_gives_the_same_digits_for_all_of_them() -> None:
    for bits in range(1 << 16):
        value = sfloat_value(bits)
        assert literal(sfloat_value(sfloat_bits(value))) == literal(value)
