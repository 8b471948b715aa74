"""Units that are surely units: text that reads as UCUM and holds no words.

UCUM §2 (https://ucum.org/ucum). A unit is a text, and a text could hold a name: what a researcher is shown must
be made of the atoms of units.csv. Annotations in braces are free text (UCUM §12): those not listed are taken out.
"""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

__all__ = ["is_age", "is_time", "plain"]

with (Path(__file__).resolve().parent / "units.csv").open(encoding="utf-8", newline="") as _file:
    _ROWS = list(csv.DictReader(_file))
_PREFIXED = frozenset(row["text"] for row in _ROWS if row["kind"] == "prefixed")
_PLAIN = frozenset(row["text"] for row in _ROWS if row["kind"] == "plain")
_KNOWN = frozenset(row["text"] for row in _ROWS if row["kind"] == "annotation")
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
_ATTACHED = re.compile(r"(?<=[^./(])\{[^{}]*\}")
_LONE = re.compile(r"(^|[./(])(\{[^{}]*\})")
_LONGEST = 40


@lru_cache(maxsize=4096)
def plain(text: str) -> str | None:
    """The unit without annotations that are not listed (``10*3/uL{Smith}`` → ``10*3/uL``); None: it is none."""
    if not 0 < len(text) <= _LONGEST or not _is_unit(_bare(text)):
        return None
    return _LONE.sub(_kept_alone, _ATTACHED.sub(_kept, text))


def _bare(text: str) -> str:
    """Without any annotation; one that stands alone is a 1."""
    return _ANNOTATION.sub("", _LONE.sub(r"\g<1>1", text))


def _kept(annotation: re.Match[str]) -> str:
    return annotation[0] if annotation[0][1:-1] in _KNOWN else ""


def _kept_alone(found: re.Match[str]) -> str:
    return found[0] if found[2][1:-1] in _KNOWN else f"{found[1]}1"


def _is_unit(text: str) -> bool:
    if _is_atom(text):  # some have brackets, dots and slashes in their name
        return True
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
    most = _MOST.get(_bare(unit))
    return is_time(unit) if most is None else not -most <= value <= most


def is_time(unit: str) -> bool:
    """Whether the dimension is time and no other unit is in it."""
    power = 0
    for separator, factor in re.findall(r"(^|[./(])([^./()]+)", _bare(unit)):
        term = _TERM.match(factor)
        if term is None or term[1] in ("10*", "10^"):
            continue
        if term[1] not in _MOST and not (term[1].endswith("s") and term[1][:-1] in _PREFIXES):
            return False
        power += int(term[2] or 1) * (-1 if separator == "/" else 1)
    return power == 1
