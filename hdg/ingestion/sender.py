"""Who sends: the declared facts that a message itself does not carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Sender:
    """Declared facts about one sending system.

    - ``zone``: IANA name or ``+hh:mm`` for times without offset; None: undeclared (times are cut to dates).
    - ``charset``: overrides MSH-18 (an HL7 table 0211 name or a Python codec name).
    - ``authorities``: assigning authority (namespace id or universal id) → identifier system URI.
    - ``mappings``: a directory searched before the shipped tables; a file there replaces the shipped file.
    - ``terminology``: a directory of the site's own code maps (``<map>.csv``); their rows go before the
      rows of the shipped map of that name.
    - ``ack``: ``original`` or ``enhanced`` whatever MSH-15 and MSH-16 ask; ``message``: as they ask.
    - ``is_strict``: lost data or a code that no map has refuses the message (AE).
    - ``messages``: the types taken (``ADT``, ``ADT^A01``); empty: all.
    - ``documents``: the types of documents taken (ClinicalDocument/code) and of HL7 v3 messages (the interaction);
      empty: all.
    """

    name: str
    institution: str
    zone: str | None = None
    charset: str | None = None
    authorities: Mapping[str, str] = field(default_factory=lambda: _NONE)
    mappings: Path | None = None
    terminology: Path | None = None
    ack: str = "message"
    is_strict: bool = False
    messages: frozenset[str] = frozenset()
    documents: frozenset[str] = frozenset()


Facts = Mapping[str, Sequence[str]]
"""What a document says of its sender: ``custodian``, ``author``, ``device`` → their ids, as ``root`` and
``root|extension``.
"""
Declare = Callable[[Facts], Sender]
"""The declared facts about the sender of a document, by what it says of itself."""


@dataclass(frozen=True, slots=True)
class Origin:
    """By what way a message came in, as far as the gateway knows it for itself, not from the message.

    ``listener``: ``mllp``, ``mllps``, ``http``, ``folder``; '' within the process.
    ``tls_subject``: subject of the client's verified certificate as RFC 4514 text; '' without one.
    ``institution``: what the sender's credential is bound to; '' when it is bound to none.
    ``patient``: id of the patient that the way in names, for data that name nobody. ``is_patient``: it is the
    patient's own credential that brought them.
    """

    listener: str = ""
    tls_subject: str = ""
    institution: str = ""
    patient: str = ""
    is_patient: bool = False


LOCAL = Origin()
"""Messages handed over within the process."""
