"""Named converters: Python for what a table cannot say. A format keeps its own Registry.

A converter is ``(text, context) → value``: ``None`` for nothing, ``Choice`` for a choice element,
``Several`` for more than one value; it raises Unfit for a value that it cannot carry. An identity converter
gives Facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from hdg.mapping.context import Converter

Takes = Literal["repetition", "field"]


@dataclass(frozen=True, slots=True)
class Named:
    """A registered converter. ``type`` is the FHIR type it makes ('' decides itself); ``takes`` what it is
    given.
    """

    name: str
    convert: Converter
    type: str
    takes: Takes
    is_pure: bool
    """Whether the result depends on nothing but the text, the sender's zone and authorities, the registry and the
    concept maps.
    """
    reads: tuple[int, ...] | None = None
    """Of a pure converter that is given a whole value: numbers of the parts that it looks at; None: any."""
    is_composing: bool = False
    """Whether it gives a text whenever the same parts are valued, whatever letters stand in them."""
    is_filling: bool = False
    """Whether it would be pure if it did not note that its value only fills a gap."""
    beside: tuple[int, ...] = ()
    """Fields of the row's own segment that it also reads; it would be pure otherwise."""


class Registry:
    """Name → converter; filled while its module is imported, read-only afterwards."""

    def __init__(self) -> None:
        self._named: dict[str, Named] = {}
        self._late: dict[str, str] = {}

    def register(
        self,
        name: str,
        *,
        type: str = "",
        takes: Takes = "repetition",
        is_pure: bool = False,
        reads: tuple[int, ...] | None = None,
        is_composing: bool = False,
        is_filling: bool = False,
        beside: tuple[int, ...] = (),
    ) -> Callable[[Callable[[str, Any], Any]], Callable[[str, Any], Any]]:
        """Decorator. ``takes="field"`` hands over the whole field with all its repetitions; for the others see
        Named.
        """

        def keep(function: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
            self._named[name] = Named(
                name, function, type, takes, is_pure, reads, is_composing, is_filling, beside
            )
            return function

        return keep

    def expect(self, prefix: str, module: str) -> None:
        """Converters whose names begin with ``prefix`` register when ``module`` is imported: once one is asked for."""
        self._late[prefix] = module

    def get(self, name: str) -> Named | None:
        """The converter of that name, or None."""
        if name not in self._named:
            for prefix, module in self._late.items():
                if name.startswith(prefix):
                    import_module(module)
        return self._named.get(name)

    def __iter__(self) -> Iterator[Named]:
        for module in self._late.values():
            import_module(module)
        return iter(self._named.values())
