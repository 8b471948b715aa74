"""What credits (FT1-6 = CD) leave of a charge under their number (FT1-2). HL7 v2.9 §6.5.1.

A credit is a ChargeItem of its own with a negative quantity and amount. Those that together take back all of a charge
make it and themselves ``aborted``, so that what is billable always adds up. docs/hl7v2.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hdg.ingestion.converted import JsonObject

__all__ = ["is_credit", "is_taken_back"]

_TYPE = "https://hdg.dev/fhir/StructureDefinition/transaction-type"
_CREDIT = "CD"


def is_credit(item: JsonObject) -> bool:
    """Whether a ChargeItem is a credit."""
    return any(
        extension.get("url") == _TYPE
        and any(
            coding.get("code") == _CREDIT
            for coding in extension.get("valueCodeableConcept", {}).get("coding", ())
        )
        for extension in item.get("extension", ())
    )


def is_taken_back(charge: JsonObject, credits: Sequence[JsonObject]) -> bool | None:
    """Whether credits take back all of a charge: by their amounts, else by their quantities; a credit with neither
    takes back all. None: it cannot be told.
    """
    if any("priceOverride" not in one and "quantity" not in one for one in credits):
        return True
    for element, unit in (("priceOverride", "currency"), ("quantity", "code")):
        parts = [item.get(element, {}) for item in (charge, *credits)]
        values = [part.get("value") for part in parts]
        if all(isinstance(value, int | Decimal) for value in values):
            units = {part[unit] for part in parts if unit in part}
            return _is_covered(values) if len(units) < 2 else None
    return None


def _is_covered(values: Sequence[Any]) -> bool:
    charged, *credited = map(Decimal, values)
    return sum(map(abs, credited), Decimal(0)) >= abs(charged)
