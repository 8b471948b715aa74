"""Resources to a document, one fact each: what is denied is denied there, nothing is rounded or assumed."""

from __future__ import annotations

import pytest
from lxml import etree

from hdg.fhir import json
from hdg.usage.ccd.document import Making, document

NS = {"h": "urn:hl7-org:v3", "sdtc": "urn:hl7-org:sdtc"}
XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"
MAKING = Making(
    "0a0a0a0a-1111-4222-8333-444444444444", "2026-01-02T03:04:05Z", "north", "https://gw.example/fhir"
)
PATIENT = {"resourceType": "Patient", "id": "p", "name": [{"family": "Example", "given": ["Ada"]}]}
SCT = "http://snomed.info/sct"


def root(*resources):
    made = [json.loads(json.dumps(one)) for one in (PATIENT, *resources)]
    return etree.fromstring(document(made, MAKING))


def one(tree, path):
    (found,) = tree.findall(path, NS)
    return found


def section(tree, code):
    return next(s for s in tree.iterfind(".//h:section", NS) if one(s, "h:code").get("code") == code)


def concept(code, system=SCT, **rest):
    return {"coding": [{"system": system, "code": code}], **rest}


def about(type_, **rest):
    name = "patient" if type_ in ("AllergyIntolerance", "Immunization") else "subject"
    return {"resourceType": type_, "id": "r", name: {"reference": "Patient/p"}, **rest}


def status(code, kind="condition-ver-status"):
    return concept(code, f"http://terminology.hl7.org/CodeSystem/{kind}")


REQUIRED = ("48765-2", "10160-0", "11450-4", "47519-4", "30954-2", "29762-2", "8716-3")


def test_a_patient_of_whom_nothing_is_known_has_every_required_section_without_information():
    tree = root()
    sections = tree.findall(".//h:section", NS)
    assert tuple(one(s, "h:code").get("code") for s in sections) == REQUIRED
    assert {(s.get("nullFlavor"), one(s, "h:text").text) for s in sections} == {("NI", "No information")}


def test_the_header_names_the_patient_the_gateway_and_the_institution():
    tree = root()
    assert one(tree, "h:recordTarget/h:patientRole/h:patient/h:name/h:family").text == "Example"
    device = one(tree, "h:author/h:assignedAuthor/h:assignedAuthoringDevice/h:softwareName")
    assert device.text == "Healthcare Data Gateway"
    keeper = one(tree, "h:custodian/h:assignedCustodian/h:representedCustodianOrganization")
    assert one(keeper, "h:name").text == "north"
    assert one(tree, "h:effectiveTime").get("value") == "20260102030405+0000"
    assert one(tree, "h:confidentialityCode").get("code") == "N"


def test_a_contact_is_no_guardian_unless_it_is_said():
    grandfather = concept("GRFTH", "http://terminology.hl7.org/CodeSystem/v3-RoleCode")
    patient = {**PATIENT, "contact": [{"relationship": [grandfather], "name": {"family": "Elder"}}]}
    tree = etree.fromstring(document([patient], MAKING))
    contact = one(tree, "h:participant/h:associatedEntity")
    assert (contact.get("classCode"), one(contact, "h:code").get("code")) == ("CON", "GRFTH")
    assert one(contact, "h:associatedPerson/h:name/h:family").text == "Elder"


def test_the_document_is_as_confidential_as_the_most_confidential_of_what_it_holds():
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "V"}
    tree = root(about("Condition", code=concept("1"), meta={"security": [label]}))
    assert one(tree, "h:confidentialityCode").get("code") == "V"


