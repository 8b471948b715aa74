"""Every real message parses, or is refused by name and reason; laws hold over all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2.batch import split_messages
from hdg.ingestion.hl7v2.encoding import Delimiters, unescape
from hdg.ingestion.hl7v2.parser import Message, parse

pytestmark = pytest.mark.corpus

REFUSED = {
    "empty.hl7": ("", "207"),
    "msh_present_but_missing_all_fields.hl7": ("MSH-2", "101"),
    "msh_present_but_missing_msh-2.hl7": ("MSH-2", "101"),
    "msh_present_but_missing_msh-9.hl7": ("MSH-9", "101"),
}
"""Files that hold no message: what is missing (place, HL7 table 0357 condition)."""

DOUBTFUL = {
    "001_TN_ORU_R01_LRI_annotated_for_transformation.hl7": 5,
    "001_TX_OML_O21.hl7": 1,
}
"""Files with lines that are no segments (comments; a text broken over two lines), and how many."""


@pytest.fixture(scope="session")
def messages(cases: Path) -> dict[str, Message]:
    """Every message of the corpus that parses, by file name and number."""
    found = {}
    for path in sorted((cases / "hl7v2").rglob("*.hl7")):
        if path.name not in REFUSED:
            for number, piece in enumerate(split_messages(path.read_bytes())):
                found[f"{path.relative_to(cases)}#{number}"] = parse(piece)
    return found


def values(message: Message) -> list[list[list[list[list[str]]]]]:
    """All field values down to unescaped subcomponents, MSH-1 and MSH-2 left out."""
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


def test_what_is_refused_is_refused_for_its_reason(cases: Path) -> None:
    refused = {}
    for path in sorted((cases / "hl7v2").rglob("*.hl7")):
        for piece in split_messages(path.read_bytes()):
            try:
                parse(piece)
            except Hl7v2Error as error:
                refused[path.name] = (error.place, error.condition)
    assert refused == REFUSED


def test_what_is_doubtful_is_named(messages: dict[str, Message]) -> None:
    doubtful = {
        Path(name.partition("#")[0]).name: len(message.issues)
        for name, message in messages.items()
        if message.issues
    }
    assert doubtful == DOUBTFUL


def test_encoding_is_stable(messages: dict[str, Message]) -> None:
    for message in messages.values():
        again = parse(message.encode())
        assert again.encode() == message.encode()
        assert values(again) == values(message)


@pytest.mark.parametrize(
    "delimiters", [Delimiters(*"*%!@$"), Delimiters(*"^|&~\\"), Delimiters(*":;,?/="), Delimiters(*"|^~\\&#")]
)
def test_other_delimiters_give_the_same_values(messages: dict[str, Message], delimiters: Delimiters) -> None:
    for message in messages.values():
        other = parse(message.encode(delimiters=delimiters))
        assert other.delimiters == delimiters
        assert values(other) == values(message)


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-be", "utf-32-le", "utf-8"])
def test_other_encodings_give_the_same_values(messages: dict[str, Message], charset: str) -> None:
    for message in messages.values():
        text = message.encode(charset="utf-8").decode()
        other = parse(
            ("" if charset.startswith("utf-16") else "\ufeff" * (charset == "utf-8")).encode()
            + text.encode(charset)
        )
        assert [segment.text for segment in other.segments] == [segment.text for segment in message.segments]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r\r", "\n\n"])
def test_line_ends_make_no_difference(messages: dict[str, Message], line_end: str) -> None:
    for message in messages.values():
        other = parse(message.encode(charset="utf-8").replace(b"\r", line_end.encode()), charset="utf-8")
        assert [segment.text for segment in other.segments] == [segment.text for segment in message.segments]
