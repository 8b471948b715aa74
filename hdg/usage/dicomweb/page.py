"""``/images``: studies, series and pictures for people, in a browser (docs/dicomweb.md).

Public, for it holds nothing: all that it shows it asks of ``/dicomweb`` with the token that its user types in, so by
the same gate and audit.

The page is whole in itself and talks to no other host; its Content-Security-Policy (W3C CSP3) would not let it.
The token stays in the page's memory: neither a cookie nor storage has it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["routes"]

PAGE = Path(__file__).with_name("page.html")


def routes() -> list[Route]:
    """The one route."""
    body = PAGE.read_bytes()
    headers = {"content-security-policy": policy(body), "referrer-policy": "no-referrer"}

    async def images(request: Request) -> Response:
        return Response(body, media_type="text/html", headers=headers)

    return [Route("/images", images, methods=["GET"])]


def policy(body: bytes) -> str:
    """What the page may: its own style and script, requests to where it came from, pictures that it made itself."""

    def hashed(tag: bytes) -> str:
        found = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), body, re.DOTALL)
        return " ".join(f"'sha256-{b64encode(sha256(one).digest()).decode()}'" for one in found)

    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {hashed(b'style')}",
            f"script-src {hashed(b'script')}",
            "connect-src 'self'",
            "img-src blob: data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
