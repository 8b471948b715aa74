"""What a target path means in R4: which type each step has, and constants typed by it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hdg.fhir import definitions
from hdg.fhir.json import JsonError, decimal
from hdg.mapping.remembered import fresh
from hdg.mapping.target import Step, TargetError
from hdg.terminology.concepts import Target
from hdg.terminology.systems import Systems

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
_CODED = ("Coding", "CodeableConcept")


class ConstantError(ValueError):
    """A default that cannot have the type its path asks for."""


def result_type(name: str) -> str:
    """The R4 type that a table builds: ``Patient``, ``Identifier``, and ``Patient.contact`` for
    ``PatientContact``.

    A variant may follow a hyphen: ``Observation-livingwill``. Raises TargetError.
    """
    plain = name.partition("-")[0]
    if plain in definitions.type_names():
        return plain
    parts = re.findall(r"[A-Z][a-z0-9]*", plain)
    for size in range(len(parts) - 1, 0, -1):
        owner = "".join(parts[:size])
        if owner not in definitions.type_names():
            continue
        rest = "".join(parts[size:])
        info = definitions.element_info(owner, rest[0].lower() + rest[1:])
        if info is not None:
            return info.type
    raise TargetError(f"{name!r} names no R4 type")


def types_at(owner: str, steps: Sequence[Step], *, is_strict: bool = True) -> tuple[str, ...]:
    """The types of the last step. Raises TargetError when a step does not exist or its bracket is wrong.

    Several types only for a choice (``value[x]``). ``is_strict`` also rejects a list element without bracket.
    """
    types: tuple[str, ...] = (owner,)
    for step in steps:
        here = types[0]
        if definitions.is_primitive(here):
            raise TargetError(f"{here} has no element {step.element!r}")
        info = definitions.element_info(here, step.element)
        if info is None:
            raise TargetError(f"{here} has no element {step.element!r}")
        if step.kind == "choice" and not info.is_choice:
            raise TargetError(f"{here}.{step.element} is not a choice; only a choice takes [x]")
        if step.kind != "choice" and len(info.types) > 1:
            raise TargetError(f"{here}.{step.element} is a choice: name its type or write {step.element}[x]")
        if info.is_list and not step.is_list and is_strict:
            raise TargetError(f"{here}.{step.element} is a list: it needs a bracket")
        if step.is_list and not info.is_list:
            raise TargetError(f"{here}.{step.element} is not a list: it takes no bracket")
        if step.kind in ("url", "new-url") and info.type != "Extension":
            raise TargetError(f"{here}.{step.element} is not an extension: a URL cannot label its items")
        types = info.types
    return types


def constant(kind: str, text: str, systems: Systems) -> Any:
    """The JSON value of a default for an element of type ``kind``. Raises ConstantError."""
    if kind in _CODED:
        return _coded(kind, text, systems)
    if kind == "boolean":
        if text not in ("true", "false"):
            raise ConstantError(f"{text!r} is not true or false")
        return text == "true"
    if kind in ("integer", "positiveInt", "unsignedInt"):
        if not _WHOLE.fullmatch(text) or (kind != "integer" and text.startswith("-")):
            raise ConstantError(f"{text!r} is not a {kind}")
        return int(text)
    if kind == "decimal":
        try:
            return int(text) if _WHOLE.fullmatch(text) else decimal(text)
        except JsonError as error:
            raise ConstantError(f"{text!r} is not a decimal") from error
    if not definitions.is_primitive(kind):
        raise ConstantError(f"a {kind} has no constant form")
    if kind in ("uri", "url", "canonical") and text.startswith("@"):
        return _uri(text[1:], systems)
    return text


def _uri(name: str, systems: Systems) -> str:
    uri = systems.uri(name)
    if uri is None:
        raise ConstantError(f"the system {name!r} is not in terminology/systems.csv")
    return uri


def _coded(kind: str, text: str, systems: Systems) -> Any:
    name, mark, code = text.partition("#")
    if not mark or not name or not code:
        raise ConstantError(f"{text!r} is not system-name#code")
    coding = Target(_uri(name, systems), code, "").coding()
    return {"coding": [coding]} if kind == "CodeableConcept" else coding


__all__ = ["ConstantError", "constant", "fresh", "result_type", "types_at"]
