"""Who assigned a number: HD and its relatives to an identifier system. HL7 v2.9 §2.A.36.

A system is the sender's declared one, or the universal id as a URI. Nothing else becomes a URI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hdg.fhir.urns import plain_uuid, spellings, urn_of_uuid, with_one_case
from hdg.ingestion.hl7v2.primitives import plain
from hdg.ingestion.hl7v2.state import State
from hdg.terminology import Systems

_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+", re.ASCII)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s]+")


def split(text: str) -> list[str]:
    """Components of a text at whichever level it stands (``^`` or ``&``)."""
    return text.split("^") if "^" in text else text.split("&")


def part(parts: list[str], number: int, state: State) -> str:
    """Part ``number`` (1-based), unescaped; '' if absent or deleted."""
    if number > len(parts) or not (text := parts[number - 1]) or text == '""':
        return ""
    return plain(text, state)


def universal_uri(identifier: str, kind: str, state: State) -> str | None:
    """A universal id as a URI, by its type (table 0301); registered OIDs get their canonical URI."""
    return uri_among(identifier, kind, state.systems)


def uri_among(identifier: str, kind: str, systems: Systems) -> str | None:
    """``universal_uri`` by a registry alone."""
    kind = kind.upper()
    if kind == "ISO" and _OID.fullmatch(identifier):
        return systems.uri(identifier) or f"urn:oid:{identifier}"
    if kind in ("UUID", "GUID"):
        return urn_of_uuid(identifier)
    if kind == "URI" and _URI.fullmatch(identifier):
        return with_one_case(identifier)
    return None


def authority_uri(namespace: str, identifier: str, kind: str, state: State) -> str | None:
    """The identifier system of an authority, or None."""
    if not identifier and not state.sender.authorities:
        return None
    key = ("authority", namespace, identifier, kind)
    shared = state.shared
    if shared is None:
        return _authority_uri(namespace, identifier, kind, state)
    found: str | None = shared.get(key)
    if found is None:
        found = _authority_uri(namespace, identifier, kind, state)
        if found is not None:
            state.keep(key, found)
    return found


def _authority_uri(namespace: str, identifier: str, kind: str, state: State) -> str | None:
    found = declared_uri(namespace, identifier, state.sender.authorities)
    if found:
        return found
    return universal_uri(identifier, kind, state) if identifier else None


def declared_uri(namespace: str, identifier: str, authorities: Mapping[str, str]) -> str:
    """What the sender declares of an authority, by its name, else by its universal id; '' for nothing."""
    names = (namespace, *spellings(identifier)) if authorities else ()
    return next((uri for name in names if (uri := authorities.get(name))), "")


def authority_facts(namespace: str, identifier: str, kind: str, state: State) -> str:
    """What tells one authority from another in an id: its URI if it has one, else its names as sent."""
    uri = authority_uri(namespace, identifier, kind, state)
    if uri:
        return uri
    identifier = plain_uuid(identifier) or identifier
    return f"{identifier}#{kind}" if identifier else f"#{namespace}" if namespace else ""
