"""Personal health data to FHIR R4, in pieces of bounded size: which reader, validation, Provenance.

A piece is a Converted of one patient with at most PIECE resources; a file of any size becomes as many as it takes. The
same bytes, sender, patient and key give the same ids; ``at_us`` is when they were received. DESIGN §3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from hdg.errors import DeviceError, Issue, SourceError
from hdg.fhir.ids import resource_id
from hdg.fhir.json import dumps
from hdg.fhir.times import instant
from hdg.ingestion.converted import Converted, JsonObject, Source
from hdg.ingestion.device.home import Home, is_id
from hdg.ingestion.device.kinds import HEAD_BYTES, Kind, kind_of
from hdg.ingestion.device.readers import reader_of
from hdg.ingestion.provenance import ASSEMBLER, provenance, role
from hdg.ingestion.repair import made_valid
from hdg.ingestion.sender import Sender
from hdg.ingestion.times import zone
from hdg.mapping.library import Library
from hdg.mapping.views import Views

__all__ = ["PIECE", "Converter", "Input"]

PIECE = 500
"""Resources of a piece, Provenance aside: one transaction of the gateway."""
PIECE_BYTES = 8 * 1024 * 1024
"""From this size on of what may be large, recordings and clinical records, a piece is full too."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Input:
    """What is to be read. ``open``: the bytes from the beginning, each time anew; ``sha256`` of them in hex.

    ``patient``: id of the patient that the caller names, '' when the input is to say it. ``is_reported``: the patient
    handed it in; otherwise a gateway or an institution did; None: all but the envelopes of gateways are a patient's.
    """

    open: Callable[[], BinaryIO]
    sha256: str
    name: str = ""
    patient: str = ""
    is_reported: bool | None = None
    kind: Kind | None = None
    may_be_anonymous: bool = False

    @classmethod
    def of_bytes(
        cls,
        data: bytes,
        *,
        name: str = "",
        patient: str = "",
        is_reported: bool | None = None,
        kind: Kind | None = None,
        may_be_anonymous: bool = False,
    ) -> Input:
        """An input that is in memory."""
        sha256 = hashlib.sha256(data).hexdigest()
        return cls(lambda: BytesIO(data), sha256, name, patient, is_reported, kind, may_be_anonymous)

    @classmethod
    def of_path(cls, path: Path, *, patient: str = "", may_be_anonymous: bool = False) -> Input:
        """A file, which is read once for its digest. Raises OSError."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(lambda: path.open("rb"), sha256, path.name, patient, may_be_anonymous=may_be_anonymous)

    def head(self) -> bytes:
        """The first bytes."""
        with self.open() as file:
            return file.read(HEAD_BYTES)


class Converter:
    """Converts with one id key. Tables are read when first needed."""

    def __init__(self, *, id_key: bytes) -> None:
        self.id_key = id_key
        self._libraries = Views("device", lambda library: library)

    def library(self, override: Path | None, maps: Path | None) -> Library:
        """The tables seen through an override directory and a site's own concept maps."""
        return self._libraries[override, maps]

    def convert(
        self,
        data: bytes,
        sender: Sender | None = None,
        *,
        at_us: int,
        patient: str = "",
        name: str = "",
        may_be_anonymous: bool = False,
    ) -> Converted:
        """One input in memory as one Converted, however large. Raises DeviceError, also for several patients."""
        given = Input.of_bytes(data, name=name, patient=patient, may_be_anonymous=may_be_anonymous)
        pieces = list(self.pieces(given, sender, at_us=at_us))
        if len({piece.patient_id for piece in pieces}) > 1:
            raise DeviceError("the input is about several patients")
        return Converted(
            source=pieces[0].source,
            resources=tuple(resource for piece in pieces for resource in piece.resources),
            issues=tuple(issue for piece in pieces for issue in piece.issues),
            patient_id=pieces[0].patient_id,
            mapping_digest=pieces[0].mapping_digest,
        )

    def pieces(
        self, given: Input, sender: Sender | None = None, *, at_us: int, progress: Progress | None = None
    ) -> Iterator[Converted]:
        """At least one piece. Raises DeviceError, perhaps after some pieces: what was read before it is right."""
        sender = sender or Sender("", "")
        kind = given.kind or kind_of(given.head())
        if kind is None:
            raise DeviceError("of no format of personal health data that is known")
        if given.patient and not is_id(given.patient):
            raise DeviceError("the patient that was named is not an id (R4 datatypes.html#id)")
        library = self.library(sender.mappings, sender.terminology)
        home = Home(
            self.id_key,
            sender.institution,
            library,
            patient=f"Patient/{given.patient}" if given.patient else "",
            zone=zone(sender.zone),
            at_us=at_us,
            is_reported=kind != "envelope" if given.is_reported is None else given.is_reported,
            name=given.name,
            anonymous=given.sha256 if given.may_be_anonymous else "",
        )
        packer = _Packer(home, kind, given.sha256, sender)
        for resource in reader_of(kind)(given.open, home, progress):
            if not home.patient:
                raise DeviceError("nothing says whose data these are: name the patient")
            if packer.is_full(home.patient):
                yield packer.piece()
            packer.add(resource)
        if packer.is_empty:
            worst = min(home.issues(), key=lambda issue: issue.severity, default=None)  # error before warning
            raise DeviceError(
                f"holds nothing to carry over{f': {worst.text}' if worst else ''}",
                worst.place if worst else "",
            )
        yield packer.piece()


