"""The state of one CDA conversion: what converters look at, what has been read, what has been built."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any, Final

from hdg.errors import Issue
from hdg.fhir.ids import resource_id
from hdg.ingestion.cda.canonical import Canonical
from hdg.ingestion.cda.parsing import Parsed
from hdg.ingestion.cda.qualifiers import is_known_absent_or_anothers
from hdg.ingestion.cda.united import differing, is_same_encounter, is_same_event, unite
from hdg.ingestion.cda.xml import HL7, Element, Tree, children, first_child, local
from hdg.ingestion.sender import Sender
from hdg.ingestion.times import latest_us, to_instant
from hdg.mapping.context import Context, Facts, JsonObject, Problem, Unfit
from hdg.mapping.library import Library
from hdg.terminology import Systems

__all__ = ["SELF", "State", "ids_of"]

_ORDINALS_MAX: Final = 10_000
_AROUND_MAX: Final = 1_000
"""Elements of which is remembered whom they are about."""


class State(Context):
    """One document on its way. Owned by Converter.convert; never shared."""

    __slots__ = (
        "_anothers",
        "_canonical",
        "_ids",
        "_statements",
        "_uris",
        "above",
        "alike",
        "attributes",
        "build_resource",
        "consumed",
        "depth",
        "dispatch",
        "has_contexts",
        "id_key",
        "institution",
        "issues",
        "known",
        "library",
        "made_of",
        "moments",
        "opened",
        "reads_each",
        "resources",
        "root",
        "sender",
        "sources",
        "statements",
        "subject",
        "systems",
        "told",
        "tree",
        "zone",
    )

    def __init__(
        self,
        tree: Tree,
        sender: Sender,
        library: Library,
        id_key: bytes,
        zone: tzinfo | None,
        issues: list[Issue],
    ) -> None:
        super().__init__()
        self.has_contexts = b"qualifier" in tree.body
        """Whether codes may say in a qualifier that something is absent, or somebody else's."""
        tree.body = b""  # nothing is renamed from here on
        self.tree = tree
        self.root = tree.root
        self._anothers: dict[Element, bool] = {}
        """Of elements around statements, whether what they hold is about somebody else than the patient; bounded."""
        self._canonical = Canonical(tree)
        self.sender = sender
        self.institution = sender.institution
        self.library = library
        self.systems: Systems = library.systems.declaring(sender.authorities)
        self.id_key = id_key
        self.zone = zone
        self.issues = issues
        self.resources: dict[tuple[str, str], JsonObject] = {}
        """Everything that was built, by type and id, in the order of the document."""
        self.sources: dict[tuple[str, str], Element] = {}
        """The element that each was first made of."""
        self.subject: JsonObject | None = None
        """Reference to the patient that the document is about."""
        self.consumed: dict[Element, None] = {}
        """Elements that were read with all that is in them."""
        self.attributes: defaultdict[str, dict[Element, None]] = defaultdict(dict)
        """By name, the elements of which that attribute was read for itself."""
        self.statements: dict[Element, None] = {}
        """Statements that a table has read."""
        self.known: dict[Any, Any] = {}
        """What converters have worked out for this document, by their own keys."""
        self.made_of: defaultdict[str, dict[Element, str | None]] = defaultdict(dict)
        """By table, what it made of an element: ``Type/id``."""
        self.told: dict[Element, str | tuple[str, ...]] = {}
        """What became of a statement: ``Type/id``, or each where there is not just one."""
        self.alike: dict[tuple[Any, ...], str] = {}
        """What became of people and places, by the table and all that is said of them (alike.py); bounded."""
        self.reads_each = False
        """Whether each is read for itself: one is being read, or somebody wants to know of every element."""
        self.moments: dict[str, tuple[str | None, tuple[Problem, ...]]] = {}
        """What texts of times say, with the problems of that; bounded."""
        self.depth = 0
        """Statements that are being read, one by way of another."""
        self.opened = 0
        """Tables that are being filled, one inside another."""
        self.above: dict[Element, dict[str, Sequence[Element]]] = {}
        """What rows have found below an element around what they read; bounded."""
        self.dispatch: Callable[[Element, State], list[JsonObject]] | None = None
        self.build_resource: Callable[[str, Element, State], JsonObject | None] | None = None
        """Makes a resource of an element by the table of that name; gives a reference to it."""
        self._ids: dict[tuple[str, tuple[str, ...]], str] = {}
        """Of things, by type and facts: a document speaks of the same people and places again and again."""
        self._uris: dict[str, str | None] = {}
        self._statements: dict[tuple[str, str], Element] | None = None

    def place_of(self, element: Element, attribute: str = "") -> str:
        """Where an element lies (``Tree.place_of``)."""
        return self.tree.place_of(element, attribute)

    def content_of(self, element: Element) -> str:
        """A hash of all that an element says."""
        return self._canonical.digest(element)

    def reference(self, table: str, element: Element) -> JsonObject | None:
        """A reference to what a table makes of an element."""
        return None if self.build_resource is None else self.build_resource(table, element, self)

    def forget_reading(self) -> None:
        """Lets go of what was worked out for the document; what was built and the document stay."""
        self.consumed.clear()
        self.attributes.clear()
        self.statements.clear()
        self.known.clear()
        self.made_of.clear()
        self.told.clear()
        self.above.clear()
        self.alike.clear()
        self.moments.clear()
        self._anothers.clear()
        self._ids.clear()

    def forget(self) -> None:
        """Lets go of the document too."""
        self.forget_reading()
        self.sources.clear()
        self.root.release()
        self.tree = Tree(Parsed(), b"")
        self.root = self.tree.root
        self._canonical = Canonical(self.tree)

    def mark(self, element: Element, attribute: str = "") -> None:
        """Says that an element (with all that is in it) or one of its attributes has been read."""
        if attribute:
            self.attributes[attribute][element] = None
        else:
            self.consumed[element] = None

    def is_read(self, element: Element) -> bool:
        """Whether a table has made something of a statement already."""
        return element in self.consumed or element in self.statements

    def settle_at(self, element: Element, attribute: str = "") -> None:
        """Problems become Issues at an element."""
        place = self.place_of(element, attribute)
        for problem in self.problems:
            self.issues.append(Issue(problem.severity, problem.code, place, problem.text))
        self.problems.clear()

    def named(self, id_: str) -> Element | None:
        """The element of the narrative with that ID."""
        return self.tree.identified.get(id_)

    def section_of(self, element: Element) -> Element | None:
        """The nearest section that an element stands in."""
        node = element.around
        while node is not None and local(node) != "section":
            node = node.around
        return node

    def is_about_another(self, element: Element) -> bool:
        """Whether the nearest subject that is named around a statement is not the patient. CDA R2 §4.3.6.

        The subject of a section or a statement is that of all that it holds.
        """
        found = self._names_another(element)
        if found is not None:
            return found
        around: list[Element] = []
        node = element.around
        while node is not None:
            found = self._anothers.get(node)
            if found is None:
                around.append(node)
                found = self._names_another(node)
            if found is not None:
                break
            node = node.around
        is_anothers = found is True
        if len(self._anothers) > _AROUND_MAX:
            self._anothers.clear()
        for one in around:
            self._anothers[one] = is_anothers
        return is_anothers

    def _names_another(self, element: Element) -> bool | None:
        """Whether an element itself says that what it holds is about somebody else than the patient; None: silent."""
        if local(element) == "section" and any(
            one.get("code") == _FAMILY for one in children(element, "code")
        ):
            return True  # family histories say whose they are; nothing else there is about the patient
        is_of_family = False
        for child in element.inner:
            if child.tag == _SUBJECT or (child.tag == _PARTICIPANT and child.get("typeCode") == "SBJ"):
                for role in child.inner:
                    if local(role) in ("relatedSubject", "participantRole"):
                        return not self._is_patient(role)
            elif child.tag == _TEMPLATE and child.get("root") in _OF_FAMILIES:
                is_of_family = True
        return True if is_of_family else None

    def _is_patient(self, role: Element) -> bool:
        """Whether a subject is the patient: by its code, its class or its number."""
        code = first_child(role, "code")
        if code is not None and code.get("code"):
            return code.get("code") in SELF
        return role.get("classCode") == "PAT" or any(one in self.patient_ids() for one in ids_of(role))

    def patient_ids(self) -> frozenset[tuple[str, str]]:
        """Root and extension of the numbers of the patient."""
        mine: frozenset[tuple[str, str]] | None = self.known.get("patient ids")
        if mine is None:
            roles = [
                role
                for target in children(self.root, "recordTarget")
                for role in children(target, "patientRole")
            ]
            mine = self.known["patient ids"] = frozenset(
                (one.get("root", ""), one.get("extension", ""))
                for role in roles
                for one in children(role, "id")
                if one.get("extension")
            )
        return mine

    def is_absent_or_anothers(self, element: Element) -> bool:
        """Whether a qualifier of its code or value says that what it names is absent, or is somebody else's.

        SNOMED CT, Situation with explicit context: finding context, procedure context, subject relationship context.
        """
        if not self.has_contexts:
            return False
        return is_known_absent_or_anothers(element)

    def linked(self, element: Element) -> Element | None:
        """The fullest statement with an id of this one; None when there is none and this one says only who it is."""
        if self._statements is None:
            self._statements = {}
            for one in self.root.iter():
                if one.tag not in _LINKED:
                    continue
                for id_ in ids_of(one):
                    held = self._statements.get(id_)
                    if held is None or _fullness(one) > _fullness(held):
                        self._statements[id_] = one
        for id_ in ids_of(element):
            found = self._statements.get(id_)
            if found is not None and found is not element and _fullness(found) > _fullness(element):
                return found
        return element if _fullness(element) > 1 else None

    def identified(self, element: Element) -> JsonObject | None:
        """A reference by identifier to a statement that is not in the document."""
        for root, extension in ids_of(element):
            urn = self.uri(root) or (f"urn:oid:{root}" if "-" not in root else f"urn:uuid:{root.lower()}")
            if extension:
                return {"identifier": {"system": urn, "value": extension}}
            return {"identifier": {"system": "urn:ietf:rfc:3986", "value": urn}}
        return None

    def uri(self, oid: str) -> str | None:
        """The URI of a code system or of a domain of identifiers; a document names a few, again and again."""
        if oid not in self._uris:
            self._uris[oid] = self.systems.uri(oid)
        return self._uris[oid]

    def named_system(self, text: Any) -> str | None:
        """URI of the code system that a coded element names; None when it names none."""
        if isinstance(text, str):
            return None
        oid = text.get("codeSystem")
        return self.uri(oid) or f"urn:oid:{oid}" if oid else None

    # --- what is built --------------------------------------------------------------------------------------

    def facts_of(self, element: Element) -> Facts:
        """What identifies a statement: its ids, else its content and whom it is about."""
        ids: list[tuple[str, str]] = []
        for one in children(element, "id"):
            root, extension = one.get("root", ""), one.get("extension", "")
            if (root or extension) and one.get("nullFlavor") is None:
                ids.append((root, extension))
        if ids:
            ids.sort()
            return Facts(("cda", *(part for pair in ids for part in pair)))
        content = self.content_of(element)
        about = self.subject["reference"] if self.subject else ""
        return Facts(("cda-content", about, content))

    def take(self, resource: JsonObject, facts: Facts, element: Element) -> JsonObject:
        """Keeps a resource and gives a reference to it.

        Equal facts and equal content are one resource. Of a thing (a person, a place) two statements are united;
        another event with the same facts gets an ordinal, which is reported.
        """
        type_ = resource["resourceType"]
        parts = facts.parts
        for ordinal in range(2, _ORDINALS_MAX):
            id_ = self._id(type_, parts, is_kept=facts.is_thing)
            key = (type_, id_)
            held = self.resources.get(key)
            if held is None:
                resource["id"] = id_
                self.resources[key] = resource
                self.sources[key] = element
                break
            resource["id"] = id_
            if held == resource:
                break
            if type_ == "Encounter" and is_same_encounter(held, resource):
                self._unite(held, resource, element)
                break
            if facts.is_thing or (is_same_event(held, resource) and not differing(held, resource)):
                self._unite(held, resource, element)
                break
            parts = (*facts.parts, "ordinal", str(ordinal))
        return {"reference": f"{type_}/{resource['id']}"}

    def _id(self, type_: str, parts: tuple[str, ...], *, is_kept: bool) -> str:
        found = self._ids.get((type_, parts)) if is_kept else None
        if found is None:
            found = resource_id(self.id_key, type_, self.institution, parts)
            if is_kept:
                self._ids[type_, parts] = found
        return found

    def _unite(self, held: JsonObject, other: JsonObject, element: Element) -> None:
        apart = unite(held, other)
        if apart:
            text = f"two statements about one {held['resourceType']} differ in {', '.join(apart)}; the first stays"
            self.issues.append(Issue("information", "conflict", self.place_of(element), text))

    def stated(self, name: str) -> tuple[str, int] | None:
        """The instant that the root's child of that name tells, if it is one, and the stamp of what was stated then."""
        for time in children(self.root, name):
            text = time.get("value", "")
            try:
                found = to_instant(text, self.zone)
            except Unfit:
                continue
            return found, latest_us(text, found, self.zone)
        return None


