"""The narrative of a section (StrucDoc) as XHTML that R4 allows.

CDA R2 §4.3.5; R4 narrative.html. An allow-list: unknown elements give their text alone; no scripts, styles, forms or
outer resources. IDs stay, so that references from entries lead somewhere.
"""

from __future__ import annotations

import re
from html import escape

from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import Element, local

__all__ = ["narrative"]

_TAGS = {
    "paragraph": "p",
    "content": "span",
    "list": "ul",
    "item": "li",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tfoot": "tfoot",
    "tr": "tr",
    "th": "th",
    "td": "td",
    "col": "col",
    "colgroup": "colgroup",
    "sub": "sub",
    "sup": "sup",
    "br": "br",
    "linkHtml": "a",
    "footnote": "span",
    "footnoteRef": "span",
    "renderMultiMedia": "span",
    "caption": "b",
}
_VOID = frozenset({"br", "col"})
_NUMBERS = {"colspan": 1000, "rowspan": 1000, "span": 1000}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")
_SAFE = re.compile(r"(?:https?://|mailto:|#)[^\s\"'<>]*", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_STYLES = {"Bold": "b", "Italics": "i", "Underline": "u"}


def narrative(element: Element, state: State) -> dict[str, str] | None:
    """A Narrative, or None for one that says nothing."""
    parts: list[str] = []
    _inside(element, parts)
    body = "".join(parts)
    if not re.sub(r"<[^>]*>|&#160;|\s", "", body):
        return None
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{body}</div>'}


def _inside(element: Element, parts: list[str]) -> None:
    _say(element.text, parts)
    for child in element:
        _write(child, parts)
        _say(child.tail, parts)


def _say(text: str | None, parts: list[str]) -> None:
    if text:
        parts.append(escape(_CONTROL.sub("", text), quote=False))


def _write(element: Element, parts: list[str]) -> None:
    name = local(element)
    tag = _TAGS.get(name, "")
    if name == "list" and element.get("listType") == "ordered":
        tag = "ol"
    if name == "caption" and local(element.getparent()) == "table":
        tag = "caption"
    if not tag:
        _inside(element, parts)
        return
    styles = (
        [_STYLES[word] for word in element.get("styleCode", "").split() if word in _STYLES]
        if tag == "span"
        else []
    )
    if element.get("revised") == "delete":  # what was taken back must not read as if it stood
        parts.append('<span style="text-decoration:line-through">')
    parts.append(f"<{tag}{_attributes(element, name)}")
    if tag in _VOID:
        parts.append("/>")
        return
    parts.append(">")
    parts += [f"<{style}>" for style in styles]
    if name == "renderMultiMedia":
        parts.append(escape(f"[{element.get('referencedObject', '')}]"))
    _inside(element, parts)
    parts += [f"</{style}>" for style in reversed(styles)]
    parts.append(f"</{tag}>")
    if element.get("revised") == "delete":
        parts.append("</span>")


def _attributes(element: Element, name: str) -> str:
    found = []
    id_ = element.get("ID", "")
    if _NAME.fullmatch(id_):
        found.append(f' id="{id_}"')
    for attribute, most in _NUMBERS.items():
        value = element.get(attribute, "")
        if value.isascii() and value.isdigit() and 0 < int(value) <= most:
            found.append(f' {attribute}="{value}"')
    href = element.get("href", "").strip()
    if name == "linkHtml" and _SAFE.fullmatch(href):
        found.append(f' href="{escape(href)}"')
    if name == "footnoteRef":
        target = element.get("IDREF", "")
        if _NAME.fullmatch(target):
            found.append(f' title="#{target}"')
    return "".join(found)
