"""Registry messages to FHIR: what is stated comes out once, what is merged is linked, what is lost is said."""

from __future__ import annotations

import pytest

from case_pairs import references
from hdg.errors import Hl7v3Error
from hdg.fhir import ids
from hdg.fhir.validate import validate
from hdg.ingestion.cda.convert import Converter as CdaConverter
from hdg.ingestion.converted import Defaulted, Deletion
from hdg.ingestion.hl7v3.convert import Converter
from hdg.ingestion.hl7v3.lint import findings
from hdg.ingestion.sender import Sender
from registry_messages import NS, PERSON, enveloped, message, prior, registration

P9 = '<id root="2.999.2" extension="p9"/>'
P1 = P9.replace("p9", "p1")
NULLIFY = "PRPA_IN201303UV02"
MERGE = "PRPA_IN201304UV02"
ROLE_CODE = 'codeSystem="2.16.840.1.113883.5.111"'


@pytest.fixture(scope="module")
def converter():
    return Converter(id_key=ids.PUBLIC_KEY)


def converted(converter, raw, sender=None):
    found = converter.convert(raw, sender, at_us=0)
    assert [validate(resource) for resource in found.resources] == [[]] * len(found.resources)
    places = {f"{one['resourceType']}/{one['id']}" for one in found.resources}
    assert len(places) == len(found.resources)
    assert set(references(list(found.resources))) <= places
    return found


def of(found, type_):
    return [one for one in found.resources if one["resourceType"] == type_]


def patient_of(converter, person, **rest):
    (patient,) = of(converted(converter, message(registration(PERSON + person, **rest))), "Patient")
    return patient


def incomplete(found):
    return [
        issue.place.rpartition("registrationEvent/")[2]
        for issue in found.issues
        if issue.code == "incomplete"
    ]


def test_the_tables_have_no_findings():
    assert findings() == []


def test_an_added_patient_is_a_patient_with_all_that_is_said(converter):
    found = converted(
        converter,
        message(
            registration(
                PERSON
                + """<telecom value="tel:+1-555-0101" use="HP"/><deceasedInd value="false"/>
                <multipleBirthInd value="true"/><multipleBirthOrderNumber value="2"/>
                <addr use="H"><streetAddressLine>1 Road</streetAddressLine><city>Town</city></addr>
                <maritalStatusCode code="M" codeSystem="2.16.840.1.113883.5.2"/>
                <religiousAffiliationCode code="1013" codeSystem="2.16.840.1.113883.5.1076"/>
                <raceCode code="2106-3" codeSystem="2.16.840.1.113883.6.238" displayName="White"/>
                <ethnicGroupCode code="2186-5" codeSystem="2.16.840.1.113883.6.238" displayName="Not Hispanic"/>
                <birthPlace><addr><city>Oldtown</city></addr></birthPlace>
                <asCitizen classCode="CIT"><politicalNation classCode="NAT"><code code="CA"
                codeSystem="1.0.3166.1.2.2"/></politicalNation></asCitizen>
                <languageCommunication><languageCode code="fr-CA"/><preferenceInd value="true"/>
                </languageCommunication>"""
            )
        ),
    )
    assert [str(issue) for issue in found.issues] == []
    (patient,), (organization,) = of(found, "Patient"), of(found, "Organization")
    assert patient["identifier"] == [{"system": "urn:oid:2.999.2", "value": "p1"}]
    assert patient["name"] == [{"use": "official", "family": "Example", "given": ["Ada"]}]
    assert (patient["gender"], patient["birthDate"], patient["active"]) == ("female", "1961-04-12", True)
    assert patient["telecom"] == [{"system": "phone", "value": "+1-555-0101", "use": "home"}]
    assert patient["address"] == [{"use": "home", "line": ["1 Road"], "city": "Town"}]
    assert (patient["deceasedBoolean"], patient["multipleBirthInteger"]) == (False, 2)
    assert patient["maritalStatus"]["coding"][0]["code"] == "M"
    assert patient["communication"][0]["preferred"] is True
    assert patient["managingOrganization"]["reference"] == f"Organization/{organization['id']}"
    assert {one["url"].rpartition("/")[2] for one in patient["extension"]} == {
        "patient-religion",
        "us-core-race",
        "us-core-ethnicity",
        "patient-birthPlace",
        "patient-citizenship",
    }
    assert organization["contact"] == [{"telecom": [{"system": "phone", "value": "+1-555-0100"}]}]
    assert found.patient_id == patient["id"]


