"""Plans, goals, interventions, care teams, coverage: what is intended never comes out as done."""

from __future__ import annotations

import re

import pytest

from cda_documents import LN, SCT, T, converted, of

PLAN = "18776-5"


def entry(name, template, inner, mood="INT", attributes=""):
    return f"""<entry><{name} classCode="ACT" moodCode="{mood}" {attributes}><templateId root="{T}{template}"/>
      <id root="2.999.5" extension="{name}{template}{mood}"/>{inner}</{name}></entry>"""


CODE = f'<code code="73761001" {SCT}/><statusCode code="active"/><effectiveTime value="20250102"/>'


@pytest.mark.parametrize(("name", "template"), [("act", "39"), ("procedure", "41"), ("observation", "44")])
@pytest.mark.parametrize(
    ("mood", "intent"),
    [("INT", "plan"), ("RQO", "order"), ("PRP", "proposal"), ("PRMS", "plan"), ("ARQ", "proposal")],
)
def test_what_is_planned_is_a_request_in_its_mood(name, template, mood, intent):
    found = converted(entry(name, template, CODE, mood), section=PLAN)
    (request,) = of(found, "ServiceRequest")
    assert (request["intent"], request["status"]) == (intent, "active")
    assert request["occurrenceDateTime"] == "2025-01-02"
    assert request["code"]["coding"][0]["code"] == "73761001"
    assert "doNotPerform" not in request
    assert of(found, "Procedure") == of(found, "Observation") == []


def test_what_is_not_to_be_done_says_so():
    (request,) = of(
        converted(entry("procedure", "41", CODE, "RQO", 'negationInd="true"'), section=PLAN), "ServiceRequest"
    )
    assert request["doNotPerform"] is True


def test_a_planned_encounter_has_not_begun_and_one_asked_for_is_an_appointment():
    (encounter,) = of(converted(entry("encounter", "40", CODE), section=PLAN), "Encounter")
    assert encounter["status"] == "planned"
    found = converted(entry("encounter", "40", CODE, "ARQ"), section=PLAN)
    (appointment,) = of(found, "Appointment")
    assert appointment["status"] == "proposed"
    assert appointment["requestedPeriod"] == [{"start": "2025-01-02"}]
    assert of(found, "Encounter") == []


def test_a_goal_has_its_measure_and_the_value_to_reach():
    value = '<value xsi:type="IVL_PQ"><low value="92" unit="%"/></value>'
    times = '<effectiveTime><low value="20250101"/><high value="20250601"/></effectiveTime>'
    inner = f'<code code="59408-5" {LN}/><statusCode code="active"/>{times}{value}'
    found = converted(entry("observation", "121", inner, "GOL"), section="61146-7")
    (goal,) = of(found, "Goal")
    assert (goal["lifecycleStatus"], goal["startDate"]) == ("active", "2025-01-01")
    (target,) = goal["target"]
    assert target["measure"]["coding"][0]["code"] == "59408-5"
    assert str(target["detailQuantity"]["value"]) == "92"
    assert target["dueDate"] == "2025-06-01"
    assert of(found, "Observation") == []


@pytest.mark.parametrize("name", ["negationInd", "actionNegationInd", "valueNegationInd"])
@pytest.mark.parametrize("template", ["121", "44", "2", "13", "27", "999"])
@pytest.mark.parametrize(
    ("before", "behind", "section"),
    [
        ("", "", "61146-7"),
        ("", "", PLAN),
        (
            '<act classCode="ACT" moodCode="INT"><entryRelationship typeCode="REFR">',
            "</entryRelationship></act>",
            "62387-6",
        ),
        ('<organizer classCode="CLUSTER" moodCode="EVN"><component>', "</component></organizer>", PLAN),
    ],
)
def test_a_negated_goal_is_withheld(name, template, before, behind, section):
    goal = entry("observation", template, CODE, "GOL", f'{name}="true"')
    inner = goal.removeprefix("<entry>").removesuffix("</entry>")
    found = converted(f"<entry>{before}{inner}{behind}</entry>", section=section)
    assert of(found, "Goal") == of(found, "Observation") == []
    assert [issue.severity for issue in found.issues if "negated" in issue.text] == ["error"]


@pytest.mark.parametrize("name", ["act", "procedure", "substanceAdministration", "encounter", "supply"])
def test_a_goal_that_is_no_observation_is_named_and_not_taken_for_done(name):
    found = converted(entry(name, "999", CODE, "GOL", 'negationInd="true"'), section="61146-7")
    assert {one["resourceType"] for one in found.resources} <= {
        "Composition",
        "Patient",
        "Practitioner",
        "Provenance",
    }
    assert any("no table reads such a statement" in issue.text for issue in found.issues)


def test_an_intervention_links_its_goal_by_the_id_that_it_names():
    goal = f"""<entry><observation classCode="OBS" moodCode="GOL"><templateId root="{T}121"/><id root="2.999.7"/>
      <code code="59408-5" {LN}/><statusCode code="active"/><effectiveTime value="2025"/></observation></entry>"""
    inner = f"""<code code="362956003" {SCT}/><statusCode code="completed"/>
      <entryRelationship typeCode="RSON"><act classCode="ACT" moodCode="EVN"><templateId root="{T}122"/>
      <id root="2.999.7"/><code nullFlavor="NP"/></act></entryRelationship>
      <entryRelationship typeCode="REFR"><procedure classCode="PROC" moodCode="EVN"><templateId root="{T}14"/>
      <id root="2.999.8"/><code code="73761001" {SCT}/><statusCode code="completed"/></procedure></entryRelationship>"""
    found = converted(goal + entry("act", "131", inner, "EVN"), section="62387-6")
    (plan,) = of(found, "CarePlan")
    (aim,) = of(found, "Goal")
    (procedure,) = of(found, "Procedure")
    assert plan["goal"] == [{"reference": f"Goal/{aim['id']}"}]
    assert plan["activity"] == [{"outcomeReference": [{"reference": f"Procedure/{procedure['id']}"}]}]


