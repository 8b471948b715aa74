"""Nobody learns of another patient by the trail, nor of it who may not read it (docs/access-policy.md#the-trail)."""

from __future__ import annotations

import base64
import re

import pytest

from hdg.fhir import definitions
from hdg.fhir.validate import validate
from hdg.management.audit import Access
from hdg.management.consent.policy import SHIPPED, load_policy
from hdg.management.identity import Principal
from hdg.usage.accesses import reader_of
from hdg.usage.audit_view import View, shown
from hdg.usage.fhir_api.parameters import supported
from hdg.usage.trail import Caller, Trail

PLACE = "/fhir/AuditEvent"
OTHERS = ["cyd", "dan", "eva", "fay"]
SECRETS = ["cyd", "dan", "eva", "fay", "bob", "Zebedee", "MRN-", "1961-02-03", "HIV-TEST"]
AUDITED = SHIPPED.read_text().replace('AuditEvent = ["patient"]', 'AuditEvent = ["patient", "operator"]')


@pytest.fixture
def crowd(world):
    fill(world)
    return world


@pytest.fixture
def audited(make_world, tmp_path):
    """Where the policy lets operators look into the trail."""
    policy = tmp_path / "policy.toml"
    policy.write_text(AUDITED)
    world = make_world(policy=policy)
    fill(world)
    return world


def fill(world):
    for name in OTHERS:
        content = world.patient(name, "Zebedee", "Zebedee")
        content["birthDate"] = "1961-02-03"
        world.put(content, "north", name)
        world.put(world.observation(f"{name}-0", name, "718-7", "2024-01-01"), "north", name)
    composition = {
        "resourceType": "Composition",
        "id": "cyd-letter",
        "status": "final",
        "type": {"text": "t"},
        "subject": {"reference": "Patient/cyd"},
        "date": "2024-01-01",
        "title": "t",
        "author": [{"display": "a"}],
        "section": [{"entry": [{"reference": "Observation/ann-0"}]}],
    }
    world.put(composition, "north", "cyd")


def clinician(world, institution="north"):
    return world.token("clinician", institution=institution)


def events(world, token, query=""):
    answer = world.client.get(f"{PLACE}{query}", token)
    assert answer.status_code == 200, answer.text
    assert validate(answer.json()) == []
    return [entry["resource"] for entry in answer.json().get("entry", ())]


def told(event):
    """All that an event says, what was asked for in words."""
    asked = [base64.b64decode(one["query"]).decode() for one in event.get("entity", ()) if "query" in one]
    return str(event) + " ".join(asked)


READS = [
    "Observation?code=718-7&_count=50",
    "Patient?family=Zebedee,Featherstonehaugh",
    "Patient?identifier=MRN-ann,MRN-cyd,MRN-dan,MRN-eva,MRN-fay",
    "Patient?_id=ann,bob,cyd,dan,eva,fay",
    "Patient?birthdate=1970-01-01,1961-02-03",
    "Observation?subject=Patient/ann,Patient/bob",
    "Observation?patient:Patient=ann,cyd",
    "Observation?subject:Patient.name=Zebedee,Eve",
    "Observation?code=718-7,HIV-TEST%3B%20Zebedee",
    "Observation?_filter=subject eq Patient/ann or subject eq Patient/cyd",
    "Patient?_has:Observation:subject:_id=ann-0,cyd-0",
    "Patient?_sort=-_lastUpdated&_count=50",
    "?_type=Patient,Observation&_lastUpdated=ge2020",
    "_history",
    "Observation/_history?_count=50",
    "Composition/cyd-letter/$document",
    "Composition/$document?id=cyd-letter",
    "Observation/ann-0",
    "Observation/ann-0/_history",
    "Patient/ann/$everything",
    "Patient/ann/Observation?code=718-7",
    "Observation/$lastn?patient=ann,cyd&code=718-7",
]


@pytest.mark.parametrize("path", READS)
def test_whatever_is_read_of_many_patients_one_s_trail_names_no_other(crowd, path):
    assert crowd.client.get(f"/fhir/{path}", clinician(crowd)).status_code == 200
    found = events(crowd, crowd.token("patient", patient="ann"))
    assert len(found) == 1
    for secret in SECRETS:
        assert secret not in told(found[0]), secret
    is_whole = "…" not in told(found[0])
    assert ("security" in found[0]["meta"]) == (not is_whole or "cyd-letter" in path)


