"""Healthcare Data Gateway: HL7 v2 in; consented, ledger-proved FHIR R4 out.

import hdg
result = hdg.convert(open("message.hl7", "rb").read())
result.resources        # validated FHIR R4 as plain dicts
result.issues           # what was not carried over, and where
hdg.to_models(result)   # the same as fhir.resources models, on request
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdg.api import convert, to_models
    from hdg.errors import HdgError, Issue
    from hdg.gateway import Gateway
    from hdg.ingestion.converted import Converted
    from hdg.ingestion.sender import Sender
    from hdg.settings import Settings

__version__ = "0.1.0"
__all__ = [
    "Converted",
    "Gateway",
    "HdgError",
    "Issue",
    "Sender",
    "Settings",
    "__version__",
    "convert",
    "to_models",
]

_HOMES = {
    "Converted": "hdg.ingestion.converted",
    "Gateway": "hdg.gateway",
    "HdgError": "hdg.errors",
    "Issue": "hdg.errors",
    "Sender": "hdg.ingestion.sender",
    "Settings": "hdg.settings",
    "convert": "hdg.api",
    "to_models": "hdg.api",
}


def __getattr__(name: str) -> Any:
    """Loads a public name on first use, so that ``import hdg`` and ``hdg --help`` stay instant."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hdg' has no attribute {name!r}")
