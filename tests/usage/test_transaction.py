"""Transactions: all or nothing, in R4's order, with links between entries (R4 http.html#transaction)."""

from __future__ import annotations

import base64
import json as plain_json

import pytest

from hdg.fhir.validate import validate
from hdg.management.audit import AuditEventRow
from hdg.management.store.unit import Unit


@pytest.fixture
def north(either):
    return either.token("clinician", user="dr-north", institution="north")


def entry(method, url, resource=None, full_url="", **conditions):
    made = {"request": {"method": method, "url": url, **conditions}}
    if full_url:
        made["fullUrl"] = full_url
    if resource is not None:
        made["resource"] = resource
    return made


def post(world, token, *entries, kind="transaction", **headers):
    bundle = {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
    if not entries:
        del bundle["entry"]
    return world.client.send("POST", "/fhir", token, bundle, **headers)


def observation(world, subject, value="A1", **rest):
    made = world.observation("x", "ann", "718-7", "2024-05-05")
    del made["id"]
    made["subject"] = {"reference": subject}
    return {**made, "identifier": [{"system": "urn:example:order", "value": value}], **rest}


def person(family="Newcomer"):
    return {"resourceType": "Patient", "name": [{"family": family}]}


def found(world, token, query):
    return world.client.get(f"/fhir/{query}", token).json()


def place(answer, index):
    return "/".join(answer.json()["entry"][index]["response"]["location"].split("/")[-4:-2])


URN = "urn:uuid:0e7a6b1c-5a1b-4c7e-9a44-3f6f0d6a2b01"
OTHER = "urn:uuid:0e7a6b1c-5a1b-4c7e-9a44-3f6f0d6a2b02"


def test_new_resources_refer_to_each_other_by_their_full_urls(either, north):
    narrative = f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{URN}">her</a></div>'
    answer = post(
        either,
        north,
        entry(
            "POST",
            "Observation",
            observation(
                either,
                URN,
                text={"status": "generated", "div": narrative},
                identifier=[{"system": "urn:ietf:rfc:3986", "value": URN}],
                note=[{"text": URN}],
                extension=[{"url": "http://example.org/link", "valueUri": URN}],
            ),
            OTHER,
        ),
        entry("POST", "Patient", person(), URN),
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["type"] == "transaction-response"
    assert validate(body) == []
    assert [one["response"]["status"] for one in body["entry"]] == ["201 Created", "201 Created"]
    made = found(either, north, place(answer, 0))
    patient = place(answer, 1)
    assert made["subject"]["reference"] == patient
    assert made["extension"][0]["valueUri"] == patient
    assert f'href="{patient}"' in made["text"]["div"]
    # What is no link stays: an identifier and a text only look like one.
    assert made["identifier"][0]["value"] == URN
    assert made["note"][0]["text"] == URN
    assert found(either, north, f"Observation?subject={patient}")["total"] == 1


def test_relative_references_count_from_the_root_of_the_entrys_own_full_url(either, north):
    answer = post(
        either,
        north,
        entry("POST", "Patient", person(), "http://elsewhere.example/r4/Patient/77"),
        entry(
            "POST",
            "Observation",
            observation(either, "Patient/77"),
            "http://elsewhere.example/r4/Observation/1",
        ),
    )
    assert answer.status_code == 200, answer.text
    assert found(either, north, place(answer, 1))["subject"]["reference"] == place(answer, 0)


def test_nothing_is_kept_of_a_transaction_of_which_one_entry_fails(either, north):
    broken = observation(either, "Patient/ann", status="robot")
    refused = post(
        either,
        north,
        entry("POST", "Patient", person("Ghost"), URN),
        entry("POST", "Observation", observation(either, URN)),
        entry("POST", "Observation", broken),
    )
    assert refused.status_code == 422
    assert refused.json()["issue"][0]["expression"] == ["Bundle.entry[2].resource.status"]
    late = post(
        either,
        north,
        entry("POST", "Patient", person("Ghost"), URN),
        entry("PUT", "Observation/ann-0", {**either.observation("ann-0", "ann", "718-7", "2024-09-09")}),
        entry("DELETE", "Observation/bob-0"),
    )
    assert late.status_code == 404
    assert late.json()["issue"][0]["expression"] == ["Bundle.entry[2]"]
    assert found(either, north, "Patient?name=Ghost")["total"] == 0
    assert found(either, north, "Observation/ann-0")["meta"]["versionId"] == "1"


def test_entries_are_processed_in_the_order_of_r4_and_answered_in_their_own(either, north):
    answer = post(
        either,
        north,
        entry("GET", "Observation?identifier=urn:example:order|A1"),
        entry("PUT", "Observation/ann-1", {**either.observation("ann-1", "ann", "2345-7", "2024-03-03")}),
        entry("POST", "Observation", observation(either, "Patient/ann")),
        entry("DELETE", "Observation/ann-0"),
        entry("GET", "Observation/ann-0"),
        entry("GET", "Observation/ann-1/_history"),
    )
    assert answer.status_code == 200, answer.text
    entries = answer.json()["entry"]
    statuses = [one["response"]["status"][:3] for one in entries]
    assert statuses == ["200", "200", "201", "204", "410", "200"]
    assert entries[0]["resource"]["total"] == 1
    assert entries[4]["response"]["outcome"]["resourceType"] == "OperationOutcome"
    assert entries[5]["resource"]["total"] == 2
    assert entries[1]["response"]["etag"] == 'W/"2"'


def test_a_patch_is_an_entry_in_either_form(either, north):
    operations = [{"op": "replace", "path": "/status", "value": "amended"}]
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": base64.b64encode(plain_json.dumps(operations).encode()).decode(),
    }
    parts = [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": "Observation.status"},
        {"name": "value", "valueCode": "corrected"},
    ]
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}
    answer = post(
        either,
        north,
        entry("PATCH", "Observation/ann-0", binary),
        entry("PATCH", "Observation/ann-1", parameters, ifMatch='W/"1"'),
    )
    assert answer.status_code == 200, answer.text
    assert found(either, north, "Observation/ann-0")["status"] == "amended"
    assert found(either, north, "Observation/ann-1")["status"] == "corrected"