@pytest.mark.parametrize(
    ("resource", "tag"),
    [
        (about("Condition", code=concept("1"), verificationStatus=status("refuted")), "observation"),
        (
            about(
                "AllergyIntolerance",
                code=concept("1"),
                verificationStatus=status("refuted", "allergyintolerance-verification"),
            ),
            "observation",
        ),
        (about("Immunization", vaccineCode=concept("1"), status="not-done"), "substanceAdministration"),
        (
            about("MedicationStatement", medicationCodeableConcept=concept("1"), status="not-taken"),
            "substanceAdministration",
        ),
        (
            about(
                "MedicationRequest",
                medicationCodeableConcept=concept("1"),
                status="active",
                intent="order",
                doNotPerform=True,
            ),
            "substanceAdministration",
        ),
        (about("Procedure", code=concept("1"), status="not-done"), "procedure"),
        (
            about("ServiceRequest", code=concept("1"), status="active", intent="order", doNotPerform=True),
            "act",
        ),
    ],
)
def test_what_is_denied_is_negated_and_its_row_says_so(resource, tag):
    tree = root(resource)
    negated = [e for e in tree.iter() if e.get("negationInd") == "true"]
    assert [etree.QName(e).localname for e in negated] == [tag]
    id_ = one(negated[0], "h:text/h:reference").get("value")[1:]
    (row,) = tree.xpath(f"//*[@ID='{id_}']")
    assert "not" in row[0].text


def test_the_same_without_denial_is_not_negated():
    tree = root(
        about("Condition", code=concept("1"), verificationStatus=status("confirmed")),
        about("Procedure", code=concept("1"), status="completed"),
        about("MedicationRequest", medicationCodeableConcept=concept("1"), status="active", intent="order"),
    )
    assert not [e for e in tree.iter() if e.get("negationInd") == "true"]


def test_what_was_entered_in_error_is_left_out():
    tree = root(
        about("Condition", code=concept("1"), verificationStatus=status("entered-in-error")),
        about("Procedure", code=concept("2"), status="entered-in-error"),
        about("Goal", description=concept("3"), lifecycleStatus="entered-in-error"),
    )
    assert not tree.findall(".//h:entry", NS)


def test_what_a_modifier_extension_changes_is_left_out():
    changed = {"modifierExtension": [{"url": "https://meaning.example/opposite", "valueBoolean": True}]}
    tree = root(
        about("Condition", code=concept("1"), **changed),
        about(
            "MedicationStatement", status="active", medicationCodeableConcept=concept("1"), dosage=[changed]
        ),
    )
    assert not tree.findall(".//h:entry", NS)


def test_a_dose_too_weak_to_count_says_so():
    tree = root(
        about(
            "Immunization",
            status="completed",
            vaccineCode=concept("1"),
            occurrenceDateTime="2024",
            isSubpotent=True,
        )
    )
    assert "Subpotent dose" in "".join(tree.itertext())


def test_no_target_of_a_goal_is_left_unsaid():
    targets = [{"detailString": "walk"}, {"measure": {"text": "run"}, "detailInteger": 5}]
    tree = root(about("Goal", lifecycleStatus="active", description=concept("1"), target=targets))
    assert "Further target: run; 5" in "".join(tree.itertext())


def test_no_known_allergy_and_no_known_problem_deny_the_kind():
    tree = root(
        about("AllergyIntolerance", code=concept("409137002")), about("Condition", code=concept("160245001"))
    )
    found = {
        (e.get("negationInd"), one(e, "h:value").get("code"))
        for e in tree.iterfind(".//h:act//h:observation", NS)
    }
    assert found == {("true", "416098002"), ("true", "55607006")}
    playing = one(tree, ".//h:playingEntity/h:code")
    assert playing.get("nullFlavor") == "NA"


def test_a_refuted_no_known_allergy_is_left_out_since_readers_would_take_it_for_one():
    refuted = status("refuted", "allergyintolerance-verification")
    tree = root(about("AllergyIntolerance", code=concept("716186003"), verificationStatus=refuted))
    assert not tree.findall(".//h:playingEntity/h:code", NS)
    assert not tree.findall(".//h:observation[@negationInd='true']", NS)


def test_what_is_neither_certain_nor_denied_says_so():
    tree = root(about("Condition", code=concept("1"), verificationStatus=status("provisional")))
    assert "Verification status: provisional" in "".join(tree.itertext())


def test_a_problem_that_lasts_has_no_end_and_one_that_is_over_an_unknown_one():
    clinical = "condition-clinical"
    lasting = root(
        about("Condition", code=concept("1"), clinicalStatus=status("active", clinical), onsetDateTime="2010")
    )
    problem = one(lasting, ".//h:entry/h:act/h:entryRelationship/h:observation")
    assert one(problem, "h:effectiveTime/h:low").get("value") == "2010"
    assert problem.find("h:effectiveTime/h:high", NS) is None
    over = root(about("Condition", code=concept("1"), clinicalStatus=status("resolved", clinical)))
    assert (
        one(over, ".//h:entry/h:act/h:entryRelationship/h:observation/h:effectiveTime/h:high").get(
            "nullFlavor"
        )
        == "UNK"
    )


