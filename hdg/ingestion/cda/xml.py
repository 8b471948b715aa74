"""Reads the XML of a document: no DTD, no entity, nothing fetched, bounded depth and width.

CDA R2 §1.2 (https://www.hl7.org/implement/standards/product_brief.cfm?product_id=7); XML 1.0. What senders really
send is read all the same, and said: a byte order mark or blanks before the declaration, an encoding that is not the
declared one, a missing namespace, prefixes that nobody declared.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from hdg.errors import CdaError, Issue

__all__ = ["HL7", "SDTC", "XSI_TYPE", "Element", "children", "is_hl7", "local", "place_of", "read"]

Element = Any
"""An lxml element; the stubs make of every child a union."""
HL7 = "{urn:hl7-org:v3}"
SDTC = "{urn:hl7-org:sdtc}"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_PHARM = "{urn:hl7-org:pharm}"
"""The pharmacy models' additions to CDA: ingredients and forms, read as if CDA had them."""
MAX_DEPTH = 100
MAX_ATTRIBUTES = 100
"""Of one element."""

_PREFIXES = {
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "sdtc": "urn:hl7-org:sdtc",
    "cda": "urn:hl7-org:v3",
    "hl7": "urn:hl7-org:v3",
    "voc": "urn:hl7-org:v3/voc",
}
_NO_CHARSETS = ("punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "charmap")
"""Python's codecs that are no charset: punycode takes quadratic time, the escapes would change what is written."""
_TRUTH = {"1": "true", "true": "true", "0": "false", "false": "false", "": "false"}
_BEFORE_ROOT = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|\s)*", re.DOTALL)
_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_START_TAG = re.compile(r"<[A-Za-z_][^\s/>]*")
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


def read(data: bytes, issues: list[Issue]) -> Element:
    """The root element. Raises CdaError; what had to be mended on the way is an Issue."""
    text = _decoded(data, issues)
    start = _BEFORE_ROOT.match(text)
    at = start.end() if start else 0
    if text.startswith("<!", at):
        raise CdaError("a document type definition is not allowed")
    if not text[at:].strip():
        raise CdaError("the document is empty")
    body = _declared(text[at:], issues)
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=True,  # a scanned letter is one text of megabytes; without entities nothing can grow
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root: Element = etree.fromstring(body.encode("utf-8"), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise CdaError("not well-formed XML", f"line {line}" if line else "") from None
    _check(root)
    if ":negationInd" in body:
        _without_prefix(root)
    if etree.QName(root).namespace is None:
        issues.append(Issue("information", "structure", "/", "the namespace urn:hl7-org:v3 is missing"))
        for element in root.iter():
            if isinstance(element.tag, str) and not element.tag.startswith("{"):
                element.tag = HL7 + element.tag
    for element in list(root.iter(f"{_PHARM}*")):
        element.tag = HL7 + local(element)
    return root


def _decoded(data: bytes, issues: list[Issue]) -> str:
    """The text without byte order mark and XML declaration's encoding. Raises CdaError."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return _text(data[len(mark) :], codec, issues)
    if data[:4] == b"<\x00?\x00" or data[:2] == b"<\x00":
        return _text(data, "utf-16-le", issues)
    if data[:2] == b"\x00<":
        return _text(data, "utf-16-be", issues)
    declared = _ENCODING.match(data[:200])
    codec = declared[1].decode("ascii").lower() if declared else "utf-8"
    if codec.startswith(("utf-16", "ucs-2", "utf-32")):  # the bytes say otherwise
        codec = "utf-8"
    return _text(data, codec, issues)


def _text(data: bytes, codec: str, issues: list[Issue]) -> str:
    try:
        if codecs.lookup(codec).name.replace("-", "_") not in _NO_CHARSETS:
            return data.decode(codec)
    except LookupError:
        pass
    except UnicodeError:
        if codec.startswith("utf-16"):
            raise CdaError("the bytes are not of the declared encoding") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("windows-1252", errors="replace")
    issues.append(
        Issue(
            "warning",
            "structure",
            "/",
            f"not {codec if codec.isascii() else ''} as declared; read as it seems",
        )
    )
    return text


def _declared(text: str, issues: list[Issue]) -> str:
    """The document with a declaration for each usual prefix that it uses and does not declare."""
    found = _START_TAG.search(text)
    missing = [
        f' xmlns:{prefix}="{uri}"'
        for prefix, uri in _PREFIXES.items()
        if f"{prefix}:" in text and f"xmlns:{prefix}=" not in text
    ]
    if not missing or found is None:
        return text
    issues.append(Issue("information", "structure", "/", "a prefix is used that is declared nowhere"))
    return text[: found.end()] + "".join(missing) + text[found.end() :]


_TOO_DEEP = etree.XPath(f"boolean({'/*' * (MAX_DEPTH + 1)})")
_TOO_WIDE = etree.XPath(f"boolean(//*/@*[{MAX_ATTRIBUTES + 1}])")
_ODD_TRUTH = etree.XPath("//@negationInd[. != 'true' and . != 'false']/..")


def _check(root: Element) -> None:
    """Raises CdaError for a tree that is nested too deeply or too wide; makes one word of each truth."""
    if _TOO_DEEP(root):
        raise CdaError(f"nested more than {MAX_DEPTH} deep")
    if _TOO_WIDE(root):
        raise CdaError(f"an element has more than {MAX_ATTRIBUTES} attributes")
    odd: Any = _ODD_TRUTH(root)
    for element in odd:  # xs:boolean: 1 is true, and tables compare with one word
        text = element.get("negationInd")
        element.set("negationInd", _TRUTH.get(text.strip().lower(), text))


def _without_prefix(root: Element) -> None:
    """sdtc:negationInd, which HL7 withdrew and senders use at supplies and encounters, is read as negationInd.

    Where both stand, either denies.
    """
    for element in root.iter(etree.Element):
        for name in list(element.attrib):
            if name.endswith("}negationInd"):
                text = _TRUTH.get(element.get(name, "").strip().lower(), element.get(name))
                if element.get("negationInd", "false") == "false":
                    element.set("negationInd", text)
                del element.attrib[name]


def children(element: Element, name: str) -> Iterator[Element]:
    """The children of that name in the namespace of HL7 v3."""
    found: Iterator[Element] = element.iterchildren(HL7 + name)
    return found


def is_hl7(element: Element) -> bool:
    """Whether an element is of the namespace of HL7 v3."""
    return isinstance(element.tag, str) and element.tag.startswith(HL7)


def local(element: Element) -> str:
    """The name without its namespace."""
    name: str = element.tag
    return name.rpartition("}")[2]


def place_of(element: Element, attribute: str = "") -> str:
    """Where an element lies: ``component[2]/section/entry[1]/act/@negationInd``, numbered where it has siblings."""
    steps = [f"@{attribute.rpartition('}')[2]}"] if attribute else []
    node = element
    while node is not None:
        name = local(node)
        parent = node.getparent()
        if parent is not None:
            before = sum(1 for _ in node.itersiblings(node.tag, preceding=True))
            if before or next(node.itersiblings(node.tag), None) is not None:
                name += f"[{before + 1}]"
            steps.append(name)
        node = parent
    return "/".join(reversed(steps)) or local(element)