def test_the_wrapper_says_who_sent_it_when_and_what_kind_of_data_it_is(converter):
    found = converted(converter, message(registration()))
    assert found.source.format == "hl7v3"
    assert (found.source.sender, found.source.institution) == ("hl7v3|2.999.7", "2.999.2")
    assert (found.source.control_id, found.source.message_type) == ("2.999.1^m1", "PRPA_IN201301UV02")
    assert found.source.stated_us == 1704164645 * 1_000_000
    (head,), (provenance,) = of(found, "MessageHeader"), of(found, "Provenance")
    assert head["eventCoding"]["code"] == "PRPA_IN201301UV02"
    assert [tag["code"] for tag in head["meta"]["tag"]] == ["P", "T"]
    assert head["focus"] == [{"reference": f"Patient/{found.patient_id}"}]
    assert head["source"] == {"endpoint": "urn:oid:2.999.7", "name": "Feed"}
    assert provenance["recorded"] == "2024-01-02T03:04:05+00:00"
    assert [agent["type"]["coding"][0]["code"] for agent in provenance["agent"]] == [
        "author",
        "custodian",
        "assembler",
    ]
    assert len(of(found, "Organization")) == 1  # the custodian is the provider, by its number


def test_a_time_of_creation_without_offset_goes_by_the_declared_zone(converter):
    raw = message(registration(), created="20240102030405")
    assert converted(converter, raw).source.stated_us is None
    there = Sender("feed", "north", zone="+01:00")
    assert converted(converter, raw, there).source.stated_us == (1704164645 - 3600) * 1_000_000


def test_other_numbers_say_what_they_are_who_gives_them_and_whether_they_hold(converter):
    patient = patient_of(
        converter,
        """<asOtherIDs classCode="CIT"><id root="2.16.840.1.113883.4.1" extension="999-00-1111"/>
        <scopingOrganization classCode="ORG"><id root="2.16.840.1.113883.4.1"/></scopingOrganization></asOtherIDs>
        <asOtherIDs classCode="PAT"><id root="2.999.4" extension="x4"/><statusCode code="terminated"/>
        <scopingOrganization classCode="ORG"><id root="2.999.4"/><name>South</name></scopingOrganization>
        </asOtherIDs>""",
    )
    _, citizen, other = patient["identifier"]
    assert citizen["type"]["coding"][0]["code"] == "CIT"
    assert "assigner" not in citizen
    assert (other["use"], other["value"]) == ("old", "x4")
    assert other["assigner"]["reference"].startswith("Organization/")
    assert "type" not in other


def test_relations_are_related_persons_of_this_patient_alone(converter):
    mother = f"""<personalRelationship classCode="PRS"><code code="MTH" {ROLE_CODE}/>
      <telecom value="tel:+1-555-0102"/><relationshipHolder1 classCode="PSN"><name><given>Eve</given>
      <family>Elder</family></name></relationshipHolder1></personalRelationship>"""
    first = converted(converter, message(registration(PERSON + mother)))
    (related,) = of(first, "RelatedPerson")
    assert related["patient"] == {"reference": f"Patient/{first.patient_id}"}
    assert related["relationship"][0]["coding"][0]["code"] == "MTH"
    assert related["telecom"][0]["value"] == "+1-555-0102"
    other = registration(PERSON + mother, ids='<id root="2.999.2" extension="p2"/>')
    (second,) = of(converted(converter, message(other)), "RelatedPerson")
    assert second["id"] != related["id"]
    gone = mother.replace('classCode="PRS"', 'classCode="PRS" updateMode="D"')
    (ended,) = of(converted(converter, message(registration(PERSON + gone))), "RelatedPerson")
    assert (ended["id"], ended["active"]) == (related["id"], False)


