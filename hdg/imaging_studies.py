"""Makes ImagingStudies out of the rows of their instances, once it has become quiet around a study.

R4 imagingstudy.html. An object's transaction marks its study as due; here, behind it, the ImagingStudy is made anew
from all rows, whatever their order, in one version for all that came meanwhile. The marks are in the database: what a
killed gateway owed is made by the next. A mark goes only if nothing was added since the rows were read, so that nothing
that is stored is missing from its ImagingStudy for longer than it takes to look again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from hdg.gateway import Gateway
from hdg.ingestion.dicom.study import InstanceFacts, imaging_study
from hdg.management.store import imaging as store
from hdg.management.store.session import WriteSession

__all__ = ["Studies"]

_log = logging.getLogger("hdg.imaging")

_PATIENCE = 15
"""A study that never becomes quiet is made after so many times the quiet that it should have."""
_LOOK_S = 30.0
"""So often the database is asked for what another process or a fault has left."""
SENDER = "dicom"
"""Who states an ImagingStudy, for merge.py: all instances together."""
Made = TypeVar("Made")


class Studies:
    """One thread. ``touch`` may be called from any."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._quiet_s = gateway.settings.imaging_quiet_s
        self._lock = threading.Condition()
        self._waiting: dict[str, tuple[float, float]] = {}
        """Study → monotonic times of its first and its last object."""
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins; what is due already is made at once."""
        self._thread = threading.Thread(target=self._run, name="hdg-studies", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Makes what is due, and ends."""
        with self._lock:
            self._is_stopping = True
            self._lock.notify()
        if self._thread is not None:
            self._thread.join()

    def touch(self, imaging_study_id: str) -> None:
        """An object was stored."""
        now = time.monotonic()
        with self._lock:
            first, _ = self._waiting.get(imaging_study_id, (now, now))
            self._waiting[imaging_study_id] = first, now
            if len(self._waiting) == 1:
                self._lock.notify()

    def make_due(self) -> int:
        """Makes everything that the database says is due; how many. Raises what the first raised that cannot be."""
        return sum(_each(partial(self.make, one) for one in store.due(self._gateway.store.engine)))

    def make(self, due: store.Due) -> bool:
        """One ImagingStudy from all its rows. False: objects came meanwhile, it is still due."""
        reader, engine = self._gateway.store.reader, self._gateway.store.engine
        rows = list(store.instances(engine, due.imaging_study))
        if not rows:
            return False
        facts = [InstanceFacts(**store.open_facts(reader, row)) for row in rows]
        resource, issues = imaging_study(facts)
        for issue in issues:
            _log.warning("an ImagingStudy: %s", issue)
        institution, patient = rows[0].institution, rows[0].patient

        def work(session: WriteSession) -> bool:
            if store.generation(session, due.imaging_study) != due.generation:
                return False
            session.statement(resource, sender=SENDER, institution=institution, patient=patient)
            store.settle(session, due)
            return True

        return self._gateway.store.submit(work).result()

    def _run(self) -> None:
        look_at = 0.0
        while True:
            try:
                steps: list[Callable[[], object]] = []
                if time.monotonic() >= look_at or self._is_stopping:
                    look_at = time.monotonic() + _LOOK_S
                    steps.append(self._left_over)
                steps.extend(partial(self._make_one, study) for study in self._ready())
                _each(steps)
            except Exception as error:  # the store's troubles: they pass, and the marks are there
                _log.error("ImagingStudies: %s; tried again soon", type(error).__name__)
                look_at = time.monotonic() + self._quiet_s
            with self._lock:
                if self._is_stopping:
                    return
                self._lock.wait(self._pause_s(look_at))

    def _left_over(self) -> None:
        """What is due and nobody here waits for; all of it when stopping."""
        due = store.due(self._gateway.store.engine)
        with self._lock:
            waiting = frozenset() if self._is_stopping else frozenset(self._waiting)
        _each(partial(self.make, one) for one in due if one.imaging_study not in waiting)

    def _make_one(self, study: str) -> None:
        one = store.due_one(self._gateway.store.engine, study)
        if one is not None and not self.make(one):
            self.touch(study)

    def _ready(self) -> list[str]:
        now = time.monotonic()
        with self._lock:
            ready = [
                study
                for study, (first, last) in self._waiting.items()
                if now - last >= self._quiet_s or now - first >= self._quiet_s * _PATIENCE
            ]
            for study in ready:
                del self._waiting[study]
        return ready

    def _pause_s(self, look_at: float) -> float:
        now = time.monotonic()
        until = min((last + self._quiet_s for _, last in self._waiting.values()), default=look_at)
        return max(min(until, look_at) - now, 0.01)


def _each(steps: Iterable[Callable[[], Made]]) -> list[Made]:
    """Takes every step, whatever becomes of the others. Raises what the first raised that failed."""
    found: list[Made] = []
    failure: Exception | None = None
    for step in steps:
        try:
            found.append(step())
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return found
