"""``hdg export --deid``: what one project may see, as a file; page by page, whatever its size.

The same view as behind the FHIR API (view.py). Before anything of a patient is written, the AuditEvent about that
patient and its ledger leaf are on disk; the export itself is recorded before the first byte. The file gets its name
when it is whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import orjson

from hdg.errors import BadRequest, NotFound
from hdg.fhir import definitions
from hdg.gateway import Gateway, now_us
from hdg.management.audit import Access
from hdg.management.consent.policy import load_policy
from hdg.management.identity import Principal, is_project
from hdg.management.store import SearchQuery, Store, WriteSession
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher
from hdg.settings import Settings, existing
from hdg.usage.part_file import part_of
from hdg.usage.research.elements import SHOWN
from hdg.usage.research.view import ROLE, Found, Researchers, Shown, medications
from hdg.usage.trail import Caller, Trail

__all__ = ["FORMS", "Exported", "Wanted", "export"]

FORMS = ("ndjson", "bundle")
_PAGE = 500
_SUCCESS = "0"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported. ``patients``: ids, () for all; ``user``, ``institution``: whom Consents may name besides the
    project; ``form``: one of FORMS.
    """

    project: str
    patients: tuple[str, ...] = ()
    user: str = ""
    institution: str = ""
    purpose: str = "HRESCH"
    form: str = "ndjson"

    @property
    def text(self) -> str:
        """For the audit trail."""
        return f"hdg export --deid --project {self.project}"


@dataclass(frozen=True, slots=True)
class Exported:
    """What is in the file. ``withheld``: resources that cannot be shown without misleading."""

    resources: int
    patients: int
    withheld: int


def export(settings: Settings, wanted: Wanted, file: Path, clock: Callable[[], int] = now_us) -> Exported:
    """Writes the file, readable by its owner only; one that is there is replaced, at the end.

    Raises BadRequest (no project id), NotFound (a patient who is not here, or of whom no Consent permits it; nothing
    is written), SettingsError, OSError.
    """
    if not is_project(wanted.project):
        raise BadRequest("a project's id is made of up to 64 letters, digits, hyphens and points")
    with closing(Gateway.open(existing(settings), clock)) as gateway:
        return _Export(gateway, wanted).run(file)


class _Export:
    def __init__(self, gateway: Gateway, wanted: Wanted) -> None:
        settings = gateway.settings
        self._wanted = wanted
        self._base = settings.fhir_base
        self._store: Store = gateway.store
        self._trail = Trail(gateway.store, settings)
        hash_ = hasher(index_key(gateway.keys.root))
        self._view = Researchers(
            gateway.store,
            load_policy(settings.policy),
            gateway.clock,
            gateway.keys.project_key,
            hash_,
            settings.fhir_base,
        )
        self._who = Principal(
            ROLE,
            wanted.user,
            wanted.institution,
            "",
            wanted.purpose,
            wanted.project,
            f"export-{secrets.token_hex(8)}",
            0,
        )
        self._recorded: set[str] = set()
        self._included: set[tuple[str, str]] = set()

    def run(self, file: Path) -> Exported:
        compartments = [self._patient(id_) for id_ in dict.fromkeys(self._wanted.patients)]
        self._record(())
        count = withheld = 0
        with part_of(file) as out:
            write = partial(_line if self._wanted.form == "ndjson" else self._entry, out)
            if self._wanted.form == "bundle":
                out.write(b'{"resourceType":"Bundle","type":"collection"')
            for page in self._pages(compartments):
                withheld += page.withheld
                if new := [name for name in page.patients if name not in self._recorded]:
                    self._record(new)
                for shown in (*page.matches, *self._unwritten(page.included)):
                    write(shown.body, f"{shown.type}/{shown.id}", count)
                    count += 1
            if self._wanted.form == "bundle":
                out.write(b"]}\n" if count else b"}\n")
        return Exported(count, len(self._recorded), withheld)

    def _patient(self, id_: str) -> str:
        """The compartment of a patient whose consent permits it. Raises NotFound."""
        pseudonym = self._view.pseudonym(self._who, "Patient", id_)
        if self._view.read(self._who, "Patient", pseudonym) is None:
            raise NotFound(f"Patient/{id_}: not here, or no Consent permits it; nothing was written")
        return f"Patient/{pseudonym}"

    def _pages(self, compartments: Sequence[str]) -> Iterator[Found]:
        """Every page: of all patients type by type, or patient by patient."""
        for compartment in compartments:
            types = tuple(t for t in sorted(SHOWN) if _is_of_patient(t))
            yield from self._of(
                SearchQuery(
                    "",
                    (),
                    _PAGE,
                    with_total=False,
                    types=types,
                    compartment=compartment,
                    includes=medications(types),
                )
            )
        for type_ in () if compartments else sorted(SHOWN):
            yield from self._of(SearchQuery(type_, (), _PAGE, with_total=False))

    def _unwritten(self, included: Sequence[Shown]) -> list[Shown]:
        """What belongs to no patient and was not written yet: it comes with every page that names it."""
        new = [shown for shown in included if (shown.type, shown.id) not in self._included]
        self._included.update((shown.type, shown.id) for shown in new)
        return new

    def _of(self, query: SearchQuery) -> Iterator[Found]:
        while True:
            page = self._view.search(self._who, query)
            yield page
            if not page.next_cursor:
                return
            query = replace(query, cursor=page.next_cursor)

    def _record(self, patients: Sequence[str]) -> None:
        """Returns when the events about these patients are on disk; () is about nobody: the export itself."""
        access = Access("operation", _SUCCESS, query=self._wanted.text)

        def work(session: WriteSession) -> None:
            self._trail.write(session, Caller(self._who), access, patients)

        self._store.submit(work).result()
        self._recorded.update(patients)

    def _entry(self, out: BinaryIO, body: bytes, place: str, number: int) -> None:
        out.write(b"," if number else b',"entry":[')
        out.write(orjson.dumps({"fullUrl": f"{self._base}/{place}", "resource": orjson.Fragment(body)}))


def _line(out: BinaryIO, body: bytes, place: str, number: int) -> None:
    out.write(body + b"\n")


def _is_of_patient(type_: str) -> bool:
    return type_ == "Patient" or bool(definitions.compartment_parameters("Patient", type_))
