"""Any delimiters (HL7 v2.9 §2.5.4): the same message in other delimiters has the same field values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.ingestion.hl7v2.encoding import STANDARD, Delimiters, escape, translate, unescape
from hdg.ingestion.hl7v2.parser import Message, parse

HEAD = "MSH|^~\\&|EHR|CITY|||20240102||ADT^A01|1|P|2.5"
DELIMITERS = st.lists(
    st.sampled_from("|^~\\&#*%!$@+:;/?<>(){}[]=-_.,'`"), min_size=6, max_size=6, unique=True
).map(lambda chars: Delimiters(*chars))
VALUE = st.text(st.sampled_from("aB9 |^~\\&#*%!$@Xé文\n\r"), max_size=12)
ROW = st.lists(
    st.lists(
        st.lists(st.lists(VALUE, min_size=1, max_size=3), min_size=1, max_size=3), min_size=1, max_size=3
    )
)


def tree(message: Message) -> list[object]:
    """Every field down to its unescaped subcomponents; MSH-1 and MSH-2 left out."""
    return [
        [
            [
                [[unescape(sub, message.charset) for sub in part.split("&")] for part in rep.split("^")]
                for rep in field.split("~")
            ]
            for field in segment.fields[3 if segment.name == "MSH" else 1 :]
        ]
        for segment in message.segments
    ]


def written(row: list[list[list[list[str]]]]) -> str:
    return "|".join(
        "~".join("^".join("&".join(map(escape, sub)) for sub in part) for part in field) for field in row
    )


@given(ROW, DELIMITERS)
def test_another_writing_has_the_same_values(
    row: list[list[list[list[str]]]], delimiters: Delimiters
) -> None:
    standard = parse(f"{HEAD}\rPID|{written(row)}\r".encode())
    other = parse(standard.encode(delimiters=delimiters))
    assert other.delimiters == delimiters
    assert tree(other) == tree(standard)
    assert parse(other.encode()).encode() == other.encode()


def test_escapes_mean_the_messages_own_delimiters() -> None:
    message = parse(b"MSH*%~!$*A*B*C*D*2024**ADT%A01*1*P*2.5\rPID*x!F!y!S!z!R!!T!!E!*a|b^c&d\\e*1%2$3~4\r")
    pid = message.segments[1]
    assert unescape(pid.field(1)) == "x*y%z~$!"
    assert unescape(pid.field(2)) == "a|b^c&d\\e"
    assert pid.field(3) == "1^2&3~4"


def test_missing_encoding_characters_are_data() -> None:
    message = parse(b"MSH|^~|A|B|C|D|2024||ADT^A01|1|P|2.1\rPID|C:\\T\\x&y^z\r")
    assert [unescape(part) for part in message.segments[1].field(1).split("^")] == ["C:\\T\\x&y", "z"]
    assert message.encode().endswith(b"PID|C:\\T\\x&y^z\r")


def test_truncation_character_is_read_by_its_sequence_and_kept_at_a_values_end() -> None:
    message = parse(b"MSH|^~\\&%|A|B|C|D|2024||ADT^A01|1|P|2.7\rPID|cut%|50\\P\\|5#5%5|7#\r")
    pid = message.segments[1]
    assert (pid.field(1), unescape(pid.field(2)), unescape(pid.field(3)), unescape(pid.field(4))) == (
        "cut#",
        "50%",
        "5#5%5",
        "7#",
    )
    assert message.encode().endswith(b"PID|cut%|50\\P\\|5#5%5|7#\r")


def test_standard_text_is_not_touched() -> None:
    text = "a^b~c\\T\\d&e\\Zlocal\\"
    assert translate(text, STANDARD, STANDARD) is text


@pytest.mark.parametrize("header", [b"MSH|^~\\&|", b"MSH|^~\\&#|"])
def test_standard_headers_need_no_rewriting(header: bytes) -> None:
    assert parse(header + b"A|B|C|D|2024||ADT^A01|1|P|2.7\rPID|a#|b\r").segments[1].field(1) == "a#"