def test_writes_about_several_patients_leave_in_each_trail_the_own_resources(crowd):
    def entry(name, query=""):
        observation = crowd.observation(f"north.{name}-9", name, "718-7", "2024-01-01")
        url = f"Observation?_id=north.{name}-9&subject=Patient/{name}"
        return {"resource": observation, "request": {"method": "PUT", "url": url}}

    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [entry(name) for name in ("ann", *OTHERS)],
    }
    answer = crowd.client.send("POST", "/fhir", clinician(crowd), bundle)
    assert answer.status_code == 200, answer.text
    (event,) = events(crowd, crowd.token("patient", patient="ann"))
    for secret in SECRETS:
        assert secret not in told(event), secret
    assert [one["what"]["reference"] for one in event["entity"] if "what" in one] == [
        "Patient/ann",
        "Observation/north.ann-9",
    ]


def recalled(crowd):
    """As $events of a Subscription records it (feed.recall)."""
    trail = Trail(crowd.store, crowd.settings)
    caller = Caller(Principal("clinician", "u1", "north", "", "TREAT", "", "t", 0))
    places = tuple(f"Observation/{name}-0" for name in ("ann", *OTHERS))
    access = Access("operation", "0", "Subscription/s", query="Subscription/s/$events", resources=places)
    for patients in (["ann", *OTHERS], ["ann", "cyd"]):
        crowd.store.submit(lambda session, to=patients: trail.write(session, caller, access, to)).result(120)


def test_an_operation_that_names_resources_of_many_names_in_each_trail_the_own(crowd):
    recalled(crowd)
    found = events(crowd, crowd.token("patient", patient="ann"))
    assert len(found) == 2
    for event in found:
        assert [one["what"]["reference"] for one in event["entity"] if "what" in one] == [
            "Patient/ann",
            "Observation/ann-0",
        ]
        assert "REDACTED" in str(event["meta"])
        assert not any(secret in told(event) for secret in SECRETS)


def test_a_search_of_the_trail_cannot_ask_for_what_is_left_out_of_it(crowd):
    crowd.client.get("/fhir/Observation?subject=Patient/ann,Patient/cyd", clinician(crowd))
    recalled(crowd)
    token = crowd.token("patient", patient="ann")
    for query in ("entity=Observation/cyd-0", "entity=Patient/cyd", "patient:missing=true", "patient=cyd"):
        assert events(crowd, token, f"?{query}") == []
    assert len(events(crowd, token, "?entity=Observation/ann-0")) == 2


WHO = [
    ("clinician", {"institution": "north"}),
    ("clinician", {"institution": "south"}),
    ("researcher", {"project": "p1"}),
    ("operator", {}),
    ("sender", {"institution": "north"}),
    ("patient", {"patient": "bob"}),
    ("patient", {"patient": "ann", "purpose": "TREAT"}),
]


@pytest.mark.parametrize(("role", "who"), WHO)
def test_to_everybody_else_the_trail_looks_like_one_that_is_not_there(crowd, role, who):
    grants = [{"types": ()}, {"types": ("AuditEvent",)}]
    for grant in grants:
        actors = ("Practitioner/u1", "Organization/north", "Patient/bob", "ResearchStudy/p1")
        crowd.grant("ann", *actors, purposes=("TREAT", "HRESCH", "PATRQT", "HSYSADMIN"), **grant)
    crowd.client.get("/fhir/Patient/ann", clinician(crowd))
    crowd.client.get("/fhir/Observation?code=718-7&_count=50", clinician(crowd))
    mine = events(crowd, crowd.token("patient", patient="ann"))
    token = crowd.token(role, **who)
    for event in mine:
        for place in (event["id"], f"{event['id'][:-1]}0", "never"):
            hidden = crowd.client.get(f"{PLACE}/{place}", token)
            assert hidden.status_code == 404
            assert hidden.content == crowd.client.get(f"{PLACE}/absent", token).content
    queries = [
        "?patient=Patient/{}",
        "?patient={}&_count=0",
        "?patient={}&action=R",
        "?patient={}&date=ge2020",
    ]
    for query in queries:
        known, absent = (
            crowd.client.get(PLACE + query.format(patient), token).json() for patient in ("ann", "never")
        )
        if role == "patient" and who["patient"] == "bob":
            assert known["total"] == 0
        assert {**known, "link": []} == {**absent, "link": []}
        assert "entry" not in known
    by_id = crowd.client.get(f"{PLACE}?_id={mine[0]['id']}", token)
    assert "entry" not in by_id.json()


