"""v2 text to R4 primitives: the ``as`` column's ``string``, ``code``, ``dateTime`` …

A wrong value raises Unfit (an Issue and no element). HL7 v2.9 §2.A; R4 datatypes.html#primitive.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from hdg.fhir.json import Decimal
from hdg.fhir.json import decimal as json_decimal
from hdg.ingestion.hl7v2.encoding import unescape
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.times import doubt, to_date, to_datetime, to_instant, to_time
from hdg.mapping.context import Unfit

_PLAIN_NUMBER: Final = re.compile(r"(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_NUMBER: Final = re.compile(r"([+-]?)(\d*)(?:(\.)(\d*))?", re.ASCII)
_WHOLE: Final = re.compile(r"[+-]?\d+", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_CODE: Final = re.compile(r"\S+(?:\s\S+)*")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_INT_MAX: Final = 2**31 - 1
_DIGITS_MAX: Final = 100


def plain(text: str, state: State) -> str:
    """Text without escapes, outer blanks and control characters; may be empty."""
    if "\\" in text:
        text = unescape(text, state.charset)
    elif text.isprintable():
        return text.strip()
    if not text.isprintable() and _CONTROL.search(text):
        state.problem("control characters were left out", severity="information")
        text = _CONTROL.sub("", text)
    return text.strip()


def to_string(text: str, state: State) -> str | None:
    """The text; only the first component of a field that has several, which is reported."""
    if "^" in text:
        text, _, rest = text.partition("^")
        if rest.strip('^&" '):
            state.problem(
                "components after the first were left out", code="incomplete", severity="information"
            )
    return plain(text, state) or None


def to_markdown(text: str, state: State) -> str | None:
    """The whole text: senders leave ``^`` and ``&`` unescaped in TX and FT."""
    return plain(text, state) or None


def to_code(text: str, state: State) -> str | None:
    """The first component as a code."""
    if "^" in text or "&" in text:
        text = text.partition("^")[0].partition("&")[0]
    found = plain(text, state)
    if found and not found.isalnum() and not _CODE.fullmatch(found):
        raise Unfit("not a code: blanks other than single spaces")
    return found or None


def to_uri(text: str, state: State) -> str | None:
    """A URI: text without blanks."""
    found = plain(text, state)
    if any(char.isspace() for char in found):
        raise Unfit("not a URI: it has blanks")
    return found or None


def to_id(text: str, state: State) -> str | None:
    """An R4 id."""
    found = plain(text, state)
    if found and not _ID.fullmatch(found):
        raise Unfit("not an id")
    return found or None


def date(text: str, state: State) -> str | None:
    """DT, DTM or TS as a date."""
    text = text.partition("^")[0].strip()
    return to_date(text) if text else None


def date_time(text: str, state: State) -> str | None:
    """DT, DTM or TS as a dateTime."""
    known: dict[str, str] = state.times
    found = known.get(text)
    if found is None:
        day = text.partition("^")[0].strip()
        if not day:
            return None
        found = to_datetime(day, state.zone)
        if state.zone is None or not doubtful(day, state):
            known[text] = found
    return found


def doubtful(text: str, state: State) -> bool:
    """Whether the offset of a local time is a choice, which is reported where it is read."""
    why = doubt(text, state.zone)
    if why:
        state.problem(why)
    return bool(why)


def instant(text: str, state: State) -> str | None:
    """DTM or TS as an instant."""
    known: dict[str, str] = state.times
    key = f"instant {text}"
    found = known.get(key)
    if found is None:
        moment = text.partition("^")[0].strip()
        if not moment:
            return None
        found = to_instant(moment, state.zone)
        if state.zone is None or not doubtful(moment, state):
            known[key] = found
    return found


def time(text: str, state: State) -> str | None:
    """TM as a time."""
    text = text.strip()
    return to_time(text) if text else None


def boolean(text: str, state: State) -> bool | None:
    """``Y`` or ``N`` (table 0136)."""
    found = text.partition("^")[0].strip()
    if found in ("Y", "N"):
        return found == "Y"
    if not found:
        return None
    raise Unfit("neither Y nor N")


@lru_cache(maxsize=4096)
def plain_number(text: str) -> Any:
    """An NM that is a JSON number as it stands; None for all others. Measurements come again: it is kept."""
    if len(text) > _DIGITS_MAX or not _PLAIN_NUMBER.fullmatch(text):
        return None
    return Decimal(text) if "." in text else int(text)


def number(text: str) -> Any:
    """An NM as a JSON number with the digits as sent. Raises Unfit.

    ``1.50`` stays; ``+.5`` becomes ``0.5``: what JSON cannot write is written so that the value stays.
    """
    if len(text) > _DIGITS_MAX:
        raise Unfit("a number of too many digits")
    if _PLAIN_NUMBER.fullmatch(text):
        return Decimal(text) if "." in text else int(text)
    match = _NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[4]):
        raise Unfit("not a number")
    whole = match[2].lstrip("0") or "0"
    sign = "-" if match[1] == "-" else ""
    if not match[4]:
        return json_decimal("-0.0") if sign and whole == "0" else int(sign + whole)
    return json_decimal(f"{sign}{whole}.{match[4]}")


def decimal(text: str, state: State) -> Any:
    """NM as a decimal."""
    text = text.partition("^")[0].strip()
    return number(text) if text else None


def _whole(least: int, what: str) -> Callable[[str, State], int | None]:
    def convert(text: str, state: State) -> int | None:
        text = text.partition("^")[0].strip()
        if not text:
            return None
        if len(text) > _DIGITS_MAX or not _WHOLE.fullmatch(text) or not least <= int(text) <= _INT_MAX:
            raise Unfit(f"not {what}")
        return int(text)

    return convert


def packed_base64(text: str) -> str:
    """Base64 without its blanks. Raises ValueError. A document of megabytes is walked over once if it has none."""
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        text = "".join(text.split())
        base64.b64decode(text, validate=True)
    return text


def base64_binary(text: str, state: State) -> str | None:
    """Base64 without blanks."""
    try:
        return packed_base64(unescape(text, state.charset)) or None
    except ValueError:
        raise Unfit("not base64") from None


PRIMITIVES: Final[dict[str, Callable[[str, State], Any]]] = {
    "string": to_string,
    "markdown": to_markdown,
    "code": to_code,
    "uri": to_uri,
    "url": to_uri,
    "id": to_id,
    "date": date,
    "dateTime": date_time,
    "instant": instant,
    "time": time,
    "boolean": boolean,
    "integer": _whole(-(2**31), "a 32-bit integer"),
    "positiveInt": _whole(1, "a positive 32-bit integer"),
    "unsignedInt": _whole(0, "a non-negative 32-bit integer"),
    "decimal": decimal,
    "base64Binary": base64_binary,
}
