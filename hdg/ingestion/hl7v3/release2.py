"""Datatypes of release 2 written as those of release 1, which the tables know.

HL7 v3 Data Types R2 (ISO 21090) against R1, XML ITS: parts of names and addresses are ``part`` elements with a type and
a value, the name of a code and its original text are elements with a value, and so is a text. Everything else is alike.
"""

from __future__ import annotations

from hdg.errors import Issue
from hdg.ingestion.cda.element import without
from hdg.ingestion.cda.xml import HL7, XSI_TYPE, Element, Tree

__all__ = ["as_release_1"]

_PARTS = {
    "FAM": "family",
    "GIV": "given",
    "PFX": "prefix",
    "SFX": "suffix",
    "DEL": "delimiter",
    "AL": "streetAddressLine",
    "DAL": "streetAddressLine",
    "SAL": "streetAddressLine",
    "ADL": "additionalLocator",
    "BNR": "houseNumber",
    "BNN": "houseNumberNumeric",
    "CAR": "careOf",
    "CEN": "censusTract",
    "CNT": "country",
    "CPA": "county",
    "CTY": "city",
    "POB": "postBox",
    "PRE": "precinct",
    "STA": "state",
    "STB": "streetNameBase",
    "STR": "streetName",
    "STTYP": "streetNameType",
    "UNID": "unitID",
    "UNIT": "unitType",
    "ZIP": "postalCode",
}
"""EntityNamePartType and AddressPartType → the element of R1."""
_PART, _DISPLAY, _ORIGINAL = (HL7 + name for name in ("part", "displayName", "originalText"))
_TEXTS = ("ST", "ED", "SC", "ST.NT", "ED.TEXT")


def as_release_1(tree: Tree, issues: list[Issue]) -> None:
    """Changes a message in place, where it has anything of release 2; what R1 has no element for is an Issue."""
    if not any(_is_of_2(element) for element in tree.root.iter()):
        return
    tree.as_written(tree.root)  # both trees change alike
    for element in list(tree.root.iter()):
        if element.tag == _PART and element.get("type") not in _PARTS:
            text = "a part of a name or an address is of a type that is not known"
            issues.append(Issue("warning", "not-supported", tree.place_of(element), text))
        elif element.tag == _PART:
            _say(element, tree)
            tree.rename(element, HL7 + _PARTS[_taken(element, "type", tree)])
        elif element.tag == _DISPLAY and element.get("value"):
            holder = element.around
            for one in () if holder is None else (holder, tree.as_written(holder)):
                if one.get("displayName") is None:
                    one.set("displayName", element.get("value", ""))
            tree.remove(element)
        elif _is_of_2(element):
            _say(element, tree)


def _is_of_2(element: Element) -> bool:
    if element.tag in (_PART, _DISPLAY, _ORIGINAL):
        return bool(element.get("value"))
    return (
        element.get(XSI_TYPE, "").rpartition(":")[2] in _TEXTS
        and bool(element.get("value"))
        and not (element.text or "").strip()
    )


def _say(element: Element, tree: Tree) -> None:
    """Makes a text of the value."""
    text = _taken(element, "value", tree)
    for one in (element, tree.as_written(element)):
        one.text = text


def _taken(element: Element, name: str, tree: Tree) -> str:
    """An attribute, which goes."""
    without(tree.as_written(element), name)
    return without(element, name)
