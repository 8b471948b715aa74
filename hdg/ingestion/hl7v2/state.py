"""The state of one v2 conversion: what readers, primitives and named converters look at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, Final

from hdg.errors import Issue
from hdg.fhir.ids import resource_id
from hdg.ingestion.hl7v2.nulls import Null, TakenBack, has_nulls
from hdg.ingestion.sender import Sender
from hdg.mapping.context import Build, Context, Converter, Facts, JsonObject, Made, Part, Unfit, is_same
from hdg.terminology import Systems

if TYPE_CHECKING:
    from hdg.ingestion.hl7v2.groups import Group
    from hdg.ingestion.hl7v2.parser import Message, Segment
    from hdg.mapping.compile import Compiler
    from hdg.mapping.library import Library


_NOT_LOOKED_UP: Final[Any] = object()
_DEEPEST: Final = 20  # datatype tables that named converters open inside one another


class State(Context):
    """One message on its way. Owned by Converter.convert; never shared."""

    __slots__ = (
        "_opened",
        "began",
        "charset",
        "compiler",
        "group",
        "id_key",
        "issues",
        "known",
        "library",
        "message",
        "nulls",
        "parts",
        "provenance_id",
        "read",
        "segment",
        "sender",
        "skipped",
        "systems",
        "taken_back",
        "things",
        "times",
        "zone",
    )

    def __init__(
        self, message: Message, sender: Sender, compiler: Compiler, id_key: bytes, zone: tzinfo | None
    ) -> None:
        super().__init__()
        self.message = message
        self.charset = message.charset
        self.sender = sender
        self.compiler = compiler
        self.library: Library = compiler.library
        self.systems: Systems = self.library.systems
        self.id_key = id_key
        self.zone = zone
        self.skipped: dict[int, str] = {}
        """Position → note of segments that the message table leaves out; for coverage."""
        self.read: set[tuple[int, int, int]] = set()
        """(segment position, field, component; 0 for all) that decided something; tracing only."""
        self.times: dict[str, str] = {}
        self.known: dict[Any, Any] = {}
        """What named converters have worked out for this message, by their own keys."""
        self.nulls: list[Null] | None = [] if has_nulls(message) else None
        """Where the sender deletes something; None when it nowhere does."""
        self.taken_back: list[TakenBack] = []
        self._opened = 0
        self.issues: list[Issue] = list(message.issues)
        self.segment: Segment = message.segments[0]
        self.group: Group | None = None
        self.things: dict[tuple[str, str], JsonObject] = {}
        """Resources that datatype tables built (people, places), by type and id."""

        self.began: dict[str, str] = {}
        """Label → the kind of segment that began every resource of it so far; '' for several kinds."""

        self.parts: dict[tuple[str, str], Part] = {}
        """Where a thing came from, while nothing else has been said about it."""

        self.provenance_id = ""
        """Given with the ids of the builds."""

    def find(self, name: str) -> Segment | None:
        """The segment of that name nearest to the one being read.

        The segment itself, then its group instance with the groups in it that do not repeat, then the
        enclosing instances in the same way. A sibling of a repeating group is never looked into: another
        order's ORC says nothing about this one.
        """
        if self.segment.name == name:
            return self.segment
        return self._within(self.group, name)

    def has(self, name: str) -> bool:
        """Whether ``find`` finds one, or any group right inside this instance holds one, be it one of several."""
        if self.find(name) is not None:
            return True
        group = self.group
        return group is not None and any(child.first(name) is not None for child in group.children)

    def _within(self, group: Group | None, name: str) -> Segment | None:
        if group is None:
            return None
        around = group.nearby()
        known = around.get(name, _NOT_LOOKED_UP)
        if known is not _NOT_LOOKED_UP:
            return known  # type: ignore[no-any-return]  # what is no segment is the mark alone
        found = group.names.get(name)
        if found is None and name in group.definition.ways:
            found = group.nearest(name)
        if found is None:
            found = self._within(group.parent, name)
        around[name] = found
        return found

    def datatype(self, name: str) -> Converter:
        """A datatype table as a converter for the text of a field's repetition."""
        return self.compiler.datatype(name, 1)

    def by_table(self, name: str, text: str) -> JsonObject | None:
        """What a datatype table makes of the text of a field's repetition.

        Raises Unfit when a site's tables come back to this one without end, by way of named converters.
        """
        if self._opened >= _DEEPEST:
            raise Unfit("tables open one another too deeply")
        self._opened += 1
        try:
            found: JsonObject | None = self.compiler.datatype(name, 1)(text, self)
        finally:
            self._opened -= 1
        return found

    def field(self, name: str, number: int) -> str:
        """Raw text of a field of the nearest segment of that name; '' if absent."""
        segment = self.find(name)
        return segment.field(number) if segment is not None else ""

    def place(self, slot: int, repetition: int, path: list[int] | tuple[int, ...] = ()) -> str:
        """``OBX[3]-5[2].1`` for a position in the segment at hand."""
        place = self.segment.place(slot or None)
        if repetition > 1:
            place += f"[{repetition}]"
        return ".".join((place, *(str(number) for number in reversed(path) if number)))

    def settle(self, slot: int, repetition: int) -> None:
        """Problems become Issues at a field and repetition of the segment at hand."""
        for problem in self.problems:
            place = self.place(slot, repetition, problem.path)
            self.issues.append(Issue(problem.severity, problem.code, place, problem.text))
        self.problems.clear()

    def named_system(self, text: str) -> str | None:
        """The third component as a URI; a text that no map has when it is not registered."""
        if "^" not in text and "&" not in text:
            return None
        parts = text.split("^", 3) if "^" in text else text.split("&", 3)
        if len(parts) < 3 or not parts[2] or parts[2] == '""':
            return None
        return self.systems.uri(parts[2]) or self.sender.authorities.get(parts[2]) or "urn:unregistered"

    def resource_id(self, resource_type: str, facts: Facts) -> str:
        """The deterministic id for facts at the sender's institution."""
        return resource_id(self.id_key, resource_type, self.sender.institution, facts.parts)

    def unidentified(self, *extra: str) -> Facts:
        """Facts of last resort: this message and this place in it, so that nothing is ever fused."""
        place = self.segment.place()
        parts = ("message", self.sender.name, self.message.control_id, place, *extra)
        return Facts(parts, is_local=True)

    def refer(self, resource_type: str, resource: JsonObject, facts: Facts | None) -> Made:
        """Keep a person or place once per message, its statements united."""
        if facts is None:
            facts = self.unidentified(resource_type, str(len(self.things)))
        found = self.resource_id(resource_type, facts)
        reference = {"reference": f"{resource_type}/{found}"}
        display = display_of(resource)
        if display:
            reference["display"] = display
        part = Part({"resourceType": resource_type, "id": found, **resource})
        self._take(part)
        inner = [held for made in self.taken for held in made.parts]
        is_local = facts.is_local or not facts.is_thing or any(made.is_local for made in self.taken)
        return Made(reference, (*inner, part), is_local)

    def adopt(self, made: Made) -> None:
        """Take in what an earlier message of this sender built from the same text."""
        for part in made.parts:
            self._take(part)

    def _take(self, part: Part) -> None:
        resource = part.resource
        key = (resource["resourceType"], resource["id"])
        held = self.things.get(key)
        if held is None:
            self.things[key] = resource.copy()  # what is inside stays shared and is never changed
            self.parts[key] = part
        elif held != resource:
            self.parts.pop(key, None)
            differing = unite(held, resource)
            if differing:
                text = f"two statements about one {key[0]} differ in {', '.join(differing)}; the first stays"
                self.problem(text, code="conflict", elements=differing)


def unite(held: JsonObject, other: JsonObject) -> tuple[str, ...]:
    """Add to ``held`` what only ``other`` says; the elements whose single values differ (``held`` keeps its
    own).
    """
    differing = []
    for element, value in other.items():
        mine = held.get(element)
        if mine is None:
            held[element] = value
        elif isinstance(mine, list) and isinstance(value, list):
            held[element] = [*mine, *(item for item in value if item not in mine)]
        elif not is_same(mine, value):
            differing.append(element)
    return tuple(differing)


def display_of(resource: JsonObject) -> str:
    """What a Reference shows: the name of a place or organization, or a person's name in reading order."""
    name = resource.get("name")
    if isinstance(name, str):
        return name
    if isinstance(name, list) and name and isinstance(name[0], dict):
        first = name[0]
        parts = (
            *first.get("prefix", ()),
            *first.get("given", ()),
            first.get("family", ""),
            *first.get("suffix", ()),
        )
        return first.get("text") or " ".join(part for part in parts if part)
    return ""


__all__ = ["Build", "Callable", "State", "display_of", "unite"]
