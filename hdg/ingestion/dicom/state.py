"""The state of one DICOM conversion: what converters look at, what has been read, what has been built."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from hdg.errors import Issue
from hdg.fhir.ids import resource_id
from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.header import Header
from hdg.ingestion.sender import Sender
from hdg.mapping.context import Context, Facts, JsonObject, is_same
from hdg.mapping.library import Library
from hdg.terminology import Systems

__all__ = ["State"]


class State(Context):
    """One object on its way. Owned by Converter.convert; never shared."""

    __slots__ = (
        "build_resource",
        "dataset",
        "header",
        "id_key",
        "institution",
        "issues",
        "known",
        "library",
        "patient_facts",
        "place",
        "read",
        "resources",
        "root",
        "sender",
        "subject",
        "systems",
        "tag",
        "visited",
        "zone",
    )

    def __init__(
        self, header: Header, sender: Sender, library: Library, id_key: bytes, zone: tzinfo | None
    ) -> None:
        super().__init__()
        self.header = header
        self.root = header.data
        self.sender = sender
        self.institution = sender.institution
        self.library = library
        self.systems: Systems = library.systems
        self.id_key = id_key
        self.zone = zone
        self.issues: list[Issue] = []
        self.resources: dict[tuple[str, str], JsonObject] = {}
        """Everything that was built, by type and id, in order."""
        self.subject: JsonObject | None = None
        """Reference to the patient of the object."""
        self.patient_facts: tuple[str, ...] = ()
        """What identifies that patient; empty until it has been built."""
        self.dataset: Dataset = header.data
        """The data set that holds what is being read, and the tag of it (0: the data set itself)."""
        self.tag = 0
        self.place = ""
        self.read: dict[int, set[int]] = {}
        """By identity of a data set: tags that a row has read."""
        self.visited: list[Dataset] = []
        """Items that a table has read; what else is in them is a loss."""
        self.known: dict[Any, Any] = {}
        """What converters have worked out for this object, by their own keys."""
        self.build_resource: Callable[[str, Dataset, State], JsonObject | None] | None = None

    def reference(self, table: str, dataset: Dataset) -> JsonObject | None:
        """A reference to what a table makes of a data set."""
        return None if self.build_resource is None else self.build_resource(table, dataset, self)

    def mark(self, dataset: Dataset, *tags: int) -> None:
        """Says that elements have been read."""
        self.read.setdefault(id(dataset), set()).update(tags)

    def settle_at(self, place: str) -> None:
        """Problems become Issues at a place."""
        for problem in self.problems:
            self.issues.append(Issue(problem.severity, problem.code, place, problem.text))
        self.problems.clear()

    def id_of(self, type_: str, *facts: str) -> str:
        """The id of the resource that facts identify."""
        return resource_id(self.id_key, type_, self.institution, facts)

    def take(self, resource: JsonObject, facts: Facts) -> JsonObject:
        """Keeps a resource and gives a reference to it; of one thing, two statements are united."""
        type_ = resource["resourceType"]
        id_ = resource_id(self.id_key, type_, self.institution, facts.parts)
        resource["id"] = id_
        held = self.resources.setdefault((type_, id_), resource)
        if held is not resource:
            self._unite(held, resource)
        return {"reference": f"{type_}/{id_}"}

    def _unite(self, held: JsonObject, other: JsonObject) -> None:
        for name, value in other.items():
            mine = held.setdefault(name, value)
            if isinstance(mine, list) and isinstance(value, list):
                mine.extend(item for item in value if item not in mine)
            elif not is_same(mine, value):
                text = f"two statements about one {held['resourceType']} differ in {name}; the first stays"
                self.issues.append(Issue("information", "conflict", self.place, text))
