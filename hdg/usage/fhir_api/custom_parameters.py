"""What one request asks of search parameters that are not R4's own.

R4 searchparameter.html. R4's own codes come first: only what they do not answer is looked for here. A parameter
whose index is not complete yet is refused, since its answer would leave matches out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store.custom import TEXTS, CustomSet, Parameter, is_followed
from hdg.management.store.custom_register import Catalog
from hdg.management.store.index import lookups
from hdg.management.store.search import Clause, Include, Sort
from hdg.management.store.sorting import READ_KINDS
from hdg.management.store.text_state import is_complete

__all__ = ["WORDS", "Custom", "NotComplete"]

Types = Sequence[str]
WORDS = frozenset({"_text", "_content"})
"""Parameters that ask the index of words."""


class NotComplete(BadRequest):
    """What was there before the parameter is still being indexed."""


@lru_cache(maxsize=256)
def _own_codes(type_: str) -> frozenset[str]:
    """The codes of R4's own parameters for a type."""
    return frozenset(parameter.code for parameter in definitions.search_parameters(type_))


class Custom:
    """One request's view. ``catalog``: None where R4's own parameters are all that may be asked by."""

    def __init__(self, catalog: Catalog | None) -> None:
        self._catalog = catalog
        self._set: CustomSet | None = None
        self._used: dict[int, None] = {}

    @property
    def used(self) -> tuple[int, ...]:
        """The serials of all that were asked by."""
        return tuple(self._used)

    def find(self, type_: str, code: str) -> Parameter | None:
        """A parameter, complete or not."""
        if self._catalog is None or code in _own_codes(type_):  # no other has a code of R4's own (custom.py)
            return None
        if self._set is None:
            self._set = self._catalog.current()
        return self._set.find(type_, code)

    def kind(self, type_: str, code: str) -> str | None:
        """The kind of a parameter that is asked by; None when there is none. Raises NotComplete."""
        if code in WORDS:
            return self._text(code)
        found = self.find(type_, code)
        if found is None:
            return None
        if not found.is_ready:
            raise NotComplete(f"parameter '{code}': not complete yet: {found.done} %", code="not-supported")
        self._used[found.serial] = None
        return found.definition.kind

    def _text(self, code: str) -> str | None:
        self._set = self._set or (self._catalog.current() if self._catalog is not None else None)
        stand = None if self._set is None else self._set.texts
        if stand is None:
            return None
        if not is_complete(stand):
            raise NotComplete(f"parameter '{code}': not complete yet: {stand.done} %", code="not-supported")
        self._used[TEXTS] = None
        return "text"

    def targets(self, type_: str, code: str) -> tuple[str, ...] | None:
        """The types that a reference may point at (empty: any); None when it is no such parameter."""
        found = self.find(type_, code)
        is_reference = found is not None and found.definition.kind == "reference"
        return found.definition.targets if found is not None and is_reference else None

    def is_followed(self, type_: str, code: str) -> bool:
        """Whether its references lead to resources. Raises NotComplete."""
        found = self.find(type_, code)
        return found is not None and self.kind(type_, code) == "reference" and is_followed(found.definition)

    def placed(self, types: Types, clause: Clause) -> Clause:
        """The clause with the places of its rows, where one of the types has them from here."""
        if clause.kind == "has":
            types = (clause.links[0][0],)
        found = [one for type_ in types if (one := self.find(type_, clause.param)) is not None]
        if not found:
            return clause
        parts = tuple(part.kind for part in found[0].definition.components)
        return replace(clause, places=self._places(types, clause.param), parts=parts)

    def sorting(self, types: Types, key: Sort) -> Sort:
        """The same of a sort key. Raises BadRequest for kinds that are sorted by content."""
        if all(self.find(type_, key.param) is None for type_ in types):
            return key
        if key.kind in READ_KINDS:
            text = "parameter '_sort': codes and references of R4's own parameters only"
            raise BadRequest(text, code="not-supported")
        return replace(key, places=self._places(types, key.param))

    def including(self, include: Include) -> Include:
        """The same of an include."""
        found = self.find(include.type, include.param)
        if found is None:
            return include
        places = self._places((include.type,), include.param)
        return replace(include, places=places, expression=found.definition.expression)

    def _places(self, types: Types, code: str) -> tuple[tuple[int, str], ...]:
        places: list[tuple[int, str]] = []
        for type_ in types:
            found = self.find(type_, code)
            places += lookups(type_, code) if found is None else [(found.number(type_), "")]
        return tuple(places)
