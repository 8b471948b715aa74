"""Whether two statements of a document with the same ids are one, and what they say together.

An II is of one thing (HL7 v3 Data Types R1); senders give one to several statements, and state one thing twice.
"""

from __future__ import annotations

from typing import Any, Final

from hdg.mapping.context import JsonObject, is_same

__all__ = ["differing", "is_same_encounter", "is_same_event", "unite"]

_WHAT: Final = ("code", "medicationCodeableConcept", "vaccineCode", "type")
_WHETHER: Final = ("verificationStatus", "doNotPerform")


def unite(held: JsonObject, other: JsonObject) -> list[str]:
    """Puts into ``held`` what ``other`` says besides; elements in which they differ, of which the first stays."""
    found = differing(held, other)
    for name, value in other.items():
        mine = held.get(name)
        if mine is None or (mine != value and _says_nothing(mine)):
            held[name] = value
        elif name == "period" and _is_compatible(mine, value):
            held[name] = {**value, **mine}
        elif isinstance(mine, list) and isinstance(value, list):
            held[name] = [*mine, *(item for item in value if item not in mine)]
    return found


def differing(held: JsonObject, other: JsonObject) -> list[str]:
    """Elements of one value in which two statements differ."""
    return [
        name
        for name, value in other.items()
        if name in held
        and not (isinstance(held[name], list) and isinstance(value, list))
        and not is_same(held[name], value)
        and not _says_nothing(held[name])
        and not _says_nothing(value)
        and not (name == "period" and _is_compatible(held[name], value))
    ]


def _says_nothing(value: Any) -> bool:
    """Whether a value says only that it is not known."""
    return value == "unknown" or (
        isinstance(value, dict) and str(value.get("system", "")).endswith("/v3-NullFlavor")
    )


def _is_compatible(one: JsonObject, other: JsonObject) -> bool:
    """Whether two periods differ only in what one of them leaves open."""
    return all(one[name] == value for name, value in other.items() if name in one)


def is_same_encounter(held: JsonObject, other: JsonObject) -> bool:
    """Whether two encounters with the same ids can be one: the header and a section speak of the same."""
    if "type" in held and "type" in other and held["type"] != other["type"]:
        return False
    days = [str(one.get("period", {}).get("start", ""))[:10] for one in (held, other) if one.get("period")]
    return len(days) < 2 or days[0] == days[1] or not all(days)


def is_same_event(held: JsonObject, other: JsonObject) -> bool:
    """Whether two events with the same ids say of the same thing whether it happened, and when.

    Senders give one id to several statements; what differs in any single value is another one.
    """
    times = {
        name for name in (*held, *other) if name.startswith(("effective", "performed", "occurrence", "value"))
    }
    return any(held.get(name) for name in _WHAT) and all(
        held.get(name) == other.get(name) for name in (*_WHAT, *_WHETHER, *times)
    )