CONDITION = "identifier=urn:example:order|A1"


def test_a_conditional_create_leads_links_to_what_is_there_already(either, north):
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "panel"},
        "subject": {"reference": "Patient/ann"},
        "result": [{"reference": URN}],
    }
    entries = (
        entry("POST", "Observation", observation(either, "Patient/ann"), URN, ifNoneExist=CONDITION),
        entry("POST", "DiagnosticReport", report),
    )
    first, second = post(either, north, *entries), post(either, north, *entries)
    assert [one["response"]["status"][:3] for one in second.json()["entry"]] == ["200", "201"]
    assert place(first, 0) == place(second, 0)
    for answer in (first, second):
        assert found(either, north, place(answer, 1))["result"] == [{"reference": place(first, 0)}]
    assert found(either, north, f"Observation?{CONDITION}")["total"] == 1


def test_a_conditional_update_and_delete_find_their_resource_before_anything_is_written(either, north):
    post(either, north, entry("POST", "Observation", observation(either, "Patient/ann")))
    changed = observation(either, "Patient/ann", status="amended")
    answer = post(
        either,
        north,
        entry("PUT", f"Observation?{CONDITION}", changed, URN),
        entry("DELETE", "Observation?code=718-7&_id=ann-2"),
    )
    assert [one["response"]["status"][:3] for one in answer.json()["entry"]] == ["200", "204"]
    assert found(either, north, place(answer, 0))["status"] == "amended"
    assert either.client.get("/fhir/Observation/ann-2", north).status_code == 410


def test_a_conditional_reference_finds_exactly_one_or_the_transaction_fails(either, north):
    def refer(condition):
        return post(either, north, entry("POST", "Observation", observation(either, condition)))

    answer = refer("Patient?identifier=urn:example:mrn|MRN-ann")
    assert answer.status_code == 200, answer.text
    assert found(either, north, place(answer, 0))["subject"]["reference"] == "Patient/ann"
    absent = refer("Patient?identifier=urn:example:mrn|nobody")
    hidden = refer("Patient?identifier=urn:example:mrn|MRN-bob")
    assert absent.status_code == hidden.status_code == 412
    assert absent.content == hidden.content
    post(either, north, entry("POST", "Patient", {**person("Featherstonehaugh")}))
    assert refer("Patient?name=Featherstonehaugh").status_code == 412


