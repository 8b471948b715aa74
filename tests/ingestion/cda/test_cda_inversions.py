"""What senders write that could be read as its opposite, or as said of the patient when it is not."""

from __future__ import annotations

import pytest

from cda_documents import CONVERTER, LN, SCT, T, converted, document, of
from cda_statements import (
    ASTHMA,
    MOTHER,
    NO_DRUG_ALLERGY,
    PENICILLIN,
    STATUS,
    allergy,
    code_of,
    left_out,
    medicine,
    problem,
    procedure,
    related,
)
from hdg.errors import CdaError

# --- what is nested ---------------------------------------------------------------------------------------------


def test_a_reason_that_is_denied_is_no_reason_and_is_named_as_left_out():
    found = converted(medicine(inner=related(ASTHMA, attributes='negationInd="true"')))
    assert "reasonCode" not in of(found, "MedicationStatement")[0]
    assert [one for one in left_out(found) if one.endswith("entryRelationship/observation")]


def test_a_severity_a_status_and_a_criticality_that_are_denied_are_not_read():
    severe = f'<value xsi:type="CD" code="24484000" {SCT}/>'
    active = f'<value xsi:type="CD" code="73425007" {SCT}/>'
    no = 'negationInd="true"'
    condition = of(
        converted(
            problem(
                inner=related(severe, template="8", kind="SUBJ", attributes=no)
                + related(active, template="6", kind="REFR", attributes=no, code=STATUS)
            )
        ),
        "Condition",
    )[0]
    assert "severity" not in condition
    assert code_of(condition, "clinicalStatus") == "active", "what the concern says"
    high = '<value xsi:type="CD" code="CRITH" codeSystem="2.16.840.1.113883.5.1063"/>'
    found = converted(
        allergy(PENICILLIN, inner=related(high, template="145", kind="SUBJ", attributes=no)),
        section="48765-2",
    )
    assert "criticality" not in of(found, "AllergyIntolerance")[0]


def test_a_nested_statement_with_a_null_flavor_says_nothing():
    found = converted(medicine(inner=related(ASTHMA, attributes='nullFlavor="NI"')))
    assert "reasonCode" not in of(found, "MedicationStatement")[0]
    assert any(one.code == "incomplete" and "value" in one.place for one in found.issues)


def test_a_reason_turned_round_is_what_the_medicine_is_the_reason_for():
    found = converted(medicine(inner=related(ASTHMA, inverted='inversionInd="true"')))
    assert "reasonCode" not in of(found, "MedicationStatement")[0]
    assert len(of(found, "Observation")) == 1
    found = converted(
        procedure(inner=related(ASTHMA, template="4", kind="CAUS", inverted='inversionInd="1"'))
    )
    assert "complicationDetail" not in of(found, "Procedure")[0]


def test_what_is_in_a_denied_statement_is_not_said_on_its_own_but_why_it_is_denied_is():
    reason = f'<value xsi:type="CD" code="105480006" {SCT}/>'
    found = converted(
        procedure('negationInd="true"', related(ASTHMA, kind="REFR") + related(reason, kind="RSON"))
    )
    assert of(found, "Procedure")[0]["status"] == "not-done"
    assert [one["valueCodeableConcept"]["coding"][0]["code"] for one in of(found, "Observation")] == [
        "105480006"
    ]
    assert any("entryRelationship[1]" in one.place and one.code == "incomplete" for one in found.issues)


@pytest.mark.parametrize("kind", ["RSON", "REFR"])
def test_the_reason_why_something_was_not_done_is_its_status_reason(kind):
    inner = related(f'<value xsi:type="CD" code="105480006" {SCT}/>', kind=kind).replace(
        "<code ", '<templateId root="2.16.840.1.113883.10.20.24.3.88"/><code '
    )
    done = of(converted(procedure('negationInd="true"', inner)), "Procedure")[0]
    assert done["statusReason"]["coding"][0]["code"] == "105480006"
    taken = of(converted(medicine('negationInd="true"', inner)), "MedicationStatement")[0]
    assert taken["statusReason"][0]["coding"][0]["code"] == "105480006"
    assert "reasonCode" not in taken


