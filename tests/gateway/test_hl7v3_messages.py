"""HL7 v3 messages through the gateway: stored, known again, merged, kept when refused, tried again."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from sqlalchemy import text

from hdg.documents import Documents
from hdg.fhir.validate import validate
from hdg.gateway import Gateway
from hdg.ingestion.sender import Origin
from hdg.management.store.inbox import work_items
from hdg.replay import quarantined, replay_quarantined
from hdg.settings import Settings
from hdg.watch import Watch
from registry_messages import NS, PERSON, enveloped, message, prior, registration

HTTP = Origin("http", institution="north")
MERGE = "PRPA_IN201304UV02"


def number(extension: str) -> str:
    return f'<id root="2.999.2" extension="{extension}"/>'


@pytest.fixture
def gateway(tmp_path):
    with Gateway.open(Settings(data=tmp_path / "data", institution="north")) as opened:
        yield opened


def of_type(gateway, type_):
    query = text("SELECT id FROM resource WHERE type = :type ORDER BY id")
    with gateway.store.engine.connect() as connection:
        ids = connection.execute(query, {"type": type_}).scalars().all()
    return [
        gateway.store.submit(lambda session, id_=id_: session.current(type_, id_)).result() for id_ in ids
    ]


def take(gateway, *raws):
    return [Documents(gateway).take_now(raw, HTTP) for raw in raws]


def patients(gateway):
    """By the extension of their first identifier."""
    return {one["identifier"][0]["value"]: one for one in of_type(gateway, "Patient")}


def test_a_message_is_stored_once_and_known_again(gateway):
    raw = message(registration())
    first, second = take(gateway, raw, raw)
    assert (first.status, first.is_repeat) == ("accepted", False)
    assert (second.status, second.is_repeat) == ("accepted", True)
    assert second.issues()[0].text == f"message known already: {first.resources} resources"
    assert list(patients(gateway)) == ["p1"]
    assert of_type(gateway, "Binary") == []
    (other,) = take(gateway, message(registration(PERSON + '<telecom value="tel:1"/>')))
    assert (other.status, other.place) == ("quarantined", "id")
    assert other.reason == "the id of the message was used before for another one"


def test_a_revision_changes_what_it_states_and_leaves_the_rest(gateway):
    revised = registration(
        '<name use="L"><given>Ada</given><family>Newname</family></name><telecom updateMode="D" value="tel:1"/>'
    )
    take(
        gateway,
        message(registration(PERSON + '<telecom value="tel:1"/>')),
        message(revised, interaction="PRPA_IN201302UV02", number="m2", created="20240103030405+0000"),
    )
    (patient,) = of_type(gateway, "Patient")
    assert patient["name"][0]["family"] == "Newname"
    assert (patient["birthDate"], patient["gender"]) == ("1961-04-12", "female")
    assert "telecom" not in patient


def test_an_older_message_that_comes_later_changes_nothing(gateway):
    old = registration(PERSON.replace("Example", "Oldname"))
    take(
        gateway,
        message(registration(), created="20240103030405+0000"),
        message(old, number="m2", created="20240102030405+0000"),
    )
    assert of_type(gateway, "Patient")[0]["name"][0]["family"] == "Example"


def test_a_merge_keeps_what_is_known_of_the_earlier_record(gateway):
    earlier = registration(PERSON + '<telecom value="tel:9"/>', ids=number("p9") + number("other"))
    merge = registration(after=prior(number("p9")))
    take(
        gateway,
        message(earlier),
        message(registration(), number="m2"),
        message(merge, interaction=MERGE, number="m3", created="20240104030405+0000"),
    )
    found = patients(gateway)
    kept, gone = found["p1"], found["p9"]
    assert gone["active"] is False
    assert [one["value"] for one in gone["identifier"]] == ["p9", "other"]
    assert gone["telecom"][0]["value"] == "9"
    assert gone["link"] == [{"other": {"reference": f"Patient/{kept['id']}"}, "type": "replaced-by"}]
    assert kept["link"] == [{"other": {"reference": f"Patient/{gone['id']}"}, "type": "replaces"}]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_merged_record_stays_out_of_use_whatever_its_sender_says_and_when(gateway, order):
    """R4 Patient.link: a record that was replaced must no longer be used; not every sender has heard of the merge."""
    later = PERSON.replace("Example", "Later")
    sent = [
        message(registration(ids=number("p9")), number="m1", created="20240101030405+0000"),
        message(registration(), number="m2", created="20240102030405+0000"),
        message(
            registration(after=prior(number("p9"))),
            interaction=MERGE,
            number="m3",
            created="20240103030405+0000",
        ),
        message(registration(later, ids=number("p9")), number="m4", created="20240104030405+0000"),
    ]
    take(gateway, *(sent[at] for at in order))
    found = patients(gateway)
    assert (found["p1"]["active"], found["p9"]["active"]) == (True, False)
    assert found["p9"]["name"][0]["family"] == "Later"
    assert found["p9"]["link"] == [
        {"other": {"reference": f"Patient/{found['p1']['id']}"}, "type": "replaced-by"}
    ]


def test_a_chain_of_merges_leaves_the_last_record_in_use(gateway):
    steps = [("p1", "p9"), ("p0", "p1")]
    take(
        gateway,
        *(
            message(
                registration(ids=number(kept), after=prior(number(gone))),
                interaction=MERGE,
                number=f"m{at}",
                created=f"2024010{at + 1}030405+0000",
            )
            for at, (kept, gone) in reversed(list(enumerate(steps)))
        ),
    )
    found = patients(gateway)
    assert {name: one["active"] for name, one in found.items()} == {"p0": True, "p1": False, "p9": False}
    assert {(one["type"], one["other"]["reference"]) for one in found["p1"]["link"]} == {
        ("replaces", f"Patient/{found['p9']['id']}"),
        ("replaced-by", f"Patient/{found['p0']['id']}"),
    }


def test_what_is_known_of_a_death_is_of_one_kind(gateway):
    dead, alive = PERSON + '<deceasedTime value="20240101"/>', PERSON + '<deceasedInd value="false"/>'
    take(
        gateway,
        message(registration(dead)),
        message(registration(alive), number="m2", created="20240105030405+0000"),
    )
    (patient,) = of_type(gateway, "Patient")
    assert (patient["deceasedBoolean"], "deceasedDateTime" in patient) == (False, False)
    assert validate(patient) == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_revision_may_come_before_what_it_revises(gateway, order):
    name = '<name use="L"><family>Newname</family></name><telecom updateMode="D" value="tel:1"/>'
    sent = [
        message(registration(PERSON + '<telecom value="tel:1"/>')),
        message(
            registration(name), interaction="PRPA_IN201302UV02", number="m2", created="20240103030405+0000"
        ),
    ]
    take(gateway, *(sent[at] for at in order))
    (patient,) = of_type(gateway, "Patient")
    assert [one["family"] for one in patient["name"]] == ["Newname"]
    assert (patient["birthDate"], "telecom" in patient) == ("1961-04-12", False)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_registration_in_error_is_gone_until_something_newer_is_said(gateway, order):
    sent = [
        message(registration()),
        message(
            registration("", status="nullified"),
            interaction="PRPA_IN201303UV02",
            number="m2",
            created="20240103030405+0000",
        ),
    ]
    take(gateway, *(sent[at] for at in order))
    assert [one for one in of_type(gateway, "Patient") if one] == []
    take(gateway, message(registration(), number="m3", created="20240104030405+0000"))
    assert [one["name"][0]["family"] for one in of_type(gateway, "Patient")] == ["Example"]


def test_what_a_registration_in_error_leaves_behind_is_work_for_people(gateway):
    mother = """<personalRelationship classCode="PRS"><code code="MTH" codeSystem="2.16.840.1.113883.5.111"/>
      <relationshipHolder1><name><family>Elder</family></name></relationshipHolder1></personalRelationship>"""
    gone = message(
        registration(status="nullified"),
        interaction="PRPA_IN201303UV02",
        number="m2",
        created="20240103030405+0000",
    )
    take(gateway, message(registration(PERSON + mother)), gone)
    (item,) = work_items(gateway.store.engine)
    assert (item.kind, item.place) == ("left behind", "registrationEvent/subject1/patient")


def test_a_merge_of_records_that_are_not_known_yet_makes_both(gateway):
    take(gateway, message(registration(after=prior(number("p9"))), interaction=MERGE))
    assert {name: one["active"] for name, one in patients(gateway).items()} == {"p1": True, "p9": False}


def test_the_patients_of_an_answer_belong_to_themselves(gateway):
    mother = """<personalRelationship classCode="PRS"><code code="MTH" codeSystem="2.16.840.1.113883.5.111"/>
      <relationshipHolder1><name><family>Elder</family></name></relationshipHolder1></personalRelationship>"""
    answer = [registration(PERSON + mother, ids=number(f"q{n}")) for n in range(2)]
    (taken,) = take(gateway, message(*answer, interaction="PRPA_IN201306UV02"))
    assert taken.is_accepted
    query = text(
        "SELECT c.patient FROM compartment c JOIN resource r ON r.rkey = c.rkey WHERE r.type = 'RelatedPerson'"
    )
    with gateway.store.engine.connect() as connection:
        owners = connection.execute(query).scalars().all()
    assert sorted(owners) == sorted(one["id"] for one in of_type(gateway, "Patient"))


def test_what_is_refused_is_kept_and_can_be_tried_again(gateway, tmp_path):
    (taken,) = take(gateway, message(registration(), interaction="PRPA_IN201305UV02"))
    assert (taken.status, taken.reason) == (
        "quarantined",
        "the interaction PRPA_IN201305UV02 is not supported",
    )
    settings = gateway.settings
    gateway.close()
    lines = list(quarantined(settings))
    assert "hl7v3|unreadable" in "".join(lines)
    (outcome,) = list(replay_quarantined(settings, []))
    assert outcome.is_failure
    assert "is not supported" in outcome.text


def test_a_file_of_the_watch_folder_is_taken_in(gateway, tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    watch = Watch(gateway, folder)
    watch.prepare()
    (folder / "feed.xml").write_bytes(enveloped(message(registration())))
    asyncio.run(watch.look())
    assert asyncio.run(watch.look()) == 1
    assert (folder / "processed" / "feed.xml").is_file()
    assert b"message stored" in (folder / "processed" / "feed.xml.ack").read_bytes()
    assert list(patients(gateway)) == ["p1"]


def test_a_second_merge_into_a_record_keeps_the_first_link(gateway):
    take(
        gateway,
        message(registration(after=prior(number("p9"))), interaction=MERGE),
        message(
            registration(after=prior(number("p8"))),
            interaction=MERGE,
            number="m2",
            created="20240104030405+0000",
        ),
    )
    found = patients(gateway)
    assert {one["other"]["reference"] for one in found["p1"]["link"]} == {
        f"Patient/{found[name]['id']}" for name in ("p8", "p9")
    }


def test_a_carried_document_is_stored_with_its_original_and_known_by_the_message(gateway):
    document = f"""<ClinicalDocument {NS}><id root="2.999.1" extension="d1"/><recordTarget><patientRole>
      {number("p1")}<patient><name><family>Example</family></name></patient></patientRole></recordTarget>
      </ClinicalDocument>"""
    raw = message(
        f"<subject><clinicalDocument><text>{document}</text></clinicalDocument></subject>",
        interaction="RCMR_IN000002UV02",
    )
    first, second = take(gateway, raw, raw)
    assert (first.is_accepted, second.is_accepted, second.is_repeat) == (True, True, True)
    assert len(of_type(gateway, "Binary")) == len(of_type(gateway, "DocumentReference")) == 1
    (again,) = take(gateway, message(registration(), number="m2"))
    assert again.is_accepted
    assert len(of_type(gateway, "Patient")) == 1


def test_a_care_record_is_stored_and_known_again(gateway):
    record = f"""<subject typeCode="SUBJ"><registrationEvent classCode="REG" moodCode="EVN"><subject2 typeCode="SUBJ">
      <careProvisionEvent classCode="PCPR" moodCode="EVN"><recordTarget><patient classCode="PAT">{number("p1")}
      <patientPerson>{PERSON}</patientPerson></patient></recordTarget><pertinentInformation3 typeCode="PERT">
      <observation classCode="OBS" moodCode="EVN"><id root="2.999.5"/><code code="718-7"
      codeSystem="2.16.840.1.113883.6.1"/><statusCode code="completed"/><value xsi:type="PQ" value="13.20" unit="g/dL"/>
      </observation></pertinentInformation3></careProvisionEvent></subject2></registrationEvent></subject>"""
    documents = Documents(gateway)
    raw = message(record, interaction="REPC_IN004014UV")
    assert documents.take_now(raw, HTTP).is_accepted
    again = documents.take_now(raw, HTTP)
    assert (again.is_accepted, again.is_repeat) == (True, True)
    assert [one["valueQuantity"]["value"].literal for one in of_type(gateway, "Observation")] == ["13.20"]
    assert len(of_type(gateway, "Patient")) == 1
    assert of_type(gateway, "DocumentReference") == []
    other = documents.take_now(raw.replace(b"13.20", b"14.20"), HTTP)
    assert other.status == "quarantined"
