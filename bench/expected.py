"""What must be in the store after a simulated stream, worked out from the accepted bytes alone.

Shares no code with the gateway but the Reader that opens bodies: HL7 is split here anew. Per patient:

- the flat in PID-11.2 counts the patient's moves. An address is a list, so each sender's newest one stays;
- PID-16 has one value: the newest statement's, whoever made it;
- a result (filler number, LOINC code) has the status and value of the newest statement about it, and is
  there once;
- in the history the highest flat never steps back; nor does any, when everybody moves before every message.

Newest means by MSH-7, at equal times by arrival (management/store/stale.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy
from sqlalchemy import true

from hdg.gateway import Gateway
from hdg.management.store.read import Reader
from hdg.management.store.search import Clause, SearchQuery

JsonObject = dict[str, Any]
STATUS = {"P": "preliminary", "F": "final", "C": "corrected"}
SHOWN = 5
PAGE = 500


@dataclass
class Expected:
    """Collects the accepted messages. ``every``: results are followed for one patient in so many; ``restless``:
    everybody moves before every message (Simulation.restless).
    """

    every: int = 1
    restless: bool = False
    accepted: dict[str, int] = field(default_factory=dict)
    """Control id → how often it was accepted."""
    flats: dict[str, dict[str, tuple[str, int]]] = field(default_factory=lambda: defaultdict(dict))
    marital: dict[str, tuple[str, str]] = field(default_factory=dict)
    results: dict[str, dict[tuple[str, str], tuple[str, str, str]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    retired: dict[str, str] = field(default_factory=dict)

    def accept(self, raw: bytes) -> None:
        """One more acknowledged message."""
        segments = [line.split("|") for line in raw.decode().split("\r") if line]
        header = segments[0]
        sender, at, control_id = header[2], header[6], header[9]
        self.accepted[control_id] = self.accepted.get(control_id, 0) + 1
        pid = next(segment for segment in segments if segment[0] == "PID")
        mrn = pid[3].split("^")[0]
        flat = int(pid[11].split("^")[1].removeprefix("Apt "))
        known = self.flats[mrn].get(sender)
        if known is None or known[0] <= at:
            self.flats[mrn][sender] = at, flat
        if mrn not in self.marital or self.marital[mrn][0] <= at:
            self.marital[mrn] = at, pid[16].split("^")[0]
        for segment in segments:
            if segment[0] == "MRG":
                self.retired[segment[1].split("^")[0]] = mrn
        if self.is_followed(mrn):
            self._results(mrn, at, segments)

    def is_followed(self, mrn: str) -> bool:
        """Whether this patient's results are checked one by one."""
        return int(mrn[2:]) % self.every == 0

    def _results(self, mrn: str, at: str, segments: list[list[str]]) -> None:
        if segments[0][8].split("^")[0] != "ORU":
            return
        filler = ""
        for segment in segments:
            if segment[0] == "OBR":
                filler = segment[3].split("^")[0]
            elif segment[0] == "OBX":
                key = filler, segment[3].split("^")[0]
                known = self.results[mrn].get(key)
                if known is None or known[0] <= at:
                    self.results[mrn][key] = at, STATUS[segment[11]], _value(segment)


def _value(segment: list[str]) -> str:
    if segment[2] == "SN":
        comparator, number = segment[5].split("^")
        return f"{comparator}{float(number)}"
    return str(float(segment[5])) if segment[2] == "NM" else segment[5].replace("\\.br\\", "\n")


