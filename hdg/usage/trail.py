"""The audit trail of the gate: an access is on disk, sealed and in the ledger, before its answer leaves.

DESIGN §6; IHE BALP asks for one AuditEvent for each patient whose data an access concerned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hdg.errors import HdgError
from hdg.management.audit import Access, AuditEventRow, agent_of, audit_events, seal_event
from hdg.management.audit_shared import PATIENTS_MAX, shared_leaf, shared_rows
from hdg.management.identity import Principal
from hdg.management.store import Store, WriteSession
from hdg.settings import Settings

__all__ = ["Caller", "Trail", "Unavailable"]

_TABLE = AuditEventRow.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy

_TOGETHER_MIN = 4
"""Patients of an access from which on one sealed event with a key for each costs less than an event for each."""


class Unavailable(HdgError):
    """The audit trail cannot be written, so nothing is answered (HTTP 503)."""

    issue_code = "transient"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, with a verified token, and from which network address ('' unknown)."""

    principal: Principal
    address: str = ""


class Trail:
    """Writes AuditEvents through the store's writer, which gives many of them one commit."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._institution = settings.institution
        self._server = settings.base_url or settings.institution

    async def record(self, caller: Caller, access: Access, patients: Sequence[str]) -> None:
        """Returns when the access is on disk: one event for each of ``patients``, or one without a patient.

        Raises Unavailable when that fails, for whatever reason.
        """

        def work(session: WriteSession) -> None:
            self.write(session, caller, access, patients)

        try:
            await self._store.perform(work)
        except Exception:
            raise Unavailable("the audit trail cannot be written, so nothing is answered") from None

    def write(self, session: WriteSession, caller: Caller, access: Access, patients: Sequence[str]) -> None:
        """The same within a transaction: the events are on disk when it is."""
        access = replace(access, client=caller.address)
        if len(patients) > 1:
            session.know_patients(filter(None, patients))
        if len(patients) >= _TOGETHER_MIN:
            concerned = list(dict.fromkeys(filter(None, patients)))
            for start in range(0, len(concerned), PATIENTS_MAX):
                self._write_together(session, caller, access, concerned[start : start + PATIENTS_MAX])
            if all(patients):
                return
            patients = ("",)
        events = audit_events(caller.principal, access, patients, at_us=session.at_us, server=self._server)
        for event in events:
            patient = event.patient or None

            def seal(data: bytes, key: str, patient: str | None = patient) -> tuple[str, bytes, bytes]:
                return session.seal(data, key, patient=patient, institution=self._institution)

            sealed = seal_event(
                event,
                seal,
                at_us=session.at_us,
                principal=caller.principal,
                institution=self._institution,
            )
            session.leaf(sealed.leaf)
            session.insert_later(_TABLE, sealed.row)

    def _write_together(
        self, session: WriteSession, caller: Caller, access: Access, patients: Sequence[str]
    ) -> None:
        """What the events of all ``patients`` have in common once, and an entry for each (audit_shared.py)."""
        who, at_us = caller.principal, session.at_us
        (event,) = audit_events(who, access, (), at_us=at_us, server=self._server)
        salt, shared, keys = session.seal_together(event.kept, f"AuditEvent/{event.id}", patients)
        codes = [code for code, _ in keys]
        session.leaf(shared_leaf(event, salt, codes, institution=self._institution, at_us=at_us))
        session.insert_led(shared_rows(event, shared, keys, agent=agent_of(who), at_us=at_us))