def test_nothing_in_what_is_left_out_as_denied_is_said_of_the_patient():
    inner = related(ASTHMA, template="4", kind="COMP")
    entry = f"""<entry><encounter classCode="ENC" moodCode="EVN" negationInd="true"><templateId root="{T}49"/>
      <id root="2.999.8" extension="e"/><code code="99213" codeSystem="2.16.840.1.113883.6.12"/>
      <effectiveTime value="2020"/>{inner}</encounter></entry>"""
    found = converted(entry, section="46240-8")
    assert of(found, "Encounter") == of(found, "Condition") == []
    assert any(one.place.endswith("observation/value/@code") for one in found.issues)


@pytest.mark.parametrize("mood", ["DEF", "EXPEC", "OPT", "RSK", "EVN.CRT", "evn"])
def test_what_is_defined_expected_or_possible_has_not_happened(mood):
    for entries, kind in (
        (procedure(), "Procedure"),
        (problem(), "Condition"),
        (medicine(), "MedicationStatement"),
    ):
        found = converted(entries.replace('moodCode="EVN"', f'moodCode="{mood}"'))
        assert of(found, kind) == []
        assert any(one.code == "not-supported" for one in found.issues)


def test_a_time_made_of_several_says_each_of_them():
    times = """<effectiveTime xsi:type="SXPR_TS"><comp xsi:type="IVL_TS"><low value="2013"/></comp>
      <comp xsi:type="PIVL_TS" operator="A"><period value="6" unit="h"/></comp></effectiveTime>"""
    found = converted(medicine().replace('<effectiveTime value="2020"/>', times))
    taken = of(found, "MedicationStatement")[0]
    assert taken["effectivePeriod"] == {"start": "2013"}
    assert taken["dosage"][0]["timing"]["repeat"]["period"] == 6
    assert [one for one in found.issues if one.code in ("incomplete", "not-supported")] == []


# --- words that are neither true nor false ----------------------------------------------------------------------


@pytest.mark.parametrize("word", ["yes", "T", "Y", "junk", "2"])
def test_a_negation_in_other_words_is_never_read_as_none(word):
    negated = f'negationInd="{word}"'
    for entries, kind, section in (
        (problem(attributes=negated), "Condition", "11450-4"),
        (allergy(PENICILLIN, negated), "AllergyIntolerance", "48765-2"),
        (medicine(negated), "MedicationStatement", "10160-0"),
        (medicine(negated, mood="INT"), "MedicationRequest", "10160-0"),
        (medicine(negated, template="52"), "Immunization", "11369-6"),
        (procedure(negated), "Procedure", "47519-4"),
    ):
        found = converted(entries, section=section)
        assert of(found, kind) == []
        assert left_out(found)


# --- what was retracted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verification"), [("nullified", "entered-in-error"), ("aborted", "unconfirmed")]
)
def test_a_problem_or_allergy_that_was_retracted_or_never_completed_does_not_stand(status, verification):
    condition = of(converted(problem(status=status)), "Condition")[0]
    assert code_of(condition) == verification
    assert ("clinicalStatus" in condition) == (verification == "unconfirmed")
    found = of(converted(allergy(PENICILLIN, status=status), section="48765-2"), "AllergyIntolerance")[0]
    assert code_of(found) == verification


def test_a_problem_whose_concern_was_retracted_does_not_stand():
    condition = of(converted(problem(concern="nullified")), "Condition")[0]
    assert code_of(condition) == "entered-in-error"
    assert "clinicalStatus" not in condition
    denied = of(converted(problem(attributes='negationInd="true"', concern="nullified")), "Condition")[0]
    assert [one["code"] for one in denied["verificationStatus"]["coding"]] == ["entered-in-error"]


def test_what_was_retracted_denies_nothing():
    no = 'negationInd="true"'
    for entries, kind in (
        (medicine(no, status="nullified"), "MedicationStatement"),
        (medicine(no, status="nullified", template="52"), "Immunization"),
        (procedure(no, status="nullified"), "Procedure"),
    ):
        assert of(converted(entries), kind)[0]["status"] == "entered-in-error"