def test_guardians_and_contacts_are_contacts(converter):
    patient = patient_of(
        converter,
        """<guardian classCode="GUARD"><guardianPerson><name><family>Ward</family></name></guardianPerson></guardian>
        <contactParty classCode="ECON"><telecom value="tel:+1-555-0103"/><contactPerson><name><family>Near</family>
        </name></contactPerson></contactParty>""",
    )
    assert [contact["name"]["family"] for contact in patient["contact"]] == ["Ward", "Near"]


@pytest.mark.parametrize("flavor", ["UNK", "NI", "MSK", "nonsense"])
def test_what_has_a_null_flavor_is_absent_and_never_empty(converter, flavor):
    null = f'nullFlavor="{flavor}"'
    person = f"""<name {null}/><telecom {null}/><administrativeGenderCode {null}/><birthTime {null}/>
      <deceasedInd {null}/><deceasedTime {null}/><addr {null}/><maritalStatusCode {null}/><raceCode {null}/>
      <multipleBirthInd {null}/><languageCommunication {null}/>"""
    (patient,) = of(converted(converter, message(registration(person))), "Patient")
    assert set(patient) == {"resourceType", "id", "identifier", "active", "managingOrganization"}


def test_a_merge_links_both_records_and_the_earlier_one_is_no_longer_active(converter):
    found = converted(converter, message(registration(after=prior(P9)), interaction=MERGE))
    kept, gone = of(found, "Patient")
    assert kept["link"] == [{"other": {"reference": f"Patient/{gone['id']}"}, "type": "replaces"}]
    assert gone["link"] == [{"other": {"reference": f"Patient/{kept['id']}"}, "type": "replaced-by"}]
    assert (kept["active"], gone["active"]) == (True, False)
    assert gone["identifier"] == [{"system": "urn:oid:2.999.2", "value": "p9"}]
    assert found.defaulted == (Defaulted("Patient", gone["id"], "identifier"),)
    assert found.patient_id == kept["id"]
    assert found.issues == ()
    earlier = converted(converter, message(registration(ids=P9)))
    assert earlier.patient_id == gone["id"]


def test_several_records_can_be_merged_into_one(converter):
    after = prior(P9, '<id root="2.999.2" extension="p8"/>')
    found = converted(converter, message(registration(after=after), interaction=MERGE))
    assert len(of(found, "Patient")) == 3
    assert len(of(found, "Patient")[0]["link"]) == 2


def test_a_number_of_an_earlier_role_in_another_domain_is_no_record_of_its_own(converter):
    """The national number of both: the record that stays would be merged away with it."""
    national = '<id root="2.999.4" extension="n1"/>'
    raw = message(registration(ids=P1 + national, after=prior(national + P9)), interaction=MERGE)
    kept, gone = of(converted(converter, raw), "Patient")
    assert gone["identifier"] == [{"system": "urn:oid:2.999.2", "value": "p9"}]
    assert [one["other"]["reference"] for one in kept["link"]] == [f"Patient/{gone['id']}"]
    assert "subject1/priorRegisteredRole/id[1]/@extension" in "".join(incomplete(converted(converter, raw)))


@pytest.mark.parametrize("interaction", ["PRPA_IN201311UV02", "PRPA_IN201314UV02"])
def test_what_is_asked_to_be_added_or_revised_is_read_as_what_was(converter, interaction):
    raw = message(registration(), interaction=interaction).replace(
        b"registrationEvent", b"registrationRequest"
    )
    asked = converted(converter, raw)
    told = converted(converter, message(registration()))
    assert of(asked, "Patient") == of(told, "Patient")
    assert (asked.source.institution, asked.issues) == ("2.999.2", ())


def test_a_registration_in_error_is_deleted(converter):
    raw = message(registration(status="nullified"), interaction=NULLIFY)
    found = converted(converter, raw)
    assert found.deleted == (("Patient", found.patient_id),)
    assert found.issues == ()


