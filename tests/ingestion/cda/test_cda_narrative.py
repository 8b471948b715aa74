"""The stylesheet of narratives takes time that grows with the narrative, not with its square."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

import hdg.ingestion.cda.narrative
from hdg.ingestion.cda.narrative import narrative
from hdg.ingestion.cda.xml import read


def test_no_pattern_has_a_predicate_for_which_siblings_would_be_counted():
    sheet = etree.parse(Path(hdg.ingestion.cda.narrative.__file__).with_suffix(".xslt"))
    patterns = [str(each) for each in sheet.xpath("//@match")]
    assert len(patterns) > 10
    assert [each for each in patterns if "[" in each] == []


def test_what_was_taken_back_is_struck_through_wherever_it_stands_and_lists_keep_their_kind():
    text = read(
        b'<text xmlns="urn:hl7-org:v3"><q revised="delete">b</q><list listType="ordered" revised="delete">'
        b'<item>1</item></list><list><item revised="delete">2</item><item revised="insert">3</item></list></text>',
        [],
    )
    gone = '<span style="text-decoration:line-through">'
    found = narrative(text, None)  # type: ignore[arg-type]  # of the state nothing is read
    assert found is not None
    assert found["div"] == (
        f'<div xmlns="http://www.w3.org/1999/xhtml">{gone}b</span>{gone}<ol><li>1</li></ol></span>'
        f"<ul>{gone}<li>2</li></span><li>3</li></ul></div>"
    )