_SUBJECT: Final = HL7 + "subject"
_PARTICIPANT: Final = HL7 + "participant"
_TEMPLATE: Final = HL7 + "templateId"
_FAMILY: Final = "10157-6"
"""LOINC: the section of family histories."""
_OF_FAMILIES: Final = frozenset(
    (
        "2.16.840.1.113883.10.20.22.2.15",
        "2.16.840.1.113883.10.20.22.4.45",
        "2.16.840.1.113883.10.20.22.4.46",
        "2.16.840.1.113883.10.20.1.4",
        "2.16.840.1.113883.10.20.1.22",
        "2.16.840.1.113883.10.20.1.23",
        "1.3.6.1.4.1.19376.1.5.3.1.3.14",
        "1.3.6.1.4.1.19376.1.5.3.1.3.15",
        "1.3.6.1.4.1.19376.1.5.3.1.4.13.3",
        "1.3.6.1.4.1.19376.1.5.3.1.4.15",
    )
)
"""Templates of sections and entries of family histories: C-CDA, CCD of 2007, IHE PCC."""
SELF: Final = ("SELF", "ONESELF")
"""v3 RoleCode: the patient."""
_LINKED: Final = frozenset(
    HL7 + name
    for name in (
        "act",
        "encounter",
        "observation",
        "organizer",
        "procedure",
        "substanceAdministration",
        "supply",
        "encompassingEncounter",
    )
)


def ids_of(element: Element) -> list[tuple[str, str]]:
    """Root and extension of the ids of a statement."""
    return [
        (one.get("root", ""), one.get("extension", ""))
        for one in children(element, "id")
        if one.get("nullFlavor") is None and one.get("root")
    ]


def _fullness(element: Element) -> int:
    """How much a statement says: what it holds besides ids, template ids and a bare status or empty code."""
    said = 0
    for child in element.inner:
        name = local(child)
        if name in ("templateId", "id", "statusCode") or (name == "code" and child.get("nullFlavor")):
            continue
        said += 2
    return said
