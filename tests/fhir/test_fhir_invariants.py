"""hdg.fhir.invariants: each invariant of R4 is implemented or named as not, and breaks where it must."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hdg.fhir import invariants
from hdg.fhir.definitions import Invariant, element_info, type_definition, type_names
from hdg.fhir.json import JsonObject, decimal
from hdg.fhir.path import compile_condition
from hdg.fhir.path_branches import Env
from hdg.fhir.validate import validate

UCUM = "http://unitsofmeasure.org"
TEXT = {"text": "x"}
SUBJECT = {"reference": "Patient/1"}


def every_invariant() -> Iterator[tuple[Invariant, str]]:
    """Every invariant of every type with the type of the items it speaks of."""
    for name in sorted(type_names()):
        pending = [name]
        while pending:
            part = pending.pop()
            definition = type_definition(part)
            for element in definition.elements:
                pending.extend(kind for kind in element.types if kind.startswith(part + "."))
            for invariant in definition.invariants:
                if invariant.path == part:
                    yield invariant, part
                elif invariant.path.rpartition(".")[0] == part:
                    info = element_info(part, invariant.path.rpartition(".")[2].removesuffix("[x]"))
                    assert info is not None
                    yield invariant, info.types[-1]


ALL = list(every_invariant())


def test_every_invariant_is_compiled_written_checked_elsewhere_or_named_as_not_checked() -> None:
    assert len(ALL) > 200
    for invariant, kind in ALL:
        if invariant.key not in invariants.NOT_CHECKED and invariant.key not in invariants.ELSEWHERE:
            assert callable(invariants.rule(invariant.key, invariant.expression, kind)), invariant.key


def test_the_lists_name_only_invariants_that_exist() -> None:
    keys = {invariant.key for invariant, _ in ALL}
    assert set(invariants.NOT_CHECKED) <= keys
    assert set(invariants.ELSEWHERE) <= keys
    assert set(invariants._WRITTEN) <= keys
    assert set(invariants.OF_ELEMENT) <= keys


def resource(kind: str, **elements: Any) -> JsonObject:
    return {"resourceType": kind, **elements}


def observation(**elements: Any) -> JsonObject:
    return resource("Observation", **{"status": "final", "code": TEXT, **elements})


def bundle(kind: str, *entries: JsonObject, **elements: Any) -> JsonObject:
    return resource("Bundle", type=kind, **({"entry": list(entries)} if entries else {}), **elements)


def timing(**repeat: Any) -> JsonObject:
    return observation(effectiveTiming={"repeat": repeat})


def extension(**elements: Any) -> JsonObject:
    return resource("Patient", extension=[{"url": "u:v", **elements}])


def risk(**prediction: Any) -> JsonObject:
    return resource("RiskAssessment", status="final", subject=SUBJECT, prediction=[prediction])


def code_system(*concepts: JsonObject) -> JsonObject:
    return resource("CodeSystem", status="draft", content="complete", concept=list(concepts))


def questionnaire(**item: Any) -> JsonObject:
    return resource("Questionnaire", status="draft", item=[{"linkId": "1", **item}])


REPEAT = "Observation.effective.repeat"
CODED = {"coding": [{"system": "s:s", "code": "c"}]}
PUT = {"method": "PUT", "url": "Patient/1"}
PERSON = {"resource": {"resourceType": "Patient"}}
HIGHER, LOWER = {"value": decimal("2.0")}, {"value": decimal("1.50")}

# (key, a resource that keeps it, one that breaks it, the place to blame)
CASES: list[tuple[str, JsonObject, JsonObject, str]] = [
    ("ext-1", extension(valueString="x"), extension(), "Patient.extension[0]"),
    ("ext-1", extension(extension=[{"url": "a", "valueCode": "x"}]),
     extension(valueString="x", extension=[{"url": "a", "valueCode": "x"}]), "Patient.extension[0]"),
    ("per-1", observation(effectivePeriod={"start": "2024-01", "end": "2024"}),
     observation(effectivePeriod={"start": "2024-02-02", "end": "2024-02-01"}), "Observation.effective"),
    ("qty-3", observation(valueQuantity={"code": "g", "system": UCUM}),
     observation(valueQuantity={"code": "g"}), "Observation.value"),
    ("rng-2", observation(valueRange={"low": LOWER, "high": HIGHER}),
     observation(valueRange={"low": HIGHER, "high": LOWER}), "Observation.value"),
    ("rat-1", observation(valueRatio={"numerator": LOWER, "denominator": LOWER}),
     observation(valueRatio={"numerator": LOWER}), "Observation.value"),
    ("obs-3", observation(referenceRange=[{"text": "x"}]), observation(referenceRange=[{"type": TEXT}]),
     "Observation.referenceRange[0]"),
    ("obs-6", observation(valueInteger=0), observation(valueInteger=0, dataAbsentReason=TEXT), "Observation"),
    ("obs-7", observation(valueInteger=0, code=CODED, component=[{"code": TEXT}]),
     observation(valueInteger=0, code=CODED, component=[{"code": CODED}]), "Observation"),
    ("cpt-2", resource("Patient", telecom=[{"value": "1", "system": "phone"}]),
     resource("Patient", telecom=[{"value": "1"}]), "Patient.telecom[0]"),
    ("att-1", resource("Patient", photo=[{"data": "AAAA", "contentType": "x/y"}]),
     resource("Patient", photo=[{"data": "AAAA"}]), "Patient.photo[0]"),
    ("pat-1", resource("Patient", contact=[{"organization": {"display": "x"}}]),
     resource("Patient", contact=[{"gender": "male"}]), "Patient.contact[0]"),
    ("org-1", resource("Organization", name="x"), resource("Organization", active=True), "Organization"),
    ("org-2", resource("Organization", name="x", address=[{"use": "work"}]),
     resource("Organization", name="x", address=[{"use": "work"}, {"use": "home"}]),
     "Organization.address[1]"),
    ("tim-1", timing(duration=1, durationUnit="h"), timing(duration=1), REPEAT),
    ("tim-2", timing(period=1, periodUnit="d"), timing(period=1), REPEAT),
    ("tim-5", timing(period=0, periodUnit="d"), timing(period=-1, periodUnit="d"), REPEAT),
    ("tim-6", timing(period=1, periodMax=2, periodUnit="d"), timing(periodMax=2), REPEAT),
    ("tim-8", timing(count=1, countMax=2), timing(countMax=2), REPEAT),
    ("tim-9", timing(offset=1, when=["AC"]), timing(offset=1, when=["C"]), REPEAT),
    ("tim-10", timing(when=["AC"]), timing(when=["AC"], timeOfDay=["10:00:00"]), REPEAT),
    ("bdl-1", bundle("searchset", total=0), bundle("collection", total=0), "Bundle"),
    ("bdl-2", bundle("searchset", {**PERSON, "search": {"mode": "match"}}),
     bundle("collection", {**PERSON, "search": {"mode": "match"}}), "Bundle"),
    ("bdl-3", bundle("transaction", {**PERSON, "request": PUT}), bundle("transaction", PERSON), "Bundle"),
    ("bdl-3", bundle("collection", PERSON), bundle("collection", {**PERSON, "request": PUT}), "Bundle"),
    ("bdl-4", bundle("batch-response", {"response": {"status": "200"}}),
     bundle("searchset", {**PERSON, "response": {"status": "200"}}), "Bundle"),
    ("bdl-5", bundle("collection", PERSON), bundle("collection", {"fullUrl": "u:v"}), "Bundle.entry[0]"),
    ("bdl-7", bundle("collection", {**PERSON, "fullUrl": "u:1"}, {**PERSON, "fullUrl": "u:2"}),
     bundle("collection", {**PERSON, "fullUrl": "u:1"}, {**PERSON, "fullUrl": "u:1"}), "Bundle"),
    ("bdl-8", bundle("collection", {**PERSON, "fullUrl": "http://x/Patient/1"}),
     bundle("collection", {**PERSON, "fullUrl": "http://x/Patient/1/_history/1"}), "Bundle.entry[0]"),
    ("bdl-9", bundle("collection"), bundle("document", timestamp="2024-01-01T00:00:00Z"), "Bundle"),
    ("bdl-10", bundle("collection"),
     bundle("document", identifier={"system": "u:v", "value": "1"}), "Bundle"),
    ("bdl-12", bundle("collection", PERSON), bundle("message", PERSON), "Bundle"),
    ("con-4", resource("Condition", subject=SUBJECT, onsetString="x"),
     resource("Condition", subject=SUBJECT, abatementString="x"), "Condition"),
    ("ait-1", resource("AllergyIntolerance", patient=SUBJECT, clinicalStatus={"coding": [{
        "system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}]}),
     resource("AllergyIntolerance", patient=SUBJECT), "AllergyIntolerance"),
    ("ppc-1", resource("Consent", status="active", scope=TEXT, category=[TEXT], policyRule=TEXT),
     resource("Consent", status="active", scope=TEXT, category=[TEXT]), "Consent"),
    ("sev-1", resource("Parameters", parameter=[{"name": "x", "valueCode": "y"}]),
     resource("AuditEvent", type={"code": "x"}, recorded="2024-01-01T00:00:00Z", agent=[{"requestor": True}],
              source={"observer": {"display": "x"}}, entity=[{"name": "x", "query": "AAAA"}]),
     "AuditEvent.entity[0]"),
    ("inv-1", resource("Parameters", parameter=[{"name": "x", "part": [{"name": "y", "valueCode": "z"}]}]),
     resource("Parameters", parameter=[{"name": "x"}]), "Parameters.parameter[0]"),
    ("inv-1", resource("Task", status="draft", intent="order", authoredOn="2024", lastModified="2024"),
     resource("Task", status="draft", intent="order", authoredOn="2024", lastModified="2023"), "Task"),
    ("que-1", questionnaire(type="string"), questionnaire(type="group"), "Questionnaire.item[0]"),
    ("que-2", questionnaire(type="string"),
     questionnaire(type="group", item=[{"linkId": "1", "type": "string"}]), "Questionnaire"),
    ("que-7", questionnaire(type="string", enableWhen=[{
        "question": "2", "operator": "exists", "answerBoolean": True}]),
     questionnaire(type="string", enableWhen=[{"question": "2", "operator": "exists", "answerInteger": 1}]),
     "Questionnaire.item[0].enableWhen[0]"),
    ("ras-1", risk(probabilityDecimal=1), risk(probabilityRange={"low": {"code": "g", "system": UCUM}}),
     "RiskAssessment.prediction[0].probability"),
    ("ras-2", risk(probabilityDecimal=1), risk(probabilityDecimal=101), "RiskAssessment.prediction[0]"),
    ("csd-1", code_system({"code": "a"}, {"code": "b"}),
     code_system({"code": "a", "concept": [{"code": "a"}]}), "CodeSystem"),
    ("age-1", resource("Condition", subject=SUBJECT, onsetAge={"value": 1, "code": "a", "system": UCUM}),
     resource("Condition", subject=SUBJECT, onsetAge={"value": 1, "code": "a", "system": "u:v"}),
     "Condition.onset"),
    ("vsd-1", resource("ValueSet", status="draft", compose={"include": [{"system": "u:v"}]}),
     resource("ValueSet", status="draft", compose={"include": [{"version": "1"}]}),
     "ValueSet.compose.include[0]"),
]  # fmt: skip


@pytest.mark.parametrize("key, kept, broken, place", CASES, ids=[f"{case[0]} {case[3]}" for case in CASES])
def test_an_invariant_holds_or_is_blamed_at_its_place(
    key: str, kept: JsonObject, broken: JsonObject, place: str
) -> None:
    assert validate(kept) == []
    found = [(issue.place, issue.text.partition(":")[0]) for issue in validate(broken)]
    assert (place, key) in found


EXTENDED = {"extension": [{"url": "u:v", "valueCode": "x"}]}
TIMES: list[JsonObject] = [{}, *({name: 1} for name in ("duration", "period", "periodMax", "durationMax", "count",
                           "countMax")), {"durationUnit": "h"}, {"periodUnit": "h"}, {"_duration": EXTENDED},
                           {"_durationUnit": EXTENDED}, {"_period": EXTENDED}, {"_count": EXTENDED},
                           {"timeOfDay": ["10:00:00"]}, {"_timeOfDay": [EXTENDED]}, {"when": ["C"]},
                           {"_when": [EXTENDED]}]  # fmt: skip


def coded(system: str, code: str) -> JsonObject:
    """A concept of one of FHIR's own code systems, after a coding that is of none."""
    url = f"http://terminology.hl7.org/CodeSystem/{system}"
    return {"coding": [{"code": code}, {"system": url, "code": code}]}


