"""What senders.toml declares reaches the conversion, the answer and the store."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import true

from hdg.errors import SettingsError
from hdg.fhir.json import loads
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.ack_mode import code_of
from hdg.ingestion.hl7v2.header import peek
from hdg.ingestion.hl7v2.mllp_frame import FrameDecoder, frame
from hdg.ingestion.received import mode_for
from hdg.ingestion.sender import LOCAL, Origin
from hdg.intake import take
from hdg.management.store.search import SearchQuery
from hdg.server import Server
from hdg.settings import Settings
from messages import adt, oru
from stored import all_of

GENDERS = (
    "source_system,source_code,target_system,target_code,target_display,relationship,note\n,W,,female,,,\n"
)


def gateway(folder: Path, senders: str) -> Gateway:
    folder.mkdir(exist_ok=True)
    (folder / "senders.toml").write_text(senders)
    return Gateway.open(Settings(data=folder))


def test_types_that_are_not_declared_are_rejected(tmp_path: Path) -> None:
    with gateway(tmp_path, '[senders."LAB|NORTHGEN"]\nmessages = ["ORU"]\n') as opened:
        assert b"\rMSA|AA|" in opened.receive_now(oru())
        refused = opened.receive_now(adt())
        assert b"\rMSA|AR|A1" in refused
        assert b"|200^" in refused


def test_a_strict_sender_gets_an_error_for_an_unmapped_code(tmp_path: Path) -> None:
    odd = adt().replace(b"|19610412|F", b"|19610412|Q")
    with gateway(tmp_path / "a", "") as opened:
        assert b"\rMSA|AA|" in opened.receive_now(odd)
    with gateway(tmp_path / "b", '[senders."LAB|NORTHGEN"]\nstrict = true\n') as opened:
        refused = opened.receive_now(odd)
        assert b"\rMSA|AE|A1" in refused
        assert b"PID^1^8" in refused
        assert b"|103^" in refused


def test_a_sites_own_code_map_goes_before_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / "administrative-gender.csv").write_text(GENDERS)
    with gateway(tmp_path, '[senders."LAB|NORTHGEN"]\nterminology = "codes"\n') as opened:
        for number, code in (("1", b"W"), ("2", b"M")):
            raw = adt(f"C{number}", number=number).replace(b"|19610412|F", b"|19610412|" + code)
            assert b"\rMSA|AA|" in opened.receive_now(raw)
        page = opened.store.reader.search(SearchQuery("Patient", (), 10), true())
        assert {loads(opened.store.reader.body(v))["gender"] for v in page.versions} == {"female", "male"}


def test_the_certificate_tells_the_institution(tmp_path: Path) -> None:
    text = '[senders.lab]\ntls_subject = "CN=lab"\ninstitution = "by-certificate"\nack = "enhanced"\n'
    with gateway(tmp_path, text) as opened:
        origin = Origin("mllps", "CN=lab")
        assert b"\rMSA|AA|" in opened.receive_now(oru(), origin)
        page = opened.store.reader.search(SearchQuery("Observation", (), 10), true())
        assert {version.institution for version in page.versions} == {"by-certificate"}
        mode = mode_for(opened.sender(peek(oru()), origin))
        assert mode is not None
        assert mode.is_enhanced
        assert mode_for(opened.sender(peek(oru()), LOCAL)) is None


def test_a_wrong_file_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"senders\.toml:2"):
        gateway(tmp_path, '[senders."A|B"]\nzone = "nowhere"\n')
    assert not (tmp_path / "keys").exists()


def test_senders_in_the_settings_file_are_pointed_to_their_own_file(tmp_path: Path) -> None:
    from hdg.settings import load

    (tmp_path / "hdg.toml").write_text('[senders."A|B"]\nzone = "UTC"\n')
    with pytest.raises(SettingsError, match=r"senders\.toml"):
        load(data=tmp_path)


@pytest.mark.parametrize("listener", ["mllp", "mllps"])
def test_an_undeclared_sender_speaks_for_no_declared_institution_nor_for_the_gateway_s_own(
    tmp_path: Path, listener: str
) -> None:
    tables = '[senders."LAB|NORTHGEN"]\n[senders.pacs]\nfacility = "RADIOLOGY"\ninstitution = "South"\n'
    tables += '[senders.by-listener]\nlistener = "mllps"\n'
    with gateway(tmp_path, tables) as opened:

        def institution(application: str, facility: str, origin: Origin) -> str:
            raw = oru().replace(b"|LAB|NORTHGEN|", f"|{application}|{facility}|".encode(), 1)
            return opened.sender(peek(raw), origin).institution

        network = Origin(listener)
        assert institution("LAB", "NORTHGEN", network) == "northgen"
        assert institution("PACS", "RADIOLOGY", network) == "South"
        for facility in ("NORTHGEN", "northgen", "SOUTH", "South", "LOCAL"):
            found = institution("EVIL", facility, network)
            assert found == "facility-" + sha256(facility.encode()).hexdigest()[:16]
        assert institution("OTHER", "EAST", network) == "east"
        assert institution("OTHER", "", network) == "local"
        bound = Origin("http", institution="northgen")
        assert institution("NEW", "NORTHGEN", bound) == "northgen"


def test_without_msh_4_a_sender_is_not_the_gateway_s_own_where_a_table_declares_that(tmp_path: Path) -> None:
    with gateway(tmp_path, '[senders."LAB|MAIN"]\ninstitution = "local"\n') as opened:
        raw = oru().replace(b"|NORTHGEN|", b"||", 1)
        assert opened.sender(peek(raw), Origin("mllp")).institution.startswith("facility-")


TWO = """
[senders.lab]
tls_subject = "CN=lab"
institution = "northgen"
[senders.adt]
tls_subject = "CN=adt"
institution = "northgen"
"""


def test_what_a_certificate_proves_is_the_sender_whatever_another_one_writes_into_msh(tmp_path: Path) -> None:
    """MSH-10 is told apart, and each has its own part of a list, also where both write MSH-3 and MSH-4 alike."""
    phone = b"PID|1||10042^^^NORTHGEN&2.999.1.1&ISO^MR||Example^Ada||19610412|F|||||+1-555-%s\r"
    mine, posed = (
        adt("C1", event="A31").split(b"PID", 1)[0] + phone % number for number in (b"0100", b"0200")
    )
    with gateway(tmp_path, TWO) as opened:
        first = opened.receive_now(mine, Origin("mllps", "CN=lab"))
        assert b"\rMSA|AA|C1" in first
        assert b"\rMSA|AA|C1" in opened.receive_now(posed, Origin("mllps", "CN=adt"))
        assert b"\rMSA|AA|C1" in opened.receive_now(posed.replace(b"0200", b"0300"), Origin("mllp"))
        assert opened.receive_now(mine, Origin("mllps", "CN=lab")) == first
        assert b"|205^" in opened.receive_now(posed, Origin("mllps", "CN=lab"))
        [patient] = [one for one in all_of(opened, "Patient") if len(one["telecom"]) == 2]
        assert {one["value"] for one in patient["telecom"]} == {"+1-555-0100", "+1-555-0200"}
        assert len(all_of(opened, "Patient")) == 2  # who proves nothing speaks for no declared institution


def test_who_proves_nothing_takes_no_message_number_from_a_declared_sender(tmp_path: Path) -> None:
    """Such as one that sends over HTTP with a token: its next MSH-10 can be guessed."""
    text = '[senders.lab]\napplication = "LAB"\nfacility = "NORTHGEN"\nlistener = "http"\ninstitution = "north"\n'
    with gateway(tmp_path, text + '[senders."X|NORTHGEN"]\n') as opened:
        assert b"\rMSA|AA|" in opened.receive_now(oru("C1", value="9.99"), Origin("mllp"))
        assert b"\rMSA|AA|" in opened.receive_now(oru("C1"), Origin("http", institution="north"))


def test_other_delimiters_make_nobody_another_sender() -> None:
    one = peek(b"MSH#^~\\&#A|B#C##\r")
    other = peek(b"MSH#^~\\&#A#B|C##\r")
    assert one.sender != other.sender
    assert one.sender == peek(b"MSH|^~\\&|A\\F\\B|C||\r").sender


NOT_KEPT = """
[senders."ORIGINAL|N"]
ack = "original"

