"""The access policy: what each role may read when no Consent speaks, and what it may write; loaded from one
TOML file (docs/access-policy.md).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hdg.errors import SettingsError

__all__ = ["NOT_BY_SENDER", "ROLES", "SHIPPED", "Policy", "load_policy"]

SHIPPED = Path(__file__).resolve().parent.parent / "policy.toml"
ROLES = ("patient", "clinician", "researcher", "operator")
NOT_BY_SENDER = "Consent"
"""The type that an institution may not read for having sent it, whatever the file says."""

_SECTIONS = {
    "version": int,
    "patient": dict,
    "institution": dict,
    "roles": dict,
    "obligations": dict,
    "without_patient": dict,
    "restricted": dict,
    "purposes": dict,
}
_OPTIONAL = {"write"}
"""Sections that may be missing: without ``write`` nobody writes."""
CLIENT_IDS = ("none", "institution", "any")
EVERY_TYPE = "*"

Names = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Policy:
    """The loaded file. ``digest``: SHA-256 (hex) of its bytes, for the ledger's ``policy`` leaf.

    ``purposes``: child → parent; ``role_purposes``, ``without_patient`` (types), ``obligations``: by role;
    ``restricted``: roles by type. ``writes``: types by role (``*``: all that it may read); ``client_ids``: one
    of CLIENT_IDS.
    """

    patient_reads_own: bool
    institution_reads_own: bool
    institution_heeds_denials: bool
    role_purposes: Names
    obligations: Names
    without_patient: Names
    restricted: Names
    purposes: Mapping[str, str]
    digest: str
    writes: Names = field(default_factory=lambda: MappingProxyType({}))
    client_ids: str = "none"
    needs_known_patient: bool = True

    def purpose_line(self, purpose: str) -> frozenset[str]:
        """The purpose and everything it is a kind of; empty for no purpose."""
        line: list[str] = []
        while purpose and purpose not in line:
            line.append(purpose)
            purpose = self.purposes.get(purpose, "")
        return frozenset(line)

    def known_purposes(self, role: str = "") -> frozenset[str]:
        """The purposes that a role may act for, with all that are a kind of one; '': those of every role."""
        named = [self.role_purposes.get(role, frozenset())] if role else self.role_purposes.values()
        wanted = frozenset[str]().union(*named)
        below = {child for child in self.purposes if not self.purpose_line(child).isdisjoint(wanted)}
        return wanted | below


def load_policy(path: Path | None = None) -> Policy:
    """The policy in ``path`` (None: the shipped one). Raises SettingsError naming what is wrong."""
    file = path or SHIPPED
    try:
        raw = file.read_bytes()
        content = tomllib.loads(raw.decode())
    except (OSError, ValueError) as error:
        raise SettingsError(f"the access policy {file} cannot be read: {error}") from error
    for name, kind in _SECTIONS.items():
        if not isinstance(content.get(name), kind):
            raise SettingsError(f"the access policy {file} needs a section {name!r}")
    unknown = set(content) - set(_SECTIONS) - _OPTIONAL
    if unknown or content["version"] != 1:
        raise SettingsError(f"the access policy {file} has an unknown section or version: {sorted(unknown)}")
    return Policy(
        patient_reads_own=_switch(content, "patient", "reads_own_record"),
        institution_reads_own=_switch(content, "institution", "reads_what_it_sent"),
        institution_heeds_denials=_switch(content, "institution", "heeds_denials"),
        role_purposes=_names(content, "roles", is_by_role=True),
        obligations=_names(content, "obligations", is_by_role=True),
        without_patient=_names(content, "without_patient", is_by_role=True),
        restricted=_names(content, "restricted", is_by_role=False),
        purposes=_purposes(content["purposes"]),
        digest=hashlib.sha256(raw).hexdigest(),
        **_write(content.get("write")),
    )


def _write(section: Any) -> dict[str, Any]:
    """The fields that the section about writing stands for; none where it is missing."""
    if section is None:
        return {}
    if not isinstance(section, dict) or set(section) != {"types", "client_ids", "needs_known_patient"}:
        raise SettingsError("access policy: write takes types, client_ids and needs_known_patient")
    if section["client_ids"] not in CLIENT_IDS or not isinstance(section["types"], dict):
        raise SettingsError(f"access policy: write.client_ids is one of {', '.join(CLIENT_IDS)}")
    return {
        "writes": _names({"types": section["types"]}, "types", is_by_role=True),
        "client_ids": section["client_ids"],
        "needs_known_patient": _switch({"write": section}, "write", "needs_known_patient"),
    }


def _switch(content: Mapping[str, Any], section: str, name: str) -> bool:
    value = content[section].get(name)
    if not isinstance(value, bool):
        raise SettingsError(f"access policy: {section}.{name} must be true or false")
    return value


def _names(content: Mapping[str, Any], section: str, *, is_by_role: bool) -> Names:
    """Lists of names by role, or lists of roles by type; every role that appears must be a role."""
    lists: dict[str, frozenset[str]] = {}
    for key, values in content[section].items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise SettingsError(f"access policy: {section}.{key} must be a list of names")
        roles = [key] if is_by_role else values
        if not set(roles) <= set(ROLES):
            raise SettingsError(f"access policy: {section}.{key} names an unknown role")
        lists[key] = frozenset(values)
    return MappingProxyType(lists)


def _purposes(section: Mapping[str, Any]) -> Mapping[str, str]:
    if not all(isinstance(parent, str) for parent in section.values()):
        raise SettingsError("access policy: purposes must be child = parent")
    return MappingProxyType(dict(section))