SHAPES: dict[str, list[JsonObject]] = {
    "Extension": [{}, {"valueCode": "x"}, {"_valueCode": EXTENDED}, EXTENDED, {**EXTENDED, "valueCode": "x"}],
    "Quantity": [{}, {"code": "x"}, {"_code": EXTENDED}, {"code": "x", "_system": EXTENDED},
                 {"code": "x", "system": "y"}],
    "Period": [{}, {"start": "2024"}, {"start": "2024", "end": "2023"},
               {"start": "2024", "end": "2024-01-01"}],
    "ContactPoint": [{}, {"use": "home"}, {"use": "work"}, {"_use": EXTENDED},
                     {"value": "1"}, {"_value": EXTENDED}, {"value": "1", "_system": EXTENDED}],
    "Attachment": [{}, {"data": "AA=="}, {"_data": EXTENDED}, {"data": "AA==", "contentType": "x/y"}],
    "Ratio": [{}, EXTENDED, {"numerator": LOWER}, {"denominator": LOWER},
              {"numerator": LOWER, "denominator": LOWER},
              {"numerator": LOWER, **EXTENDED}],
    "Range": [{}, {"low": HIGHER, "high": LOWER}, {"low": LOWER, "high": HIGHER}, {"low": LOWER},
              {"low": {"value": 2, "unit": "kg"}, "high": {"value": 1, "unit": "g"}}],
    "Observation.referenceRange": [{}, {"low": LOWER}, {"text": "x"}, {"_text": EXTENDED}, {"type": TEXT}],
    "Observation": [observation(), observation(valueInteger=1), observation(dataAbsentReason=TEXT),
                    observation(_valueString=EXTENDED, dataAbsentReason=TEXT),
                    observation(valueInteger=1, code=CODED, component=[{"code": CODED}]),
                    observation(_valueString=EXTENDED, code=CODED, component=[{"code": CODED}]),
                    observation(valueInteger=1, code=CODED, component=[{"code": TEXT}])],
    "Composition.section": [{}, {"text": {}}, {"entry": [SUBJECT]}, {"section": [{}]}, {"emptyReason": TEXT},
                            {"emptyReason": TEXT, "entry": [SUBJECT]}, {"title": "x"}],
    "Organization": [{}, {"name": "x"}, {"_name": EXTENDED}, {"identifier": [{"value": "x"}]}, {"active": True}],
    "Address": [{}, {"use": "home"}, {"use": "work"}, {"_use": EXTENDED}],
    "ServiceRequest": [{}, {"orderDetail": [TEXT]}, {"code": TEXT}, {"orderDetail": [TEXT], "code": TEXT}],
    "Condition": [{**one, **other, **abated} for one in ({}, *({"clinicalStatus": coded("condition-clinical", code)}
                  for code in ("resolved", "active")), {"clinicalStatus": TEXT})
                  for other in ({}, *({"verificationStatus": coded("condition-ver-status", code)}
                                for code in ("entered-in-error", "confirmed")), {"verificationStatus": TEXT})
                  for abated in ({}, {"abatementString": "x"}, {"_abatementString": EXTENDED})],
    "AllergyIntolerance": [{**one, **other} for one in ({}, {"clinicalStatus": TEXT})
                           for other in ({}, {"verificationStatus": TEXT}, *({"verificationStatus": coded(system, code)}
                                         for system in ("allergyintolerance-verification", "other")
                                         for code in ("entered-in-error", "confirmed")))],
    "Timing.repeat": [{**one, **other} for one in TIMES for other in TIMES],
}  # fmt: skip


@pytest.mark.parametrize("key", sorted(invariants._WRITTEN))
def test_a_rule_written_in_python_says_what_its_fhirpath_says(key: str) -> None:
    compared = 0
    for invariant, kind in ALL:
        if invariant.key != key or kind not in SHAPES:
            continue
        condition = compile_condition(invariant.expression, kind)
        written = invariants.rule(key, invariant.expression, kind)
        for item in SHAPES[kind]:
            scope = invariants.Scope(item, item)
            assert written(item, scope) == condition(item, Env(item, item, item)), (key, item)
            compared += 1
    assert compared


@pytest.mark.parametrize("key", sorted(invariants.OF_ELEMENT))
def test_an_invariant_of_an_element_holds_without_it(key: str) -> None:
    name = invariants.OF_ELEMENT[key]
    (expression,) = (invariant.expression for invariant, _ in ALL if invariant.key == key)
    condition = compile_condition(expression, "Timing.repeat")
    free = [one for one in SHAPES["Timing.repeat"] if name not in one and f"_{name}" not in one]
    assert len(free) > 100
    assert all(condition(item, Env(item, item, item)) for item in free)
