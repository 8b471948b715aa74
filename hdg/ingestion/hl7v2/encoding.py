r"""Delimiters, and taking fields apart. HL7 v2.9 §2.5.4 (delimiters), §2.5.3 (three states of a field).

Inside hdg every message is in the standard delimiters ``|^~\&`` (the parser rewrites others), so the helpers
here take no delimiter arguments. A field is absent (''), deleted (``NULL``), or valued.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from hdg.ingestion.hl7v2.escape import NULL, escape, unescape

__all__ = [
    "NULL",
    "STANDARD",
    "Delimiters",
    "component",
    "escape",
    "repetitions",
    "subcomponent",
    "translate",
    "unescape",
]


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The five delimiters and the truncation character of 2.7+; '' for one that the message does not use."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""

    @property
    def msh_2(self) -> str:
        """The text of MSH-2."""
        return f"{self.component}{self.repetition}{self.escape}{self.subcomponent}{self.truncation}"

    @property
    def is_standard(self) -> bool:
        """Whether text in these delimiters needs no rewriting."""
        return self.field == "|" and self.msh_2 in ("^~\\&", "^~\\&#")


STANDARD: Final = Delimiters()


def repetitions(field: str) -> list[str]:
    """The repetitions of a field; an absent field has none."""
    return field.split("~") if field else []


def component(text: str, number: int) -> str:
    """Component ``number`` (1-based) of one repetition, '' if absent."""
    if number == 1:
        return text.partition("^")[0]
    parts = text.split("^", number)
    return parts[number - 1] if number <= len(parts) else ""


def subcomponent(text: str, number: int) -> str:
    """Subcomponent ``number`` (1-based) of one component, '' if absent."""
    if number == 1:
        return text.partition("&")[0]
    parts = text.split("&", number)
    return parts[number - 1] if number <= len(parts) else ""


def translate(text: str, source: Delimiters, target: Delimiters) -> str:
    r"""``text`` (fields, without MSH-1 and MSH-2) rewritten from one set of delimiters to another.

    ``\F\`` and its like mean the *message's* delimiter, so they become that character; characters that are
    delimiters only in the target become escape sequences, or a space if the target has no escape character.
    """
    if source == target:
        return text
    pattern, rewrite = _translator(source, target)
    return pattern.sub(rewrite, text)


@lru_cache(maxsize=64)
def _translator(
    source: Delimiters, target: Delimiters
) -> tuple[re.Pattern[str], Callable[[re.Match[str]], str]]:
    """A pattern over everything that may need rewriting, and the function that rewrites one find."""
    single = _singles(source, target)
    meaning = {"F": source.field, "S": source.component, "R": source.repetition, "T": source.subcomponent}
    meaning |= {"E": source.escape, "P": source.truncation or "#"}

    def rewrite(found: re.Match[str]) -> str:
        text = found[0]
        if len(text) > 1:
            inner = text[1:-1]
            if inner in meaning:
                return _literal(meaning[inner], target)
            return f"{target.escape}{inner}{target.escape}" if target.escape else " "
        if text in truncations and _ends_value(found, source):
            return (target.truncation or text) if text == source.truncation else _literal(text, target)
        return single.get(text, text)

    structure = {source.field, source.component, source.repetition, source.subcomponent, source.escape}
    truncations = {source.truncation, target.truncation} - structure - {""}
    chars = "".join(re.escape(char) for char in {*single, *truncations})
    return re.compile(f"{_sequences(source)}[{chars}]"), rewrite


def _sequences(source: Delimiters) -> str:
    """The start of an alternation: the escape sequences that ``unescape`` knows, in ``source``."""
    if not source.escape:
        return ""
    mark = re.escape(source.escape)
    structure = source.field + source.component + source.repetition + source.subcomponent
    local = f"Z[^{mark}{re.escape(structure)}\\r\\n]{{0,64}}"
    sign = f"(?!{mark})[+-]"
    kinds = rf"[FSTREPHN]|\.[A-Za-z]{{2}}(?:{sign})?[0-9]{{0,5}}|[XCM](?:[0-9A-Fa-f]{{2}})+|{local}"
    return f"{mark}(?:{kinds}){mark}|"


def _ends_value(found: re.Match[str], source: Delimiters) -> bool:
    """Whether the find ends a value: only there does the truncation character mean truncation."""
    follows = found.string[found.end() : found.end() + 1]
    structure = (source.field, source.component, source.repetition, source.subcomponent)
    return follows in ("", "\r", "\n") or follows in structure


def _singles(source: Delimiters, target: Delimiters) -> dict[str, str]:
    """What becomes of each single character: structure maps to structure, a clash becomes an escape."""
    pairs = [
        (source.field, target.field),
        (source.component, target.component),
        (source.repetition, target.repetition),
        (source.subcomponent, target.subcomponent),
    ]
    clashes = (target.field, target.component, target.repetition, target.subcomponent, target.escape)
    single = {char: _literal(char, target) for char in clashes}
    single |= {was: becomes or " " for was, becomes in pairs if was}
    single.pop("", None)
    return single


def _literal(char: str, target: Delimiters) -> str:
    """A character of data, written in the target delimiters."""
    names = {target.field: "F", target.component: "S", target.repetition: "R"}
    names |= {target.subcomponent: "T", target.escape: "E", target.truncation: "P"}
    names.pop("", None)
    if char not in names:
        return char
    return f"{target.escape}{names[char]}{target.escape}" if target.escape else " "