@pytest.mark.parametrize(
    ("entries", "status", "expression"),
    [
        ([("PUT", "Observation/ann-0"), ("DELETE", "Observation/ann-0")], 400, "Bundle.entry[1].request.url"),
        ([("DELETE", "Observation/ann-0"), ("DELETE", "Observation?_id=ann-0")], 400, "Bundle.entry[1].request.url"),
        ([("DELETE", "Observation")], 400, "Bundle.entry[0].request.url"),
        ([("DELETE", "Colour/1")], 400, "Bundle.entry[0].request.url"),
        ([("DELETE", "Observation/ann-0/_history/1")], 400, "Bundle.entry[0].request.url"),
        ([("PUT", "Observation/other")], 400, "Bundle.entry[0].resource.id"),
        ([("DELETE", "Observation/ann-0", 'W/"7"')], 412, "Bundle.entry[0]"),
        ([("POST", "Patient")], 400, "Bundle.entry[0].resource"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_its_place_and_nothing_is_done(
    either, north, entries, status, expression
):
    made = []
    for method, url, *match in entries:
        resource = None if method == "DELETE" else either.observation("ann-0", "ann", "1-1", "2024-01-01")
        made.append(entry(method, url, resource, **({"ifMatch": match[0]} if match else {})))
    answer = post(either, north, *made)
    assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (status, [expression])
    assert found(either, north, "Observation/ann-0")["meta"]["versionId"] == "1"


def test_a_link_to_no_entry_and_a_full_url_of_two_are_refused(either, north):
    lost = post(either, north, entry("POST", "Observation", observation(either, URN)))
    assert lost.status_code == 400
    assert lost.json()["issue"][0]["expression"] == ["Bundle.entry[0].resource.subject.reference"]
    double = post(either, north, *[entry("POST", "Patient", person(), URN)] * 2)
    assert double.status_code == 400


def test_two_creates_under_one_condition_would_make_a_duplicate_and_are_refused(either, north):
    twice = [
        entry("POST", "Observation", observation(either, "Patient/ann"), full, ifNoneExist=CONDITION)
        for full in (URN, OTHER)
    ]
    assert post(either, north, *twice).status_code == 412
    assert found(either, north, f"Observation?{CONDITION}")["total"] == 0


def test_what_the_policy_or_consent_denies_fails_the_whole(either, north):
    other = either.token("clinician", user="dr-south", institution="south")
    denied = post(
        either,
        other,
        entry("POST", "Patient", person("Ghost")),
        entry("PUT", "Observation/ann-0", either.observation("ann-0", "ann", "1-1", "2024-01-01")),
    )
    assert denied.status_code == 405  # absent for south, and no id that it may choose
    about_hidden = post(either, north, entry("POST", "Observation", observation(either, "Patient/bob")))
    about_nobody = post(either, north, entry("POST", "Observation", observation(either, "Patient/nobody")))
    assert about_hidden.status_code == about_nobody.status_code == 422
    assert about_hidden.content == about_nobody.content
    patient = either.token("patient", user="ann", patient="ann")
    assert post(either, patient, entry("POST", "Patient", person())).status_code == 403
    assert post(either, None, entry("POST", "Patient", person())).status_code == 401
    assert found(either, other, "Patient?name=Ghost")["total"] == 0


def test_each_patient_of_a_transaction_has_one_event_that_names_what_was_written(either, north):
    table = AuditEventRow.__table__
    with either.store.engine.connect() as connection:
        before = len(connection.execute(table.select()).all())
    post(
        either,
        north,
        entry("POST", "Patient", person(), URN),
        entry("POST", "Observation", observation(either, URN)),
        entry("POST", "Observation", observation(either, "Patient/ann", "A2")),
    )
    with either.store.engine.connect() as connection:
        rows = connection.execute(table.select().order_by(table.c.at_us)).all()[before:]
    assert len({row.patient for row in rows}) == len(rows) == 2
    assert "ann" in {row.patient for row in rows}


def test_prefer_decides_what_the_entries_show(either, north):
    one = entry("POST", "Observation", observation(either, "Patient/ann"))
    assert "resource" not in post(either, north, one).json()["entry"][0]
    shown = post(either, north, one, prefer="return=representation").json()["entry"][0]
    assert shown["resource"]["resourceType"] == "Observation"
    told = post(either, north, one, prefer="return=OperationOutcome").json()["entry"][0]
    assert told["response"]["outcome"]["resourceType"] == "OperationOutcome"


def test_eight_transactions_with_one_condition_at_the_same_time_make_one_resource(either, north):
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            entry("POST", "Observation", observation(either, "Patient/ann"), URN, ifNoneExist=CONDITION)
        ],
    }
    headers = {"content-type": "application/fhir+json"}
    body = plain_json.dumps(bundle).encode()
    answers = either.client.gather_all([("POST", "/fhir", north, headers, body)] * 8)
    assert {answer.status_code for answer in answers} == {200}
    assert len({place(answer, 0) for answer in answers}) == 1
    assert found(either, north, f"Observation?{CONDITION}")["total"] == 1


def test_ten_thousand_entries_are_one_transaction(either, north):
    entries = [entry("POST", "Patient", person("Thousands"), URN)]
    entries += [
        entry("POST", "Observation", observation(either, URN, f"N{number}")) for number in range(9_999)
    ]
    answer = post(either, north, *entries)
    assert answer.status_code == 200, answer.text[:500]
    assert len(answer.json()["entry"]) == 10_000
    assert found(either, north, f"Observation?subject={place(answer, 0)}&_count=0")["total"] == 9_999


class Overheard:
    """A cursor that notes what it is asked."""

    def __init__(self, cursor, asked):
        self._cursor = cursor
        self._asked = asked

    def __getattr__(self, name):
        return getattr(self._cursor, name)

    def execute(self, sql, *values):
        self._asked.append(sql)
        return self._cursor.execute(sql, *values)


def test_an_import_that_refers_to_nothing_stored_asks_for_nothing(either, north, monkeypatch):
    """So its work runs while the group before it commits (groups.py)."""
    asked = []
    cursor, connection = Unit._cursor.fget, Unit.connection.fget

    def shown(session):
        asked.append("the connection")
        return connection(session)

    monkeypatch.setattr(Unit, "_cursor", property(lambda session: Overheard(cursor(session), asked)))
    monkeypatch.setattr(Unit, "connection", property(shown))
    new = [
        entry("POST", "Observation", observation(either, URN)),
        entry("POST", "Patient", person(), URN),
        entry("POST", "Observation", observation(either, URN, "A2"), OTHER),
    ]
    patients = set()
    for _ in range(2):
        answer = post(either, north, *new)
        assert answer.status_code == 200, answer.text
        patients.add(place(answer, 1))
    assert [sql for sql in asked if not sql.startswith("SELECT coalesce(max(")] == []
    assert post(either, north, entry("POST", "Observation", observation(either, "Patient/ann"))).is_success
    assert "the connection" in asked
    monkeypatch.undo()
    for patient in patients:
        assert found(either, north, f"Observation?subject={patient}")["total"] == 2


def test_a_create_tells_beforehand_whose_place_and_keys_it_will_ask_for(either, north, monkeypatch):
    told = []
    perform = either.store.perform

    async def overheard(work):
        told.append(work)
        return await perform(work)

    monkeypatch.setattr(either.store, "perform", overheard)
    made = either.client.send("POST", "/fhir/Observation", north, observation(either, "Patient/ann"))
    assert made.status_code == 201, made.text
    expected = told[0].expected
    assert [place[1:] for place in expected.places] == [("Patient", "ann")]
    assert list(expected.owners) == [("patient", "ann")]


def test_an_empty_transaction_is_answered_and_other_bundles_are_refused(either, north):
    assert post(either, north).json() == {"resourceType": "Bundle", "type": "transaction-response"}
    assert post(either, north, kind="collection").status_code == 400
    assert either.client.send("POST", "/fhir", north, person()).status_code == 400
    assert post(either, north, {"fullUrl": URN, "resource": person()}).status_code == 400


def test_entries_of_a_batch_stand_or_fall_alone(either, north):
    answer = post(
        either,
        north,
        entry("GET", "Patient/ann"),
        entry("GET", "Patient/bob"),
        entry("POST", "Observation", observation(either, "Patient/ann")),
        entry("POST", "Observation", observation(either, "Patient/ann", status="robot")),
        entry("DELETE", "Observation/ann-0"),
        entry("GET", "Observation?subject=Patient/ann&_count=0"),
        entry("POST", "Observation", observation(either, URN), OTHER),
        entry("GET", "metadata"),
        kind="batch",
    )
    assert answer.status_code == 200, answer.text
    assert validate(answer.json()) == []
    entries = answer.json()["entry"]
    statuses = [one["response"]["status"][:3] for one in entries]
    assert statuses == ["200", "404", "201", "422", "204", "200", "400", "200"]
    assert entries[0]["resource"]["id"] == "ann"
    assert entries[5]["resource"]["total"] == 3


def test_a_batch_reads_with_conditions_and_never_nests(either, north):
    answer = post(
        either,
        north,
        entry("GET", "Patient/ann", ifNoneMatch='W/"1"'),
        entry("PUT", "Observation/ann-0", either.observation("ann-0", "ann", "1-1", "2024-01-01"), ifMatch='W/"9"'),
        kind="batch",
    )  # fmt: skip
    assert [one["response"]["status"][:3] for one in answer.json()["entry"]] == ["304", "412"]
    inner = {"resourceType": "Bundle", "type": "batch", "entry": [entry("GET", "Patient/ann")]}
    nested = post(either, north, entry("POST", "", inner), kind="batch")
    assert nested.json()["entry"][0]["response"]["status"][:3] == "400"


def test_a_body_over_the_limit_is_refused(make_world):
    world = make_world(ingest_max_bytes=65_536)
    token = world.token("clinician", institution="north")
    entries = [entry("POST", "Observation", observation(world, "Patient/ann")) for _ in range(400)]
    assert post(world, token, *entries).status_code == 413


def conditional(world, number, subject="Patient/ann", **rest):
    search = f"identifier=urn:example:order|N{number}"
    return entry("POST", "Observation", observation(world, subject, f"N{number}", **rest), ifNoneExist=search)


def test_many_conditions_are_each_decided_by_themselves(either, north):
    post(either, north, *[conditional(either, number) for number in range(0, 40, 2)])
    entries = [conditional(either, number) for number in range(40)]
    entries[7]["request"]["ifNoneExist"] = "identifier=N7"
    entries[9]["request"]["ifNoneExist"] = "identifier=urn:example:order|N9,urn:example:order|N99"
    entries[11]["request"]["ifNoneExist"] = "identifier=urn:example:order|N11&code=718-7"
    entries[13]["request"]["ifNoneExist"] = "identifier=|N13"
    answer = post(either, north, *entries)
    assert answer.status_code == 200, answer.text
    statuses = [one["response"]["status"][:3] for one in answer.json()["entry"]]
    assert statuses == ["200", "201"] * 20
    again = post(either, north, *[conditional(either, number) for number in range(40)])
    assert {one["response"]["status"][:3] for one in again.json()["entry"]} == {"200"}
    assert [place(again, number) for number in range(40)] == [place(answer, number) for number in range(40)]


def test_many_conditions_find_neither_what_is_hidden_nor_two(either, north):
    south = either.token("clinician", user="dr-south", institution="south")
    post(either, south, *[conditional(either, number, "Patient/bob") for number in range(3)])
    answer = post(either, north, *[conditional(either, number) for number in range(3)])
    assert {one["response"]["status"][:3] for one in answer.json()["entry"]} == {"201"}
    post(either, north, entry("POST", "Observation", observation(either, "Patient/ann", "N1")))
    several = post(either, north, *[conditional(either, number) for number in range(3)])
    assert several.status_code == 412
    assert several.json()["issue"][0]["expression"] == ["Bundle.entry[1]"]
    assert several.json()["issue"][0]["code"] == "multiple-matches"


def test_many_conditional_references_lead_to_their_own_resources(either, north):
    people = [
        entry("POST", "Patient", {**person(), "identifier": [{"system": "urn:example:mrn", "value": f"R{number}"}]})
        for number in range(5)
    ]  # fmt: skip
    made = post(either, north, *people)
    answer = post(
        either,
        north,
        *[
            entry("POST", "Observation", observation(either, f"Patient?identifier=urn:example:mrn|R{number}"))
            for number in range(5)
        ],
    )
    for number in range(5):
        assert found(either, north, place(answer, number))["subject"]["reference"] == place(made, number)


def test_a_conditional_reference_finds_what_the_same_transaction_makes(either, north):
    mrn = {"identifier": [{"system": "urn:example:mrn", "value": "Q1"}]}
    reference = "Patient?identifier=urn:example:mrn|Q1"
    answer = post(
        either,
        north,
        entry("POST", "Observation", observation(either, reference)),
        entry("POST", "Patient", {**person(), **mrn}),
    )
    assert answer.status_code == 200, answer.text
    assert found(either, north, place(answer, 0))["subject"]["reference"] == place(answer, 1)
    second = post(
        either,
        north,
        entry("POST", "Observation", observation(either, reference)),
        entry("POST", "Patient", {**person(), **mrn}),
    )
    assert second.status_code == 412
    assert found(either, north, "Patient?identifier=urn:example:mrn|Q1&_count=0")["total"] == 1


def test_what_a_transaction_deletes_is_nothing_that_it_can_lead_to(either, north):
    mrn = "identifier=urn:example:mrn|Q2"
    resource = {**person(), "identifier": [{"system": "urn:example:mrn", "value": "Q2"}]}
    patient = place(post(either, north, entry("POST", "Patient", resource)), 0)
    gone = entry("DELETE", patient)
    for other, status in [
        (entry("POST", "Patient", resource, ifNoneExist=mrn), 400),
        (entry("POST", "Observation", observation(either, f"Patient?{mrn}")), 412),
        (entry("POST", "Observation", observation(either, patient)), 422),
    ]:
        refused = post(either, north, gone, other)
        assert refused.status_code == status, refused.text
        assert refused.json()["issue"][0]["expression"][0].startswith("Bundle.entry[1]")
    assert either.client.get(f"/fhir/{patient}", north).status_code == 200


def test_a_json_patch_may_name_another_entry_where_r4_has_a_uri(either, north):
    """R4 http.html#trules: elements of type uri, url, oid and canonical; a text that looks like one stays."""
    note = {"url": "urn:example:x", "valueUri": URN}
    operations = [
        {"op": "add", "path": "/extension", "value": [note, {"url": "urn:example:y", "valueString": URN}]},
        {"op": "add", "path": "/extension/-", "value": note},
        {"op": "replace", "path": "/extension/0/valueUri", "value": URN},
        {"op": "add", "path": "/meta/profile", "value": [URN]},
        {"op": "add", "path": "/identifier", "value": [{"system": URN, "value": URN}]},
    ]
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": base64.b64encode(plain_json.dumps(operations).encode()).decode(),
    }
    answer = post(
        either, north, entry("POST", "Patient", person(), URN), entry("PATCH", "Observation/ann-0", binary)
    )
    assert answer.status_code == 200, answer.text
    after, made = found(either, north, "Observation/ann-0"), place(answer, 0)
    assert [one.get("valueUri", one.get("valueString")) for one in after["extension"]] == [made, URN, made]
    assert after["meta"]["profile"] == [made]
    assert after["identifier"] == [{"system": made, "value": URN}]


