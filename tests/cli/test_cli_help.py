"""What the command line says of itself: examples for every command, exit codes, and wrong usage without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hdg.cli import app, main
from hdg.settings import Settings
from messages import oru

Trail = tuple[str, ...]


def trails(group: typer.core.TyperGroup, before: Trail = ()) -> Iterator[Trail]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from trails(command, (*before, name))
        else:
            yield (*before, name)


ALL = sorted(trails(typer.main.get_command(app)))  # type: ignore[arg-type]  # an app of several commands is a group


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--help"])
    assert done.exit_code == 0
    return " ".join(done.output.split())


@pytest.mark.parametrize("trail", ALL, ids=" ".join)
def test_the_help_of_a_command_has_an_example_of_it(trail: Trail) -> None:
    help_ = shown(*trail)
    _, found, example = help_.partition("Example")
    assert found
    assert f"hdg {' '.join(trail)}" in example


def test_the_commands_of_the_design_are_there_and_the_help_of_all_tells_the_exit_codes() -> None:
    wanted = ["demo", "serve", "convert", "send", "token", "verify", "replay", "export"]
    groups = {"consent": ("grant", "revoke", "list"), "map": ("explain", "lint"), "terminology": ("load",)}
    assert set(ALL) >= {(one,) for one in wanted} | {
        (group, one) for group, ones in groups.items() for one in ones
    }
    help_ = shown()
    assert "hdg convert message.hl7" in help_
    for meaning in ("0 done", "1 something failed", "2 wrong usage"):
        assert meaning in help_
    for meaning in ("Exit 0: all converted", "1: some failed (each named)", "2: usage"):
        assert meaning in shown("convert")


def test_serve_listens_where_its_help_says_and_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HDG_")]:
        monkeypatch.delenv(name)
    settings = Settings()
    assert settings.data == Path("hdg-data")
    listeners = {"http": settings.http, "mllp": settings.mllp, "dicom": settings.dicom}
    assert listeners == {"http": "127.0.0.1:8080", "mllp": "127.0.0.1:2575", "dicom": "127.0.0.1:11112"}
    for address in listeners.values():
        assert address in shown("serve")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usage")
    (folder / "good.hl7").write_bytes(oru())
    (folder / "bad.hl7").write_bytes(b"MSH|^~")
    return folder


@pytest.mark.parametrize(
    "code, named, arguments",
    [
        (2, "nope", ["nope"]),
        (2, "PATH", ["convert"]),
        (2, "nowhere.hl7", ["convert", "nowhere.hl7"]),
        (2, "--from nope", ["convert", "good.hl7", "--from", "nope"]),
        (2, "--to nope", ["convert", "good.hl7", "--to", "nope"]),
        (2, "nowhere", ["convert", "good.hl7", "--mappings", "nowhere"]),
        (2, "nowhere", ["convert", "good.hl7", "--id-key", "nowhere"]),
        (2, "nowhere", ["convert", "good.hl7", "--report", "nowhere/report.jsonl"]),
        (2, "nowhere", ["convert", "good.hl7", "-o", "nowhere/good.json"]),
        (2, "Nowhere/City", ["convert", "good.hl7", "--zone", "Nowhere/City"]),
        (2, "klingon", ["convert", "good.hl7", "--charset", "klingon"]),
        (2, "--workers", ["convert", "good.hl7", "--workers", "0"]),
        (1, "bad.hl7", ["convert", "good.hl7", "bad.hl7"]),
        (0, "1 converted", ["convert", "good.hl7", "-o", "good.json"]),
        (2, "nowhere.hl7", ["send", "nowhere.hl7"]),
        (1, "mllp://HOST:PORT", ["send", "good.hl7", "--to", "nowhere"]),
        (2, "role", ["token"]),
        (2, "clinician", ["token", "--role", "janitor"]),
        (1, "no data folder", ["verify", "--data", "nowhere"]),
        (1, "no data folder", ["consent", "list", "p1", "--data", "nowhere"]),
        (2, "to", ["consent", "grant", "p1"]),
        (1, "HOST:PORT", ["serve", "--http", "nowhere"]),
        (1, "no mapping table", ["map", "explain", "ZZZ-99"]),
        (2, "nowhere", ["map", "explain", "PID-3", "--message", "nowhere"]),
        (2, "nowhere", ["map", "explain", "PID-3", "--mappings", "nowhere"]),
        (2, "nowhere", ["map", "lint", "nowhere"]),
        (1, "no data folder", ["terminology", "load", "nowhere", "--data", "nodata"]),
        (1, "nowhere", ["fhir", "load", "nowhere"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_exit_code_means_what_the_help_says_and_what_is_wrong_is_named(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    named: str,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["hdg", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code
    assert named in capsys.readouterr().err
