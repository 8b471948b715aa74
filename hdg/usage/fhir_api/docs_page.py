"""``/docs`` and ``/openapi.json``: the OpenAPI description for people and for programs. Both public.

The page is whole in itself (HTML and its own style sheet, no script): a browser asks nothing of any other host
for it, and its Content-Security-Policy (W3C CSP3) would not let it. It is built as a tree, so texts need no escaping.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.usage.fhir_api.openapi import openapi

__all__ = ["page", "routes"]

JsonObject = dict[str, Any]

METHODS = ("get", "post", "put", "patch", "delete")
_GROUPS = (
    ("Ledger and health", "/ledger/"),
    ("Ledger and health", "/healthz"),
    ("Ledger and health", "/readyz"),
    ("Taking data in", "/ingest/"),
    ("Taking data in", "/dicomweb/"),
    ("Subscriptions", "/fhir/Subscription/"),
    ("Operations", "/$"),
    ("One resource", "/fhir/{type}/{id}"),
    ("A resource type", "/fhir/{type}"),
    ("The whole server", "/fhir"),
)
"""Heading, and what a path that stands under it holds; the first that fits counts. Shown from the end on."""
_SHOWN_VALUES = 6

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --accent: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --accent: #8ec2ff; } }
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; }
a { color: var(--accent); }
a.skip { position: absolute; left: -999rem; }
a.skip:focus { position: static; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; padding: 0; }
h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; }
summary { cursor: pointer; padding: .5rem .75rem; }
summary:hover { background: var(--soft); }
.body { padding: 0 .75rem .75rem; overflow-x: auto; }
.method { display: inline-block; font-weight: 700; min-width: 4.5rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .92em; overflow-wrap: anywhere; }
pre { background: var(--soft); padding: .6rem; white-space: pre-wrap; }
table { border-collapse: collapse; width: 100%; }
caption { font-weight: 700; padding: .5rem 0 .25rem; text-align: left; }
th, td { border-top: 1px solid var(--line); padding: .3rem .75rem .3rem 0; text-align: left; vertical-align: top; }
"""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def routes(base_url: str) -> list[Route]:
    """The two routes; each answer is made on first use and then kept. ``base_url``: the public FHIR base."""

    @cache
    def html() -> bytes:
        return page(openapi(), base_url)

    @cache
    def description() -> bytes:
        return orjson.dumps(openapi())

    async def docs(request: Request) -> Response:
        body = await run_in_threadpool(html)
        return Response(body, media_type="text/html", headers={"content-security-policy": _POLICY})

    async def openapi_json(request: Request) -> Response:
        return Response(await run_in_threadpool(description), media_type="application/json")

    return [Route("/docs", docs, methods=["GET"]), Route("/openapi.json", openapi_json, methods=["GET"])]


def page(description: JsonObject, base_url: str) -> bytes:
    """The page of an OpenAPI description."""
    info = description["info"]
    root = Element("html", lang="en")
    head = _add(root, "head")
    _add(head, "meta", charset="utf-8")
    _add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "link", rel="icon", href="data:,")
    _add(head, "title", info["title"])
    _add(head, "style", STYLE)
    body = _add(root, "body")
    _add(body, "a", "Skip to the operations", href="#operations", **{"class": "skip"})
    top = _add(body, "header")
    _add(top, "h1", info["title"])
    _add(top, "p", f"Version {info['version']}. {info['description']}")
    _add(top, "p", "Every request but the public ones needs a token in the header Authorization: Bearer …")
    files = _add(top, "p")
    _add(files, "a", "OpenAPI description", href="/openapi.json").tail = " · "
    _add(files, "a", "CapabilityStatement", href="/fhir/metadata?_pretty=true")
    groups = list(_grouped(description["paths"]))
    links = _add(_add(body, "nav", **{"aria-label": "Groups of operations"}), "ul")
    main = _add(body, "main", id="operations")
    for number, (heading, operations) in enumerate(groups):
        _add(_add(links, "li"), "a", heading, href=f"#group-{number}")
        section = _add(main, "section", **{"aria-labelledby": f"group-{number}"})
        _add(section, "h2", heading, id=f"group-{number}")
        for path, method, operation, shared in operations:
            _operation(section, path, method, operation, shared, base_url)
    text: bytes = tostring(root, "utf-8", method="html")
    return b"<!DOCTYPE html>\n" + text