AROUND = [
    ("GET", "Patient?_revinclude=AuditEvent:patient", 400),
    ("GET", "Patient?_revinclude=AuditEvent:entity", 400),
    ("GET", "Patient/ann?_revinclude=*", 400),
    ("GET", "Patient?_revinclude=*&_id=ann", 200),
    ("GET", "Patient?_revinclude:iterate=AuditEvent:patient", 400),
    ("GET", "Observation?_include=AuditEvent:entity", 400),
    ("GET", "Patient?_has:AuditEvent:patient:action=R", 400),
    ("GET", "Patient?_has:Observation:subject:_has:AuditEvent:entity:action=R", 400),
    ("GET", "Provenance?target:AuditEvent.action=R", 400),
    ("GET", "Observation?subject:Patient._has:AuditEvent:patient:action=R", 400),
    ("GET", "Patient?_filter=_has:AuditEvent:patient:action eq R", 400),
    ("GET", "?_type=AuditEvent", 400),
    ("GET", "?_type=Patient,AuditEvent&_id=ann", 400),
    ("GET", "?_id={}", 200),
    ("POST", "_search?_type=AuditEvent", 400),
    ("GET", "Patient/ann/*?_type=AuditEvent", 400),
    ("GET", "Patient/ann/*", 200),
    ("GET", "Device/u1/AuditEvent", 400),
    ("GET", "Practitioner/u1/AuditEvent", 400),
    ("GET", "Encounter/x/AuditEvent", 400),
    ("GET", "Patient/cyd/AuditEvent", 200),
    ("POST", "Patient/cyd/AuditEvent/_search", 200),
    ("GET", "Patient/ann/$everything?_type=AuditEvent", 400),
    ("GET", "AuditEvent/_history", 400),
    ("GET", "AuditEvent/{}/_history", 400),
    ("GET", "AuditEvent/{}/_history/1", 404),
    ("GET", "AuditEvent/{}/$everything", 404),
    ("GET", "AuditEvent/$lastn?patient=cyd&code=1", 404),
    ("GET", "AuditEvent/{}/$meta", 404),
    ("GET", "AuditEvent/{}/$validate", 404),
    ("GET", "AuditEvent/{}", 404),
    ("HEAD", "AuditEvent/{}", 404),
    ("GET", "AuditEvent?_list=x", 400),
    ("GET", "List?item:AuditEvent=x", 200),
    ("GET", "$graphql?query=AuditEvent", 404),
    ("PUT", "AuditEvent/{}", 403),
    ("DELETE", "AuditEvent/{}", 403),
    ("DELETE", "AuditEvent?patient=cyd", 403),
    ("PATCH", "AuditEvent/{}", 403),
]


@pytest.mark.parametrize(("method", "path", "status"), AROUND)
@pytest.mark.parametrize("role", ["patient", "clinician"])
def test_no_way_around_leads_to_another_s_trail(crowd, method, path, status, role):
    crowd.client.get("/fhir/Patient/cyd", crowd.token("clinician", user="dr-secret", institution="north"))
    (theirs,) = events(crowd, crowd.token("patient", patient="cyd"))
    who = {"patient": "ann"} if role == "patient" else {"institution": "south"}
    parts = [
        {"name": "type", "valueCode": "delete"},
        {"name": "path", "valueString": "AuditEvent.outcomeDesc"},
    ]
    patch = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}
    bodies = {"PUT": theirs, "PATCH": patch}
    body = bodies.get(method)
    answer = crowd.client.send(method, f"/fhir/{path.format(theirs['id'])}", crowd.token(role, **who), body)
    assert answer.status_code == status, answer.text
    assert theirs["id"] not in answer.text
    assert "dr-secret" not in answer.text
    assert not re.search(r'"resourceType":\s*"AuditEvent"', answer.text)
    batch = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": {"method": "GET", "url": path.format(theirs["id"])}}],
    }
    if method == "GET":
        inner = crowd.client.send("POST", "/fhir", crowd.token(role, **who), batch)
        assert inner.status_code == 200
        assert "dr-secret" not in inner.text
        (entry,) = inner.json()["entry"]
        assert entry["response"]["status"].startswith((str(status), "400"))


