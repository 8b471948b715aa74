"""Narrative.div: well-formed XHTML with formatting only (R4 narrative.html#xhtml; txt-1 and txt-2).

Checked: one ``div`` root in the XHTML namespace, well-formed, elements and attributes of the allowed list, no
script in a link, some text or image, no deeper than readers of XML go. Not checked: CSS, and that referenced
images exist.
"""

from __future__ import annotations

from typing import Any, Final
from xml.parsers import expat

from hdg.fhir.primitives import MAX_TEXT, Finding

__all__ = ["MAX_DEPTH", "check_div", "sound"]

MAX_DEPTH: Final = 200
"""Elements in each other: libxml2 reads documents of 256, and the narrative lies in elements of its own."""

_XHTML: Final = "http://www.w3.org/1999/xhtml"
_ELEMENT_NAMES: Final = """
    a abbr acronym address b bdo big blockquote br caption center cite code col colgroup dd del dfn div
    dl dt em font h1 h2 h3 h4 h5 h6 hr i img ins kbd li map area ol p pre q s samp small span strike
    strong sub sup table tbody td tfoot th thead tr tt u ul var
"""
_ATTRIBUTE_NAMES: Final = """
    abbr accesskey align alt axis bgcolor border cellpadding cellspacing char charoff cite class clear
    color colspan compact coords datetime dir face frame headers height href hspace id ismap lang
    longdesc name noshade nowrap rel rev rowspan rules scope shape size span src start style summary
    tabindex target title type usemap valign value vspace width
"""
_ELEMENTS: Final = frozenset(_ELEMENT_NAMES.split())
_ATTRIBUTES: Final = frozenset(_ATTRIBUTE_NAMES.split())
_NAMED: Final = frozenset(f"{_XHTML} {name}" for name in _ELEMENTS)  # as the parser gives them
_IMAGE: Final = f"{_XHTML} img"
_LINKS: Final = ("href", "src", "longdesc", "cite")
_PLAIN: Final = _ATTRIBUTES.difference(_LINKS)
_SAFE_SCHEMES: Final = ("http:", "https:", "mailto:", "data:image/", "tel:", "ftp:", "urn:", "cid:")


_SOUND_MAX, _SOUND_LENGTH = 64, 1 << 16
"""Texts that are noted, and the characters of one."""
_sound: set[str] = set()


class _Forbidden(Exception):
    """Raised inside the parser; the argument is the finding's text."""


def sound(text: str) -> None:
    """Notes a ``div`` whose maker built it of what narratives may have, and not too deep: it is not read again once.

    Bounded: what is forgotten is read, and so is what is very long.
    """
    if len(text) > _SOUND_LENGTH:
        return
    if len(_sound) >= _SOUND_MAX:
        _sound.clear()
    _sound.add(text)


def check_div(value: Any, scope: Any) -> list[Finding] | None:
    """None, or what is wrong with the text of a ``div``."""
    if type(value) is not str:
        return [("", "structure", "a JSON string with XHTML is needed")]
    if not value or len(value) > MAX_TEXT:
        return [("", "value", "an empty string" if not value else "too long")]
    if value in _sound:
        _sound.discard(value)  # it may be long
        return None
    problem = _problem(value)
    return [("", "invariant", f"txt-1: {problem}")] if problem else None


def _problem(text: str) -> str:
    if not text.lstrip().startswith("<div"):
        return "the root is not <div>"
    has_content = False
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal has_content, depth
        depth += 1
        if depth > MAX_DEPTH:
            raise _Forbidden("nested too deeply")
        if name not in _NAMED:
            raise _Forbidden("an element that narratives may not have")
        if name == _IMAGE:
            has_content = True
        for attribute, content in attributes.items():
            if attribute not in _PLAIN:
                _check_attribute(attribute, content)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    def characters(data: str) -> None:
        nonlocal has_content
        has_content = has_content or not data.isspace()

    def skipped(name: str, is_parameter: int) -> None:
        nonlocal has_content
        has_content = True

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.UseForeignDTD(True)  # named entities of HTML are skipped instead of being an error
    parser.buffer_text = True
    parser.StartElementHandler = start
    if text.count("<") > MAX_DEPTH:  # else no depth is too much
        parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.SkippedEntityHandler = skipped
    try:
        parser.Parse(text, True)
    except _Forbidden as error:
        return str(error)
    except (expat.ExpatError, UnicodeEncodeError):
        return "not well-formed"
    return "" if has_content else "no content (txt-2)"


def _check_attribute(name: str, value: str) -> None:
    local = name.rpartition(" ")[2]
    if local not in _ATTRIBUTES and name.partition(" ")[0] != "http://www.w3.org/XML/1998/namespace":
        raise _Forbidden("an attribute that narratives may not have")
    if local in _LINKS:
        target = "".join(value.split()).lower()
        head = target.partition("/")[0].partition("#")[0].partition("?")[0]
        if ":" in head and not target.startswith(_SAFE_SCHEMES):
            raise _Forbidden("a link with a scheme that narratives may not have")
