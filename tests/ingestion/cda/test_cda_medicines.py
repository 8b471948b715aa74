"""Medicines: that none is known, what stands beside what is denied, ranges of doses, times with exclusions."""

from __future__ import annotations

import pytest

from cda_documents import LN, SCT, T, converted, of
from cda_statements import ASTHMA, left_out, problem, procedure, related

ASPIRIN = '<code code="197361" codeSystem="2.16.840.1.113883.6.88"/>'
NONE = {
    "787481004": "No known medications",
    "182849000": "No drug therapy prescribed",
    "408350003": "Patient not on self-medications",
    "182904002": "Drug treatment unknown",
}
NOT_APPLICABLE = '<code nullFlavor="NA"/>'


def medicine(material=ASPIRIN, *, attributes="", own="", inner="", more="", template="16", mood="EVN"):
    return f"""<entry><substanceAdministration classCode="SBADM" moodCode="{mood}" {attributes}>
      <templateId root="{T}{template}"/><id root="2.999.8" extension="m"/>{own}<statusCode code="active"/>{inner}
      <consumable><manufacturedProduct><manufacturedMaterial>{material}</manufacturedMaterial></manufacturedProduct>
      </consumable>{more}</substanceAdministration></entry>"""


def order(kind="REFR", product=ASPIRIN):
    held = f"""<product><manufacturedProduct><manufacturedMaterial>{product}</manufacturedMaterial>
      </manufacturedProduct></product>"""
    return f"""<entryRelationship typeCode="{kind}"><supply classCode="SPLY" moodCode="INT"><templateId root="{T}17"/>
      <id root="2.999.8" extension="s"/><statusCode code="active"/>{held if product else ""}</supply>
      </entryRelationship>"""


def said(entry, section="10160-0"):
    """All that is said of medicines."""
    found = converted(entry, section=section)
    kinds = ("MedicationStatement", "MedicationRequest", "MedicationAdministration", "MedicationDispense")
    return found, [one for one in found.resources if one["resourceType"] in kinds]


# --- none known -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", NONE)
@pytest.mark.parametrize("section", ["10160-0", "29549-3", "10183-2"])
@pytest.mark.parametrize("template", ["16", "42", "9.9"])
@pytest.mark.parametrize(
    ("place", "mood"), [("material", "EVN"), ("translation", "EVN"), ("own", "EVN"), ("material", "INT")]
)
def test_that_no_medicine_is_known_is_no_medicine_that_is_taken(code, section, template, place, mood):
    said_by = f'<code code="{code}" {SCT} displayName="{NONE[code]}"/>'
    material, own = said_by, ""
    if place == "translation":
        material = f'<code nullFlavor="OTH">{said_by.replace("<code", "<translation")}</code>'
    elif place == "own":  # IHE PCC, Medications
        material, own = NOT_APPLICABLE, said_by
    _, (one,) = said(medicine(material, own=own, template=template, mood=mood), section)
    assert (one["resourceType"], one["status"]) == ("MedicationStatement", "unknown")
    assert [each["code"] for each in one["medicationCodeableConcept"]["coding"]] == [code]


def test_a_denial_of_none_known_is_none_known_and_is_said():
    found, (one,) = said(medicine(f'<code code="787481004" {SCT}/>', attributes='negationInd="true"'))
    assert (one["status"], one["medicationCodeableConcept"]["coding"][0]["code"]) == ("unknown", "787481004")
    assert [issue.place.rpartition("/")[2] for issue in found.issues] == ["@negationInd"]


def test_none_known_that_was_retracted_is_retracted():
    raw = medicine(f'<code code="787481004" {SCT}/>').replace('"active"', '"nullified"')
    assert [one["status"] for one in said(raw)[1]] == ["entered-in-error"]


def test_a_medicine_that_does_not_apply_is_not_taken_by_the_patient():
    _, (one,) = said(medicine(NOT_APPLICABLE))
    assert one["status"] == "unknown"
    _, (named,) = said(medicine('<code nullFlavor="NA"><originalText>Aspirin</originalText></code>'))
    assert (named["status"], named["medicationCodeableConcept"]["text"]) == ("active", "Aspirin")


def test_a_code_of_the_administration_beside_a_medicine_takes_nothing_from_it():
    _, (one,) = said(medicine(own=f'<code code="182904002" {SCT}/>'))
    assert (one["status"], one["medicationCodeableConcept"]["coding"][0]["code"]) == ("active", "197361")


