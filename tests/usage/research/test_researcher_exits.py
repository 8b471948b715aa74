"""No way out shows a researcher what was not to be shown: tokens in everything, and patients who did not consent."""

from __future__ import annotations

import re
from datetime import date

import pytest
from canaries import DATES, TOKEN, Maker

from hdg.fhir import definitions
from hdg.usage.research.elements import SHOWN
from hdg.usage.research.questions import rule

PROJECT = "asthma-1"
OTHERS = (
    "Practitioner",
    "Organization",
    "Provenance",
    "Composition",
    "DocumentReference",
    "Binary",
    "Location",
)
ANN, BOB = "zq111111x", "zq222222x"
PURPOSES = ("HRESCH",)
DAYS = re.compile("|".join(re.escape(moment[:10]) for moment in DATES.values() if "-" in moment))


def made(type_, patient, variant):
    """A resource with a token in every string, about a patient."""
    content = Maker(variant).resource(type_)
    content["id"] = f"zq{variant:02}{patient[2:6]}x-{type_[:40]}"
    names = {element.name for element in definitions.type_definition(type_).elements}
    for name in sorted(names & {"subject", "patient", "beneficiary"}):
        content[name] = {"reference": f"Patient/{patient}", "display": "zq777777x"}
    if type_ == "Patient":
        content |= {"id": patient, "link": []}
    return content


def fill(world, patient, variants=(0, 1, 2)):
    for type_ in ("Patient", *sorted(set(SHOWN) - {"Patient"})):
        for variant in variants if type_ != "Patient" else (1,):
            world.put(made(type_, patient, variant), "north", patient)
    for type_ in OTHERS:
        world.put(made(type_, patient, 0), "north", patient)


@pytest.fixture
def study(either):
    either.researcher = either.token("researcher", project=PROJECT)
    return either


SOME = ("Patient", "Observation", "MedicationRequest")
"""Types that every way is tried with; of the others a search tells."""


def everything_asked(world, ids, types=()):
    """Every kind of answer about what a researcher may ask: (what was asked, the answer)."""

    def get(path, method="GET", **rest):
        return path, world.client.request(method, f"/fhir/{path}", world.researcher, **rest)

    for type_ in types or sorted({*SHOWN, *OTHERS, "Consent", "AuditEvent"}):
        yield get(f"{type_}?_count=100")
    for type_ in (*SOME, "Practitioner"):
        yield get(f"{type_}?_count=100", headers={"accept": "application/fhir+xml"})
        yield get(f"{type_}?_count=2&_pretty=true")
        for summary in ("true", "text", "data", "count"):
            yield get(f"{type_}?_summary={summary}")
        yield get(f"{type_}/_search", "POST", data={"_count": "3"})
        yield get(f"{type_}/_history")
        yield get(f"{type_}?_elements=id,identifier" if type_ in SHOWN else f"{type_}?_id=x")
    for type_ in types or SOME:
        for parameter in definitions.search_parameters(type_):
            found = rule(type_, parameter.code)
            if found is not None and found.values == "reference":
                yield get(f"{type_}?_include={type_}:{parameter.code}&_count=20")
                yield get(f"Patient?_revinclude={type_}:{parameter.code}")
    yield get("?_type=Patient,Observation,Practitioner&_count=50")
    yield get("")
    for type_, id_ in (name for name in ids if name[0] in SOME):
        for path in (f"{type_}/{id_}", f"{type_}/{id_}?_summary=true", f"{type_}/{id_}/_history/1"):
            yield get(path)
            yield get(path, headers={"accept": "application/fhir+xml"})
            yield get(path, "HEAD")
        yield get(f"{type_}/{id_}/$meta")
        yield get(f"{type_}/{id_}/$validate")
        yield get(f"{type_}/{id_}/$everything?_count=100")
        yield get(f"{type_}/{id_}/*")
        bundle = {
            "resourceType": "Bundle",
            "entry": [{"request": {"method": "GET", "url": url}} for url in (f"{type_}/{id_}", type_)],
        }
        for kind in ("batch", "transaction"):
            answer = world.client.send("POST", "/fhir", world.researcher, {**bundle, "type": kind})
            yield f"{kind} {type_}", answer


def pseudonyms(world, types=()):
    found = []
    for type_ in types or sorted(SHOWN):
        answer = world.client.get(f"/fhir/{type_}?_count=100", world.researcher).json()
        found += [(type_, entry["resource"]["id"]) for entry in answer.get("entry", ())]
    return found


def test_no_token_leaves_by_any_way(study):
    fill(study, ANN)
    fill(study, BOB, variants=(0,))
    study.grant(ANN, f"ResearchStudy/{PROJECT}", purposes=PURPOSES)
    found = pseudonyms(study)
    by_type = dict(found)
    assert set(by_type) == set(SHOWN), set(SHOWN) - set(by_type)
    seen = 0
    for asked, answer in everything_asked(study, sorted(by_type.items())):
        assert answer.status_code in (200, 400, 403, 404), (asked, answer.text)
        text = answer.text + repr(sorted(answer.headers.items()))
        assert not re.search(TOKEN, text), (asked, re.findall(TOKEN, text), text[:2000])
        assert not DAYS.search(text), asked
        assert not re.search(r"\b(north|ann|bob|Featherstonehaugh)\b", text), asked
        assert not {"etag", "last-modified", "location"} & set(answer.headers), asked
        seen += answer.status_code == 200 and len(answer.text) > 500
    assert seen > 60


