"""Narratives as XHTML: what is written is what the stylesheet beside this file makes of it, which says it in XSLT."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from hdg.fhir import narrative as xhtml
from hdg.fhir.narrative import check_div
from hdg.ingestion.cda.narrative import narrative
from hdg.ingestion.cda.xml import read

SHEET = etree.XSLT(etree.parse(Path(__file__).with_name("narrative.xslt")))
NAMES = [
    *(
        "paragraph",
        "content",
        "list",
        "item",
        "caption",
        "table",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "col",
    ),
    *(
        "colgroup",
        "sub",
        "sup",
        "br",
        "linkHtml",
        "footnote",
        "footnoteRef",
        "renderMultiMedia",
        "text",
        "q",
        "script",
    ),
]
VALUES = {
    "ID": ["a", "a b", "", "é&<\t"],
    "revised": ["delete", "insert"],
    "styleCode": ["Bold", "xBold Italics", " Underline\nBold", "Underline", "Bold\u00a0Italics", ""],
    "listType": ["ordered", "unordered"],
    "colspan": [
        "2",
        " 3 ",
        "0",
        "-1",
        "1000",
        "1001",
        "2.5",
        "1.4",
        ".6",
        "0.2",
        "1e2",
        "x",
        "",
        "+1",
        "1\u00a0",
        "٣",
        "9" * 400,
    ],
    "rowspan": ["2", "1.5"],
    "span": ["4"],
    "href": ["http://a b/?x=1&y", "HTTPS://x", "javascript:x", " mailto:a ", "#a", "", "a/b", "Http:\n//x"],
    "referencedObject": ["m1", "<&>", ""],
    "onclick": ["x"],
    "border": ["1"],
}
WORDS = st.sampled_from(["", " ", "a", "é", "&<>\"'", "\r", "\n\t", "\u00a0", "]]>"])


def made(data: bytes) -> str | None:
    """The div."""
    found = narrative(read(data, []).root)
    return None if found is None else found["div"]


def sheet_of(data: bytes) -> str:
    """What the stylesheet makes of it."""
    return etree.tostring(SHEET(etree.fromstring(data)).getroot(), encoding="unicode")


@st.composite
def elements(draw, depth=0):
    """A piece of a narrative as XML, with anything where it may or may not stand."""
    root = etree.Element(
        "{urn:hl7-org:v3}" + (draw(st.sampled_from(NAMES)) if depth else "text"),
        nsmap={None: "urn:hl7-org:v3"},
    )
    for name in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True)):
        root.set(name, draw(st.sampled_from(VALUES[name])))
    root.text = draw(WORDS)
    for child in draw(st.lists(elements(depth + 1), max_size=3)) if depth < 4 else ():
        root.append(child)
        child.tail = draw(WORDS)
    return root


@given(elements())
def test_a_narrative_is_what_the_stylesheet_makes_of_it(root):
    data = etree.tostring(root, encoding="utf-8")
    assert made(data) in (None, sheet_of(data))


@given(elements())
def test_what_is_noted_as_sound_is_what_a_check_finds_right(root):
    xhtml._sound.clear()
    div = made(etree.tostring(root, encoding="utf-8"))
    noted = list(xhtml._sound)
    assert noted in ([], [div])
    assert [check_div(one, None) for one in noted] == [None] * len(
        noted
    )  # which is asked once without reading it
    assert not xhtml._sound
    assert [check_div(one, None) for one in noted] == [None] * len(noted)


@pytest.mark.parametrize(
    ("inner", "is_noted"),
    [
        ("a", True),
        ("<paragraph> a</paragraph>", True),
        ("<br>a</br>", False),
        ("&#13;", False),
        ("a" * (1 << 16), False),
        ('<content styleCode="Bold" revised="delete">' * 62 + "a" + "</content>" * 62, True),
        ('<content styleCode="Bold" revised="delete">' * 64 + "a" + "</content>" * 64, False),
    ],
)
def test_a_narrative_is_noted_as_sound_where_it_surely_is(inner, is_noted):
    xhtml._sound.clear()
    div = made(f'<text xmlns="urn:hl7-org:v3">{inner}</text>'.encode())
    assert list(xhtml._sound) == ([div] if is_noted else [])
    if is_noted:
        xhtml._sound.clear()
        assert check_div(div, None) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("attribute", sorted(VALUES))
def test_every_attribute_of_every_element_is_what_the_stylesheet_makes_of_it(name, attribute):
    for value in VALUES[attribute]:
        for inner in ("", "x<br/>y"):
            root = etree.fromstring(
                f'<text xmlns="urn:hl7-org:v3">z<table><{name}>{inner}</{name}></table></text>'
            )
            root[0][0].set(attribute, value)
            data = etree.tostring(root, encoding="utf-8")
            assert made(data) == sheet_of(data), value


def test_a_narrative_that_says_nothing_is_none():
    assert made(b'<text xmlns="urn:hl7-org:v3"> <br/>\n</text>') is None


def test_what_was_taken_back_is_struck_through_wherever_it_stands_and_lists_keep_their_kind():
    gone = '<span style="text-decoration:line-through">'
    assert made(
        b'<text xmlns="urn:hl7-org:v3"><q revised="delete">b</q><list listType="ordered" revised="delete">'
        b'<item>1</item></list><list><item revised="delete">2</item><item revised="insert">3</item></list></text>'
    ) == (
        f'<div xmlns="http://www.w3.org/1999/xhtml">{gone}b</span>{gone}<ol><li>1</li></ol></span>'
        f"<ul>{gone}<li>2</li></span><li>3</li></ul></div>"
    )