class _Packer:
    """Fills pieces."""

    def __init__(self, home: Home, kind: Kind, sha256: str, sender: Sender) -> None:
        self._home, self._kind, self._sha256 = home, kind, sha256
        self._sender = Sender(sender.name or f"personal|{kind}", sender.institution)
        self._digest = home.library.digest
        self._resources: dict[tuple[str, str], JsonObject] = {}
        self._patient = self._provider = ""
        self._number = self._large_bytes = 0

    def is_full(self, patient: str) -> bool:
        """Whether what comes next belongs into another piece."""
        held = self._resources
        is_anothers = patient != self._patient or self._home.provider != self._provider
        return bool(held) and (len(held) >= PIECE or self._large_bytes >= PIECE_BYTES or is_anothers)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever added."""
        return not self._resources and not self._number

    def add(self, resource: JsonObject) -> None:
        """Adds a resource that is valid, or can be made so; another one is left out with an Issue.

        What the source says again, under the same id, takes the place of what it said before.
        """
        found: list[Issue] = []
        try:
            made_valid(resource, found, self._home.trusted)
        except SourceError as error:
            found.append(Issue("error", "invariant", error.place, f"left out: {error.text}"))
        else:
            key = resource["resourceType"], resource["id"]
            if key[0] == "Observation" and self._resources.get(key, resource) != resource:
                text = "another measurement has the same identity: the one that came last stays"
                found.append(Issue("warning", "conflict", "Observation", text))
            self._resources[key] = resource
            if self._home.provider or "valueSampledData" in resource:
                self._large_bytes += len(dumps(resource))
        for issue in found:
            self._home.note(issue.severity, issue.code, issue.place, issue.text)
        self._patient, self._provider = self._home.patient, self._home.provider

    def piece(self) -> Converted:
        """What was added since the last one, with its Provenance."""
        home, resources = self._home, list(self._resources.values())
        self._resources, self._number, self._large_bytes = {}, self._number + 1, 0
        if resources:
            resources.append(self._provenance(resources))
        kind = self._kind
        source = Source(
            "device", self._sender.name, self._sender.institution, self._sha256, kind, self._sha256
        )
        return Converted(
            source=source,
            resources=tuple(resources),
            issues=tuple(home.issues()),
            patient_id=self._patient.partition("/")[2] or None,
            mapping_digest=self._digest,
        )

    def _provenance(self, targets: list[JsonObject]) -> JsonObject:
        home = self._home
        patient = {"reference": self._patient}
        if self._provider:
            given = [{"type": role("author"), "who": {"display": self._provider}}]
            given.append({"type": role("enterer"), "who": patient})
        else:
            given = [{"type": role("author"), "who": patient}] if home.is_reported else []
        made = provenance(
            targets,
            id_key=home.id_key,
            sender=self._sender,
            sha256=self._sha256,
            mapping_digest=self._digest,
            recorded=instant(home.at_us),
            agents=[*given, ASSEMBLER],
            what="data",
        )
        facts = ("provenance", self._sender.name, self._sha256, self._patient, str(self._number))
        made["id"] = resource_id(home.id_key, "Provenance", home.institution, facts)
        return made
