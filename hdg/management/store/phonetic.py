"""What a name sounds like, for ``phonetic`` parameters.

R4 patient.html#search leaves the algorithm to the server. This is the Soundex of the United States census (a letter and
three digits a word) with a few spellings of the same beginning put together first (Catherine and Katherine, Philip and
Filip). Words in other scripts than Latin sound like themselves.
"""

from __future__ import annotations

import re
from functools import lru_cache

from hdg.management.store.values import fold

__all__ = ["phonetic"]

_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile(r"[a-z]+\Z")
_BEGINNINGS = (
    *(("kn", "n"), ("gn", "n"), ("pn", "n"), ("wr", "r"), ("ps", "s"), ("ph", "f"), ("wh", "w"), ("sch", "s")),
    *(("sh", "s"), ("ch", "k"), ("ci", "si"), ("ce", "se"), ("cy", "sy"), ("c", "k"), ("q", "k"), ("x", "s")),
    ("z", "s"),
)  # fmt: skip
_DIGITS = {
    letter: digit
    for digit, letters in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), start=1)
    for letter in letters
}


@lru_cache(maxsize=16_384)
def phonetic(text: str) -> str:
    """The code of each word, joined by spaces; '' when there is no word."""
    return " ".join(_code(word) for word in _WORD.findall(fold(text)))


def _code(word: str) -> str:
    if not _LATIN.match(word):
        return word
    for spelling, sound in _BEGINNINGS:
        if word.startswith(spelling):
            word = sound + word[len(spelling) :]
            break
    code, last = word[0], _DIGITS.get(word[0], 0)
    for letter in word[1:]:
        digit = _DIGITS.get(letter, 0)
        if digit and digit != last:
            code += str(digit)
        if letter not in "hw":  # these do not part two letters of one sound
            last = digit
    return code[:4].ljust(4, "0")
