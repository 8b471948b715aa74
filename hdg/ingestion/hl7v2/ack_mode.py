"""Which acknowledgements a sender gets: original and enhanced mode. HL7 v2.9 §2.9.2, §2.9.3, table 0155.

Original mode (MSH-15 and MSH-16 both empty): the application acknowledgement. Enhanced mode (either valued):
first the commit acknowledgement as MSH-15 asks, then the application acknowledgement as MSH-16 asks, on the
same connection.

The gateway commits raw message and resources in one transaction, so the commit acknowledgement is made from
the application's, after that commit: CA also stands for a message that is kept in quarantine (AE), CR for one
that will never be accepted (AR), CE when nothing could be kept. A CE or CR that is sent ends the exchange. An
empty field beside a valued one counts as NE, an unknown code as AL. An acknowledgement is never answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hdg.ingestion.hl7v2 import charset as charsets
from hdg.ingestion.hl7v2.ack import Header, read_header
from hdg.ingestion.hl7v2.encoding import NULL

_COMMIT = {"AA": "CA", "AE": "CA", "AR": "CR"}
_ACKNOWLEDGEMENTS = frozenset({"ACK", "MCF"})


@dataclass(frozen=True, slots=True)
class AckMode:
    """MSH-15 and MSH-16 (HL7 table 0155), '' for empty. ``is_reply``: the message is itself an ACK."""

    accept: str
    application: str
    is_reply: bool = False

    @property
    def is_enhanced(self) -> bool:
        """Whether either field is valued."""
        return bool(self.accept or self.application)


def mode_of(raw: bytes | Header) -> AckMode:
    """The mode that a message asks for; original when its header cannot be read. Never raises."""
    header = raw if isinstance(raw, Header) else read_header(raw)
    accept, application = (
        "" if header.field(number) == NULL else header.field(number).strip() for number in (15, 16)
    )
    kind = header.field(9).split(header.delimiters.component)[0].strip()
    return AckMode(accept, application, kind in _ACKNOWLEDGEMENTS)


def replies(
    raw: bytes | Header, ack: bytes, *, is_kept: bool = True, mode: AckMode | None = None
) -> tuple[bytes, ...]:
    """What the sender of ``raw`` (or of the message with that header) is sent: none, one or two messages.

    ``ack``: the application acknowledgement (AA, AE, AR) that the gateway made. ``is_kept``: whether the
    message is stored or in quarantine. ``mode``: counts instead of the message's own MSH-15 and MSH-16.
    """
    asked = mode_of(raw)
    if asked.is_reply:
        return ()
    asked = mode or asked
    if not asked.is_enhanced:
        return (ack,)
    code = code_of(ack)
    commit = _COMMIT.get(code, "CE") if is_kept or code == "AR" else "CE"
    sent = []
    if _is_wanted(asked.accept, is_success=commit == "CA"):
        sent.append(_as_commit(ack, commit))
        if commit != "CA":
            return tuple(sent)
    if _is_wanted(asked.application, is_success=code == "AA"):
        sent.append(_as_final(ack))
    return tuple(sent)


def awaited(raw: bytes, answers: tuple[bytes, ...]) -> Literal["yes", "maybe", "no"]:
    """Whether the sender of ``raw`` may expect a further acknowledgement after ``answers``."""
    asked = mode_of(raw)
    if asked.is_reply:
        return "no"
    if not asked.is_enhanced:
        return "no" if answers else "yes"
    if answers and code_of(answers[-1]) != "CA":
        return "no"
    wanted = [asked.application] if answers else [asked.accept, asked.application]
    certain = {_certainty(condition) for condition in wanted}
    return "yes" if "yes" in certain else "maybe" if "maybe" in certain else "no"


def code_of(ack: bytes) -> str:
    """MSA-1 of an acknowledgement; '' without one. Never raises."""
    lines, _, _ = _lines(ack)
    separator = lines[0][3:4] or "|"
    found = next((line for line in lines if line.startswith("MSA" + separator)), "")
    return found.split(separator)[1] if found else ""


def _certainty(condition: str) -> Literal["yes", "maybe", "no"]:
    if condition in ("", "NE"):
        return "no"
    return "maybe" if condition in ("ER", "SU") else "yes"


def _is_wanted(condition: str, *, is_success: bool) -> bool:
    if condition in ("", "NE"):
        return False
    return {"ER": not is_success, "SU": is_success}.get(condition, True)


def _as_commit(ack: bytes, code: str) -> bytes:
    """The commit acknowledgement made from the application's: own control id and code; errors unless CA."""
    lines, charset, mark = _lines(ack)
    separator = lines[0][3]
    header = lines[0].split(separator)
    header[9] = "C" + header[9][1:]
    lines[0] = separator.join(header)
    kept = [lines[0]]
    for line in lines[1:]:
        if line.startswith("MSA"):
            fields = line.split(separator)
            fields[1] = code
            kept.append(separator.join(fields[:3] if code == "CA" else fields))
        elif code != "CA":
            kept.append(line)
    return _bytes(kept, charset, mark)


def _as_final(ack: bytes) -> bytes:
    """The application acknowledgement of enhanced mode: it asks for none itself (MSH-15, MSH-16 NE)."""
    lines, charset, mark = _lines(ack)
    separator = lines[0][3]
    header = lines[0].split(separator)
    header += [""] * (16 - len(header))
    header[14] = header[15] = "NE"
    lines[0] = separator.join(header)
    return _bytes(lines, charset, mark)


def _lines(ack: bytes) -> tuple[list[str], str, bytes]:
    """Segments, the charset they were read in (latin-1 where the declared one does not fit), the mark."""
    header = read_header(ack)
    body = ack[len(header.mark) :]
    try:
        text, charset = charsets.decode(body, header.charset), header.charset
    except UnicodeDecodeError:
        text, charset = body.decode("latin-1"), "latin-1"
    return [line for line in text.split("\r") if line] or [""], charset, header.mark


def _bytes(lines: list[str], charset: str, mark: bytes) -> bytes:
    return mark + charsets.encode("".join(line + "\r" for line in lines), charset)
