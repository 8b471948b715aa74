"""The parser: HL7 v2.9 §2.5 (fields, delimiters), §2.6 (receiving rules), §2.14.9 (MSH)."""

from __future__ import annotations

import pytest

from hdg.ingestion.hl7v2.encoding import NULL, Delimiters, component, repetitions, subcomponent
from hdg.ingestion.hl7v2.parser import Message, parse

ADT = (
    b"MSH|^~\\&|EHR|CITY|HDG|CITY|20240102030405+0100||ADT^A01^ADT_A01|77|P|2.5.1\r"
    b"PID|1||123^^^CITY&1.2.3&ISO^MR~456||Doe^Jane||19700101|F\r"
    b'PV1|1|I|""|\r'
    b"OBX|1|ST|A||one\r"
    b"OBX|2|ST|B||two\r"
)


def fields(message: Message) -> list[list[str]]:
    return [segment.fields for segment in message.segments]


def test_msh_numbering_counts_the_separator_as_msh_1() -> None:
    msh = parse(ADT).segments[0]
    assert (msh.field(1), msh.field(2), msh.field(3), msh.field(10)) == ("|", "^~\\&", "EHR", "77")


def test_header_properties_come_from_msh() -> None:
    message = parse(ADT)
    assert message.message_type == ("ADT", "A01", "ADT_A01")
    assert (message.control_id, message.version, message.charset) == ("77", "2.5.1", "utf-8")
    assert message.raw is ADT
    assert message.issues == []


def test_message_type_of_two_or_one_components_has_empty_rest() -> None:
    assert parse(ADT.replace(b"ADT^A01^ADT_A01", b"ADT^A01")).message_type == ("ADT", "A01", "")
    assert parse(ADT.replace(b"ADT^A01^ADT_A01", b"ACK")).message_type == ("ACK", "", "")


def test_version_with_components_gives_the_first() -> None:
    assert parse(ADT.replace(b"|2.5.1\r", b"|2.5.1^DEU^1.0\r")).version == "2.5.1"


@pytest.mark.parametrize(
    "version", [b"2.1", b"2.2", b"2.3", b"2.3.1", b"2.4", b"2.5", b"2.6", b"2.7", b"2.8.2", b"2.9", b""]
)
def test_every_2_x_version_parses(version: bytes) -> None:
    assert parse(ADT.replace(b"2.5.1", version)).version == version.decode()


def test_three_states_of_a_field_are_told_apart() -> None:
    pv1 = parse(ADT).first("PV1")
    assert pv1 is not None
    assert (pv1.field(2), pv1.field(3), pv1.field(4), pv1.field(44)) == ("I", NULL, "", "")
    assert pv1.count == 4


def test_repetitions_components_and_subcomponents_are_taken_apart() -> None:
    pid = parse(ADT).first("PID")
    assert pid is not None
    first, second = repetitions(pid.field(3))
    assert (component(first, 1), component(first, 5), component(first, 6), component(second, 1)) == (
        "123",
        "MR",
        "",
        "456",
    )
    assert [subcomponent(component(first, 4), number) for number in (1, 2, 3, 4)] == [
        "CITY",
        "1.2.3",
        "ISO",
        "",
    ]
    assert repetitions("") == []


def test_segments_know_position_and_occurrence() -> None:
    message = parse(ADT)
    second = message.all("OBX")[1]
    assert (second.position, second.occurrence, second.place(5)) == (5, 2, "OBX[2]-5")
    assert message.first("PID").place() == "PID"  # type: ignore[union-attr]  # the message has one
    assert (message.first("ZZZ"), message.all("ZZZ")) == (None, [])


def test_fields_are_split_only_when_asked_for() -> None:
    message = parse(ADT)
    obx = message.segments[3]
    assert obx._fields is None
    obx.field(1)
    assert obx._fields is not None
    assert message.segments[4]._fields is None


