"""The audit trail of the gate: an access is on disk, sealed and in the ledger, before its answer leaves.

DESIGN §6; IHE BALP asks for one AuditEvent for each patient whose data an access concerned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hdg.errors import HdgError
from hdg.management.audit import Access, AuditEventRow, audit_events, seal_event
from hdg.management.identity import Principal
from hdg.management.store import Store, WriteSession
from hdg.settings import Settings

__all__ = ["Caller", "Trail", "Unavailable"]

_TABLE = AuditEventRow.__table__  # type: ignore[attr-defined]  # SQLModel hides its Core table from mypy


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
