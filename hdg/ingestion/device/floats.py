"""IEEE 11073 FLOAT (32 bits) and SFLOAT (16 bits) to decimals that keep their digits, and back.

A signed exponent of ten (8 or 4 bits) stands above a signed mantissa (24 or 12 bits): exponent -2 with mantissa
200 is ``2.00``, for the exponent is the precision. With exponent 0 five mantissas are no numbers: IEEE
11073-20601 Annex F.6, F.7; PHD guide, https://hl7.org/fhir/uv/phd/MderFLOATsandSFLOATs.html.
"""

from __future__ import annotations

from enum import Enum

from hdg.fhir.json import Decimal

__all__ = ["Special", "Value", "decimal_of", "float_bits", "float_value", "sfloat_bits", "sfloat_value"]

_DIGITS_MAX = 18
"""Digits that R4's decimal should keep (datatypes.html#decimal); a longer number is written with an exponent."""


class Special(Enum):
    """What stands in the place of a number. ``value`` is the offset of its mantissa from 2**(bits - 1)."""

    NAN = -1
    POSITIVE_INFINITY = -2
    NRES = 0
    RESERVED = 1
    NEGATIVE_INFINITY = 2

    @property
    def reason(self) -> str:
        """The code of http://terminology.hl7.org/CodeSystem/data-absent-reason that the PHD guide names."""
        return _REASONS[self]


_REASONS = {
    Special.NAN: "not-a-number",
    Special.POSITIVE_INFINITY: "positive-infinity",
    Special.NEGATIVE_INFINITY: "negative-infinity",
    Special.NRES: "error",
    Special.RESERVED: "error",
}

Value = Decimal | Special


def float_value(bits: int) -> Value:
    """The value of a FLOAT given as an unsigned 32-bit integer. Raises ValueError outside that range."""
    return _value(bits, 24, 8)


def sfloat_value(bits: int) -> Value:
    """The value of an SFLOAT given as an unsigned 16-bit integer. Raises ValueError outside that range."""
    return _value(bits, 12, 4)


def float_bits(value: Value) -> int:
    """The FLOAT of a value as an unsigned 32-bit integer. Raises ValueError when its digits do not fit."""
    return _bits(value, 24, 8)


def sfloat_bits(value: Value) -> int:
    """The SFLOAT of a value as an unsigned 16-bit integer. Raises ValueError when its digits do not fit."""
    return _bits(value, 12, 4)


def decimal_of(mantissa: int, exponent: int) -> Decimal:
    """``mantissa`` × 10 ** ``exponent`` with as many decimals as a negative exponent says."""
    if not mantissa:
        exponent = min(exponent, 0)
    sign, digits = "-" if mantissa < 0 else "", str(abs(mantissa))
    if exponent >= 0:
        if len(digits) + exponent > _DIGITS_MAX:
            return Decimal(f"{sign}{digits}E+{exponent}")
        return Decimal(sign + digits + "0" * exponent)
    if -exponent >= _DIGITS_MAX:
        return Decimal(f"{sign}{digits}E{exponent}")
    digits = digits.rjust(1 - exponent, "0")
    return Decimal(f"{sign}{digits[:exponent]}.{digits[exponent:]}")


def _value(bits: int, mantissa_bits: int, exponent_bits: int) -> Value:
    if bits < 0 or bits >> (mantissa_bits + exponent_bits):
        raise ValueError("outside the range of the encoding")
    half = 1 << (mantissa_bits - 1)
    mantissa = bits & (2 * half - 1)
    exponent = bits >> mantissa_bits
    if not exponent and -2 <= mantissa - half <= 2:
        return Special(mantissa - half)
    if mantissa >= half:
        mantissa -= 2 * half
    if exponent >> (exponent_bits - 1):
        exponent -= 1 << exponent_bits
    return decimal_of(mantissa, exponent)


def _bits(value: Value, mantissa_bits: int, exponent_bits: int) -> int:
    half = 1 << (mantissa_bits - 1)
    if isinstance(value, Special):
        return half + value.value
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("a special value is given as Special")
    mantissa = int("".join(map(str, digits)))
    least, most = -(1 << (exponent_bits - 1)), (1 << (exponent_bits - 1)) - 1
    while (
        mantissa and mantissa % 10 == 0 and 0 <= exponent < most and not _fits(mantissa, sign, exponent, half)
    ):
        mantissa //= 10  # zeros before the point say nothing of precision
        exponent += 1
    while exponent > most and _fits(mantissa * 10, sign, exponent - 1, half):
        mantissa *= 10
        exponent -= 1
    if not least <= exponent <= most or not _fits(mantissa, sign, exponent, half):
        raise ValueError("more digits than the encoding holds")
    signed = -mantissa if sign else mantissa
    return ((exponent % (1 << exponent_bits)) << mantissa_bits) | (signed % (2 * half))


def _fits(mantissa: int, sign: int, exponent: int, half: int) -> bool:
    """Whether a mantissa is in range and does not read as one of the special values."""
    signed = -mantissa if sign else mantissa
    if exponent == 0:
        return -half + 2 < signed < half - 2
    return -half <= signed < half
