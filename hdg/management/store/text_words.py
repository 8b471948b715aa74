"""The words of a resource, for ``_text`` and ``_content``, as the index keeps them.

R4 search.html#_text. Words are letters and digits, whatever their case and accents; each Chinese or Japanese sign is
one. Narrative is that of the resource itself; all other text of it is the rest: elements of type string, markdown
and code and other narratives, also of contained resources. Numbers, dates, URIs, references and ids have parameters of
their own; attachments are not opened.

In plain the words would tell what the encrypted bodies hold. So each becomes a *symbol*, as in veil.py: byte by byte,
by the key and all bytes before it, one to one. Equal words stay equal and equal beginnings too (docs/security.md).
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

from hdg.fhir import definitions
from hdg.management.store.values import Hash

__all__ = [
    "BREAK",
    "TEXT_VERSION",
    "WORD_MAX",
    "Symbol",
    "Words",
    "is_sign",
    "symbols_of",
    "texts_in",
    "words_in",
    "words_of",
]

JsonObject = dict[str, Any]
Symbol = Callable[[str], str]
"""A word → what stands for it."""

TEXT_VERSION = "1"
"""Raise it when words or symbols change: the index is then made anew."""
WORD_MAX = 40
"""Characters of a word; a longer one is several, which are looked for one behind the other."""
BREAK = "\xff"
"""Stands between two texts: no phrase goes over it, and no word is it."""
_BREAK = "\x1e"
"""A record separator, which no FHIR text holds."""

_TEXT = "text"
_DIV = "div"
_TEXT_TYPES = frozenset({"string", "markdown", "code"})
_LEFT_OUT = frozenset({("Reference", "reference"), ("Narrative", "status"), ("Coding", "version")})
_TOKEN = re.compile(rf"[^\W_]{{1,{WORD_MAX}}}|\x1e")
_SIGN = re.compile(
    "([\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_INLINE = re.compile(
    r"</?(?:a|abbr|acronym|b|bdo|big|cite|code|del|dfn|em|font|i|ins|kbd|q|s|samp|small|span|strike|strong|sub|sup|tt|u"
    r"|var)(?:\s(?:[^>\"']|\"[^\"]*\"|'[^']*')*+)?/?>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?:[^>\"']|\"[^\"]*\"|'[^']*')*+>")


class Words(NamedTuple):
    """Symbols of a resource's own narrative and of everything else, in their order, BREAK between texts."""

    narrative: list[str]
    rest: list[str]


def words_of(resource: JsonObject, symbol: Symbol) -> Words:
    """All words of a resource."""
    own, rest = texts_in(resource)
    return Words(list(map(symbol, words_in(own))), list(map(symbol, words_in(rest))))


def texts_in(resource: JsonObject) -> tuple[str, str]:
    """(its own narrative, all other texts), with marks between what does not belong together."""
    narrative = resource.get("text")
    div = narrative.get("div") if type(narrative) is dict else None
    found: list[str] = []
    for key, (kind, of) in _plan(resource["resourceType"]).items():
        if key in resource and key != "text":
            _gather(resource[key], kind, of, found)
    return _plain(div) if type(div) is str else "", _BREAK.join(found)


def words_in(text: str) -> list[str]:
    """The words of a text, and its marks."""
    if text.isascii():
        return _TOKEN.findall(text.lower())
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    return _TOKEN.findall(_SIGN.sub(r" \1 ", unicodedata.normalize("NFC", plain)))


def is_sign(word: str) -> bool:
    """Whether it is one Chinese or Japanese sign, which is a word by itself."""
    return _SIGN.fullmatch(word) is not None


@lru_cache(maxsize=8)
def symbols_of(hash_: Hash) -> Symbol:
    """Word → symbol of letters and digits: ``a`` begins with ``b`` exactly if their symbols do."""
    key = b"".join(hash_(f"words {part}").to_bytes(8, "big", signed=True) for part in range(4))

    @lru_cache(maxsize=65_536)
    def symbol(word: str) -> str:
        if word == _BREAK:
            return BREAK
        found = []
        state = b""
        for byte in word.encode("utf-8", "surrogatepass"):
            state = hashlib.blake2b(state, digest_size=16, key=key).digest()
            place = _PLACES.get(byte)
            if place is None:
                found.append(chr(0x100 + (((byte ^ state[0]) * (state[1] | 1) + state[2]) & 0xFF)))
            else:
                found.append(_ALPHABET[(place * _FACTORS[state[0] % len(_FACTORS)] + state[1]) % 36])
            state += bytes((byte,))
        return "".join(found)

    return symbol


_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_PLACES = {byte: place for place, byte in enumerate(_ALPHABET.encode())}
_FACTORS = (1, 5, 7, 11, 13, 17, 19, 23, 25, 29, 31, 35)
"""Those that have no divisor in common with the alphabet's length."""


@cache
def _plan(type_: str) -> dict[str, tuple[str, str]]:
    """Element → (text, div or the name of its type, that type) for the elements that can hold text."""
    found: dict[str, tuple[str, str]] = {}
    for element in definitions.type_definition(type_).elements:
        for name, kind in element.json_names():
            if name == "id" or (type_, name) in _LEFT_OUT:
                continue
            if kind == "xhtml":
                found[name] = (_DIV, "")
            elif kind in _TEXT_TYPES:
                found[name] = (_TEXT, "")
            elif not definitions.is_primitive(kind):
                found[name] = ("", kind)
            if definitions.is_primitive(kind):
                found["_" + name] = ("", "Element")
    return found


def _gather(value: Any, kind: str, of: str, found: list[str]) -> None:
    for item in value if type(value) is list else (value,):
        if kind:
            if type(item) is str:
                found.append(item if kind == _TEXT else _plain(item))
        elif type(item) is dict:
            named = item.get("resourceType") if "resourceType" in item else of
            for key, inside in item.items():
                step = _plan(named).get(key)
                if step is not None:
                    _gather(inside, *step, found)


def _plain(div: str) -> str:
    """The text of a narrative, which is well-formed XHTML; what is no inline element ends a text."""
    if "<!--" in div:
        div = _COMMENT.sub("", div)
    text = _TAG.sub(_BREAK, _INLINE.sub("", div))
    return html.unescape(text) if "&" in text else text
