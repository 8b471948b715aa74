"""What an element says, as bytes that are always the same: Exclusive XML Canonicalization 1.0, without comments.

https://www.w3.org/TR/xml-exc-c14n/. Ids of statements without identifiers are made of it. It names prefixes, which the
elements of the standard library do not have: they are looked for in the text (prefixes.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from hdg.ingestion.cda.xml import Element, Tree

__all__ = ["Canonical", "canonical"]

_XML = "http://www.w3.org/XML/1998/namespace"


class Canonical:
    """The elements of one document."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def digest(self, element: Element) -> str:
        """SHA-256 in hexadecimal."""
        return hashlib.sha256(canonical(element, self._tree)).hexdigest()


def canonical(element: Element, tree: Tree) -> bytes:
    """An element with all that is in it."""
    if tree.prefixed is not None:
        from lxml import etree

        return etree.tostring(tree.prefixed[element], method="c14n", exclusive=True)
    return "".join(_written(element, {**tree.prefixes, _XML: "xml"}, {})).encode("utf-8")


def _written(element: Element, prefixes: Mapping[str, str], around: Mapping[str, str]) -> Iterator[str]:
    """``around``: the declarations that are in force, prefix → URI."""
    uri, _, name = element.tag.rpartition("}")
    uri = uri[1:]
    prefix = prefixes[uri] if uri else ""
    used = {prefix: uri}
    attributes = []
    for full, value in element.items():
        of, _, own = full.rpartition("}")
        of = of[1:]
        if of:
            used[prefixes[of]] = of
            attributes.append((of, own, f"{prefixes[of]}:{own}", value))
        else:
            attributes.append(("", own, own, value))
    new = {one: of for one, of in used.items() if one != "xml" and (around.get(one) or "") != of}
    qualified = f"{prefix}:{name}" if prefix else name
    declared = "".join(
        f' xmlns:{one}="{_attribute(of)}"' if one else f' xmlns="{_attribute(of)}"'
        for one, of in sorted(new.items())
    )
    attributes.sort()
    said = "".join([f' {full}="{_attribute(value)}"' for _, _, full, value in attributes])
    yield f"<{qualified}{declared}{said}>"
    if element.text:
        yield _text(element.text)
    inside = {**around, **new} if new else around
    for child in element:
        yield from _written(child, prefixes, inside)
        if child.tail:
            yield _text(child.tail)
    yield f"</{qualified}>"


def _text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")


def _attribute(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("\t", "&#x9;").replace("\n", "&#xA;").replace("\r", "&#xD;")
