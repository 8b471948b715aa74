"""The elements of a document as converters walk them: each knows what is in it and what it stands in.

The standard library's are asked through the interpreter for everything, and know nothing of what is around them.
"""

from __future__ import annotations

from collections.abc import Iterator
from sys import intern
from typing import Any, Final, overload

__all__ = ["HL7", "Element", "children", "first_child", "is_hl7", "local", "without"]

HL7: Final = "{urn:hl7-org:v3}"
_NO_ATTRIBUTES: Final[dict[str, str]] = {}
_NOTHING_IN: Final[list[Element]] = []
"""Of all elements that have none. Never changed."""


class Element:
    """One element; names are in Clark notation. Owned by one Tree, and changed by nothing else.

    Elements with equal attributes may share them: they are changed by ``set`` and ``drop`` alone.
    """

    __slots__ = ("around", "attributes", "inner", "tag", "tail", "text")

    def __init__(self, tag: str, attributes: dict[str, str] | None = None) -> None:
        self.tag = tag
        self.attributes: dict[str, str] = _NO_ATTRIBUTES if attributes is None else attributes
        self.inner: list[Element] = _NOTHING_IN
        """The elements in it."""
        self.text: str | None = None
        """The text before the first of them."""
        self.tail: str | None = None
        """The text behind it, up to the next one."""
        self.around: Element | None = None
        """What it stands in; None for a root."""

    @overload
    def get(self, name: str) -> str | None: ...

    @overload
    def get(self, name: str, otherwise: str) -> str: ...

    def get(self, name: str, otherwise: str | None = None) -> str | None:
        """The value of an attribute."""
        return self.attributes.get(name, otherwise)

    def set(self, name: str, value: str) -> None:
        """Gives an attribute a value."""
        self.attributes = {**self.attributes, name: value}

    def drop(self, name: str) -> str:
        """Takes an attribute out; its value, or ''."""
        if name not in self.attributes:
            return ""
        self.attributes = dict(self.attributes)
        return self.attributes.pop(name)

    def keys(self) -> list[str]:
        """The names of its attributes."""
        return list(self.attributes)

    def __iter__(self) -> Iterator[Element]:
        return iter(self.inner)

    def find(self, tag: str) -> Element | None:
        """The first child of that tag."""
        for one in self.inner:
            if one.tag == tag:
                return one
        return None

    def findall(self, tag: str) -> list[Element]:
        """The children of that tag."""
        return [one for one in self.inner if one.tag == tag]

    def iter(self) -> list[Element]:
        """It and all that is in it, in the order of the document."""
        found = [self]
        self._put_elements(found)
        return found

    def itertext(self) -> list[str]:
        """All its texts, in the order of the document."""
        found: list[str] = []
        self._put_texts(found)
        return found

    def height(self) -> int:
        """How many elements are in one another in it at most, itself counted."""
        found = 0
        for one in self.inner:
            if one.inner:
                found = max(found, one.height())
            elif not found:
                found = 1
        return found + 1

    def append(self, child: Element) -> None:
        """Puts a child behind all others."""
        if self.inner:
            self.inner.append(child)
        else:
            self.inner = [child]
        child.around = self

    def remove(self, child: Element) -> None:
        """Takes a child out, with what stands behind it."""
        self.inner = [one for one in self.inner if one is not child]
        child.around = None

    def release(self) -> None:
        """Lets go of what is in it, so that nothing points back."""
        inner, self.inner = self.inner, _NOTHING_IN
        for one in inner:
            one.around = None
            if one.inner:
                one.release()

    def _put_elements(self, found: list[Element]) -> None:
        for one in self.inner:
            found.append(one)
            if one.inner:
                one._put_elements(found)

    def _put_texts(self, found: list[str]) -> None:
        if self.text:
            found.append(self.text)
        for one in self.inner:
            one._put_texts(found)
            if one.tail:
                found.append(one.tail)


def without(element: Any, name: str) -> str:
    """Takes an attribute out of an element of either library; its value, or ''."""
    found: str = element.drop(name) if isinstance(element, Element) else element.attrib.pop(name, "")
    return found


_TAGS: Final[dict[str, str]] = {}
"""Names in the namespace of HL7 v3; tables and converters know a few hundred."""
_LOCAL: Final[dict[str, str]] = {}
"""Names without their namespace; bounded, since a document may make up as many as it likes."""
_NAMES_MAX: Final = 10_000


def _tag(name: str) -> str:
    try:
        return _TAGS[name]
    except KeyError:
        tag = _TAGS[name] = intern(HL7 + name)
        return tag


def children(element: Element, name: str) -> list[Element]:
    """The children of that name in the namespace of HL7 v3."""
    return element.findall(_tag(name))


def first_child(element: Element, name: str) -> Element | None:
    """The first of ``children``."""
    return element.find(_tag(name))


def is_hl7(element: Element) -> bool:
    """Whether an element is of the namespace of HL7 v3."""
    return element.tag.startswith(HL7)


def local(element: Element) -> str:
    """The name without its namespace."""
    tag = element.tag
    try:
        return _LOCAL[tag]
    except KeyError:
        name = tag.rpartition("}")[2]
        if len(_LOCAL) < _NAMES_MAX:
            _LOCAL[tag] = name
        return name
