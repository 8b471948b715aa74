"""What one request does to stored data, inside the writer's transaction, under the caller's own view of it.

DESIGN §1, §6; R4 http.html#create, #update, #delete. ``Writing`` is all that the FHIR API is handed: it shows
only what the caller may read, changes only what the policy lets the caller change, stores nothing that was not
validated, and notes every access for the audit trail, which is committed with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from hdg.errors import AccessDenied, Issue, NotFound, ValidationFailed
from hdg.management.consent.policy import Policy
from hdg.management.identity import Principal
from hdg.management.store import WriteSession
from hdg.management.store.prepared import Prepared
from hdg.usage import permits, search_parameters
from hdg.usage.drafts import Draft, draft
from hdg.usage.looking import Looking, Means
from hdg.usage.outcomes import Again, CannotCreate, Key, Place, Written
from hdg.usage.references import may_be_odd, own_references

__all__ = ["Writing", "check_types"]

JsonObject = dict[str, Any]

_UNKNOWN_PATIENT = Issue(
    "error", "business-rule", "", "it is about a patient that is not known here; write the Patient first"
)


class Writing(Looking):
    """One request's hand on the store; lives for one run of its work, on the writer's thread."""

    def __init__(self, means: Means, who: Principal, session: WriteSession, visible: Prepared) -> None:
        super().__init__(means, who, session, visible)
        self.notes: list[tuple[str, frozenset[str]]] = []
        """(``Type/id``, patients concerned) of what was written or shown, for the audit trail."""
        self._known_patients: set[str] = set()
        self._permitted: set[str] = set()

    def seen(self, place: Place) -> Written:
        """The resource as it is, for an answer to a write that changed nothing."""
        self._session.version(place.type, place.id)
        state = self._session.batch.states[place.type, place.id]
        if state is None:
            raise NotFound("nothing is here")
        self._note(place, self._patients_of(place))
        return Written(place.type, place.id, place.version, place.updated_us, False, False, False, state.body)

    def nothing(self, type_: str) -> Written:
        """A conditional deletion that finds nothing has nothing to do (R4 http.html#cdelete). Raises AccessDenied."""
        self._check_type(type_)
        return Written(type_, "", 0, self.at_us, False, False, True, b"")

    def draft(self, content: JsonObject, id_: str) -> Draft:
        """What could not be made ready before, since it depends on what is there. Raises ValidationFailed."""
        return draft(content, id_, self._means.indexer)

    # --- changes --------------------------------------------------------------------------------------------

    def expect(self, keys: Collection[Key]) -> None:
        """These are about to be written: looks them up in one query."""
        self._session.prefetch(keys)

    def expect_none(self, keys: Collection[Key]) -> None:
        """Nobody has these ids, which were drawn at random for this request: nothing of them is looked up."""
        for type_, id_ in keys:
            self._session.expect_none(type_, id_)

    def about_to_create(self, patients: Collection[str]) -> None:
        """Patients that this request itself writes, so that its other resources may be about them."""
        self._known_patients.update(patients)

    def create(self, draft: Draft) -> Written:
        """A new resource under an id that the server has chosen. Raises AccessDenied, ValidationFailed."""
        self._session.expect_none(draft.type, draft.id)
        return self._store(draft, None, ())

    def put(self, draft: Draft, place: Place | None) -> Written:
        """Stores ``draft`` over what ``find`` gave; without a place creates it, if that id may be chosen.

        Raises CannotCreate where there is nothing that the caller may see and the id is not the caller's to
        choose; NotFound where an id of the caller's choice is taken by what the caller may not see.
        """
        if place is not None:
            before = self._patients_of(place)
            permits.check_change(self._who, place.institution, before)
            return self._store(draft, place, before)
        if not permits.may_choose_id(self._means.policy, self._who, draft.id):
            raise CannotCreate("there is nothing to update, and a client may not choose this id")
        if self._session.version(draft.type, draft.id) is not None:
            raise NotFound("nothing is here")
        return self._store(draft, None, ())

    def _store(self, draft: Draft, place: Place | None, before: Collection[str]) -> Written:
        self._check_type(draft.type)
        if self._who.role == "patient":
            permits.check_about(self._who, draft.content, draft.patients)
        own = self._own_references(draft)
        if own is not draft:
            permits.check_about(self._who, own.content, own.patients)
            draft = own
        self._check_patients(draft, before)
        self._check_profiles(draft)
        home = permits.home_of(self._who, self._means.keeper)
        if place is None:
            put = self._session.statement(draft.ready, sender="", institution=home)
        else:
            kept = self._kept_patient(draft, place, before)
            put = self._session.put(draft.content, institution=home, patient=kept)
        self._own.add((draft.type, draft.id))
        state = self._session.batch.states[draft.type, draft.id]
        if state is None:
            raise NotFound("nothing is here")
        if draft.type == "Subscription":
            register = self._means.subscriptions
            register.written(self._session, self._who, state.content(), put.version, home)
        if draft.type == "SearchParameter":
            self._check_alone()
            search_parameters.written(self._session, state.content(), self._own)
        self._note(draft, {*before, *draft.patients})
        at_us = self.at_us if put.is_changed else state.updated_us
        is_created = place is None or place.is_deleted
        return Written(
            draft.type, draft.id, put.version, at_us, is_created, put.is_changed, False, state.body
        )

    def delete(self, place: Place) -> Written:
        """A deletion version; nothing new where it is one already. Raises AccessDenied."""
        self._check_type(place.type)
        patients = self._patients_of(place)
        permits.check_change(self._who, place.institution, patients)
        self._note(place, patients)
        if place.is_deleted:
            return Written(place.type, place.id, place.version, place.updated_us, False, False, True, b"")
        home = permits.home_of(self._who, self._means.keeper)
        put = self._session.delete(place.type, place.id, institution=home)
        if place.type == "Subscription":
            self._means.subscriptions.deleted(self._session, place.id)
        self._own.add((place.type, place.id))
        if place.type == "SearchParameter":
            self._check_alone()
            search_parameters.deleted(self._session, place.id)
        self._places[place.type, place.id] = replace(place, is_deleted=True)
        return Written(place.type, place.id, put.version, self.at_us, False, True, True, b"")

    def _check_alone(self) -> None:
        """Raises Again when another of this group has written search parameters, which are not known yet."""
        for key in self._session.batch.states:
            if key[0] == "SearchParameter" and self._is_pending(key):
                raise Again

    def _check_type(self, type_: str) -> None:
        if type_ not in self._permitted:
            permits.check_type(self._means.policy, self._who, type_)
            self._permitted.add(type_)

    def _check_patients(self, draft: Draft, before: Collection[str]) -> None:
        """Raises ValidationFailed when it is about a patient whom the caller may not read, or nobody."""
        if not self._means.policy.needs_known_patient:
            return
        for patient in draft.patients:
            is_itself = draft.type == "Patient" and draft.id == patient
            if is_itself or patient in before or patient in self._known_patients:
                continue
            found = self.find("Patient", patient)
            if found is None or found.is_deleted:
                raise ValidationFailed([_UNKNOWN_PATIENT])
            self._known_patients.add(patient)

    def _check_profiles(self, draft: Draft) -> None:
        """Raises ValidationFailed when profiles are enforced and it breaks one that is loaded and that it claims."""
        if self._means.profiles is None:
            return
        found = self._means.profiles.check(draft.content)
        if any(issue.severity == "error" for issue in found):
            raise ValidationFailed(found)

    def _own_references(self, draft: Draft) -> Draft:
        """With relative references to what is ours: another spelling would put it into nobody's compartment.

        Raises ValidationFailed for references that are not understood.
        """
        if not may_be_odd(draft.ready.tail):
            return draft
        made = own_references(draft.content, self._means.base)
        return draft if made == draft.content else self.draft(made, draft.id)

    def _kept_patient(self, draft: Draft, place: Place, before: Collection[str]) -> str | None:
        """Whose it stays though it does not say so itself, like the original of a document (a Binary)."""
        if place.is_deleted or draft.type == "Patient" or set(before) <= draft.patients:
            return None
        _, named = self._means.indexer.heads(self.content(place))
        return min(set(before) - named, default=None)

    def _note(self, what: Draft | Place, patients: Collection[str]) -> None:
        self.notes.append((f"{what.type}/{what.id}", frozenset(patients)))


def check_types(policy: Policy, who: Principal, types: Collection[str]) -> None:
    """Raises AccessDenied unless the caller may write all these types at all: asked before any data is."""
    if not types:
        raise AccessDenied("nothing to write")
    for type_ in types:
        permits.check_type(policy, who, type_)
