"""Which words of a resource count, and what stands for them (R4 search.html#_text)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdg.management.store.text_query import as_fts5, as_tsquery, parsed
from hdg.management.store.text_words import WORD_MAX, symbols_of, texts_in, words_in
from hdg.management.store.values import hasher

XHTML = "http://www.w3.org/1999/xhtml"
SYMBOL = symbols_of(hasher(b"k" * 32))
WORDS = st.text(min_size=1, max_size=60).flatmap(lambda text: st.sampled_from(plain(text) or ["x"]))


def plain(text):
    return [word for word in words_in(text) if word.isalnum()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Heart FAILURE", ["heart", "failure"]),
        ("naïve Übelkeit, größer", ["naive", "ubelkeit", "grosser"]),
        ("non-small 7.2 mg/dL", ["non", "small", "7", "2", "mg", "dl"]),
        ("snake_case don't", ["snake", "case", "don", "t"]),
        ("폐렴 환자는", ["폐렴", "환자는"]),
        ("肺炎です x", ["肺", "炎", "て", "す", "x"]),
        ("Ελλάς ΕΛΛΑΣ", ["ελλασ", "ελλασ"]),
        ("ﬁbrosis", ["fibrosis"]),
        ("", []),
        ("- … %", []),
    ],
)
def test_words_are_letters_and_digits_whatever_their_case_and_accents(text, words) -> None:
    assert plain(text) == words


def narrative(div):
    own, rest = texts_in({"resourceType": "Basic", "text": {"status": "generated", "div": div}})
    assert rest == ""
    return words_in(own)


def test_the_narrative_is_what_is_read_and_blocks_end_a_text() -> None:
    inside = 'H<sub>2</sub>O <b>bo</b>ne<p title="a > b">l&uuml;ge &amp; more</p>x<br/>y<!-- no -->'
    div = f'<div xmlns="{XHTML}">{inside}</div>'
    texts = "".join("/" if word == "\x1e" else f" {word} " for word in narrative(div)).split("/")
    assert [text.split() for text in texts if text.split()] == [
        ["h2o", "bone"],
        ["luge", "more"],
        ["x"],
        ["y"],
    ]


def test_all_other_texts_are_the_rest_and_what_has_parameters_of_its_own_is_not() -> None:
    content = {
        "resourceType": "Composition",
        "id": "anid",
        "meta": {"profile": ["http://profile.example"], "tag": [{"display": "Tag"}]},
        "text": {"status": "generated", "div": f'<div xmlns="{XHTML}">own</div>'},
        "date": "2024-05-06",
        "title": "Titel",
        "subject": {"reference": "Patient/ref", "display": "Name"},
        "type": {"coding": [{"system": "http://system.example", "code": "34133-9", "display": "Summary"}]},
        "section": [{"title": "Eins", "text": {"status": "generated", "div": f'<div xmlns="{XHTML}">inner</div>'}}],
        "contained": [{"resourceType": "Patient", "id": "c", "name": [{"family": "Drinnen"}]}],
        "_date": {"extension": [{"url": "urn:ext", "valueString": "about"}]},
        "extension": [{"url": "urn:ext", "valueBase64Binary": "AAAA", "valueMarkdown": "**mark**"}],
    }  # fmt: skip
    own, rest = texts_in(content)
    assert plain(own) == ["own"]
    wanted = {"tag", "titel", "name", "34133", "9", "summary", "eins", "inner", "drinnen", "about", "mark"}
    assert set(plain(rest)) == wanted


@given(WORDS, WORDS)
@settings(max_examples=300, deadline=None)
def test_symbols_are_equal_or_begin_alike_exactly_where_the_words_do(one, other) -> None:
    first, second = SYMBOL(one), SYMBOL(other)
    cut, other_cut = one[:WORD_MAX], other[:WORD_MAX]
    assert (first == second) is (cut == other_cut)
    assert first.startswith(second) is cut.encode("utf-8", "surrogatepass").startswith(
        other_cut.encode("utf-8", "surrogatepass")
    )
    assert first.isprintable()
    assert not set(first) & set(" '\"\\:*&|!()<>\xff")


def test_symbols_depend_on_the_key_and_are_not_the_words() -> None:
    other = symbols_of(hasher(b"l" * 32))
    for word in ("diabetes", "1234567", "환자", "müll"):
        assert len({word, SYMBOL(word), other(word)}) == 3


@given(st.text(alphabet=st.sampled_from('ab*"() -and or肺ü\\:'), max_size=30))
@settings(max_examples=400, deadline=None)
def test_any_text_is_understood_or_refused(text) -> None:
    try:
        node = parsed([text], SYMBOL)
    except ValueError:
        return
    assert as_fts5(node, "narrative").startswith("{narrative} : (")
    assert "'" in as_tsquery(node, "A")


def test_a_long_word_is_found_whole_and_is_not_kept_whole() -> None:
    long = "".join(chr(97 + number * 7 % 26) for number in range(100))
    assert list(map(len, plain(long))) == [40, 40, 20]
    node = parsed([f"{long[:-5]}*"], SYMBOL)
    whole = [SYMBOL(word) for word in plain(long)]
    assert list(node.words[:2]) == whole[:2]
    assert whole[2].startswith(node.words[2])
