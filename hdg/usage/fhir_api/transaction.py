"""A transaction: all writes of a Bundle or none, in one transaction of the writer.

R4 http.html#transaction, #trules. Conditions are resolved against what was there before, all of them before
anything is written; then DELETE, POST, PUT and PATCH, in this order. Resources are validated and indexed
beforehand under the ids that they will most likely have; where a condition finds something else, what refers
to it is made ready once more inside the transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from hdg.errors import BadRequest, ValidationFailed
from hdg.fhir.links import OPERATIONS, Links
from hdg.management.store import SearchQuery
from hdg.usage.access import Caller
from hdg.usage.drafts import Draft
from hdg.usage.fhir_api import changes
from hdg.usage.fhir_api.changes import Change, Patch, new_id
from hdg.usage.fhir_api.conditions import condition, exist_condition, if_match, is_only_new
from hdg.usage.fhir_api.context import Api
from hdg.usage.fhir_api.entries import METHODS, Entry, EntryFailed, at_entry, check_target
from hdg.usage.fhir_api.patches import fhirpath_patch, json_patch
from hdg.usage.fhir_api.query import pairs
from hdg.usage.writing import Place, PreconditionFailed, SeveralMatches, Writing, Written

__all__ = ["Step", "perform", "steps_of"]

JsonObject = dict[str, Any]
_ASKED_MAX = 8192
"""Characters of the conditions that the audit trail names."""


@dataclass(slots=True)
class Step:
    """One write of a transaction. ``likely``: where its resource will be, as far as one can know before."""

    entry: Entry
    change: Change
    content: JsonObject | None
    links: Links | None
    likely: str


def steps_of(entries: Sequence[Entry], api: Api) -> list[Step]:
    """The writes of a transaction. Raises EntryFailed."""
    writes = [entry for entry in entries if entry.is_write]
    given = Counter(entry.full_url for entry in entries if entry.full_url)
    known = given.keys()
    steps = []
    for entry in writes:
        with at_entry(entry.index):
            if given[entry.full_url] > 1:
                raise BadRequest(
                    "the fullUrl is that of another entry too", code="duplicate", place="fullUrl"
                )
            check_target(entry)
            steps.append(_step(entry, api, known))
    _check_distinct(steps, {})
    return steps


def _step(entry: Entry, api: Api, known: Any) -> Step:
    change = Change(entry.method, entry.type, entry.id, if_match=if_match(entry.headers))
    if entry.method == "DELETE":
        return Step(entry, _conditioned(change, entry, api), None, None, entry.path)
    operations = entry.json_patch() if entry.method == "PATCH" else None
    resource = entry.content() if operations is None else {OPERATIONS: operations}
    links = Links(resource, entry.full_url, known)
    if links.dangling:
        raise BadRequest("no entry has the fullUrl that is referred to", place=links.dangling[0])
    if entry.method == "PATCH":
        return Step(entry, _conditioned(change, entry, api), resource, links, entry.path)
    if resource.get("resourceType") != entry.type:
        raise BadRequest("the resource is not of the type that the url names", place="resource")
    if entry.method == "POST":
        query, asked = exist_condition(entry.type, entry.headers, api.limits)
        change = replace(change, query=query, asked=asked)
        return Step(entry, change, resource, links, f"{entry.type}/{new_id()}")
    change = replace(change, only_new=is_only_new(entry.headers))
    if entry.query:
        id_ = resource.get("id", "")
        change = _conditioned(replace(change, id=id_), entry, api)
        return Step(entry, change, resource, links, f"{entry.type}/{id_ or new_id()}")
    if resource.get("id") != entry.id:
        raise BadRequest("the id of the resource must be that of the url", place="resource.id")
    return Step(entry, change, resource, links, entry.path)


def _conditioned(change: Change, entry: Entry, api: Api) -> Change:
    if not entry.query:
        return change
    query, asked = condition(entry.type, pairs(entry.query.encode()), api.limits)
    return replace(change, query=query, asked=asked)


def _check_distinct(steps: Sequence[Step], places: Mapping[int, str]) -> None:
    """Raises EntryFailed when two writes are about one resource. ``places``: by step, where it turned out to be."""
    seen: set[str] = set()
    for number, step in enumerate(steps):
        place = places.get(number, step.likely)
        if "?" not in place and place in seen:
            text = "another entry writes the same resource"
            raise EntryFailed(step.entry.index, BadRequest(text, code="duplicate", place="request.url"))
        seen.add(place)


async def perform(api: Api, caller: Caller, steps: Sequence[Step]) -> list[Written]:
    """Does all of it; what each step came to. Raises EntryFailed and what Gate.write raises."""
    if not steps:
        return []
    likely = {step.entry.full_url: step.likely for step in steps if step.entry.full_url}
    contents: list[tuple[JsonObject, str]] = []
    drafted: list[int] = []
    for number, step in enumerate(steps):
        if step.links is not None:
            step.links.point(likely)
        if step.content is not None and step.change.method in ("POST", "PUT"):
            contents.append((step.content, step.likely.partition("/")[2]))
            drafted.append(number)
    drafts: dict[int, Draft] = {}
    for number, made in zip(drafted, await api.gate.drafts_or_errors(contents), strict=True):
        if isinstance(made, ValidationFailed):
            raise EntryFailed(steps[number].entry.index, made)
        drafts[number] = made
    changes_ = [
        replace(step.change, draft=drafts.get(number), patch=_patch(step))
        for number, step in enumerate(steps)
    ]
    asked = "\n".join(dict.fromkeys(change.asked for change in changes_ if change.asked))[:_ASKED_MAX]
    types = {change.type for change in changes_}
    unit = _Unit(steps, changes_, likely, _searches(steps, api))
    return await api.gate.write(caller, "transaction", "", types, unit.run, asked)


def _patch(step: Step) -> Patch | None:
    """The patch of a step as its links are now."""
    if step.change.method != "PATCH" or step.content is None:
        return None
    with at_entry(step.entry.index):
        given = deepcopy(step.content)
        return json_patch(given[OPERATIONS]) if OPERATIONS in given else fhirpath_patch(given)


def _searches(steps: Sequence[Step], api: Api) -> dict[str, SearchQuery]:
    """The searches by which resources refer to others, by their text. Raises EntryFailed."""
    found: dict[str, SearchQuery] = {}
    for step in steps:
        for text in sorted(step.links.conditions) if step.links is not None else ():
            if text not in found:
                type_, _, query = text.partition("?")
                with at_entry(step.entry.index):
                    found[text] = condition(type_, pairs(query.encode()), api.limits)[0]
    return found


@dataclass(frozen=True, slots=True)
class _Unit:
    """What runs inside the writer's transaction, perhaps several times."""

    steps: Sequence[Step]
    changes: Sequence[Change]
    likely: Mapping[str, str]
    searches: Mapping[str, SearchQuery]
    """The conditional references, by their text."""

    def run(self, writing: Writing) -> list[Written]:
        """All steps' outcomes, in the order of the entries."""
        self._look_up(writing)
        places: list[Place | None] = []
        for step, change in zip(self.steps, self.changes, strict=True):
            with at_entry(step.entry.index):
                places.append(changes.resolve(change, writing))
        found = {number: f"{place.type}/{place.id}" for number, place in enumerate(places) if place}
        self._check_deleted(found)
        named = self._named(found, writing)
        drafted = self._drafted(found, named, writing)
        self._check_new(drafted, places, writing)
        _check_distinct(
            self.steps,
            {n: place for n, place in found.items() if drafted[n].method != "POST"},
        )
        patients = [
            change.draft.id for change in drafted if change.draft is not None and change.type == "Patient"
        ]
        writing.about_to_create(patients)
        written: dict[int, Written] = {}
        for method in METHODS:
            for number, change in enumerate(drafted):
                if change.method == method:
                    with at_entry(self.steps[number].entry.index):
                        written[number] = changes.apply(change, places[number], writing)
        return [written[number] for number in range(len(drafted))]

    def _look_up(self, writing: Writing) -> None:
        keys: dict[tuple[str, str], None] = {}
        for change in self.changes:
            if change.id and (change.query is None or change.method == "PUT"):
                keys[change.type, change.id] = None
            if change.draft is not None:
                keys.update(dict.fromkeys(("Patient", patient) for patient in sorted(change.draft.patients)))
        created = [change.draft for change in self.changes if change.draft is not None]
        writing.look_up(keys, [(draft.type, draft.id) for draft in created])
        asked = {change.query for change in self.changes if change.query is not None}
        writing.look_for(asked.union(self.searches.values()))

    def _named(self, found: Mapping[int, str], writing: Writing) -> dict[str, str]:
        """Where each fullUrl and each conditional reference leads."""
        named = dict(self.likely)
        for number, place in found.items():
            if self.steps[number].entry.full_url:
                named[self.steps[number].entry.full_url] = place
        if self.searches:
            referred = self._referred(found, writing)
            for step in self.steps:
                for text in sorted(step.links.conditions) if step.links is not None else ():
                    with at_entry(step.entry.index):
                        named[text] = _only(referred[text])
        return named

    def _referred(self, found: Mapping[int, str], writing: Writing) -> dict[str, set[str]]:
        """What each conditional reference finds: R4 resolves them last, so among what this transaction makes too."""
        replaced = {place for n, place in found.items() if self.changes[n].method in ("DELETE", "PUT")}
        referred: dict[str, set[str]] = {}
        for text, query in self.searches.items():
            places = writing.matches(query, 2 + len(replaced))
            referred[text] = {f"{place.type}/{place.id}" for place in places} - replaced
        types = {query.type for query in self.searches.values()}
        made = {
            number: change.draft
            for number, change in enumerate(self.changes)
            if change.draft is not None
            and change.type in types
            and (change.method == "PUT" or number not in found)
        }
        if made:
            numbers = writing.would_find(list(self.searches.values()), made)
            for text, others in zip(self.searches, numbers, strict=True):
                referred[text] |= {found.get(number, self.steps[number].likely) for number in others}
        return referred

    def _check_deleted(self, found: Mapping[int, str]) -> None:
        """Raises EntryFailed when a create finds, by its condition, what another entry deletes."""
        deleted = {place for n, place in found.items() if self.changes[n].method == "DELETE"}
        for number, place in found.items():
            if self.changes[number].method == "POST" and place in deleted:
                text = "another entry deletes what its condition finds"
                cause = BadRequest(text, code="duplicate", place="request.ifNoneExist")
                raise EntryFailed(self.steps[number].entry.index, cause)

    def _drafted(self, found: Mapping[int, str], named: Mapping[str, str], writing: Writing) -> list[Change]:
        """The changes, made ready anew where something is not where it was likely to be."""
        moved = {name for name, place in named.items() if self.likely.get(name) != place}
        made: list[Change] = []
        for number, (step, change) in enumerate(zip(self.steps, self.changes, strict=True)):
            links, draft = step.links, change.draft
            if links is not None and not moved.isdisjoint(links.targets | links.conditions):
                links.point(named)
                if draft is not None and step.content is not None:
                    id_ = found.get(number, step.likely).partition("/")[2]
                    with at_entry(step.entry.index):
                        change = replace(change, draft=writing.draft(step.content, id_))
                change = replace(change, patch=_patch(step))
                links.point(self.likely)  # the work may run again
            made.append(change)
        return made

    def _check_new(self, drafted: Sequence[Change], places: Sequence[Place | None], writing: Writing) -> None:
        """Raises EntryFailed when the condition of a create finds what another entry creates."""
        searches: dict[int, SearchQuery] = {
            number: change.query
            for number, change in enumerate(drafted)
            if change.query is not None and places[number] is None and change.method in ("POST", "PUT")
        }
        if not searches:
            return
        types = {query.type for query in searches.values()}
        new = {
            number: change.draft
            for number, change in enumerate(drafted)
            if change.draft is not None and change.type in types
        }
        found = writing.would_find(list(searches.values()), new)
        for number, others in zip(searches, found, strict=True):
            if others - {number}:
                text = "its condition finds what another entry writes"
                raise EntryFailed(self.steps[number].entry.index, SeveralMatches(text))


def _only(found: set[str]) -> str:
    if len(found) > 1:
        raise SeveralMatches("a conditional reference finds more than one resource")
    if not found:
        raise PreconditionFailed("a conditional reference finds nothing")
    return next(iter(found))
