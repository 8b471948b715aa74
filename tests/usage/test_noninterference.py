"""What is hidden decides nothing: a generated set of searches is answered by the same bytes with the hidden
resources present and with them deleted (R4 search.html; DESIGN §6), on both databases.
"""

from __future__ import annotations

import random

import pytest

from hdg.management.store import single

COUNT = 160
WHERES = {
    "Observation": [
        "code=718-7",
        "date=ge2024-01-02",
        "subject:Patient.name=Featherstonehaugh,Cholmondeley",
        "patient.birthdate=1970-01-01",
        "patient.identifier=MRN-bob,MRN-ann",
        "subject.name:missing=false",
        "encounter.status=finished",
        "encounter.subject:Patient.family=chol",
        "encounter.service-provider.name=South",
        "has-member.code=718-7",
        "derived-from.subject:Patient.name=Otto",
        "performer:Practitioner.name=Strange",
        "performer.identifier:missing=true",
        "_has:DiagnosticReport:result:status=final",
        "_has:DiagnosticReport:result:subject:Patient.name=Otto",
        "_has:Observation:derived-from:code=718-7",
        "_has:Observation:has-member:_has:DiagnosticReport:result:status=final",
        "value-quantity=gt3",
        "code:not=718-7",
        "code:text=haemo",
        "code:in=urn:vs:shared",
        "code:not-in=urn:vs:shared",
        "code:not-in=urn:vs:open",
        "subject:identifier=urn:id|ann,urn:id|bob",
        "patient.identifier:of-type=urn:types|MR|MRN-bob,urn:types|MR|MRN-ann",
        "status:in=http://hl7.org/fhir/ValueSet/observation-status",
        "_list=mixed",
        "_list=secret,mixed",
        "_has:DiagnosticReport:result:code:text=x",
        "derived-from.code:in=urn:vs:open",
    ],
    "Patient": [
        "name=e",
        "birthdate=1970-01-01",
        "_has:Observation:patient:code=718-7",
        "_has:Observation:subject:encounter.status=finished",
        "_has:Encounter:patient:service-provider.name=North",
        "_has:DiagnosticReport:subject:result.code=718-7",
        "_has:Observation:patient:_has:DiagnosticReport:result:status=final",
        "organization.name=South",
        "organization:Organization.partof.name=Trust",
        "general-practitioner:Practitioner.name=Strange",
        "link:Patient.name=Otto",
        "identifier:of-type=urn:types|MR|MRN-bob,urn:types|MR|MRN-ann",
        "_has:Observation:patient:code:in=urn:vs:open",
        "_has:Observation:subject:code:text=haemo",
        "_list=mixed",
    ],
    "Encounter": [
        "status=finished",
        "subject:Patient.name=Otto,Eve",
        "service-provider.partof.name=Trust",
        "_has:Observation:encounter:code=718-7",
        "_has:Observation:encounter:subject:Patient.name=Otto",
    ],
    "Organization": [
        "name=north,south",
        "_has:Patient:organization:name=Otto",
        "_has:Encounter:service-provider:subject:Patient.name=Otto",
        "_has:Encounter:service-provider:_has:Observation:encounter:code=718-7",
        "partof.name=Trust",
    ],
    "Practitioner": [
        "_has:Observation:performer:patient.name=Otto",
        "_has:Patient:general-practitioner:birthdate=1970-01-01",
        "name=strange",
    ],
}
INCLUDES = {
    "Observation": [
        "_include=Observation:subject",
        "_include=Observation:*",
        "_include=Observation:has-member&_include:iterate=Observation:derived-from",
        "_include=Observation:encounter&_include:iterate=Encounter:service-provider",
        "_revinclude=DiagnosticReport:result",
        "_revinclude=DiagnosticReport:result&_include:iterate=DiagnosticReport:subject:Patient",
        "_revinclude:iterate=Observation:derived-from",
    ],
    "Patient": [
        "_revinclude=Observation:patient",
        "_revinclude=Observation:subject&_revinclude:iterate=DiagnosticReport:result",
        "_include=Patient:organization&_include:iterate=Organization:partof",
        "_include=Patient:*",
        "_include=Patient:link",
    ],
    "Encounter": ["_include=Encounter:subject", "_revinclude=Observation:encounter"],
    "Organization": ["_revinclude=Patient:organization", "_revinclude=Encounter:service-provider"],
    "Practitioner": ["_revinclude=Observation:performer", "_revinclude=Patient:general-practitioner"],
}
SORTS = {
    "Observation": [
        "date",
        "-date",
        "code,-date",
        "-encounter",
        "value-quantity",
        "-value-quantity,date",
        "_lastUpdated",
        "-_id",
    ],
    "Patient": ["family", "-family", "-organization,identifier", "birthdate,-family", "_id", "-_lastUpdated"],
    "Encounter": ["date", "-date,_id"],
    "Organization": ["name", "-name"],
    "Practitioner": ["family,_id"],
}


def reference(text):
    return {"reference": text}