def test_a_patient_who_does_not_consent_changes_no_byte(study):
    """Present, denying, consenting to another project, gone: the answers are the same."""
    for type_ in (*SOME, "Condition", "Medication"):
        study.put(made(type_, ANN, 0), "north", ANN)
    study.grant(ANN, f"ResearchStudy/{PROJECT}", purposes=PURPOSES)
    ids = sorted(dict(pseudonyms(study, SOME)).items())

    def answers():
        return [
            (asked, answer.status_code, answer.content)
            for asked, answer in everything_asked(study, ids, ("Condition",))
        ]

    alone = answers()
    # Medications belong to nobody, so they are not part of the record.
    theirs = [made(type_, BOB, 0) for type_ in (*SOME, "Condition", "Specimen", "Provenance")]
    for content in theirs:
        study.put(content, "north", BOB)
    assert answers() == alone
    made_for_others = study.grant(BOB, "ResearchStudy/other", purposes=PURPOSES)
    study.revoke(made_for_others)
    opened = study.grant(BOB, f"ResearchStudy/{PROJECT}", purposes=PURPOSES)
    assert answers() != alone
    study.revoke(opened)
    assert answers() == alone
    for content in reversed(theirs):
        study.delete(content["resourceType"], content["id"], "north")
    assert answers() == alone


def test_what_is_about_two_patients_needs_both_and_shows_no_date(study):
    study.put(study.patient(ANN, "A", "B"), "north", ANN)
    study.put(study.patient(BOB, "C", "D"), "north", BOB)
    joint = study.observation("joint", ANN, "718-7", "2024-01-01")
    joint["performer"] = [{"reference": f"Patient/{BOB}"}]
    study.put(joint, "north", ANN)
    study.grant(ANN, f"ResearchStudy/{PROJECT}", purposes=PURPOSES)
    ask = lambda: study.client.get("/fhir/Observation", study.researcher).json()  # noqa: E731
    assert ask()["total"] == 0
    study.grant(BOB, f"ResearchStudy/{PROJECT}", purposes=PURPOSES)
    (entry,) = ask()["entry"]
    assert "effectiveDateTime" not in entry["resource"]


def test_dates_of_one_patient_move_together_and_not_with_another_s(study):
    for patient in (ANN, BOB):
        study.put(study.patient(patient, "A", "B"), "north", patient)
        study.grant(patient, f"ResearchStudy/{PROJECT}", purposes=PURPOSES)
        for day in ("2024-01-01", "2024-01-11"):
            study.put(study.observation(f"{patient}-{day}", patient, "718-7", day), "north", patient)
    by_patient = {}
    for entry in study.client.get("/fhir/Observation", study.researcher).json()["entry"]:
        resource = entry["resource"]
        moved = date.fromisoformat(resource["effectiveDateTime"])
        by_patient.setdefault(resource["subject"]["reference"], []).append(moved)
    assert len(by_patient) == 2
    offsets = {min(days) - date(2024, 1, 1) for days in by_patient.values()}
    assert len(offsets) == 2
    assert {(max(days) - min(days)).days for days in by_patient.values()} == {10}


def test_a_reference_to_what_is_hidden_leads_nowhere_like_one_to_what_is_not_there(study):
    """Whoever sees a pseudonym in a reference cannot ask by it whether the gateway holds what it stands for."""
    study.grant("ann", f"ResearchStudy/{PROJECT}", purposes=PURPOSES)
    stay = {"resourceType": "Encounter", "id": "bobs", "status": "finished", "class": {"code": "AMB"}}
    study.put(stay | {"subject": {"reference": "Patient/bob"}}, "south", "bob")
    for number, name in enumerate(("bobs", "nobodys")):
        made = study.observation(f"seen{number}", "ann", "718-7", "2024-01-01")
        made |= {
            "encounter": {"reference": f"Encounter/{name}"},
            "hasMember": [{"reference": f"Observation/{name}-0"}],
        }
        study.put(made, "north", "ann")
    study.put(study.observation("bobs-0", "bob", "718-7", "2024-01-01"), "south", "bob")
    found = study.client.get("/fhir/Observation?_count=100", study.researcher).json()["entry"]
    naming = [one["resource"] for one in found if "encounter" in one["resource"]]
    assert len(naming) == 2
    for one in naming:
        stay, member = one["encounter"]["reference"], one["hasMember"][0]["reference"]
        for query in (f"encounter={stay}", f"has-member={member}", f"encounter:Encounter._id={stay[10:]}"):
            told = study.client.get(f"/fhir/Observation?{query}", study.researcher).json()
            assert told["total"] == 0, query
        assert study.client.get(f"/fhir/{stay}/*", study.researcher).json()["total"] == 0
        assert study.client.get(f"/fhir/{stay}", study.researcher).status_code == 404


def test_a_patient_of_whom_something_is_shown_can_be_asked_for_though_the_patient_is_not(study):
    study.grant("ann", f"ResearchStudy/{PROJECT}", types=("Observation",), purposes=PURPOSES)
    (one, *_) = study.client.get("/fhir/Observation", study.researcher).json()["entry"]
    patient = one["resource"]["subject"]["reference"]
    assert study.client.get(f"/fhir/{patient}", study.researcher).status_code == 404
    for query in (
        f"Observation?patient={patient[8:]}",
        f"Observation?subject={patient}",
        f"{patient}/Observation",
    ):
        assert study.client.get(f"/fhir/{query}", study.researcher).json()["total"] == 3, query
