"""What a message takes back: a deleted record (A29) and a link between two records (A24, A37).

HL7 v2.9 §3.3.29, §3.3.24, §3.3.37; docs/hl7v2.md says what each comes to, and why. Both go by the stamps of
management/store/stale.py, so that the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import text

from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store.ready import Ready
from hdg.management.store.session import WriteSession
from hdg.management.store.stale import Stamp

__all__ = ["delete", "left_behind", "settle_links"]

_ABOUT_MESSAGES = ("MessageHeader", "Provenance", "Patient")
_LEFT = text(
    "SELECT r.type, r.id FROM compartment c JOIN resource r ON r.rkey = c.rkey "
    "WHERE c.patient = :patient AND NOT r.deleted "
    "AND r.type NOT IN ('MessageHeader', 'Provenance', 'Patient', 'AuditEvent')"
)


def delete(
    session: WriteSession, resource: JsonObject | Ready, *, sender: str, institution: str, stamp: Stamp
) -> None:
    """A deletion version of what ``resource`` names, unless something newer was stated about it.

    What is not known yet is made and deleted, so that an older message does not bring it to life.
    """
    if isinstance(resource, Ready):
        resource = resource.resource()
    type_, id_ = resource["resourceType"], resource["id"]
    if session.version(type_, id_) is None:
        patient = id_ if type_ == "Patient" else None
        session.statement(resource, sender=sender, institution=institution, patient=patient, stamp=stamp)
    session.delete(type_, id_, institution=institution, stamp=stamp)


def left_behind(session: WriteSession, converted: Converted) -> Iterator[str]:
    """A text for each deleted Patient that other live resources are still about (work for people)."""
    for type_, id_ in converted.deleted:
        if type_ != "Patient" or session.current(type_, id_) is not None:
            continue
        pending = any(
            state is not None
            and not state.deleted
            and state.type not in _ABOUT_MESSAGES
            and id_ in (state.patients or ())
            for state in session.batch.states.values()
        )
        if pending or _is_left(session, id_):
            yield "the deleted record has other resources, which stay: delete, move or merge them"


def _is_left(session: WriteSession, patient: str) -> bool:
    """Whether the database has a live resource about that patient which this group leaves so."""
    with session.connection.execute(_LEFT, {"patient": patient}) as rows:
        for type_, id_ in rows:
            state = session.batch.states.get((type_, id_))
            if state is None or state.patients is None:  # not changed in this group
                return True
            if not state.deleted and patient in state.patients:
                return True
    return False


def settle_links(session: WriteSession, keys: Sequence[tuple[str, str]]) -> None:
    """Makes ``Patient.link`` (seealso) of linked pairs say what their Linkage says now."""
    for type_, id_ in keys:
        linkage = session.current(type_, id_) if type_ == "Linkage" else None
        if linkage is None:
            continue
        pair = [item["resource"]["reference"] for item in linkage["item"]]
        for own, other in (pair, pair[::-1]):
            patient = session.current("Patient", own.removeprefix("Patient/"))
            if patient is not None:
                _settle(session, patient, other, is_linked=linkage.get("active", True))


def _settle(session: WriteSession, patient: JsonObject, other: str, *, is_linked: bool) -> None:
    wanted = {"other": {"reference": other}, "type": "seealso"}
    links = [link for link in patient.pop("link", ()) if not _is_same(link, wanted)]
    if is_linked:
        links.append(wanted)
    if links:
        patient["link"] = links
    session.amend(patient)


def _is_same(link: JsonObject, wanted: JsonObject) -> bool:
    other = link.get("other", {})
    return bool(link.get("type") == wanted["type"] and other.get("reference") == wanted["other"]["reference"])