def fill(world):
    """Visible to north: ann's resources that north sent. Hidden: bob's, and what south sent about ann."""
    for name, parent in (("trust", ""), ("north", "trust"), ("south", "trust")):
        organization = {"resourceType": "Organization", "id": name, "name": name.title()}
        if parent:
            organization["partOf"] = reference(f"Organization/{parent}")
        world.put(organization, "north", None)
    world.put(
        {"resourceType": "Practitioner", "id": "strange", "name": [{"family": "Strange"}]}, "north", None
    )
    hidden = []
    for who, home in (("ann", "north"), ("bob", "south")):
        person = world.patient(
            who, *{"ann": ("Eve", "Featherstonehaugh"), "bob": ("Otto", "Cholmondeley")}[who]
        )
        other = {"ann": "bob", "bob": "ann"}[who]
        person["identifier"][0]["type"] = {"coding": [{"system": "urn:types", "code": "MR"}]}
        person |= {
            "managingOrganization": reference(f"Organization/{home}"),
            "generalPractitioner": [reference("Practitioner/strange")],
            "link": [{"other": reference(f"Patient/{other}"), "type": "seealso"}],
        }
        world.put(person, home, who)
        for number in range(4):
            sender = home if number < 3 else {"north": "south", "south": "north"}[home]
            if who == "bob" and number == 3:
                continue  # north may read what north sent
            encounter = {
                "resourceType": "Encounter",
                "id": f"{who}-e{number}",
                "status": "finished" if number % 2 else "planned",
                "class": {"code": "AMB"},
                "subject": reference(f"Patient/{who}"),
                "serviceProvider": reference(f"Organization/{home}"),
                "period": {"start": f"2024-02-0{number + 1}"},
            }
            crossing = other if number % 2 else who
            observation = world.observation(f"{who}-{number}", who, "718-7", f"2024-01-0{number + 1}")
            observation["code"]["text"] = f"Haemoglobin of {who}"
            observation["subject"]["identifier"] = {"system": "urn:id", "value": who}
            observation |= {
                "encounter": reference(f"Encounter/{crossing}-e{number}"),
                "performer": [reference("Practitioner/strange")],
                "hasMember": [reference(f"Observation/{other}-{number}")],
                "derivedFrom": [reference(f"Observation/{crossing}-0")],
                "valueQuantity": {"value": number + (0.5 if who == "bob" else 0), "code": "g/dL"},
            }
            report = {
                "resourceType": "DiagnosticReport",
                "id": f"{who}-r{number}",
                "status": "final",
                "code": {"text": "x"},
                "subject": reference(f"Patient/{who}"),
                "result": [
                    reference(f"Observation/{who}-{number}"),
                    reference(f"Observation/{other}-{number}"),
                ],
            }
            for resource in (encounter, observation, report):
                world.put(resource, sender, who)
                if sender == "south":
                    hidden.append((resource["resourceType"], resource["id"]))
    return [*hidden, *name_codes(world), ("Patient", "bob")]


def name_codes(world):
    """Value sets and Lists of north and of south; south's are hidden."""
    loinc = {"include": [{"system": "http://loinc.org", "concept": [{"code": "718-7"}]}]}
    other = {"include": [{"system": "http://loinc.org", "concept": [{"code": "1-8"}]}]}
    for id_, url, place, compose in [
        ("open", "open", "north", loinc),
        ("shared", "shared", "north", loinc),
        ("shared-2", "shared", "south", other),
        ("secret", "secret", "south", loinc),
    ]:
        resource = {"resourceType": "ValueSet", "id": id_, "status": "active", "url": f"urn:vs:{url}"}
        world.put({**resource, "compose": compose}, place, None)
    names = [f"{kind}{number}" for kind in ("ann-", "bob-", "ann-e", "bob-e") for number in range(4)]
    entries = [{"item": reference(f"{'Encounter' if 'e' in n else 'Observation'}/{n}")} for n in names]
    entries += [{"item": reference("Patient/ann")}, {"item": reference("Patient/bob")}]
    resource = {"resourceType": "List", "status": "current", "mode": "working", "entry": entries}
    world.put({**resource, "id": "mixed"}, "north", None)
    world.put({**resource, "id": "secret"}, "south", None)
    return [("ValueSet", "shared-2"), ("ValueSet", "secret"), ("List", "secret")]


def questions():
    """Searches that follow references, bring others along, sort and count; the same ones each time."""
    chance = random.Random(4)
    found = []
    for number in range(COUNT):
        type_ = list(WHERES)[number % len(WHERES)]
        parts = chance.sample(WHERES[type_], chance.choice((1, 1, 1, 2)))
        if chance.random() < 0.5:
            parts.append(chance.choice(INCLUDES[type_]))
        if chance.random() < 0.5:
            parts.append("_sort=" + chance.choice(SORTS[type_]))
        parts.append(f"_count={chance.choice((0, 1, 2, 50))}")
        if chance.random() < 0.3:
            parts.append("_total=" + chance.choice(("none", "estimate", "accurate")))
        found.append(f"/fhir/{type_}?{'&'.join(parts)}")
    return found