# --- nothing known ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "substance",
    [
        f'<code nullFlavor="UNK"><translation code="7980" {SCT}/></code>',
        '<code nullFlavor="UNK"><originalText>Peanuts</originalText></code>',
        '<code nullFlavor="NA"/><name>Peanuts</name>',
    ],
)
def test_a_denied_allergy_to_what_is_named_without_a_code_is_not_no_known_allergy(substance):
    found = of(converted(allergy(substance, 'negationInd="true"'), section="48765-2"), "AllergyIntolerance")[
        0
    ]
    assert code_of(found) == "refuted"
    assert "716186003" not in [one.get("code") for one in found["code"].get("coding", ())]


def test_an_allergy_without_a_substance_says_what_its_value_says():
    value = f'<value xsi:type="CD" code="716186003" {SCT} displayName="No known allergy"/>'
    found = of(converted(allergy(value=value), section="48765-2"), "AllergyIntolerance")[0]
    assert found["code"]["coding"][0]["code"] == "716186003"
    value = f'<value xsi:type="CD" code="91935009" {SCT} displayName="Allergy to peanut"/>'
    found = of(converted(allergy(value=value), section="48765-2"), "AllergyIntolerance")[0]
    assert found["code"]["coding"][0]["code"] == "91935009"


def test_a_value_of_an_allergy_that_goes_nowhere_is_named():
    value = f'<value xsi:type="CD" code="91935009" {SCT}/>'
    found = converted(allergy(PENICILLIN, value=value), section="48765-2")
    assert any(one.place.endswith("value/@code") and one.code == "incomplete" for one in found.issues)


def test_that_nothing_is_known_is_not_denied_by_a_negation_beside_it():
    found = converted(allergy(NO_DRUG_ALLERGY, 'negationInd="true"'), section="48765-2")
    assert "verificationStatus" not in of(found, "AllergyIntolerance")[0]
    assert any(one.code == "conflict" for one in found.issues)
    none = f'<value xsi:type="CD" code="160245001" {SCT}/>'
    found = converted(problem(none, 'negationInd="true"'))
    assert "verificationStatus" not in of(found, "Condition")[0]
    assert any(one.code == "conflict" for one in found.issues)


# --- two statements with one id ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_denied_first", [True, False])
def test_a_statement_and_its_denial_under_one_id_stay_two(is_denied_first):
    pair = [problem(), problem(attributes='negationInd="true"')]
    found = of(converted("".join(pair[::-1] if is_denied_first else pair)), "Condition")
    assert sorted([code_of(one) or "" for one in found]) == ["", "refuted"]
    orders = [medicine(mood="INT"), medicine('negationInd="true"', mood="INT")]
    made = of(converted("".join(orders[::-1] if is_denied_first else orders)), "MedicationRequest")
    assert sorted(one.get("doNotPerform", False) for one in made) == [False, True]


# --- about somebody else ----------------------------------------------------------------------------------------


def test_what_is_said_of_somebody_else_is_never_said_of_the_patient():
    result = f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/>
      <code code="2339-0" {LN}/><statusCode code="completed"/><value xsi:type="PQ" value="5" unit="mg/dL"/>
      {MOTHER}</observation></entry>"""
    for entries in (problem(inner=MOTHER), result, MOTHER + result.replace(MOTHER, "")):
        found = converted(entries)
        assert of(found, "Condition") == of(found, "Observation") == []
        assert left_out(found)


def test_the_patient_named_as_the_subject_is_the_patient():
    found = converted(problem(inner=MOTHER.replace("MTH", "SELF")))
    assert len(of(found, "Condition")) == 1


def test_what_a_risk_concern_speaks_of_is_a_risk_and_no_condition():
    found = converted(problem(about="136"), section="46030-3")
    assert of(found, "Condition") == []
    risk = of(found, "RiskAssessment")[0]
    assert risk["status"] == "final"
    assert risk["prediction"] == [
        {
            "outcome": {
                "coding": [{"system": "http://snomed.info/sct", "code": "195967001", "display": "Asthma"}]
            }
        }
    ]
    assert of(converted(problem(about="136", attributes='negationInd="true"')), "RiskAssessment") == []


# --- nullFlavor -------------------------------------------------------------------------------------------------


def test_what_has_a_null_flavor_has_no_value_whatever_stands_beside_it():
    ended = problem().replace(
        '<low value="2020"/>', '<low value="2020"/><high nullFlavor="UNK" value="2021"/>'
    )
    found = converted(ended)
    condition = of(found, "Condition")[0]
    assert code_of(condition, "clinicalStatus") == "active"
    assert "abatementDateTime" not in condition
    assert [one.place.rpartition("/")[2] for one in found.issues if one.severity == "warning"] == ["@value"]
    result = f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/>
      <id nullFlavor="NI" root="2.999.9" extension="x"/><code code="2339-0" {LN}/><statusCode code="completed"/>
      <value xsi:type="PQ" nullFlavor="NASK" value="5" unit="mg/dL"/></observation></entry>"""
    observation = of(converted(result), "Observation")[0]
    assert "identifier" not in observation
    assert "valueQuantity" not in observation
    assert observation["dataAbsentReason"]["coding"][0]["code"] == "not-asked"
    coded = f'<value xsi:type="CD" nullFlavor="UNK" code="195967001" {SCT}><originalText>Asthma?</originalText></value>'
    assert of(converted(problem(coded)), "Condition")[0]["code"] == {"text": "Asthma?"}