def test_an_instruction_is_what_the_patient_is_told():
    inner = f'<code code="311401005" {SCT}/><text>Drink <reference value="#t1"/></text><statusCode code="completed"/>'
    (request,) = of(converted(entry("act", "20", inner), section="69730-0"), "ServiceRequest")
    assert request["patientInstruction"] == "Drink"
    assert request["code"]["coding"][0]["code"] == "311401005"


MEMBER = """<performer typeCode="PRF"><functionCode code="PCP" codeSystem="2.16.840.1.113883.5.88"/><assignedEntity>
  <id root="2.16.840.1.113883.4.6" extension="1"/><assignedPerson><name><family>Doe</family></name></assignedPerson>
  </assignedEntity></performer>"""


def test_a_care_team_has_members_with_functions():
    team = f"""<entry><organizer classCode="CLUSTER" moodCode="EVN"><templateId root="{T}500"/><id root="2.999.9"/>
      <code code="86744-0" {LN}/><statusCode code="active"/><effectiveTime><low value="2018"/></effectiveTime>
      <component><act classCode="PCPR" moodCode="EVN"><templateId root="{T}500.1"/><code code="85847-2" {LN}/>
      <statusCode code="active"/><effectiveTime><low value="2019"/></effectiveTime>{MEMBER}</act></component>
      </organizer></entry>"""
    (one,) = of(converted(team, section="85847-2"), "CareTeam")
    (member,) = one["participant"]
    assert one["status"] == "active"
    assert member["role"][0]["coding"][0]["code"] == "PCP"
    assert member["member"]["reference"].startswith("Practitioner/")
    assert member["period"] == {"start": "2019"}


def test_the_people_of_the_service_are_a_care_team():
    header = f"<documentationOf><serviceEvent>{MEMBER}</serviceEvent></documentationOf>"
    found = converted("", header=header)
    (team,) = of(found, "CareTeam")
    assert of(found, "Composition")[0]["event"][0]["detail"] == [{"reference": f"CareTeam/{team['id']}"}]
    assert team["participant"][0]["role"][0]["coding"][0]["code"] == "PCP"


def coverage(holder="", code="SELF"):
    return f"""<entry><act classCode="ACT" moodCode="EVN"><templateId root="{T}60"/><id root="2.999.10"/>
      <code code="48768-6" {LN}/><statusCode code="completed"/><entryRelationship typeCode="COMP">
      <sequenceNumber value="2"/><act classCode="ACT" moodCode="EVN"><templateId root="{T}61"/>
      <id root="2.999.11" extension="G1"/><code code="12" codeSystem="2.16.840.1.113883.6.255.1336"/>
      <statusCode code="completed"/><performer typeCode="PRF"><templateId root="{T}87"/><assignedEntity>
      <id root="2.999.12"/><representedOrganization><name>Good Insurance</name></representedOrganization>
      </assignedEntity></performer><participant typeCode="COV"><time><low value="2020"/></time><participantRole>
      <id root="2.999.13" extension="M1"/><code code="{code}" codeSystem="2.16.840.1.113883.5.111"/></participantRole>
      </participant>{holder}</act></entryRelationship></act></entry>"""


def test_a_policy_is_a_coverage_with_its_payor_and_member_number():
    found = converted(coverage(), section="48768-6")
    (one,) = of(found, "Coverage")
    assert (one["status"], one["subscriberId"], one["order"]) == ("active", "M1", 2)
    assert one["period"] == {"start": "2020"}
    (payor,) = of(found, "Organization")
    assert payor["name"] == "Good Insurance"
    assert one["payor"] == [{"reference": f"Organization/{payor['id']}"}]


def test_who_holds_the_policy_may_be_somebody_else():
    holder = """<participant typeCode="HLD"><participantRole><id root="2.999.13" extension="M0"/><playingEntity>
      <name><given>Eve</given></name></playingEntity></participantRole></participant>"""
    (one,) = of(converted(coverage(holder, "CHILD"), section="48768-6"), "Coverage")
    assert one["policyHolder"]["reference"].startswith("RelatedPerson/")
    (one,) = of(converted(coverage(holder), section="48768-6"), "Coverage")
    assert one["policyHolder"]["reference"].startswith("Patient/")


def test_what_an_intervention_plans_is_no_outcome():
    inner = f"""<code code="362956003" {SCT}/><statusCode code="active"/><entryRelationship typeCode="REFR">
      <act classCode="ACT" moodCode="INT"><templateId root="{T}39"/><id root="2.999.70"/>{CODE}
      </act></entryRelationship>"""
    found = converted(entry("act", "146", inner), section="62387-6")
    (request,) = of(found, "ServiceRequest")
    (plan,) = of(found, "CarePlan")
    assert plan["activity"] == [{"reference": {"reference": f"ServiceRequest/{request['id']}"}}]


def test_a_policy_without_a_template_is_known_by_its_section():

    found = converted(re.sub(r"<templateId[^>]*/>", "", coverage()), section="48768-6")
    assert [one["subscriberId"] for one in of(found, "Coverage")] == ["M1"]