def test_a_json_patch_may_refer_to_another_entry(either, north):
    operations = [
        {"op": "replace", "path": "/subject/reference", "value": URN},
        {"op": "add", "path": "/focus", "value": [{"reference": URN}]},
        {"op": "add", "path": "/note", "value": [{"text": URN}]},
    ]
    binary = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": base64.b64encode(plain_json.dumps(operations).encode()).decode(),
    }
    answer = post(
        either, north, entry("POST", "Patient", person(), URN), entry("PATCH", "Observation/ann-0", binary)
    )
    assert answer.status_code == 200, answer.text
    after = found(either, north, "Observation/ann-0")
    patient = {"reference": place(answer, 0)}
    assert (after["subject"], after["focus"], after["note"]) == (patient, [patient], [{"text": URN}])
    lost = post(either, north, entry("PATCH", "Observation/ann-1", binary))
    assert lost.status_code == 400
    assert lost.json()["issue"][0]["expression"][0].startswith("Bundle.entry[0]")


@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_a_condition_may_hold_any_letter(either, north, kind):
    for value in ("Zürich", "서울"):
        one = entry(
            "POST",
            "Observation",
            observation(either, "Patient/ann", value),
            ifNoneExist=f"identifier=urn:example:order|{value}",
        )
        statuses = [
            post(either, north, one, kind=kind).json()["entry"][0]["response"]["status"][:3] for _ in range(2)
        ]
        assert statuses == ["201", "200"]


