"""PN, AD, TEL and ON to HumanName, Address, ContactPoint and text. R4 datatypes.html#humanname."""

from __future__ import annotations

import re
from typing import Any, Final

from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values_basic import converter, to_string
from hdg.ingestion.cda.values_times import to_period
from hdg.ingestion.cda.xml import Element, children, local
from hdg.mapping.context import JsonObject, Several

__all__ = ["to_address", "to_contact", "to_name"]

_NAME_USES: Final = {
    "L": "official",
    "C": "official",
    "A": "anonymous",
    "P": "nickname",
    "I": "usual",
    "ASGN": "usual",
}
_ADDRESS_USES: Final = {
    "H": "home",
    "HP": "home",
    "HV": "home",
    "WP": "work",
    "DIR": "work",
    "PUB": "work",
    "TMP": "temp",
    "BAD": "old",
    "OLD": "old",
}
_TELECOM_USES: Final = {
    "H": "home",
    "HP": "home",
    "HV": "home",
    "WP": "work",
    "DIR": "work",
    "PUB": "work",
    "MC": "mobile",
    "TMP": "temp",
    "BAD": "old",
}
_TELECOM_SYSTEMS: Final = {
    "tel": "phone",
    "fax": "fax",
    "mailto": "email",
    "sms": "sms",
    "http": "url",
    "https": "url",
    "ftp": "url",
}


def _use(element: Element, uses: dict[str, str]) -> str:
    for word in element.get("use", "").split():
        if word in uses:
            return uses[word]
    return ""


def _useable(element: Element, state: State, name: str) -> JsonObject | None:
    for period in children(element, name):
        return to_period(period, state)
    return None


def _text(part: Element) -> str:
    """The text of a part, with single blanks."""
    found = (part.text or "") if not part.inner else "".join(part.itertext())
    return " ".join(found.split())


@converter("PN.HumanName")
def to_name(element: Element, state: State) -> Any:
    """PN or EN, with parts or as one text."""
    found: JsonObject = {}
    parts: dict[str, list[str]] = {}
    families: list[tuple[str, Element]] = []
    for part in element.inner:
        text = _text(part)
        if not text or part.get("nullFlavor"):
            continue
        name = local(part)
        if name == "family":
            families.append((text, part))
        elif name in ("given", "prefix", "suffix"):
            parts.setdefault(name, []).append(text)
    use = _use(element, _NAME_USES)
    current = [text for text, part in families if "BR" not in part.get("qualifier", "").split()]
    births = [text for text, part in families if "BR" in part.get("qualifier", "").split()]
    if use:
        found["use"] = use
    if current:
        found["family"] = " ".join(current)
    found |= parts
    if not current and not parts and not births:
        loose = " ".join("".join(element.itertext()).split())
        if loose:
            found["text"] = loose
    period = _useable(element, state, "validTime")
    if period:
        found["period"] = period
    names = [found] if set(found) - {"use", "period"} else []
    if births:
        names.append(
            {"use": "maiden", "family": " ".join(births), **{k: v for k, v in parts.items() if k == "given"}}
        )
    if not names:
        return None
    return names[0] if len(names) == 1 else Several(names)


@converter("AD.Address")
def to_address(element: Element, state: State) -> JsonObject | None:
    """AD."""
    found: JsonObject = {}
    lines: list[str] = []
    single: dict[str, str] = {}
    for part in element.inner:
        text = _text(part)
        if not text or part.get("nullFlavor"):
            continue
        name = local(part)
        if name in _PLACES:
            single[_PLACES[name]] = f"{single[_PLACES[name]]} {text}" if _PLACES[name] in single else text
        elif name != "useablePeriod":
            lines.append(text)
    use = _use(element, _ADDRESS_USES)
    if use:
        found["use"] = use
    words = element.get("use", "").split()
    if "PST" in words or "PHYS" in words:
        found["type"] = (
            "both" if {"PST", "PHYS"} <= set(words) else "postal" if "PST" in words else "physical"
        )
    if lines:
        found["line"] = lines
    found |= single
    if not lines and not single:
        loose = " ".join((element.text or "").split())
        if loose:
            found["text"] = loose
    period = _useable(element, state, "useablePeriod")
    if period:
        found["period"] = period
    return found if set(found) - {"use", "type", "period"} else None


_PLACES: Final = {
    "city": "city",
    "county": "district",
    "state": "state",
    "postalCode": "postalCode",
    "country": "country",
}


@converter("TEL.ContactPoint")
def to_contact(element: Element, state: State) -> JsonObject | None:
    """TEL."""
    value = element.get("value", "").strip()
    if not value or element.get("nullFlavor"):
        return None
    scheme, mark, rest = value.partition(":")
    system = _TELECOM_SYSTEMS.get(scheme.strip().lower()) if mark else None
    found: JsonObject = {}
    if system == "url":
        found = {"system": system, "value": value}
    elif system is not None:
        if not rest.strip():
            return None
        found = {"system": system, "value": rest.strip()}
    else:
        found = {
            "system": "email" if "@" in value else "phone" if re.search(r"\d{3}", value) else "other",
            "value": value,
        }
    use = _use(element, _TELECOM_USES)
    if use:
        found["use"] = use
    period = _useable(element, state, "useablePeriod")
    if period:
        found["period"] = period
    return found


@converter("ON.string")
def to_organization_name(element: Element, state: State) -> str | None:
    """ON: all its text."""
    return to_string(element, state)


@converter("AD.work")
def to_work_address(element: Element, state: State) -> JsonObject | None:
    """AD of an organization, which R4 does not let be anybody's home (org-2)."""
    return _not_home(to_address(element, state))


@converter("TEL.work")
def to_work_contact(element: Element, state: State) -> JsonObject | None:
    """TEL of an organization, which R4 does not let be anybody's home (org-3)."""
    return _not_home(to_contact(element, state))


def _not_home(found: JsonObject | None) -> JsonObject | None:
    if found is not None and found.get("use") == "home":
        del found["use"]
    return found
