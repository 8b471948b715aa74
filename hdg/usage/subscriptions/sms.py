"""The way of sms: a POST to the operator's own relay, which knows how to send text messages.

R4 valueset-subscription-channel-type (sms). ``{"to": "+…", "text": "…"}`` as JSON. A text message is readable on
its way, so it says that there is something, and nothing about anybody.
"""

from __future__ import annotations

import asyncio
import ssl

import orjson

from hdg.management.store import StoredVersion
from hdg.usage.subscriptions.endpoints import Target
from hdg.usage.subscriptions.feed import Told
from hdg.usage.subscriptions.lane import Make
from hdg.usage.subscriptions.mail import text_of
from hdg.usage.subscriptions.post import Connection

__all__ = ["Sms"]


class Sms:
    """A Carrier. ``authorization``: of the relay, '' for none."""

    def __init__(self, relay: Target, authorization: str, tls: ssl.SSLContext, base_url: str) -> None:
        self._relay = relay
        self._headers = [("Content-Type", "application/json")]
        if authorization:
            self._headers.append(("Authorization", authorization))
        self._tls = tls
        self._base_url = base_url
        self.client = relay.host

    async def carry(self, told: Told, make: Make, version: StoredVersion | None, limit_s: float) -> bool:
        """Connects, then has the notification made, then sends it."""
        if version is None:
            return True
        async with asyncio.timeout(limit_s), Connection(self._relay, self._tls) as connection:
            if await make() is None:
                return False
            said = {"to": told.definition.address, "text": text_of(self._base_url, told).strip()}
            await connection.request("POST", self._relay.path, self._headers, orjson.dumps(said))
        return True