def test_a_time_of_creation_that_is_no_time_is_said(converter):
    found = converted(converter, message(registration(), created="yesterday"))
    assert [(issue.place, issue.code) for issue in found.issues] == [("creationTime", "value")]
    assert found.source.stated_us is None


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (message(registration(), interaction=MERGE), "nothing says which record was merged"),
        (
            message(registration(after=prior('<id root="2.999.2"/>')), interaction=MERGE),
            "no usable prior patient",
        ),
        (
            message(registration(after=prior('<id nullFlavor="UNK"/>')), interaction=MERGE),
            "no usable prior patient",
        ),
        (
            message(registration(after=prior('<id root="2.999.2" extension="p1"/>')), interaction=MERGE),
            "merged and stay at once",
        ),
        (message(registration(ids='<id root="2.999.2"/>')), "no usable patient identifier"),
        (
            message(registration(ids='<id root="2.999.2" extension="p1" nullFlavor="NA"/>')),
            "no usable patient",
        ),
        (message(registration(), interaction="PRPA_IN201305UV02"), "PRPA_IN201305UV02 is not supported"),
        (message(registration(status="nullified")), "not active is not supported"),
        (
            message(registration(after=prior('<id nullFlavor="NI"/>')), interaction="PRPA_IN201302UV02"),
            "no usable prior patient",
        ),
        (message(registration(after=prior(P9)), interaction=NULLIFY), "in error cannot stand in the place"),
        (
            message(registration(after=prior(P9))).replace(
                b'extension="PRPA_IN201301UV02"', b'extension="PRPA_IN201304UV02"'
            ),
            "interactionId is not that of the root",
        ),
        (
            message(registration(ids=P1.replace("/>", ' updateMode="D"/>') + P9)),
            "the number that the record is known by is to be removed",
        ),
        (message(), "the message holds no patient"),
        (message(registration().replace("<patient ", '<patient updateMode="D" ')), "whole record"),
        (b"<ClinicalDocument xmlns='urn:hl7-org:v3'/>", "no HL7 v3 interaction"),
        (b"<PRPA_IN201301UV02 xmlns='urn:other'/>", "not in the namespace"),
        (b"<PRPA_IN201301UV02", "not well-formed"),
        (b"<!DOCTYPE a><PRPA_IN201301UV02/>", "document type definition"),
    ],
)
def test_what_cannot_be_taken_in_is_refused_with_its_reason(converter, raw, said):
    with pytest.raises(Hl7v3Error, match=said):
        converter.convert(raw, at_us=0)


def test_an_answer_states_each_patient_that_it_holds(converter):
    others = [registration(ids=f'<id root="2.999.2" extension="q{n}"/>') for n in range(3)]
    more = """<queryAck><queryId root="2.999.5" extension="1"/><queryResponseCode code="OK"/></queryAck>
      <queryByParameter><queryId root="2.999.5" extension="1"/><statusCode code="new"/></queryByParameter>"""
    found = converted(converter, message(*others, interaction="PRPA_IN201306UV02", more=more))
    assert len(of(found, "Patient")) == 3
    assert len(of(found, "MessageHeader")[0]["focus"]) == 3
    assert found.patient_id is None
    assert found.issues == ()
    with pytest.raises(Hl7v3Error, match=r"holds no patient \(queryResponseCode OK\)"):
        converter.convert(message(interaction="PRPA_IN201306UV02", more=more), at_us=0)


def test_an_answer_with_numbers_only_is_a_patient_with_numbers_only(converter):
    numbers = registration(
        '<name nullFlavor="NA"/>',
        ids='<id root="2.999.2" extension="p1"/><id root="2.999.4" extension="x4"/>',
    )
    (patient,) = of(converted(converter, message(numbers, interaction="PRPA_IN201310UV02")), "Patient")
    assert [one["value"] for one in patient["identifier"]] == ["p1", "x4"]
    assert "name" not in patient


