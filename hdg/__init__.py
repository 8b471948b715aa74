"""Healthcare Data Gateway: HL7 v2 in; consented, ledger-proved FHIR R4 out."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
