"""hdg fhir load, list and remove: exit codes and what is printed."""

from __future__ import annotations

from typer.testing import CliRunner

from hdg.cli import app
from profile_packages import package, structure

NAMED = structure("named", "Patient", [("Patient.name", {"min": 1})])


def run(*arguments):
    done = CliRunner().invoke(app, ["fhir", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_packages_are_loaded_listed_and_removed(tmp_path):
    good, bad = tmp_path / "good.tgz", tmp_path / "bad.tgz"
    manifest = {"name": "site", "version": "2.1", "fhirVersions": ["4.0.1"], "dependencies": {"base": "1"}}
    good.write_bytes(package([NAMED], manifest=manifest))
    bad.write_bytes(b"no package")
    data = tmp_path / "data"
    code, out, err = run("load", good, bad, tmp_path / "gone.tgz", "--data", data)
    assert code == 1
    assert "site#2.1: 1 definitions loaded" in out
    assert "base#1, which is not loaded" in err
    assert f"hdg: {bad}: not a readable .tgz archive" in err
    assert f"hdg: {tmp_path}/gone.tgz: " in err
    assert run("list", "--data", data) == (0, "site#2.1  1 StructureDefinition\n", "")
    assert run("remove", "site#2.1", "--data", data)[0] == 0
    assert run("list", "--data", data) == (0, "", "")
    assert run("load", good, "--data", data)[0] == 0


def test_load_names_search_parameters_that_cannot_be_had(tmp_path):
    one = {
        "resourceType": "SearchParameter",
        "name": "X",
        "status": "active",
        "description": "x",
        "base": ["Patient"],
        "type": "token",
    }
    good = one | {"url": "urn:good", "code": "good", "expression": "Patient.active"}
    bad = one | {"url": "urn:bad", "code": "bad", "expression": "Patient.colour"}
    path = tmp_path / "p.tgz"
    path.write_bytes(package([good, bad]))
    code, out, err = run("load", path, "--data", tmp_path / "data")
    assert code == 0
    assert "2 definitions loaded" in out
    assert "not searchable: bad: SearchParameter.expression" in err
    assert "good:" not in err
