"""Whose a statement is, and what stands around it or in its templates: it is said of nobody else."""

from __future__ import annotations

import pytest

from ccd_cases import MAKING
from cda_documents import CONVERTER, LN, SCT, T, converted, document, of
from cda_statements import (
    ASTHMA,
    MOTHER,
    PENICILLIN,
    STATUS,
    allergy,
    code_of,
    history,
    left_out,
    problem,
    procedure,
    related,
    relatives,
)
from hdg.usage.ccd.document import document as ccd


@pytest.mark.parametrize(
    ("inner", "template", "relation"), [("", "46", "FAMMEMB"), (MOTHER, "46", "MTH"), (MOTHER, "4", "MTH")]
)
def test_a_finding_in_a_family_history_is_a_relatives_and_never_the_patients(inner, template, relation):
    found = converted(relatives(template=template, inner=inner), section="10157-6")
    assert of(found, "Observation") == of(found, "Condition") == []
    [made] = of(found, "FamilyMemberHistory")
    assert code_of(made, "relationship") == relation
    assert [code_of(one, "code") for one in made["condition"]] == ["195967001"]
    assert "note" not in made
    assert left_out(found) == []


def test_what_a_relative_does_not_have_is_words_and_never_a_condition():
    no = 'negationInd="true"'
    alone = converted(relatives(attributes=no, inner=MOTHER), section="10157-6")
    among = converted(
        history(relatives(attributes=no), relatives(ASTHMA.replace("195967001", "56265001"))),
        section="10157-6",
    )
    for found, stated in ((alone, []), (among, ["56265001"])):
        assert of(found, "Observation") == of(found, "Condition") == []
        [made] = of(found, "FamilyMemberHistory")
        assert [code_of(one, "code") for one in made.get("condition", ())] == stated
        assert made["note"] == [{"text": "Denied: Asthma (http://snomed.info/sct#195967001)"}]
        assert [
            one.severity for one in found.issues if one.text == "what a relative does not have is a note"
        ] == ["information"]
        back = CONVERTER.convert(ccd(found.resources, MAKING), at_us=0)
        [again] = of(back, "FamilyMemberHistory")
        assert again["note"] == made["note"]
        assert [code_of(one, "code") for one in again.get("condition", ())] == stated


def test_what_is_said_of_the_patient_in_a_family_history_is_no_relatives():
    found = converted(relatives(inner=MOTHER.replace("MTH", "SELF")), section="10157-6")
    assert of(found, "FamilyMemberHistory") == []
    assert len(of(found, "Observation")) == 1


def test_a_finding_of_a_relative_and_its_denial_under_one_id_are_two():
    found = converted(relatives() + relatives(attributes='negationInd="true"'), section="10157-6")
    stated, denied = of(found, "FamilyMemberHistory")
    assert "note" not in stated
    assert "condition" not in denied


@pytest.mark.parametrize(
    "entry",
    [
        relatives(attributes='negationInd="perhaps"'),
        relatives(value='<value xsi:type="BL" value="true"/>'),
        relatives(template="2", inner=MOTHER),
        history(relatives(attributes='negationInd="perhaps"')),
    ],
)
def test_what_else_stands_in_a_family_history_is_nobodys(entry):
    found = converted(entry, section="10157-6")
    assert of(found, "Observation") == of(found, "Condition") == []
    assert [one for one in of(found, "FamilyMemberHistory") if "condition" in one or "note" in one] == []
    assert left_out(found)


# --- what stands around, and what a template says ----------------------------------------------------------------

RESULT = f"""<observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/><id root="2.999.8" extension="r"/>
  <code code="2339-0" {LN}/><statusCode code="completed"/><value xsi:type="PQ" value="5" unit="mg/dL"/></observation>"""


def _panel(*members):
    """Results, each with what stands before it: a subject of its own, or none; the first is of them all."""
    whose, *others = members
    components = "".join(
        "<component>"
        + RESULT.replace('"r"', f'"{number}"').replace("<code", f"{one}<code", 1)
        + "</component>"
        for number, one in enumerate(others)
    )
    return f"""<entry><organizer classCode="BATTERY" moodCode="EVN"><templateId root="{T}1"/>
      <statusCode code="completed"/>{whose}{components}</organizer></entry>"""


COVERED = f"""<entryRelationship typeCode="COMP"><act classCode="ACT" moodCode="EVN"><templateId root="{T}61"/>
  <id root="2.999.8" extension="k"/><code code="1" {SCT}/></act></entryRelationship>"""
PRODUCT = f"""<product><manufacturedProduct><manufacturedMaterial><code code="1" {SCT}/></manufacturedMaterial>
  </manufacturedProduct></product>"""
