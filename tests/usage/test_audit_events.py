"""The trail as AuditEvents: to the patient, both forms, in the order of time (R4 auditevent.html, DESIGN §6)."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from hdg.fhir.validate import validate
from hdg.management import audit_read
from hdg.management.audit import Access, AuditEventRow, Event, audit_event, seal_event
from hdg.management.identity import Principal
from hdg.management.ledger.leaf import Leaf
from hdg.usage import accesses

NAMES = ["ann", "cyd", "dan", "eva", "fay"]
CROWD = "/fhir/Observation?code=718-7&_count=50"
PLACE = "/fhir/AuditEvent"


@pytest.fixture
def crowd(either):
    """Five patients of north, and bob, whom north may not see."""
    for name in NAMES[1:]:
        either.put(either.patient(name, "A", "B"), "north", name)
        either.put(either.observation(f"{name}-0", name, "718-7", "2024-01-01"), "north", name)
    return either


def asked(world, *paths, role="clinician", **who):
    token = world.token(role, **(who or {"institution": "north"}))
    answers = [world.client.get(path, token) for path in paths]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    return answers


def trail(world, query="", *, patient="ann"):
    """The events of a page as the patient gets them."""
    answer = world.client.get(f"{PLACE}{query}", world.token("patient", patient=patient))
    assert answer.status_code == 200, answer.text
    assert validate(answer.json()) == []
    return [entry["resource"] for entry in answer.json().get("entry", ())]


def kinds(events):
    return [event["subtype"][0]["code"] for event in events]


def named(event):
    return [entity["what"]["reference"] for entity in event["entity"] if "what" in entity]


def query_of(event):
    (found,) = [base64.b64decode(one["query"]).decode() for one in event["entity"] if "query" in one]
    return found


def pages(world, query, token):
    """All pages of a search; the last first in time if it is sorted so."""
    found, totals, url = [], [], f"{PLACE}?{query}"
    while url:
        bundle = world.client.get(url, token).json()
        found.append([entry["resource"]["id"] for entry in bundle.get("entry", ())])
        totals.append(bundle.get("total"))
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
        parts = urlsplit(url)
        url = f"{parts.path}?{parts.query}" if url else ""
    return found, totals


def changed(world, statement, **values):
    def work(session):
        session.connection.execute(text(statement), values)

    world.store.submit(work).result(120)


def test_a_patient_sees_who_read_the_record_newest_first_however_it_was_kept(crowd):
    asked(crowd, "/fhir/Patient/ann", CROWD, "/fhir/Observation/ann-1/_history/1", CROWD, "/fhir/Patient/cyd")
    events = trail(crowd)
    assert kinds(events) == ["search", "vread", "search", "read"]
    assert [event["recorded"] for event in events] == sorted((e["recorded"] for e in events), reverse=True)
    assert [named(event) for event in events] == [
        ["Patient/ann"],
        ["Patient/ann", "Observation/ann-1/_history/1"],
        ["Patient/ann"],
        ["Patient/ann", "Patient/ann"],
    ]
    assert query_of(events[0]) == "Observation?code=718-7&_count=50"
    for event in events:
        assert event["agent"][2]["who"] == {"identifier": {"value": "u1"}, "display": "clinician at north"}
        assert event["meta"] == {"lastUpdated": event["recorded"]}
    assert kinds(trail(crowd, patient="cyd")) == ["read", "search", "search"]


def test_each_event_is_read_by_its_id_and_is_the_one_of_the_search(crowd):
    asked(crowd, "/fhir/Patient/ann", CROWD)
    token = crowd.token("patient", patient="ann")
    for event in trail(crowd):
        answer = crowd.client.get(f"{PLACE}/{event['id']}", token)
        assert (answer.status_code, answer.json()) == (200, event)
        assert validate(answer.json()) == []
        assert "etag" not in answer.headers
        (alone,) = trail(crowd, f"?_id={event['id']}")
        assert alone == event


def test_to_look_into_the_trail_is_an_access_that_is_in_the_trail(crowd):
    asked(crowd, "/fhir/Patient/ann")
    (event,) = trail(crowd)
    crowd.client.get(f"{PLACE}/{event['id']}", crowd.token("patient", patient="ann"))
    crowd.client.get(f"{PLACE}/nothing", crowd.token("patient", patient="ann"))
    read, search, _ = trail(crowd)
    assert (query_of(search), named(search)) == ("AuditEvent?", ["Patient/ann"])
    assert (kinds([read]), named(read)) == (["read"], ["Patient/ann", f"AuditEvent/{event['id']}"])
    assert read["agent"][2]["who"]["reference"] == "Patient/ann"


def test_nothing_leaves_when_the_look_into_the_trail_cannot_be_recorded(crowd, monkeypatch):
    asked(crowd, "/fhir/Patient/ann")
    (event,) = trail(crowd)

    def full(*arguments, **named):
        raise OSError("disk full of SECRETS")

    monkeypatch.setattr("hdg.usage.trail.seal_event", full)
    token = crowd.token("patient", patient="ann")
    for path in (PLACE, f"{PLACE}/{event['id']}", f"{PLACE}/nothing", f"{PLACE}?patient=nobody"):
        answer = crowd.client.get(path, token)
        assert answer.status_code == 503
        assert "SECRETS" not in answer.text
        assert "u1" not in answer.text


def test_pages_follow_each_other_and_nothing_comes_twice_or_not_at_all(crowd):
    asked(crowd, *["/fhir/Patient/ann", CROWD] * 4, "/fhir/Observation/ann-0", "/fhir/Patient/ann")
    whole = [event["id"] for event in trail(crowd)]
    token = crowd.token("patient", patient="ann")
    found, totals = pages(crowd, "_count=3", token)
    assert len(whole) == 10
    assert [id_ for page in found for id_ in page][1:] == whole  # the search before it came to it
    assert [len(page) for page in found] == [3, 3, 3, 2]
    assert totals == [11, 11, 11, 11]
    backwards, _ = pages(crowd, "_count=4&_sort=date&_total=none", token)
    assert [id_ for page in backwards for id_ in page][:10] == whole[::-1]


def test_many_entries_of_both_forms_are_all_found(crowd, monkeypatch):
    monkeypatch.setattr(audit_read, "_FEW", 3)
    monkeypatch.setattr(audit_read, "_MANY", 4)
    monkeypatch.setattr(audit_read, "_WIDE", 16)
    reader = crowd.token("clinician", institution="north")
    for _ in range(4):
        crowd.client.gather([(CROWD, reader), ("/fhir/Patient/ann", reader)] * 16)
    asked(crowd, *["/fhir/Patient/cyd"] * 40, CROWD)
    token = crowd.token("patient", patient="ann")
    for order in ("-date", "date"):
        found, totals = pages(crowd, f"_count=50&_sort={order}&date=lt2100", token)
        ids = [id_ for page in found for id_ in page]
        assert len(ids) == len(set(ids)) >= 129
        assert ids == sorted(ids, reverse=order == "-date")
        assert len(set(totals)) == 1
        assert totals[0] == (
            129 if order == "-date" else 132
        )  # the three pages of the first search are in it
    assert len([id_ for page in pages(crowd, "_count=50", token)[0] for id_ in page if "-" in id_]) == 65


def times(world):
    with world.store.engine.connect() as connection:
        of = audit_read.records(connection, ["ann"])
        return [entry.at_us for entry in audit_read.entries(connection, of)]


@pytest.mark.parametrize("prefix", ["", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb"])
def test_dates_with_every_prefix_are_those_of_the_search_index(crowd, prefix):
    asked(crowd, "/fhir/Patient/ann", CROWD, "/fhir/Patient/ann", CROWD)
    recorded = [event["recorded"] for event in trail(crowd)]
    before = f"&_id={','.join(event['id'] for event in trail(crowd))}"
    for value in (recorded[1], recorded[2][:19] + "Z", recorded[3][:10], "2027", "2028-01", "1999"):
        operator = prefix or "eq"
        plain = trail(crowd, f"?date={prefix}{value}{before}")
        by_index = trail(crowd, f"?_filter=date {operator} {value}{before}")
        assert plain == by_index, (prefix, value)
        (shown,) = [trail(crowd, f"?_lastUpdated={prefix}{value}{before}")]
        assert shown == plain


def test_spans_of_time_are_found_without_the_events_beside_them(crowd):
    asked(crowd, *[CROWD, "/fhir/Patient/ann"] * 3)
    recorded = [event["recorded"] for event in trail(crowd)]
    between = trail(crowd, f"?date=ge{recorded[4]}&date=le{recorded[1]}")
    assert [event["recorded"] for event in between] == recorded[1:5]
    token = crowd.token("patient", patient="ann")
    bundle = crowd.client.get(f"{PLACE}?date=ge{recorded[4]}&date=le{recorded[1]}&_count=0", token).json()
    assert bundle["total"] == 4


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("action=R", ["read", "read"]),
        ("action=E", ["search", "search"]),
        ("action:not=E", ["read", "read"]),
        ("outcome=0", ["read", "search", "search", "read"]),
        ("outcome=4", []),
        ("subtype=search", ["search", "search"]),
        ("subtype=http://hl7.org/fhir/restful-interaction|read", ["read", "read"]),
        ("entity=Observation/ann-1", ["read"]),
        ("entity-role=24", ["search", "search"]),
        ("agent=Patient/bob", []),
        ("agent:missing=false", ["read", "search", "search", "read"]),
        ("address=127.0.0.1", ["read", "search", "search", "read"]),
        ("patient=Patient/ann&action=R", ["read", "read"]),
        ("patient=ann,bob&type=rest", ["read", "search", "search", "read"]),
        ("patient=https://gateway.example/fhir/Patient/ann&action=R", ["read", "read"]),
        ("patient=ann&patient=bob", []),
        ("_filter=action eq R or subtype eq search", ["read", "search", "search", "read"]),
        ("_security=REDACTED", ["search"]),
    ],
)
def test_r4_s_search_parameters_find_what_they_say(world, query, expected):
    asked(
        world,
        "/fhir/Patient/ann",
        "/fhir/Observation?code=718-7",
        "/fhir/Observation?subject=Patient/ann,Patient/bob",
        "/fhir/Observation/ann-1",
    )
    events = trail(world)
    ids = ",".join(event["id"] for event in events)
    assert kinds(trail(world, f"?_id={ids}&{query}")) == expected
    until = events[0]["recorded"]
    assert kinds(trail(world, f"?date=le{until}&{query}")) == expected


@pytest.mark.parametrize(
    "query",
    [
        "foo=1",
        "patient.name=x",
        "agent:Practitioner.name=x",
        "_has:Observation:subject:code=1",
        "_include=AuditEvent:patient",
        "_include=*",
        "_revinclude=*",
        "_revinclude=Provenance:target",
        "_list=x",
        "_list=$current-problems",
        "_text=x",
        "_content=x",
        "type:in=http://hl7.org/fhir/ValueSet/audit-event-type",
        "subtype:below=search",
        "_filter=patient.name co x",
        "_sort=agent",
        "_sort=-date,_id",
        "_sort=_id",
        "date=yesterday",
        "date=",
        "_count=x",
        "patient:Group=x",
        "_elements=x",
        "_filter=date eq",
    ],
)
def test_what_is_not_understood_is_a_400_for_everybody_and_whatever_is_stored(world, query):
    asked(world, "/fhir/Patient/ann")
    who = [
        ("patient", {"patient": "ann"}),
        ("patient", {"patient": "nobody"}),
        ("clinician", {"institution": "north"}),
        ("operator", {}),
    ]
    answers = [world.client.get(f"{PLACE}?{query}", world.token(role, **named)) for role, named in who]
    assert {answer.status_code for answer in answers} == {400}
    assert len({answer.content for answer in answers}) == 1
    lenient = world.client.get(
        f"{PLACE}?{query}", world.token("patient", patient="ann"), headers={"prefer": "handling=lenient"}
    )
    assert lenient.status_code in (200, 400)


def test_what_is_sealed_is_asked_for_a_few_entries_at_a_time(crowd, monkeypatch):
    monkeypatch.setattr(accesses, "_LOOKED_MAX", 3)
    monkeypatch.setattr(accesses, "_AT_ONCE", 1)
    asked(crowd, *["/fhir/Patient/ann", CROWD] * 8)
    token = crowd.token("patient", patient="ann")
    found, totals = pages(crowd, "action=R&date=lt2100&_count=3", token)
    assert any(len(page) < 3 for page in found[:-1])
    assert max(map(len, found)) <= 3
    assert len({id_ for page in found for id_ in page}) == 8
    assert set(totals) == {None}
    answer = crowd.client.get(f"{PLACE}?action=R&_count=0", token)
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "too-costly")
    recent = trail(crowd)[0]["recorded"]
    bundle = crowd.client.get(f"{PLACE}?action=E&date=ge{recent}&_summary=count", token).json()
    assert bundle["total"] > 0


@pytest.mark.parametrize("walked", [1, 8])
@pytest.mark.parametrize("order", ["-date", "date"])
def test_a_request_goes_over_so_many_leaves_and_the_next_link_goes_on(crowd, monkeypatch, order, walked):
    monkeypatch.setattr(audit_read, "_WIDE", walked // 2 + 1)
    asked(crowd, *[CROWD] * 3, "/fhir/Patient/ann", *["/fhir/Observation?code=718-7&patient=cyd"] * 12)
    asked(crowd, CROWD, *["/fhir/Patient/cyd"] * 12, CROWD, "/fhir/Patient/ann")
    token = crowd.token("patient", patient="ann")
    whole = [event["id"] for event in trail(crowd, "?date=lt2100")]
    monkeypatch.setattr(accesses, "_WALKED_MAX", walked)
    found, totals = pages(crowd, f"_count=4&_sort={order}&date=le{trail(crowd)[1]['recorded']}", token)
    ids = [id_ for page in found for id_ in page]
    assert len(ids) == len(set(ids))
    assert set(whole) <= set(ids)
    assert ids == sorted(ids, reverse=order == "-date")
    assert any(len(page) < 4 for page in found[:-1])
    assert set(totals) == {None}
    answer = crowd.client.get(f"{PLACE}?_count=0", token)
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "too-costly")


def test_an_erased_patient_s_trail_is_gone_and_nobody_else_s(crowd):
    asked(crowd, "/fhir/Patient/cyd", CROWD)
    ids = [event["id"] for event in trail(crowd, patient="cyd")]
    others = trail(crowd, patient="dan")

    def work(session):
        session.connection.execute(text("UPDATE owner_key SET wrapped_kek = NULL WHERE owner = 'cyd'"))
        session.leaf(Leaf("erasure", "x", "Patient/cyd", 0, "north", crowd.now_us, b""))

    crowd.store.submit(work).result(120)
    token = crowd.token("patient", patient="cyd")
    absent = crowd.client.get(PLACE, crowd.token("patient", patient="never")).json()
    bundle = crowd.client.get(PLACE, token).json()
    assert {**bundle, "link": []} == {**absent, "link": []}
    assert bundle["total"] == 0
    for id_ in ids:
        assert crowd.client.get(f"{PLACE}/{id_}", token).status_code == 404
        assert crowd.client.get(f"{PLACE}?_id={id_}", token).json()["total"] == 0
    assert trail(crowd, patient="dan")[1:] == others


def replaced(world, old, new, *, by="north"):
    content = world.patient(old, "Old", "Record")
    content["active"] = False
    content["link"] = [{"other": {"reference": f"Patient/{new}"}, "type": "replaced-by"}]
    world.put(content, by, old)


def test_who_survives_a_merge_sees_what_was_recorded_of_both_records(crowd):
    asked(crowd, "/fhir/Patient/cyd", "/fhir/Patient/dan", "/fhir/Patient/ann", CROWD)
    replaced(crowd, "dan", "cyd")
    replaced(crowd, "cyd", "ann")
    events = trail(crowd)
    assert kinds(events) == ["search", "search", "search", "read", "read", "read"]
    assert sorted(named(event)[0] for event in events) == sorted(
        ["Patient/ann", "Patient/cyd", "Patient/dan"] * 2
    )
    by_id = crowd.client.get(f"{PLACE}/{events[5]['id']}", crowd.token("patient", patient="ann"))
    assert by_id.json() == events[5]
    assert {named(event)[0] for event in trail(crowd, "?patient=Patient/cyd")} == {
        "Patient/cyd",
        "Patient/dan",
    }
    assert {named(event)[0] for event in trail(crowd, "?patient=dan")} == {"Patient/dan"}
    assert {named(event)[0] for event in trail(crowd, patient="dan")} == {"Patient/dan"}
    found, totals = pages(crowd, "_count=4&date=lt2100", crowd.token("patient", patient="ann"))
    ids = [id_ for page in found for id_ in page]
    assert len(ids) == len(set(ids)) == totals[0]


def test_a_link_that_another_institution_makes_or_the_survivor_alone_opens_no_trail(crowd):
    asked(crowd, "/fhir/Patient/cyd", "/fhir/Patient/dan")
    asked(crowd, "/fhir/Patient/bob", institution="south")
    replaced(crowd, "bob", "ann", by="south")
    claims = crowd.patient("ann", "Eve", "Featherstonehaugh")
    claims["link"] = [
        {"other": {"reference": f"Patient/{id_}"}, "type": "replaces"} for id_ in ("cyd", "bob")
    ]
    crowd.put(claims, "north", "ann")
    seealso = crowd.patient("dan", "A", "B")
    seealso["link"] = [{"other": {"reference": "Patient/ann"}, "type": "seealso"}]
    crowd.put(seealso, "north", "dan")
    assert trail(crowd) == []
    for id_ in ("bob", "cyd", "dan"):
        assert len(trail(crowd, f"?patient={id_}")) == 0


def test_entries_from_before_they_were_shortened_and_shared_are_read_too(world):
    who = Principal("clinician", "dr-old", "north", "", "TREAT", "", "t", 0)
    event = audit_event(who, Access("read", "0", "Patient/ann", patients=("ann", "bob")), at_us=7, server="s")
    event["id"] = "0123456789abcdef0123456789abcdef"
    plain = Event(event["id"], "ann", __import__("orjson").dumps(event))

    def work(session):
        def seal(data, key):
            return session.seal(data, key, patient="ann", institution="north")

        sealed = seal_event(plain, seal, at_us=7, principal=who, institution="north")
        session.leaf(sealed.leaf)
        session.insert_later(AuditEventRow.__table__, sealed.row)

    world.store.submit(work).result(120)
    asked(world, "/fhir/Patient/ann")
    new, old = trail(world)
    assert old["agent"][2]["who"]["identifier"]["value"] == "dr-old"
    assert named(old) == ["Patient/ann", "Patient/ann"]
    assert old["meta"]["security"][0]["code"] == "REDACTED"
    assert new["id"] > old["id"]


def test_the_trail_comes_as_xml_in_part_and_by_post_and_in_the_patient_s_compartment(world):
    asked(world, "/fhir/Patient/ann")
    token = world.token("patient", patient="ann")
    xml = world.client.get(f"{PLACE}?_format=xml", token)
    assert xml.headers["content-type"].startswith("application/fhir+xml")
    assert "<AuditEvent" in xml.text
    (_, part) = [event for event in trail(world, "?_elements=action") if event["action"] == "R"][-1:] * 2
    assert "entity" not in part
    assert world.client.get(f"{PLACE}?_summary=count", token).json()["total"] == 3
    posted = world.client.request("POST", f"{PLACE}/_search", token, data={"action": "R"})
    assert posted.json()["total"] == 1
    for place in ("/fhir/Patient/ann/AuditEvent?action=R", f"{PLACE}?action=R&patient=ann"):
        assert world.client.get(place, token).json()["total"] == 1
    assert world.client.get("/fhir/Patient/bob/AuditEvent", token).json()["total"] == 0


def filled_up(world):
    """60,000 entries of 200 patients, as the planner of the database will see them."""
    few = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {}) "
    rows = (
        ("audit_access", "SELECT 100000 + x, 'i' || x, x, 'u', {blob} FROM n", 20_000),
        ("audit_patient", "SELECT (100000 + x) / 64, 'c' || x % 200, 100000 + x, {blob} FROM n", 20_000),
        ("audit_event", "SELECT 'i' || x, x, 'p' || x % 200, 'u', {blob} FROM n", 20_000),
    )
    blob = "x'00'" if world.store.engine.dialect.name == "sqlite" else "'\\x00'::bytea"
    for table, made, count in rows:
        columns = {"audit_access": "leaf_index, id, at_us, agent, body"}.get(table, "")
        columns = columns or {"audit_patient": "bucket, code, leaf_index, wrapped"}.get(table, "")
        columns = columns or "id, at_us, patient, agent, body"
        changed(world, f"INSERT INTO {table} ({columns}) {few.format(count)}{made.format(blob=blob)}")
    for table, _, _ in rows:  # all tables of a database need more locks than PostgreSQL has
        changed(world, f"ANALYZE {table}")


def test_no_question_about_one_patient_reads_another_s_entries(either):
    """The database tells how it goes about it: every step by an index, none over a whole table."""
    filled_up(either)
    is_sqlite = either.store.engine.dialect.name == "sqlite"
    values = {"patient": "p7", "code": "c7", "lo": 0, "hi": 1 << 60, "id": "zz", "most": 64, "leaf": 100_100}
    values |= {"bucket": 1_563, "low": 1_562, "high": 1_875, "first": 100_001, "last": 120_000}
    statements = [
        value for name, value in vars(audit_read).items() if name.isupper() and hasattr(value, "compile")
    ]
    assert len(statements) > 10
    fine = ("SCAN b", "SCAN CONSTANT ROW")
    with either.store.engine.connect() as connection:
        for statement in statements:
            if "owner_key" in str(statement):
                continue
            bound = {name: values[name] for name in statement.compile().params}
            explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
            steps = connection.execute(text(f"{explain} {statement}"), bound).all()
            if is_sqlite:
                scans = [step[3] for step in steps if step[3].startswith("SCAN") and step[3] not in fine]
            else:
                scans = [step[0] for step in steps if "Seq Scan on audit_" in step[0]]
            assert scans == [], (str(statement), steps)