def test_page_links_are_bound_to_who_asked(crowd):
    for _ in range(3):
        crowd.client.get("/fhir/Observation?code=718-7&_count=50", clinician(crowd))
    bundle = crowd.client.get(f"{PLACE}?_count=1", crowd.token("patient", patient="ann")).json()
    url = next(link["url"] for link in bundle["link"] if link["relation"] == "next").partition(".example")[2]
    for role, who in WHO:
        assert crowd.client.get(url, crowd.token(role, **who)).status_code == 400
    compartment = url.replace("/fhir/AuditEvent", "/fhir/Patient/cyd/AuditEvent")
    assert crowd.client.get(compartment, crowd.token("patient", patient="ann")).status_code == 400


def test_an_auditor_looks_into_one_patient_s_trail_at_a_time_and_sees_no_content(audited):
    paths = [
        "Patient/ann",
        "Observation?code=718-7&_count=50",
        "Observation?subject=Patient/ann,Patient/cyd&code=HIV-TEST,718-7",
    ]
    for path in paths:
        assert audited.client.get(f"/fhir/{path}", clinician(audited)).status_code == 200
    token = audited.token("operator", user="complaints")
    for query in ("", "?action=R", "?patient=ann,cyd", "?patient=ann&patient=cyd&patient=ann", "?_id=x"):
        assert audited.client.get(f"{PLACE}{query}", token).status_code == 400
    found = events(audited, token, "?patient=Patient/ann")
    assert len(found) == 3
    for event in found:
        assert not any(secret in told(event) for secret in [*SECRETS, "718-7"])
    assert told(found[0]).endswith("Observation?subject=Patient/ann,…&code=…")
    one = audited.client.get(f"{PLACE}/{found[1]['id']}", token)
    assert one.json() == found[1]
    assert events(audited, token, "?patient=never") == []
    assert audited.client.get("/fhir/Patient/ann", token).status_code == 404
    assert audited.client.get("/fhir/Observation?subject=ann", token).json()["total"] == 0
    wrong = audited.token("operator", purpose="TREAT")
    assert events(audited, wrong, "?patient=ann") == []
    looked = events(audited, audited.token("patient", patient="ann"))[:2]
    assert [event["agent"][2]["who"]["identifier"]["value"] for event in looked] == ["complaints"] * 2
    assert [event["subtype"][0]["code"] for event in looked] == ["read", "search"]


@pytest.mark.parametrize(
    ("line", "role", "expected"),
    [
        ('AuditEvent = ["patient"]', "patient", "patient"),
        ('AuditEvent = ["patient"]', "operator", ""),
        ('AuditEvent = ["operator"]', "patient", ""),
        ('AuditEvent = ["operator"]', "operator", "auditor"),
        ('AuditEvent = ["patient", "clinician", "researcher", "operator"]', "clinician", ""),
        ('AuditEvent = ["patient", "clinician", "researcher", "operator"]', "researcher", ""),
        ("", "patient", "patient"),
        ("", "operator", ""),
        ("AuditEvent = []", "patient", ""),
    ],
)
def test_the_policy_says_who_reads_the_trail(tmp_path, line, role, expected):
    file = tmp_path / "policy.toml"
    file.write_text(SHIPPED.read_text().replace('AuditEvent = ["patient"]', line))
    policy = load_policy(file)
    purpose = {"patient": "PATRQT", "operator": "HSYSADMIN", "clinician": "TREAT", "researcher": "HRESCH"}[
        role
    ]
    who = Principal(role, "u", "north", "ann" if role == "patient" else "", purpose, "", "t", 0)
    assert reader_of(policy, who) == expected


