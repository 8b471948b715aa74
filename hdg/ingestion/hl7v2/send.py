"""``hdg send``: files over MLLP, one message at a time, and what the other side said to each.

MLLP Release 2; HL7 v2.9 §2.14.8 (MSA): AA and CA accept, everything else does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hdg.errors import Hl7v2Error, SettingsError
from hdg.ingestion.hl7v2.batch import split_messages
from hdg.ingestion.hl7v2.mllp import MllpClient
from hdg.ingestion.hl7v2.parser import parse


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one message: MSA-1 and the ERR texts, or why there was no answer."""

    file: str
    number: int
    code: str
    control_id: str
    errors: tuple[str, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """True for AA and CA."""
        return self.code in ("AA", "CA")

    def line(self) -> str:
        """``AA  MSG-1  file.hl7 message 1``, with the errors behind it."""
        errors = "".join(f"\n    {error}" for error in self.errors)
        return f"{self.code or '--'}  {self.control_id or '-'}  {self.file} message {self.number}{errors}"


def acknowledgements(files: Iterable[Path], to: str, timeout_s: float) -> Iterator[Answer]:
    """Sends every message of ``files`` to ``mllp://HOST:PORT`` in order; an Answer each. Raises SettingsError."""
    scheme, _, address = to.partition("://")
    host, _, port = address.rpartition(":")
    if scheme != "mllp" or not host or not port.isdigit():
        raise SettingsError("--to: expected mllp://HOST:PORT")
    client = MllpClient(host.strip("[]"), int(port), timeout_s=timeout_s)
    try:
        for file in files:
            for number, message in enumerate(split_messages(file.read_bytes()), 1):
                yield _send(client, file.name, number, message)
    finally:
        client.close()


def _send(client: MllpClient, file: str, number: int, message: bytes) -> Answer:
    try:
        answer = parse(client.send(message))
    except OSError as error:
        return Answer(file, number, "", "", (f"no answer: {error.strerror or error}",))
    except (Hl7v2Error, ValueError) as error:
        return Answer(file, number, "", "", (f"the answer, or the message, is not HL7 v2: {error}",))
    msa = answer.first("MSA")
    code, control_id = (msa.field(1), msa.field(2)) if msa else ("", "")
    errors = [" ".join(filter(None, (err.field(2), err.field(3), err.field(8)))) for err in answer.all("ERR")]
    return Answer(file, number, code, control_id, tuple(errors))
