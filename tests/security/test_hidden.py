"""What a reader may not see cannot be told from what is not there, whichever way it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from gateway_site import Answer, Site

from messages import adt, oru

TYPES = (
    "Patient",
    "Observation",
    "DiagnosticReport",
    "ServiceRequest",
    "Encounter",
    "MessageHeader",
    "Provenance",
)


def of(facility: str, message: bytes) -> bytes:
    return message.replace(b"NORTHGEN", facility.encode())


@pytest.fixture(scope="module")
def two(site: Site) -> Site:
    """One patient sent by north, one by south."""
    for number, facility in ((1, "NORTH"), (2, "SOUTH")):
        site.send(
            of(facility, oru(f"O{number}", number=f"{number}")),
            of(facility, adt(f"A{number}", number=f"{number}", family=f"Family{facility}")),
        )
    return site


def only(answer: Answer) -> str:
    """The one Type/id of a Bundle."""
    (found,) = answer.ids
    return found


def as_seen(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """All of an answer but its date."""
    return (
        answer.status,
        {name: value for name, value in answer.headers.items() if name != "date"},
        answer.body,
    )


def test_each_institution_and_patient_sees_its_own_and_totals_say_no_more(two: Site) -> None:
    north, south = (two.token("clinician", institution=name) for name in ("north", "south"))
    for type_ in TYPES:
        mine, theirs = two.get(type_, north), two.get(type_, south)
        assert mine.json()["total"] == len(mine.ids) > 0, type_
        assert not set(mine.ids) & set(theirs.ids), type_
    patient = only(two.get("Patient", north)).removeprefix("Patient/")
    own = two.token("patient", patient=patient)
    for type_ in TYPES:
        assert set(two.get(type_, own).ids) == set(two.get(type_, north).ids), type_


def test_hidden_and_absent_give_the_same_answer_on_every_way_in(two: Site) -> None:
    north, south = (two.token("clinician", institution=name) for name in ("north", "south"))
    hidden, absent = only(two.get("Patient", south)).removeprefix("Patient/"), "x" * 32
    ways = (
        "/fhir/Patient/{}",
        "/fhir/Patient/{}/_history",
        "/fhir/Patient/{}/_history/1",
        "/fhir/Patient/{}/_history/9",
        "/ledger/proof?type=Patient&id={}",
        "/ledger/proof?type=Patient&id={}&version=1",
    )
    for way in ways:
        for method in ("GET", "HEAD"):
            for headers in (
                {},
                {"if-none-match": '*, W/"1"'},
                {"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"},
            ):
                answers = [two.request(method, way.format(id_), north, headers) for id_ in (hidden, absent)]
                assert as_seen(answers[0]) == as_seen(answers[1]), (way, method)
                assert answers[0].status == 404
    for query in (
        {"_id": hidden},
        {"family": "FamilySOUTH"},
        {"birthdate": "1961-04-12", "family": "FamilySOUTH"},
        {"identifier": "2"},
        {"_id": hidden, "_count": "0"},
        {"gender:missing": "false", "_id": hidden},
        {"gender:not": "male", "_id": hidden},
        {"_lastUpdated": "gt2000", "family": "FamilySOUTH"},
    ):
        answer = two.get("Patient", north, **query).json()
        assert (answer["total"], "entry" in answer, len(answer["link"])) == (0, False, 1), query
    assert two.get("Observation", north, patient=hidden).json()["total"] == 0
    assert two.get("Observation", north, **{"subject:missing": "false"}).json()["total"] == 1
    assert two.get("Observation", north, **{"code:not": "zzz"}).json()["total"] == 1


def test_other_roles_and_purposes_see_nothing(two: Site) -> None:
    patient = only(two.get("Patient", two.token("clinician", institution="north"))).removeprefix("Patient/")
    tokens = (
        two.token("operator"),
        two.token("researcher", project="p"),
        two.token("researcher", project="p", purpose="TREAT", institution="north"),
        two.token("patient", patient="nobody"),
        two.token("patient", patient=patient, purpose="TREAT"),
        two.token("clinician", institution="north", purpose="PATRQT"),
        two.token("clinician", institution="north", purpose="HRESCH"),
        two.token("clinician", institution="NORTH"),
        two.token("clinician", institution="local"),
    )
    for token in tokens:
        for type_ in TYPES:
            assert two.get(type_, token).json()["total"] == 0
        assert two.get(f"Patient/{patient}", token).status == 404


def test_a_patient_sees_own_consents_only_and_a_grant_for_one_type_does_not_show_the_rest(two: Site) -> None:
    first, second = (
        only(two.get("Patient", two.token("clinician", institution=name))).removeprefix("Patient/")
        for name in ("north", "south")
    )
    consent = two.grant(first, "Organization/east", types=("Observation",))
    east = two.token("clinician", institution="east")
    assert two.get("Observation", east).json()["total"] == 1
    for type_ in ("Patient", "Consent", "Encounter", "Provenance", "MessageHeader"):
        assert two.get(type_, east).json()["total"] == 0, type_
    assert two.get("Consent", two.token("patient", patient=first)).ids == [f"Consent/{consent}"]
    for institution in ("local", "north", "east"):
        assert two.get("Consent", two.token("clinician", institution=institution)).json()["total"] == 0
        reader = two.token("clinician", institution=institution)
        assert two.get(f"Consent/{consent}/_history/1", reader).status == 404
    other = two.token("patient", patient=second)
    assert two.get("Consent", other).json()["total"] == 0
    assert two.get(f"Consent/{consent}", other).status == 404
    two.revoke(consent)
    assert two.get("Observation", east).json()["total"] == 0


def test_a_result_that_moves_to_another_patient_leaves_everything_of_the_first_behind(two: Site) -> None:
    def result(control: str, number: str, note: bytes = b"") -> bytes:
        last = of("MOVING", oru(control, number=number)).rstrip(b"\r")
        return last + b"|" * 7 + b"UNIQUE-1^LAB\r" + note

    accepted = two.send(result("M1", "100", b"NTE|1||CANARY about the first\r"), result("M2", "200"))
    assert all(b"MSA|AA" in answer for answer in accepted)
    moving = two.token("clinician", institution="moving")
    observation = two.get("Observation", moving)
    patient = observation.json()["entry"][0]["resource"]["subject"]["reference"].removeprefix("Patient/")
    second = two.token("patient", patient=patient)
    others = set(two.get("Patient", moving).ids) - {f"Patient/{patient}"}
    first = two.token("patient", patient=others.pop().removeprefix("Patient/"))
    place = only(observation)
    for way in (place, f"{place}/_history"):
        answer = two.get(way, second)
        assert answer.status == 200
        assert b"CANARY" not in answer.body
        assert two.get(way, first).status == 404
        assert b"CANARY" not in two.get(way, moving).body
    assert two.get(f"{place}/_history", second).json()["total"] == 1
    for token in (first, second, moving):
        assert two.get(f"{place}/_history/1", token).status == 404


def test_a_version_that_was_about_others_or_sent_by_others_is_hidden_from_who_reads_the_present(
    two: Site,
) -> None:
    about_a = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/a"},
    }
    both = about_a | {"performer": [{"reference": "Patient/b"}], "note": [{"text": "CANARY"}]}
    two.put(both | {"id": "was-both"}, "north", "a")
    two.put(about_a | {"id": "was-both"}, "north", "a")
    two.put(about_a | {"id": "was-north", "note": [{"text": "CANARY"}]}, "north", "a")
    two.put(about_a | {"id": "was-north"}, "south", "a")
    south = two.token("clinician", institution="south")
    readers = {
        "was-both": (two.token("patient", patient="a"), two.token("clinician", institution="north")),
        "was-north": (south, two.token("patient", patient="a")),
    }
    for id_, tokens in readers.items():
        for token in tokens:
            history = two.get(f"Observation/{id_}/_history", token)
            assert history.json()["total"] == len(history.json()["entry"]) == 1
            assert b"CANARY" not in history.body
            assert two.get(f"Observation/{id_}/_history/2", token).status == 200
            for way in (
                f"Observation/{id_}/_history/1",
                f"/ledger/proof?type=Observation&id={id_}&version=1",
            ):
                assert two.get(way, token).status == 404, way
    two.put(both | {"id": "was-both"}, "north", "a")
    north = two.token("clinician", institution="north")
    assert two.get("Observation/was-both/_history", two.token("patient", patient="a")).status == 404
    assert two.get("Observation/was-both/_history", north).json()["total"] == 2


def test_a_device_of_a_patient_is_not_free_for_all_as_other_devices_are(two: Site) -> None:
    device = {"resourceType": "Device", "id": "pacemaker", "patient": {"reference": "Patient/someone"}}
    two.put(device, "north")
    assert two.get("Device/pacemaker", two.token("clinician", institution="east")).status == 404
    assert two.get("Device/pacemaker", two.token("patient", patient="other")).status == 404
    assert two.get("Device/pacemaker", two.token("patient", patient="someone")).status == 200


def test_a_deletion_shows_only_to_who_could_read(two: Site) -> None:
    gone = {"resourceType": "Observation", "id": "gone", "status": "final", "code": {"text": "x"}}
    two.put(gone | {"subject": {"reference": "Patient/p"}}, "north", "p")
    two.operator.store.submit(
        lambda session: session.delete("Observation", "gone", institution="north")
    ).result(120)
    assert two.get("Observation/gone", two.token("clinician", institution="north")).status == 410
    for way in ("Observation/gone", "Observation/gone/_history", "Observation/gone/_history/1"):
        assert two.get(way, two.token("clinician", institution="east")).status == 404


def test_a_page_link_is_for_its_maker_route_and_purpose_and_ends_with_the_consent(two: Site) -> None:
    for number in range(5):
        resource = {
            "resourceType": "Observation",
            "id": f"page-{number}",
            "status": "final",
            "code": {"text": "x"},
        }
        two.put(resource | {"subject": {"reference": "Patient/paged"}}, "north", "paged")
    two.put({"resourceType": "Patient", "id": "paged"}, "north", "paged")
    consent = two.grant("paged", "Organization/west")
    west = two.token("clinician", institution="west")
    bundle = two.get("Observation", west, _count="2").json()
    (link,) = (link["url"] for link in bundle["link"] if link["relation"] == "next")
    path = "/" + link.split("/", 3)[3]
    assert "paged" not in link
    assert len(two.get(path, west).ids) == 2
    others = (
        two.token("clinician", institution="west", user="u2"),
        two.token("clinician", institution="west", purpose="ETREAT"),
        two.token("clinician", institution="north"),
        two.token("patient", patient="paged"),
    )
    assert [two.get(path, token).status for token in others] == [400] * len(others)
    for wrong in (path.replace("Observation", "Patient"), path[:-4] + "AAAA", path + "&code=x", path[:-8]):
        assert two.get(wrong, west).status == 400
    two.revoke(consent)
    assert two.get(path, west).ids == []


def test_ledger_leaves_and_heads_carry_codes_and_no_patient(two: Site) -> None:
    assert two.get("/ledger/checkpoint").status == 200
    north = two.token("clinician", institution="north")
    patient = only(two.get("Patient", north, family="FamilyNORTH")).removeprefix("Patient/")
    proof = two.get("/ledger/proof", north, type="Patient", id=patient)
    assert proof.status == 200
    assert b"FamilyNORTH" not in proof.body
    entries = [bytes(row[0]) for row in two.rows("SELECT entry FROM ledger_leaf")]
    assert not any(b"Family" in entry or b"Ada" in entry for entry in entries)
    for entry in entries:
        leaf = json.loads(entry)
        assert set(leaf) == {"at_us", "commitment", "institution", "key", "kind", "subject", "version"}
        assert patient not in leaf["subject"]
        assert len(leaf["commitment"]) == 64


def test_a_token_of_the_command_line_is_for_what_its_role_is_for(two: Site) -> None:
    patient = only(two.get("Patient", two.token("clinician", institution="north"), family="FamilyNORTH"))
    command = [
        sys.executable,
        "-m",
        "hdg",
        "token",
        "--data",
        str(two.data),
        "--role",
        "patient",
        "--patient",
    ]
    done = subprocess.run(
        [*command, patient.removeprefix("Patient/")], capture_output=True, text=True, check=True
    )
    assert two.get(patient, done.stdout.strip()).status == 200