def test_the_first_coding_is_the_code_the_others_are_translations_and_systems_are_oids():
    other = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "J45"}
    own = {"system": "urn:oid:2.999.7", "code": "x"}
    unknown = {"system": "https://codes.example/mine", "code": "y"}
    codings = [{"system": SCT, "code": "195967001", "display": "Asthma"}, other, own, unknown]
    tree = root(about("Condition", code={"coding": codings, "text": "<asthma> & co"}))
    value = one(tree, ".//h:entry/h:act/h:entryRelationship/h:observation/h:value")
    assert (value.get("code"), value.get("codeSystem")) == ("195967001", "2.16.840.1.113883.6.96")
    assert one(value, "h:originalText").text == "<asthma> & co"
    systems = [t.get("codeSystem") for t in value.iterfind("h:translation", NS)]
    assert systems[:2] == ["2.16.840.1.113883.6.90", "2.999.7"]
    assert len(systems[2]) == 36
    names = [t.get("codeSystemName") for t in value.iterfind("h:translation", NS)]
    assert names == [None, None, "https://codes.example/mine"]


def result(**rest):
    category = [concept("laboratory", "http://terminology.hl7.org/CodeSystem/observation-category")]
    return about(
        "Observation", status="final", category=category, code=concept("718-7", "http://loinc.org"), **rest
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            {"valueQuantity": {"value": json.decimal("13.20"), "unit": "g/dL"}},
            [("value", "PQ", {"value": "13.20", "unit": "g/dL"})],
        ),
        (
            {"valueQuantity": {"value": json.decimal("1E+3"), "comparator": "<", "code": "mg", "unit": "x"}},
            [("value", "IVL_PQ", {}), ("high", None, {"value": "1E+3", "unit": "mg", "inclusive": "false"})],
        ),
        (
            {"valueQuantity": {"value": 2, "unit": "two puffs"}},
            [("value", "PQ", {"value": "2", "unit": "{two_puffs}"})],
        ),
        ({"valueBoolean": False}, [("value", "BL", {"value": "false"})]),
        ({"valueInteger": 0}, [("value", "INT", {"value": "0"})]),
        (
            {"valueDateTime": "2024-01-02T03:04:05.10+01:00"},
            [("value", "TS", {"value": "20240102030405.10+0100"})],
        ),
        (
            {
                "dataAbsentReason": concept(
                    "masked", "http://terminology.hl7.org/CodeSystem/data-absent-reason"
                )
            },
            [("value", "CD", {"nullFlavor": "MSK"})],
        ),
    ],
)
def test_values_keep_their_digits_bounds_and_reasons(given, wanted):
    value = one(root(result(**given)), ".//h:component/h:observation/h:value")
    found = [
        (etree.QName(e).localname, e.get(XSI), {k: v for k, v in e.attrib.items() if k != XSI})
        for e in value.iter()
    ]
    assert found == wanted


def test_results_that_only_name_each_other_are_written_once_each():
    def named(id_, other):
        return {**result(valueInteger=1), "id": id_, "hasMember": [{"reference": f"Observation/{other}"}]}

    tree = root(named("a", "b"), named("b", "a"))
    assert len(tree.findall(".//h:observation", NS)) == 2


