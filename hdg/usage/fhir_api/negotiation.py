"""Content negotiation: which formats a request accepts. JSON only for now; anything else is 406.

R4 http.html#mime-type and R4 http.html#parameters (``_format`` overrides Accept).
"""

from __future__ import annotations

from hdg.errors import BadRequest
from hdg.usage.fhir_api.query import Pairs

FHIR_JSON = "application/fhir+json;fhirVersion=4.0"

_JSON_TYPES = frozenset({"application/fhir+json", "application/json", "text/json", "json"})
_JSON_RANGES = _JSON_TYPES | {"*/*", "application/*", "text/*", "*"}


class NotAcceptable(BadRequest):
    """None of the formats asked for can be produced (HTTP 406)."""

    def __init__(self, types: str = "application/fhir+json (FHIR 4.0)") -> None:
        super().__init__(f"only {types} can be produced", code="not-supported")


def check_accept(accept: str | None) -> None:
    """Raises NotAcceptable when an Accept header rules JSON out. No header accepts everything."""
    if not accepts_json(accept):
        raise NotAcceptable


def accepts_json(accept: str | None) -> bool:
    """Whether an Accept header takes JSON."""
    if not accept or accept == "*/*" or accept.startswith("application/fhir+json,"):
        return True
    return any(_accepts_json(part) for part in accept.lower().split(","))


def _accepts_json(media_range: str) -> bool:
    name, *rest = (piece.strip() for piece in media_range.split(";"))
    settings = dict(piece.replace(" ", "").partition("=")[::2] for piece in rest)
    weight = settings.get("q", "1")
    if weight.replace("0", "").replace(".", "") == "":
        return False
    return name in _JSON_RANGES and settings.get("fhirversion", "4.0").strip('"') in {"4.0", "4.0.1"}


def take_format(pairs: Pairs) -> Pairs:
    """The pairs without ``_format`` and ``_pretty`` (wire.py).

    Raises NotAcceptable when ``_format`` asks for anything but JSON, BadRequest when ``_pretty`` is no boolean.
    """
    if not any(name in ("_format", "_pretty") for name, _ in pairs):
        return pairs
    if any(name == "_pretty" and value not in ("true", "false") for name, value in pairs):
        raise BadRequest("parameter '_pretty': true or false", code="value")
    for name, value in pairs:
        # "+" in a query string decodes to a space: application/fhir json is what clients really send.
        if name == "_format" and value.lower().replace(" ", "+").partition(";")[0] not in _JSON_TYPES:
            raise NotAcceptable
    return [(name, value) for name, value in pairs if name not in ("_format", "_pretty")]