def test_an_entry_of_a_batch_that_is_no_request_fails_alone(either, north):
    answer = post(
        either,
        north,
        {"resource": person()},
        entry("GET", "Patient/ann"),
        entry("POST", "Patient", person(), "http://elsewhere.example/r4/Patient/77"),
        entry(
            "POST",
            "Observation",
            observation(either, "Patient/77"),
            "http://elsewhere.example/r4/Observation/1",
        ),
        kind="batch",
    )
    entries = answer.json()["entry"]
    assert [one["response"]["status"][:3] for one in entries] == ["400", "200", "201", "400"]
    outcome = entries[0]["response"]["outcome"]
    assert outcome["issue"][0]["expression"] == ["Bundle.entry[0].request"]
    assert entries[1]["response"]["lastModified"].endswith("+00:00")
    assert validate(answer.json()) == []


def test_a_batch_may_be_as_large_as_any_body_though_its_entries_are_bodies_too(make_world):
    world = make_world(ingest_max_bytes=65_536)
    token = world.token("clinician", institution="north")
    entries = [entry("POST", "Observation", observation(world, "Patient/ann", f"B{n}")) for n in range(120)]
    body = plain_json.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}).encode()
    assert 32_768 < len(body) <= 65_536
    headers = {"content-type": "application/fhir+json"}
    answers = world.client.gather_all([("POST", "/fhir", token, headers, body)] * 4)
    statuses = {one["response"]["status"][:3] for answer in answers for one in answer.json().get("entry", [])}
    assert statuses == {"201"}


