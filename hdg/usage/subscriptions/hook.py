"""The way of rest-hook: an HTTP request for each notification.

R4 subscription.html#channel, valueset-subscription-channel-type: an empty POST to the endpoint, or with a payload
an update (PUT) below it; of a topic a POST of the Bundle.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from hdg.errors import SettingsError
from hdg.management.store import StoredVersion
from hdg.usage.subscriptions.endpoints import Target
from hdg.usage.subscriptions.feed import Told
from hdg.usage.subscriptions.lane import Make
from hdg.usage.subscriptions.post import Connection, NotDelivered

__all__ = ["Hook", "tls_context"]


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Verifies certificates and names; ``ca``: issuers to trust in place of the system's. Raises SettingsError."""
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError:
        raise SettingsError("subscription_ca cannot be read") from None


class Hook:
    """A Carrier. R4's own handshake is a connection that can be made."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self.client = ""

    async def carry(self, told: Told, make: Make, version: StoredVersion | None, limit_s: float) -> bool:
        """Connects, then has the notification made, then sends it."""
        target = told.definition.target
        if target is None:
            raise NotDelivered("there is no endpoint")
        self.client = target.host
        async with asyncio.timeout(limit_s), Connection(target, self._tls) as connection:
            if told.definition.is_silent(version):
                return True
            body = await make()
            if body is None:
                return False
            method, path = "POST", target.path
            if told.definition.is_bare and version is not None and told.definition.content == "full-resource":
                method, path = "PUT", _below(target, version)
            kind = [("Content-Type", told.definition.format)] if body else []
            headers = [*told.definition.headers, *kind]
            await connection.request(method, path, headers, body)
        return True


def _below(target: Target, version: StoredVersion) -> str:
    """The endpoint as a service base."""
    path, mark, query = target.path.partition("?")
    return f"{path.rstrip('/')}/{version.type}/{version.id}{mark}{query}"
