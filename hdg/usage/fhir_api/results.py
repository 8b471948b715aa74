"""Parameters about the result of a search: how much, in which order, and what comes along.

R4 search.html#count, #total, #sort, #include. As strict as the others: what is not understood is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store.pages import SORTED_KINDS
from hdg.management.store.search import Include, Sort
from hdg.usage.fhir_api.query import Pairs, describe

__all__ = ["RESULTS", "TOTAL_MAX", "Results", "page_size", "read_results"]

RESULTS: Final = frozenset({"_count", "_total", "_sort", "_include", "_revinclude"})
_ONCE: Final = frozenset({"_count", "_total", "_sort"})
_COUNT = re.compile(r"[0-9]{1,9}\Z")
TOTAL_MAX: Final = 10_000
"""Where nothing is said about the total, so many matches are counted: of more there is none."""
_SORTS_MAX = 5
_INCLUDES_MAX = 20
KindOf = Callable[[str, str], str | None]
"""(type, parameter) → its kind, None when there is no such parameter."""


class Results(NamedTuple):
    """What they come to; see SearchQuery."""

    page_size: int
    with_total: bool
    total_max: int | None
    sort: tuple[Sort, ...]
    includes: tuple[Include, ...]


def read_results(
    types: tuple[str, ...],
    pairs: Pairs,
    count: int,
    count_max: int,
    kind_of: KindOf,
    is_followed: Callable[[str, str], bool],
) -> Results:
    """``count``: rows of a page when nothing is said; ``is_followed``: whether (type, parameter) leads to resources.

    Raises BadRequest.
    """
    given: dict[str, str] = {}
    includes: list[Include] = []
    for name, value in pairs:
        if name in _ONCE:
            if name in given:
                raise BadRequest(f"{describe(name)} is given twice", code="value")
            given[name] = value
        elif name.partition(":")[0] in _ONCE:
            raise BadRequest(f"{describe(name)}: this modifier is not supported", code="not-supported")
        else:
            includes.append(_include(name, value, is_followed))
    if len(includes) > _INCLUDES_MAX:
        raise BadRequest(f"more than {_INCLUDES_MAX} of _include and _revinclude", code="too-costly")
    if given.get("_total", "none") not in ("none", "estimate", "accurate"):
        raise BadRequest("parameter '_total': none, estimate or accurate", code="value")
    size = page_size(given["_count"], count_max) if "_count" in given else count
    return Results(
        size,
        given.get("_total") != "none",
        None if "_total" in given or size == 0 else TOTAL_MAX,
        _sort(types, given["_sort"], kind_of) if "_sort" in given else (),
        tuple(dict.fromkeys(includes)),
    )


def page_size(value: str, most: int) -> int:
    """Page size; 0 asks for the total alone, too much is cut to the most (R4 search.html#count)."""
    if not _COUNT.match(value):
        raise BadRequest("parameter '_count': not a number of entries", code="value")
    return min(int(value), most)


def _sort(types: tuple[str, ...], value: str, kind_of: KindOf) -> tuple[Sort, ...]:
    keys: dict[str, Sort] = {}
    for text in value.split(","):
        param = text.removeprefix("-")
        kinds = {kind_of(type_, param) for type_ in types}
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is None or (param not in ("_id", "_lastUpdated") and kind not in SORTED_KINDS):
            raise BadRequest("parameter '_sort': it cannot be sorted by this", code="not-supported")
        if param in keys:
            raise BadRequest("parameter '_sort': the same key twice", code="value")
        keys[param] = Sort(param, kind, text.startswith("-"))
    if len(keys) > _SORTS_MAX:
        raise BadRequest(f"parameter '_sort': more than {_SORTS_MAX} keys", code="too-costly")
    return tuple(keys.values())


def _include(name: str, value: str, is_followed: Callable[[str, str], bool]) -> Include:
    code, colon, modifier = name.partition(":")
    if colon and modifier not in ("iterate", "recurse"):
        raise BadRequest(f"{describe(name)}: this modifier is not supported", code="not-supported")
    is_reverse = code == "_revinclude"
    if value == "*" and is_reverse and colon:
        raise BadRequest(f"{describe(name)}: * is not followed again and again", code="too-costly")
    if value == "*":
        return Include("*", "*", "", is_reverse, is_iterated=bool(colon))
    type_, param, target, *rest = (*value.split(":"), "", "")[: max(3, value.count(":") + 1)]
    types = definitions.resource_types()
    is_known = type_ in types and (param == "*" or is_followed(type_, param))
    if not is_known or rest or (target and target not in types):
        text = "Type:parameter or Type:parameter:target is expected, of a parameter that is a reference"
        raise BadRequest(f"{describe(name)}: {text}", code="not-supported")
    return Include(type_, param, target, is_reverse, bool(colon))
