"""Bodies of PATCH as functions of what is there. R4 http.html#patch, fhirpatch.html; RFC 6902."""

from __future__ import annotations

from typing import Any

from hdg.errors import BadRequest, ValidationFailed
from hdg.fhir.patch_fhirpath import apply_fhirpath_patch
from hdg.fhir.patch_json import PatchFailed, apply_json_patch
from hdg.fhir.validate import validate
from hdg.usage.fhir_api.changes import Patch

__all__ = ["fhirpath_patch", "json_patch"]


def json_patch(given: Any) -> Patch:
    """A JSON Patch; what it raises, it raises when it is applied."""
    return lambda before: _as_resource(apply_json_patch(before, given))


def fhirpath_patch(given: Any) -> Patch:
    """A FHIRPath Patch. Raises BadRequest, ValidationFailed for what is no Parameters resource."""
    if not isinstance(given, dict) or given.get("resourceType") != "Parameters":
        raise BadRequest("a FHIRPath Patch is a Parameters resource", code="structure")
    issues = validate(given)
    if issues:
        raise ValidationFailed(issues)
    return lambda before: apply_fhirpath_patch(before, given)


def _as_resource(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PatchFailed("the outcome is no resource")
    return value
