"""Finding tables: an override's file replaces the shipped one whole (DESIGN §4)."""

from __future__ import annotations

from pathlib import Path

from hdg.mapping.library import Library

HEADER = "source,name,target,as,map,when,default,note\n"


def test_a_file_of_the_override_replaces_the_shipped_one(tmp_path: Path) -> None:
    folder = tmp_path / "hl7v2" / "datatypes"
    folder.mkdir(parents=True)
    (folder / "CX.Identifier.csv").write_text(HEADER + "CX.1,x,value,string,,,,\n", encoding="utf-8")
    table = Library("hl7v2", override=tmp_path).table("datatypes", "CX.Identifier")
    assert table is not None
    assert len(table.rules) == 1
    assert table.file == str(folder / "CX.Identifier.csv")
    shipped = Library("hl7v2").table("datatypes", "CX.Identifier")
    assert shipped is not None
    assert shipped.file == "hl7v2/datatypes/CX.Identifier.csv"


def test_a_site_may_bring_its_own_concept_map(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    header = "source_system,source_code,target_system,target_code,target_display,relationship,note\n"
    (tmp_path / "maps" / "administrative-gender.csv").write_text(header + ",W,,female,,,\n", encoding="utf-8")
    own = Library("hl7v2", override=tmp_path).concept_map("administrative-gender")
    shipped = Library("hl7v2").concept_map("administrative-gender")
    assert own is not None
    assert shipped is not None
    assert own.translate("W") is not None
    assert shipped.translate("W") is None


def test_the_digest_changes_with_any_table(tmp_path: Path) -> None:
    before = Library("hl7v2", override=tmp_path).digest
    (tmp_path / "x.csv").write_text("a", encoding="utf-8")
    assert Library("hl7v2", override=tmp_path).digest != before


def test_what_is_not_there_is_none() -> None:
    library = Library("hl7v2")
    assert library.table("segments", "XXX.Patient") is None
    assert library.concept_map("no-such-map") is None
    assert "PID.Patient" in library.names("segments")
