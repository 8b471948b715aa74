"""Reads the XML of a document: no DTD, no entity, nothing fetched, bounded depth and width.

CDA R2 §1.2 (https://www.hl7.org/implement/standards/product_brief.cfm?product_id=7); XML 1.0. What senders really
send is read all the same, and said: a byte order mark or blanks before the declaration, an encoding that is not the
declared one, a missing namespace, prefixes that nobody declared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.parsers.expat import ExpatError
from xml.parsers.expat import errors as expat_errors

from hdg.errors import CdaError, Issue
from hdg.ingestion.cda.element import HL7, Element, children, first_child, is_hl7, local
from hdg.ingestion.cda.excluded import has_excluded, without_excluded
from hdg.ingestion.cda.nulls import without_nulled
from hdg.ingestion.cda.parsing import Parsed, parse
from hdg.ingestion.cda.prefixes import parsed, prefixes_of, wrapped
from hdg.ingestion.cda.truths import make_truths
from hdg.ingestion.cda.utf8 import START_TAG, mended

__all__ = ["HL7", "SDTC", "XSI_TYPE", "Element", "Tree", "children", "first_child", "is_hl7", "local", "read"]

SDTC: Final = "{urn:hl7-org:sdtc}"
XSI_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
_PHARM_URI: Final = b"urn:hl7-org:pharm"
_PHARM: Final = "{urn:hl7-org:pharm}"
"""The pharmacy models' additions to CDA: ingredients and forms, read as if CDA had them."""
_PREFIXES: Final = {
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "sdtc": "urn:hl7-org:sdtc",
    "cda": "urn:hl7-org:v3",
    "hl7": "urn:hl7-org:v3",
    "voc": "urn:hl7-org:v3/voc",
}
_PLACES_MAX: Final = 200
_UNBOUND: Final = expat_errors.codes[expat_errors.XML_ERROR_UNBOUND_PREFIX]


class Tree:
    """A document: its elements, and what is known of all of it."""

    __slots__ = (
        "_document",
        "_places",
        "body",
        "cased",
        "has_nulled",
        "identified",
        "prefixed",
        "prefixes",
        "root",
    )

    def __init__(self, found: Parsed, body: bytes) -> None:
        self.root = self._document = found.root
        self._places: dict[Element, str] = {}
        """Where elements lie that hold others; bounded, and forgotten with each change."""
        self.identified = found.identified
        """The element with each ID."""
        self.cased = found.cased
        """Those whose root is perhaps a UUID with capital letters (roots.py)."""
        self.has_nulled = found.has_nulled
        """Whether a nullFlavor stands beside values."""
        self.body = body
        """The document in UTF-8."""
        self.prefixed: dict[Element, Any] | None = None
        """lxml's elements, which know their prefixes; None where ``prefixes`` says it all."""
        self.prefixes: Mapping[str, str] = {}
        """URI → prefix."""
        prefixes = prefixes_of(body)
        if prefixes is None:
            self.as_written(self.root)
        else:
            self.prefixes = prefixes

    def as_written(self, element: Element) -> Any:
        """lxml's element; to be asked for before anything is removed."""
        if self.prefixed is None:
            other = parsed(self.body)
            make_truths(other, self.body)
            if self.has_nulled:
                without_nulled(other)
            if has_excluded(self.body):
                without_excluded(other)
            try:
                self.prefixed = dict(zip(self._document.iter(), other.iter(), strict=True))
            except ValueError:  # the two parsers are not of one mind
                raise CdaError("not well-formed XML") from None
        return self.prefixed[element]

    def rename(self, element: Element, tag: str) -> None:
        """Gives an element another name; before anything is removed."""
        self._places.clear()
        self.as_written(element).tag = tag
        element.tag = tag

    def remove(self, element: Element) -> None:
        """Takes an element out, with all that is in it."""
        around = element.around
        if around is None:
            raise KeyError("nothing is around a root")
        self._places.clear()
        around.remove(element)
        if self.prefixed is not None:
            other = self.prefixed[element]
            other.getparent().remove(other)

    def wrap(self, names: Sequence[str]) -> None:
        """Puts elements of HL7 v3 around the root, the outermost first."""
        if self.prefixed is None and self.prefixes.get(HL7[1:-1]):
            self.as_written(self.root)
        self._places.clear()
        inner, made = self.root, []
        for name in reversed(names):
            around = Element(HL7 + name)
            around.append(self.root)
            self.root = around
            made.append(around)
        if self.prefixed is not None:
            others = wrapped(self.prefixed[inner], [one.tag for one in reversed(made)])
            self.prefixed.update(zip(reversed(made), others, strict=True))

    def place_of(self, element: Element, attribute: str = "") -> str:
        """Where it lies: ``component[2]/section/entry[1]/act/@negationInd``, numbered where it has siblings."""
        place = self._place(element)
        if attribute:
            name = attribute.rpartition("}")[2]
            return f"{place}/@{name}" if place else f"@{name}"
        return place or local(element)

    def _place(self, element: Element) -> str:
        """'' for the root, and for what is in no tree."""
        parent = element.around
        if parent is None or element is self.root:
            return ""
        name = local(element)
        same = parent.findall(element.tag)
        step = f"{name}[{same.index(element) + 1}]" if len(same) > 1 else name
        around = self._places.get(parent)
        if around is None:
            around = self._place(parent)
            if len(self._places) >= _PLACES_MAX:
                self._places.clear()
            self._places[parent] = around
        return f"{around}/{step}" if around else step


def read(data: bytes, issues: list[Issue]) -> Tree:
    """Raises CdaError; what had to be mended on the way is an Issue."""
    body = mended(data, issues)
    try:
        try:
            found = parse(body)
        except ExpatError as error:
            if error.code != _UNBOUND:
                raise
            body = _declared(body.decode("utf-8"), issues).encode("utf-8")
            found = parse(body)
    except ExpatError as error:
        raise CdaError("not well-formed XML", f"line {error.lineno}") from None
    tree, root = Tree(found, body), found.root
    make_truths(root, body)
    for element, name, text in without_nulled(root) if tree.has_nulled else ():
        issues.append(Issue("warning", "value", tree.place_of(element, name), text))
    for time in without_excluded(root) if has_excluded(body) else ():
        text = "a time that is excluded was left out"
        issues.append(Issue("error", "not-supported", tree.place_of(time), text))
    if not root.tag.startswith("{"):
        issues.append(Issue("information", "structure", "/", "the namespace urn:hl7-org:v3 is missing"))
        for element in root.iter():
            if not element.tag.startswith("{"):
                tree.rename(element, HL7 + element.tag)
    if _PHARM_URI in body:
        for element in root.iter():
            if element.tag.startswith(_PHARM):
                tree.rename(element, HL7 + local(element))
    return tree


def _declared(text: str, issues: list[Issue]) -> str:
    """The document with a declaration for each usual prefix that it uses and does not declare."""
    found = START_TAG.search(text)
    missing = [
        f' xmlns:{prefix}="{uri}"'
        for prefix, uri in _PREFIXES.items()
        if f"{prefix}:" in text and f"xmlns:{prefix}=" not in text
    ]
    if not missing or found is None:
        return text
    issues.append(Issue("information", "structure", "/", "a prefix is used that is declared nowhere"))
    return text[: found.end()] + "".join(missing) + text[found.end() :]