@pytest.mark.parametrize(
    ("name", "value"), [("408729009", "410516002"), ("408730004", "385660001"), ("408730004", "443390004")]
)
@pytest.mark.parametrize("place", ["material", "own"])
def test_a_qualifier_that_says_it_is_absent_or_not_done_withholds_the_medicine(name, value, place):
    qualifier = f'<qualifier><name code="{name}" {SCT}/><value code="{value}" {SCT}/></qualifier>'
    if place == "material":
        entry = medicine(ASPIRIN.replace("/>", f">{qualifier}</code>"))
    else:
        entry = medicine(own=f'<code code="432102000" {SCT}>{qualifier}</code>')
    found, medicines = said(entry)
    assert medicines == []
    assert left_out(found) == ["component/structuredBody/component/section/entry/substanceAdministration"]


def test_a_procedure_that_a_qualifier_says_was_not_done_is_withheld():
    qualifier = f'<qualifier><name code="408730004" {SCT}/><value code="385660001" {SCT}/></qualifier>'
    entry = procedure().replace(
        f'<code code="80146002" {SCT}/>', f'<code code="80146002" {SCT}>{qualifier}</code>'
    )
    found = converted(entry, section="47519-4")
    assert of(found, "Procedure") == []
    assert len(left_out(found)) == 1


# --- beside what is denied --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["REFR", "COMP", "RSON", "SUBJ"])
@pytest.mark.parametrize("product", [ASPIRIN, ""])
@pytest.mark.parametrize("denial", ['negationInd="true"', 'sdtc:negationInd="true"', 'negationInd="yes"'])
@pytest.mark.parametrize(
    "mood, template, section", [("EVN", "16", "10160-0"), ("EVN", "16", "29549-3"), ("INT", "42", "")]
)
def test_an_order_in_a_medicine_that_is_denied_is_no_order(kind, product, denial, mood, template, section):
    entry = medicine(attributes=denial, more=order(kind, product), mood=mood, template=template)
    found, medicines = said(entry, section or "10160-0")
    assert {one.get("status") for one in medicines} <= {"not-taken", "not-done", "active"}
    assert all(
        one.get("doNotPerform") is True for one in medicines if one["resourceType"] == "MedicationRequest"
    )
    assert not [one for one in medicines if "basedOn" in one or "request" in one]
    assert any("supply" in issue.place or issue.severity == "error" for issue in found.issues)


def test_an_order_in_a_medicine_that_is_taken_is_one():
    _, medicines = said(medicine(more=order()))
    assert sorted(one["resourceType"] for one in medicines) == ["MedicationRequest", "MedicationStatement"]
    (taken,) = (one for one in medicines if "basedOn" in one)
    assert taken["status"] == "active"


@pytest.mark.parametrize("kind", ["COMP", "CAUS"])
def test_a_complication_of_what_was_not_done_is_no_disease(kind):
    complication = related(ASTHMA, template="4", kind=kind)
    found = converted(procedure('negationInd="true"', complication), section="47519-4")
    assert [one["status"] for one in of(found, "Procedure")] == ["not-done"]
    assert of(found, "Condition") == []
    assert [issue for issue in found.issues if "entryRelationship" in issue.place]
    assert len(of(converted(procedure(inner=complication), section="47519-4"), "Condition")) == 1


# --- doses ------------------------------------------------------------------------------------------------------


def dose(inner, **rest):
    found, (one,) = said(medicine(inner=inner, **rest))
    return found, one.get("dosage", one.get("dosageInstruction", [{}]))[0]


@pytest.mark.parametrize("name, target", [("doseQuantity", "dose"), ("rateQuantity", "rate")])
@pytest.mark.parametrize("mood, template", [("EVN", "16"), ("INT", "42")])
def test_bounds_of_a_dose_and_a_rate_are_a_range(name, target, mood, template):
    bounds = '<low value="1.50" unit="mg"/>', '<high value="2" unit="mg"/>'
    found, got = dose(f"<{name}>{''.join(bounds)}</{name}>", mood=mood, template=template)
    held = got["doseAndRate"][0][f"{target}Range"]
    assert (held["low"]["value"].literal, held["high"]["value"]) == ("1.50", 2)
    assert found.issues == ()
    for bound, kept in zip(bounds, ("low", "high"), strict=True):
        found, got = dose(f"<{name}>{bound}</{name}>", mood=mood, template=template)
        assert set(got["doseAndRate"][0][f"{target}Range"]) == {kept}
        assert found.issues == ()


