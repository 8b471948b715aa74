"""What bytes are, by how they begin."""

from __future__ import annotations

import pytest

from hdg.bulk_convert import convert_job
from hdg.bulk_jobs import Job, Plan
from hdg.ingestion.sniff import format_of
from registry_messages import enveloped, message, registration

V3 = message(registration())
ENVELOPE = b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"MSH|^~\\&|", "hl7v2"),
        (b"\x0bMSH|", "hl7v2"),
        (V3, "hl7v3"),
        (b"\xef\xbb\xbf" + V3, "hl7v3"),
        (V3.decode().encode("utf-16"), "hl7v3"),
        (b"<!-- a\n<b/> --><hl7:PRPA_IN201302UV02 xmlns:hl7='urn:hl7-org:v3'>", "hl7v3"),
        (b"<RCMR_IN000002UV01 ", "hl7v3"),
        (enveloped(V3), "hl7v3"),
        (ENVELOPE.replace(b"<s:Body>", b"<s:Header>" + b"a" * 100_000), "hl7v3"),
        (b"<!-- a --><?b?>" * 500 + b"<ClinicalDocument>", "cda"),
        (b"<?xml version='1.0'?><ClinicalDocument xmlns='urn:hl7-org:v3'>", "cda"),
        (b"<section><!-- <PRPA_IN201302UV02 > --></section>", "cda"),
        (b"<PRPA_IN201302UV02x>", "cda"),
        (b"", None),
        (b"hello", None),
    ],
)
def test_the_root_element_tells_a_message_from_a_document(data, expected):
    assert format_of(data) == expected


@pytest.mark.parametrize("source", [None, "hl7v3"])
def test_a_file_of_a_message_is_converted_by_itself_or_as_told(tmp_path, source):
    path = tmp_path / "feed.xml"
    path.write_bytes(V3)
    (outcome,) = convert_job(Job(path, "feed.xml", "feed"), Plan(source=source))
    assert (outcome.status, outcome.message_type, outcome.control_id) == (
        "converted",
        "PRPA_IN201301UV02",
        "2.999.1^m1",
    )
    path.write_bytes(message(registration(), interaction="PRPA_IN201305UV02"))
    (outcome,) = convert_job(Job(path, "feed.xml", "feed"), Plan(source=source))
    assert (outcome.status, "is not supported" in outcome.error) == ("failed", True)
