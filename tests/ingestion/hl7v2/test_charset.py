"""Character sets: HL7 v2.9 §2.14.9.18 and table 0211; the rule of hdg/ingestion/hl7v2/charset.py."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2 import charset as charsets
from hdg.ingestion.hl7v2.parser import parse


def message(msh_18: str, name: bytes, facility: bytes = b"HOSP") -> bytes:
    head = b"MSH|^~\\&|EHR|" + facility + b"|||2024||ADT^A01|1|P|2.5||||||" + msh_18.encode()
    return head + b"\rPID|1||7\rOBX|1\rOBX|2|ST|||" + name + b"|end\r"


def name_in(data: bytes, charset: str | None = None) -> str:
    obx = parse(data, charset=charset).all("OBX")[1]
    assert obx.field(6) == "end"
    return obx.field(5)


@pytest.mark.parametrize(
    ("msh_18", "codec", "text"),
    [
        ("ASCII", "ascii", "Jones"),
        ("8859/1", "iso8859-1", "Müller Ñé"),
        ("8859/2", "iso8859-2", "Łódź ůž"),
        ("8859/3", "iso8859-3", "Ħaż ĝ"),
        ("8859/4", "iso8859-4", "Āķļ"),
        ("8859/5", "iso8859-5", "Иванов"),
        ("8859/6", "iso8859-6", "محمد"),
        ("8859/7", "iso8859-7", "Παπαδόπουλος"),
        ("8859/8", "iso8859-8", "כהן"),
        ("8859/9", "iso8859-9", "Yılmaz ğş"),
        ("8859/15", "iso8859-15", "Œuvre €"),
        ("ISO IR6", "ascii", "Jones"),
        ("ISO IR14", "cp932", "ﾔﾏﾀﾞ"),
        ("ISO IR87", "iso2022_jp", "山田 日本 abc"),
        ("ISO IR159", "iso2022_jp_ext", "山田 丂"),
        ("JIS X 0202", "iso2022_jp", "山田"),
        ("JAS2020", "iso2022_jp", "山田"),
        ("GB 18030-2000", "gb18030", "张伟 㐀€"),
        ("KS X 1001", "euc_kr", "김철수"),
        ("KS X 1001", "cp949", "똠방"),
        ("BIG-5", "big5", "許功蓋 陳"),
        ("UNICODE", "utf-8", "名 é"),
        ("UNICODE UTF-8", "utf-8", "名 é 🙂"),
        ("UNICODE UTF-16", "utf-16", "名 é 🙂"),
        ("UNICODE UTF-32", "utf-32", "名 é 🙂"),
        ("UNICODE UTF-16", "utf-16-le", "名 é"),
        ("UTF-8", "utf-8", "é"),
        ("utf8", "utf-8", "é"),
        ("ISO-8859-1", "latin-1", "é"),
        ("ISO8859/1", "latin-1", "é"),
        ("8859/13", "iso8859-13", "Žė"),
        ("WINDOWS-1251", "cp1251", "Иванов"),
        ("Shift_JIS", "shift_jis", "山田"),
        ("ISO_IR 100", "latin-1", "é"),
        ("ISO 2022 IR 149", "euc_kr", "김"),
        ("ISO IR192", "utf-8", "é"),
    ],
)
def test_declared_set_is_read(msh_18: str, codec: str, text: str) -> None:
    data = message(msh_18, text.encode("utf-8"))
    written = data.decode("utf-8").encode(codec)
    assert name_in(written) == text
    assert parse(written).issues == []


def test_every_name_of_table_0211_is_known() -> None:
    for name in charsets.TABLE_0211:
        charsets.resolve((name,))


@pytest.mark.parametrize(
    ("msh_18", "written", "text"),
    [
        ("ASCII~ISO IR87", "山田^太郎".encode("iso2022_jp"), "山田^太郎"),
        ("~ISO IR87", "山田".encode("iso2022_jp"), "山田"),
        ("ISO IR6~ISO IR87~ISO IR159", "日本丂".encode("iso2022_jp_ext"), "日本丂"),
        ("ISO IR14~ISO IR87", "ﾔﾏﾀﾞ^".encode("cp932") + "山田".encode("iso2022_jp"), "ﾔﾏﾀﾞ^山田"),
        ("ISO IR14~ISO IR87", b"\x1b(I" + bytes((0x54, 0x4F)) + b"\x1b(J!", "ﾔﾏ!"),
        ("8859/1~8859/7", b"\xe9^\x1b-F\xe1\x1b-A\xe9", "é^αé"),
        ("8859/1~8859/7", b"\xe9", "é"),
        ("ASCII~8859/1", b"\xe9", "é"),
        ("~8859/2", "ž".encode("iso8859-2"), "ž"),
        ("ASCII~KS X 1001", b"\x1b$)C\xb1\xe8\xc3\xb6", "김철"),
        ("ASCII~KS X 1001", b"\x1b$)C\x0e1hC6\x0fx", "김철x"),
        ("ASCII~ISO IR58", b"\x1b$)A" + "张".encode("gb2312"), "张"),
        ("UNICODE UTF-8~ISO IR87", "山".encode(), "山"),
        ("UTF-8~UNICODE", "山".encode(), "山"),
    ],
)
def test_repeated_sets_switch_by_iso_2022(msh_18: str, written: bytes, text: str) -> None:
    assert name_in(message(msh_18, written)) == text


def test_switches_end_with_the_segment() -> None:
    data = message("ASCII~ISO IR87", b"x") + b"\rNTE|1||\x1b$B" + bytes((0x46, 0x7C)) + b"\rNTE|2||plain\r"
    assert [segment.field(3) for segment in parse(data).all("NTE")] == ["日", "plain"]


@pytest.mark.parametrize(
    ("msh_18", "facility"),
    [
        ("ASCII~ISO IR87", "日本病院".encode("iso2022_jp")),
        ("BIG-5", "功許育".encode("big5")),
        ("BIG-5", bytes((0xA6, 0x7C, 0xA8, 0x7C))),
        ("GB 18030-2000", bytes((0x81, 0x7C, 0x81, 0x7C))),
        ("SHIFT_JIS", bytes((0x83, 0x7C))),
    ],
)
def test_second_bytes_that_look_like_separators_do_not_shift_the_header(msh_18: str, facility: bytes) -> None:
    parsed = parse(message(msh_18, b"x", facility))
    assert (parsed.control_id, parsed.segments[0].field(18)) == ("1", msh_18)


@pytest.mark.parametrize("declared", ["", "ASCII"])
def test_undeclared_is_utf_8_where_it_fits(declared: str) -> None:
    parsed = parse(message(declared, "é文".encode()))
    assert (parsed.charset, parsed.all("OBX")[1].field(5), parsed.issues) == ("utf-8", "é文", [])


@pytest.mark.parametrize(
    ("written", "charset", "text"),
    [(b"caf\xe9 \x80", "cp1252", "café €"), (b"caf\xe9 \x81", "latin-1", "café \x81")],
)
def test_undeclared_other_bytes_are_latin_with_an_issue_at_the_first(
    written: bytes, charset: str, text: str
) -> None:
    parsed = parse(message("", written))
    assert (parsed.charset, parsed.all("OBX")[1].field(5)) == (charset, text)
    assert [(issue.severity, issue.place) for issue in parsed.issues] == [("warning", "OBX[2]-5")]


def test_undeclared_switches_of_iso_2022_are_read_with_an_issue() -> None:
    parsed = parse(message("", "山田^太郎".encode("iso2022_jp")))
    assert (parsed.charset, parsed.all("OBX")[1].field(5)) == ("iso2022:ascii", "山田^太郎")
    assert [(issue.severity, issue.place) for issue in parsed.issues] == [("warning", "OBX[2]-5")]


@pytest.mark.parametrize("declared", ["8859/1", "UNICODE UTF-8"])
def test_switches_that_the_declared_set_does_not_have_are_told(declared: str) -> None:
    parsed = parse(message(declared, "山".encode("iso2022_jp")))
    assert [(issue.severity, issue.place) for issue in parsed.issues] == [("warning", "OBX[2]-5")]
    assert parse(message(declared, b"\x1b[31mred")).issues == []


def test_undeclared_switches_beside_bytes_of_another_set_are_no_iso_2022() -> None:
    parsed = parse(message("", b"\x1b$B;3\x1b(B\xe4"))
    assert parsed.charset == "cp1252"
    assert [(issue.severity, issue.place) for issue in parsed.issues] == [("warning", "OBX[2]-5")]


def test_a_switch_that_hides_the_separators_is_told_with_its_segment() -> None:
    with pytest.raises(Hl7v2Error) as caught:
        parse(message("~ISO IR87", b"\x1b$B;3ED^Ada"))
    assert (caught.value.place, caught.value.condition) == ("OBX[2]", "102")


def test_undeclared_mixture_is_an_error_with_its_place() -> None:
    with pytest.raises(Hl7v2Error) as caught:
        parse(message("", b"caf\xe9") + "NTE|1||é\r".encode())
    assert (caught.value.place, caught.value.condition, caught.value.is_rejection) == (
        "OBX[2]-5",
        "102",
        False,
    )


@pytest.mark.parametrize(
    "declared", ["UNICODE UTF-8", "BIG-5", "KS X 1001", "ISO IR87", "ASCII~ISO IR87", "8859/7"]
)
def test_bytes_that_do_not_fit_the_declared_set_are_an_error_with_their_place(declared: str) -> None:
    with pytest.raises(Hl7v2Error) as caught:
        parse(message(declared, b"a\xff\xff"))
    assert (caught.value.place, caught.value.condition) == ("OBX[2]-5", "102")


@pytest.mark.parametrize(
    "declared", ["CNS 11643-1992", "KLINGON", "hex", "rot13", "utf-7", "cp037", "idna", "x" * 5000]
)
def test_unknown_set_matters_only_where_a_byte_is_not_ascii(declared: str) -> None:
    parsed = parse(message(declared, b"plain"))
    assert [(issue.place, issue.code) for issue in parsed.issues] == [("MSH-18", "not-supported")]
    with pytest.raises(Hl7v2Error) as caught:
        parse(message(declared, b"\xe9"))
    assert (caught.value.place, caught.value.condition) == ("MSH-18", "103")


def test_the_senders_setting_wins_over_msh_18() -> None:
    assert name_in(message("ASCII", b"\xe9"), "8859/1") == "é"
    assert name_in(message("8859/1", "é".encode()), "UNICODE UTF-8") == "é"
    assert name_in(message("", "山".encode("iso2022_jp")), "ASCII~ISO IR87") == "山"
    with pytest.raises(Hl7v2Error) as caught:
        parse(message("", b"x"), charset="no such set")
    assert (caught.value.place, caught.value.condition) == ("MSH-18", "103")


def test_byte_order_mark_wins_over_msh_18() -> None:
    assert name_in(codecs.BOM_UTF8 + message("8859/1", "é".encode())) == "é"
    assert name_in(message("8859/1", b"x").decode().replace("|x|", "|é|").encode("utf-16")) == "é"


def test_declared_utf_16_over_other_bytes_is_read_as_utf_8_with_an_issue() -> None:
    parsed = parse(message("UNICODE UTF-16", "é".encode()))
    assert (parsed.all("OBX")[1].field(5), [issue.place for issue in parsed.issues]) == ("é", ["MSH-18"])


def test_cut_utf_16_is_an_error() -> None:
    with pytest.raises(Hl7v2Error):
        parse(message("", b"x").decode().encode("utf-16")[:-1])


@given(st.text(st.characters(codec="cp949", exclude_categories=["C"])))
def test_what_is_encoded_is_decoded_again(text: str) -> None:
    for charset in ("iso2022:cp949", "utf-8", "gb18030"):
        assert charsets.decode(charsets.encode(text, charset), charset) == text


@given(st.text(st.characters(codec="iso2022_jp_1", exclude_categories=["C"], exclude_characters="¥‾")))
def test_japanese_is_decoded_again(text: str) -> None:
    assert charsets.decode(charsets.encode(text, "iso2022:ascii"), "iso2022:ascii") == text


@given(st.binary())
def test_iso_2022_reads_or_refuses_any_bytes(data: bytes) -> None:
    for charset in ("iso2022:ascii", "iso2022:cp932", "iso2022:latin-1"):
        try:
            charsets.decode(b"\x1b$B" + data, charset)
        except UnicodeDecodeError:
            continue
