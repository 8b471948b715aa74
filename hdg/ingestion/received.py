"""A message on its way in: its bytes and what is known of it before it is parsed, worked out once.

Institutions are named by MSH-4 (HL7 v2.9 §2.14.9.4) where no declaration names them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

from hdg.errors import Hl7v2Error
from hdg.fhir.json import dumps, loads
from hdg.ingestion.hl7v2 import ack, ack_mode
from hdg.ingestion.hl7v2.header import Header
from hdg.ingestion.sender import LOCAL, Origin, Sender

__all__ = [
    "Received",
    "digest",
    "institution_id",
    "mode_for",
    "origin_of",
    "origin_text",
    "pseudonym",
    "receive",
]

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")
_FOREIGN = Hl7v2Error(
    "the credential is bound to another institution than the message's sender", "MSH-4", is_rejection=True
)


@dataclass(frozen=True, slots=True)
class Received:
    """``sha256``: ``digest`` of ``raw``. ``header`` says who sent it, ``msh`` how to answer it."""

    raw: bytes
    sha256: str
    header: Header
    msh: ack.Header
    sender: Sender
    at_us: int
    origin: Origin = LOCAL

    @property
    def ack_id(self) -> str:
        """MSH-10 of the ACK: the same for the same message, so that an ACK sent again is the same bytes."""
        return "A" + self.sha256[:19].upper()

    def check_origin(self) -> None:
        """Raises Hl7v2Error when a credential sends in another institution's name."""
        if self.origin.institution and self.sender.institution != self.origin.institution:
            raise _FOREIGN.with_traceback(None)

    def of_origin(self) -> Received:
        """The same message, kept under the institution whose credential brought it."""
        return replace(self, sender=replace(self.sender, institution=self.origin.institution))

    def at(self, at_us: int) -> Received:
        """The same message, received then."""
        return self if at_us == self.at_us else replace(self, at_us=at_us)

    def replies(self, answer: bytes) -> tuple[bytes, ...]:
        """What its sender is sent (ack_mode.replies) when ``answer`` is its AA, AE or AR."""
        return ack_mode.replies(self.msh, answer, mode=mode_for(self.sender))


def receive(raw: bytes, header: Header, sender: Sender, at_us: int, origin: Origin) -> Received:
    """What is known of ``raw``."""
    return Received(raw, digest(raw), header, ack.read_header(raw), sender, at_us, origin)


def mode_for(sender: Sender) -> ack_mode.AckMode | None:
    """The acknowledgements that the sender's declaration asks for; None: as MSH-15 and MSH-16 ask."""
    if sender.ack == "message":
        return None
    return ack_mode.AckMode("", "") if sender.ack == "original" else ack_mode.AckMode("AL", "AL")


def digest(raw: bytes) -> str:
    """SHA-256 (hex) of a message, without the line ends behind its last segment: clients differ on whether
    to send them.
    """
    return hashlib.sha256(raw.rstrip(b"\r\n")).hexdigest()


def institution_id(facility: str) -> str:
    """An institution's id from MSH-4.1: the name in lower case where it can be an id, else a digest of it."""
    if not facility:
        return ""
    if _PLAIN_NAME.fullmatch(facility):
        return facility.lower()
    return pseudonym(facility)


def pseudonym(facility: str) -> str:
    """An id for a name that cannot be one, or that somebody else's is."""
    return "facility-" + hashlib.sha256(facility.encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def origin_text(origin: Origin) -> str:
    """An Origin as an inbox row keeps it."""
    return "" if origin == LOCAL else dumps(asdict(origin)).decode()


def origin_of(text: str) -> Origin:
    """The Origin that an inbox row tells."""
    return Origin(**loads(text)) if text else LOCAL
