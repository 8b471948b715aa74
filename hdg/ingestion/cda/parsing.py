"""A document in UTF-8 to its elements, of bounded depth and width; a large one in little memory.

XML 1.0. Without a DTD there are no entities, and utf8.py lets none pass.
"""

from __future__ import annotations

from sys import intern
from typing import Any, Final
from xml.parsers import expat

from hdg.errors import CdaError
from hdg.fhir.urns import UUID_LENGTH
from hdg.ingestion.cda.element import Element
from hdg.ingestion.cda.nulls import says_more
from hdg.ingestion.cda.utf8 import CHUNK

__all__ = ["LARGE", "MAX_ATTRIBUTES", "MAX_DEPTH", "Parsed", "parse"]

LARGE = 1_000_000
"""Bytes from which on memory counts for more than time."""
MAX_DEPTH: Final = 100
MAX_ATTRIBUTES: Final = 100
"""Of one element."""
_TEXT_MAX: Final = 1 << 20
_USUAL: Final = (
    *(
        "code",
        "codeSystem",
        "codeSystemName",
        "codeSystemVersion",
        "displayName",
        "value",
        "unit",
        "nullFlavor",
    ),
    *("classCode", "moodCode", "typeCode", "determinerCode", "contextControlCode", "contextConductionInd"),
    *("root", "extension", "assigningAuthorityName", "use", "ID", "styleCode", "negationInd", "inversionInd"),
    *("mediaType", "representation", "operator", "institutionSpecified", "qualifier", "listType", "colspan"),
)
_INTERNED: Final = {intern(name): intern(name) for name in _USUAL}
"""Names of attributes that are one object with those that tables and converters ask for: they are found faster."""
"""Characters that the parser hands on in one piece."""


class Parsed:
    """The elements of a document, and what is asked of all of them. The parser calls its methods.

    ``is_sharing``: equal texts and equal attributes are one object, for more time and a third of the memory.
    """

    __slots__ = (
        "_at",
        "_attributes",
        "_behind",
        "_depth",
        "_is_sharing",
        "_names",
        "_texts",
        "cased",
        "has_nulled",
        "identified",
        "root",
    )

    def __init__(self, *, is_sharing: bool = False) -> None:
        self.root = Element("")
        self.identified: dict[str, Element] = {}
        """The first element with each ID."""
        self.cased: list[Element] = []
        """Those whose root is perhaps a UUID with capital letters."""
        self.has_nulled = False
        """Whether a nullFlavor stands beside values."""
        self._at: Element | None = None
        """The innermost element that is open."""
        self._behind: Element | None = None
        """The element in it behind which a text would stand."""
        self._depth = 0
        self._names: dict[str, str] = {}
        """In Clark notation, as the parser gives them."""
        self._is_sharing = is_sharing
        self._texts: dict[str, str] = {}
        self._attributes: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins. Raises CdaError: nested too deeply, or too many attributes."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CdaError(f"nested more than {MAX_DEPTH} deep")
        element = Element(self._clark(name), self._looked_at(attributes) if attributes else None)
        if attributes:
            self._note(element)
        if self._at is None:
            self.root = element
        else:
            self._at.append(element)
        self._at = element
        self._behind = None

    def end(self, name: str) -> None:
        """The innermost element ends."""
        element = self._at
        if element is not None:
            self._behind = element
            self._at = element.around
            self._depth -= 1

    def text(self, piece: str) -> None:
        """A text, or the next part of a very long one."""
        if self._is_sharing:
            piece = self._texts.setdefault(piece, piece)
        behind = self._behind
        if behind is not None:
            behind.tail = piece if behind.tail is None else behind.tail + piece
        elif self._at is not None:
            self._at.text = piece if self._at.text is None else self._at.text + piece

    def forget(self) -> None:
        """Lets go of what only reading needs."""
        self._texts.clear()
        self._attributes.clear()
        self._names.clear()

    def _clark(self, name: str) -> str:
        found = self._names.get(name)
        if found is None:
            found = self._names[name] = intern("{" + name if "}" in name else name)
        return found

    def _looked_at(self, attributes: dict[str, str]) -> dict[str, str]:
        if len(attributes) > MAX_ATTRIBUTES:
            raise CdaError(f"an element has more than {MAX_ATTRIBUTES} attributes")
        for name in attributes:
            if "}" in name:
                attributes = {self._clark(one): value for one, value in attributes.items()}
                break
        return self._shared(attributes) if self._is_sharing else attributes

    def _shared(self, attributes: dict[str, str]) -> dict[str, str]:
        items = tuple(attributes.items())
        held = self._attributes.get(items)
        if held is None:
            texts = self._texts
            held = {name: texts.setdefault(value, value) for name, value in items}
            self._attributes[tuple(held.items())] = held
        return held

    def _note(self, element: Element) -> None:
        """Notes what is asked of all elements."""
        attributes = element.attributes
        name = attributes.get("ID")
        if name is not None and name not in self.identified:
            self.identified[name] = element
        root = attributes.get("root")
        if root is not None and len(root) >= UUID_LENGTH and root != root.lower():
            self.cased.append(element)
        if not self.has_nulled and "nullFlavor" in attributes:
            self.has_nulled = says_more(element)


def parse(body: bytes) -> Parsed:
    """Raises ExpatError; CdaError: nested too deeply, or too wide."""
    found = Parsed(is_sharing=len(body) >= LARGE)
    parser: Any = expat.ParserCreate("utf-8", "}", _INTERNED.copy())
    parser.buffer_text = True
    parser.buffer_size = _TEXT_MAX
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.CharacterDataHandler = found.text
    if len(body) < LARGE:
        parser.Parse(body, True)
        return found
    view = memoryview(body)
    for start in range(0, len(body), CHUNK):
        parser.Parse(view[start : start + CHUNK], False)
    parser.Parse(b"", True)
    found.forget()
    return found
