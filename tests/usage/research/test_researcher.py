"""A researcher behind the gate: consented patients alone, by pseudonym, at every way out (docs/access-policy.md)."""

from __future__ import annotations

import inspect
from itertools import pairwise

import pytest

from hdg.management.consent.policy import SHIPPED
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher
from hdg.usage.access import Gate
from hdg.usage.research.pseudonyms import Pseudonyms

PROJECT = "asthma-1"


@pytest.fixture
def study(either):
    either.researcher = either.token("researcher", project=PROJECT)
    return either


def get(world, path, method="GET", **rest):
    return world.client.request(method, f"/fhir/{path}", world.researcher, **rest)


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"] for entry in answer.json().get("entry", ())]


def consent(world, patient="ann", *, to=f"ResearchStudy/{PROJECT}", **rest):
    return world.grant(patient, to, purposes=("HRESCH",), **rest)


def only_patient(world):
    (found,) = ids(get(world, "Patient"))
    return found


def test_without_consent_a_researcher_sees_nobody(study):
    assert get(study, "Patient").json()["total"] == 0
    assert get(study, "Observation").json()["total"] == 0
    assert get(study, "Patient/ann").status_code == 404


def test_with_consent_a_researcher_sees_that_patient_by_a_pseudonym(study):
    consent(study)
    pseudonym = only_patient(study)
    assert pseudonym != "ann"
    answer = get(study, f"Patient/{pseudonym}")
    shown = answer.json()
    assert (shown["resourceType"], shown["id"]) == ("Patient", pseudonym)
    assert "name" not in shown
    assert "identifier" not in shown
    assert not {"etag", "last-modified", "location", "content-location"} & set(answer.headers)
    assert get(study, "Patient/ann").status_code == 404


def test_references_lead_from_pseudonym_to_pseudonym(study):
    consent(study)
    consent(study, "bob")
    for patient in ids(get(study, "Patient")):
        own = get(study, f"Observation?subject=Patient/{patient}").json()
        assert own["total"] == 3
        assert {e["resource"]["subject"]["reference"] for e in own["entry"]} == {f"Patient/{patient}"}
        for form in (f"patient={patient}", f"subject:Patient={patient}", f"subject={patient}"):
            assert get(study, f"Observation?{form}").json()["total"] == 3
        assert get(study, f"Patient/{patient}/Observation").json()["total"] == 3
        for entry in own["entry"]:
            read = get(study, f"Observation/{entry['resource']['id']}")
            assert read.json() == entry["resource"]
            assert entry["fullUrl"].endswith(f"/Observation/{entry['resource']['id']}")
    assert get(study, "Observation?subject=Patient/ann").json()["total"] == 0
    assert get(study, "Observation?_id=ann-0").json()["total"] == 0


def test_two_projects_have_different_pseudonyms(study):
    consent(study, to="ResearchStudy/asthma-1")
    consent(study, to="ResearchStudy/asthma-2")
    mine = only_patient(study)
    study.researcher = study.token("researcher", project="asthma-2")
    other = only_patient(study)
    assert mine != other
    assert get(study, f"Patient/{mine}").status_code == 404
    assert get(study, f"Patient?_id={mine}").json()["total"] == 0


def test_a_consent_for_one_project_opens_no_other(study):
    consent(study, to="ResearchStudy/asthma-2")
    assert get(study, "Patient").json()["total"] == 0


def test_a_revoked_consent_takes_everything_back_at_once(study):
    made = consent(study)
    pseudonym = only_patient(study)
    observation = ids(get(study, "Observation"))[0]
    study.revoke(made)
    assert get(study, f"Patient/{pseudonym}").status_code == 404
    assert get(study, f"Observation/{observation}").status_code == 404
    assert get(study, f"Observation?patient={pseudonym}").json()["total"] == 0
    assert get(study, "Observation").json()["total"] == 0
    assert get(study, f"Patient/{pseudonym}/$everything").status_code == 404


