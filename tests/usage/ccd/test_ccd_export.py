"""``hdg export --ccd``: the same document that $ccd gives the same reader, recorded, in a file of its own."""

from __future__ import annotations

import re
import stat

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from hdg.cli import app
from hdg.errors import BadRequest, NotFound, SettingsError
from hdg.management.audit import AuditEventRow
from hdg.usage.ccd.export import Wanted, export

NORTH = {"user": "dr-north", "institution": "north"}
SOUTH = {"user": "dr-south", "institution": "south", "purpose": "TREAT"}


def audited(world):
    table = AuditEventRow.__table__
    with world.store.engine.connect() as connection:
        return list(connection.scalars(select(table.c.patient).order_by(table.c.at_us)))


def timeless(document):
    """A document without its own id and the time when it was made."""
    document = re.sub(rb'(</title>|<author>|<low [^>]*/>)<(\w+) value="[^"]*"', rb"\1<\2", document)
    return re.sub(rb'(<templateId [^>]*/>)<id root="[0-9a-f-]{36}"/><code code="34133-9"', rb"\1", document)


def test_the_file_holds_what_the_same_reader_gets_over_http(either, tmp_path):
    file = tmp_path / "summary.xml"
    count = export(either.settings, Wanted("ann", **NORTH), file, either.clock)
    answer = either.client.get("/fhir/Patient/ann/$ccd", either.token("clinician", **NORTH))
    assert timeless(file.read_bytes()) == timeless(answer.content)
    assert (count, file.read_text().count("718-7") > 0) == (4, True)
    assert "MRN-bob" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_patient_gets_their_own_record(either, tmp_path):
    file = tmp_path / "summary.xml"
    assert export(either.settings, Wanted("ann", "patient"), file, either.clock) == 4
    answer = either.client.get("/fhir/Patient/ann/$ccd", either.token("patient", patient="ann"))
    assert timeless(file.read_bytes()) == timeless(answer.content)


def test_consent_decides_what_is_in_it(either, tmp_path):
    file = tmp_path / "summary.xml"
    for id_ in ("ann", "nobody"):
        with pytest.raises(NotFound, match=r"^nothing is here$"):
            export(either.settings, Wanted(id_, **SOUTH), file, either.clock)
    assert list(tmp_path.glob("summary*")) == []
    consent = either.grant("ann", "Organization/south", types=("Patient",))
    assert export(either.settings, Wanted("ann", **SOUTH), file, either.clock) == 1
    assert "718-7" not in file.read_text()
    either.revoke(consent)
    with pytest.raises(NotFound):
        export(either.settings, Wanted("ann", **SOUTH), file, either.clock)


def test_it_is_recorded_before_it_is_written_and_when_it_is_refused(either, tmp_path):
    with pytest.raises(OSError, match="No such file"):
        export(either.settings, Wanted("ann", **NORTH), tmp_path / "no" / "x", either.clock)
    assert audited(either) == ["ann"]
    with pytest.raises(NotFound):
        export(either.settings, Wanted("bob", **NORTH), tmp_path / "x", either.clock)
    assert audited(either) == ["ann", ""]


def test_impossible_readers_and_folders_are_refused_before_anything_is_opened(either, tmp_path):
    for wrong in (
        Wanted("ann"),
        Wanted("ann", user="u"),
        Wanted("ann", "patient", institution="north"),
        Wanted("ann", "researcher", **NORTH),
    ):
        with pytest.raises(BadRequest):
            export(either.settings, wrong, tmp_path / "x", either.clock)
    nowhere = either.settings.model_copy(update={"data": tmp_path / "nowhere"})
    with pytest.raises(SettingsError):
        export(nowhere, Wanted("ann", **NORTH), tmp_path / "x", either.clock)


def test_the_command_line(world, tmp_path):
    folder = str(world.settings.data)
    file = tmp_path / "summary.xml"
    reader = ["--user", "dr-north", "--institution", "north"]
    asked = ["export", "--ccd", "--patient", "ann", "-o", str(file), "--data", folder]
    run = CliRunner().invoke
    assert run(app, asked).exit_code == 2
    assert run(app, [*asked, *reader, "--deid"]).exit_code == 2
    assert run(app, [*asked, *reader, "--patient", "bob"]).exit_code == 2
    assert run(app, [*asked, *reader, "--project", "p"]).exit_code == 2
    assert run(app, ["export", "--ccd", "-o", str(file), "--data", folder, *reader]).exit_code == 2
    unwritable = ["export", "--ccd", "--patient", "ann", "-o", str(tmp_path / "no" / "x"), "--data", folder]
    assert run(app, [*unwritable, *reader]).exit_code == 1
    assert isinstance(run(app, [*asked, "--user", "x", "--institution", "y"]).exception, NotFound)
    assert not file.exists()
    result = run(app, [*asked, *reader])
    assert (result.exit_code, result.output.startswith("a document of 4 resources")) == (0, True), (
        result.output
    )
    assert b"ClinicalDocument" in file.read_bytes()
    assert run(app, ["export", "--deid", "-o", str(file), "--data", folder]).exit_code == 2
