"""A UCUM expression, read and reduced.

UCUM §§2-13 (https://ucum.org/ucum). Hostile input costs little: texts and exponents are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from hdg.terminology.ucum import units

__all__ = ["Unit", "unit"]

_TEXT_MAX = 120
_EXPONENT_MAX = 99
_TOKEN = re.compile(
    r"[./()]|\{[\x20-\x7a\x7c\x7e]*\}|[^./(){}\[\]]*(?:\[[^\[\]{}]*\][^./(){}\[\]]*)*", re.ASCII
)
_SIMPLE = re.compile(r"(?P<atom>10\*|10\^|.*?[^0-9+-])(?P<exponent>[+-]?[0-9]{1,2})?\Z", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,30}\Z", re.ASCII)

_Dimension = Mapping[str, int]
_One = tuple[Fraction, _Dimension]


@dataclass(frozen=True, slots=True)
class Unit:
    """What one unit is: a value in it times ``factor`` plus ``offset`` is the value in canonical units.

    ``dimension``: the canonical units, as a UCUM expression (``g.m-3``, ``1``); units of one dimension are
    comparable.
    """

    factor: Fraction
    offset: Fraction
    dimension: str

    def canonical(self, value: Decimal | int | Fraction) -> Fraction:
        """A value in this unit, in canonical units."""
        return Fraction(value) * self.factor + self.offset


@lru_cache(maxsize=4096)
def unit(code: str) -> Unit | None:
    """The unit of a case sensitive code; None: not UCUM, or not to be converted."""
    if not code or len(code) > _TEXT_MAX or code.isspace():
        return None
    special = _special(_bare(code))
    if special is not None:
        return special
    try:
        factor, dimension = _Reader(code).whole()
    except _Unreadable:
        return None
    return Unit(factor, Fraction(0), _named(dimension)) if factor > 0 else None


class _Unreadable(Exception):
    """Not a unit that is known."""


def _named(dimension: _Dimension) -> str:
    parts = [name if power == 1 else f"{name}{power}" for name, power in sorted(dimension.items())]
    return ".".join(parts) or "1"


def _bare(code: str) -> str:
    """A unit alone without its annotation (UCUM §12)."""
    return code.partition("{")[0] if code.endswith("}") and code.count("{") == 1 else code


def _special(code: str) -> Unit | None:
    """A unit that is no ratio, which therefore stands alone (UCUM §21)."""
    for prefix, rest in _split(code):
        if rest in units.AFFINE:
            slope, degrees = (Fraction(text) for text in units.AFFINE[rest])
            return Unit(prefix * slope, degrees * slope, "K")
        if rest in units.ALONE:
            return Unit(prefix, Fraction(0), rest)
    return None


def _split(code: str) -> list[tuple[Fraction, str]]:
    """An atom as it stands, and with each prefix that it may begin with."""
    found = [(Fraction(1), code)]
    for prefix, (base, power) in units.PREFIXES.items():
        rest = code[len(prefix) :]
        if rest and code.startswith(prefix) and _takes_prefix(rest):
            found.append((Fraction(base) ** power, rest))
    return found


def _takes_prefix(atom: str) -> bool:
    return atom in units.BASE or atom in units.PREFIXED or atom in _METRIC or atom in units.SAME


def _table(text: str) -> dict[str, tuple[Fraction, str]]:
    rows = (line.split() for line in text.strip().splitlines())
    return {code: (Fraction(factor), expression) for code, factor, expression in rows}


_METRIC = _table(units.METRIC)
_PLAIN = _table(units.PLAIN)


@lru_cache(maxsize=4096)
def _atom(code: str) -> _One:
    """One simple unit: an atom with or without a prefix. The whole code comes first (``cd`` is no ``d``)."""
    for prefix, rest in _split(code):
        name = units.SAME.get(rest, rest)
        if name in units.BASE or name in units.ARBITRARY:
            return prefix, {name: 1}
        row = _METRIC.get(name) or _PLAIN.get(name)
        if row is not None:
            factor, dimension = _Reader(row[1]).whole()
            return prefix * row[0] * factor, dimension
    raise _Unreadable


def _times(one: _One, other: _One, sign: int) -> _One:
    powers = dict(one[1])
    for name, power in other[1].items():
        powers[name] = powers.get(name, 0) + sign * power
    return one[0] * other[0] ** sign, {name: power for name, power in powers.items() if power}


class _Reader:
    """UCUM §7: a term is components joined by points and slashes, worked off from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = self._tokenized(text)
        self._at = 0

    @staticmethod
    def _tokenized(text: str) -> list[str]:
        tokens, position = [], 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.end() == position:
                raise _Unreadable
            tokens.append(match[0])
            position = match.end()
        return tokens

    def whole(self) -> _One:
        """The whole text as one term. Raises _Unreadable."""
        found = self._term()
        if self._at != len(self._tokens):
            raise _Unreadable
        return found

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _term(self) -> _One:
        found: _One = (Fraction(1), {})
        sign = 1
        if self._peek() == "/":
            sign = -1
            self._at += 1
        while True:
            part = self._component()
            if sign < 0 and not part[0]:
                raise _Unreadable
            found = _times(found, part, sign)
            if self._peek() not in (".", "/") or not self._peek():
                return found
            sign = 1 if self._peek() == "." else -1
            self._at += 1

    def _component(self) -> _One:
        text = self._peek()
        self._at += 1
        if text == "(":
            found = self._term()
            if self._peek() != ")":
                raise _Unreadable
            self._at += 1
            return found
        if not text or text in "./)":
            raise _Unreadable
        if text[0] == "{":
            return Fraction(1), {}
        found = (Fraction(int(text)), {}) if _DIGITS.match(text) else _powered(text)
        if self._peek()[:1] == "{":
            self._at += 1
        return found


def _powered(token: str) -> _One:
    match = _SIMPLE.match(token)
    if match is None:
        raise _Unreadable
    factor, dimension = _atom(match["atom"])
    power = int(match["exponent"] or "1")
    if abs(power) > _EXPONENT_MAX or not power:
        raise _Unreadable
    return factor**power, {name: each * power for name, each in dimension.items()}
