"""A section or a statement on its own becomes a document around it, so that examples and parts convert too."""

from __future__ import annotations

from typing import Final

from hdg.errors import CdaError, Issue
from hdg.ingestion.cda.compile import STATEMENTS
from hdg.ingestion.cda.xml import Tree, is_hl7, local

__all__ = ["as_document"]

_WRAPPED: Final = {
    "entry": ("component", "structuredBody", "component", "section"),
    "section": ("component", "structuredBody", "component"),
    "structuredBody": ("component",),
    "nonXMLBody": ("component",),
    "serviceEvent": ("documentationOf",),
    "performer": ("documentationOf", "serviceEvent"),
    "encompassingEncounter": ("componentOf",),
    "encounterParticipant": ("componentOf", "encompassingEncounter"),
    "patientRole": ("recordTarget",),
    "assignedAuthor": ("author",),
}


def as_document(tree: Tree, issues: list[Issue]) -> Tree:
    """The document itself, or one made around a part. Raises CdaError for anything else."""
    root = tree.root
    if not is_hl7(root):
        raise CdaError("the root is not in the namespace of HL7 v3")
    if local(root) == "entryRelationship":
        root = next((one for one in root.inner if local(one) in STATEMENTS), root)
    name = local(root)
    if name == "ClinicalDocument":
        return tree
    if name in STATEMENTS:
        way = (*_WRAPPED["entry"], "entry")
    elif name in _WRAPPED:
        way = _WRAPPED[name]
    elif name == "component":
        inner = local(root.inner[0]) if root.inner else ""
        way = {"section": ("component", "structuredBody"), "structuredBody": (), "nonXMLBody": ()}.get(
            inner, ()
        )
        if not inner:
            raise CdaError("the component is empty")
    elif name in _HEADER:
        way = ()
    else:
        raise CdaError("neither a ClinicalDocument nor a part of one")
    issues.append(Issue("information", "structure", "/", f"only a part of a document ({name})"))
    tree.root = root
    tree.wrap(("ClinicalDocument", *way))
    return tree


_HEADER: Final = frozenset(
    {
        "recordTarget",
        "author",
        "dataEnterer",
        "informant",
        "custodian",
        "informationRecipient",
        "legalAuthenticator",
        "authenticator",
        "participant",
        "inFulfillmentOf",
        "documentationOf",
        "relatedDocument",
        "authorization",
        "componentOf",
    }
)
