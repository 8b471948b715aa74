"""The exception tree, and Issue: a data problem as a value that travels with the result.

Exceptions mean "cannot continue"; everything else is an Issue. Texts name a place (file, segment, field,
path, file:line) and never a patient's value.

    HdgError
    ├── SourceError         an input cannot be read at all (one subclass per format)
    │   ├── Hl7v2Error
    │   ├── CdaError
    │   │   └── Hl7v3Error
    │   └── DeviceError
    ├── TableError          a mapping or terminology table is wrong (file:line)
    ├── ValidationFailed    a resource breaks R4 (carries its Issues)
    ├── AccessDenied        no valid token, or a role that may not do this at all
    ├── NotFound            absent, or hidden: callers cannot tell which
    ├── Gone                deleted, and the caller may know it
    ├── Conflict            a version or key stands against the write
    ├── BadRequest          a request that the interface does not understand
    ├── IndexIncomplete     a search while the index is made anew (ask again later)
    ├── SettingsError       configuration that cannot be used
    ├── VaultError          a stored object cannot be opened (wrong key, damaged bytes)
    └── LedgerError         the ledger does not verify, or cannot be extended

``issue_code`` is a code of http://hl7.org/fhir/issue-type (R4 valueset-issue-type.html).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

__all__ = [
    "AccessDenied",
    "BadRequest",
    "CdaError",
    "Conflict",
    "DeviceError",
    "DicomError",
    "Gone",
    "HdgError",
    "Hl7v2Error",
    "Hl7v3Error",
    "IndexIncomplete",
    "Issue",
    "LedgerError",
    "NotFound",
    "SettingsError",
    "SourceError",
    "TableError",
    "ValidationFailed",
    "VaultError",
]

Severity = Literal["fatal", "error", "warning", "information"]


@dataclass(frozen=True, slots=True)
class Issue:
    """A problem in data: how bad, what kind (FHIR issue-type code), where, and a text without patient values.

    ``place`` is a FHIRPath expression (``Patient.name[0].family``) for resources, or a source position
    (``PID-3[2].1``: field, 1-based repetition, component) for inputs.
    """

    severity: Severity
    code: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.severity} {self.code} at {self.place}: {self.text}"


class HdgError(Exception):
    """Root of all errors that hdg raises on purpose."""

    issue_code: ClassVar[str] = "exception"


class SourceError(HdgError):
    """An input cannot be read. ``place`` says where in it (segment, field, byte offset)."""

    issue_code = "structure"

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(f"{place}: {text}" if place else text)
        self.text = text
        self.place = place


class Hl7v2Error(SourceError):
    """An HL7 v2 message that cannot be parsed or is not accepted.

    ``condition`` is the HL7 table 0357 code for ERR-3 (HL7 v2.9 §2.14.5); ``is_rejection`` tells AR from AE.
    """

    def __init__(
        self, text: str, place: str = "", *, condition: str = "207", is_rejection: bool = False
    ) -> None:
        super().__init__(text, place)
        self.condition = condition
        self.is_rejection = is_rejection


class CdaError(SourceError):
    """A CDA document that cannot be read."""


class Hl7v3Error(CdaError):
    """An HL7 v3 message that cannot be read or is not accepted: XML of the same kind, kept in the same way."""


class DeviceError(SourceError):
    """Data of a device or of a personal health application that cannot be read."""


class DicomError(SourceError):
    """A DICOM object that cannot be read or is not accepted; ``place`` is a tag: ``(0008,0018)``."""


class TableError(HdgError):
    """A mapping or terminology table is wrong; the message starts with ``file:line``."""

    issue_code = "invalid"

    def __init__(self, file: str, line: int, text: str) -> None:
        super().__init__(f"{file}:{line}: {text}")
        self.file = file
        self.line = line
        self.text = text


class ValidationFailed(HdgError):
    """A resource breaks R4; ``issues`` holds every finding."""

    issue_code = "invalid"

    def __init__(self, issues: Sequence[Issue]) -> None:
        super().__init__("; ".join(str(issue) for issue in issues))
        self.issues = tuple(issues)


class AccessDenied(HdgError):
    """No valid token (``is_authenticated`` False → HTTP 401) or a role that may not do this (403)."""

    issue_code = "forbidden"

    def __init__(self, text: str, *, is_authenticated: bool = True) -> None:
        super().__init__(text)
        self.is_authenticated = is_authenticated


class NotFound(HdgError):
    """Absent or hidden; the two are never told apart."""

    issue_code = "not-found"


class Gone(HdgError):
    """The resource was deleted, and the caller may know that it existed."""

    issue_code = "deleted"


class Conflict(HdgError):
    """Another version or another holder of the key stands against this write."""

    issue_code = "conflict"


class BadRequest(HdgError):
    """A request the interface does not understand; ``code`` refines the issue type (for example ``not-supported``)."""

    issue_code = "invalid"

    def __init__(self, text: str, *, code: str = "invalid", place: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.place = place


class IndexIncomplete(HdgError):
    """A search while the search index is made anew after an upgrade; ``done``: percent."""

    issue_code = "transient"

    def __init__(self, done: int) -> None:
        super().__init__(
            f"the search index is being made anew after an upgrade: {done} %; reads by id are answered meanwhile"
        )
        self.done = done


class SettingsError(HdgError):
    """Configuration that cannot be used; the text names the setting."""

    issue_code = "invalid"


class VaultError(HdgError):
    """A stored object cannot be opened: wrong key or damaged bytes."""

    issue_code = "security"


class LedgerError(HdgError):
    """The ledger does not verify, or cannot be extended."""

    issue_code = "security"