def test_a_code_of_no_set_that_was_asked_for_stays():
    coded = '<value xsi:type="CD" nullFlavor="OTH" code="X1" codeSystem="2.999.77"/>'
    assert of(converted(problem(coded)), "Condition")[0]["code"]["coding"][0]["code"] == "X1"


def test_a_number_of_which_only_the_authority_is_unknown_stays():
    found = converted(
        problem().replace('<id root="2.999.8" extension="o"/>', '<id nullFlavor="UNK" extension="o"/>')
    )
    assert "o" in [one["value"] for one in of(found, "Condition")[0]["identifier"]]


def test_a_blank_null_flavor_is_none():
    found = converted(problem().replace("<observation ", '<observation nullFlavor="" '))
    assert len(of(found, "Condition")) == 1


# --- denials elsewhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sdtc:actionNegationInd", "actionNegationInd", "valueNegationInd"])
def test_a_denial_under_the_names_of_later_models_is_one(name):
    assert code_of(of(converted(problem(attributes=f'{name}="true"')), "Condition")[0]) == "refuted"
    assert "verificationStatus" not in of(converted(problem(attributes=f'{name}="false"')), "Condition")[0]


@pytest.mark.parametrize(("name", "value"), [("408729009", "410516002"), ("408732007", "72705000")])
def test_a_code_that_is_qualified_as_absent_or_as_a_relatives_is_withheld(name, value):
    qualified = f"""<value xsi:type="CD" code="195967001" {SCT}><qualifier><name code="{name}" {SCT}/>
      <value code="{value}" {SCT}/></qualifier></value>"""
    found = converted(problem(qualified))
    assert of(found, "Condition") == []
    assert left_out(found)
    present = qualified.replace(value, "410515003" if name == "408729009" else "410604004")
    assert len(of(converted(problem(present)), "Condition")) == 1


def test_a_document_about_two_patients_is_refused():
    second = """<recordTarget><patientRole><id root="2.999.2" extension="p2"/><patient><name><given>Eve</given></name>
      </patient></patientRole></recordTarget>"""
    with pytest.raises(CdaError, match="several patients"):
        CONVERTER.convert(document(problem(), header=second), at_us=0)
    same = second.replace("p2", "p1")
    assert len(of(CONVERTER.convert(document(problem(), header=same), at_us=0), "Patient")) == 1


def test_a_reason_that_was_retracted_is_no_reason_but_an_observation_entered_in_error():
    retracted = related(ASTHMA).replace('code="completed"', 'code="nullified"')
    assert "nullified" in retracted
    found = converted(medicine(inner=retracted))
    assert "reasonCode" not in of(found, "MedicationStatement")[0]
    assert [one["status"] for one in of(found, "Observation")] == ["entered-in-error"]


def test_a_reason_that_a_relative_has_is_no_reason_and_is_named_as_left_out():
    of_mother = related(ASTHMA).replace("<value", f"{MOTHER}<value", 1)
    assert MOTHER in of_mother
    found = converted(medicine(inner=of_mother))
    assert "reasonCode" not in of(found, "MedicationStatement")[0]
    assert not of(found, "Observation")
    assert left_out(found)


