"""``hdg send``: files over MLLP, one message at a time, and what the other side said to each.

MLLP Release 2; HL7 v2.9 §2.14.8 (MSA): AA and CA accept, everything else does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hdg.errors import Hl7v2Error, SettingsError
from hdg.ingestion.hl7v2.ack import read_header
from hdg.ingestion.hl7v2.batch import read_batch
from hdg.ingestion.hl7v2.mllp import MllpClient
from hdg.ingestion.hl7v2.mllp_client import UnaskedAnswer
from hdg.ingestion.hl7v2.mllp_tls import client_context
from hdg.ingestion.hl7v2.parser import Message, parse
from hdg.ingestion.hl7v2.verdict import read_msa_2

NONE_ASKED = "sent"
"""Stands for a code where the message asked for no acknowledgement and got none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one message: MSA-1 (both, in enhanced mode) and the ERR texts, or why no answer came.

    ``number`` 0: it is about the file, such as its counts. ``is_another``: an answer acknowledges another message
    (MSA-2).
    """

    file: str
    number: int
    code: str
    control_id: str
    errors: tuple[str, ...] = ()
    is_another: bool = False

    @property
    def is_accepted(self) -> bool:
        """True for AA and CA, and for a message that was sent and asks for no acknowledgement."""
        return (
            not self.is_another
            and self.code != ""
            and all(code in ("AA", "CA", NONE_ASKED) for code in self.code.split())
        )

    def line(self) -> str:
        """``AA  MSG-1  file.hl7 message 1``, with the errors behind it."""
        errors = "".join(f"\n    {error}" for error in self.errors)
        message = f" message {self.number}" if self.number else ""
        return f"{self.code or '--'}  {self.control_id or '-'}  {self.file}{message}{errors}"


@dataclass(frozen=True, slots=True)
class Peer:
    """Where to send, and with what proof of who is who (all None for plain MLLP or the system's issuers)."""

    to: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def client(self, timeout_s: float) -> MllpClient:
        """A client that is not connected yet. Raises SettingsError."""
        scheme, _, address = self.to.partition("://")
        host, _, port = address.rstrip("/").rpartition(":")
        if scheme not in ("mllp", "mllps") or not host or not port.isdigit() or int(port) > 65_535:
            raise SettingsError("--to: expected mllp://HOST:PORT or mllps://HOST:PORT")
        if scheme == "mllp" and (self.ca or self.certificate or self.key):
            raise SettingsError("--ca, --cert and --key need --to mllps://HOST:PORT")
        if self.key and not self.certificate:
            raise SettingsError("--key needs --cert")
        tls = client_context(self.ca, self.certificate, self.key) if scheme == "mllps" else None
        return MllpClient(host.strip("[]"), int(port), timeout_s=timeout_s, tls=tls)


def acknowledgements(files: Iterable[Path], peer: Peer, timeout_s: float) -> Iterator[Answer]:
    """Sends every message of ``files`` to ``peer`` in order; an Answer each. Raises SettingsError."""
    client = peer.client(timeout_s)
    try:
        for file in files:
            batch = read_batch(file.read_bytes())
            for number, message in enumerate(batch.messages, 1):
                yield _send(client, file.name, number, message)
            for issue in batch.errors:
                yield Answer(file.name, 0, "", "", (f"{issue.place} {issue.text}",))
    finally:
        client.close()


def _send(client: MllpClient, file: str, number: int, message: bytes) -> Answer:
    try:
        answers = [parse(answer) for answer in _exchanged(client, message)]
    except OSError as error:
        return Answer(file, number, "", "", (f"no answer: {error.strerror or error}",))
    except (Hl7v2Error, ValueError) as error:
        return Answer(file, number, "", "", (f"the answer, or the message, is not HL7 v2: {error}",))
    codes: list[str] = []
    control_id, errors = "", []
    for answer in answers:
        msa = answer.first("MSA")
        codes.append(msa.field(1) if msa else "")
        control_id = msa.field(2) if msa else control_id
        errors = [
            " ".join(filter(None, (err.field(2), err.field(3), err.field(8)))) for err in answer.all("ERR")
        ]
    is_another = not _are_about(answers, message)
    if is_another:
        errors.append("the answer acknowledges another message (MSA-2)")
        client.close()  # what else comes on it must not be taken for the next message's
    return Answer(file, number, " ".join(codes) or NONE_ASKED, control_id, tuple(errors), is_another)


def _exchanged(client: MllpClient, message: bytes) -> tuple[bytes, ...]:
    """All answers; also those that the message did not ask for. Raises OSError, ValueError."""
    try:
        return client.exchange(message)
    except UnaskedAnswer as error:
        return error.answers


def _are_about(answers: Iterable[Message], message: bytes) -> bool:
    expected = read_header(message).field(10).strip()
    return all(read_msa_2(answer) == expected for answer in answers)
