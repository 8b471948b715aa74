"""Elements of a CDA document. CDA R2 (namespace ``urn:hl7-org:v3``), the extensions of HL7 (``urn:hl7-org:sdtc``)."""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

__all__ = ["Node", "Part", "node", "serialized"]

Node = Any
"""An lxml element (lxml has no types)."""
Part = Any
"""An element, a text, None, or a list of those."""

_V3, _SDTC, _XSI = "urn:hl7-org:v3", "urn:hl7-org:sdtc", "http://www.w3.org/2001/XMLSchema-instance"
_NAMESPACES: Any = {None: _V3, "sdtc": _SDTC, "xsi": _XSI}
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold (§2.2)."""


def _clean(text: str) -> str:
    return _UNFIT.sub("\ufffd", text)


def node(name: str, *parts: Part, xsi: str = "", **attributes: str | None) -> Node:
    """An element. Attributes that are None or '' are left out, as are parts that are None; a list is spread."""
    space, _, local = name.rpartition(":")
    made = etree.Element(f"{{{_SDTC if space else _V3}}}{local}", nsmap=_NAMESPACES)
    if xsi:
        made.set(f"{{{_XSI}}}type", xsi)
    for key, value in attributes.items():
        if value:
            made.set(key, _clean(value))
    _put(made, parts)
    return made


def _put(made: Node, parts: Any) -> None:
    for part in parts:
        if part is None:
            continue
        if isinstance(part, str):
            if len(made):
                made[-1].tail = (made[-1].tail or "") + _clean(part)
            else:
                made.text = (made.text or "") + _clean(part)
        elif isinstance(part, (list, tuple)):
            _put(made, part)
        else:
            made.append(part)


def serialized(root: Node) -> bytes:
    """The document as UTF-8."""
    etree.cleanup_namespaces(root, keep_ns_prefixes=["sdtc", "xsi"])
    found: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return found
