"""senders.toml for documents and HL7 v3: found by who keeps, writes, sends or brings them; what it declares holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from hdg.documents import Documents
from hdg.errors import SettingsError
from hdg.gateway import Gateway
from hdg.ingestion.hl7v3.message import opened
from hdg.ingestion.sender import Origin
from hdg.ingestion.senders import load
from hdg.settings import Settings
from registry_messages import message, registration

HTTP = Origin("http", institution="north")
FOLDER = Origin("folder")
SHIPPED = Path(__file__).parents[2] / "mappings" / "cda" / "tables" / "observation.Observation.csv"


def document(custodian="2.999.9", author="2.999.3", rest=""):
    return f"""<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
      <id root="2.999.1" extension="d1"/><code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/>
      <title>Summary</title><effectiveTime value="20240702103000"/>
      <recordTarget><patientRole><id root="2.999.2" extension="p1"/>
        <patient><name><given>Ada</given><family>Example</family></name></patient></patientRole></recordTarget>
      <author><time value="20240702"/><assignedAuthor><id root="{author}" extension="7"/></assignedAuthor></author>
      <custodian><assignedCustodian><representedCustodianOrganization><id root="{custodian}" extension="x"/>
        <name>Keeper</name></representedCustodianOrganization></assignedCustodian></custodian>
      <component><structuredBody><component><section><code code="30954-2" codeSystem="2.16.840.1.113883.6.1"/>
        <text>One result</text><entry><observation classCode="OBS" moodCode="EVN"><id root="2.999.7" extension="r1"/>
        <code code="K" codeSystem="2.999.77"/><statusCode code="completed"/>
        <effectiveTime value="20240702093000"/><value xsi:type="PQ" value="13.20" unit="g/dL"/>{rest}</observation>
      </entry></section></component></structuredBody></component></ClinicalDocument>""".encode()


@pytest.fixture
def declared(tmp_path):
    """A gateway with that senders.toml, and how to hand documents to it."""
    opened = []

    def make(toml):
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / "senders.toml").write_text(toml)
        opened.append(Gateway.open(Settings(data=folder, institution="home")))
        return opened[0], Documents(opened[0])

    yield make
    for gateway in opened:
        gateway.close()


def stored(gateway, type_):
    query = text("SELECT id, institution FROM resource WHERE type = :type ORDER BY id")
    with gateway.store.engine.connect() as connection:
        rows = connection.execute(query, {"type": type_}).all()
    submit = lambda id_: gateway.store.submit(lambda session: session.current(type_, id_)).result()  # noqa: E731
    return [(submit(row.id), row.institution) for row in rows]


ALL = """
[senders.clinic]
custodian = "2.999.9"
institution = "clinic"
zone = "Europe/Berlin"
[senders.clinic.authorities]
"2.999.2" = "https://clinic.example/patients"
"2.999.77" = "https://clinic.example/codes"
"""


def test_zone_authorities_and_institution_are_those_of_the_custodians_table(declared):
    gateway, documents = declared(ALL)
    assert documents.take_now(document(), FOLDER).is_accepted
    ((patient, institution),) = stored(gateway, "Patient")
    assert institution == "clinic"
    assert patient["identifier"][0]["system"] == "https://clinic.example/patients"
    ((observation, _),) = stored(gateway, "Observation")
    assert observation["effectiveDateTime"] == "2024-07-02T09:30:00+02:00"
    assert observation["code"]["coding"][0]["system"] == "https://clinic.example/codes"


def test_another_custodian_is_not_spoken_for(declared):
    gateway, documents = declared(ALL)
    assert documents.take_now(document(custodian="2.999.99"), FOLDER).is_accepted
    ((patient, institution),) = stored(gateway, "Patient")
    assert (institution, patient["identifier"][0]["system"]) == ("home", "urn:oid:2.999.2")
    ((observation, _),) = stored(gateway, "Observation")
    assert observation["effectiveDateTime"] == "2024-07-02"


def test_the_institution_of_a_credential_goes_before_that_of_a_table(declared):
    gateway, documents = declared(ALL)
    assert documents.take_now(document(), HTTP).is_accepted
    ((patient, institution),) = stored(gateway, "Patient")
    assert (institution, patient["identifier"][0]["system"]) == ("north", "https://clinic.example/patients")


@pytest.mark.parametrize(
    ("conditions", "origin", "is_met"),
    [
        ('custodian = "2.999.9|x"', FOLDER, True),
        ('custodian = "2.999.9|y"', FOLDER, False),
        ('author = "2.999.3"', FOLDER, True),
        ('author = "2.999.3|7"\nlistener = "folder"', FOLDER, True),
        ('author = "2.999.3|7"\nlistener = "http"', FOLDER, False),
        ('listener = "folder"', FOLDER, True),
        ('credential = "north"', HTTP, True),
        ('credential = "south"', HTTP, False),
        ('tls_subject = "CN=x"', Origin("http", "CN=x"), True),
        ('custodian = "2.999.9"\napplication = "LAB"', FOLDER, False),
        ('device = "2.999.9"', FOLDER, False),
    ],
)
def test_all_that_a_table_names_must_match(declared, conditions, origin, is_met):
    _, documents = declared(f'[senders.one]\n{conditions}\ndocuments = ["11488-4"]\n')
    assert documents.take_now(document(), origin).is_accepted is not is_met


def test_a_document_of_a_type_that_is_not_taken_is_kept_in_quarantine(declared):
    _, documents = declared('[senders.one]\ncustodian = "2.999.9"\ndocuments = ["11488-4", "18842-5"]\n')
    taken = documents.take_now(document(), FOLDER)
    assert (taken.status, taken.place) == ("quarantined", "ClinicalDocument/code")
    assert "not to send a document of this type" in taken.reason


def test_a_strict_sender_is_refused_what_would_be_lost(declared):
    _, documents = declared('[senders.one]\ncustodian = "2.999.9"\nstrict = true\nzone = "UTC"\n')
    unread = '<specimen><specimenRole><id root="2.999.8"/><unheardOf code="x"/></specimenRole></specimen>'
    taken = documents.take_now(document(rest=unread), FOLDER)
    assert taken.status == "quarantined"
    assert taken.reason.startswith("strict: ")


def test_a_table_of_the_sender_goes_before_the_shipped_one(declared, tmp_path):
    tables = tmp_path / "mine" / "cda" / "tables"
    tables.mkdir(parents=True)
    file = tables / SHIPPED.name
    rows = SHIPPED.read_text().splitlines()
    kept = [row for row in rows if not row.startswith("effectiveTime")]
    file.write_text("\n".join([*kept, "effectiveTime,,,,,,,not ours to say"]) + "\n")
    assert len(kept) < len(rows)
    gateway, documents = declared(f'[senders.one]\ncustodian = "2.999.9"\nmappings = "{tmp_path}/mine"\n')
    assert documents.take_now(document(), FOLDER).is_accepted
    ((observation, _),) = stored(gateway, "Observation")
    assert "effectiveDateTime" not in observation


def test_a_wrong_table_of_the_sender_is_refused_with_its_line(tmp_path):
    tables = tmp_path / "mine" / "cda" / "tables"
    tables.mkdir(parents=True)
    (tables / SHIPPED.name).write_text(SHIPPED.read_text() + "text,Nothing,noSuchThing,string,,,,\n")
    toml = tmp_path / "senders.toml"
    toml.write_text('[senders.one]\ncustodian = "2.999.9"\nmappings = "mine"\n')
    with pytest.raises(SettingsError, match=r"senders\.toml:3: .*observation\.Observation\.csv:"):
        load(toml)


def test_an_hl7_v3_message_is_found_by_its_device(declared):
    raw = message(registration())
    device = opened(raw, []).sender.partition("^")[0]
    _, documents = declared(f'[senders.pix]\ndevice = "{device}"\ndocuments = ["PRPA_IN201302"]\n')
    taken = documents.take_now(raw, FOLDER)
    assert (taken.status, taken.what) == ("quarantined", "document")
    assert "not to send a message of this type" in taken.reason
    assert load(documents._gateway.senders.path).tables["pix"].documents == ("PRPA_IN201302",)


@pytest.mark.parametrize(
    "wrong", ['custodian = "North"', 'author = "1.2.x"', 'documents = ["34133 9"]', 'device = ""']
)
def test_what_is_no_number_or_type_is_refused_with_its_line(tmp_path, wrong):
    (tmp_path / "senders.toml").write_text(f"[senders.one]\n{wrong}\n")
    with pytest.raises(SettingsError, match=r"senders\.toml:2: "):
        load(tmp_path / "senders.toml")
