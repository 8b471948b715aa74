"""``hdg terminology``: hierarchies that the site brings."""

from __future__ import annotations

from typer.testing import CliRunner

from hdg.cli import app

runner = CliRunner()


def test_a_hierarchy_is_loaded_listed_and_removed(tmp_path) -> None:
    table = tmp_path / "tree.csv"
    table.write_text("system,code,parent\nurn:own,b,a\n")
    data = ["--data", str(tmp_path / "data")]
    (tmp_path / "data").mkdir()
    assert runner.invoke(app, ["terminology", "list", *data]).output == ""
    loaded = runner.invoke(app, ["terminology", "load", str(table), *data])
    assert (loaded.exit_code, loaded.output) == (0, "urn:own: 1 pairs of code and parent\n")
    assert runner.invoke(app, ["terminology", "list", *data]).output == "urn:own  1\n"
    assert runner.invoke(app, ["terminology", "remove", "urn:own", *data]).exit_code == 0
    assert runner.invoke(app, ["terminology", "remove", "urn:own", *data]).exit_code == 1


def test_a_file_that_is_none_is_named(tmp_path) -> None:
    table = tmp_path / "tree.csv"
    table.write_text("a,b\n1,2\n")
    for path in (table, tmp_path / "nowhere.csv"):
        refused = runner.invoke(app, ["terminology", "load", str(path), "--data", str(tmp_path)])
        assert refused.exit_code == 1
        assert refused.output.startswith("hdg: ")
