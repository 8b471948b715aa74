"""CDA bytes to FHIR R4: read, walk by the tables, identify, validate. Pure: no I/O beyond reading tables once.

Deterministic: the same bytes, sender and key give the same Converted. CDA R2; C-CDA R1.1 and R2.1; the shapes are those
of the C-CDA on FHIR guide (https://hl7.org/fhir/us/ccda/). DESIGN §3, §4.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns
from typing import Any, Final

from hdg.errors import CdaError, Issue, SourceError
from hdg.fhir.times import instant
from hdg.fhir.urns import spellings
from hdg.ingestion.cda.authorship import Authorship
from hdg.ingestion.cda.compile import TOO_FAR, Compiler
from hdg.ingestion.cda.dispatch import Dispatch
from hdg.ingestion.cda.fragments import as_document
from hdg.ingestion.cda.losses import losses
from hdg.ingestion.cda.original import original
from hdg.ingestion.cda.roots import make_roots
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.values_basic import REASON
from hdg.ingestion.cda.xml import Element, children, read
from hdg.ingestion.converted import Converted, JsonObject, Source
from hdg.ingestion.repair import made_valid
from hdg.ingestion.sender import Declare, Facts, Sender
from hdg.ingestion.times import zone
from hdg.mapping.library import Library
from hdg.mapping.views import SHIPPED, Views

__all__ = ["Converter", "facts_of"]

ROOT_TABLE: Final = "ClinicalDocument.Composition"


@dataclass(frozen=True, slots=True)
class _Tables:
    library: Library
    compiler: Compiler
    dispatch: Dispatch


class Converter:
    """Converts documents with one id key. Tables are read and compiled when a document first needs them.

    ``compiler``: for senders without tables of their own, in place of the shipped tables.
    """

    def __init__(self, *, id_key: bytes, compiler: Compiler | None = None) -> None:
        self.id_key = id_key
        self._tables = Views("cda", lambda library: _tables(Compiler(library)))
        if compiler is not None:
            self._tables[SHIPPED] = _tables(compiler)

    def tables(self, override: Path | None, maps: Path | None = None) -> _Tables:
        """The compiled tables seen through an override directory and a site's own concept maps."""
        return self._tables[override, maps]

    def convert(
        self,
        data: bytes,
        sender: Sender | Declare | None = None,
        *,
        at_us: int | None = None,
        with_original: bool = False,
    ) -> Converted:
        """Convert one document. ``at_us``: time of receipt, µs since the epoch (default: now).

        ``sender``: who sends it, or what tells that of what the document says of itself; one without name or
        institution is called by the custodian. ``with_original``: the document itself is among the resources
        (original.py).

        Raises CdaError: no XML, no CDA, or no valid resource can be made of it.
        """
        return self.run(data, sender, at_us=at_us, with_original=with_original, keeps_document=False)[0]

    def run(
        self,
        data: bytes,
        sender: Sender | Declare | None = None,
        *,
        at_us: int | None = None,
        with_original: bool = False,
        keeps_document: bool = True,
    ) -> tuple[Converted, State]:
        """``convert``, and the state in which it ended (coverage.py).

        Without ``keeps_document`` the state lets go of the document before the resources are checked.
        """
        issues: list[Issue] = []
        tree = as_document(read(data, issues), issues)
        root = tree.root
        control_id = _control_id(root)  # as it was written: by it a repeat is known
        if callable(sender):
            sender = sender(facts_of(root))
        make_roots(tree)
        custodian = _custodian(root)
        sender = sender or Sender("", "")
        sender = replace(
            sender, name=sender.name or f"cda|{custodian}", institution=sender.institution or custodian
        )
        tables = self.tables(sender.mappings, sender.terminology)
        state = State(tree, sender, tables.library, self.id_key, zone(sender.zone), issues)
        state.reads_each = keeps_document
        state.dispatch = tables.dispatch.statement
        state.build_resource = tables.compiler.resource
        try:
            tables.compiler.resource(ROOT_TABLE, root, state)
        except RecursionError:
            raise CdaError(TOO_FAR) from None
        if sum(type_ == "Patient" for type_, _ in state.resources) > 1:
            raise CdaError(
                "a document about several patients: nobody knows about whom a statement is", "recordTarget"
            )
        authorship = Authorship(state)
        issues.extend(losses(state))
        sha256 = hashlib.sha256(data).hexdigest()
        resources = list(state.resources.values())
        resources.sort(key=lambda one: one["resourceType"] != "Composition")
        digest = tables.library.digest
        stated = state.stated("effectiveTime")
        source = _source(root, control_id, sender, sha256, stated[1] if stated else None)
        if not keeps_document:
            state.forget_reading()
        authorship.place()
        if not keeps_document:
            state.forget()
            del tree, root
        recorded = stated[0] if stated else instant(time_ns() // 1000 if at_us is None else at_us)
        if with_original and resources[0]["resourceType"] == "Composition":
            resources += original(
                data, resources[0], id_key=self.id_key, institution=state.institution, recorded=recorded
            )
        resources = _valid(resources, issues)
        told = authorship.provenances(resources, sha256=sha256, mapping_digest=digest, recorded=recorded)
        resources += told if all(map(authorship.is_sound, told)) else _valid(told, issues)
        converted = Converted(
            source=source,
            resources=tuple(resources),
            issues=tuple(dict.fromkeys(issues)),
            patient_id=None if state.subject is None else state.subject["reference"].partition("/")[2],
            mapping_digest=digest,
        )
        return converted, state


_NEEDED: Final = frozenset({"Composition", "Patient", "Provenance"})


def _valid(resources: list[JsonObject], issues: list[Issue]) -> list[JsonObject]:
    """All that is valid, or can be made so; one statement that cannot does not keep the others out.

    Raises CdaError when nothing is left of the document itself or of its patient.
    """
    while True:
        gone: set[str] = set()
        for resource in resources:
            try:
                made_valid(resource, issues)
            except SourceError as error:
                if resource["resourceType"] in _NEEDED:
                    raise CdaError(error.text, error.place) from None
                gone.add(f"{resource['resourceType']}/{resource['id']}")
                issues.append(Issue("error", "invariant", error.place, f"left out: {error.text}"))
        if not gone:
            return resources
        kept = [one for one in resources if f"{one['resourceType']}/{one['id']}" not in gone]
        resources = [_without(one, gone) for one in kept]


def _without(value: Any, gone: set[str]) -> Any:
    """A copy without references to what is gone; one that must stand says that it is unknown."""
    if isinstance(value, dict):
        if value.get("reference") in gone:
            return {"extension": [{"url": REASON, "valueCode": "unknown"}]}
        made = {key: _without(item, gone) for key, item in value.items()}
        return {key: item for key, item in made.items() if item != []}
    if isinstance(value, list):
        return [
            _without(item, gone)
            for item in value
            if not (isinstance(item, dict) and item.get("reference") in gone)
        ]
    return value


def _tables(compiler: Compiler) -> _Tables:
    return _Tables(compiler.library, compiler, Dispatch(compiler.library, compiler))


_PLACES: Final = {
    "custodian": ("custodian", "assignedCustodian", "representedCustodianOrganization", "id"),
    "author": ("author", "assignedAuthor", "id"),
}


def facts_of(root: Element) -> Facts:
    """What a document says of who sends it: the ids of its custodian and of its authors and their organizations.

    UUIDs in each letter case in which senders.toml may have them.
    """
    found = {name: _numbers(root, *path) for name, path in _PLACES.items()}
    found["author"] += _numbers(root, "author", "assignedAuthor", "representedOrganization", "id")
    return found


def _numbers(root: Element, *path: str) -> list[str]:
    nodes = [root]
    for name in path:
        nodes = [child for node in nodes for child in children(node, name)]
    roots = [node for node in nodes if node.get("root") and node.get("nullFlavor") is None]
    spelled = [(one, node.get("extension")) for node in roots for one in spellings(node.get("root", ""))]
    return [
        *(root for root, _ in spelled),
        *(f"{root}|{extension}" for root, extension in spelled if extension),
    ]


def _custodian(root: Element) -> str:
    """The institution that keeps the document, by its identifier."""
    nodes = [root]
    for name in ("custodian", "assignedCustodian", "representedCustodianOrganization", "id"):
        nodes = [child for node in nodes for child in children(node, name)]
    for node in nodes:
        if node.get("root"):
            return "|".join(part for part in (node.get("root"), node.get("extension")) if part)
    return "local"


def _control_id(root: Element) -> str:
    ids = [one for one in children(root, "id") if one.get("root") or one.get("extension")]
    return "^".join(part for one in ids[:1] for name in ("root", "extension") if (part := one.get(name, "")))


def _source(root: Element, control_id: str, sender: Sender, sha256: str, stated_us: int | None) -> Source:
    codes = [one.get("code", "") for one in children(root, "code")]
    return Source(
        "cda", sender.name, sender.institution, control_id, codes[0] if codes else "", sha256, stated_us
    )
