"""Places as coarse as 45 CFR 164.514(b)(2)(i)(B) asks: country, state of the United States, ZIP3.

Each is compared with a list, since its field takes any text. A postal code of another country is not shown.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

__all__ = ["place"]


def _listed(name: str) -> frozenset[str]:
    with (Path(__file__).resolve().parent / "places.csv").open(encoding="utf-8", newline="") as file:
        return frozenset(row["code"] for row in csv.DictReader(file) if row["list"] == name)


_STATES = _listed("state")
_COUNTRIES = _listed("country")
_US = frozenset({"US", "USA"})
_ZIP = re.compile(r"[0-9]{5}(?:-?[0-9]{4})?")
_FEW_PEOPLE = _listed("zip3")
"""20,000 people or fewer: the seventeen of the US Department of Health's guidance (census of 2000), and further
ones of few or no residents in later lists. Better too many than too few."""


def place(country: Any, state: Any, postal_code: Any) -> dict[str, Any]:
    """What is shown of where somebody lives; a ZIP3 only where the country is the United States.

    Without a country, one of its states says so.
    """
    shown: dict[str, Any] = {}
    is_us = type(country) is str and country in _US
    if type(state) is str and state in _STATES and (is_us or country is None):
        shown["state"] = state
        is_us = True
    if is_us and type(postal_code) is str and _ZIP.fullmatch(postal_code):
        shown["postalCode"] = "000" if postal_code[:3] in _FEW_PEOPLE else postal_code[:3]
    if type(country) is str and country in _US | _COUNTRIES:
        shown["country"] = "US" if is_us else country
    return shown