STATEMENTS = [
    ("encounter", "EVN", "49", "46240-8", "", "Encounter"),
    ("encounter", "RQO", "40", "18776-5", "", "ServiceRequest"),
    ("encounter", "ARQ", "40", "18776-5", "", "Appointment"),
    ("act", "INT", "131", "62387-6", "", "CarePlan"),
    ("act", "EVN", "60", "48768-6", COVERED, "Coverage"),
    ("supply", "EVN", "50", "46264-8", PRODUCT, "SupplyDelivery"),
    ("supply", "RQO", "43", "18776-5", PRODUCT, "SupplyRequest"),
    ("act", "RQO", "39", "18776-5", "", "ServiceRequest"),
]
SUBJECTS = [
    (MOTHER, False),
    (MOTHER.replace("MTH", "SELF"), True),
    *(
        (f'<participant typeCode="SBJ"><participantRole {who}</participantRole></participant>', is_patients)
        for who, is_patients in (
            ('classCode="PRS"><code code="MTH"/>', False),
            ('classCode="PAT">', True),
            ('><id root="2.999.2" extension="p1"/>', True),
        )
    ),
]


@pytest.mark.parametrize(("subject", "is_patients"), SUBJECTS)
@pytest.mark.parametrize(("name", "mood", "template", "section", "inner", "type_"), STATEMENTS)
def test_what_is_a_relatives_is_never_the_patients(
    name, mood, template, section, inner, type_, subject, is_patients
):
    """A visit, a policy or a supply of somebody else was the patient's."""
    entry = f"""<entry><{name} classCode="ACT" moodCode="{mood}"><templateId root="{T}{template}"/>
      <id root="2.999.8" extension="w"/><code code="73761001" {SCT}/><statusCode code="active"/>{subject}{inner}
      </{name}></entry>"""
    found = converted(entry, section=section)
    assert len(of(found, type_)) == is_patients
    assert any("somebody else" in one.text for one in found.issues) is not is_patients


@pytest.mark.parametrize(("subject", "is_patients"), SUBJECTS)
def test_a_problem_of_a_participant_who_is_its_subject_is_whose_it_says(subject, is_patients):
    found = converted(problem(inner=subject))
    assert len(of(found, "Condition")) == is_patients
    assert any("somebody else" in one.text for one in found.issues) is not is_patients


def test_a_subject_is_that_of_all_that_it_holds_and_of_nothing_beside_it():
    entries = (_panel("", "", MOTHER, ""), _panel(MOTHER, "", ""), _panel("", "", "", ""))
    found = [len(of(converted(one, section="30954-2"), "Observation")) for one in entries]
    assert found == [2, 0, 3]
    whole = converted(_panel("", MOTHER, "", "", MOTHER, ""), section="30954-2")
    assert len(of(whole, "Observation")) == 3
    assert [one.split("/")[-2] for one in left_out(whole) if "observation" in one] == [
        "component[1]",
        "component[4]",
    ]


@pytest.mark.parametrize("section", ["11450-4", "48765-2", "8716-3"])
def test_a_finding_of_a_family_by_its_template_is_a_relatives_in_any_section(section):
    found = converted(relatives(), section=section)
    assert of(found, "Condition") == of(found, "Observation") == of(found, "AllergyIntolerance") == []
    assert [code_of(one["condition"][0], "code") for one in of(found, "FamilyMemberHistory")] == ["195967001"]
    found = converted(relatives(value='<value xsi:type="BL" value="true"/>'), section=section)
    assert of(found, "Condition") == of(found, "Observation") == of(found, "FamilyMemberHistory") == []
    assert left_out(found)


def test_a_section_of_families_is_known_by_its_template_too():
    section = b'<code code="10157-6" codeSystem="2.16.840.1.113883.6.1"/><title>A section'
    known = b'<templateId root="2.16.840.1.113883.10.20.22.2.15"/><title>A section'
    entry = relatives(template="2")
    found = CONVERTER.convert(document(entry, section="10157-6").replace(section, known), at_us=0)
    assert of(found, "Observation") == []
    assert left_out(found)


@pytest.mark.parametrize("holder", ["entry", "component"])
def test_a_negation_where_cda_has_none_withholds_what_is_held(holder):
    panel = f"""<entry><organizer classCode="BATTERY" moodCode="EVN"><templateId root="{T}1"/>
      <code code="24323-8" {LN}/><statusCode code="completed"/><component>{RESULT}</component></organizer></entry>"""
    assert len(of(converted(panel, section="30954-2"), "Observation")) == 1
    for said in ("true", "1", "perhaps"):
        found = converted(panel.replace(f"<{holder}>", f'<{holder} negationInd="{said}">'), section="30954-2")
        assert of(found, "Observation") == []
        assert left_out(found)
    stated = converted(panel.replace(f"<{holder}>", f'<{holder} negationInd="false">'), section="30954-2")
    assert len(of(stated, "Observation")) == 1


