"""The index of words on both databases: what it finds, while it is filled, after changes (R4 search.html#_text)."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy import text, true

from hdg.errors import BadRequest
from hdg.management.store import Clause, SearchQuery, Store
from hdg.management.store.custom import TEXTS
from hdg.management.store.custom_register import Catalog
from hdg.management.store.text_check import put_right
from hdg.management.store.text_erase import unguard
from hdg.management.store.text_fill import TextFill

XHTML = "http://www.w3.org/1999/xhtml"


def condition(id_, narrative="", **rest):
    found = {
        "resourceType": "Condition",
        "id": id_,
        "subject": {"reference": "Patient/p", "display": "Eve"},
        **rest,
    }
    if narrative:
        found["text"] = {"status": "generated", "div": f'<div xmlns="{XHTML}">{narrative}</div>'}
    return found


def put(do, resource):
    return do(lambda session: session.put(resource, institution="s"))


def fill(store, *, is_on=True, window=200):
    return TextFill(store, store._shared.indexer.id_hash, is_on=is_on, window=window)


def turn(store, *, is_on=True):
    filling = fill(store, is_on=is_on)
    while filling.step():
        pass


def asked(store, param, value, type_="Condition", others=(), count=50):
    clauses = (Clause(param, "text", "", (value,) if isinstance(value, str) else value), *others)
    return store.reader.search(SearchQuery(type_, clauses, count, custom=(TEXTS,)), true())


def found(store, param, value, type_="Condition", others=()):
    page = asked(store, param, value, type_, others)
    ids = [version.id for version in page.versions]
    assert page.total == len(ids) == len(set(ids))
    return sorted(ids)


def stand(store):
    return Catalog(store.engine).current().texts


def count(store):
    with store.engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM text_index")).scalar()


@pytest.fixture
def ward(store: Store, do) -> Store:
    put(
        do, condition("bone", "<p>Metastases in the <b>bo</b>ne</p><p>left femur</p>", code={"text": "Krebs"})
    )
    put(do, condition("liver", "metastases of the LIVER", note=[{"text": "Not in the bone"}]))
    put(do, condition("heart", "Heart failure, non-small; naïve Übelkeit", code={"text": "Herzinsuffizienz"}))
    put(
        do,
        condition(
            "korean",
            "폐렴 환자는 肺炎",
            code={"coding": [{"system": "urn:x", "code": "J18", "display": "Pneumonie"}]},
        ),
    )
    put(do, condition("bare"))
    put(do, {"resourceType": "Basic", "id": "other", "code": {"text": "metastases"}})
    turn(store)
    return store


NARRATIVE = [
    ("metastases", ["bone", "liver"]),
    ("METASTASES bone", ["bone"]),
    ("(bone OR liver) and metastases", ["bone", "liver"]),
    ("bone or liver and failure", ["bone"]),
    ('"left femur"', ["bone"]),
    ('"femur left"', []),
    ('"bone left"', []),
    ('"heart fail*"', ["heart"]),
    ("meta*", ["bone", "liver"]),
    ("metastase", []),
    ("non-small", ["heart"]),
    ("small-non", []),
    ("naive", ["heart"]),
    ("ubelkeit", ["heart"]),
    ("ÜBELKEIT", ["heart"]),
    ("환자*", ["korean"]),
    ("환자", []),
    ("肺炎", ["korean"]),
    ("炎肺", []),
    ("炎", ["korean"]),
    ("krebs", []),
    ('"and"', []),
    ("nothing", []),
    ("generated", []),
]


def test_words_of_the_narrative_are_found(ward) -> None:
    assert [(value, found(ward, "_text", value)) for value, _ in NARRATIVE] == NARRATIVE


ALL = [
    ("metastases", ["bone", "liver"]),
    ("krebs", ["bone"]),
    ("krebs metastases", ["bone"]),
    ("pneumonie", ["korean"]),
    ("j18", ["korean"]),
    ("eve", ["bare", "bone", "heart", "korean", "liver"]),
    ('"the bone"', ["bone", "liver"]),
    ('"krebs eve"', []),
    ('"eve metastases"', []),
    ("p", []),
    ("urn", []),
]


def test_words_of_all_the_text_are_found(ward) -> None:
    assert [(value, found(ward, "_content", value)) for value, _ in ALL] == ALL


def test_alternatives_other_parameters_and_types_go_with_it(ward) -> None:
    assert found(ward, "_text", ("femur", "failure")) == ["bone", "heart"]
    subject = Clause("subject", "reference", "", ("Patient/p",))
    code = Clause("code", "token", "", ("J18",))
    assert found(ward, "_content", "eve", others=(subject,)) == ["bare", "bone", "heart", "korean", "liver"]
    assert found(ward, "_content", "eve", others=(code,)) == ["korean"]
    assert found(ward, "_text", "bone", others=(code,)) == []
    assert found(ward, "_content", "metastases", type_="Basic") == ["other"]
    either = SearchQuery(
        "", (Clause("_content", "text", "", ("metastases",)),), types=("Basic", "Condition"), custom=(TEXTS,)
    )
    assert {v.id for v in ward.reader.search(either, true()).versions} == {"bone", "liver", "other"}
    not_text = Clause(
        "_filter", "filter", "not", links=(("", Clause("_content", "text", "", ("metastases",))),)
    )
    query = SearchQuery("Condition", (not_text,), custom=(TEXTS,))
    assert {v.id for v in ward.reader.search(query, true()).versions} == {"heart", "korean", "bare"}


UNREADABLE = [
    "",
    " ",
    "*",
    "a*",
    "x **",
    "wom*n",
    "(a",
    "a)",
    "()",
    "a or",
    "or a",
    "and",
    "not a",
    '"a',
    '""',
    "- - -",
    "(" * 30,
    "a " * 101,
]


def test_what_cannot_be_read_is_refused_by_name_and_repeats_nothing(ward) -> None:
    for value in UNREADABLE:
        with pytest.raises(BadRequest, match=r"^_text: ") as refused:
            asked(ward, "_text", value)
        assert value.strip() in ("", "*", "and") or value not in str(refused.value)


SYNTAX = [
    "narrative:bone",
    "bone:A",
    "NEAR(bone femur, 2)",
    "^bone",
    "bone + femur",
    "{narrative}",
    "bone & femur",
    "bone | liver",
    "!bone",
    "bone <-> femur",
    "'bone'",
    "bone'); DROP TABLE text_index; --",
    "%",
    "bone%",
    "_",
    "\\",
    "\\\\bone",
    "bone\\",
    "$$",
    "\x00bone",
    "bone\udc00",
    "\ud800",
    "b" * 70_000,
    "bone " * 99,
    "ÿ",
    "ƁÿƁ",
    "\x1e",
    "bone\x1eliver",
    "🦴",
    "ﬁ",
    "İ",
    "ǅ",
    "٣",
    "²",
]


def test_signs_that_mean_something_to_a_database_are_no_syntax(ward) -> None:
    for value in SYNTAX:
        for param in ("_text", "_content"):
            with contextlib.suppress(BadRequest):
                asked(ward, param, value)
    assert found(ward, "_text", "femur") == ["bone"]


def test_updates_deletions_and_returns_keep_it_right(ward, do) -> None:
    put(do, condition("bone", "nothing of note"))
    assert found(ward, "_text", "femur") == []
    assert found(ward, "_text", "note") == ["bone"]
    put(do, condition("bare", "now with words"))
    put(do, condition("liver"))
    assert (found(ward, "_text", "words"), found(ward, "_text", "liver")) == (["bare"], [])
    do(lambda session: session.delete("Condition", "heart", institution="s"))
    assert found(ward, "_text", "failure") == []
    put(do, condition("heart", "failure again"))
    assert found(ward, "_text", "failure") == ["heart"]
    for number in range(3):
        do(lambda session, n=number: session.put(condition("twice", f"state {n}"), institution="s"))
    assert (found(ward, "_text", '"state 2"'), found(ward, "_text", '"state 1"')) == (["twice"], [])
    with ward.engine.connect() as connection:
        rows = connection.execute(text("SELECT rowid FROM text_index")).scalars().all()
    assert len(rows) == len(set(rows)) == 7


def test_what_is_there_is_taken_in_by_windows_and_what_is_written_meanwhile_at_once(store, do) -> None:
    for number in range(5):
        put(do, condition(f"c{number}", f"early {number}"))
    filling = fill(store, window=2)
    assert filling.step()
    with pytest.raises(BadRequest, match="ask again"):
        asked(store, "_text", "early")
    assert 0 < stand(store).done < 100
    put(do, condition("c0", "changed behind"))
    put(do, condition("c3", "changed before"))
    put(do, condition("new", "early too"))
    do(lambda session: session.delete("Condition", "c4", institution="s"))
    while filling.step():
        pass
    assert stand(store).is_full
    assert found(store, "_text", "early") == ["c1", "c2", "new"]
    assert found(store, "_text", "changed") == ["c0", "c3"]
    assert count(store) == 5
    assert not fill(store).step()


def test_two_that_fill_at_once_put_nothing_in_twice(store, do) -> None:
    for number in range(7):
        put(do, condition(f"c{number}", f"early {number}"))
    one, other = fill(store, window=2), fill(store, window=3)
    while any([one.step(), other.step()]):
        pass
    assert len(found(store, "_text", "early")) == 7
    assert count(store) == 7


def test_turned_off_it_is_gone_with_its_words_and_on_again_it_is_whole(ward, do) -> None:
    turn(ward, is_on=False)
    assert stand(ward) is None
    with pytest.raises(BadRequest, match="ask again"):
        asked(ward, "_text", "femur")
    with ward.engine.connect() as connection, pytest.raises(Exception, match="text_index"):
        connection.execute(text("SELECT * FROM text_index"))
    put(do, condition("later", "femur right"))
    turn(ward)
    assert found(ward, "_text", "femur") == ["bone", "later"]


def test_other_rules_make_it_anew(ward, do, monkeypatch) -> None:
    for module in ("text_fill", "text_state"):
        monkeypatch.setattr(f"hdg.management.store.{module}.TEXT_VERSION", "next")
    with pytest.raises(BadRequest, match="ask again"):
        asked(ward, "_text", "femur")
    do(lambda session: session.connection.execute(text("DELETE FROM text_index")) and None)
    turn(ward)
    assert stand(ward).version == "next"
    assert found(ward, "_text", "femur") == ["bone"]


def test_what_was_lost_or_changed_in_it_is_put_right(ward, do) -> None:
    is_sqlite = ward.engine.dialect.name == "sqlite"
    columns, other = ("narrative, rest", "'x', 'y'") if is_sqlite else ("words", "to_tsvector('simple', 'x')")
    hash_ = ward._shared.indexer.id_hash
    assert put_right(ward, hash_) == 0

    def harm(session):
        for sql in (
            "DELETE FROM text_index WHERE rowid IN (SELECT rkey FROM resource WHERE id IN ('bone', 'liver'))",
            f"INSERT INTO text_index (rowid, {columns}) SELECT rkey, {other} FROM resource WHERE id = 'liver'",
            f"INSERT INTO text_index (rowid, {columns}) VALUES (999, {other})",
        ):
            session.connection.execute(text(sql))

    do(harm)
    assert found(ward, "_text", "bone") == []
    assert put_right(ward, hash_, window=2) == 3
    assert put_right(ward, hash_) == 0
    assert found(ward, "_text", "bone or liver") == ["bone", "liver"]
    assert count(ward) == 6
    turn(ward, is_on=False)
    assert put_right(ward, hash_) == 0


def test_another_process_keeps_an_index_that_it_did_not_turn_on(ward, settings, keys, clock) -> None:
    with Store.open(settings, keys, clock) as other:
        work = lambda session: session.put(condition("theirs", "femur of others"), institution="s")  # noqa: E731
        other.submit(work).result(120)
    assert found(ward, "_text", "femur") == ["bone", "theirs"]


def test_no_word_lies_in_the_index_in_plain(ward) -> None:
    with ward.engine.connect() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        columns = "narrative, rest" if is_sqlite else "words"
        rows = str(connection.execute(text(f"SELECT {columns} FROM text_index")).all()).lower()
    for word in ("metastases", "femur", "krebs", "bone", "j18", "환자는"):
        assert word not in rows


def test_long_texts_are_found_by_all_their_words_and_by_phrases_at_their_beginning(store, do) -> None:
    words = [f"w{number}" for number in range(9_000)]
    put(
        do, condition("long", " ".join(words), note=[{"text": " ".join([*words, "same " * 400, "last one"])}])
    )
    turn(store)
    for value in ("w8999", '"w7000 w7001"', "w0 w8999"):
        assert found(store, "_text", value) == ["long"]
    assert found(store, "_content", "last") == ["long"]
    assert found(store, "_content", '"w8998 w3"') == []


def test_a_text_of_more_words_than_the_index_takes_is_stored_all_the_same(store, do) -> None:
    turn(store)
    words = " ".join(f"{'ω' * 30}{number:x}" for number in range(8_000))
    put(do, condition("huge", words, note=[{"text": words[::-1]}, {"text": "\x1e\x00 ' \\ end"}]))
    put(do, condition("next", "small"))
    assert found(store, "_text", f"{'ω' * 30}1") == ["huge"]
    assert found(store, "_text", "small") == ["next"]
    put(do, condition("huge", "small"))
    assert found(store, "_text", "small") == ["huge", "next"]
    assert found(store, "_text", f"{'ω' * 30}1") == []


def test_what_no_key_opens_any_more_loses_its_words_and_is_not_taken_in(
    ward, do, settings, keys, clock
) -> None:
    patient = {
        "resourceType": "Basic",
        "id": "of-p",
        "code": {"text": "femur"},
        "subject": {"reference": "Patient/p"},
    }
    do(lambda session: session.put(patient, institution="s", patient="p"))
    assert found(ward, "_content", "femur", "Basic") == ["of-p"]
    do(lambda session: unguard(session.connection))  # as a release before the triggers had it
    erase = "UPDATE owner_key SET wrapped_kek = NULL WHERE kind = 'patient' AND owner = 'p'"
    do(lambda session: session.connection.execute(text(erase)) and None)
    ward.close()
    with Store.open(settings, keys, clock) as store:
        assert put_right(store, store._shared.indexer.id_hash) == 6
        assert found(store, "_content", "femur", "Basic") == []
        turn(store, is_on=False)
        turn(store)
        assert count(store) == 1


def test_what_cannot_be_read_for_words_is_stored_all_the_same(store, do) -> None:
    turn(store)
    deep = {"linkId": "1"}
    for _ in range(100):
        deep = {"linkId": "1", "item": [deep], "text": "deep"}
    put(do, {"resourceType": "Questionnaire", "id": "deep", "status": "draft", "item": [deep]})
    for number, odd in enumerate(
        ({"resourceType": "Nothing", "x": 1}, {"resourceType": []}, "text", 7, None)
    ):
        put(do, condition(f"odd{number}", "words", contained=[odd]))
    page = store.reader.search(SearchQuery("Condition", ()), true())
    assert page.total == 5
    assert found(store, "_content", "deep", "Questionnaire") == ["deep"]
