"""The command line as its users meet it: exit codes, names, no tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hdg.cli import app
from hdg.gateway import Gateway
from hdg.management.consent.policy import SHIPPED
from hdg.operator import mint_token
from hdg.settings import Settings
from messages import oru

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def hdg(*arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "hdg", *arguments], input=stdin, capture_output=True, check=False
    )


def test_convert_of_one_file_writes_a_transaction_bundle_and_exits_0() -> None:
    done = hdg("convert", str(EXAMPLES / "oru-r01-chemistry.hl7"))
    assert done.returncode == 0, done.stderr
    bundle = json.loads(done.stdout)
    assert bundle["type"] == "transaction"
    assert b'"value":1.50' in done.stdout


def test_convert_reads_standard_input() -> None:
    done = hdg("convert", "-", "--to", "ndjson", stdin=oru())
    assert done.returncode == 0
    assert {json.loads(line)["resourceType"] for line in done.stdout.splitlines()} >= {
        "Patient",
        "Observation",
    }


def test_convert_exits_1_and_names_each_failure(tmp_path: Path) -> None:
    (tmp_path / "bad.hl7").write_bytes(b"MSH|^~")
    (tmp_path / "good.hl7").write_bytes(oru())
    done = hdg("convert", str(tmp_path), "-o", str(tmp_path / "out"))
    assert done.returncode == 1
    assert b"failed: bad.hl7" in done.stderr
    assert (tmp_path / "out" / "good.json").exists()


def test_convert_of_a_missing_path_is_wrong_usage() -> None:
    done = hdg("convert", "nowhere.hl7")
    assert done.returncode == 2
    assert b"nowhere.hl7" in done.stderr
    assert b"Traceback" not in done.stderr


CLINICIAN = ["token", "--role", "clinician", "--user", "u", "--institution", "i"]
SENDER = ["token", "--role", "sender", "--institution", "i"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([*CLINICIAN, "--purpose", "NOPE"], "no purpose of role clinician: NOPE (known: BTG, CAREMGT, "),
        ([*CLINICIAN, "--purpose", "HRESCH"], "no purpose of role clinician: HRESCH (known: BTG, "),
        (["token", "--role", "operator", "--purpose", "TREAT"], "TREAT (known: HSYSADMIN)"),
        ([*SENDER, "--purpose", "treat"], "no purpose of the access policy: treat (known: BIORCH, "),
        (
            ["consent", "grant", "p", "--to", "Organization/x", "--purpose", "NOPE"],
            "the access policy: NOPE (known",
        ),
        (["token", "--role", "nobody"], "a role is one of clinician, "),
    ],
)
def test_a_purpose_or_role_that_nobody_acts_for_is_wrong_usage(
    tmp_path: Path, arguments: list[str], named: str
) -> None:
    """Docs: access-policy.md, [roles]; a token of another purpose would read nothing, and nobody would know why."""
    with Gateway.open(Settings(data=tmp_path / "data")):
        pass
    done = CliRunner().invoke(app, [*arguments, "--data", str(tmp_path / "data")])
    assert done.exit_code == 2
    assert named in done.output


@pytest.mark.parametrize("arguments", [CLINICIAN, [*CLINICIAN, "--purpose", "ETREAT"], SENDER])
def test_a_token_is_minted_for_a_purpose_below_one_of_the_role(tmp_path: Path, arguments: list[str]) -> None:
    with Gateway.open(Settings(data=tmp_path / "data")):
        pass
    done = CliRunner().invoke(app, [*arguments, "--data", str(tmp_path / "data")])
    assert (done.exit_code, done.output.count(".")) == (0, 2)


def test_a_site_names_its_own_purposes_in_its_policy(tmp_path: Path) -> None:
    with Gateway.open(Settings(data=tmp_path / "data")):
        pass
    policy = SHIPPED.read_text().replace('clinician = ["TREAT",', 'clinician = ["SITE", "TREAT",', 1)
    (tmp_path / "policy.toml").write_text(policy)
    settings = Settings(data=tmp_path / "data", policy=tmp_path / "policy.toml")
    who = {"role": "clinician", "user": "u", "institution": "i", "hours": 1}
    assert mint_token(settings, **who, purpose="SITE").count(".") == 2


@pytest.mark.parametrize(
    "arguments", [["--help"], ["convert", "--help"], ["consent", "--help"], ["map", "--help"]]
)
def test_help_is_there_for_every_level(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_files_are_queued_listed_dropped_and_queued_again_from_the_command_line(tmp_path: Path) -> None:
    data = ["--data", str(tmp_path / "data")]
    with Gateway.open(Settings(data=tmp_path / "data")):
        pass
    (tmp_path / "data" / "destinations.toml").write_text('[destinations.hub]\naddress = "mllp://x:1"\n')
    (tmp_path / "m.hl7").write_bytes(oru("M1") + oru("M2"))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, *data])
        assert done.exit_code == 0, done.output
        return done.output

    assert run("send", str(tmp_path / "m.hl7"), "--queue", "hub") == "2 queued for hub\n"
    assert [line.split("  ")[1] for line in run("outbox", "list").splitlines()] == ["queued", "queued"]
    assert run("outbox", "drop", "1", "2") == "2 dropped\n"
    assert run("outbox", "list", "--destination", "hub") == ""
    assert run("outbox", "retry", "2") == "1 queued\n"
    assert len(run("outbox", "list", "--all").splitlines()) == 2
    done = hdg("outbox", "retry", "77", *data)
    assert (done.returncode, done.stderr) == (1, b"hdg: there is no message 77 in the outbox\n")


def commands(
    group: typer.core.TyperGroup, trail: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], object]]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            found += commands(command, (*trail, name))
        else:
            found.append(((*trail, name), command))
    return found


def test_every_command_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    group = typer.main.get_command(app)
    missing = [" ".join(trail) for trail, _ in commands(group) if f"hdg {' '.join(trail)}" not in readme]  # type: ignore[arg-type]
    assert missing == []


def test_map_lint_passes_on_the_shipped_tables_and_explain_names_file_and_line() -> None:
    assert hdg("map", "lint").returncode == 0
    done = hdg("map", "explain", "PID-3", "--message", str(EXAMPLES / "adt-a01-admission.hl7"))
    assert done.returncode == 0
    assert b"PID.Patient.csv:" in done.stdout
    assert hdg("map", "explain", "ZZZ-99").returncode == 1


def test_map_lint_of_a_wrong_override_names_file_and_line(tmp_path: Path) -> None:
    folder = tmp_path / "hl7v2" / "segments"
    folder.mkdir(parents=True)
    (folder / "PID.Patient.csv").write_text(
        "source,name,target,as,map,when,default,note\nPID-5,Name,nonsense,string,,,,\n"
    )
    done = hdg("map", "lint", str(tmp_path))
    assert done.returncode == 1
    assert b"PID.Patient.csv:2" in done.stderr


def test_map_lint_names_tables_that_lie_where_nothing_reads_them(tmp_path: Path) -> None:
    shipped = (ROOT / "mappings" / "hl7v2" / "segments" / "PID.Patient.csv").read_bytes()
    for place in ("segments/PID.Patient.csv", "PID.Patient.csv", "hl7v2/segments/PID.Patient.csv"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(shipped)
    done = CliRunner().invoke(app, ["map", "lint", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"{tmp_path / place}: no table is read from this place"
        for place in ("PID.Patient.csv", "segments/PID.Patient.csv")
    ]
    assert done.stdout == "2 findings\n"
