"""Other forms in which a code or a reference is found, each with index rows under a number of its own.

R4 search.html#token, #reference, #modifiers:

    text        what a code is called: CodeableConcept.text, Coding.display, Identifier.type.text → idx_string
                (veil.py)
    of-type     Identifier: code = its value, system = system and code of its type → idx_token
    identifier  Reference.identifier: code = its value, system = its system → idx_token
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from hdg.fhir import definitions
from hdg.management.store.paths import Route, routes
from hdg.management.store.values import Hash, route_id, split_reference
from hdg.management.store.veil import veiler

__all__ = ["TABLES", "Form", "Forms", "coded_numbers", "form_numbers", "forms_of", "of_type_system"]

Row = tuple[Any, ...]
Write = Callable[[list[Any], int, Callable[[Row], None]], None]
"""As in index.py: (values selected, parameter number, where rows go)."""

TABLES: Final = {"text": "string", "of-type": "token", "identifier": "token"}
"""Form → the kind whose table has its rows."""
_TYPES: Final = {
    "CodeableConcept": ("text",),
    "Coding": ("text",),
    "Identifier": ("text", "of-type"),
    "Reference": ("identifier",),
}


class Form(NamedTuple):
    """One form of a route. ``target``: as the route's."""

    name: str
    type: str
    number: int
    target: str


def forms_of(type_: str, kind: str, route: Route) -> Iterator[Form]:
    """The forms in which what a route selects is found."""
    if kind not in ("token", "reference"):
        return
    for name in _TYPES.get(route.type, ()):
        label = f"{name} {route.target}" if route.target else name
        yield Form(name, route.type, route_id(type_, label, route.text), route.target)


@lru_cache(maxsize=4096)
def form_numbers(type_: str, code: str, name: str) -> tuple[int, ...]:
    """The numbers under which a search parameter's rows of a form are. Empty: it has none."""
    parameter = next((p for p in definitions.search_parameters(type_) if p.code == code), None)
    found = routes(type_, parameter.expression) if parameter is not None else None
    if parameter is None or found is None:
        return ()
    forms = [form for route in found for form in forms_of(type_, parameter.kind, route)]
    return tuple(sorted({form.number for form in forms if form.name == name}))


@lru_cache(maxsize=4096)
def coded_numbers(type_: str, code: str) -> tuple[tuple[int, ...], tuple[tuple[int, str], ...]]:
    """The numbers of a token parameter's own rows: of concepts; of plain codes, each with its required value set.

    Empty where the system of a plain code cannot be told: R4 requires no value set, or one without codes.
    """
    parameter = next((p for p in definitions.search_parameters(type_) if p.code == code), None)
    if parameter is None or parameter.kind != "token":
        return (), ()
    concepts, plain = set[int](), set[tuple[int, str]]()
    for route in routes(type_, parameter.expression) or ():
        if route.type in ("CodeableConcept", "Coding"):
            concepts.add(route_id(type_, "token", route.text))
        elif route.type == "code":
            binding = _binding(type_, route.text)
            if not binding or definitions.codes(binding) is None:
                return (), ()
            plain.add((route_id(type_, "token", route.text), binding))
    return tuple(sorted(concepts)), tuple(sorted(plain))


def _binding(type_: str, path: str) -> str:
    """The required value set of the element that a plain path leads to."""
    binding = ""
    for name in path.split("."):
        info = definitions.element_info(type_, name) if type_ else None
        if info is None or len(info.types) > 1:
            return ""
        type_, binding = info.type, info.definition.binding
    return binding


def of_type_system(system: str, code: str) -> str:
    """What is hashed of an identifier's type."""
    return f"{system}|{code}"


class Forms:
    """Makes the rows."""

    def __init__(self, hash_: Hash) -> None:
        self._hash = hash_
        self._veil = veiler(hash_)

    def write(self, form: Form) -> Write:
        """What writes a form's rows (without rkey)."""
        if form.name == "text":
            return self._text(_names[form.type])
        return self._of_type if form.name == "of-type" else self._identifier(form.target)

    def _text(self, names: Callable[[dict[str, Any]], Iterable[Any]]) -> Write:
        veil = self._veil

        def write(items: list[Any], number: int, append: Callable[[Row], None]) -> None:
            for item in items:
                if type(item) is dict:
                    for text in names(item):
                        if type(text) is str:
                            append((number, veil(text), 0))

        return write

    def _of_type(self, items: list[Any], number: int, append: Callable[[Row], None]) -> None:
        hash_ = self._hash
        for item in items:
            if type(item) is dict and "type" in item and "value" in item:
                for coding in item["type"].get("coding", ()):
                    system = of_type_system(coding.get("system", ""), coding.get("code", ""))
                    append((number, hash_(item["value"]), hash_(system)))

    def _identifier(self, target: str) -> Write:
        hash_ = self._hash

        def write(items: list[Any], number: int, append: Callable[[Row], None]) -> None:
            for item in items:
                if type(item) is not dict or "identifier" not in item or not _may_be(item, target):
                    continue
                identifier = item["identifier"]
                if "value" in identifier:
                    append((number, hash_(identifier["value"]), hash_(identifier.get("system", ""))))

        return write


def _may_be(reference: dict[str, Any], target: str) -> bool:
    """Whether a reference may be to a type: it says so, or nothing says what it is to."""
    if not target:
        return True
    named = split_reference(reference.get("reference", ""))
    known = named[0] if named is not None else reference.get("type", target)
    return bool(known == target)


def _of_concept(item: dict[str, Any]) -> Iterable[Any]:
    found = [coding.get("display") for coding in item.get("coding", ())]
    text = item.get("text")
    if text is not None and text not in found:
        found.append(text)
    return found


_names: Final[dict[str, Callable[[dict[str, Any]], Iterable[Any]]]] = {
    "CodeableConcept": _of_concept,
    "Coding": lambda item: (item.get("display"),),
    "Identifier": lambda item: (item.get("type", {}).get("text"),),
}
