"""Immunization history queries over real MLLP and HTTP: who may ask, what is told, and that it is audited.

CDC HL7 v2.5.1 Implementation Guide for Immunization Messaging, release 1.5, chapter 6.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.measure import Running, start_gateway
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.mllp_client import MllpClient
from hdg.ingestion.hl7v2.parser import Message, parse

AUTHORITY = "^^^CLINIC&2.999.7&ISO^MR"
SENDERS = """
[senders."EHR|CLINIC"]

[senders."ASK|NORTH"]
queries = true

[senders."OWN|CLINIC"]
queries = true

[senders."MUTE|NORTH"]

[senders."ONLY|NORTH"]
queries = true
messages = ["ADT"]
"""


def vxu(
    control: str, number: str, *, name: str = "Probe^Petra", born: str = "20240102", lot: str = "LOT1"
) -> bytes:
    segments = [
        f"MSH|^~\\&|EHR|CLINIC|GW|HOSP|20260304103000-0500||VXU^V04^VXU_V04|{control}|P|2.5.1",
        f"PID|1||{number}{AUTHORITY}||{name}||{born}|F",
        f"ORC|RE|P{control}^EHR|F{control}^EHR||||||20260304101500-0500",
        "RXA|0|1|20260304100000-0500||08^Hep B, adolescent or pediatric^CVX^58160-0820-11^Engerix-B^NDC|0.50|"
        f"mL^milliliter^UCUM||00^New immunization record^NIP001||||||{lot}|20271231|SKB^GlaxoSmithKline^MVX|||CP|A",
        "RXR|IM^Intramuscular^HL70162|LT^Left thigh^HL70163",
        "OBX|1|CE|64994-7^Vaccine fund pgm elig cat^LN|1|V02^VFC eligible^HL70064||||||F",
        "OBX|2|CE|30963-3^Vaccine funding source^LN|1|VXC50^Public^CDCPHINVS||||||F",
        "OBX|3|NM|30973-2^Dose number in series^LN|2|2||||||F",
        "OBX|4|NM|59782-3^Number of doses in series^LN|2|3||||||F",
    ]
    return "\r".join(segments).encode() + b"\r"


def question(
    number: str = "4711",
    *,
    sender: str = "ASK|NORTH",
    name: str = "Probe^Petra",
    born: str = "20240102",
    profile: str = "Z34^Request Immunization History^CDCPHINVS",
    limit: str = "5",
) -> bytes:
    identifier = f"{number}{AUTHORITY}" if number else ""
    segments = [
        f"MSH|^~\\&|{sender}|GW|HOSP|20260401103000-0500||QBP^Q11^QBP_Q11|Q1|P|2.5.1|||ER|AL|||||Z34^CDCPHINVS",
        f"QPD|{profile}|T1|{identifier}|{name}||{born}|F",
        f"RCP|I|{limit}^RD^HL70126|R^Real Time^HL70394",
    ]
    return "\r".join(segments).encode() + b"\r"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("query") / "data"
    data.mkdir(mode=0o700)
    (data / "senders.toml").write_text(SENDERS, encoding="utf-8")
    gateway = start_gateway(data)
    with MllpClient(*gateway.mllp, timeout_s=120) as client:
        for raw in (
            vxu("V1", "4711"),
            vxu("V2", "4712", name="Twin^Tom", lot="TWIN1"),
            vxu("V3", "4713", name="Twin^Tom", lot="TWIN2"),
        ):
            assert b"\rMSA|AA|" in client.send(raw)
    yield gateway
    gateway.process.terminate()
    gateway.close()
    assert gateway.process.returncode == 0


def hdg(data: Path, *words: str) -> str:
    command = [sys.executable, "-m", "hdg", *words, "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def patient_of(running: Running, number: str) -> str:
    from hdg.management.keys import KeyRing

    keys = KeyRing.open(running.data / "keys")
    converted = Converter(id_key=keys.id_key).convert(vxu("X", number), _sender(), at_us=0)
    assert converted.patient_id is not None
    return converted.patient_id


def _sender():
    from hdg.ingestion.sender import Sender

    return Sender("EHR|CLINIC", "clinic")


def ask(client: MllpClient, raw: bytes) -> Message:
    [answer] = client.exchange(raw)
    return parse(answer)


def first(message: Message, name: str, field: int) -> str:
    found = message.first(name)
    assert found is not None
    return found.field(field)


def audited(running: Running) -> int:
    import sqlite3

    with sqlite3.connect(running.data / "hdg.db") as database:
        return int(database.execute("SELECT count(*) FROM audit_event").fetchone()[0])


def test_a_history_is_told_as_long_as_the_patient_consents(running: Running, client: MllpClient) -> None:
    assert first(ask(client, question()), "QAK", 2) == "NF"
    consent = hdg(
        running.data,
        "consent",
        "grant",
        patient_of(running, "4711"),
        "--to",
        "Organization/north",
        "--purpose",
        "TREAT",
    ).split()[-1]
    before = audited(running)
    told = ask(client, question())
    assert audited(running) >= before + 2
    assert told.message_type == ("RSP", "K11", "RSP_K11")
    assert first(told, "MSH", 21) == "Z32^CDCPHINVS"
    assert first(told, "MSA", 1) == "AA"
    assert first(told, "MSA", 2) == "Q1"
    assert (first(told, "QAK", 1), first(told, "QAK", 2)) == ("T1", "OK")
    asked = parse(question()).first("QPD")
    assert asked is not None
    assert told.first("QPD").text == asked.text  # type: ignore[union-attr]
    assert first(told, "PID", 3) == "4711^^^CLINIC&2.999.7&ISO^MR"
    assert first(told, "ORC", 3) == "FV1^EHR"
    rxa = told.first("RXA")
    assert rxa is not None
    assert rxa.field(3) == "20260304100000-0500"
    assert rxa.field(5) == "08^Hep B, adolescent or pediatric^CVX^58160-0820-11^Engerix-B^NDC"
    assert rxa.field(6) == "0.50"
    assert rxa.field(7) == "mL^milliliter^UCUM"
    assert (rxa.field(9), rxa.field(15), rxa.field(16)) == (
        "00^New immunization record^NIP001",
        "LOT1",
        "20271231",
    )
    assert rxa.field(17) == "SKB^GlaxoSmithKline^MVX"
    assert rxa.field(20) == "CP"
    assert first(told, "RXR", 1).startswith("IM^")
    facts = {each.field(3).partition("^")[0]: each.field(5).partition("^")[0] for each in told.all("OBX")}
    assert facts == {"64994-7": "V02", "30963-3": "VXC50", "30973-2": "2", "59782-3": "3"}
    hdg(running.data, "consent", "revoke", consent)
    hidden = ask(client, question())
    assert first(hidden, "QAK", 2) == "NF"
    assert hidden.first("PID") is None


def test_hidden_and_unknown_are_answered_alike(client: MllpClient) -> None:
    def without_time(raw: bytes, number: str) -> list[str]:
        found = ask(client, raw)
        lines = [each.text for each in found.segments[1:]]
        return [line.replace(number, "N") for line in lines]

    assert without_time(question("4712", name="Twin^Tom"), "4712") == without_time(
        question("9999", name="Twin^Tom"), "9999"
    )
    assert ask(client, question("9999")).first("MSH").field(21) == "Z33^CDCPHINVS"  # type: ignore[union-attr]


def test_several_that_fit_are_listed_without_their_histories(running: Running, client: MllpClient) -> None:
    for number in ("4712", "4713"):
        hdg(
            running.data,
            "consent",
            "grant",
            patient_of(running, number),
            "--to",
            "Organization/north",
            "--purpose",
            "TREAT",
        )
    several = question("", name="Twin^Tom")
    found = ask(client, several)
    assert first(found, "MSH", 21) == "Z31^CDCPHINVS"
    assert len(found.all("PID")) == 2
    assert found.all("RXA") == []
    many = ask(client, question("", name="Twin^Tom", limit="1"))
    assert (first(many, "QAK", 2), many.all("PID")) == ("TM", [])
    one = ask(client, question("4712", name="Twin^Tom"))
    assert [each.field(15) for each in one.all("RXA")] == ["TWIN1"]


def test_a_number_with_another_persons_birth_date_opens_nothing(running: Running, client: MllpClient) -> None:
    assert first(ask(client, question("4712", name="Twin^Tom", born="19990101")), "QAK", 2) == "NF"


def test_a_name_alone_does_not_find_anybody(client: MllpClient) -> None:
    refused = ask(client, question("", name="Twin^Tom", born=""))
    assert (first(refused, "MSA", 1), first(refused, "QAK", 2)) == ("AE", "AE")
    assert first(refused, "ERR", 2).startswith("QPD^1^3")


@pytest.mark.parametrize("sender", ["NOBODY|NORTH", "NOBODY|", "MUTE|NORTH", "ONLY|NORTH"])
def test_who_is_not_declared_to_ask_is_rejected(client: MllpClient, sender: str) -> None:
    refused = ask(client, question(sender=sender))
    assert (first(refused, "MSA", 1), first(refused, "QAK", 2)) == ("AR", "AR")
    assert refused.first("PID") is None


def test_a_query_for_a_forecast_is_an_error_and_not_answered_with_less(client: MllpClient) -> None:
    refused = ask(client, question(profile="Z44^Request Evaluated History and Forecast^CDCPHINVS"))
    assert first(refused, "MSA", 1) == "AE"
    assert first(refused, "ERR", 2).startswith("QPD^1^1")


def own(number: str = "", *, born: str = "20200101", **rest: str) -> bytes:
    """A question of the institution that sent what it asks for."""
    return question(number, sender="OWN|CLINIC", born=born, **rest)


def merge(control: str, survivor: str, old: str) -> bytes:
    segments = [
        f"MSH|^~\\&|EHR|CLINIC|GW|HOSP|20260305103000-0500||ADT^A40^ADT_A39|{control}|P|2.5.1",
        "EVN|A40|20260305103000-0500",
        f"PID|1||{survivor}{AUTHORITY}||Merge^Mia||20200101|F",
        f"MRG|{old}{AUTHORITY}",
    ]
    return "\r".join(segments).encode() + b"\r"


@pytest.fixture(scope="module")
def merged(running: Running) -> None:
    with MllpClient(*running.mllp, timeout_s=120) as client:
        numbers = ("5001", "5002", "5003", "5004")
        for raw in (
            *(vxu(f"M{each}", each, name="Merge^Mia", born="20200101", lot=f"L{each}") for each in numbers),
            *(merge(f"A{each}", "5003", each) for each in ("5001", "5002", "5004")),
        ):
            assert b"\rMSA|AA|" in client.send(raw)


@pytest.mark.parametrize("number", ["5001", "5002", "5003", "5004", ""])
@pytest.mark.usefixtures("merged")
def test_a_merged_person_is_told_once_under_the_record_that_is_used_with_all_histories(
    client: MllpClient, number: str
) -> None:
    told = ask(client, own(number, name="Merge^Mia"))
    assert [each.field(3).partition("^")[0] for each in told.all("PID")] == ["5003"]
    assert sorted(each.field(15) for each in told.all("RXA")) == ["L5001", "L5002", "L5003", "L5004"]


def test_a_refused_vaccine_is_told_as_refused(client: MllpClient) -> None:
    raw = vxu("R1", "5010", name="Ref^Uwe", born="20200101", lot="")
    given = b"|20271231|SKB^GlaxoSmithKline^MVX|||CP|A"
    assert given in raw
    assert b"\rMSA|AA|" in client.send(raw.replace(given, b"|||00^Parental decision^NIP002||RE|A"))
    rxa = ask(client, own("5010", name="Ref^Uwe")).first("RXA")
    assert rxa is not None
    assert (rxa.field(18), rxa.field(20)) == ("00^Parental decision^NIP002", "RE")


@pytest.mark.parametrize(
    ("born", "status"), [("2024", "NF"), ("202402", "NF"), ("2020", "OK"), ("202001", "OK")]
)
def test_a_part_of_a_birth_date_that_differs_opens_nothing(
    client: MllpClient, born: str, status: str
) -> None:
    raw = vxu(f"B{born}", "5011", name="Part^Pia", born="20200101")
    assert b"\rMSA|AA|" in client.send(raw)
    assert first(ask(client, own("5011", name="", born=born)), "QAK", 2) == status
    refused = ask(client, own(name="Part^Pia", born=born))
    assert (first(refused, "QAK", 2), first(refused, "ERR", 2)) == ("AE", "QPD^1^3^1")


@pytest.mark.parametrize("born", ["20240199", "00000000", "abc", "2024-01-02"])
def test_what_is_no_date_is_said_to_be_none_and_the_question_is_echoed(client: MllpClient, born: str) -> None:
    raw = own("4711", name="", born=born)
    refused = ask(client, raw)
    assert (first(refused, "ERR", 2), first(refused, "ERR", 3).partition("^")[0]) == ("QPD^1^6^1", "102")
    assert born not in first(refused, "ERR", 8)
    assert (first(refused, "QAK", 1), first(refused, "QAK", 2)) == ("T1", "AE")
    assert refused.first("QPD").text == parse(raw).first("QPD").text  # type: ignore[union-attr]


def test_a_query_without_a_name_lacks_a_required_field(client: MllpClient) -> None:
    refused = ask(client, own("4711", profile=""))
    assert (first(refused, "ERR", 2), first(refused, "ERR", 3).partition("^")[0]) == ("QPD^1^1^1", "101")


def test_the_bare_name_of_an_authority_opens_nothing_without_the_name_and_the_date_of_birth(
    client: MllpClient,
) -> None:
    def bare(raw: bytes) -> bytes:
        return raw.replace(AUTHORITY.encode(), b"^^^CLINIC^MR")

    assert first(ask(client, bare(own("4711", name="", born=""))), "QAK", 2) == "AE"
    assert first(ask(client, bare(own("4711", name="Probe^Petra", born="20240102"))), "QAK", 2) == "OK"
    assert first(ask(client, bare(own("4711", name="Probe^Petra", born="20240103"))), "QAK", 2) == "NF"


def test_more_candidates_than_are_looked_at_are_too_many_and_not_none(client: MllpClient) -> None:
    people = [f"Crowd{chr(97 + at // 26)}{chr(97 + at % 26)}^Cora" for at in range(50)] + ["Crowd^Cora"]
    for at, name in enumerate(people):
        assert b"\rMSA|AA|" in client.send(vxu(f"K{at}", f"6{at:03}", name=name, born="20190101"))
    assert first(ask(client, own(name="Crowd^Cora", born="20190101")), "QAK", 2) == "TM"
    told = ask(client, own("6050", name="Crowd^Cora", born="20190101"))
    assert (first(told, "QAK", 2), first(told, "PID", 5)) == ("OK", "Crowd^Cora")


def test_a_name_with_delimiters_is_found_and_told_escaped(client: MllpClient) -> None:
    name = "O\\T\\Brien \\S\\x^A\\F\\b"
    assert b"\rMSA|AA|" in client.send(vxu("E1", "5020", name=name, born="20200101"))
    assert first(ask(client, own(name=name)), "PID", 5) == name


def test_other_delimiters_are_answered_in_kind(client: MllpClient) -> None:
    raw = question("9999").replace(b"|", b"!").replace(b"^~\\&", b"*~\\&", 1).replace(b"^", b"*")
    [answer] = client.exchange(raw)
    assert answer.startswith(b"MSH!*~\\&!")
    assert b"\rQAK!T1!NF!Z34*Request" in answer


def test_http_answers_the_institution_of_the_credential(running: Running) -> None:
    host, port = running.http
    token = hdg(running.data, "token", "--role", "sender", "--institution", "clinic")

    def post(raw: bytes) -> bytes:
        headers = {"content-type": "text/plain", "authorization": f"Bearer {token}"}
        with urllib.request.urlopen(
            urllib.request.Request(f"http://{host}:{port}/ingest/hl7v2", raw, headers)
        ) as answer:
            return bytes(answer.read())

    own = parse(post(question(sender="ANY|CLINIC")))
    assert first(own, "QAK", 2) == "OK"
    assert [each.field(15) for each in own.all("RXA")] == ["LOT1"]
    assert b"\rMSA|AR|" in post(question(sender="ASK|NORTH"))


def test_an_answer_of_a_registry_converts_as_statements_of_immunizations(
    running: Running, client: MllpClient
) -> None:
    token = hdg(running.data, "token", "--role", "sender", "--institution", "clinic")
    host, port = running.http
    headers = {"content-type": "text/plain", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(
        f"http://{host}:{port}/ingest/hl7v2", question(sender="ANY|CLINIC"), headers
    )
    with urllib.request.urlopen(request) as answer:
        raw = bytes(answer.read())
    converted = Converter(id_key=b"k" * 32).convert(raw, at_us=0)
    [immunization] = [item for item in converted.resources if item["resourceType"] == "Immunization"]
    assert immunization["lotNumber"] == "LOT1"
    assert str(immunization["doseQuantity"]["value"]) == "0.50"
    assert immunization["protocolApplied"] == [{"doseNumberPositiveInt": 2, "seriesDosesPositiveInt": 3}]
    assert [issue for issue in converted.issues if issue.severity != "information"] == []
