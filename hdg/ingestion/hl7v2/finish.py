"""The end of a conversion: ids, merging of equal things, links between resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hdg.errors import Issue
from hdg.fhir.accept_parts import literal
from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.ids import resource_id, resource_ids
from hdg.ingestion.converted import Defaulted
from hdg.ingestion.hl7v2.groups import Definition, Group
from hdg.ingestion.hl7v2.message import Link, Row
from hdg.ingestion.hl7v2.parser import Segment
from hdg.ingestion.hl7v2.state import State, unite
from hdg.ingestion.provenance import provenance_facts
from hdg.mapping.context import Build, Conflict, Facts, JsonObject
from hdg.mapping.remembered import IDS_MAX
from hdg.mapping.tracing import drop, is_rule_of


def identify(builds: Sequence[Build], state: State, sha256: str) -> None:
    """Give every build its id; equal things become one resource, equal events with different content get
    ordinals.
    """
    key, institution = state.id_key, state.sender.institution
    identified = [build.facts or _last_resort(build, state, sha256) for build in builds]
    keys = [(build.type, facts.parts) for build, facts in zip(builds, identified, strict=True)]
    *ids, state.provenance_id = _ids(keys, identified, state, sha256)
    held: dict[tuple[str, tuple[str, ...]], Build] = {}
    for build, facts, known, found in zip(builds, identified, keys, ids, strict=True):
        first = held.setdefault(known, build)
        ordinal = 1
        while first is not build:
            if facts.is_thing:
                _prefer_stated(first, build)
                _differs(build, unite(first.resource, _content(build.resource)), state)
                break
            if _is_repeat(first, build):
                break
            ordinal += 1
            parts = (*facts.parts, f"occurrence {ordinal}")
            first = held.setdefault((build.type, parts), build)
            found = resource_id(key, build.type, institution, parts) if first is build else ""
        if first is not build:
            build.resource = first.resource
            build.id = first.id
            # What links would have put into the resource that is not needed goes to the one that stays.
            build.links = [
                (row, first.resource if item.get("id") == "" else item, *rest)
                for row, item, *rest in build.links
            ]
            first.deletions.update(build.deletions)
            continue
        build.id = build.resource["id"] = found
        if facts.is_thing and state.things:
            _unite_with_reference(build, state)


def _ids(
    keys: Sequence[tuple[str, tuple[str, ...]]], identified: Sequence[Facts], state: State, sha256: str
) -> list[str]:
    """The ids of builds, then that of the Provenance. People, visits and the like come again: their ids are kept."""
    institution = state.sender.institution
    kept = {} if state.values is None else state.values.ids
    ids = [
        kept.get((institution, key), "") if facts.is_thing and not facts.is_local else ""
        for key, facts in zip(keys, identified, strict=True)
    ]
    unknown = [at for at, found in enumerate(ids) if not found]
    source = ("Provenance", provenance_facts(state.sender, sha256))
    *made, last = resource_ids(state.id_key, institution, [*[keys[at] for at in unknown], source])
    for at, found in zip(unknown, made, strict=True):
        ids[at] = found
        if identified[at].is_thing and not identified[at].is_local:
            if len(kept) >= IDS_MAX:
                kept.clear()
            kept[institution, keys[at]] = found
    ids.append(last)
    return ids


def _last_resort(build: Build, state: State, sha256: str) -> Facts:
    """What identifies a resource of which nothing else is known: the message and the place in it."""
    return Facts(("segment", state.message.control_id, sha256, str(build.origin.position), build.label))


def _unite_with_reference(build: Build, state: State) -> None:
    """A datatype table may have built the same thing already (an Organization named in OBX-23 and in PV1)."""
    other = state.things.get((build.type, build.id))
    if other is not None:
        _differs(build, unite(build.resource, _content(other)), state)
        del state.things[(build.type, build.id)]
        state.parts.pop((build.type, build.id), None)


def _specimens(build: Build) -> list[Facts | None]:
    """The specimens of a result's order: the same result of another specimen is another one."""
    here: Group | None = build.group
    while here is not None and build.type == "Observation":
        found = here.subtree.get("Specimen")
        if found or (here.definition.is_repeating and "OBR" in here.names):
            return [specimen.facts for specimen in found or ()]
        here = here.parent
    return []