def test_everything_of_an_encounter(study):
    consent(study)
    act = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    encounter = {
        "resourceType": "Encounter",
        "id": "stay",
        "status": "finished",
        "class": {"system": act, "code": "IMP"},
        "subject": {"reference": "Patient/ann"},
    }
    study.put(encounter, "north", "ann")
    result = study.observation("in-stay", "ann", "718-7", "2024-02-01")
    study.put({**result, "encounter": {"reference": "Encounter/stay"}}, "north", "ann")
    (stay,) = ids(get(study, f"Encounter?class={act}|IMP"))
    found = get(study, f"Encounter/{stay}/$everything").json()
    assert sorted(entry["resource"]["resourceType"] for entry in found["entry"]) == [
        "Encounter",
        "Observation",
    ]
    assert get(study, f"Observation?encounter.class={act}|IMP").json()["total"] == 1
    assert get(study, f"Encounter/{stay}/Observation").json()["total"] == 1
    assert get(study, f"Practitioner/{stay}/Observation").status_code == 403


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("Patient?birthdate=1970", "birthdate"),
        ("Patient?name:contains=Feather", "name"),
        ("Patient?gender:missing=true", "gender:missing"),
        ("Patient?_lastUpdated=gt2020", "_lastUpdated"),
        ("Patient?_sort=birthdate", "_sort"),
        ("Observation?subject:Patient.identifier=MRN-ann", "identifier"),
        ("Patient?_has:Observation:patient:date=2024-01-01", "date"),
        ("Observation?_include=Observation:device", "_include"),
        ("?_type=Patient,Observation&_lastUpdated=gt2020", "_lastUpdated"),
        ("Consent?patient=x", "patient"),
    ],
)
def test_what_probes_is_a_403_that_names_it_whichever_way_it_comes(world, asked, named):
    world.researcher = world.token("researcher", project=PROJECT)
    consent(world)
    place, _, query = asked.partition("?")
    lenient = {"prefer": "handling=lenient"}
    form = {"content-type": "application/x-www-form-urlencoded"}
    batch = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": {"method": "GET", "url": asked}}],
    }
    outcomes = []
    for answer in (
        get(world, asked),
        get(world, asked, headers=lenient),
        get(world, f"{place}/_search" if place else "_search", method="POST", headers=form, content=query),
        world.client.send("POST", "/fhir", world.researcher, batch),
    ):
        body = answer.json()
        if body["resourceType"] == "Bundle":
            (entry,) = body["entry"]
            assert entry["response"]["status"].startswith("403"), body
            body = entry["response"]["outcome"]
        else:
            assert answer.status_code == 403, answer.text
        outcomes.append(body["issue"][0]["diagnostics"])
    assert len(set(outcomes)) == 1
    assert f"'{named}'" in outcomes[0]


def test_a_consent_for_some_types_shows_these_and_no_others(study):
    consent(study, types=("Observation",))
    found = get(study, "Observation").json()
    assert found["total"] == 3
    (subject,) = {entry["resource"]["subject"]["reference"] for entry in found["entry"]}
    assert get(study, f"Observation?subject={subject}").json()["total"] == 3
    assert get(study, subject).status_code == 404
    assert get(study, f"{subject}/$everything").status_code == 404
    assert get(study, "Observation?subject:Patient.gender:not=male").json()["total"] == 0
    assert get(study, "Patient").json()["total"] == 0


def test_types_that_are_not_shown_are_not_counted_either(study):
    consent(study)
    for type_ in ("Provenance", "DocumentReference", "Practitioner", "Consent", "Appointment"):
        about = {"subject": {"reference": "Patient/ann"}, "patient": {"reference": "Patient/ann"}}
        about["target"] = [{"reference": "Patient/ann"}]
        study.put({"resourceType": type_, "id": f"x-{type_}", **about}, "north", "ann")
        assert get(study, type_).json()["total"] == 0
        assert get(study, f"{type_}?_summary=count").json()["total"] == 0
    assert get(study, f"Patient/{only_patient(study)}/*").json()["total"] == 4
    assert get(study, "").json()["total"] == 4


