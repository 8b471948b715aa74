"""A defect of ours costs no document: it is kept in quarantine, and holds no other one up."""

from __future__ import annotations

import asyncio

import pytest

from hdg import statements
from hdg.documents import Documents
from hdg.gateway import Gateway
from hdg.ingestion.cda.convert import Converter
from hdg.ingestion.sender import Origin
from hdg.management.store.writer import NotCommitted, RowsRefused
from hdg.replay import quarantined, replay, replay_quarantined
from hdg.settings import Settings
from hdg.watch import FAILED, PROCESSED, Watch

HTTP = Origin("http", institution="north")


def document(id_: str) -> bytes:
    return f"""<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="2.999.1" extension="{id_}"/>
      <code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/><effectiveTime value="20240102030405+0000"/>
      <recordTarget><patientRole><id root="2.999.2" extension="p1"/>
        <patient><name><given>Ada</given><family>Example</family></name></patient></patientRole></recordTarget>
      </ClinicalDocument>""".encode()


@pytest.fixture
def settings(tmp_path):
    return Settings(data=tmp_path / "data", institution="north")


def storing_fails(monkeypatch, error):
    """What is stored of the document called bad fails."""
    store = statements.store_statements

    def fails(session, converted, *rest):
        if converted.source.control_id.endswith("bad"):
            raise error
        store(session, converted, *rest)

    monkeypatch.setattr(statements, "store_statements", fails)


@pytest.mark.parametrize("error", [KeyError("x"), RowsRefused("the database refused it")])
def test_a_document_that_cannot_be_stored_is_kept_and_the_next_ones_are_taken(
    settings, tmp_path, monkeypatch, error
):
    storing_fails(monkeypatch, error)
    with Gateway.open(settings) as gateway:
        watch = Watch(gateway, tmp_path / "in")
        watch.prepare()
        (tmp_path / "in" / "a.xml").write_bytes(document("bad"))
        (tmp_path / "in" / "b.xml").write_bytes(document("good"))

        async def look() -> int:
            return await watch.look() + await watch.look()

        assert asyncio.run(look()) == 2
        again = Documents(gateway).take_now(document("bad"), Origin("folder"))
    assert (again.status, again.is_repeat) == ("quarantined", True)
    assert (tmp_path / "in" / FAILED / "a.xml").exists()
    assert (tmp_path / "in" / PROCESSED / "b.xml").exists()
    (line,) = quarantined(settings)
    assert f"internal error while storing ({type(error).__name__})" in line


def test_what_is_not_the_documents_fault_is_to_be_sent_again(settings, monkeypatch):
    storing_fails(monkeypatch, NotCommitted("the database is away"))
    with Gateway.open(settings) as gateway:
        with pytest.raises(NotCommitted):
            Documents(gateway).take_now(document("bad"), HTTP)
        with pytest.raises(NotCommitted):
            asyncio.run(Documents(gateway).take(document("bad"), HTTP))
    assert list(quarantined(settings)) == []


def test_a_defect_with_one_document_does_not_end_the_replay_of_the_others(settings, monkeypatch):
    convert = Converter.convert

    def fails(self, data, *rest, **more):
        if b"bad" in data:
            raise KeyError("x")
        return convert(self, data, *rest, **more)

    with Gateway.open(settings) as gateway:
        documents = Documents(gateway)
        assert documents.take_now(document("good"), HTTP).is_accepted
        assert documents.take_now(document("a-bad"), HTTP).is_accepted
        assert documents.take_now(document("later"), HTTP).is_accepted
        monkeypatch.setattr(Converter, "convert", fails)
        for name in ("b-bad", "c-bad"):
            assert not documents.take_now(document(name), HTTP).is_accepted
    refused = list(replay_quarantined(settings, ()))
    assert [line.is_failure for line in refused] == [True, True]
    assert all("internal error (KeyError)" in line.text for line in refused)
    assert list(replay(settings, since=0))[-1].text.startswith(
        "3 messages replayed, 0 changed something, 1 refused"
    )
