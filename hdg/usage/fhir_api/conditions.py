"""What a write's headers and URL ask to be true: If-Match, If-None-Match, If-None-Exist, search conditions.

R4 http.html#concurrency, #ccreate, #cond-update, #cdelete; RFC 9110 §13.1. A header that cannot be read is a 400:
ignoring a condition would write what the client did not want written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from hdg.errors import BadRequest
from hdg.management.store import SearchQuery
from hdg.management.store.custom import TEXTS
from hdg.usage.fhir_api import parameters
from hdg.usage.fhir_api.negotiation import take_format
from hdg.usage.fhir_api.parameters import Limits
from hdg.usage.fhir_api.query import Pairs, pairs
from hdg.usage.fhir_api.results import RESULTS
from hdg.usage.fhir_api.shaping import SHAPING
from hdg.usage.outcomes import PreconditionFailed

__all__ = ["condition", "exist_condition", "if_match", "is_only_new"]

_TAGS = re.compile(r'\s*(?:W/)?"[1-9][0-9]{0,8}"(?:\s*,\s*(?:W/)?"[1-9][0-9]{0,8}")*\s*')
_DIGITS = re.compile(r"[0-9]+")
_RESULTS = RESULTS | SHAPING | {parameters.PAGE}


def if_match(headers: Mapping[str, str]) -> frozenset[int] | None:
    """The versions one of which must be current, none named: any (``*``); None where the header is missing.

    Raises BadRequest.
    """
    text = headers.get("if-match")
    if text is None:
        return None
    if text.strip() == "*":
        return frozenset()
    if not _TAGS.fullmatch(text):
        raise BadRequest('If-Match: W/"version" is expected', code="value")
    return frozenset(map(int, _DIGITS.findall(text)))


def is_only_new(headers: Mapping[str, str]) -> bool:
    """Whether a PUT may only create (``If-None-Match: *``). Raises BadRequest for any other value."""
    text = headers.get("if-none-match")
    if text is not None and text.strip() != "*":
        raise BadRequest("If-None-Match: a write takes * only", code="value")
    return text is not None


def condition(resource_type: str, given: Pairs, limits: Limits) -> tuple[SearchQuery, str]:
    """The search that a conditional write depends on, and the same as text.

    Raises PreconditionFailed when nothing is asked (it would find everything), BadRequest for a parameter that
    is not understood: always strict, whatever the client prefers.
    """
    if any(name.partition(":")[0] in _RESULTS for name, _ in given):
        raise BadRequest("a condition takes search parameters, none about paging", code="not-supported")
    if not given:
        raise PreconditionFailed("a condition needs at least one search parameter")
    query = parameters.parse(resource_type, given, limits)
    if TEXTS in query.custom:
        raise BadRequest("_text and _content are not for conditions", code="not-supported")
    return query, f"{resource_type}?{urlencode(given)}"


def exist_condition(
    resource_type: str, headers: Mapping[str, str], limits: Limits
) -> tuple[SearchQuery | None, str]:
    """If-None-Exist; (None, '') where the header is missing.

    Some clients write the whole URL or the type before the search. Raises BadRequest for any other type.
    """
    text = headers.get("if-none-exist")
    if text is None:
        return None, ""
    head, mark, query = text.strip().partition("?")
    if mark and head not in ("", resource_type, f"{limits.base_url}/{resource_type}"):
        raise BadRequest("If-None-Exist: a search of the type that is created is expected", code="value")
    text = query if mark else head
    try:
        encoded = text.encode("latin-1")
    except UnicodeEncodeError:
        encoded = text.encode()
    return condition(resource_type, take_format(pairs(encoded)), limits)
