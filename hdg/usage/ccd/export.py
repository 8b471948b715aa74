"""``hdg export --ccd``: a patient's record as a CCD in a file, as far as the one for whom it is made may see it.

The same view, the same steps and the same record in the audit trail as of Patient/ID/$ccd (fhir_api/ccd_operation.py).
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hdg.errors import BadRequest
from hdg.fhir import json
from hdg.gateway import Gateway, now_us
from hdg.management.identity import DEFAULT_PURPOSE, Principal
from hdg.settings import Settings, existing
from hdg.usage.access import Gate
from hdg.usage.ccd.document import Making, document
from hdg.usage.fhir_api.bundles import instant
from hdg.usage.part_file import part_of
from hdg.usage.trail import Caller

__all__ = ["READERS", "Wanted", "export"]

READERS = ("clinician", "patient")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose record, and for whom. ``reader``: one of READERS; a clinician has a user and an institution, as Consents
    name them; ``purpose``: '' what the reader's role is for.
    """

    patient: str
    reader: str = "clinician"
    user: str = ""
    institution: str = ""
    purpose: str = ""

    def principal(self) -> Principal:
        """Who sees it. Raises BadRequest."""
        if self.reader not in READERS:
            raise BadRequest(f"a reader is one of {', '.join(READERS)}")
        is_clinician = self.reader == "clinician"
        if is_clinician and not (self.user and self.institution):
            raise BadRequest("a clinician needs --user and --institution")
        if not is_clinician and (self.user or self.institution):
            raise BadRequest("--user and --institution name a clinician")
        return Principal(
            self.reader,
            self.user,
            self.institution,
            "" if is_clinician else self.patient,
            self.purpose or DEFAULT_PURPOSE[self.reader],
            "",
            f"export-{secrets.token_hex(8)}",
            0,
        )


def export(settings: Settings, wanted: Wanted, file: Path, clock: Callable[[], int] = now_us) -> int:
    """Writes the file, readable by its owner only; how many resources the reader saw.

    Raises NotFound (a patient who is not here, or whom this reader may not see; nothing is written), Gone, BadRequest,
    SettingsError, Unavailable, OSError.
    """
    caller = Caller(wanted.principal())
    with closing(Gateway.open(existing(settings), clock)) as gateway:
        gate = Gate.open(settings, gateway.keys, gateway.store, gateway.clock)
        found = asyncio.run(
            gate.record(caller, wanted.patient, f"hdg export --ccd --patient {wanted.patient}")
        )
        making = Making(str(uuid.uuid4()), instant(gate.now_us()), gate.institution, settings.fhir_base)
        body = document((json.loads(one.body) for one in found.matches), making)
        with part_of(file) as out:
            out.write(body)
    return len(found.matches)
