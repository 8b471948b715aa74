"""Under which prefix a document writes a namespace, and lxml's tree of the document where there are several.

Namespaces in XML 1.0 (https://www.w3.org/TR/xml-names/). A prefix says nothing; what is hashed or handed on as it was
written has it all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lxml import etree

from hdg.errors import CdaError

__all__ = ["parsed", "prefixes_of", "wrapped"]

_DECLARED: Final = re.compile(rb"""xmlns(?::([^\s=]+))?\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def prefixes_of(body: bytes) -> Mapping[str, str] | None:
    """URI → prefix ('' for none), or None where that is not sure. ``body``: the document in UTF-8.

    What looks like a declaration and is none only makes it less sure.
    """
    declared: dict[bytes, set[bytes]] = {}
    at = body.find(b"xmlns")
    while at >= 0:
        said = _DECLARED.match(body, at)
        if said is None:
            at += 1
        else:
            declared.setdefault(said[2] or said[3] or b"", set()).add(said[1] or b"")
            at = said.end()
        at = body.find(b"xmlns", at)
    found: dict[str, str] = {}
    for uri, prefixes in declared.items():
        if len(prefixes) > 1:
            prefixes = {one for one in prefixes if not one or _is_used(one, body)}
        if b"&" in uri or len(prefixes) > 1:
            return None
        try:
            found.update((uri.decode("utf-8"), prefix.decode("utf-8")) for prefix in prefixes)
        except UnicodeDecodeError:
            return None
    return found


def _is_used(prefix: bytes, body: bytes) -> bool:
    """Whether an element or an attribute may bear a prefix."""
    if prefix + b":" not in body:
        return False
    return b"<" + prefix + b":" in body or re.search(rb"\s" + re.escape(prefix) + b":", body) is not None


def parsed(body: bytes) -> Any:
    """lxml's root element of a document that has been read already, in UTF-8. Raises CdaError."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=True,  # a scanned letter is one text of megabytes; without entities nothing can grow
        recover=True,  # it is well-formed; an xml:id that is no name, or stands twice, is no reason to refuse it
        remove_comments=True,
        remove_pis=True,
    )
    try:
        found = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        found = None
    if found is None:
        raise CdaError("not well-formed XML")
    return found


def wrapped(inner: Any, tags: Sequence[str]) -> list[Any]:
    """New elements around one of lxml's, the outermost first; without prefixes, and so is what is in them."""
    made: list[Any] = [etree.Element(tags[0], nsmap={None: tags[0][1:].partition("}")[0]})]  # type: ignore[dict-item]
    for tag in tags[1:]:
        made.append(etree.SubElement(made[-1], tag))
    made[-1].append(inner)
    return made
