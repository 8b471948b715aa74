"""Units that are surely units: text that reads as UCUM and holds no words.

UCUM §2 (https://ucum.org/ucum). A unit is a text, and a text could hold a name: what a researcher is shown must
be made of the atoms below. Annotations in braces mean nothing (UCUM §12), so they are taken out.
"""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

__all__ = ["is_age", "plain"]

with (Path(__file__).resolve().parent / "units.csv").open(encoding="utf-8", newline="") as _file:
    _ROWS = list(csv.DictReader(_file))
_PREFIXED = frozenset(row["atom"] for row in _ROWS if row["prefixes"])
_PLAIN = frozenset(row["atom"] for row in _ROWS if not row["prefixes"])
_MOST: dict[str, int] = dict.fromkeys(("a", "a_j", "a_t", "a_g"), 89) | dict.fromkeys(
    ("mo", "mo_j", "mo_s", "mo_g"), 89 * 12
)
_MOST |= {"wk": 89 * 52, "d": 89 * 365, "h": 89 * 365 * 24, "min": 89 * 365 * 1_440, "s": 89 * 365 * 86_400}
_MOST |= {"ms": 89 * 365 * 86_400 * 10**3, "us": 89 * 365 * 86_400 * 10**6, "ns": 89 * 365 * 86_400 * 10**9}
"""Unit of time → 89 years of it, rather too few than too many."""
_PREFIXES = ("", "da", *"YZEPTGMkhdcmunpfazy")
_TERM = re.compile(r"((?:10[*^])|\[[^\[\]{}]*\]|[A-Za-z%'_*]+(?:\[[^\[\]{}]*\])?)([+-]?[0-9]{1,2})?\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,5}\Z")
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_LONGEST = 40


@lru_cache(maxsize=4096)
def plain(text: str) -> str | None:
    """The unit without its annotations (``{beats}/min`` → ``/min``, ``{score}`` → ``1``); None: it is none."""
    if len(text) > _LONGEST * 2:
        return None
    bare = _ANNOTATION.sub("", text)
    if bare == "" and text:
        return "1"
    return bare if 0 < len(bare) <= _LONGEST and _is_unit(bare) else None


def _is_unit(text: str) -> bool:
    inner = text
    while (opened := re.search(r"\(([^()]*)\)", inner)) is not None:
        if not _is_product(opened[1]):
            return False
        inner = inner[: opened.start()] + "1" + inner[opened.end() :]
    return "(" not in inner and ")" not in inner and _is_product(inner)


def _is_product(text: str) -> bool:
    factors = re.split(r"[./](?![^\[]*\])", text.removeprefix("/"))
    return all(map(_is_factor, factors))


def _is_factor(text: str) -> bool:
    if _NUMBER.match(text):
        return True
    term = _TERM.match(text)
    return term is not None and _is_atom(term[1])


def _is_atom(name: str) -> bool:
    if name in _PLAIN:
        return True
    return any(name.startswith(head) and name[len(head) :] in _PREFIXED for head in _PREFIXES)


def is_age(unit: str, value: Decimal | int) -> bool:
    """Whether a quantity is a time of more than 89 years.

    Any amount of a time that is written in an unusual way (``10*3.d``, ``(a)``, ``Gs``) counts as one.
    """
    most = _MOST.get(unit)
    return _is_time(unit) if most is None else abs(value) > most


def _is_time(unit: str) -> bool:
    """Whether the dimension is time and no other unit is in it."""
    power = 0
    for separator, factor in re.findall(r"(^|[./(])([^./()]+)", unit):
        term = _TERM.match(factor)
        if term is None or term[1] in ("10*", "10^"):
            continue
        if term[1] not in _MOST and not (term[1].endswith("s") and term[1][:-1] in _PREFIXES):
            return False
        power += int(term[2] or 1) * (-1 if separator == "/" else 1)
    return power == 1
