"""Files and folders: outcomes per message, names that never clash, losses named."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest

from hdg import bulk
from hdg.bulk_jobs import Job, Outcome, Plan
from hdg.bulk_report import deliver
from hdg.errors import SourceError
from hdg.helper import THRESHOLDS
from messages import adt, oru


def run(paths: list[str], **plan: object) -> list[Outcome]:
    return list(bulk.run(bulk.jobs_of(paths), Plan(**plan)))  # type: ignore[arg-type]


def test_a_file_with_many_messages_gives_an_outcome_for_each(tmp_path: Path) -> None:
    (tmp_path / "two.hl7").write_bytes(oru("C1") + adt("A1"))
    outcomes = run([str(tmp_path)])
    assert [(o.number, o.status, o.control_id) for o in outcomes] == [
        (1, "converted", "C1"),
        (2, "converted", "A1"),
    ]
    assert json.loads(outcomes[0].output or b"")["type"] == "transaction"


def test_one_bad_file_never_stops_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(b"")
    (tmp_path / "b.hl7").write_bytes(b"\x00\xffgarbage")
    (tmp_path / "c.hl7").write_bytes(oru())
    (tmp_path / "d.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "e.hl7").write_bytes(b"MSH|^~\\&|")
    assert [o.status for o in run([str(tmp_path)])] == ["failed", "failed", "converted", "skipped", "failed"]


def test_a_named_file_is_never_skipped(tmp_path: Path) -> None:
    (tmp_path / "d.pdf").write_bytes(b"%PDF-1.7")
    assert [o.status for o in run([str(tmp_path / "d.pdf")])] == ["failed"]


def test_outputs_never_overwrite_each_other(tmp_path: Path) -> None:
    for name in ("x/m.hl7", "x/m.txt", "y/m.hl7"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(oru(control=name))
    paths = [str(tmp_path / "x"), str(tmp_path / "y"), str(tmp_path / "y" / "m.hl7")]
    outputs = [job.output for job in bulk.jobs_of(paths)]
    assert len(set(outputs)) == 4
    out = tmp_path / "out"
    assert all(o.status == "converted" for o in run(paths, folder=out))
    assert len(list(out.iterdir())) == 4


def test_a_path_that_is_not_there_is_named() -> None:
    with pytest.raises(SourceError, match="nowhere"):
        bulk.jobs_of(["nowhere"])


def test_the_pool_gives_the_same_outcomes_as_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        (tmp_path / f"{number}.hl7").write_bytes(oru(control=f"C{number}", number=str(number)))
    alone = run([str(tmp_path)])
    monkeypatch.setattr(bulk, "POOL_FROM_FILES", 2)
    monkeypatch.setattr(bulk, "CHUNK_FILES", 2)
    pooled = list(bulk.run(bulk.jobs_of([str(tmp_path)]), Plan(), workers=2))
    assert [(o.file, o.output) for o in pooled] == [(o.file, o.output) for o in alone]


class CountedPool:
    """Converts nothing: counts what is handed to it and not yet taken back."""

    def __init__(self) -> None:
        self.waiting = self.most = self.chunks = 0

    def __enter__(self) -> CountedPool:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.waiting == 0

    def submit(self, _work: object, chunk: list[Job], _plan: Plan) -> CountedPool:
        assert len(chunk) <= bulk.CHUNK_FILES
        self.chunks += 1
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        return self

    def result(self) -> list[Outcome]:
        self.waiting -= 1
        return []


def test_however_many_files_only_so_many_are_in_hand_and_every_core_has_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, asked = CountedPool(), []

    def made(cores: int) -> CountedPool:
        asked.append(cores)
        return pool

    monkeypatch.setattr(bulk, "_pool", made)
    monkeypatch.setattr(bulk.os, "cpu_count", lambda: 3)
    jobs = [Job(Path(f"{number}.hl7"), f"{number}.hl7", str(number)) for number in range(10_000)]
    assert list(bulk.run(jobs, Plan())) == []
    assert asked == [3]
    assert pool.chunks * bulk.CHUNK_FILES >= 10_000
    assert 3 <= pool.most <= 12


def test_the_processes_of_the_pool_collect_garbage_as_rarely_as_a_server() -> None:
    before = gc.get_threshold()
    with bulk._pool(1) as pool:
        assert pool.submit(gc.get_threshold).result() == THRESHOLDS
        assert pool.submit(gc.get_freeze_count).result() > 0
    assert gc.get_threshold() == before, "the process that asks is left as it was"


def test_the_report_names_outcomes_and_losses_without_values(tmp_path: Path) -> None:
    (tmp_path / "m.hl7").write_bytes(oru() + b"ZZZ|1|secretvalue\r")
    report = tmp_path / "report.jsonl"
    plan = Plan(folder=tmp_path / "out", with_coverage=True)
    assert deliver(bulk.jobs_of([str(tmp_path / "m.hl7")]), plan, tmp_path / "out", report, 1) == 0
    [line] = [json.loads(text) for text in report.read_text().splitlines()]
    assert line["status"] == "converted"
    assert any(place == "ZZZ" for _, _, place, _ in line["issues"])
    assert line["places"]["mapped"] > 20
    assert line["lost"] == []
    assert "secretvalue" not in report.read_text()


def test_a_count_that_does_not_agree_fails_the_file_and_its_messages_are_converted(tmp_path: Path) -> None:
    data = b"BHS|^~\\&|LAB\r" + oru("C1") + adt("A1") + b"BTS|3\r"
    (tmp_path / "batch.hl7").write_bytes(data)
    outcomes = run([str(tmp_path)])
    assert [(o.number, o.status) for o in outcomes] == [(1, "converted"), (2, "converted"), (0, "failed")]
    assert outcomes[2].error == "BTS-1: 3 messages announced, 2 found"


def test_a_folder_may_hold_documents_beside_messages(tmp_path: Path) -> None:
    document = (
        '<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="2.999.1" extension="d"/><code code="34133-9" '
        'codeSystem="2.16.840.1.113883.6.1"/><effectiveTime value="20240102030405+0000"/><recordTarget><patientRole>'
        '<id root="2.999.2" extension="p"/></patientRole></recordTarget></ClinicalDocument>'
    )
    (tmp_path / "a.xml").write_text(document)
    (tmp_path / "b.xml").write_text(document, encoding="utf-16")
    (tmp_path / "c.xml").write_text("<html/>")
    (tmp_path / "d.hl7").write_bytes(adt("A01"))
    outcomes = list(bulk.run(bulk.jobs_of([str(tmp_path)]), Plan(form="document")))
    assert [outcome.status for outcome in outcomes] == ["converted", "converted", "failed", "converted"]
    made = json.loads(outcomes[0].output or b"")
    assert (made["type"], made["entry"][0]["resource"]["resourceType"]) == ("document", "Composition")
    places = {entry["fullUrl"] for entry in made["entry"]}
    assert made["entry"][0]["resource"]["subject"]["reference"] in places
    assert json.loads(outcomes[3].output or b"")["type"] == "transaction"
