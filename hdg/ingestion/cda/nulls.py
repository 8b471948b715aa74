"""What has a nullFlavor has no value, whatever else a sender writes there, or in what it holds.

HL7 v3 Data Types Abstract Specification R1 §2.1.2: a nullFlavor says why there is no proper value. Two are left as they
are: ``OTH`` says that the value is of no set that was asked for, ``MSK`` that some of it is hidden (``***-**-2222``).

HL7 RIM, InfrastructureRoot.nullFlavor: on a participation, a role or an entity it says that nothing is known of that.
A sender who codes a product or a substance in it all the same says both; then the code is as one that has a nullFlavor
itself: its words are kept, and that is told.
"""

from __future__ import annotations

from typing import Any, Final

from hdg.ingestion.cda.element import without

__all__ = ["says_more", "without_nulled"]

_BESIDE: Final = "what stands beside a nullFlavor was left out"
_WITHIN: Final = "a code within what has a nullFlavor was left out: its words are kept"

_NOT_APPLICABLE: Final = "NA"
_NOT_KNOWN: Final = "NI"
"""Of what was coded: it is not that there is none, as NA says of a medicine."""
_VALUES: Final = ("value", "code", "extension")
_KEPT: Final = ("OTH", "MSK")
_PARTS: Final = frozenset({"translation", "qualifier"})
"""What they are a part of counts; a quantity's is in a unit that v3 does not know."""
_HOLDERS: Final = frozenset(
    {
        "consumable",
        "product",
        "manufacturedProduct",
        "manufacturedMaterial",
        "manufacturedLabeledDrug",
        "participant",
        "participantRole",
        "playingEntity",
        "playingDevice",
    }
)
"""Where products, substances and devices are named."""


def says_more(element: Any) -> bool:
    """Whether what has a nullFlavor also has a value, or may hold one, or its nullFlavor is blank."""
    get = element.get
    return (
        get("value") is not None
        or get("code") is not None
        or get("extension") is not None
        or not get("nullFlavor").strip()
        or element.tag.rpartition("}")[2] in _HOLDERS
    )


def without_nulled(root: Any) -> list[tuple[Any, str, str]]:
    """Takes values from what has a nullFlavor, and nullFlavors that say nothing; the values that were taken, each with
    what is to be told of it.

    ``root``: of elements of either library.
    """
    taken: list[tuple[Any, str, str]] = []
    holders: list[Any] = []
    for element in root.iter():
        null = element.get("nullFlavor")
        if null is None:
            continue
        if not null.strip():
            without(element, "nullFlavor")
        elif null.strip() not in _KEPT and element.tag.rpartition("}")[2] not in _PARTS:
            if element.tag.rpartition("}")[2] in _HOLDERS:
                holders.append(element)
            is_rootless = element.get("root") is None  # only whose number it is, is not known
            taken += [
                (element, name, _BESIDE)
                for name in _VALUES
                if element.get(name) and not (name == "extension" and is_rootless)
            ]
    for element, name, _ in taken:
        without(element, name)
        if name == "code" and element.get("nullFlavor") == _NOT_APPLICABLE:
            element.set("nullFlavor", _NOT_KNOWN)
    return taken + [(one, "code", _WITHIN) for holder in holders for one in _without_codes(holder)]


def _without_codes(holder: Any) -> list[Any]:
    """Takes their codes from the codes in an element; these."""
    found = [one for one in holder.iter() if one.tag.rpartition("}")[2] == "code" and one.get("code")]
    for one in found:
        without(one, "code")
        one.set("nullFlavor", _NOT_KNOWN)
    return found
