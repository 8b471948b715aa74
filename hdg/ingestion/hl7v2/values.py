"""OBX-5 and what belongs to it: the value of an observation, its reference range. HL7 v2.9 §7.4.2."""

from __future__ import annotations