@pytest.mark.parametrize(
    ("repeat", "period", "words"),
    [
        ({"frequency": 1, "period": 8, "periodUnit": "h"}, ("8", "h"), ""),
        ({"frequency": 4, "period": 1, "periodUnit": "d"}, ("6", "h"), ""),
        ({"frequency": 3, "period": 1, "periodUnit": "wk"}, ("56", "h"), ""),
        ({"frequency": 7, "period": 1, "periodUnit": "h"}, None, "7 times per 1 h"),
        ({"frequency": 1, "frequencyMax": 2, "period": 1, "periodUnit": "d"}, None, "1 to 2 times per 1 d"),
        (
            {"dayOfWeek": ["mon"], "frequency": 1, "period": 1, "periodUnit": "wk"},
            ("1", "wk"),
            "dayOfWeek mon",
        ),
    ],
)
def test_how_often_is_exact_or_said_in_words(repeat, period, words):
    tree = root(
        about(
            "MedicationStatement",
            status="active",
            medicationCodeableConcept=concept("1"),
            dosage=[{"timing": {"repeat": repeat}}],
        )
    )
    found = [(e.get("value"), e.get("unit")) for e in tree.iterfind(".//h:effectiveTime/h:period", NS)]
    assert found == ([period] if period else [])
    sig = [
        e.text for e in tree.iterfind(".//h:substanceAdministration//h:substanceAdministration/h:text", NS)
    ]
    assert sig == ([words] if words else [])


def test_every_dosage_is_said():
    doses = [{"text": "one in the morning"}, {"text": "two at night"}]
    tree = root(
        about("MedicationStatement", status="active", medicationCodeableConcept=concept("1"), dosage=doses)
    )
    said = "".join(tree.itertext())
    assert "Further dosage: two at night" in said


def test_every_dose_of_a_dosage_is_said():
    def milligrams(value):
        return {"value": value, "unit": "mg"}

    calculated = {"type": {"text": "calculated"}, "doseQuantity": milligrams(48)}
    limits = {"low": milligrams(5), "high": milligrams(10)}
    hourly = {"numerator": milligrams(1), "denominator": {"value": 2, "unit": "h"}}
    doses = [
        {"doseAndRate": [{"doseQuantity": milligrams(50)}, calculated]},
        {"doseAndRate": [{"doseRange": limits, "rateRatio": hourly}]},
    ]
    tree = root(
        about("MedicationStatement", status="active", medicationCodeableConcept=concept("1"), dosage=doses)
    )
    said = "".join(tree.itertext())
    assert "calculated 48 mg" in said
    assert "Further dosage: 5 mg to 10 mg; rate 1 mg per 2 h" in said


def test_a_medication_that_cannot_be_seen_is_unknown_not_left_out():
    tree = root(
        about("MedicationStatement", status="active", medicationReference={"reference": "Medication/hidden"})
    )
    assert one(tree, ".//h:manufacturedMaterial/h:code").get("nullFlavor") == "UNK"


def test_text_that_xml_cannot_hold_does_not_break_the_document():
    tree = root(about("Condition", code={"text": "a\u0001b"}))
    assert "a\ufffdb" in "".join(tree.itertext())


def test_the_same_resources_give_the_same_bytes():
    made = [PATIENT, result(valueInteger=1)]
    assert document(made, MAKING) == document(made, MAKING)


def test_without_a_patient_there_is_no_document():
    with pytest.raises(ValueError, match="patient"):
        document([result()], MAKING)


def dispensed(status, **rest):
    return about("MedicationDispense", status=status, medicationCodeableConcept=concept("1"), **rest)


def supply_order(**rest):
    return about(
        "MedicationRequest",
        status="active",
        intent="plan",
        medicationCodeableConcept=concept("1"),
        dispenseRequest={"quantity": {"value": 30, "unit": "tablet"}},
        **rest,
    )


def test_a_dispense_that_was_declined_is_cancelled_since_a_supply_cannot_be_negated():
    reason = {"text": "none in stock"}
    tree = root(dispensed("declined", statusReasonCodeableConcept=reason))
    supply = one(tree, ".//h:supply")
    assert supply.get("negationInd") is None
    assert one(supply, "h:statusCode").get("code") == "cancelled"
    words = [e.text for e in supply.iterfind(".//h:act/h:text", NS)]
    assert words == ["Not dispensed: declined", "Reason for the status: none in stock"]
    assert any((e.text or "").startswith("not dispensed: ") for e in tree.iterfind(".//h:td", NS))


def test_a_supply_that_is_not_to_be_made_is_a_negated_medication_and_no_supply():
    tree = root(supply_order(doNotPerform=True))
    assert tree.find(".//h:supply", NS) is None
    negated = one(tree, ".//h:substanceAdministration")
    assert (negated.get("negationInd"), negated.get("moodCode")) == ("true", "INT")
    assert [e.text for e in negated.iterfind(".//h:act/h:text", NS)] == ["Quantity: 30 tablet"]
    assert one(root(supply_order(doNotPerform=False)), ".//h:supply").get("negationInd") is None


