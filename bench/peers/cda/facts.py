"""What documents state and deny, counted by XPath as the truth table does, and what of it stands in Bundles.

A converter's resources are looked at by codes alone, so that it makes no odds how it writes a code system: a negated
statement is denied when one of the resources that may tell it denies one of its codes, and inverted when such resources
only state it. The kept codings are looked for in all resources of a document.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from bench.wrong import references
from hdg.fhir.validate import validate
from tests.ingestion.cda.test_corpus_cda_truth import NO_KNOWN, NS, STATEMENTS, codings, is_denied, stated_by

JsonObject = dict[str, Any]
NONE_KNOWN = {
    "716186003", "409137002", "716184000", "428607008", "429625007", "160244002",
    "160245001", "787481004", "182904002", "no-known-allergies", "no-known-medications", "no-known-problems",
    "no-known-reaction-risk",
}  # fmt: skip
"""SNOMED CT, IPS and the exposure risk of C-CDA on FHIR: that no allergy, problem or medication is known."""
OBSERVED = ("Observation",)
"""R4 cannot deny these; a negated one must not come out at all, and no coding of it need be kept."""


@dataclass(slots=True)
class Facts:
    """Sums over documents, for one converter."""

    documents: int = 0
    resources: int = 0
    valid: int = 0
    wholly_valid: int = 0
    dangling: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    negated: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind of statement, and what became of it: denied, inverted, gone."""
    stated: Counter[str] = field(default_factory=Counter)
    """The same of what is not negated."""
    codings: Counter[str] = field(default_factory=Counter)
    """there, in converted documents, kept with its system, kept."""

    def add(self, document: bytes, made: JsonObject) -> None:
        """One document and its Bundle, or an object with ``error``."""
        root = etree.fromstring(document, etree.XMLParser(recover=True))
        entries = made.get("entry") or []
        resources = [entry["resource"] for entry in entries if entry.get("resource")]
        if "error" in made:
            self.refusals[made["error"]] += 1
        elif resources:
            self.documents += 1
            self._check(entries, resources)
        known = []
        for one in resources:
            have = {code for _, code in codings(one)}
            known.append((one["resourceType"], have, is_denied(one) or bool(have & NONE_KNOWN)))
        pairs = set(codings(resources))
        for kind, (path, code, _) in STATEMENTS.items():
            statements = [one for one in root.xpath(path, namespaces=NS) if not one.get("nullFlavor")]
            for one in statements:
                self._look(kind, one, statements, code, known, pairs)

    def _check(self, entries: list[JsonObject], resources: list[JsonObject]) -> None:
        self.resources += len(resources)
        found = [validate(one) for one in resources]
        self.valid += found.count([])
        self.wholly_valid += not any(found)
        for issues in found:
            self.problems.update({f"{_unnumbered(issue.place)}: {issue.text}" for issue in issues})
        places = {entry.get("fullUrl") for entry in entries}
        places |= {f"{one['resourceType']}/{one.get('id')}" for one in resources}
        places |= {f"urn:uuid:{one.get('id')}" for one in resources}
        self.dangling += sum(
            not reference.startswith(("#", "http:", "https:")) and reference not in places
            for reference in references(resources)
        )

    def _look(
        self,
        kind: str,
        statement: Any,
        all_of_kind: list[Any],
        path: str,
        known: list[tuple[str, set[str], bool]],
        pairs: set[tuple[str, str]],
    ) -> None:
        wanted = stated_by(statement, path)
        if not wanted:
            return
        codes = {code for _, code in wanted}
        types = STATEMENTS[kind][2]
        everywhere = [(type_, denied) for type_, have, denied in known if codes & have]
        telling = [denied for type_, denied in everywhere if type_ in types]
        is_negated = _is_negated(statement)
        if is_negated and codes & NO_KNOWN:  # "no medication": in FHIR by a code of its own
            telling += [True for type_, have, _ in known if type_ in types and have & NONE_KNOWN]
        if is_negated:
            others = sum(
                not _is_negated(one) and bool(codes & {code for _, code in stated_by(one, path)})
                for one in all_of_kind
            )
            fate = "denied" if any(telling) else "inverted" if len(telling) > others else "gone"
            self.negated[kind, fate] += 1
        else:
            fates = [denied for _, denied in everywhere]
            self.stated["inverted" if fates and all(fates) else "stated" if fates else "gone"] += 1
        if is_negated and (types == OBSERVED or codes & NO_KNOWN):
            return
        self.codings["there"] += len(wanted)
        self.codings["with system"] += len(wanted & pairs)
        self.codings["kept"] += len(codes & {code for _, code in pairs})
        self.codings["of converted"] += len(wanted) if pairs else 0


def _is_negated(statement: Any) -> bool:
    return statement.get("negationInd") in ("true", "1")


def _unnumbered(place: str) -> str:
    return "".join(part.partition("]")[2] if number else part for number, part in enumerate(place.split("[")))