Operation = tuple[str, str, JsonObject, list[JsonObject]]
"""Path, method, what the description says of it, and the parameters of its path."""


def _grouped(paths: JsonObject) -> Iterator[tuple[str, list[Operation]]]:
    """The operations by heading, in the order of the headings."""
    found: dict[str, list[Operation]] = {heading: [] for heading, _ in _GROUPS}
    for path, item in paths.items():
        heading = next(heading for heading, part in _GROUPS if part in path)
        for method in METHODS:
            if method in item:
                found[heading].append((path, method, item[method], item.get("parameters", [])))
    rest, *first = found
    return ((heading, found[heading]) for heading in [*reversed(first), rest] if found[heading])


def _operation(
    section: Element, path: str, method: str, operation: JsonObject, shared: list[JsonObject], base_url: str
) -> None:
    details = _add(section, "details")
    summary = _add(details, "summary")
    _add(summary, "span", method.upper(), **{"class": "method"}).tail = " "
    _add(summary, "code", path).tail = f" {operation['summary']}"
    body = _add(details, "div", **{"class": "body"})
    is_public = operation.get("security") == []
    takes = list(operation.get("requestBody", {}).get("content", ()))
    _add(body, "pre", _curl(path, method, takes, base_url, is_public=is_public))
    if is_public:
        _add(body, "p", "Public: needs no token.")
    parameters = [*shared, *operation.get("parameters", [])]
    rows = [
        (one["name"], one["in"], "yes" if one.get("required") else "no", _values(one["schema"]))
        for one in parameters
    ]
    _table(body, "Parameters", ("Name", "In", "Required", "Value"), rows)
    _table(body, "Body", ("Media type",), [(name,) for name in takes])
    answers = [(status, one["description"]) for status, one in sorted(operation["responses"].items())]
    _table(body, "Answers", ("Status", "Meaning"), answers)


def _curl(path: str, method: str, takes: list[str], base_url: str, *, is_public: bool) -> str:
    place = base_url.removesuffix("/fhir") + path
    parts = ["curl"] if method == "get" else [f"curl -X {method.upper()}"]
    if not is_public:
        parts.append('-H "Authorization: Bearer $TOKEN"')
    if takes:
        kind = takes[0] if takes[0].startswith("multipart/") else takes[0].partition(";")[0]
        parts.append(f"-H 'Content-Type: {kind}' --data-binary @FILE")
    return " ".join([*parts, f"'{place}'"])


def _values(schema: JsonObject) -> str:
    """What a parameter takes, in words."""
    values = schema.get("enum", [])
    if len(values) > _SHOWN_VALUES:
        return f"one of {len(values)}: {values[0]} … {values[-1]}"
    if values:
        return ", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    return str(schema.get("pattern") or schema["type"])


def _table(parent: Element, caption: str, heads: Iterable[str], rows: Sequence[tuple[str, ...]]) -> None:
    if not rows:
        return
    table = _add(parent, "table")
    _add(table, "caption", caption)
    line = _add(_add(table, "thead"), "tr")
    for head in heads:
        _add(line, "th", head, scope="col")
    body = _add(table, "tbody")
    for first, *rest in rows:
        line = _add(body, "tr")
        _add(_add(line, "th", scope="row"), "code", first)
        for text in rest:
            _add(line, "td", text)


def _add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    made = SubElement(parent, tag, attributes)
    made.text = text
    return made