def test_pages_give_each_resource_once_in_an_order_that_is_not_of_creation(study):
    consent(study)
    for number in range(40):
        study.put(study.observation(f"o-{number:02}", "ann", "718-7", "2024-02-01"), "north", "ann")
    found, answer = [], get(study, "Observation?_count=7")
    while True:
        found += ids(answer)
        links = {link["relation"]: link["url"] for link in answer.json()["link"]}
        if "next" not in links:
            break
        answer = study.client.get(links["next"], study.researcher)
    names = Pseudonyms(study.keys.project_key(PROJECT), hasher(index_key(study.keys.root)))
    created = [names.of("Observation", f"o-{number:02}") for number in range(40)]
    assert len(found) == len(set(found)) == 43
    listed = [id_ for id_ in found if id_ in created]
    assert set(listed) == set(created)
    places = [created.index(id_) for id_ in listed]
    assert 8 < sum(one < other for one, other in pairwise(places)) < 31, "neither up nor down"


def test_everything_of_a_patient(study):
    consent(study)
    pseudonym = only_patient(study)
    answer = get(study, f"Patient/{pseudonym}/$everything")
    assert answer.json()["total"] == 4
    assert get(study, f"Patient/{pseudonym}/$everything?_type=Observation").json()["total"] == 3
    assert get(study, f"Patient/{pseudonym}/$everything?_type=Provenance").json()["total"] == 0
    assert get(study, "Patient/ann/$everything").status_code == 404
    assert get(study, f"Patient/{pseudonym}/$everything?_since=2020").status_code == 403
    assert get(study, f"Patient/{pseudonym}/$everything?start=2020").status_code == 403
    assert get(study, f"Patient/{pseudonym}/$everything?end=2020").status_code == 403


def test_includes_chains_and_has_stay_among_what_is_consented(study):
    consent(study)
    male = {**study.patient("bob", "Otto", "C"), "gender": "male"}
    study.put(male, "south", "bob")
    study.put({**study.patient("ann", "Eve", "F"), "gender": "female"}, "north", "ann")
    assert get(study, "Observation?subject:Patient.gender=female").json()["total"] == 3
    assert get(study, "Observation?subject.gender=male").json()["total"] == 0
    assert get(study, "Patient?_has:Observation:patient:code=http://loinc.org|718-7").json()["total"] == 1
    assert get(study, "Patient?_has:Observation:patient:code=718-7&gender=male").json()["total"] == 0
    answer = get(study, "Observation?_include=Observation:subject").json()
    modes = [entry["search"]["mode"] for entry in answer["entry"]]
    assert sorted(modes) == ["include", "match", "match", "match"]
    answer = get(study, "Patient?_revinclude=Observation:subject").json()
    assert sorted(e["search"]["mode"] for e in answer["entry"]) == ["include"] * 3 + ["match"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/fhir/Patient/{id}/_history"),
        ("GET", "/fhir/Patient/_history"),
        ("GET", "/fhir/_history"),
        ("GET", "/fhir/Patient/{id}/_history/1"),
        ("GET", "/ledger/proof?type=Patient&id={id}"),
        ("GET", "/fhir/Observation/$lastn?patient={id}&category=laboratory"),
    ],
)
def test_what_betrays_versions_or_times_is_refused(study, method, path):
    consent(study)
    pseudonym = only_patient(study)
    for id_ in (pseudonym, "ann", "nobody"):
        answer = study.client.request(method, path.format(id=id_), study.researcher)
        assert answer.status_code == 403, answer.text
        assert "researchers" in answer.json()["issue"][0]["diagnostics"]


def test_a_researcher_writes_nothing(study):
    consent(study)
    pseudonym = only_patient(study)
    send = study.client.send
    made = study.observation("x", pseudonym, "718-7", "2024-01-01")
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": made, "request": {"method": "POST", "url": "Observation"}}],
    }
    subscription = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "r",
        "criteria": "Observation?",
        "channel": {
            "type": "rest-hook",
            "endpoint": "http://127.0.0.1:9/x",
            "payload": "application/fhir+json",
        },
    }
    for answer in (
        send("POST", "/fhir/Observation", study.researcher, made),
        send("PUT", f"/fhir/Patient/{pseudonym}", study.researcher, study.patient(pseudonym, "A", "B")),
        send("DELETE", f"/fhir/Patient/{pseudonym}", study.researcher),
        send("DELETE", "/fhir/Patient?gender=female", study.researcher),
        send("POST", "/fhir", study.researcher, bundle),
        send("POST", "/fhir/Subscription", study.researcher, subscription),
    ):
        assert answer.status_code == 403, answer.text


