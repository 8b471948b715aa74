"""What has a nullFlavor has no value, whatever else a sender writes there.

HL7 v3 Data Types Abstract Specification R1 §2.1.2: a nullFlavor says why there is no proper value. Two are left as they
are: ``OTH`` says that the value is of no set that was asked for, ``MSK`` that some of it is hidden (``***-**-2222``).
"""

from __future__ import annotations

from typing import Any, Final

from hdg.ingestion.cda.element import without

__all__ = ["says_more", "without_nulled"]

_VALUES: Final = ("value", "code", "extension")
_KEPT: Final = ("OTH", "MSK")
_PARTS: Final = frozenset({"translation", "qualifier"})
"""What they are a part of counts; a quantity's is in a unit that v3 does not know."""


def says_more(element: Any) -> bool:
    """Whether what has a nullFlavor also has a value, or its nullFlavor is blank."""
    get = element.get
    return (
        get("value") is not None
        or get("code") is not None
        or get("extension") is not None
        or not get("nullFlavor").strip()
    )


def without_nulled(root: Any) -> list[tuple[Any, str]]:
    """Takes values from what has a nullFlavor, and nullFlavors that say nothing; the values that were taken.

    ``root``: of elements of either library.
    """
    taken: list[tuple[Any, str]] = []
    for element in root.iter():
        null = element.get("nullFlavor")
        if null is None:
            continue
        if not null.strip():
            without(element, "nullFlavor")
        elif null.strip() not in _KEPT and element.tag.rpartition("}")[2] not in _PARTS:
            is_rootless = element.get("root") is None  # only whose number it is, is not known
            taken += [
                (element, name)
                for name in _VALUES
                if element.get(name) and not (name == "extension" and is_rootless)
            ]
    for element, name in taken:
        without(element, name)
    return taken