def test_a_soap_envelope_is_taken_off(converter):
    raw = message(registration())
    for uri in ("http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/"):
        found = converted(converter, enveloped(raw, uri))
        bare = converted(converter, raw)
        assert found.resources[:-1] == bare.resources[:-1]
        assert found.issues == ()
    with pytest.raises(Hl7v3Error, match="does not hold one message"):
        converter.convert(
            b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body/></s:Envelope>'
        )


def test_what_is_to_be_removed_is_deleted_when_nothing_else_is_said(converter):
    person = PERSON + '<maritalStatusCode updateMode="D"/><telecom updateMode="D" value="tel:1"/>'
    found = converted(converter, message(registration(person), interaction="PRPA_IN201302UV02"))
    names = {deletion.element for deletion in found.deletions}
    assert names == {"maritalStatus", "telecom"}
    assert Deletion("Patient", found.patient_id, "telecom") in found.deletions
    found = converted(converter, message(registration(person + '<telecom value="tel:2"/>')))
    assert {deletion.element for deletion in found.deletions} == {"maritalStatus"}
    assert [one["value"] for one in of(found, "Patient")[0]["telecom"]] == ["2"]


def test_what_is_to_be_ignored_is_left_out_and_what_is_unchanged_stays(converter):
    person = PERSON + '<telecom updateMode="I" value="tel:1"/><telecom updateMode="N" value="tel:2"/>'
    found = converted(converter, message(registration(person)))
    assert [one["value"] for one in of(found, "Patient")[0]["telecom"]] == ["2"]
    assert (found.deletions, found.issues) == ((), ())
    added = converted(converter, message(registration(PERSON + '<telecom updateMode="A" value="tel:1"/>')))
    assert [issue.code for issue in added.issues] == ["not-supported"]


def test_what_no_row_reads_is_reported(converter):
    person = PERSON + '<organDonorInd value="true"/><asEmployee><occupationCode code="1"/></asEmployee>'
    found = converted(converter, message(registration(person, after="<author><time value='2024'/></author>")))
    assert incomplete(found) == [
        "subject1/patient/patientPerson/organDonorInd/@value",
        "subject1/patient/patientPerson/asEmployee/occupationCode/@code",
        "author/time/@value",
    ]


def test_the_patient_of_a_document_is_the_patient_of_the_registry(converter):
    document = f"""<ClinicalDocument {NS}><id root="2.999.1" extension="d1"/><recordTarget><patientRole>
      <id root="2.999.2" extension="p1"/><patient><name><family>Example</family></name></patient></patientRole>
      </recordTarget><component><structuredBody><component><section><text>x</text></section></component>
      </structuredBody></component></ClinicalDocument>""".encode()
    north = Sender("feed", "north")
    documented = CdaConverter(id_key=ids.PUBLIC_KEY).convert(document, north, at_us=0)
    assert converted(converter, message(registration()), north).patient_id == documented.patient_id


def test_the_number_of_the_providing_organization_identifies_whatever_the_order(converter):
    both = ('<id root="2.999.4" extension="x4"/>', '<id root="2.999.2" extension="p1"/>')
    found = {
        converted(converter, message(registration(ids="".join(order)))).patient_id
        for order in (both, both[::-1])
    }
    assert found == {converted(converter, message(registration())).patient_id}


def test_the_same_bytes_give_the_same_resources(converter):
    raw = message(registration(after=prior(P9)), interaction=MERGE)
    assert converter.convert(raw, at_us=0) == Converter(id_key=ids.PUBLIC_KEY).convert(raw, at_us=0)


def test_a_status_that_says_neither_is_reported(converter):
    raw = message(registration()).replace(
        b'<statusCode code="active"/><patientPerson', b'<statusCode code="pending"/><patientPerson'
    )
    found = converted(converter, raw)
    assert "active" not in of(found, "Patient")[0]
    assert [issue.place.rpartition("/")[2] for issue in found.issues] == ["@code"]
    ended = raw.replace(b'"pending"', b'"terminated"')
    assert of(converted(converter, ended), "Patient")[0]["active"] is False