ANSWERS = {
    '<value xsi:type="BL" value="false"/>': False,
    '<value xsi:type="BL" value="true"/>': True,
    f'<value xsi:type="CD" code="373067005" {SCT}/>': "373067005",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_yes_and_no_are_answers_and_neither_a_problem_nor_an_allergy(answer):
    asked = f'<code code="195967001" {SCT}/>{answer}'
    for found in (
        converted(problem(value=asked)),
        converted(problem(value=asked).replace(f'<templateId root="{T}4"/>', "")),
        converted(allergy(PENICILLIN, value=answer), section="48765-2"),
    ):
        assert of(found, "Condition") == of(found, "AllergyIntolerance") == []
        [made] = of(found, "Observation")
        assert made.get("valueBoolean", code_of(made, "valueCodeableConcept")) == ANSWERS[answer]


def test_what_a_problem_is_part_of_is_no_concern_about_it():
    inner = related(f'<value xsi:type="CD" code="56265001" {SCT}/>', template="4", kind="MFST")
    found = converted(problem(inner=inner))
    outer, within = of(found, "Condition")
    assert code_of(outer, "clinicalStatus") == "active", "what its concern says"
    assert "clinicalStatus" not in within, (
        "the finding around it is complete, which is no status of a problem"
    )
    assert "identifier" not in within
    found = converted(procedure(inner=inner), section="47519-4")
    [within] = of(found, "Condition")
    assert "clinicalStatus" not in within
    assert "identifier" not in within


def test_a_problem_with_an_end_that_is_said_to_be_active_is_a_conflict():
    active = related(f'<value xsi:type="CD" code="55561003" {SCT}/>', template="6", kind="REFR", code=STATUS)
    ended = problem(inner=active).replace('<low value="2020"/>', '<low value="2020"/><high value="2021"/>')
    found = converted(ended)
    [made] = of(found, "Condition")
    assert (code_of(made, "clinicalStatus"), made["abatementDateTime"]) == ("resolved", "2021")
    assert [one.severity for one in found.issues if one.code == "conflict"] == ["warning"]
    assert [one for one in converted(problem(inner=active)).issues if one.code == "conflict"] == []


@pytest.mark.parametrize(
    ("status", "said"), [("completed", None), ("active", "active"), ("suspended", "inactive")]
)
@pytest.mark.parametrize("about", ["80", "33", "34"])
def test_a_diagnosis_that_is_complete_is_no_disease_that_is_over(about, status, said):
    [made] = of(converted(problem(about=about, concern=status)), "Condition")
    assert code_of(made, "clinicalStatus") == said


@pytest.mark.parametrize(("kind", "template"), [("BATTERY", "1"), ("CLUSTER", "26")])
def test_a_panel_that_was_retracted_takes_its_members_with_it(kind, template):
    panel = f"""<entry><organizer classCode="{kind}" moodCode="EVN"><templateId root="{T}{template}"/>
      <id root="2.999.6"/><code code="24323-8" {LN}/><statusCode code="nullified"/>
      <component>{RESULT}</component></organizer></entry>"""
    found = converted(panel, section="30954-2")
    made = [one for one in found.resources if one["resourceType"] in ("Observation", "DiagnosticReport")]
    assert {one["status"] for one in made} == {"entered-in-error"}
    stated = converted(panel.replace("nullified", "completed"), section="30954-2")
    assert {one["status"] for one in of(stated, "Observation")} == {"final"}


@pytest.mark.parametrize(("code", "type_"), [("SELF", "Patient"), ("MTH", "RelatedPerson")])
def test_a_patient_or_a_relative_who_wrote_it_is_no_practitioner(code, type_):
    author = f"""<author><time value="2021"/><assignedAuthor><id root="2.999.77" extension="z"/>
      <code code="{code}" codeSystem="2.16.840.1.113883.5.111"/><assignedPerson><name><given>Mo</given></name>
      </assignedPerson></assignedAuthor></author>"""
    found = converted(problem(inner=author))
    [made] = of(found, "Condition")
    assert made["recorder"]["reference"].startswith(f"{type_}/")
    assert [one["name"] for one in of(found, "RelatedPerson")] == [[{"given": ["Mo"]}]] * (type_ != "Patient")
