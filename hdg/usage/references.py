"""What a reference names, however it is spelled (R4 references.html#literal, RFC 3986 §6.2).

A resource belongs to the patients that its relative references name. So what means a resource of this server is stored
as ``Type/id``, and what might mean one without saying so plainly is refused: nothing comes into nobody's compartment
by its spelling. References to other servers, and URNs that are no UUIDs, stay as they are; a UUID names an entry of a
transaction, and there it has been replaced before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from hdg.errors import Issue, ValidationFailed
from hdg.fhir.references import reference_parts

__all__ = ["may_be_odd", "own_references"]

_NAME = rb"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}"
_ODD = re.compile(rb'"reference":"(?!(?:%b|#[^"\\]*|urn:oid:[0-9.]+)")' % _NAME)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_HTTP = re.compile(r"https?:[/\\]*([^/\\?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_PORTS = (":80", ":443")
_TEXT = (
    "not understood: a reference is Type/id, the URL of a resource, #id of a contained one, or, to an entry of its own "
    "transaction, urn:uuid:…"
)
_HELD = ("Bundle", "Parameters")


def may_be_odd(written: bytes) -> bool:
    """Whether JSON (written without spaces) holds a reference that is not plainly ``Type/id``, ``#id`` or an OID."""
    return _ODD.search(written) is not None


def own_references(content: dict[str, Any], base: str) -> dict[str, Any]:
    """A copy in which references to resources of this server are relative. ``base``: its URL, without a slash.

    Raises ValidationFailed naming those that are not understood. What a Bundle or Parameters holds is not looked at
    for that: it tells of nobody.
    """
    found: list[Issue] = []
    type_ = str(content.get("resourceType"))
    made: dict[str, Any] = {
        key: value
        if key == "reference"
        else _copied(value, f"{type_}.{key}", _origin(base), type_ in _HELD, found)
        for key, value in content.items()  # DetectedIssue.reference is a uri
    }
    if found:
        raise ValidationFailed(found)
    return made


def _copied(value: Any, place: str, base: str, is_held: bool, found: list[Issue]) -> Any:
    if isinstance(value, list):
        items = enumerate(value)
        return [_copied(item, f"{place}[{number}]", base, is_held, found) for number, item in items]
    if not isinstance(value, dict):
        return value
    made = {key: _copied(item, f"{place}.{key}", base, is_held, found) for key, item in value.items()}
    text = made.get("reference")
    if isinstance(text, str):
        named = _relative(text, base)
        if named is not None:
            made["reference"] = named
        elif not is_held:
            found.append(Issue("error", "value", f"{place}.reference", _TEXT))
    return made


def _relative(text: str, base: str) -> str | None:
    """``text``, or its relative form where it means one of ours; None: it is not understood."""
    if text.startswith("#") or (reference_parts(text) is not None and not _HTTP.match(text)):
        return text
    if not _SCHEME.match(text) or text.lower().startswith("urn:uuid:"):
        return None
    is_ours = False
    for spelled in _spellings(text):
        origin = _origin(spelled)
        if base and (origin == base or origin.startswith((f"{base}/", f"{base}?", f"{base}#"))):
            is_ours = True
            rest = origin.removeprefix(f"{base}/")
            if rest != origin and reference_parts(rest) is not None and not _SCHEME.match(rest):
                return rest
    return None if is_ours else text


def _spellings(text: str) -> Iterator[str]:
    yield text
    if "%" in text:
        yield unquote(text)


def _origin(url: str) -> str:
    """A URL of HTTP without its scheme, user and standard port, its host in small letters, its path resolved."""
    match = _HTTP.fullmatch(url.strip())
    if match is None:
        return ""
    host = match[1].rpartition("@")[2].lower().rstrip(".")
    for port in _PORTS:
        host = host.removesuffix(port)
    steps: list[str] = []
    for step in match[2].replace("\\", "/").split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in ("", "."):
            steps.append(step)
    return "/".join((host, *steps))