@pytest.mark.parametrize(
    ("inner", "expected", "code"),
    [
        ('<center value="2" unit="mg"/>', {"doseQuantity": 2}, None),
        ('<center value="2" unit="mg"/><width value="1" unit="mg"/>', {"doseQuantity": 2}, "incomplete"),
        ('<low value="2" unit="mg"/><width value="1" unit="mg"/>', {"doseRange": (2, None)}, "incomplete"),
        ('<low value="3" unit="mg"/><high value="2" unit="mg"/>', {}, "invariant"),
        ('<low nullFlavor="UNK"/><high value="2" unit="mg"/>', {"doseRange": (None, 2)}, None),
        ('<low value="2" nullFlavor="UNK" unit="mg"/>', {}, "value"),
    ],
)
def test_what_a_range_cannot_say_is_said_by_an_issue(inner, expected, code):
    found, got = dose(f"<doseQuantity>{inner}</doseQuantity>")
    held = got.get("doseAndRate", [{}])[0]
    values = {
        name: value["value"]
        if name == "doseQuantity"
        else tuple(value.get(bound, {}).get("value") for bound in ("low", "high"))
        for name, value in held.items()
    }
    assert values == expected
    assert [issue.code for issue in found.issues] == ([code] if code else [])


def test_a_value_beside_the_bounds_of_a_dose_is_said():
    found, got = dose('<doseQuantity value="1" unit="mg"><low value="2" unit="mg"/></doseQuantity>')
    assert set(got["doseAndRate"][0]["doseRange"]) == {"low"}
    assert [issue.code for issue in found.issues] == ["incomplete"]


def test_the_most_that_may_be_taken_in_a_while_is_a_ratio():
    ratio = '<numerator value="4" unit="{tbl}"/><denominator value="1" unit="d"/>'
    found, got = dose(f"<maxDoseQuantity>{ratio}</maxDoseQuantity>")
    most = got["maxDosePerPeriod"]
    assert (most["numerator"]["value"], most["denominator"]["unit"]) == (4, "d")
    assert found.issues == ()
    half = ratio.replace('value="1" unit="d"', 'nullFlavor="UNK"')
    found, got = dose(f"<maxDoseQuantity>{half}</maxDoseQuantity>")
    assert "maxDosePerPeriod" not in got
    assert [issue.code for issue in found.issues] == ["value"]


# --- times ------------------------------------------------------------------------------------------------------

JANUARY = (
    '<effectiveTime xsi:type="IVL_TS" {}><low value="20240101"/><high value="20240131"/></effectiveTime>'
)
MAY = '<effectiveTime xsi:type="IVL_TS" {}><low value="20240501"/><high value="20240531"/></effectiveTime>'
EVERY = '<effectiveTime xsi:type="PIVL_TS" {}><period value="8" unit="h"/></effectiveTime>'
EVENING = '<effectiveTime xsi:type="EIVL_TS" {}><event code="HS"/></effectiveTime>'
EXCLUDED = ['operator="E"', "operator = 'E'", 'operator="e"', 'operator=" E "']
REPEAT = {"frequency": 1, "period": 8, "periodUnit": "h"}


def timed(*times):
    found, (one,) = said(medicine(inner="".join(times)))
    repeat = one.get("dosage", [{}])[0].get("timing", {}).get("repeat")
    return found, one.get("effectivePeriod"), repeat


@pytest.mark.parametrize("operator", ["", 'operator="I"', 'operator="A"'])
def test_times_that_all_count_are_read_together(operator):
    found, period, repeat = timed(JANUARY.format(""), EVERY.format(operator))
    assert (period, repeat) == ({"start": "2024-01-01", "end": "2024-01-31"}, REPEAT)
    assert found.issues == ()