def test_a_code_with_a_blank_is_said_but_not_as_a_code():
    codings = [{"system": "urn:oid:2.999.1", "code": "TWO WORDS"}, {"system": SCT, "code": "1"}]
    tree = root(about("Observation", status="final", code={"coding": codings}))
    code = one(tree, ".//h:entry//h:observation/h:code")
    assert code.get("code") == "1"
    other = one(code, "h:translation")
    assert (other.get("code"), other.get("nullFlavor"), other.get("displayName")) == (
        None,
        "OTH",
        "TWO WORDS",
    )
    tree = root(about("Observation", status="final", code={"coding": codings[:1]}))
    code = one(tree, ".//h:entry//h:observation/h:code")
    assert (code.get("code"), code.get("nullFlavor"), code.get("displayName")) == (None, "OTH", "TWO WORDS")


def test_the_unit_of_another_quantity_is_a_code_where_it_is_one():
    url = "http://hl7.org/fhir/StructureDefinition/iso21090-PQ-translation"
    others = [
        {"value": 2, "unit": "stone"},
        {"value": 3, "unit": "kilo", "system": "http://unitsofmeasure.org", "code": "kg"},
    ]
    extension = [{"url": url, "valueQuantity": other} for other in others]
    tree = root(
        about(
            "Observation",
            status="final",
            code=concept("1"),
            valueQuantity={"value": 1, "extension": extension},
        )
    )
    found = [dict(e.attrib) for e in tree.iterfind(".//h:value/h:translation", NS)]
    assert found == [
        {"value": "2", "displayName": "stone"},
        {"value": "3", "code": "kg", "codeSystem": "2.16.840.1.113883.6.8", "displayName": "kilo"},
    ]


def test_the_interval_of_an_administration_says_its_type():
    given = about(
        "MedicationAdministration",
        status="completed",
        medicationCodeableConcept=concept("1"),
        effectivePeriod={"start": "2024-01-01", "end": "2024-01-02"},
    )
    assert one(root(given), ".//h:substanceAdministration/h:effectiveTime").get(XSI) == "IVL_TS"


def test_an_event_of_the_day_that_the_schema_does_not_know_is_said_in_words():
    dosage = {"timing": {"repeat": {"when": ["MORN", "PCM"]}}}
    order = about(
        "MedicationRequest",
        status="active",
        intent="order",
        medicationCodeableConcept=concept("1"),
        dosageInstruction=[dosage],
    )
    tree = root(order)
    assert [e.get("code") for e in tree.iterfind(".//h:event", NS)] == ["PCM"]
    assert any(
        "when MORN" in (e.text or "") for e in tree.iterfind(".//h:substanceAdministration//h:text", NS)
    )


def test_a_report_whose_results_cannot_be_seen_has_its_row():
    report = about("DiagnosticReport", status="final", code=concept("9", text="Panel"), conclusion="all well")
    table = one(root(report), ".//h:table/h:tbody/h:tr")
    assert [e.text for e in table] == ["Panel", "all well", None]


def test_what_is_about_somebody_else_is_not_in_it_though_the_patient_had_a_part():
    child = {"reference": "Patient/child"}
    seen = {"status": "final", "code": concept("111"), "performer": [{"reference": "Patient/p"}]}
    others = [
        {"resourceType": "Observation", "id": "a", "subject": child, **seen},
        {"resourceType": "Observation", "id": "b", **seen},
        {**about("Observation", **seen), "id": "c", "focus": [{"reference": "Patient/child"}]},
        {"resourceType": "Condition", "id": "d", "subject": child, "code": concept("111")},
        {"resourceType": "Immunization", "id": "e", "patient": child, "vaccineCode": concept("111")},
    ]
    text = etree.tostring(root(*others)).decode()
    assert 'code="111"' not in text
    report = about(
        "DiagnosticReport", status="final", code=concept("9"), result=[{"reference": "Observation/a"}]
    )
    text = etree.tostring(root(*others, report)).decode()
    assert ('code="9"' in text, 'code="111"' in text) == (True, False)
    linked = {"resourceType": "Patient", "id": "child"}
    assert 'code="111"' in etree.tostring(root(linked, *others)).decode()