SPECIAL = [
    "/fhir/Patient/ann/Observation?_sort=-date",
    "/fhir/Patient/ann/*?_count=3",
    "/fhir/Patient/bob/Observation",
    "/fhir/Patient/bob/*",
    "/fhir/Patient/bob/Patient",
    "/fhir/Encounter/bob-e1/Observation",
    "/fhir/Encounter/ann-e1/*",
    "/fhir/Practitioner/strange/Observation?_count=2",
    "/fhir?_count=7",
    "/fhir?_id=ann,bob,ann-1,bob-1&_sort=-_lastUpdated",
    "/fhir?_type=Patient,Observation&_count=4",
    "/fhir?_type=Patient,Observation,Encounter&_sort=_id&_count=2",
    "/fhir?_type=Observation,Encounter&subject:Patient.name=Otto,Eve",
    "/fhir?_type=Observation,DiagnosticReport&patient.name=Otto,Eve&_include=*",
    "/fhir?_type=Observation,Patient,Encounter&_list=mixed&_sort=_id&_count=2",
    "/fhir/Patient/ann/Observation?_list=mixed&code:not-in=urn:vs:shared",
    "/fhir/Patient?_id=ann&_revinclude=*",
    "/fhir/Organization?_revinclude=*",
    "/fhir/Patient/ann/$everything?_count=3",
    "/fhir/Patient/ann/$everything?start=2024-01-02&end=2024-02-03",
    "/fhir/Observation/$stats?subject=Patient/ann&coding=http://loinc.org|718-7&statistic=total-count",
    "/fhir/Observation/$lastn?patient=ann&code=718-7&max=9",
]


def answers(world, path, token):
    """Every page of a search: status and bytes."""
    found = []
    while path:
        answer = world.client.get(path, token)
        found.append((answer.status_code, answer.content))
        links = answer.json().get("link", ()) if answer.status_code == 200 else ()
        following = [link["url"] for link in links if link["relation"] == "next"]
        path = following[0].removeprefix("https://gateway.example") if following else ""
        assert len(found) < 40
    return found


@pytest.mark.parametrize("of", ["types", "places", "types, each as a walk"])
def test_hidden_resources_change_no_byte_of_any_answer(either, of, monkeypatch):
    world = either
    if of == "types, each as a walk":  # which else only a large database makes of them
        monkeypatch.setattr(single, "least", lambda *_: 50_000)
    hidden = fill(world)
    for who in ("ann", "bob"):
        world.grant(who, "Organization/west")
    asked = SPECIAL if of == "places" else questions()
    if of == "types, each as a walk":
        asked = [path for path in asked if "_sort=" not in path][::2]
    if of == "types" and world.settings.database_url:
        asked = asked[::2]  # of every type still; the predicates are the ones that SQLite is asked all of
    north = world.token("clinician", institution="north")
    west = world.token("clinician", institution="west")
    present = {path: answers(world, path, north) for path in asked}
    everything = {path: answers(world, path, west) for path in asked}
    for type_, id_ in hidden:
        assert world.client.get(f"/fhir/{type_}/{id_}", north).status_code == 404
        world.delete(type_, id_, "south")
    deleted = {path: answers(world, path, north) for path in asked}
    assert {path for path, pages in present.items() if pages[0][0] != 200} == set()
    assert [path for path in asked if present[path] != deleted[path]] == []
    for pages in present.values():
        assert not any(f'"id":"{id_}"'.encode() in body for _, body in pages for _, id_ in hidden)
    # The searches reach what is hidden: for whoever may see it, many answers are others.
    telling = sum(present[path] != everything[path] for path in asked)
    assert telling > len(set(asked)) / 2


def test_a_hidden_value_set_or_list_is_like_one_that_is_not_there(either):
    name_codes(either)
    north = either.token("clinician", institution="north")
    south = either.token("clinician", institution="south")
    asked = [
        *(
            f"Observation?code:{how}={what}secret"
            for how in ("in", "not-in")
            for what in ("urn:vs:", "ValueSet/", "")
        ),
        "Observation?_list=secret&_total=none",
        "Patient?_has:Observation:patient:code:in=urn:vs:secret",
    ]
    hidden = [answers(either, f"/fhir/{query}", north) for query in asked]
    seen = [answers(either, f"/fhir/{query}", south) for query in asked]
    absent = [answers(either, f"/fhir/{query.replace('secret', 'nobody')}", north) for query in asked]
    for type_ in ("ValueSet", "List"):
        assert either.client.get(f"/fhir/{type_}/secret", north).status_code == 404
        either.delete(type_, "secret", "south")
    gone = [answers(either, f"/fhir/{query}", north) for query in asked]
    assert hidden == gone
    assert [pages[0][0] for pages in seen] == [200] * len(asked)
    is_list = ["_list" in query for query in asked]
    assert [pages[0][0] for pages in hidden] == [200 if one else 400 for one in is_list]
    assert [pages for pages, one in zip(hidden, is_list, strict=True) if not one] == [
        pages for pages, one in zip(absent, is_list, strict=True) if not one
    ]