def test_a_patient_who_does_not_read_the_own_record_does_not_read_the_trail(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text(SHIPPED.read_text().replace("reads_own_record = true", "reads_own_record = false"))
    who = Principal("patient", "u", "", "ann", "PATRQT", "", "t", 0)
    assert reader_of(load_policy(file), who) == ""


def event_of(subtype, *entities, research=False):
    policy = ["urn:hdg:token:t", *(["urn:hdg:project:p"] if research else ())]
    return {
        "resourceType": "AuditEvent",
        "id": "e",
        "subtype": [{"code": subtype}],
        "recorded": "2026-01-01T00:00:00Z",
        "agent": [{"requestor": True, "policy": policy}],
        "entity": list(entities),
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("Observation?code=718-7&subject=Patient/ann", "Observation?code=718-7&subject=Patient/ann"),
        ("Observation?code:not=718-7", "Observation?code:not=718-7"),
        ("Observation?code:text=zebedee", "Observation?code:text=…"),
        ("Observation?code=zebedee smith", "Observation?code=…"),
        ("Patient?name=ann", "Patient?name=ann"),
        ("Patient?name=anne", "Patient?name=…"),
        ("Patient?gender=male&telecom=555", "Patient?gender=male&telecom=…"),
        ("Patient?identifier=urn:x|7", "Patient?identifier=…"),
        ("Patient/cyd/Observation?_count=5", "Patient/…/Observation?_count=5"),
        ("Patient/ann/_history/2", "Patient/ann/_history/2"),
        ("Observation/ann/_history/2", "Observation/…/_history/2"),
        ("Observation?code=1\nPatient?name=Zebedee", "Observation?code=1\nPatient?name=…"),
        ("Observation?code=1; Patient?name=Zebedee", "Observation?code=…"),
        ("/dicomweb/studies/1.2.3/instances?PatientName=Zebedee", "/dicomweb/studies/…/instances?…"),
        ('C-FIND STUDY {"00100010": "Zebedee"}', "C-FIND STUDY … …"),
        ("hdg export --ccd --patient ann", "hdg export --ccd --patient ann"),
        ("hdg export --ccd --patient cyd", "hdg export --ccd --patient …"),
        ("Zebedee", "…"),
        ("?_type=Patient&_lastUpdated=ge2020", "?_type=Patient&_lastUpdated=ge2020"),
        ("?Zebedee Smith=1", "?…=…"),
    ],
)
def test_of_what_was_asked_only_the_harmless_is_shown(asked, expected):
    entity = {"query": base64.b64encode(asked.encode()).decode()}
    view = View(frozenset({"ann"}), frozenset(), with_codes=True)
    made = shown(event_of("search", entity), view)
    assert base64.b64decode(made["entity"][0]["query"]).decode() == expected
    assert ("security" in made["meta"]) == ("…" in expected)


def test_no_parameter_of_r4_shows_a_value_but_codes_and_the_patient_s_own():
    view = View(frozenset({"ann"}), frozenset(), with_codes=True)
    auditor = View(frozenset({"ann"}), frozenset(), with_codes=False)
    shown_ = set()
    for type_ in sorted(definitions.resource_types()):
        for code, kind in supported(type_).items():
            for value in ("Zebedee", "1961-02-03", "Patient/cyd", "urn:x|MRN-1", "ann,cyd"):
                text = f"{type_}?{code}={value}"
                entity = {"query": base64.b64encode(text.encode()).decode()}
                made = [
                    shown(event_of("search", entity), one)["entity"][0]["query"] for one in (view, auditor)
                ]
                patient_s, auditor_s = (base64.b64decode(one).decode().partition("=")[2] for one in made)
                is_time = code in ("date", "_lastUpdated")
                assert is_time or auditor_s == ("ann,…" if value == "ann,cyd" else "…"), text
                if patient_s == value and not is_time:
                    shown_.add((kind, code))
    assert {kind for kind, _ in shown_} == {"token"}
    hidden = {
        "identifier",
        "phone",
        "email",
        "telecom",
        "_id",
        "_tag",
        "_security",
        "identifier-value",
        "number",
    }
    assert not hidden & {code for _, code in shown_} - {"_tag", "_security"}
    assert {"code", "category", "status"} <= {code for _, code in shown_}


@pytest.mark.parametrize("query", ["not base64!", base64.b64encode(b"\xff\xfe").decode()])
def test_what_was_asked_and_cannot_be_read_is_left_out(query):
    made = shown(event_of("search", {"query": query}), View(frozenset({"ann"}), frozenset(), with_codes=True))
    assert base64.b64decode(made["entity"][0]["query"]).decode() == "…"


def test_entities_are_shown_where_they_are_known_to_be_about_the_patient():
    def what(reference):
        return {"what": {"reference": reference}}

    entities = [
        what(one) for one in ("Patient/ann", "Patient/cyd", "Observation/a", "Observation/b/_history/1")
    ]
    entities += [{"what": {"display": "x"}}, {"name": "y"}]
    view = View(frozenset({"ann"}), frozenset({"Observation/b"}), with_codes=True)
    for subtype, research, expected in (
        ("read", False, ["Patient/ann", "Observation/a", "Observation/b/_history/1"]),
        ("operation", False, ["Patient/ann", "Observation/b/_history/1"]),
        ("read", True, ["Patient/ann", "Observation/b/_history/1"]),
    ):
        made = shown(event_of(subtype, *entities, research=research), view)
        assert [one["what"]["reference"] for one in made["entity"]] == expected
        assert made["meta"]["security"][0]["code"] == "REDACTED"