# --- teams, plans, insurance, devices ------------------------------------------------------------------------------


def test_a_use_of_a_device_that_is_over_is_not_a_completed_supply_which_says_that_it_is_in_use():
    device = {"resourceType": "Device", "id": "d", "type": concept("87405001")}
    for status_, code in (("active", "active"), ("completed", "aborted"), ("intended", "new")):
        tree = root(about("DeviceUseStatement", status=status_, device={"reference": "Device/d"}), device)
        supply = one(section(tree, "46264-8"), ".//h:supply")
        assert one(supply, "h:statusCode").get("code") == code
        notes = [e.text for e in supply.iterfind(".//h:act/h:text", NS)]
        assert notes == (["The device is no longer in use"] if status_ == "completed" else [])


def test_a_member_of_a_care_team_who_is_a_relative_is_no_professional():
    aunt = {
        "resourceType": "RelatedPerson",
        "id": "a",
        "patient": {"reference": "Patient/p"},
        "name": [{"text": "Aunt"}],
    }
    team = about(
        "CareTeam", status="active", name="Team", participant=[{"member": {"reference": "RelatedPerson/a"}}]
    )
    act = one(section(root(team, aunt), "85847-2"), ".//h:component/h:act")
    assert act.find("h:performer", NS) is None
    assert one(act, "h:participant/h:participantRole").get("classCode") == "PRS"


def test_an_activity_of_a_plan_that_is_not_to_be_done_is_negated():
    detail = {"code": concept("229065009"), "status": "not-started", "doNotPerform": True}
    plan = about("CarePlan", status="active", intent="plan", activity=[{"detail": detail}])
    inner = one(section(root(plan), "18776-5"), ".//h:entry/h:act/h:entryRelationship/h:act")
    assert (inner.get("negationInd"), one(inner, "h:code").get("code")) == ("true", "229065009")


def test_the_numbers_of_two_devices_of_one_procedure_are_not_mixed_up():
    devices = [
        {"resourceType": "Device", "id": id_, "type": concept(id_), "lotNumber": f"lot{id_}"}
        for id_ in ("1", "2")
    ]
    focal = [{"manipulated": {"reference": f"Device/{one['id']}"}} for one in devices]
    both = root(about("Procedure", status="completed", code=concept("9"), focalDevice=focal), *devices)
    assert both.find(".//h:organizer", NS) is None
    assert [e.get("code") for e in both.iterfind(".//h:playingDevice/h:code", NS)] == ["1", "2"]
    alone = root(about("Procedure", status="completed", code=concept("9"), focalDevice=focal[:1]), *devices)
    assert one(alone, ".//h:organizer//h:value").text == "lot1"


def test_a_policy_that_another_person_is_covered_by_is_not_the_patients():
    policy = {
        "resourceType": "Coverage",
        "id": "c",
        "status": "active",
        "beneficiary": {"reference": "Patient/child"},
        "policyHolder": {"reference": "Patient/p"},
        "payor": [{"display": "Insurer"}],
    }
    assert "Insurer" not in etree.tostring(root(policy)).decode()
    own = {**policy, "beneficiary": {"reference": "Patient/p"}}
    assert "Insurer" in etree.tostring(root(own)).decode()


def appointment(status, patient="p"):
    return {
        "resourceType": "Appointment",
        "id": "a",
        "status": status,
        "start": "2026-05-06T10:00:00Z",
        "end": "2026-05-06T10:30:00Z",
        "participant": [{"actor": {"reference": f"Patient/{patient}"}, "status": "accepted"}],
    }


def test_an_appointment_that_is_to_be_is_planned_and_one_that_was_is_not():
    moods = {
        "proposed": "ARQ",
        "pending": "ARQ",
        "booked": "APT",
        "fulfilled": "",
        "cancelled": "",
        "noshow": "",
    }
    for status_, mood in moods.items():
        found = root(appointment(status_)).findall(".//h:encounter", NS)
        assert [one_.get("moodCode") for one_ in found] == ([mood] if mood else [])
    assert root(appointment("booked", "child")).findall(".//h:encounter", NS) == []
