"""The first PID of every real message makes a valid Patient, whatever its message type."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdg.errors import Hl7v2Error
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.hl7v2.batch import split_messages
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.parser import Message, parse

UNREADABLE = {
    "empty.hl7": "207",
    "msh_present_but_missing_all_fields.hl7": "101",
    "msh_present_but_missing_msh-2.hl7": "101",
    "msh_present_but_missing_msh-9.hl7": "101",
}
"""Files that hold no readable header, with the HL7 table 0357 condition they are refused with."""


def as_admission(message: Message) -> bytes | None:
    """An ADT^A04 of the message's own header and first PID; None when it has no PID."""
    pid = message.first("PID")
    if pid is None:
        return None
    header = message.segments[0].fields.copy()
    header[9] = "ADT^A04^ADT_A01"
    msh = "|".join([header[0], *header[2:]])
    return f"{msh}\r{pid.text}\r".encode(message.charset)


@pytest.mark.corpus
def test_the_first_pid_of_every_message_yields_a_valid_patient(cases: Path) -> None:
    converter = Converter(id_key=PUBLIC_KEY)
    patients = without_pid = 0
    for path in sorted((cases / "hl7v2").rglob("*.hl7")):
        for raw in split_messages(path.read_bytes()) if path.name not in UNREADABLE else (path.read_bytes(),):
            if path.name in UNREADABLE:
                with pytest.raises(Hl7v2Error) as refused:
                    parse(raw)
                assert refused.value.condition == UNREADABLE[path.name]
                continue
            message = parse(raw)
            admission = as_admission(message)
            if admission is None:
                without_pid += 1
                continue
            converted = converter.convert(admission, at_us=0)
            patient = next(r for r in converted.resources if r["resourceType"] == "Patient")
            assert validate(patient) == [], path
            assert patient["id"] == converted.patient_id
            patients += 1
    print(f"{patients} Patients, {without_pid} messages without PID")
    assert patients > 190
