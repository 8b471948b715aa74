"""What one conversion carries along while closures run: labels, problems, the build at hand.

A source format subclasses Context with what its readers and named converters need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from mypy_extensions import mypyc_attr

from hdg.errors import Severity
from hdg.mapping.remembered import Remembered, fresh

JsonObject = dict[str, Any]
SHARED_MAX: Final = 4096
SHARED_LENGTH: Final = 200
"""Longest text whose result is shared, in characters."""


@mypyc_attr(native_class=False)
class Shared(dict[Any, Any]):
    """What conversions for one sender share: small pure results as a dict, and what ``fields`` remembers, which
    senders whose texts become the same may have in common.
    """

    __slots__ = ("fields",)

    def __init__(self, fields: Remembered[Any] | None = None) -> None:
        super().__init__()
        self.fields: Remembered[Any] = Remembered() if fields is None else fields


class Read:
    """What a field's text became. ``items``: (repetition, value or None, problems) in order."""

    __slots__ = ("is_nothing", "items", "objects", "several", "single")

    def __init__(
        self,
        single: Any,
        items: tuple[tuple[int, Any, tuple[Problem, ...]], ...],
        objects: tuple[Any, ...],
        several: list[Any] | None = None,
    ) -> None:
        self.single = single
        """The value of a field of one repetition that is as it should be, else None."""
        self.several = several
        """The values of a field that are objects, no two of them equal, and all as they should be, else None; never
        changed.
        """
        self.is_nothing = all(value is None and not problems for _, value, problems in items)
        """Whether there is neither a value nor a problem."""
        self.items = items
        self.objects = objects
        """The values that are objects."""


class Choice(NamedTuple):
    """A value for a choice element: ``Choice("Quantity", {...})`` becomes ``valueQuantity``."""

    type: str
    value: Any


@mypyc_attr(native_class=False)
class Several(tuple[Any, ...]):
    """Several values from one source; each is put at the target in turn."""

    __slots__ = ()


class Facts:
    """What identifies a resource; never changed. ``parts`` go into the id (with type and institution).

    ``is_thing``: equal facts mean the same thing (a person, a place), so that two statements about it are
    united; otherwise equal facts with different content are different events, and the later one gets an
    ordinal.
    """

    __slots__ = ("is_local", "is_thing", "parts")

    def __init__(self, parts: tuple[str, ...], is_thing: bool = False, is_local: bool = False) -> None:
        self.parts = parts
        self.is_thing = is_thing
        self.is_local = is_local
        """Whether the parts name this very message: what is built from the text then differs with each message.
        """

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Facts):
            return NotImplemented
        return (self.parts, self.is_thing, self.is_local) == (other.parts, other.is_thing, other.is_local)

    def __hash__(self) -> int:
        return hash((self.parts, self.is_thing, self.is_local))


def is_same(held: Any, other: Any) -> bool:
    """Whether two values say the same; references to one resource do, whatever they show."""
    if type(held) is dict and type(other) is dict and "reference" in held:
        return bool(held["reference"] == other.get("reference"))
    return bool(held == other)


class Unfit(Exception):
    """Raised by a converter: the value cannot become what the rule wants. Becomes an Issue; no patient
    values.
    """

    def __init__(
        self, text: str, *, code: str = "value", severity: Severity = "warning", kept: Any = None
    ) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.severity: Severity = severity
        self.kept = kept
        """A value to put all the same (a time cut to its date); None for none."""


class Conflict(Exception):
    """Raised by a setter: the element holds a different value already, which stays."""

    def __init__(self, element: str) -> None:
        super().__init__(element)
        self.element = element


@dataclass(slots=True)
class Problem:
    """An Issue in the making: ``path`` collects slots from the inside out until the segment level knows the
    rest.
    """

    severity: Severity
    code: str
    text: str
    path: list[int] = field(default_factory=list)
    elements: tuple[str, ...] = ()
    """Elements whose value did not stay, where two statements about one thing differ."""

    def copy(self) -> Problem:
        """Another one at the same inner path."""
        return Problem(self.severity, self.code, self.text, self.path.copy(), self.elements)


class Build:
    """One resource under construction. Owned by one conversion."""

    __slots__ = (
        "defaulted", "deletions", "facts", "group", "id", "label", "labels", "links", "origin", "resource",
        "source", "type",
    )  # fmt: skip

    def __init__(
        self, type: str, label: str, resource: JsonObject, source: str, group: Any = None, origin: Any = None
    ) -> None:
        self.type = type
        self.label = label
        self.resource = resource
        self.source = source
        """Name of the segment (or section …) that began it."""
        self.group: Any = group
        self.labels: dict[str, JsonObject] = {}
        self.facts: Facts | None = None
        self.links: list[Any] = []
        self.id = ""
        self.deletions: dict[str, bool] = {}
        """Elements without a value; False: of which one slot says so, others may feed them too."""
        self.defaulted: dict[str, None] = {}
        """Top-level elements whose value only fills a gap: the source said nothing about them."""
        self.origin: Any = origin
        """The segment that began it; for facts of last resort and for places."""


class Event(NamedTuple):
    """One firing of a rule, recorded by the tracing compilation only."""

    rule: Any
    trail: tuple[int, ...]
    """Slot, repetition, then slots of nested tables."""
    origin: Any
    outcome: bool | None
    """True: something was put; False: nothing came of it; None: deliberately unmapped."""
    made: Any = None
    """The value that was put (a copy)."""
    is_dropped: bool = False
    """Whether the value then gave way to another that stays; ``outcome`` is False, and an Issue says so."""


