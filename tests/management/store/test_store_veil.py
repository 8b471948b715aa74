"""Veiled texts: beginnings stay beginnings, and nothing else stays (R4 search.html#token)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hdg.management.store.values import fold, hasher
from hdg.management.store.veil import VEILED_MAX, veiler

VEIL = veiler(hasher(b"k" * 32))
OTHER = veiler(hasher(b"j" * 32))
TEXT = st.one_of(st.text(alphabet="abé한 \x01", max_size=12), st.text(max_size=30))


@given(TEXT, TEXT)
def test_a_text_begins_with_another_exactly_if_the_veiled_do(text, start):
    kept = lambda one: fold(one).encode()[:VEILED_MAX]  # noqa: E731
    assert VEIL(text).startswith(VEIL(start)) == kept(text).startswith(kept(start))


@given(TEXT)
def test_a_database_takes_what_is_made(text):
    veiled = VEIL(text)
    assert "\0" not in veiled
    assert len(veiled) == min(len(fold(text).encode()), VEILED_MAX)
    assert not any(0xD800 <= ord(symbol) <= 0xDFFF for symbol in veiled)


def test_a_symbol_depends_on_the_key_and_on_all_that_comes_before():
    assert VEIL("depression") != OTHER("depression")
    endings = {VEIL(f"{start}a")[-1] for start in ("", "a", "b", "aa", "ab", "ba", "bb", "abc", "abd", "abe")}
    assert len(endings) > 5
    firsts = {VEIL(letter) for letter in "abcdefghijklmnopqrstuvwxyz 0123456789"}
    assert len(firsts) == 37
