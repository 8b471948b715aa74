"""Units of measure: a UCUM expression → what one of it is in canonical units, exactly.

UCUM §§2-4 (https://ucum.org/ucum), the case sensitive codes. Quantities of one dimension are compared by their
canonical values: 5.4 mg and 0.0054 g are equal. Everything is a fraction, nothing a float. What cannot surely be
converted is told apart instead: amounts of substance, equivalents, osmoles and every arbitrary unit are dimensions
of their own.
"""

from __future__ import annotations

from hdg.terminology.ucum.parse import Unit, unit

__all__ = ["SYSTEM", "Unit", "unit"]

SYSTEM = "http://unitsofmeasure.org"
"""The system of UCUM's codes in FHIR (R4 datatypes.html#quantity)."""