def test_a_conditional_reference_may_be_a_chain_over_what_the_transaction_does_not_write(either, north):
    """What such a search finds among stored resources and new ones together is refused, not guessed."""
    chain = "Observation?patient.identifier=urn:example:mrn|MRN-ann&date=2024-01-02"
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/ann"},
        "result": [{"reference": chain}],
    }
    answer = post(either, north, entry("POST", "DiagnosticReport", report), prefer="return=representation")
    assert answer.status_code == 200, answer.text
    assert answer.json()["entry"][0]["resource"]["result"] == [{"reference": "Observation/ann-1"}]
    hidden = {**report, "result": [{"reference": chain.replace("ann", "bob")}]}
    assert post(either, north, entry("POST", "DiagnosticReport", hidden)).status_code == 412
    for other in (entry("POST", "Patient", person()), entry("DELETE", "Observation/ann-2")):
        refused = post(either, north, entry("POST", "DiagnosticReport", report), other)
        assert refused.status_code == 400
        assert refused.json()["issue"][0]["expression"] == ["Bundle.entry[0].request"]
    assert found(either, north, "DiagnosticReport")["total"] == 1


def test_a_create_may_have_a_chain_as_its_condition(either, north):
    condition = "identifier=urn:example:order|A1&patient.identifier=urn:example:mrn|MRN-ann"
    made = entry("POST", "Observation", observation(either, "Patient/ann"), ifNoneExist=condition)
    assert [post(either, north, made).json()["entry"][0]["response"]["status"] for _ in range(2)] == [
        "201 Created",
        "200 OK",
    ]
    two = post(either, north, made, entry("POST", "Observation", observation(either, "Patient/ann", "A2")))
    assert two.status_code == 400
