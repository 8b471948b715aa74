"""Query strings and form bodies → name/value pairs, strictly.

R4 search.html#escaping, R4 http.html#search; WHATWG URL §5.1 for the form encoding. Whatever cannot be read
is a BadRequest whose text holds neither a name that looks like data nor a value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

from hdg.errors import BadRequest

Pairs = list[tuple[str, str]]

MAX_PAIRS = 64
MAX_QUERY_BYTES = 65_536
MAX_VALUES = 200
"""Alternatives ("or" values) in one parameter; SQLite's expression depth of 1000 stays far away."""
MAX_VALUES_IN_ALL = 400
"""Values in a whole query: each becomes SQL, and 12,800 of them kept a core busy for half a minute."""

_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,127}(:[A-Za-z_.\-]{1,64}){0,16}\Z")
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Control characters that no FHIR string holds."""
_VALUE_SEPARATOR = re.compile(r"(?<!\\)((?:\\\\)*),")
FORM = "application/x-www-form-urlencoded"


def pairs(encoded: bytes) -> Pairs:
    """The name/value pairs of a query string or form body, in their order.

    Raises BadRequest: not UTF-8, too many pairs, too long, one without "=", or control characters that no FHIR
    string holds.
    """
    if not encoded:
        return []
    if len(encoded) > MAX_QUERY_BYTES:
        raise BadRequest(f"the parameters are longer than {MAX_QUERY_BYTES} bytes", code="too-long")
    try:
        found = parse_qsl(
            encoded.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PAIRS
        )
    except UnicodeDecodeError:
        raise BadRequest("the parameters are not valid UTF-8", code="structure") from None
    except ValueError:
        raise BadRequest(f"more than {MAX_PAIRS} parameters", code="too-costly") from None
    if not all(value for _, value in found) and any(
        piece and b"=" not in piece for piece in encoded.split(b"&")
    ):
        # More likely a piece of a value whose "&" was not escaped than a name: it is not repeated.
        raise BadRequest("a parameter without '='", code="structure")
    for name, value in found:
        if FORBIDDEN.search(value) or FORBIDDEN.search(name):
            raise BadRequest(f"{describe(name)}: a control character in the value", code="value")
    return found


def describe(name: str) -> str:
    """A parameter's name fit for an error text. A "name" that is no name may be data and is not repeated."""
    return (
        f"parameter '{name}'" if _PARAMETER_NAME.match(name) else "a parameter whose name is not well formed"
    )


def alternatives(name: str, value: str) -> tuple[str, ...]:
    r"""Splits at commas that no backslash escapes, keeping the escapes (R4 search.html#escaping).

    Raises BadRequest for an empty alternative: ignoring it would silently widen the search.
    """
    if "," not in value:
        found: Sequence[str] = (value,)
    elif "\\" not in value:
        found = value.split(",")
    else:
        found = _VALUE_SEPARATOR.sub("\\1\x00", value).split("\x00")
    if not all(found):
        raise BadRequest(f"{describe(name)}: an empty value", code="value")
    if len(found) > MAX_VALUES:
        raise BadRequest(f"{describe(name)}: more than {MAX_VALUES} values", code="too-costly")
    return tuple(found)