@dataclass
class Findings:
    """What is wrong, by kind of promise, and how much was looked at."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    looked_at: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """A line a promise."""
        rows = (("lost", self.lost), ("doubled", self.doubled), ("out of order", self.disordered))
        return [f"{name}: {len(found)} {found[:SHOWN] if found else ''}".rstrip() for name, found in rows]

    @property
    def total(self) -> int:
        """0: every promise was kept."""
        return len(self.lost) + len(self.doubled) + len(self.disordered)


def check(gateway: Gateway, expected: Expected) -> Findings:
    """Compares the store of a gateway that is at rest with what was accepted."""
    findings = Findings()
    _check_inbox(gateway, expected, findings)
    patients = {
        _number(patient, "MR"): patient
        for patient in _all(gateway.store.reader, SearchQuery("Patient", (), PAGE))
    }
    for mrn in expected.flats:
        findings.looked_at["patients"] += 1
        patient = patients.get(mrn)
        if patient is None:
            findings.lost.append(f"patient {mrn}")
            continue
        _check_patient(mrn, patient, expected, findings)
        if expected.is_followed(mrn):
            _check_history(gateway.store.reader, mrn, patient["id"], expected, findings)
            _check_results(gateway.store.reader, mrn, patient["id"], expected.results.get(mrn, {}), findings)
    for mrn, survivor in expected.retired.items():
        links = patients.get(mrn, {}).get("link", ())
        reference = f"Patient/{patients[survivor]['id']}" if survivor in patients else ""
        if not any(
            link["type"] == "replaced-by" and link["other"].get("reference") == reference for link in links
        ):
            findings.lost.append(f"merge of {mrn} into {survivor}")
        findings.looked_at["merges"] += 1
    return findings


def _check_inbox(gateway: Gateway, expected: Expected, findings: Findings) -> None:
    """One accepted row and one MessageHeader, in one version, for each acknowledged control id; no more."""
    with gateway.store.engine.connect() as connection:
        rows = connection.execute(
            sqlalchemy.text(
                "SELECT control_id, count(*) FROM inbox WHERE status='accepted' GROUP BY control_id"
            )
        ).all()
        headers, versions = connection.execute(
            sqlalchemy.text(
                "SELECT count(*), sum(version) FROM resource WHERE type='MessageHeader' AND NOT deleted"
            )
        ).one()
    counts = {row[0]: row[1] for row in rows}
    findings.looked_at["accepted messages"] = len(counts)
    findings.lost += [f"message {c}" for c in expected.accepted if c not in counts]
    findings.doubled += [f"message {c} ({n} rows)" for c, n in counts.items() if n > 1]
    findings.doubled += [f"message {c}, never acknowledged" for c in counts if c not in expected.accepted]
    if headers < len(counts):
        findings.lost.append(f"{len(counts) - headers} MessageHeaders")
    if headers > len(counts) or (versions or 0) > headers:
        findings.doubled.append(f"{headers} MessageHeaders in {versions} versions for {len(counts)} messages")


def _check_patient(mrn: str, patient: JsonObject, expected: Expected, findings: Findings) -> None:
    wanted = sorted({flat for _, flat in expected.flats[mrn].values()}, reverse=True)
    found = _flats(patient)
    if found != wanted:
        findings.disordered.append(f"{mrn}: flats {found}, stated {wanted}")
    marital = [coding["code"] for coding in patient.get("maritalStatus", {}).get("coding", ())]
    if expected.marital[mrn][1] not in marital:
        findings.disordered.append(f"{mrn}: marital status {marital}, stated {expected.marital[mrn][1]}")


def _check_history(reader: Reader, mrn: str, id_: str, expected: Expected, findings: Findings) -> None:
    """From version to version, the highest flat never falls: senders only count up. Nor does the k-th highest where no
    two of them ever name the same one.
    """
    cursor, before = "", None
    while True:
        page = reader.history("Patient", id_, true(), PAGE, cursor)
        for version in page.versions:  # newest first
            flats = _flats(orjson.loads(reader.body(version)))
            findings.looked_at["patient versions"] += 1
            if not expected.restless:
                flats = flats[:1]
            if before is not None and any(a < b for a, b in zip(before, flats, strict=False)) | (
                len(before) < len(flats)
            ):
                findings.disordered.append(f"{mrn}: version {version.version} has {flats}, the next {before}")
            before = flats
        cursor = page.next_cursor
        if not cursor:
            return


def _check_results(
    reader: Reader,
    mrn: str,
    id_: str,
    wanted: dict[tuple[str, str], tuple[str, str, str]],
    findings: Findings,
) -> None:
    about = (Clause("patient", "reference", "", (f"Patient/{id_}",)),)
    observations = {o["id"]: o for o in _all(reader, SearchQuery("Observation", about, PAGE))}
    found: defaultdict[tuple[str, str], list[JsonObject]] = defaultdict(list)
    for report in _all(reader, SearchQuery("DiagnosticReport", about, PAGE)):
        for reference in report.get("result", ()):
            observation = observations.get(reference["reference"].removeprefix("Observation/"))
            if observation is None:
                findings.lost.append(f"{mrn}: a result that its report refers to")
                continue
            found[_number(report, "FILL"), observation["code"]["coding"][0]["code"]].append(observation)
    for key, (_, status, value) in wanted.items():
        findings.looked_at["results"] += 1
        held = found.get(key, [])
        if not held:
            findings.lost.append(f"{mrn}: result {key}")
        elif len(held) > 1:
            findings.doubled.append(f"{mrn}: result {key}")
        elif (held[0]["status"], _stored_value(held[0])) != (status, value):
            findings.disordered.append(f"{mrn}: result {key} is {held[0]['status']}, stated {status}")
    findings.doubled += [f"{mrn}: result {key}, never stated" for key in found if key not in wanted]


def _stored_value(observation: JsonObject) -> str:
    quantity = observation.get("valueQuantity")
    if quantity is None:
        return str(observation.get("valueString", ""))
    return f"{quantity.get('comparator', '')}{float(quantity['value'])}"


def _flats(patient: JsonObject) -> list[int]:
    lines = (line for address in patient.get("address", ()) for line in address.get("line", ()))
    return sorted((int(line[4:]) for line in lines if line.startswith("Apt ")), reverse=True)


def _number(resource: JsonObject, kind: str) -> str:
    for identifier in resource.get("identifier", ()):
        if any(coding.get("code") == kind for coding in identifier.get("type", {}).get("coding", ())):
            return str(identifier["value"])
    return ""


def _all(reader: Reader, query: SearchQuery) -> Iterator[JsonObject]:
    while True:
        page = reader.search(query, true())
        for version in page.versions:
            yield orjson.loads(reader.body(version))
        if not page.next_cursor:
            return
        query = SearchQuery(query.type, query.clauses, query.count, page.next_cursor)
