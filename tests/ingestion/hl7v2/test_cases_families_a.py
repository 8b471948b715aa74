"""Documents, appointments, charges, referrals, problems and staff, pair by pair (tests/cases/hl7v2).

HL7 v2.9 §9, §10, §6, §11, §12, §15. The expected file holds the resources with readable ids, the deletions
and the issues; the gateway's own Provenance is left out, as it names the digest of the tables.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from case_pairs import CASES, convert, expected, names_of, of_type, readable, references
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.validate import validate
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.coverage import coverage

KINDS = ("mdm", "siu", "dft", "bar", "ref", "ppr", "mfn")
NAMES = names_of(*KINDS)
SHARED = {"ORC-1", "OBR-1", "PV1-1", "PV1-2"}
"""Places of segments that other families own, or of a visit that is none (class N)."""


@pytest.fixture(scope="module")
def converter() -> Converter:
    return Converter(id_key=PUBLIC_KEY)


@pytest.mark.parametrize("name", NAMES)
def test_a_message_becomes_exactly_what_its_case_says(converter: Converter, name: str) -> None:
    assert readable(convert(converter, name)) == expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_resource_of_a_case_is_valid_and_every_reference_resolves(
    converter: Converter, name: str
) -> None:
    converted = convert(converter, name)
    assert [issue for item in converted.resources for issue in validate(item)] == []
    held = {f"{item['resourceType']}/{item['id']}" for item in converted.resources}
    assert set(references(list(converted.resources))) <= held


@pytest.mark.parametrize("name", NAMES)
def test_no_valued_place_of_a_case_is_lost(name: str) -> None:
    found = coverage((CASES / f"{name}.hl7").read_bytes(), None)
    assert set(found.lost) <= SHARED


def test_each_case_has_both_of_its_files() -> None:
    assert NAMES
    assert {f"{kind}/{path.stem}" for kind in KINDS for path in (CASES / kind).glob("*.json")} == set(NAMES)


MDM = "MSH|^~\\&|A|B|||20240101120000Z||MDM^{event}|1|P|2.5\rPID|1||1^^^B^MR||X^Y\rPV1|1|N\r"


def document(converter: Converter, event: str, rest: str) -> dict[str, Any]:
    return of_type(
        converter.convert((MDM.format(event=event) + rest).encode(), at_us=0), "DocumentReference"
    )[0]


TXA = "TXA|1|DS||||||||||D1^A|||||AU||{status}"


@pytest.mark.parametrize(
    ("event", "availability", "status"),
    [
        ("T01", "", "current"),
        ("T02", "AV", "current"),
        ("T02", "UN", "current"),
        ("T04", "OB", "superseded"),
        ("T08", "CA", "entered-in-error"),
        ("T11", "", "entered-in-error"),
        ("T11", "AV", "entered-in-error"),
    ],
)
def test_a_documents_status_follows_event_and_availability(
    converter: Converter, event: str, availability: str, status: str
) -> None:
    assert document(converter, event, TXA.format(status=availability))["status"] == status


@pytest.mark.parametrize("event", [f"T{number:02}" for number in range(1, 12)])
def test_all_events_of_a_document_speak_of_one_resource(converter: Converter, event: str) -> None:
    first = document(converter, "T02", TXA.format(status="AV"))
    assert document(converter, event, TXA.format(status="AV"))["id"] == first["id"]


def text_of(found: dict[str, Any]) -> str:
    texts = [item["attachment"] for item in found["content"] if "data" in item["attachment"]]
    assert len(texts) == 1
    return base64.b64decode(texts[0]["data"]).decode()


def test_the_lines_of_a_document_are_joined_and_keep_their_layout(converter: Converter) -> None:
    lines = (
        "OBX|1|TX|1^Text||First|||||F\rOBX|2|TX|1^Text||  ^indented^|||||F\rOBX|3|FT|1^Text||a~~b\\.br\\c\r"
    )
    assert text_of(document(converter, "T02", TXA.format(status="") + "\r" + lines)) == (
        "First\n  ^indented^\na\n\nb\nc"
    )


def test_parts_with_other_names_begin_with_their_name(converter: Converter) -> None:
    lines = "OBX|1|TX|1^Findings||Seen\rOBX|2|TX|2^Opinion||Thought\rOBX|3|TX|2^Opinion||more\r"
    found = document(converter, "T02", TXA.format(status="") + "\r" + lines)
    assert text_of(found) == "Findings\nSeen\n\nOpinion\nThought\nmore"
    assert found["content"][0]["attachment"]["title"] == "Findings; Opinion"


def test_a_document_without_content_says_that_it_is_elsewhere(converter: Converter) -> None:
    for rest in ("", "\rOBX|1|TX|1^Text||\r", "\rOBX|1|NM|1^Weight||70\r"):
        found = document(converter, "T02", TXA.format(status="AV") + rest)
        assert [item["attachment"]["extension"][0]["valueCode"] for item in found["content"]] == ["unknown"]


def test_a_replaced_document_is_superseded_under_the_id_that_it_had(converter: Converter) -> None:
    old = document(converter, "T02", "TXA|1|DS||||||||||D0^A|||||AU\rOBX|1|TX|1^Text||old\r")
    data = MDM.format(event="T10") + "TXA|1|DS||||||||||D1^A|D0^A||||AU\rOBX|1|TX|1^Text||new\r"
    new, replaced = of_type(converter.convert(data.encode(), at_us=0), "DocumentReference")
    assert (replaced["id"], replaced["status"]) == (old["id"], "superseded")
    assert new["relatesTo"][0]["target"]["reference"] == f"DocumentReference/{old['id']}"


DFT = (
    "MSH|^~\\&|A|B|||20240101120000Z||DFT^P03|1|P|2.5\rPID|1||1^^^B^MR||X^Y\r"
    "FT1|1|T1||20240101||{kind}|C1\rNTE|1||x\r"
)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("CG", "billable"),
        ("LOCAL", "unknown"),
        ("", "unknown"),
        ("PY", None),
        ("CD", "billable"),
        ("AJ", None),
    ],
)
def test_a_charge_is_a_charge_item_and_money_on_the_account_is_not(
    converter: Converter, kind: str, status: str | None
) -> None:
    converted = converter.convert(DFT.format(kind=kind).encode(), at_us=0)
    assert [item["status"] for item in of_type(converted, "ChargeItem")] == ([status] if status else [])
    assert [issue.place for issue in converted.issues] == (["FT1-6"] if kind == "LOCAL" else [])


def test_a_charge_without_any_code_says_so(converter: Converter) -> None:
    data = DFT.format(kind="CG").replace("|C1\r", "|\r")
    code = of_type(converter.convert(data.encode(), at_us=0), "ChargeItem")[0]["code"]
    assert code["coding"][0]["code"] == "unknown"


def test_the_provider_of_a_referral_is_the_doctor_of_an_admission(converter: Converter) -> None:
    head = "MSH|^~\\&|A|B|||20240101120000Z||{kind}|1|P|2.5\r"
    patient = "PID|1||1^^^B^MR||X^Y\r"
    referral = head.format(kind="REF^I12") + "RF1|A\rPRD|RP|Doe^Jane|||||1234567893^NPI\r" + patient
    visit = "PV1|1|I|||||1234567893^Doe^Jane^^^^^^B^^^^NPI\r"
    admission = head.format(kind="ADT^A01") + patient + visit
    found = [
        of_type(converter.convert(data.encode(), at_us=0), "Practitioner") for data in (referral, admission)
    ]
    assert found[0][0]["id"] == found[1][0]["id"]


def test_a_provider_without_organization_is_not_given_that_of_another(converter: Converter) -> None:
    roles = of_type(convert(converter, "ref/i12-referral"), "PractitionerRole")
    assert ["organization" in role for role in roles] == [True, False, True]
    assert ["practitioner" in role for role in roles] == [True, True, False]


def gaps(converter: Converter, data: str, kind: str) -> set[str]:
    converted = converter.convert(data.encode(), at_us=0)
    return {item.element for item in converted.defaulted if item.resource_type == kind}


def test_a_notification_never_takes_the_place_of_a_stored_document(converter: Converter) -> None:
    head = MDM.format(event="T03")
    assert gaps(converter, head + TXA.format(status=""), "DocumentReference") == {"status", "content"}
    assert gaps(converter, head + TXA.format(status="OB"), "DocumentReference") == {"content"}
    with_text = TXA.format(status="AV") + "\rOBX|1|TX|1^Text||new\r"
    assert gaps(converter, MDM.format(event="T04") + with_text, "DocumentReference") == set()


PPR = "MSH|^~\\&|A|B|||20240101120000Z||PPR^{event}|1|P|2.5\rPID|1||1^^^B^MR||X^Y\r"


def test_an_update_that_is_silent_about_the_state_of_a_problem_only_fills_a_gap(converter: Converter) -> None:
    data = PPR.format(event="PC2") + "PRB|UP||C1|P1^A\rGOL|UP||G1|G1^A\r"
    assert gaps(converter, data, "Condition") == {"clinicalStatus"}
    assert gaps(converter, data, "Goal") == {"lifecycleStatus"}


def test_a_deleted_problem_loses_the_state_that_is_stored(converter: Converter) -> None:
    data = PPR.format(event="PC3") + "PRB|DE||C1|P1^A\r"
    converted = converter.convert(data.encode(), at_us=0)
    assert [item.element for item in converted.deletions] == ["clinicalStatus"]
    assert "clinicalStatus" not in of_type(converted, "Condition")[0]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("|||Active", "active"),
        ("20240102|||Active", "resolved"),
        ("|||RESOLVED", "resolved"),
        ("|||R^Resolved", "resolved"),
        ("|||Active-Stable", "active"),
        ("|||73425007^Inactive^SCT", "inactive"),
        ('|||""', "active"),
    ],
)
def test_a_problems_state_follows_its_life_cycle_and_its_end(
    converter: Converter, fields: str, status: str
) -> None:
    before, _, life = fields.rpartition("|||")
    data = PPR.format(event="PC1") + f"PRB|AD||C1|P1^A|||||{before}|||||{life}\r"
    found = of_type(converter.convert(data.encode(), at_us=0), "Condition")[0]
    assert found["clinicalStatus"]["coding"][0]["code"] == status


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("CONFIRMED", "confirmed"),
        ("C^Confirmed", "confirmed"),
        ("X^Ruled Out", "refuted"),
        ("410516002^Known absent^SCT", "refuted"),
        ("", None),
    ],
)
def test_what_is_ruled_out_is_refuted_in_whatever_words(
    converter: Converter, said: str, status: str | None
) -> None:
    data = PPR.format(event="PC1") + f"PRB|AD||C1|P1^A|||||||||{said}|Active\r"
    converted = converter.convert(data.encode(), at_us=0)
    found = of_type(converted, "Condition")[0].get("verificationStatus")
    assert (found and found["coding"][0]["code"]) == status
    assert converted.issues == ()


@pytest.mark.parametrize(
    ("said", "status", "is_gap"),
    [("X^Ruled Out", "inactive", False), ("CONFIRMED", "active", True), ("?^Perhaps", "active", True)],
)
def test_a_refuted_problem_without_a_life_cycle_status_is_inactive_r4_con_3(
    converter: Converter, said: str, status: str, is_gap: bool
) -> None:
    """Said, so that it takes the place of a stored active; what only fills a gap never does."""
    data = PPR.format(event="PC1") + f"PRB|AD||C1|P1^A|||||||||{said}\r"
    converted = converter.convert(data.encode(), at_us=0)
    found = of_type(converted, "Condition")[0]
    assert [coding["code"] for coding in found["clinicalStatus"]["coding"]] == [status]
    assert ("clinicalStatus" in [item.element for item in converted.defaulted]) == is_gap


def test_a_problem_in_a_state_that_no_map_has_is_not_active_and_is_reported(converter: Converter) -> None:
    data = PPR.format(event="PC2") + "PRB|UP||C1|P1^A|||||||||Rule-out|E^Erledigt\r"
    converted = converter.convert(data.encode(), at_us=0)
    found = of_type(converted, "Condition")[0]
    assert not {"clinicalStatus", "verificationStatus"} & found.keys()
    assert [item.element for item in converted.deletions] == ["clinicalStatus"]
    assert [(issue.place, issue.code) for issue in converted.issues] == [
        ("PRB-13", "not-found"),
        ("PRB-14", "not-found"),
    ]


MFN = "MSH|^~\\&|A|B|||20240101120000Z||MFN^M02|1|P|2.5\rMFI|PRA||UPD|||NE\rMFE|{action}|1||K1\r"


@pytest.mark.parametrize(
    ("action", "flag", "active"),
    [("MAD", "A", True), ("MUP", "I", False), ("MUP", "", None), ("MDC", "A", False), ("MDL", "", False)],
)
def test_a_member_of_staff_is_active_as_entry_and_flag_say(
    converter: Converter, action: str, flag: str, active: bool | None
) -> None:
    data = MFN.format(action=action) + f"STF|K1|S1^^^B^EI|Doe^Jane||||{flag}\r"
    found = of_type(converter.convert(data.encode(), at_us=0), "Practitioner")[0]
    assert found.get("active") is active


def test_a_member_of_staff_is_the_doctor_whom_other_messages_name(converter: Converter) -> None:
    data = MFN.format(action="MAD") + "STF|K1|S1^^^B^EI|Doe^Jane\r"
    visit = (
        "MSH|^~\\&|A|B|||20240101120000Z||ADT^A01|1|P|2.5\rPID|1||1^^^B^MR||X^Y\r"
        "PV1|1|I|||||S1^Doe^Jane^^^^^^B^^^^EI\r"
    )
    found = [of_type(converter.convert(text.encode(), at_us=0), "Practitioner") for text in (data, visit)]
    assert found[0][0]["id"] == found[1][0]["id"]
