"""What a source format tells the compiler: where sources lie, what converts them, how conditions read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from hdg.mapping.context import Converter
from hdg.mapping.convert import Registry
from hdg.mapping.table import Table
from hdg.mapping.when import Readers

__all__ = ["Grammar", "Slot"]


class Slot(NamedTuple):
    """Where a source lies. ``pick`` gives the texts of a slot (repetitions, components); None: the slot's
    own text.

    ``depth`` is what those texts are made of; ``trail`` the fixed numbers below the slot (component,
    subcomponent).
    """

    number: int
    pick: Callable[[str], Sequence[str]] | None
    depth: int
    trail: tuple[int, ...] = ()
    separator: str = ""
    """A text without it is a single one, which ``pick`` would hand over as it is."""
    key: str = ""
    """What ``pick`` picks, as a name; '' for every repetition as it is."""
    single: Callable[[str], str] | None = None
    """What ``pick`` gives for a text without ``separator``, when that is one text; None: its own text."""
    is_first: bool = False
    """Whether a text of letters and digits alone is what ``pick`` gives for it."""


class Grammar(Protocol):
    """What a source format tells the compiler."""

    @property
    def primitives(self) -> Mapping[str, Converter]:
        """Converters of single values, by type."""

    @property
    def converters(self) -> Registry:
        """Named converters."""

    @property
    def null(self) -> str:
        """The text by which a sender deletes a value."""

    @property
    def verbatim(self) -> frozenset[str]:
        """Primitives that give a text of letters and digits alone as it is."""

    @property
    def marks(self) -> Sequence[str]:
        """What separates the parts of a datatype's text, then all else that a text may not hold to be its own
        value.
        """

    @property
    def between(self) -> str:
        """A text that no slot of an outermost view holds."""

    @property
    def fleeting(self) -> frozenset[str]:
        """Sources whose texts hardly ever come again in another message: its time, the numbers of orders."""

    @property
    def apart(self) -> frozenset[str]:
        """Sources whose texts change while those around them stay: they are remembered by themselves."""

    @property
    def loose(self) -> frozenset[str]:
        """Units whose slots hold what they hold one by one, in too many combinations to remember any as a whole."""

    def slot(self, source: str, table: Table, depth: int) -> Slot:
        """Where a source of a table lies, when the table is opened at ``depth``. Raises ValueError."""

    def readers(self, operand: str, table: Table, depth: int) -> Readers:
        """How ``when`` reads an operand. Raises ValueError."""

    def opener(self, depth: int) -> Callable[[str], list[str]]:
        """Makes the view of a datatype's text."""