def _is_repeat(first: Build, other: Build) -> bool:
    """Whether two events are one that is told twice: equal to the last digit, of one specimen."""
    one, two = _content(first.resource), _content(other.resource)
    return (
        one == two and canonical_bytes(one) == canonical_bytes(two) and _specimens(first) == _specimens(other)
    )


def _prefer_stated(first: Build, other: Build) -> None:
    """Of two statements about one thing, what only fills a gap gives way to what is said."""
    for element in [name for name in first.defaulted if name in other.resource]:
        if element not in other.defaulted:
            first.resource.pop(element, None)
            del first.defaulted[element]
    for element in [name for name in other.defaulted if name in first.resource]:
        other.resource.pop(element, None)
        del other.defaulted[element]


def _content(resource: JsonObject) -> JsonObject:
    return {name: value for name, value in resource.items() if name != "id"}


def _differs(build: Build, elements: tuple[str, ...], state: State) -> None:
    if not elements:
        return
    text = f"two statements about one {build.type} differ in {', '.join(elements)}; the first stays"
    drop(
        state, 0, lambda event: event.origin is build.origin and is_rule_of(event.rule, build.type, elements)
    )
    state.issues.append(Issue("information", "conflict", build.origin.place(), text))


class _Alike(NamedTuple):
    """What one row's links put into an item, when sisters of its group get the same."""

    references: JsonObject
    lists: tuple[str, ...]
    """The elements that are lists: each item gets a list of its own."""
    elements: frozenset[str]


_UNKNOWN: Final[Any] = object()


