"""What a statement does not speak of: asked by ``WriteSession.statement`` of who knows the sender's format."""

from __future__ import annotations

from typing import Protocol

from hdg.management.store.merge import JsonObject, Parts

__all__ = ["Fields"]


class Fields(Protocol):
    """Knows what of an element a statement does not speak of, where several fields of a message make one element."""

    def still_said(self, statement: JsonObject) -> JsonObject:
        """A statement that is older than others of its sender, without what these have said anew."""

    def completed(
        self, asked: JsonObject, statement: JsonObject, stored: JsonObject, parts: Parts
    ) -> JsonObject:
        """``statement`` with what is to stay of its elements. ``asked``: with the elements that are not news."""

    def meaning(self, type_: str) -> str:
        """What else decides what becomes of a statement about such a resource: the event that makes it.

        '': its words alone, so that ``completed`` leaves as it is what is stored word for word.
        """
