"""An HL7 v3 message: its root (out of a SOAP envelope, where it came in one) and what its wrapper says.

HL7 v3 Transmission Infrastructure (MCCI) and Control Act wrapper (MFMI); IHE ITI-44, ITI-45, ITI-47
(https://profiles.ihe.net/ITI/TF/Volume2/ITI-44.html), ITI TF-2 appendix V for SOAP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hdg.errors import CdaError, Hl7v3Error, Issue
from hdg.ingestion.cda.xml import HL7, Element, Tree, children, local, read
from hdg.ingestion.hl7v3.release2 import as_release_1

__all__ = [
    "EDITION",
    "INTERACTIONS",
    "MERGE",
    "NULLIFY",
    "REGISTERED",
    "REGISTRATIONS",
    "Message",
    "below",
    "key_text",
    "opened",
    "registrations",
]

INTERACTIONS = {
    "PRPA_IN201301UV02": "a patient was added",
    "PRPA_IN201302UV02": "a patient was revised",
    "PRPA_IN201303UV02": "a patient was registered in error",
    "PRPA_IN201304UV02": "duplicates were resolved",
    "PRPA_IN201306UV02": "the answer to a question for patients",
    "PRPA_IN201310UV02": "the answer to a question for a patient's numbers",
    "PRPA_IN201311UV02": "a patient is to be added",
    "PRPA_IN201314UV02": "a patient is to be revised",
}
"""What is taken in, by the root element; the edition (UV02) may be another one."""
NULLIFY = "PRPA_IN201303"
MERGE = "PRPA_IN201304"
REGISTRATIONS = ("registrationEvent", "registrationRequest")
"""MFMI_MT700701 and MFMI_MT700711; MFMI_MT700721 for what is asked for."""
REGISTERED = frozenset({"active", "completed", "normal", ""})
"""The states of a registration that is in force, in lower case; '' where none is told."""
_TAGS = frozenset(HL7 + name for name in REGISTRATIONS)
EDITION = 13
"""Letters of an interaction before its realm and edition."""
_NAME = re.compile(r"[A-Z]{4}_IN\d{6}[A-Z]{2}(?:\d\d)?")
_SOAP = ("http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/")


@dataclass(frozen=True, slots=True)
class Message:
    """``interaction`` is the name of the root; ``soap`` the namespace of the envelope, '' without one."""

    tree: Tree
    interaction: str
    soap: str = ""
    control_id: str = ""
    """The number of the message as it was written, as ``root^extension``; '' without one."""

    @property
    def root(self) -> Element:
        """The element of the interaction."""
        return self.tree.root

    @property
    def sender(self) -> str:
        """The number of the sending device."""
        return self._first("sender", "device", "id")

    @property
    def keeper(self) -> str:
        """The number of the institution that keeps the registrations, else of the one that sends; '' for neither."""
        ways = (
            *(
                ("controlActProcess", "subject", name, "custodian", "assignedEntity", "id")
                for name in REGISTRATIONS
            ),
            ("sender", "device", "asAgent", "representedOrganization", "id"),
        )
        return next((found for way in ways if (found := self._first(*way, separator="|"))), "")

    def _first(self, *names: str, separator: str = "^") -> str:
        for one in below(self.root, *names):
            if found := key_text(one, separator):
                return found
        return ""

    def check_name(self) -> None:
        """Raises Hl7v3Error when interactionId says that this is another interaction than the root does."""
        for one in children(self.root, "interactionId"):
            said = one.get("extension", "").strip()
            if _NAME.fullmatch(said) and said[:EDITION] != self.interaction[:EDITION]:
                raise Hl7v3Error(
                    "the interactionId is not that of the root element",
                    self.tree.place_of(one) + "/@extension",
                )


def registrations(root: Element) -> list[Element]:
    """The registrations of a message, in its order."""
    return [
        event
        for subject in below(root, "controlActProcess", "subject")
        for event in subject
        if event.tag in _TAGS
    ]


def below(element: Element, *names: str) -> Iterator[Element]:
    """The elements at a way of children; of either library."""
    if not names:
        yield element
        return
    for child in element.findall(HL7 + names[0]):
        yield from below(child, *names[1:])


def key_text(one: Element, separator: str = "^") -> str:
    """An II as text; '' for one that says nothing."""
    if one.get("nullFlavor") is not None:
        return ""
    return separator.join(
        part.strip() for part in (one.get("root", ""), one.get("extension", "")) if part.strip()
    )


def opened(data: bytes, issues: list[Issue]) -> Message:
    """The message that the bytes hold. Raises Hl7v3Error: no XML, no message, or one that is not taken in."""
    try:
        tree = read(data, issues)
    except CdaError as error:
        raise Hl7v3Error(error.text, error.place) from None
    soap = _unwrap(tree)
    root = tree.root
    name = local(root)
    if not _NAME.fullmatch(name):
        raise Hl7v3Error("the root element is no HL7 v3 interaction", "/")
    if root.tag == name:  # without a namespace, in an envelope that has one
        for element in root.iter():
            if not element.tag.startswith("{"):
                tree.rename(element, HL7 + element.tag)
    if root.tag != HL7 + name:
        raise Hl7v3Error("the root element is not in the namespace urn:hl7-org:v3", "/")
    as_release_1(tree, issues)
    number = next((text for one in children(root, "id") if (text := key_text(one))), "")
    return Message(tree, name, soap, number)


def _unwrap(tree: Tree) -> str:
    """Makes a root of what the body of a SOAP envelope holds; the namespace of the envelope, '' for none."""
    root = tree.root
    for uri in _SOAP:
        if root.tag != f"{{{uri}}}Envelope":
            continue
        held = [child for body in root.findall(f"{{{uri}}}Body") for child in body]
        if len(held) != 1:
            raise Hl7v3Error("the SOAP body does not hold one message", "Envelope/Body")
        tree.root = held[0]
        held[0].around = None
        return uri
    return ""