[senders."ENHANCED|N"]
ack = "enhanced"
"""


@pytest.mark.parametrize(
    ("application", "asked", "sent"),
    [
        ("ORIGINAL", "NE|NE", ["AE"]),
        ("ORIGINAL", "AL|AL", ["AE"]),
        ("ENHANCED", "|", ["CE"]),
        ("ENHANCED", "NE|NE", ["CE"]),
        ("OTHER", "NE|NE", []),
        ("OTHER", "AL|AL", ["CE"]),
    ],
)
def test_what_is_not_kept_is_answered_in_the_senders_declared_mode_too(
    tmp_path: Path, application: str, asked: str, sent: list[str]
) -> None:
    tail = f"|P|2.5.1|||{asked}".encode()
    raw = oru().replace(b"|LAB|NORTHGEN|", f"|{application}|N|".encode(), 1).replace(b"|P|2.5.1", tail, 1)
    (tmp_path / "senders.toml").write_text(NOT_KEPT)
    settings = Settings(data=tmp_path, min_free_bytes=1 << 62, http="127.0.0.1:0", mllp="127.0.0.1:0")

    async def answers(opened: Gateway) -> bytes:
        server = Server(settings.model_copy(update={"dicom": "127.0.0.1:0"}), opened)
        await server.start()
        try:
            host, port = server.mllp_address.rsplit(":", 1)
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(frame(raw))
            writer.write_eof()
            found = await reader.read()
            writer.close()
            await writer.wait_closed()
            return found
        finally:
            await server.stop()

    with Gateway.open(settings) as opened:
        got = FrameDecoder().feed(asyncio.run(answers(opened)))
        assert [code_of(each) for each in got if isinstance(each, bytes)] == sent
        taken = asyncio.run(take(opened, raw, Origin("folder")))
        assert [code_of(each) for each in taken.sent] == sent
        assert taken.is_to_be_sent_again
