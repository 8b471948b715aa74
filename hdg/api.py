"""For users of the library: bytes to FHIR in one call."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hdg.errors import HdgError
from hdg.fhir import ids
from hdg.fhir import json as fhir_json
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender
from hdg.mapping.remembered import fresh

if TYPE_CHECKING:
    from fhir.resources.R4B.resource import Resource


@cache
def _converter(id_key: bytes) -> Converter:
    return Converter(id_key=id_key)


def convert(data: bytes, *, sender: Sender | None = None, id_key: bytes = ids.PUBLIC_KEY) -> Converted:
    """Converts one HL7 v2 message to FHIR R4: plain dicts in ``.resources``, problems in ``.issues``.

    ``id_key`` is the HMAC key of the resource ids; the default is public and fits files, not a gateway.
    The resources are the caller's own: what is done to them shows in no later result. Raises Hl7v2Error when there is
    no message to convert.
    """
    converted = _converter(id_key).convert(data, sender, at_us=time.time_ns() // 1000)
    # Inside hdg the values of recurring fields are shared between results, and nobody changes them.
    return replace(converted, resources=tuple(fresh(resource) for resource in converted.resources))


def to_models(converted: Converted) -> tuple[Resource, ...]:
    """The resources as ``fhir.resources`` R4B models (extra ``models``), in the same order.

    Slower by far than the dicts, and laxer than hdg's own validation; decimals keep their value. R4 types that
    R4B lacks raise HdgError naming the type.
    """
    return tuple(_model(resource) for resource in converted.resources)


def _model(resource: dict[str, Any]) -> Resource:
    name = resource["resourceType"]
    try:
        module = import_module(f"fhir.resources.R4B.{name.lower()}")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("fhir.resources.R4B."):
            raise HdgError(f"fhir.resources has no R4B model for {name}") from None
        raise HdgError("typed models need the extra: pip install 'hdg[models]'") from None
    model: Resource = getattr(module, name).model_validate_json(fhir_json.dumps(resource))
    return model