class Linker:
    """Resolves the links of all builds. The references to one resource are one object, never changed."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._references: dict[Build, JsonObject] = {}
        self._resolved: dict[tuple[Group | None, str], list[Build]] = {}
        self._alike: dict[tuple[Row, Group | None, Definition], _Alike | None] = {}
        self._last: tuple[Row, Group | None, Definition] | None = None
        self._last_alike: _Alike | None = None
        """What ``_alike`` has for ``_last``: sisters follow one another."""

    def link(self, build: Build) -> None:
        """Apply every link that rows gave to a build."""
        for row, item, group, segment in build.links:
            if row.labels is None or not row.labels.isdisjoint(group.subtree):
                self._apply(row, item, group, segment, build)
                continue
            last = self._last
            if (
                last is not None
                and last[0] is row
                and last[1] is group.parent
                and last[2] is group.definition
            ):
                alike = self._last_alike
            else:
                alike = self._alike_of(row, group)
            if alike is None or not item.keys().isdisjoint(alike.elements):
                self._apply(row, item, group, segment, build)
                continue
            item.update(alike.references)
            for name in alike.lists:
                item[name] = item[name].copy()

    def _alike_of(self, row: Row, group: Group) -> _Alike | None:
        key = self._last = (row, group.parent, group.definition)
        alike = self._alike.get(key, _UNKNOWN)
        if alike is _UNKNOWN:
            alike = self._alike[key] = self._shared(row, group)
        self._last_alike = alike
        return alike  # type: ignore[no-any-return]  # what is no mark

    def _shared(self, row: Row, group: Group) -> _Alike | None:
        """What a row's links put into an item of a group that has none of their targets in itself: the same for
        each of the group's sisters. None where an item may get several references.
        """
        references: JsonObject = {}
        lists = []
        for link in row.links:
            targets = self.resolve(group, link.label or "")
            if len(targets) > 1 or (targets and link.element in references):
                return None
            if targets:
                reference = self._reference(targets[0])
                references[link.element] = [reference] if link.is_list else reference
                if link.is_list:
                    lists.append(link.element)
        return _Alike(references, tuple(lists), frozenset(references))

    def _apply(self, row: Row, item: JsonObject, group: Group, segment: Segment, build: Build) -> None:
        for link in row.links:
            if link.label is None:
                self._put(link, item, link.value, build)
            elif link.owner:
                owners = self.resolve(group, link.owner)
                if (
                    len(owners) > 1
                ):  # several OBX in one group: the one that the same segment began, not the first
                    owners = [owner for owner in owners if owner.origin is segment] or owners
                if owners:
                    self._put(link, owners[0].resource, self._reference(build), build)
            else:
                self._refer(link, item, group, segment, build)

    def _refer(self, link: Link, item: JsonObject, group: Group, segment: Segment, build: Build) -> None:
        label = link.label or ""
        targets = (
            group.builds.get(label) or group.subtree.get(label) or self._resolved.get((group.parent, label))
        )
        if targets is None:
            targets = self.resolve(group, label) if label else [build]
        if not targets:
            return
        if len(targets) == 1 and link.element_alone and link.element_alone not in item:
            reference = self._references.get(targets[0]) or self._reference(targets[0])
            item[link.element_alone] = [reference] if link.is_list else reference
            return
        if len(targets) > 1:
            # What the same segment began is nearest of all (DG1: a Condition, its place in the Encounter).
            targets = [target for target in targets if target.origin is segment] or targets
        if not link.is_list:
            if len(targets) > 1 and len({target.id for target in targets}) > 1:
                text = f"{link.element}: {len(targets)} resources could be meant; the nearest stays"
                self.state.issues.append(Issue("warning", "multiple-matches", build.origin.place(), text))
            self._put(link, item, self._reference(targets[0]), build)
            return
        if link.element_alone and link.element_alone not in item:  # a report may have hundreds of results
            held: dict[str, JsonObject] = {}
            for target in targets:
                reference = self._reference(target)
                held.setdefault(reference["reference"], reference)
            item[link.element_alone] = list(held.values())
            return
        for target in targets:
            self._put(link, item, self._reference(target), build)

    def _put(self, link: Link, root: JsonObject, value: object, build: Build) -> None:
        if link.label is None and link.element in root:
            return  # a constant is for what nothing else has said
        if link.value == "unknown" and root is build.resource:
            build.defaulted[link.element] = None  # says nothing: never takes the place of something known
        try:
            link.put(root, value, self.state)
        except Conflict:
            text = f"{link.element} has another value already, which stays"
            self.state.issues.append(Issue("information", "duplicate", build.origin.place(), text))

    def _reference(self, build: Build) -> JsonObject:
        found = self._references.get(build)
        if found is None:
            found = self._references[build] = {"reference": literal(build.type, build.id)}
        return found

    def resolve(self, group: Group, label: str) -> list[Build]:
        """Builds with a label: own group instance, its subtree, then each enclosing instance in the same
        way.
        """
        found = group.builds.get(label) or group.subtree.get(label)
        if found:
            return found
        above = group.parent
        if above is None:
            return []
        if label == "Specimen":
            return self._specimens(above, group)
        key = (above, label)
        known = self._resolved.get(key)
        if known is None:
            known = self._resolved[key] = self.resolve(above, label)
        return known

    def _specimens(self, above: Group, group: Group) -> list[Build]:
        here: Group | None = above
        below = group
        while here is not None:
            found = here.builds.get("Specimen") or here.subtree.get("Specimen")
            found = _not_beside(below, here, found) if found else found
            if found:
                return found
            below, here = here, here.parent
        return []


def _not_beside(below: Group, here: Group, builds: list[Build]) -> list[Build]:
    """Without those of siblings: the specimen of another order is not this order's. HL7 v2.9 §7.3.1."""
    found = []
    for build in builds:
        group: Group | None = build.group
        while group is not None and group is not here and group.parent is not here:
            group = group.parent
        if group is None or group.definition is not below.definition:
            found.append(build)
    return found


def defaulted(builds: Sequence[Build]) -> tuple[Defaulted, ...]:
    """What the tables filled in because R4 wants a value and the message says nothing."""
    return tuple(
        Defaulted(build.type, build.id, element)
        for build in builds
        for element in build.defaulted
        if element in build.resource or f"_{element}" in build.resource
    )