@pytest.mark.parametrize(
    "written",
    [
        ADT.replace(b"\r", b"\n"),
        ADT.replace(b"\r", b"\r\n"),
        ADT.replace(b"\r", b"\r\r"),
        ADT.replace(b"\r", b"\n\n"),
        ADT.replace(b"\r", b"\r\r\n"),
        ADT.rstrip(b"\r"),
        b"\x0b" + ADT + b"\x1c\r",
        b"\r\n \t" + ADT + b"\r\n\r\n",
        b"\xef\xbb\xbf" + ADT,
        b"\x0b\xef\xbb\xbf" + ADT,
        ADT + b"\x1a",
        ADT + b"\x00\x00",
        ADT.decode().encode("utf-16"),
        ADT.decode().encode("utf-16-le"),
        ADT.decode().encode("utf-16-be"),
        b"\xfe\xff" + ADT.decode().encode("utf-16-be"),
        ADT.decode().encode("utf-32"),
        ADT.decode().encode("utf-32-be"),
    ],
)
def test_line_ends_blank_lines_framing_and_byte_order_marks_are_tolerated(written: bytes) -> None:
    assert fields(parse(written)) == fields(parse(ADT))


def test_trailing_spaces_belong_to_the_last_field() -> None:
    assert parse(ADT[:-1] + b"  \r").segments[-1].field(5) == "two  "


def test_line_feed_inside_a_field_is_kept_and_named_where_cr_ends_segments() -> None:
    message = parse(ADT.replace(b"one", b"one\nmore"))
    assert message.all("OBX")[0].field(5) == "one\nmore"
    assert [(issue.place, issue.severity) for issue in message.issues] == [("OBX-5", "warning")]


def test_a_line_feed_in_a_message_of_one_segment_is_kept_too() -> None:
    header = b"MSH|^~\\&|A|B|||2026\n01||ADT^A01|1|P|2.5\r"
    message = parse(header)
    assert [segment.field(7) for segment in message.segments] == ["2026\n01"]
    assert fields(parse(message.encode())) == fields(message)


def test_mixed_line_ends_before_segments_all_count() -> None:
    assert fields(parse(ADT.replace(b"\rPV1", b"\nPV1").replace(b"\rPID", b"\r\nPID"))) == fields(parse(ADT))


def test_trailing_garbage_is_left_out_and_named_without_its_text() -> None:
    message = parse(ADT + b"secret words\r")
    assert fields(message) == fields(parse(ADT))
    assert [(issue.severity, issue.code, issue.place) for issue in message.issues] == [
        ("error", "structure", "line 6")
    ]
    assert "secret" not in message.issues[0].text


def test_many_garbage_lines_make_few_issues() -> None:
    message = parse(ADT + b"x\r" * 5000)
    assert len(message.issues) == 11
    assert message.issues[-1].text.startswith("5000 lines")


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_segment_cut_by_line_breaks_is_put_together_and_named(line_end: bytes) -> None:
    cut = ADT.replace(b"|one", b"|one\rtwo\rthree|mg").replace(b"\r", line_end)
    message = parse(cut)
    assert [message.all("OBX")[0].field(number) for number in (5, 6)] == ["one\ntwo\nthree", "mg"]
    assert [segment.position for segment in message.segments] == [1, 2, 3, 4, 5]
    assert [(issue.severity, issue.place) for issue in message.issues] == [("warning", "OBX")]


@pytest.mark.parametrize("line", [b"pid|1", b" PID|1", b"ABCD|1", b"a remark"])
def test_a_segment_gone_wrong_or_a_remark_is_left_out_and_named(line: bytes) -> None:
    message = parse(ADT.replace(b"\rPV1", b"\r\r" + line + b"\rPV1"))
    assert fields(message) == fields(parse(ADT))
    assert [(issue.severity, issue.place) for issue in message.issues] == [("error", "line 4")]


def test_a_segment_without_fields_is_a_segment() -> None:
    message = parse(ADT + b"ZZ1\r")
    assert (message.segments[-1].name, message.segments[-1].count) == ("ZZ1", 0)


def test_a_name_of_64_kb_is_legal() -> None:
    name = b"N" * 65_536
    assert parse(ADT.replace(b"Doe", name)).first("PID").field(5) == name.decode() + "^Jane"  # type: ignore[union-attr]


def test_encoding_again_gives_the_same_message() -> None:
    assert parse(ADT).encode() == ADT
    assert parse(ADT.replace(b"\r", b"\n")).encode() == ADT


def test_delimiters_are_kept_as_sent() -> None:
    assert parse(ADT).delimiters == Delimiters()
    assert parse(ADT.replace(b"^~\\&", b"^~\\&#")).delimiters.truncation == "#"
