"""One value of a search parameter, as it stands in JSON → its index tuples, for each kind of parameter.

R4 search.html#token, #reference, #string, #uri, #date, #number, #quantity. Strings and tokens are hashed and
folded as values.py says, the same for both sides of a search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hdg.management.store.measures import measure_emitters
from hdg.management.store.near import position_rows
from hdg.management.store.phonetic import phonetic
from hdg.management.store.values import (
    MAX_US,
    MIN_US,
    TEXT_MAX,
    Hash,
    date_range,
    fold,
    index_text,
    split_reference,
)

__all__ = ["Emit", "date_rows", "emitters"]

Emit = Callable[[Any], Iterable[tuple[Any, ...]]]

_TEXT_KEYS = (
    "text",
    "family",
    "given",
    "prefix",
    "suffix",
    "line",
    "city",
    "district",
    "state",
    "postalCode",
    "country",
)


def emitters(hash_: Hash) -> dict[str, Emit]:
    """For each kind: a value as it stands in JSON → its index tuples."""

    def token(item: Any) -> Iterable[tuple[Any, ...]]:
        if type(item) is dict:
            codings = item.get("coding")
            if codings is not None:
                return [(hash_(c["code"]), hash_(c.get("system", ""))) for c in codings if "code" in c]
            code = item.get("code") or item.get("value")
            return ((hash_(code), hash_(item.get("system", ""))),) if type(code) is str else ()
        if type(item) is bool:
            return ((hash_("true" if item else "false"), 0),)
        return ((hash_(str(item)), 0),)

    def reference(item: Any) -> Iterable[tuple[Any, ...]]:
        text = item.get("reference") if type(item) is dict else item
        if type(text) is not str:
            return _itself(item)
        if text.startswith("#"):
            return ()
        target = split_reference(text)
        if target is not None:
            return ((hash_(target[1]), hash_(target[0])),)
        url, has_version, _ = text.partition("|")
        return ((hash_(text), 0), (hash_(url), 0)) if has_version else ((hash_(text), 0),)

    def _itself(item: Any) -> Iterable[tuple[Any, ...]]:
        """A resource inside another one (a Bundle's first) stands for a reference to it."""
        if type(item) is dict and "resourceType" in item and "id" in item:
            return ((hash_(item["id"]), hash_(item["resourceType"])),)
        return ()

    def string(item: Any) -> Iterable[tuple[Any, ...]]:
        if type(item) is dict:
            return [(fold(text), hash_(text)) for text in _texts(item)]
        return ((fold(item), hash_(item)),) if type(item) is str else ()

    def sound(item: Any) -> Iterable[tuple[Any, ...]]:
        texts = [item] if type(item) is str else _texts(item) if type(item) is dict else ()
        codes = [phonetic(text) for text in texts]
        every = dict.fromkeys(each for code in codes if code for each in (code, *code.split(" ")))
        return [(code[:TEXT_MAX], hash_(code)) for code in every]

    number, quantity = measure_emitters(hash_)
    return {
        "token": token,
        "reference": reference,
        "string": string,
        "uri": _uri,
        "date": date_rows,
        "number": number,
        "quantity": quantity,
        "phonetic": sound,
        "special": position_rows,
    }


def _texts(item: dict[str, Any]) -> Iterable[str]:
    for key in _TEXT_KEYS:
        value = item.get(key)
        if type(value) is str:
            yield value
        elif type(value) is list:
            yield from (text for text in value if type(text) is str)
    for coding in item.get("coding", ()):  # of a CodeableConcept in an extension
        if "display" in coding:
            yield coding["display"]


def _uri(item: Any) -> Iterable[tuple[Any, ...]]:
    return ((index_text(item),),) if type(item) is str else ()


def date_rows(item: Any) -> Iterable[tuple[int, int]]:
    """First and last µs of a date, dateTime, instant, Period or Timing; nothing where it says none."""
    if type(item) is str:
        covered = date_range(item)
        return () if covered is None else (covered,)
    if type(item) is not dict:
        return ()
    if "start" in item or "end" in item:
        start, end = date_range(item.get("start", "")), date_range(item.get("end", ""))
        return ((start[0] if start else MIN_US - 1, end[1] if end else MAX_US + 1),)  # beyond all dates
    # R4 search.html#date: of a Timing only the outer limits matter.
    bounds = (item.get("repeat") or {}).get("boundsPeriod")
    texts = [event for event in item.get("event", ()) if event]
    found = [covered for text in texts if (covered := date_range(text)) is not None]
    found += date_rows(bounds) if bounds else ()
    return ((min(lo for lo, _ in found), max(hi for _, hi in found)),) if found else ()
