"""What only a replaced document said is in force no longer; what anything else says too stays (CDA R2 §4.2.2, RPLC)."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import text

from hdg.documents import Documents
from hdg.gateway import Gateway
from hdg.ingestion.sender import Origin
from hdg.replay import replay
from hdg.settings import Settings

HTTP = Origin("http", institution="north")
SCT, LOINC = 'codeSystem="2.16.840.1.113883.6.96"', 'codeSystem="2.16.840.1.113883.6.1"'
T = "2.16.840.1.113883.10.20.22.4."
FACTS = {
    "allergy": f"""<observation classCode="OBS" moodCode="EVN"><templateId root="{T}7"/>
      <id root="2.999.8" extension="a"/><code code="ASSERTION"/><statusCode code="completed"/>
      <value xsi:type="CD" code="419199007" {SCT}/><participant typeCode="CSM"><participantRole><playingEntity>
      <code code="7980" codeSystem="2.16.840.1.113883.6.88"/></playingEntity></participantRole></participant>
      </observation>""",
    "problem": f"""<observation classCode="OBS" moodCode="EVN"><templateId root="{T}4"/>
      <id root="2.999.8" extension="p"/><code code="55607006" {SCT}/><statusCode code="completed"/>
      <value xsi:type="CD" code="195967001" {SCT}/><author><time value="20240101"/><assignedAuthor>
      <id root="2.999.3" extension="b"/></assignedAuthor></author></observation>""",
    "medicine": f"""<substanceAdministration classCode="SBADM" moodCode="EVN"><templateId root="{T}16"/>
      <id root="2.999.8" extension="m"/><statusCode code="active"/><consumable><manufacturedProduct>
      <manufacturedMaterial><code code="197361" codeSystem="2.16.840.1.113883.6.88"/></manufacturedMaterial>
      </manufacturedProduct></consumable></substanceAdministration>""",
    "result": f"""<observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/>
      <id root="2.999.8" extension="r"/><code code="718-7" {LOINC}/><statusCode code="completed"/>
      <effectiveTime value="20240101"/><value xsi:type="PQ" value="13.20" unit="g/dL"/></observation>""",
}
ERROR = "entered-in-error"


def document(
    number: str, *facts: str, over: str = "", kind: str = "RPLC", day: str = "", patient: str = "p1"
) -> bytes:
    """Stated on the day that its number tells. ``over``: the document that it replaces."""
    related = f"""<relatedDocument typeCode="{kind}"><parentDocument><id root="2.999.1" extension="d{over}"/>
      </parentDocument></relatedDocument>"""
    entries = "".join(f"<entry>{FACTS[name]}</entry>" for name in facts)
    return f"""<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
      <id root="2.999.1" extension="d{number}"/><code code="34133-9" {LOINC}/><title>Summary</title>
      <effectiveTime value="{day or f"2024020{number}030405+0000"}"/>
      <recordTarget><patientRole><id root="2.999.2" extension="{patient}"/><patient><name>
      <family>Example</family></name></patient></patientRole></recordTarget><author><time value="20240101"/>
      <assignedAuthor><id root="2.999.3" extension="a"/></assignedAuthor></author>{related if over else ""}
      <component><structuredBody><component><section><code code="11450-4" {LOINC}/><text>Facts</text>{entries}</section>
      </component></structuredBody></component></ClinicalDocument>""".encode()


def take(gateway: Gateway, *raws: bytes) -> None:
    documents = Documents(gateway)
    assert all(documents.take_now(raw, HTTP).is_accepted for raw in raws)


def of_type(gateway: Gateway, type_: str) -> list[dict]:
    query = text("SELECT id FROM resource WHERE type = :type AND NOT deleted ORDER BY id")
    with gateway.store.engine.connect() as connection:
        ids = connection.execute(query, {"type": type_}).scalars().all()
    return [
        gateway.store.submit(lambda session, id_=id_: session.current(type_, id_)).result() for id_ in ids
    ]


def stands(gateway: Gateway) -> dict[str, str]:
    """What is said of each fact that is stored: active, completed, entered-in-error …"""
    found = {}
    for name, type_ in (("allergy", "AllergyIntolerance"), ("problem", "Condition")):
        for one in of_type(gateway, type_):
            verified = one.get("verificationStatus", {}).get("coding", [{}])[0].get("code")
            assert verified != ERROR or "clinicalStatus" not in one
            found[name] = ERROR if verified == ERROR else "active"
    for name, type_ in (("medicine", "MedicationStatement"), ("result", "Observation")):
        for one in of_type(gateway, type_):
            found[name] = one["status"]
    return found


def outcome(folder, raws) -> tuple[dict[str, str], dict[str, str]]:
    """Facts and documents as they stand after these documents came in this order."""
    with Gateway.open(Settings(data=folder, institution="north")) as gateway:
        take(gateway, *raws)
        references = of_type(gateway, "DocumentReference")
        return stands(gateway), {one["masterIdentifier"]["value"]: one["status"] for one in references}


@pytest.fixture
def gateway(tmp_path):
    with Gateway.open(Settings(data=tmp_path / "data", institution="north")) as opened:
        yield opened


def test_what_the_new_document_does_not_say_any_more_is_taken_back_and_stays_readable(gateway):
    take(gateway, document("1", *FACTS))
    assert set(stands(gateway).values()) == {"active", "final"}
    take(gateway, document("2", "result", over="1"))
    assert stands(gateway) == {"allergy": ERROR, "problem": ERROR, "medicine": ERROR, "result": "final"}
    (allergy,) = of_type(gateway, "AllergyIntolerance")
    assert allergy["code"]["coding"][0]["code"] == "7980"
    with gateway.store.engine.connect() as connection:
        told = (
            connection.execute(text("SELECT text FROM work_item WHERE kind = 'left behind'")).scalars().all()
        )
    assert told == ["what only a replaced document said is entered-in-error now"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_chain_of_replacements_ends_alike_in_any_order(tmp_path, order):
    raws = [
        document("1", "allergy", "problem", "medicine"),
        document("2", "problem", "result", over="1"),
        document("3", "medicine", "result", over="2"),
    ]
    facts, documents = outcome(tmp_path, [raws[at] for at in order])
    assert facts == {"allergy": ERROR, "problem": ERROR, "medicine": "active", "result": "final"}
    assert documents == {"d1": "superseded", "d2": "superseded", "d3": "current"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("day", ["20240201020304+0000", "20240205030405+0000"])
def test_what_another_document_says_too_stays(tmp_path, order, day):
    raws = [
        document("1", "allergy", "problem"),
        document("2", "result", over="1"),
        document("4", "allergy", day=day),
    ]
    facts, _ = outcome(tmp_path, [raws[at] for at in order])
    assert facts == {"allergy": "active", "problem": ERROR, "result": "final"}


def test_what_is_said_again_after_that_holds_again(gateway):
    take(gateway, document("1", *FACTS), document("2", over="1"), document("3", *FACTS))
    assert set(stands(gateway).values()) == {"active", "final"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
def test_an_addendum_takes_nothing_back(tmp_path, order):
    raws = [document("1", "allergy"), document("2", "result", over="1", kind="APND")]
    facts, documents = outcome(tmp_path, [raws[at] for at in order])
    assert facts == {"allergy": "active", "result": "final"}
    assert documents == {"d1": "current", "d2": "current"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
def test_a_document_about_somebody_else_takes_nothing_back(tmp_path, order):
    raws = [document("1", "allergy"), document("2", over="1", patient="p2")]
    facts, documents = outcome(tmp_path, [raws[at] for at in order])
    assert facts == {"allergy": "active"}
    assert documents == {"d1": "current", "d2": "current"}


def test_one_number_for_all_versions_alone_replaces_nothing(gateway):
    """Senders give one setId to documents that have nothing to do with one another."""
    version = '<setId root="2.999.6" extension="s"/><versionNumber value="{}"/>'

    def raw(number, *facts):
        return document(number, *facts).replace(
            b"<recordTarget>", version.format(number).encode() + b"<recordTarget>"
        )

    take(gateway, raw("1", "allergy"), raw("2", "result"))
    assert stands(gateway) == {"allergy": "active", "result": "final"}


def test_a_replacement_that_names_no_document_says_so(gateway):
    nobody = document("2", "result", over="1").replace(
        b'<id root="2.999.1" extension="d1"/>',
        b'<id nullFlavor="UNK"/><setId root="2.999.6"/><versionNumber value="1"/>',
    )
    take(gateway, document("1", "allergy"), nobody)
    assert stands(gateway) == {"allergy": "active", "result": "final"}
    with gateway.store.engine.connect() as connection:
        told = connection.execute(text("SELECT place FROM work_item")).scalars().all()
    assert [place for place in told if "relatedDocument" in place]


def test_a_document_that_says_it_replaces_itself_stays(gateway):
    take(gateway, document("1", "allergy", over="1"))
    assert stands(gateway) == {"allergy": "active"}
    assert [one["status"] for one in of_type(gateway, "DocumentReference")] == ["current"]


def test_of_two_documents_that_each_replace_the_other_the_first_one_stands(gateway):
    take(gateway, document("1", "allergy", over="2"), document("2", "result", over="1"))
    assert stands(gateway) == {"allergy": "active", "result": ERROR}
    with gateway.store.engine.connect() as connection:
        told = (
            connection.execute(text("SELECT text FROM work_item WHERE kind = 'left behind'")).scalars().all()
        )
    assert any("each say that they replace the other" in one for one in told)


def test_a_replay_changes_nothing_of_what_was_taken_back(tmp_path):
    settings = Settings(data=tmp_path / "data", institution="north")
    with Gateway.open(settings) as gateway:
        take(gateway, document("1", *FACTS), document("2", "result", over="1"))
        before = stands(gateway)
    (line,) = replay(settings, since=0)
    assert "2 messages replayed, 0 changed" in line.text
    with Gateway.open(settings) as gateway:
        assert stands(gateway) == before
