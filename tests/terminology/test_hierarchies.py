"""Hierarchies from files in the official formats; their contents are made up (R4 codesystem.html#hierarchy)."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from hdg.errors import TableError
from hdg.fhir.expansion import Codes, Expander, NotExpandable
from hdg.terminology.hierarchies import FILE, Hierarchies
from hdg.terminology.loading import LOINC, SNOMED, load_hierarchies, remove_hierarchy

IS_A, OTHER = "116680003", "363698007"
HEAD = (
    "id\teffectiveTime\tactive\tmoduleId\tsourceId\tdestinationId\trelationshipGroup\ttypeId\t"
    "characteristicTypeId\tmodifierId"
)


def relationships(folder, *rows, name="sct2_Relationship_Snapshot_XX_20260101.txt"):
    """``rows``: (source, destination, type, active)."""
    lines = [
        f"{number}\t20260101\t{active}\t9\t{source}\t{target}\t0\t{kind}\t1\t2"
        for number, (source, target, kind, active) in enumerate(rows)
    ]
    path = folder / name
    path.write_text("\r\n".join([HEAD, *lines, ""]))
    return path


@pytest.fixture
def snomed(tmp_path):
    """100 ⊃ 110 ⊃ 111, 112; 120 ⊃ 112; and what does not count."""
    return relationships(
        tmp_path,
        ("110", "100", IS_A, 1),
        ("120", "100", IS_A, 1),
        ("111", "110", IS_A, 1),
        ("112", "110", IS_A, 1),
        ("112", "120", IS_A, 1),
        ("113", "110", IS_A, 0),
        ("114", "110", OTHER, 1),
    )


def tree(folder, url=SNOMED):
    found = Hierarchies(folder).tree(url)
    assert found is not None
    return found


def test_what_is_loaded_is_read_while_another_release_is_written(tmp_path, snomed) -> None:
    load_hierarchies(tmp_path, [snomed])
    with contextlib.closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")  # as with a large one: much is written before it is committed
        writer.execute("BEGIN IMMEDIATE")
        rows = ((9, str(number), "x" * 500) for number in range(1000))
        writer.executemany("INSERT INTO edge (skey, parent, code) VALUES (?, ?, ?)", rows)
        assert tree(tmp_path).children("100", 99) == {"110", "120"}
        writer.execute("ROLLBACK")


def test_a_file_that_is_none_leaves_searches_as_they_were(tmp_path) -> None:
    (tmp_path / "odd.csv").write_text("what,is,this\n")
    with pytest.raises(TableError):
        load_hierarchies(tmp_path, [tmp_path / "odd.csv"])
    assert Hierarchies(tmp_path).tree(SNOMED) is None
    assert Hierarchies(tmp_path).loaded() == []


def test_active_is_a_relationships_are_the_hierarchy_of_snomed_ct(tmp_path, snomed) -> None:
    assert load_hierarchies(tmp_path, [snomed]) == {SNOMED: 5}
    found = tree(tmp_path)
    assert found.below("100", 99) == {"110", "111", "112", "120"}
    assert found.below("110", 99) == {"111", "112"}
    assert found.above("112", 99) == {"100", "110", "120"}
    assert found.children("100", 99) == {"110", "120"}
    assert [found.has(code) for code in ("100", "112", "113", "114", "")] == [True, True, False, False, False]
    assert len(found.below("100", 2)) == 2
    assert Hierarchies(tmp_path).loaded() == [(SNOMED, 5)]


def test_an_extension_goes_with_its_edition_and_a_new_release_replaces_both(tmp_path, snomed) -> None:
    extension = relationships(tmp_path, ("9110", "112", IS_A, 1), name="sct2_Relationship_Snapshot_KR_1.txt")
    assert load_hierarchies(tmp_path, [snomed, extension]) == {SNOMED: 6}
    assert "9110" in tree(tmp_path).below("100", 99)
    assert load_hierarchies(tmp_path, [snomed]) == {SNOMED: 5}
    assert "9110" not in tree(tmp_path).below("100", 99)


def test_loinc_s_hierarchy_and_a_table_of_one_s_own(tmp_path) -> None:
    loinc = tmp_path / "ComponentHierarchyBySystem.csv"
    loinc.write_text(
        "PATH_TO_ROOT,SEQUENCE,IMMEDIATE_PARENT,CODE,CODE_TEXT\n"
        ',1,,LP1-1,"Root, made up"\nLP1-1,1,LP1-1,LP2-2,Part\nLP1-1.LP2-2,1,LP2-2,1-8,A test\n'
    )
    own = tmp_path / "own.csv"
    own.write_text("\ufeffsystem,code,parent\nurn:own,a,\nurn:own,b,a\nurn:own,c,b\nurn:own,a,c\n")
    assert load_hierarchies(tmp_path, [loinc, own]) == {LOINC: 3, "urn:own": 4}
    assert tree(tmp_path, LOINC).below("LP1-1", 99) == {"LP2-2", "1-8"}
    assert tree(tmp_path, LOINC).above("1-8", 99) == {"LP1-1", "LP2-2"}
    assert tree(tmp_path, "urn:own").below("a", 99) == {"b", "c"}  # a circle has an end


def test_a_file_that_is_not_understood_changes_nothing(tmp_path, snomed) -> None:
    load_hierarchies(tmp_path, [snomed])
    wrong = {
        "a.csv": "code,parent\na,b\n",
        "b.csv": "system,code,parent\nurn:own,a,\nurn:own,b\n",
        "c.csv": "system,code,parent\nurn:own,,a\n",
        "d.csv": b"system,code,parent\nurn:own,\xff,a\n",
        "sct2_Relationship_Delta_INT.txt": HEAD + "\n1\t2\t1\t9\t1\t2\t0\t116680003\t1\t2\n",
        "twice.txt": HEAD + 2 * "\n1\t2\t1\t9\t1\t2\t0\t116680003\t1\t2",
        "short.txt": HEAD + "\n1\t2\t1\n",
        "empty.csv": "",
    }
    for name, content in wrong.items():
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(TableError, match=name):
            load_hierarchies(tmp_path, [snomed, path])
        assert Hierarchies(tmp_path).loaded() == [(SNOMED, 5)]


def test_a_hierarchy_is_removed_whole(tmp_path, snomed) -> None:
    assert not remove_hierarchy(tmp_path, SNOMED)
    load_hierarchies(tmp_path, [snomed])
    assert remove_hierarchy(tmp_path, SNOMED)
    assert not remove_hierarchy(tmp_path, SNOMED)
    assert Hierarchies(tmp_path).tree(SNOMED) is None
    with sqlite3.connect(tmp_path / FILE) as connection:
        assert connection.execute("SELECT count(*) FROM edge").fetchone() == (0,)
    connection.close()


def filtered(*filters, system=SNOMED):
    listed = [{"property": name, "op": how, "value": value} for name, how, value in filters]
    return {"resourceType": "ValueSet", "compose": {"include": [{"system": system, "filter": listed}]}}


FILTERS = [
    ([("concept", "is-a", "110")], Codes(frozenset({"110", "111", "112"}))),
    ([("concept", "descendent-of", "110")], Codes(frozenset({"111", "112"}))),
    ([("concept", "is-not-a", "110")], Codes(frozenset({"110", "111", "112"}), is_rest=True)),
    ([("concept", "is-a", "110"), ("concept", "is-a", "120")], Codes(frozenset({"112"}))),
    ([("concept", "is-a", "100"), ("concept", "is-not-a", "120")], Codes(frozenset({"100", "110", "111"}))),
    ([("parent", "=", "100")], Codes(frozenset({"110", "120"}))),
    ([("ancestor", "=", "120")], Codes(frozenset({"112"}))),
]


@pytest.mark.parametrize(("filters", "codes"), FILTERS)
def test_filters_of_value_sets_are_evaluated_on_it(tmp_path, snomed, filters, codes) -> None:
    load_hierarchies(tmp_path, [snomed])
    expander = Expander(lambda *_: None, Hierarchies(tmp_path).tree)
    assert expander.of(filtered(*filters)) == {SNOMED: codes}


@pytest.mark.parametrize(
    "filters", [[("concept", "is-a", "999")], [("constraint", "=", "110")], [("concept", "regex", "110")]]
)
def test_a_filter_that_it_does_not_have_is_refused(tmp_path, snomed, filters) -> None:
    load_hierarchies(tmp_path, [snomed])
    with pytest.raises(NotExpandable):
        Expander(lambda *_: None, Hierarchies(tmp_path).tree).of(filtered(*filters))


def test_implicit_value_sets_of_snomed_ct(tmp_path, snomed) -> None:
    load_hierarchies(tmp_path, [snomed])
    expander = Expander(lambda *_: None, Hierarchies(tmp_path).tree)
    assert expander.expand(f"{SNOMED}?fhir_vs=isa/110") == {SNOMED: Codes(frozenset({"110", "111", "112"}))}
    assert expander.expand(f"{SNOMED}?fhir_vs") == {SNOMED: Codes(frozenset(), is_rest=True)}
    for other in ("fhir_vs=refset/1", "fhir_vs=ecl/<110", "fhir_vs=isa/999", "fhir_vs=isa/", "x=1"):
        with pytest.raises(NotExpandable):
            expander.expand(f"{SNOMED}?{other}")


def test_a_part_of_too_many_codes_is_never_taken_for_all(tmp_path) -> None:
    big = tmp_path / "big.csv"
    rows = "".join(f"urn:big,c{number},top\n" for number in range(20_000))
    big.write_text(f"system,code,parent\n{rows}urn:big,few,c1\n")
    load_hierarchies(tmp_path, [big])
    expander = Expander(lambda *_: None, Hierarchies(tmp_path).tree)
    assert expander.related("urn:big", "c1", is_above=False).codes == {"c1", "few"}
    for ask in (
        lambda: expander.related("urn:big", "top", is_above=False),
        lambda: expander.of(
            filtered(("concept", "is-a", "top"), ("concept", "is-a", "c1"), system="urn:big")
        ),
    ):
        with pytest.raises(NotExpandable, match="more codes"):
            ask()
