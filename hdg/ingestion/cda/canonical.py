"""What an element says, as bytes that are always the same: Exclusive XML Canonicalization 1.0, without comments.

https://www.w3.org/TR/xml-exc-c14n/. Ids of statements without identifiers are made of it. It names prefixes, which the
elements of the standard library do not have: they are looked for in the text (prefixes.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from lxml import etree

from hdg.ingestion.cda.xml import HL7, Element, Tree

__all__ = ["Canonical", "canonical"]

_HL7: Final = "urn:hl7-org:v3"
_HL7_LENGTH: Final = 16
"""Of the namespace in Clark notation."""
_XML: Final = "http://www.w3.org/XML/1998/namespace"


class Canonical:
    """The elements of one document."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._digests: dict[Element, str] = {}

    def digest(self, element: Element) -> str:
        """SHA-256 in hexadecimal."""
        found = self._digests.get(element)
        if found is None:
            found = self._digests[element] = hashlib.sha256(canonical(element, self._tree)).hexdigest()
        return found


def canonical(element: Element, tree: Tree) -> bytes:
    """An element with all that is in it."""
    if tree.prefixed is not None:
        return etree.tostring(tree.prefixed[element], method="c14n", exclusive=True)
    out: list[str] = []
    _write(element, {**tree.prefixes, "": "", _XML: "xml"}, {"": "", "xml": _XML}, out)
    return "".join(out).encode("utf-8")


def _write(element: Element, prefixes: Mapping[str, str], around: Mapping[str, str], out: list[str]) -> None:
    """``around``: the declarations that are in force, prefix → URI."""
    tag = element.tag
    if tag.startswith(HL7):
        uri, name = _HL7, tag[_HL7_LENGTH:]
    else:
        uri, _, name = tag[1:].rpartition("}") if tag[0] == "{" else ("", "", tag)
    prefix = prefixes[uri]
    if prefix:
        name = f"{prefix}:{name}"
    new = None if around.get(prefix) == uri else {prefix: uri}
    said = ""
    attributes = element.attributes
    if attributes:
        names = list(attributes.keys())
        if len(names) > 1:
            names.sort()
            if names[-1] >= "{":
                names.sort(key=_place)
        for full in names:
            value = attributes[full]
            if full[0] == "{":
                uri, _, full = full[1:].rpartition("}")
                prefix = prefixes[uri]
                full = f"{prefix}:{full}"
                if around.get(prefix) != uri:
                    new = {**(new or {}), prefix: uri}
            said += f' {full}="{_attribute(value)}"'
    inside = around
    if new is not None:
        inside = {**around, **new}
        for prefix, uri in sorted(new.items(), reverse=True):
            said = f' {f"xmlns:{prefix}" if prefix else "xmlns"}="{_attribute(uri)}"{said}'
    text = element.text
    out.append(f"<{name}{said}>{_text(text)}" if text else f"<{name}{said}>")
    for child in element.inner:
        _write(child, prefixes, inside, out)
        text = child.tail
        if text:
            out.append(_text(text))
    out.append(f"</{name}>")


def _place(full: str) -> tuple[str, str]:
    """Attributes lie by namespace and name; those without a namespace first."""
    if full[0] != "{":
        return "", full
    uri, _, name = full[1:].rpartition("}")
    return uri, name


_IN_TEXT: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("\r"): "&#xD;"}
_IN_ATTRIBUTE: Final = {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord('"'): "&quot;",
    ord("\t"): "&#x9;",
    ord("\n"): "&#xA;",
    ord("\r"): "&#xD;",
}
_ANY_IN_TEXT: Final = re.compile("[&<>\r]").search
_ANY_IN_ATTRIBUTE: Final = re.compile('[&<"\t\n\r]').search


def _text(text: str) -> str:
    return (
        text if (text.isspace() and "\r" not in text) or not _ANY_IN_TEXT(text) else text.translate(_IN_TEXT)
    )


def _attribute(text: str) -> str:
    return text if text.isalnum() or not _ANY_IN_ATTRIBUTE(text) else text.translate(_IN_ATTRIBUTE)
