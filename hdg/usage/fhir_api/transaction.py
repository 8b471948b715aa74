"""A transaction: all writes of a Bundle or none, in one transaction of the writer.

R4 http.html#transaction, #trules. Conditions are resolved against what was there before, all of them before
anything is written; then DELETE, POST, PUT and PATCH, in this order. Resources are validated and indexed
beforehand under the ids that they will most likely have; where a condition finds something else, what refers
to it is made ready once more inside the transaction.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from hdg.errors import BadRequest, HdgError, ValidationFailed
from hdg.fhir.links import OPERATIONS, Links
from hdg.management.store import SearchQuery
from hdg.management.store.engine import NotCommitted
from hdg.usage.access import Caller
from hdg.usage.fhir_api import changes
from hdg.usage.fhir_api.changes import Change, Patch, new_id
from hdg.usage.fhir_api.conditions import condition, exist_condition, if_match, is_only_new
from hdg.usage.fhir_api.context import Api
from hdg.usage.fhir_api.entries import METHODS, Entry, EntryFailed, at_entry, check_target
from hdg.usage.fhir_api.parameters import Limits
from hdg.usage.fhir_api.patches import fhirpath_patch, json_patch
from hdg.usage.fhir_api.query import pairs
from hdg.usage.outcomes import Place, PreconditionFailed, SeveralMatches, Written
from hdg.usage.writing import Writing

__all__ = ["ContentNeeded", "Step", "id_of", "perform", "pointed", "steps_of"]

JsonObject = dict[str, Any]
_ORDER = {method: rank for rank, method in enumerate(METHODS)}
_ASKED_MAX = 8192
"""Characters of the conditions that the audit trail names."""


@dataclass(slots=True)
class Step:
    """One write of a transaction. ``likely``: where its resource will be, as far as one can know before."""

    index: int
    full_url: str
    change: Change
    likely: str
    content: JsonObject | None = None
    links: Links | None = None
    named: Collection[str] = ()
    """The fullUrls and searches by which it refers to something."""


class ContentNeeded(Exception):
    """A resource has to be made ready anew, and its content is not at hand."""


def steps_of(entries: Sequence[Entry], limits: Limits) -> list[Step]:
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
            steps.append(_step(entry, limits, known))
    _check_distinct(steps, {})
    return steps


def _step(entry: Entry, limits: Limits, known: Any) -> Step:
    expected = if_match(entry.headers)
    if entry.method == "DELETE":
        query, asked = _condition(entry, limits)
        change = Change("DELETE", entry.type, entry.id, query, asked, expected)
        return Step(entry.index, entry.full_url, change, entry.path)
    operations = entry.json_patch() if entry.method == "PATCH" else None
    resource = entry.content() if operations is None else {OPERATIONS: operations}
    links = Links(resource, entry.full_url, known, "" if operations is None else entry.type)
    if links.dangling:
        raise BadRequest("no entry has the fullUrl that is referred to", place=links.dangling[0])
    id_, only_new, likely = entry.id, False, entry.path
    if entry.method != "PATCH" and resource.get("resourceType") != entry.type:
        raise BadRequest("the resource is not of the type that the url names", place="resource")
    if entry.method == "POST":
        query, asked = exist_condition(entry.type, entry.headers, limits)
        likely = f"{entry.type}/{new_id()}"
    else:
        query, asked = _condition(entry, limits)
    if entry.method == "PUT":
        only_new = is_only_new(entry.headers)
        if entry.query:
            id_ = resource.get("id", "")
            likely = f"{entry.type}/{id_ or new_id()}"
        elif resource.get("id") != id_:
            raise BadRequest("the id of the resource must be that of the url", place="resource.id")
    change = Change(entry.method, entry.type, id_, query, asked, expected, only_new)
    named = links.targets | links.conditions
    return Step(entry.index, entry.full_url, change, likely, resource, links, named)


def _condition(entry: Entry, limits: Limits) -> tuple[SearchQuery | None, str]:
    return condition(entry.type, pairs(entry.query.encode()), limits) if entry.query else (None, "")


def _check_distinct(steps: Sequence[Step], places: Mapping[int, str]) -> None:
    """Raises EntryFailed when two writes are about one resource. ``places``: by step, where it turned out to be."""
    seen: set[str] = set()
    for number, step in enumerate(steps):
        place = places.get(number, step.likely)
        if "?" not in place and place in seen:
            text = "another entry writes the same resource"
            raise EntryFailed(step.index, BadRequest(text, code="duplicate", place="request.url"))
        seen.add(place)


def pointed(steps: Sequence[Step]) -> dict[str, str]:
    """Points all links to where their resources will likely be: by fullUrl, that place."""
    likely = {step.full_url: step.likely for step in steps if step.full_url}
    for step in steps:
        if step.links is not None:
            step.links.point(likely)
    return likely


async def perform(api: Api, caller: Caller, steps: Sequence[Step]) -> list[Written]:
    """Does all of it; what each step came to.

    Raises EntryFailed, what Gate.write raises, and ContentNeeded for steps without content.
    """
    if not steps:
        return []
    likely = pointed(steps)
    undrafted = [step for step in steps if step.content is not None and step.change.method in ("POST", "PUT")]
    made = await api.gate.drafts_or_errors([(step.content or {}, id_of(step.likely)) for step in undrafted])
    for step, draft in zip(undrafted, made, strict=True):
        if isinstance(draft, ValidationFailed):
            raise EntryFailed(step.index, draft)
        step.change = replace(step.change, draft=draft)
    for step in steps:
        if step.change.method == "PATCH":
            step.change = replace(step.change, patch=_patch(step))
    changes_ = [step.change for step in steps]
    asked = "\n".join(dict.fromkeys(change.asked for change in changes_ if change.asked))[:_ASKED_MAX]
    types = {change.type for change in changes_}
    searches = _searches(steps, api.limits)
    _check_chains(steps, searches)
    unit = _Unit(steps, changes_, likely, searches)
    return await api.gate.write(caller, "transaction", "", types, unit.run, asked)


def id_of(place: str) -> str:
    """The id of ``Type/id``."""
    return place.partition("/")[2]


def _patch(step: Step) -> Patch | None:
    """The patch of a step as its links are now."""
    if step.change.method != "PATCH" or step.content is None:
        return None
    with at_entry(step.index):
        given = deepcopy(step.content)
        return json_patch(given[OPERATIONS]) if OPERATIONS in given else fhirpath_patch(given)


def _searches(steps: Sequence[Step], limits: Limits) -> dict[str, SearchQuery]:
    """The searches by which resources refer to others, by their text. Raises EntryFailed."""
    found: dict[str, SearchQuery] = {}
    for step in steps:
        for text in sorted(step.links.conditions) if step.links is not None else ():
            if text not in found:
                type_, _, query = text.partition("?")
                with at_entry(step.index):
                    found[text] = condition(type_, pairs(query.encode()), limits)[0]
    return found


def _check_chains(steps: Sequence[Step], searches: Mapping[str, SearchQuery]) -> None:
    """Raises EntryFailed for a chain over what the transaction writes, but for the entry that it is the condition of.

    What it finds would depend on stored resources and on those of the transaction together.
    """
    writers: defaultdict[str, set[int]] = defaultdict(set)
    for step in steps:
        writers[step.change.type].add(step.index)
    for step in steps:
        texts = step.links.conditions if step.links is not None else ()
        asked = [(searches[text], set[int]()) for text in texts]
        if step.change.query is not None:
            asked.append((step.change.query, {step.index}))
        for query, allowed in asked:
            if any(writers[type_] - allowed for type_ in query.led_over()):
                text = "a chain over a type that this transaction writes"
                raise EntryFailed(step.index, BadRequest(text, code="not-supported", place="request"))


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
            with at_entry(step.index):
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
        order = sorted(range(len(drafted)), key=lambda number: _ORDER[drafted[number].method])
        number = 0
        try:
            for number in order:
                written[number] = changes.apply(drafted[number], places[number], writing)
        except NotCommitted:
            raise
        except HdgError as error:
            raise EntryFailed(self.steps[number].index, error) from error
        return [written[number] for number in range(len(drafted))]

    def _look_up(self, writing: Writing) -> None:
        """An import that asks for nothing by a name or a condition looks up nothing at all."""
        keys: dict[tuple[str, str], None] = {}
        drawn: dict[tuple[str, str], None] = {}
        for change in self.changes:
            if change.id and (change.query is None or change.method == "PUT"):
                keys[change.type, change.id] = None
            if change.draft is not None:
                keys.update(dict.fromkeys(("Patient", patient) for patient in sorted(change.draft.patients)))
                if change.method == "POST":
                    drawn[change.type, change.draft.id] = None
        writing.expect_none(drawn)
        created = [change.draft for change in self.changes if change.draft is not None]
        also = [(draft.type, draft.id) for draft in created]
        writing.look_up([key for key in keys if key not in drawn], [key for key in also if key not in drawn])
        asked = {change.query for change in self.changes if change.query is not None}
        writing.look_for(asked.union(self.searches.values()))

    def _named(self, found: Mapping[int, str], writing: Writing) -> dict[str, str]:
        """Where each fullUrl and each conditional reference leads."""
        named = dict(self.likely)
        for number, place in found.items():
            if self.steps[number].full_url:
                named[self.steps[number].full_url] = place
        if self.searches:
            referred = self._referred(found, writing)
            for step in self.steps:
                for text in sorted(step.links.conditions) if step.links is not None else ():
                    with at_entry(step.index):
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
                raise EntryFailed(self.steps[number].index, cause)

    def _drafted(self, found: Mapping[int, str], named: Mapping[str, str], writing: Writing) -> list[Change]:
        """The changes, made ready anew where something is not where it was likely to be."""
        moved = {name for name, place in named.items() if self.likely.get(name) != place}
        if not moved:
            return list(self.changes)
        made: list[Change] = []
        for number, (step, change) in enumerate(zip(self.steps, self.changes, strict=True)):
            if not moved.isdisjoint(step.named):
                if step.links is None or step.content is None:
                    raise ContentNeeded
                step.links.point(named)
                if change.draft is not None:
                    id_ = id_of(found.get(number, step.likely))
                    with at_entry(step.index):
                        change = replace(change, draft=writing.draft(step.content, id_))
                change = replace(change, patch=_patch(step))
                step.links.point(self.likely)  # the work may run again
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
                raise EntryFailed(self.steps[number].index, SeveralMatches(text))


def _only(found: set[str]) -> str:
    if len(found) > 1:
        raise SeveralMatches("a conditional reference finds more than one resource")
    if not found:
        raise PreconditionFailed("a conditional reference finds nothing")
    return next(iter(found))