def test_a_problem_that_ended_and_is_refuted_or_retracted_is_kept_as_that():
    ended = '<effectiveTime><low value="20100101"/><high value="20130130"/></effectiveTime>'
    for attributes, status, said, stands in (
        ('negationInd="true"', "completed", "refuted", "inactive"),
        ("", "nullified", "entered-in-error", None),
    ):
        said_of = problem(ASTHMA, attributes, status=status)
        found = converted(said_of.replace('<effectiveTime><low value="2020"/></effectiveTime>', ended))
        condition = of(found, "Condition")[0]
        assert code_of(condition, "verificationStatus") == said
        assert code_of(condition, "clinicalStatus") == stands
        assert "abatementDateTime" not in condition
        assert any(one.place.endswith("high/@value") for one in found.issues), "the end is named as left out"


def test_a_value_with_a_null_flavor_and_a_name_is_its_name_and_not_absent_too():
    for value in ('xsi:type="CD" nullFlavor="UNK" displayName="Five"', 'nullFlavor="UNK" displayName="Five"'):
        found = converted(
            f'<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/><code code="8302-2" {LN}/>'
            f'<statusCode code="completed"/><value {value}/></observation></entry>',
            section="30954-2",
        )
        observation = of(found, "Observation")[0]
        assert ("valueCodeableConcept" in observation) != ("dataAbsentReason" in observation)
        assert ("xsi:type" in value) == ("valueCodeableConcept" in observation)


@pytest.mark.parametrize(
    "value",
    [
        f'<value xsi:type="CD" code="91936005" {SCT} displayName="Allergy to penicillin"/>',
        f'<value xsi:type="CD" nullFlavor="OTH"><translation code="91936005" {SCT}/></value>',
        '<value xsi:type="CD" nullFlavor="OTH"><originalText>Penicillin</originalText></value>',
        '<value xsi:type="ST">Penicillin</value>',
    ],
)
def test_a_denied_allergy_that_the_value_alone_names_is_refuted(value):
    found = converted(allergy("", 'negationInd="true"', value=value), section="48765-2")
    refuted = of(found, "AllergyIntolerance")[0]
    assert code_of(refuted) == "refuted"
    assert "91936005" in str(refuted["code"]) or refuted["code"]["text"] == "Penicillin"


def test_a_denied_allergy_of_which_nothing_is_said_is_refuted_and_one_of_a_whole_kind_is_none_known():
    nothing = converted(allergy("", 'negationInd="true"', value=""), section="48765-2")
    assert code_of(of(nothing, "AllergyIntolerance")[0]) == "refuted"
    kind = converted(allergy("", 'negationInd="true"'), section="48765-2")
    none_known = of(kind, "AllergyIntolerance")[0]
    assert "verificationStatus" not in none_known
    assert code_of(none_known, "code") == "716186003"


def test_a_code_of_a_denied_allergy_beside_its_substance_is_named_as_left_out():
    value = f'<value xsi:type="CD" code="91936005" {SCT}/>'
    found = converted(allergy(PENICILLIN, 'negationInd="true"', value=value), section="48765-2")
    assert code_of(of(found, "AllergyIntolerance")[0]) == "refuted"
    assert any(one.code == "incomplete" and one.place.endswith("value/@code") for one in found.issues)


_ABSENT = f"""<value xsi:type="CD" code="195967001" {SCT}><qualifier><name code="408729009" {SCT}/>
  <value code="410516002" {SCT}/></qualifier></value>"""


def test_a_reason_that_a_qualifier_says_is_absent_is_no_reason():
    found = converted(medicine(inner=related(_ABSENT)))
    assert "reasonCode" not in of(found, "MedicationStatement")[0]
    assert not of(found, "Observation")
    assert left_out(found)


def test_a_reaction_that_a_qualifier_says_is_absent_is_none():
    reaction = related(_ABSENT, template="9", kind="MFST", inverted='inversionInd="true"')
    found = converted(allergy(PENICILLIN, inner=reaction), section="48765-2")
    assert "reaction" not in of(found, "AllergyIntolerance")[0]
    assert left_out(found)
