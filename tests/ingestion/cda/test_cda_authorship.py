"""Who wrote what: the author of the document speaks for its sections, that of a section for its entries."""

from __future__ import annotations

import pytest
from lxml import etree

from cda_documents import CONVERTER, LN, SCT, T, converted, document, of
from hdg.ingestion.cda.authorship import SOURCE_XPATH


def author(number, name):
    return f"""<author><time value="20240103"/><assignedAuthor><id root="2.999.3" extension="{number}"/>
      <assignedPerson><name><given>{name}</given><family>Author</family></name></assignedPerson>
      </assignedAuthor></author>"""


def result(number, inner=""):
    return f"""<entry><observation classCode="OBS" moodCode="EVN"><id root="2.999.7" extension="{number}"/>
      <code code="{number}00000001" {SCT}/><statusCode code="completed"/><effectiveTime value="20240101"/>
      <value xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="ST">seen</value>{inner}
      </observation></entry>"""


def names(found):
    return {
        f"Practitioner/{one['id']}": "".join(one["name"][0]["given"]) for one in of(found, "Practitioner")
    }


def writers(found, type_):
    """Given name of each author → how many resources of the type they wrote."""
    known = names(found)
    made = {}
    for one in of(found, "Provenance"):
        who = ",".join(known[a["who"]["reference"]] for a in one["agent"] if "reference" in a["who"])
        count = sum(target["reference"].startswith(f"{type_}/") for target in one["target"])
        if count:
            made[who] = made.get(who, 0) + count
    return made


def test_an_entry_without_author_was_written_by_that_of_the_document():
    assert writers(converted(result(1), section="30954-2"), "Observation") == {"Bo": 1}


def test_the_author_of_a_section_speaks_for_its_entries_and_that_of_an_entry_for_itself():
    found = converted(
        author("a2", "Cy") + result(1) + result(2, author("a3", "Di")) + result(3), section="30954-2"
    )
    assert writers(found, "Observation") == {"Cy": 2, "Di": 1}
    assert writers(found, "Composition") == {"Bo": 1}


def test_several_authors_of_one_entry_are_all_named():
    found = converted(result(1, author("a3", "Di") + author("a4", "Ed")), section="30954-2")
    assert writers(found, "Observation") == {"Di,Ed": 1}


def test_who_wrote_an_encounter_down_has_a_place_in_its_provenance():
    entry = f"""<entry><encounter classCode="ENC" moodCode="EVN"><templateId root="2.16.840.1.113883.10.20.22.4.49"/>
      <id root="2.999.8" extension="e1"/><code code="185349003" {SCT}/><effectiveTime value="20240101"/>
      {author("a5", "Flo")}</encounter></entry>"""
    assert writers(converted(entry, section="46240-8"), "Encounter") == {"Flo": 1}


def test_each_resource_is_in_one_provenance_and_says_where_it_stands_in_the_document():
    body = author("a2", "Cy") + result(1) + result(2, author("a3", "Di"))
    found = converted(body, section="30954-2")
    targets = [target for one in of(found, "Provenance") for target in one["target"]]
    others = [one for one in found.resources if one["resourceType"] != "Provenance"]
    assert sorted(target["reference"] for target in targets) == sorted(
        f"{one['resourceType']}/{one['id']}" for one in others
    )
    root = etree.fromstring(document(body, section="30954-2"))
    for target in targets:
        (extension,) = target["extension"]
        assert extension["url"] == SOURCE_XPATH
        (element,) = root.xpath(
            "/" + "/".join(f"v3:{step}" for step in extension["valueString"].split("/")[1:]),
            namespaces={"v3": "urn:hl7-org:v3"},
        )
        if target["reference"].startswith("Observation/"):
            assert element.tag == "{urn:hl7-org:v3}observation"
    hashes = {one["entity"][0]["what"]["identifier"]["value"] for one in of(found, "Provenance")}
    assert len(hashes) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_the_same_document_gives_the_same_provenances(count):
    body = document(result(1) * count + result(2, author("a3", "Di")))
    assert CONVERTER.convert(body, at_us=0) == CONVERTER.convert(body, at_us=0)


def test_what_an_author_wrote_of_whom_nothing_is_said_has_a_provenance_of_its_own():
    other = """<author><time value="2020"/><assignedAuthor><id root="2.999.3" extension="dev"/>
      <assignedAuthoringDevice/></assignedAuthor></author>"""
    entry = f"""<entry><observation classCode="OBS" moodCode="EVN"><templateId root="{T}2"/>
      <code code="2339-0" {LN}/><statusCode code="completed"/><value xsi:type="PQ" value="5"/>{other}
      </observation></entry>"""
    found = converted(entry)
    assert len({one["id"] for one in of(found, "Provenance")}) == len(of(found, "Provenance"))
