"""``hdg audit list``: one patient's trail for who looks into a complaint; recorded in it before it is told."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from hdg.cli import app
from hdg.errors import BadRequest, NotFound
from hdg.fhir.validate import validate
from hdg.usage.audit_list import lines

CROWD = "/fhir/Observation?code=718-7&_count=50"


@pytest.fixture
def crowd(either):
    for name in ("cyd", "dan", "eva"):
        either.put(either.patient(name, "A", "B"), "north", name)
        either.put(either.observation(f"{name}-0", name, "718-7", "2024-01-01"), "north", name)
    reader = either.token("clinician", user="dr-lee", institution="north")
    for path in ("/fhir/Patient/ann", CROWD, "/fhir/Observation?subject=ann,cyd", "/fhir/Patient/cyd"):
        assert either.client.get(path, reader).status_code == 200
    return either


def listed(world, patient="ann", **named):
    return list(lines(world.settings, patient, clock=world.clock, **named))


def test_it_tells_who_did_what_for_what_purpose_newest_first_and_nothing_of_others(crowd):
    itself, *found = listed(crowd)
    assert len(found) == 3
    who = "dr-lee (clinician at north)  for TREAT"
    assert [line.partition("  ")[2] for line in found] == [
        f"{who}  search  done  Patient/ann",
        f"{who}  search  done  Patient/ann",
        f"{who}  read  done  Patient/ann, Patient/ann",
    ]
    assert "(operator)  for HSYSADMIN  search  done  Patient/ann" in itself
    assert [line[:4] for line in found] == ["2027"] * 3
    assert not any(name in line for line in found for name in ("cyd", "718-7"))


def test_its_json_are_audit_events_as_an_auditor_sees_them(crowd):
    found = [json.loads(line) for line in listed(crowd, is_json=True)]
    assert len(found) == 4
    for event in found:
        assert validate(event) == []
        assert "cyd" not in str(event)
    assert [event["meta"].get("security", [{}])[0].get("code") for event in found] == [
        None,
        "REDACTED",
        "REDACTED",
        None,
    ]


def test_a_time_limits_it(crowd):
    first = json.loads(listed(crowd, is_json=True)[-1])["recorded"]
    assert len(listed(crowd, until=first)) == 1
    assert len(listed(crowd, since=first)) == 6
    assert listed(crowd, since="2028-01-01") == []
    with pytest.raises(BadRequest):
        listed(crowd, since="yesterday")


def test_the_patient_sees_that_the_trail_was_looked_into(crowd):
    listed(crowd)
    newest = crowd.client.get("/fhir/AuditEvent?_count=1", crowd.token("patient", patient="ann")).json()[
        "entry"
    ][0]
    agent = newest["resource"]["agent"][2]
    assert agent["who"]["display"] == "operator"
    assert agent["policy"][0].startswith("urn:hdg:token:audit-")


def test_a_patient_who_is_not_here_or_erased_has_none(crowd):
    with pytest.raises(NotFound):
        listed(crowd, "nobody")
    crowd.store.submit(
        lambda session: session.connection.exec_driver_sql(
            "UPDATE owner_key SET wrapped_kek = NULL WHERE owner = 'cyd'"
        )
    ).result(120)
    with pytest.raises(NotFound):
        listed(crowd, "cyd")
    assert len(listed(crowd)) == 4


def test_the_command_prints_it(world, monkeypatch):
    reader = world.token("clinician", user="dr-lee", institution="north")
    world.client.get("/fhir/Patient/ann", reader)
    monkeypatch.setenv("HDG_INSTITUTION", "north")
    done = CliRunner().invoke(app, ["audit", "list", "ann", "--data", str(world.settings.data)])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].endswith(
        "dr-lee (clinician at north)  for TREAT  read  done  Patient/ann, Patient/ann"
    )
    told = CliRunner().invoke(app, ["audit", "list", "ann", "--json", "--data", str(world.settings.data)])
    assert [json.loads(line)["resourceType"] for line in told.stdout.splitlines()] == ["AuditEvent"] * 3
