"""Named converters of the ADT cancel events, documents, appointments, charges, referrals and problems.

HL7 v2.9 §3.3.13 (A13), §9.5 (TXA), §10.6 (SCH, AIS, AIL, AIP), §6.5.1 (FT1), §12.4 (PRB, GOL).
"""

from __future__ import annotations

from hdg.ingestion.hl7v2.converters import CONVERTERS
from hdg.ingestion.hl7v2.state import State


@CONVERTERS.register("hl7v2.discharge_undone", type="Period")
def discharge_undone(text: str, state: State) -> None:
    """A cancelled discharge: the stored end and disposition go, unless the message gives them anew."""
    state.delete("period")
    state.delete("hospitalization")
