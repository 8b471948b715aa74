"""Canonical bytes of elements: lxml's, whichever way they are made."""

from __future__ import annotations

import pytest
from lxml import etree

from hdg.ingestion.cda.canonical import canonical
from hdg.ingestion.cda.fragments import as_document
from hdg.ingestion.cda.xml import read

SURE = """<a xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:sdtc="urn:hl7-org:sdtc"
 xmlns:unused="urn:hl7-org:v3" z="1" a="&lt;&amp;&quot;'&gt;&#9;&#10;&#13;é">&lt;&amp;&gt;"&#13;\r\n
<b xsi:type="CD" b="2" sdtc:x="3" xml:lang="en"/><!-- c --><?p i?><![CDATA[<x>]]>
<sdtc:c><sdtc:d q="1"/><e/></sdtc:c><f> </f></a>"""
SEVERAL = [
    '<a xmlns="urn:hl7-org:v3" xmlns:c="urn:hl7-org:v3"><c:b/><b x="1"/></a>',
    '<c:a xmlns:c="urn:hl7-org:v3"><b xmlns="urn:hl7-org:v3" xmlns:d="urn:x" d:x="1" c:y="2"/></c:a>',
    '<a xmlns="urn:hl7-org:v3"><b xmlns="urn:x"><c xmlns="urn:hl7-org:v3"/></b><b xmlns=""/></a>',
    '<a xmlns="urn:hl7-org:v3" xmlns:p="urn:&#120;"><p:b/></a>',
]


@pytest.mark.parametrize("text", [SURE, *SEVERAL])
def test_the_bytes_of_every_element_are_those_that_lxml_writes(text):
    data = text.encode()
    tree = read(data, [])
    other = etree.fromstring(data, etree.XMLParser(remove_comments=True, remove_pis=True))
    for mine, theirs in zip(tree.root.iter(), other.iter(), strict=True):
        assert canonical(mine, tree) == etree.tostring(theirs, method="c14n", exclusive=True)
    assert (tree.prefixed is None) is (text is SURE or 'xmlns="urn:x"' in text)


def test_a_prefix_says_nothing_of_a_part_that_becomes_a_document():
    trees = [
        as_document(read(data, []), [])
        for data in (
            b'<section xmlns="urn:hl7-org:v3"><code code="1"/></section>',
            b'<c:section xmlns:c="urn:hl7-org:v3"><c:code code="1"/></c:section>',
            b'<section><code code="1"/></section>',
        )
    ]
    assert len({canonical(tree.root, tree) for tree in trees}) == 1
