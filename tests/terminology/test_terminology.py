"""The system registry and concept maps: exact lookups, no guesses (DESIGN §5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdg.data import folder
from hdg.errors import TableError
from hdg.terminology import registry, translate
from hdg.terminology.concepts import load_map
from hdg.terminology.systems import load_systems

MAP_HEADER = "source_system,source_code,target_system,target_code,target_display,relationship,note\n"


@pytest.mark.parametrize(
    "name", ["LN", "ln", "LOINC", "2.16.840.1.113883.6.1", "urn:oid:2.16.840.1.113883.6.1"]
)
def test_a_system_is_known_by_name_alias_and_oid(name: str) -> None:
    assert registry().uri(name) == "http://loinc.org"


def test_a_v2_table_is_known_in_both_spellings() -> None:
    assert (
        registry().uri("HL70203")
        == registry().uri("v2-0203")
        == "http://terminology.hl7.org/CodeSystem/v2-0203"
    )


@pytest.mark.parametrize("name", ["", "L", "99LAB", "2.999.1", "http://no.such.system"])
def test_an_unknown_system_stays_unknown(name: str) -> None:
    assert registry().uri(name) is None


def test_a_map_translates_exactly_and_by_system() -> None:
    found = translate("administrative-gender", "F")
    assert found is not None
    assert found.code == "female"
    assert translate("administrative-gender", "f") is None
    assert translate("administrative-gender", "F", "urn:another:system") is None
    assert translate("no-such-map", "F") is None


def test_every_shipped_map_loads() -> None:
    for path in sorted((folder("terminology") / "maps").glob("*.csv")):
        assert load_map(path, registry()).name == path.stem


@pytest.mark.parametrize(
    "row", ["nope,A,LN,B,,,\n", "LN,A,LN,B,,,\nLN,A,LN,C,,,\n", "LN,,LN,B,,,\n", "LN,A,LN\n"]
)
def test_a_broken_map_is_named_by_file_and_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(MAP_HEADER + row, encoding="utf-8")
    with pytest.raises(TableError) as caught:
        load_map(path, registry())
    assert str(caught.value).startswith("maps/x.csv:")


def test_a_row_without_target_code_says_that_there_is_no_equivalent(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(MAP_HEADER + "LN,A,,,,,no equivalent\n,B,LN,C,Shown,,\n", encoding="utf-8")
    concepts = load_map(path, registry())
    assert concepts.translate("A") is None
    found = concepts.translate("B", "http://any.org")
    assert found is not None
    assert found.coding() == {"system": "http://loinc.org", "code": "C", "display": "Shown"}


def test_a_broken_registry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "systems.csv"
    path.write_text("name,uri\n", encoding="utf-8")
    with pytest.raises(TableError):
        load_systems(path)
