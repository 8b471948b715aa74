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