@dataclass(slots=True, eq=False)
class Listed:
    """The bare references in the first ``size`` items of a long list, by what they refer to."""

    items: list[Any]
    """Held, so that its identity stays its own."""
    references: dict[str, JsonObject] = field(default_factory=dict)
    size: int = 0


class Noted(NamedTuple):
    """What was reported at a place."""

    slot: int
    repetition: int
    problems: tuple[Problem, ...]


@mypyc_attr(allow_interpreted_subclasses=True)
class Context:
    """State of one conversion; never shared between threads."""

    __slots__ = (
        "build",
        "facts",
        "labels",
        "listed",
        "made",
        "memo",
        "noted",
        "origin",
        "own",
        "problems",
        "recent",
        "shared",
        "silent",
        "speaker",
        "taken",
        "trace",
        "trail",
        "values",
    )

    def __init__(self) -> None:
        self.labels: dict[str, JsonObject] = {}
        self.problems: list[Problem] = []
        self.memo: dict[Any, tuple[Made, tuple[Problem, ...]]] | None = {}
        self.build: Build | None = None
        self.facts: Facts | None = None
        self.taken: list[Made] = []
        """What was referred to since the resource at hand was begun."""
        self.shared: Shared | None = None
        """Pure results that conversions for the same sender share; None: nothing is shared. See ``keep``."""
        self.values: Remembered[Any] | None = None
        """What fields' texts became before, be it for another sender; None: nothing is remembered."""
        self.speaker = ""
        """What tells the sender from others that have ``values`` in common: people and places are its own."""
        self.recent: dict[tuple[str, str], Read] = {}
        """What fields' texts of this very message became."""
        self.own: dict[int, Any] = {}
        """By identity, what this conversion made on its way into a path: only such objects may change."""
        self.listed: dict[int, Listed] = {}
        """By identity, lists of references that have grown long."""
        self.noted: list[Noted] | None = None
        """What ``report`` settled, while somebody wants to know."""
        self.origin: Any = None
        self.silent = 0
        """Slots of the unit at hand that no row of the last table read, each of its rows asking for something else:
        bit n is slot n.
        """
        self.trace: list[Event] | None = None
        self.made: Any = None
        """The last value that a converter gave; tracing only."""
        self.trail: tuple[int, ...] = ()

    def problem(
        self,
        text: str,
        *,
        code: str = "value",
        severity: Severity = "warning",
        elements: tuple[str, ...] = (),
    ) -> None:
        """Report something at the place that is being read."""
        self.problems.append(Problem(severity, code, text, elements=elements))

    def report(self, slot: int, repetition: int) -> None:
        """``settle``, which is noted while somebody wants to know."""
        if self.noted is not None:
            self.noted.append(Noted(slot, repetition, tuple(problem.copy() for problem in self.problems)))
        self.settle(slot, repetition)

    def settle(self, slot: int, repetition: int) -> None:
        """Turn ``problems`` into Issues at a place of the unit being read; the format says how."""
        raise NotImplementedError

    def refer(self, resource_type: str, resource: JsonObject, facts: Facts | None) -> Made:
        """Take in a resource that a datatype table built."""
        raise NotImplementedError

    def adopt(self, made: Made) -> None:
        """Take in again what an earlier conversion for the same sender built from the same text."""
        raise NotImplementedError

    def keep(self, key: Any, value: Any) -> None:
        """Share a pure result with later conversions for the same sender; bounded."""
        if self.shared is not None:
            if len(self.shared) >= SHARED_MAX:
                self.shared.clear()
            self.shared[key] = value

    def enter(self, holder: Any, key: Any, item: Any) -> Any:
        """``item`` (``holder[key]``) as one that may be changed: itself, or a copy put in its place."""
        if id(item) in self.own:
            return item
        mine = holder[key] = fresh(item)
        self.own[id(mine)] = mine
        for label, labelled in self.labels.items():
            if labelled is item:
                self.labels[label] = mine
        return mine

    def found_facts(self) -> Facts | None:
        """``facts``, which a row may have set since it was cleared: a type checker cannot see that."""
        return self.facts

    def named_system(self, text: str) -> str | None:
        """URI of the code system that a coded text names; None when it names none."""
        return None

    def delete(self, element: str) -> None:
        """The source says that a top-level element of the resource at hand has no value."""
        if self.build is not None:
            self.build.deletions[element] = True

    def empty(self, element: str) -> None:
        """A slot says that what it feeds a top-level element of the resource at hand with has no value."""
        if self.build is not None:
            self.build.deletions.setdefault(element, False)


class Part:
    """A resource that a text made; never changed. ``is_valid``: it has been validated as it is."""

    __slots__ = ("is_valid", "resource")

    def __init__(self, resource: JsonObject, is_valid: bool = False) -> None:
        self.resource = resource
        self.is_valid = is_valid


class Made:
    """A Reference and the resources that came with it; ``is_local`` when their ids name one message."""

    __slots__ = ("is_local", "parts", "reference")

    def __init__(self, reference: JsonObject, parts: tuple[Part, ...], is_local: bool) -> None:
        self.reference = reference
        self.parts = parts
        self.is_local = is_local


Converter = Callable[[Any, Any], Any]
"""``(text, context) → value``; None is nothing; raises Unfit."""