WAYS = {
    "served": {"read", "search", "everything"},
    "refused": {"vread", "history", "changes", "document", "proof", "record", "images", "write", "rehearse"},
    "show nothing stored": {"draft", "drafts_or_errors", "examined", "end_helper"},
}


def test_every_way_through_the_gate_is_decided_for_researchers():
    """A new way comes here first: what it does not refuse must pass the Desk (research/desk.py)."""
    ways = {
        name
        for name, member in vars(Gate).items()
        if inspect.iscoroutinefunction(member) and not name.startswith("_")
    }
    assert ways == set().union(*WAYS.values())
    source = {name: inspect.getsource(getattr(Gate, name)) for name in ways}
    assert all("self._desk." in source[name] for name in WAYS["served"])
    assert all("refuse_researcher(" in source[name] for name in WAYS["refused"])


def test_a_policy_without_the_obligation_still_shows_researchers_nothing_real(make_world, tmp_path):
    policy = tmp_path / "policy.toml"
    shipped = SHIPPED.read_text()
    changed = shipped.replace('researcher = ["deidentify"]', "researcher = []")
    changed = changed.replace("types = { clinician", 'types = { researcher = ["*"], clinician')
    assert changed.count("researcher = []") == 1
    assert 'researcher = ["*"]' in changed
    policy.write_text(changed)
    world = make_world(policy=policy)
    world.researcher = world.token("researcher", project=PROJECT)
    consent(world)
    pseudonym = only_patient(world)
    shown = get(world, f"Patient/{pseudonym}").json()
    assert "name" not in shown
    assert get(world, "Patient/ann/_history").status_code == 403
    made = world.observation("x", "ann", "718-7", "2024-01-01")
    assert world.client.send("POST", "/fhir/Observation", world.researcher, made).status_code == 403


def test_a_conditional_read_tells_no_version_and_no_time(study):
    consent(study)
    pseudonym = only_patient(study)
    for headers in (
        {"if-none-match": 'W/"1"'},
        {"if-none-match": 'W/"0"'},
        {"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    ):
        assert get(study, f"Patient/{pseudonym}", headers=headers).status_code == 200


def test_every_use_names_project_purpose_and_patient_in_the_audit(study):
    consent(study)
    pseudonym = only_patient(study)
    get(study, f"Observation?patient={pseudonym}")
    get(study, f"Patient/{pseudonym}")
    get(study, "Patient?birthdate=1970-01-01")
    events = audit(study)
    assert [event["subtype"][0]["code"] for event in events] == ["search", "search", "read", "search"]
    assert [event["outcome"] for event in events] == ["0", "0", "0", "4"]
    for event in events:
        assert event["purposeOfEvent"][0]["coding"][0]["code"] == "HRESCH"
        (user,) = [agent for agent in event["agent"] if agent["requestor"]]
        assert f"urn:hdg:project:{PROJECT}" in user["policy"]
        about = [e["what"]["reference"] for e in event["entity"] if "what" in e]
        assert ("Patient/ann" in about) == (event["outcome"] == "0")


def audit(world):
    """The AuditEvents of the researcher, oldest first."""
    from sqlalchemy import select

    from hdg.fhir import json
    from hdg.management.audit import AuditEventRow

    table = AuditEventRow.__table__
    with world.store.engine.connect() as connection:
        rows = connection.execute(select(table).where(table.c.agent == "u1").order_by(table.c.at_us)).all()
    reader = world.store.reader
    found = []
    for row in rows:
        code = next(leaf for leaf in leaves(world) if leaf["key"] == f"AuditEvent/{row.id}")["subject"]
        found.append(json.loads(reader.open_row(code, row.body, f"AuditEvent/{row.id}").body))
    return found


def leaves(world):
    from hdg.fhir import json

    checkpoint_size = world.store.log
    with world.store.engine.connect() as connection:
        size = checkpoint_size.checkpoint(connection).size
        return [json.loads(checkpoint_size.leaf(connection, index)) for index in range(size)]
