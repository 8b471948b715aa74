"""The narrative of a section (StrucDoc) as XHTML that R4 allows.

CDA R2 §4.3.5; R4 narrative.html. An allow-list: unknown elements give their text alone; no scripts, styles, forms or
outer resources. IDs stay, so that references from entries lead somewhere.
"""

from __future__ import annotations

import re
from typing import Final

from hdg.fhir import narrative as xhtml
from hdg.ingestion.cda.xml import HL7, Element

__all__ = ["narrative"]

_BLANK: Final = " \t\r\n"
"""XML 1.0 §2.3: what XPath calls white space."""
_NAMES: Final = {
    "paragraph": "p",
    "item": "li",
    "caption": "b",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tfoot": "tfoot",
    "tr": "tr",
    "th": "th",
    "td": "td",
    "colgroup": "colgroup",
    "sub": "sub",
    "sup": "sup",
    "footnote": "span",
    "footnoteRef": "span",
}
_AS: Final = {HL7 + name: html for name, html in _NAMES.items()}
_TEXT: Final = HL7 + "text"
_LIST: Final = HL7 + "list"
_CONTENT: Final = HL7 + "content"
_LINK: Final = HL7 + "linkHtml"
_COL: Final = HL7 + "col"
_BR: Final = HL7 + "br"
_MEDIA: Final = HL7 + "renderMultiMedia"
_TABLE: Final = HL7 + "table"
_CAPTION: Final = HL7 + "caption"
_DELETED: Final = '<span style="text-decoration:line-through"'
_STYLES: Final = (("Bold", "b"), ("Italics", "i"), ("Underline", "u"))
_SCHEMES: Final = ("http://", "https://", "mailto:", "#")
_FOLDED: Final = str.maketrans("HTPSMAILO", "htpsmailo")
_NUMBERS: Final = frozenset({"colspan", "rowspan", "span"})
_NUMBER: Final = re.compile(
    rf"[{_BLANK}]*(-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{{1,3}})?)[{_BLANK}]*"
)
_MOST: Final = 1000
"""Columns or rows that one cell may span."""
_SAID: Final = re.compile(r">\s*[^\s<&]").search
"""A text that says something, whatever the characters mean that stand for others."""
_DEEPEST: Final = xhtml.MAX_DEPTH // 3 - 1
"""Elements in one another of which each may become three: a list item that was deleted, in bold."""


def narrative(element: Element) -> dict[str, str] | None:
    """A Narrative, or None for one that says nothing."""
    if not any(not text.isspace() for text in element.itertext()):
        return None
    out: list[str] = []
    _put('<div xmlns="http://www.w3.org/1999/xhtml"', element, "div", out)
    div = "".join(out)
    if _SAID(div) and element.height() < _DEEPEST:
        xhtml.sound(div)
    return {"status": "generated", "div": div}


def _put(begun: str, element: Element, name: str, out: list[str]) -> None:
    """A tag that was begun, what is in an element, and the end of the tag; short where there is nothing in it."""
    if not element.inner:
        text = element.text
        out.append(f"{begun}>{_escaped(text)}</{name}>" if text else begun + "/>")
        return
    mark = len(out)
    out.append(begun + ">")
    _inside(element, out)
    if len(out) == mark + 1:
        out[mark] = begun + "/>"
    else:
        out.append(f"</{name}>")


def _inside(element: Element, out: list[str]) -> None:
    text = element.text
    if text:
        out.append(_escaped(text))
    for child in element.inner:
        tag = child.tag
        names = child.attributes
        if names and child.get("revised") == "delete" and tag != _TEXT:
            mark = len(out)  # what was taken back must not read as if it stood
            out.append(_DELETED + ">")
            _element(child, element, out)
            if len(out) == mark + 1:
                out[mark] = _DELETED + "/>"
            else:
                out.append("</span>")
        elif tag in _AS and tag != _CAPTION:
            name = _AS[tag]
            _put(f"<{name}{_attributes(child)}" if names else f"<{name}", child, name, out)
        else:
            _element(child, element, out)
        text = child.tail
        if text:
            out.append(_escaped(text))


def _element(element: Element, around: Element, out: list[str]) -> None:
    tag = element.tag
    name = _AS.get(tag)
    if name is not None:
        if tag == _CAPTION and around.tag == _TABLE:
            name = "caption"
        _put(f"<{name}{_attributes(element)}", element, name, out)
    elif tag == _CONTENT:
        _content(element, out)
    elif tag == _BR:
        out.append("<br/>")
    elif tag == _LIST:
        name = "ol" if element.get("listType") == "ordered" else "ul"
        _put(f"<{name}{_attributes(element)}", element, name, out)
    elif tag == _COL:
        out.append(f"<col{_numbers(element)}/>")
    elif tag == _LINK:
        _put(f"<a{_href(element)}{_attributes(element)}", element, "a", out)
    elif tag == _MEDIA:
        out.append(f"<span{_id(element)}>[{_escaped(element.get('referencedObject', ''))}]")
        _inside(element, out)
        out.append("</span>")
    elif tag == _TEXT:
        _put("<div", element, "div", out)
    else:
        _inside(element, out)


def _content(element: Element, out: list[str]) -> None:
    styles = element.get("styleCode")
    style = _style(styles) if styles else ""
    if not style:
        _put(f"<span{_id(element)}", element, "span", out)
        return
    out.append(f"<span{_id(element)}>")
    _put(f"<{style}", element, style, out)
    out.append("</span>")


def _style(text: str) -> str:
    """The element for the first style that a styleCode names; '' for none."""
    named = [(word, name) for word, name in _STYLES if word in text]
    words = _words(text) if named else ()
    return next((name for word, name in named if word in words), "")


def _words(text: str) -> list[str]:
    """XPath's normalize-space, as words."""
    return [word for word in re.split(f"[{_BLANK}]+", text) if word]


def _attributes(element: Element) -> str:
    """The id, and the numbers of a cell."""
    if not element.attributes:
        return ""
    return _id(element) + _numbers(element)


def _id(element: Element) -> str:
    found = element.get("ID")
    return "" if found is None or " " in found else f' id="{_quoted(found)}"'


def _numbers(element: Element) -> str:
    said = ""
    for name, value in element.attributes.items():
        if name in _NUMBERS:
            match = _NUMBER.fullmatch(value)
            number = float(match[1]) if match else 0
            if 0 < number <= _MOST:
                said += f' {name}="{int(number + 0.5)}"'
    return said


def _href(element: Element) -> str:
    href = " ".join(_words(element.get("href", "")))
    return f' href="{_quoted(href)}"' if href.translate(_FOLDED).startswith(_SCHEMES) else ""


def _escaped(text: str) -> str:
    if "&" in text or "<" in text or ">" in text or "\r" in text:
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    return text


def _quoted(text: str) -> str:
    text = _escaped(text).replace('"', "&quot;")
    return text.replace("\n", "&#10;").replace("\t", "&#9;")
