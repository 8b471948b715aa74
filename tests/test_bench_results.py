"""``python -m bench``: the figures that others read are there, and what is measured is written as they read it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.measure import Figure
from bench.traffic import Traffic
from hdg.ingestion.hl7v2.parser import parse

NAMED = {
    "parse",
    "convert_oru",
    "validate_observation",
    "mllp_durable",
    "mllp_single_median",
    "read_gated",
    "convert_folder",
}


def test_the_figures_that_others_read_by_name_are_measured() -> None:
    assert set(bench.FIGURES) >= NAMED


def test_a_run_prints_one_table_and_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(name: str) -> Figure:
        return Figure(name, 50.0, "messages/s", 200.0, "a bare split", ">= 0.4")

    monkeypatch.setattr(bench, "FIGURES", {name: lambda name=name: made(name) for name in NAMED})
    monkeypatch.setattr(bench, "OUT", tmp_path / "out" / "results.json")
    bench.main([])
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["name"] for row in written} == NAMED
    for row in written:
        assert {key: row[key] for key in row if key != "name"} == {
            "value": 50.0,
            "unit": "messages/s",
            "limit": 200.0,
            "ratio": 0.25,
        }
    lines = capsys.readouterr().out.splitlines()
    assert "cores" in lines[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert rows[0] == ["figure", "measured", "goal", "limit in the same run", "ratio"]
    assert {row[0] for row in rows[2:]} == NAMED
    assert rows[2][1:] == ["50 messages/s", ">= 0.4", "200 messages/s (a bare split)", "0.25"]


def test_of_a_time_the_ratio_is_the_limit_s_share() -> None:
    assert Figure("single", 10.0, "ms", 5.0, "bare commit", "< 10").as_json()["ratio"] == 0.5


def test_a_name_that_no_figure_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="no such figure: nope"):
        bench.main(["nope"])


def test_the_readme_shows_the_table_and_the_machine_it_was_measured_on() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip() for line in readme.splitlines() if line.startswith("| ")}
    assert rows >= NAMED
    assert re.search(r"^Measured on .*cores", readme, re.MULTILINE)


def test_the_results_are_not_committed() -> None:
    ignored = (Path(__file__).parents[1] / ".gitignore").read_text().split()
    assert any(line.rstrip("/").endswith("bench/out") for line in ignored)


def test_the_load_is_adt_oru_and_vxu_of_two_to_three_kb_and_the_same_for_the_same_seed() -> None:
    load = Traffic(seed=5).take(300)
    assert load == Traffic(seed=5).take(300)
    assert load != Traffic(seed=6).take(300)
    assert {parse(raw).message_type[0] for raw in load} == {"ADT", "ORU", "VXU"}
    sizes = sorted(map(len, load))
    assert 1_800 <= sizes[0] <= 2_000 < sizes[len(sizes) // 2] < sizes[-1] <= 3_000
