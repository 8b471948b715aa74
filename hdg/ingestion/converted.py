"""What every converter hands over: resources, deletions, issues and the facts about their source.

A Converted is a *partial statement* (DESIGN §3): an element that a resource here does not have keeps what is
stored; a Deletion removes it; a valued list replaces the sender's own part of the stored list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hdg.errors import Issue

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Deletion:
    """The sender says that ``element`` (a top-level element name) of a resource has no value: HL7 v2
    ``""``.

    ``source``: the field that says so (``PID-13``) when others feed the element too and nothing is stated about
    it: only what this field had contributed has no value any more. '' for all of the element.
    """

    resource_type: str
    resource_id: str
    element: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Defaulted:
    """A top-level element that R4 requires and the sender said nothing about: it only fills a gap."""

    resource_type: str
    resource_id: str
    element: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a Converted came from. ``sha256`` is the hex digest of the raw bytes as received.

    ``stated_us``: when the sender stated this, µs since the epoch; None when the input does not tell an
    instant.
    """

    format: str
    sender: str
    institution: str
    control_id: str
    message_type: str
    sha256: str
    stated_us: int | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """The result of one conversion. Every reference between ``resources`` (or to an id derived the same
    way) resolves.

    ``moved``: (type, id) of resources that the input moves from another patient with all that is known;
    ``deleted``: of those that it deletes (they are in ``resources`` too, saying so as well as they can).
    ``answers``: orders as an answer without a patient tells them, of each what it says as elements of a ServiceRequest.
    ``patient_id`` is the id of the message's Patient, or None when the input names no patient.
    ``mapping_digest`` identifies the tables that made it (hex).
    """

    source: Source
    resources: tuple[JsonObject, ...]
    deletions: tuple[Deletion, ...] = ()
    defaulted: tuple[Defaulted, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()
    deleted: tuple[tuple[str, str], ...] = ()
    answers: tuple[JsonObject, ...] = ()
    issues: tuple[Issue, ...] = field(default=())
    patient_id: str | None = None
    mapping_digest: str = ""