@pytest.mark.parametrize("operator", EXCLUDED)
@pytest.mark.parametrize("excluded", [MAY, EVERY, EVENING])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_time_that_is_excluded_is_no_time_of_it(operator, excluded, is_first):
    times = [JANUARY.format(""), excluded.format(operator)]
    found, period, repeat = timed(*(reversed(times) if is_first else times))
    assert (period, repeat) == ({"start": "2024-01-01", "end": "2024-01-31"}, None)
    assert [(issue.severity, issue.text) for issue in found.issues] == [
        ("error", "a time that is excluded was left out")
    ]


@pytest.mark.parametrize("operator", EXCLUDED)
@pytest.mark.parametrize(
    ("entry", "section"),
    [
        (medicine(inner=MAY, template="52"), "11369-6"),
        (medicine(inner=MAY), "29549-3"),
        (procedure(inner=MAY), "47519-4"),
        (
            procedure(inner=MAY).replace('moodCode="EVN"', 'moodCode="INT"').replace(f"{T}14", f"{T}41"),
            "18776-5",
        ),
        (problem(inner=MAY).replace('<effectiveTime><low value="2020"/></effectiveTime>', ""), "11450-4"),
        (
            f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/><code code="718-7" {LN}/>
            <statusCode code="completed"/>{MAY}<value xsi:type="PQ" value="1"/></observation></entry>""",
            "30954-2",
        ),
        (
            f"""<entry><encounter classCode="ENC" moodCode="EVN"><templateId root="{T}49"/><code code="99213"/>{MAY}
            </encounter></entry>""",
            "46240-8",
        ),
        (medicine(more=order().replace("<product>", MAY + "<product>")), "10160-0"),
    ],
)
def test_a_time_that_is_excluded_is_no_time_of_anything(operator, entry, section):
    found = converted(entry.format(operator) if "{}" in entry else entry, section=section)
    assert not [one for one in found.resources if "2024-05" in str(one)]
    assert "a time that is excluded was left out" in [
        issue.text for issue in found.issues if issue.severity == "error"
    ]


@pytest.mark.parametrize("operator", ["H", "P", "X"])
@pytest.mark.parametrize("joined", [EVERY, EVENING])
def test_a_time_that_is_joined_in_another_way_is_left_out_with_an_error(operator, joined):
    found, period, repeat = timed(JANUARY.format(""), joined.format(f'operator="{operator}"'))
    assert (period, repeat) == ({"start": "2024-01-01", "end": "2024-01-31"}, None)
    assert [issue.severity for issue in found.issues] == ["error"]


def test_an_event_besides_a_frequency_is_not_taken_for_both_at_once():
    found, _, repeat = timed(EVERY.format(""), EVENING.format('operator="I"'))
    assert repeat == REPEAT
    assert [issue.code for issue in found.issues] == ["incomplete"]
    _, _, both = timed(EVERY.format(""), EVENING.format('operator="A"'))
    assert both == {**REPEAT, "when": ["HS"]}


def test_a_second_interval_of_an_order_does_not_take_the_place_of_the_first():
    found, (one,) = said(
        medicine(inner=JANUARY.format("") + MAY.format('operator="I"'), mood="INT", template="42")
    )
    bounds = one["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"]
    assert bounds == {"start": "2024-01-01", "end": "2024-01-31"}
    assert [issue.code for issue in found.issues] == ["incomplete"]


@pytest.mark.parametrize(
    ("inner", "expected", "code"),
    [
        ('<period value="0" unit="h"/>', None, "value"),
        (
            '<frequency><numerator value="2"/><denominator value="1" unit="d"/></frequency>',
            {"frequency": 2, "period": 1, "periodUnit": "d"},
            None,
        ),
        (
            '<frequency><numerator value="2"/><denominator value="0" unit="d"/></frequency>',
            None,
            "incomplete",
        ),
        ('<phase><low value="2024010108"/></phase><period value="8" unit="h"/>', REPEAT, "incomplete"),
    ],
)
def test_a_periodic_time_says_how_often_or_that_it_does_not(inner, expected, code):
    found, _, repeat = timed(f'<effectiveTime xsi:type="PIVL_TS">{inner}</effectiveTime>')
    assert repeat == expected
    assert [issue.code for issue in found.issues] == ([code] if code else [])


def test_the_alignment_of_a_periodic_time_is_said_to_be_lost():
    found, _, repeat = timed(EVERY.format('alignment="DW"'))
    assert repeat == REPEAT
    assert [issue.code for issue in found.issues] == ["incomplete"]
