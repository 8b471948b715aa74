"""The way of email: a message for each notification, over TLS, to the operator's mail server.

R4 valueset-subscription-channel-type (email); RFC 5321, RFC 8314 (TLS). Without a payload it says that there is
something, and where to ask; with one the resource, or a topic's Bundle, comes as an attachment. The server's word
that it has taken the message is the delivery: what becomes of it later is not seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, TypeVar, TypeVarTuple, Unpack
from urllib.parse import unquote, urlsplit

from hdg.errors import SettingsError
from hdg.management.store import StoredVersion
from hdg.usage.subscriptions.feed import Told
from hdg.usage.subscriptions.lane import Make
from hdg.usage.subscriptions.post import NotDelivered

__all__ = ["Mail", "Server", "server_of", "text_of"]

Given = TypeVarTuple("Given")
Made = TypeVar("Made")

_PORTS = {"smtps": 465, "smtp": 587}
_BYE_S = 2.0
"""How long the answer to QUIT is waited for."""


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server. ``is_tls``: from the first byte; else STARTTLS, without which nothing is sent."""

    is_tls: bool
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    sender: str


def server_of(url: str, password: str, sender: str) -> Server:
    """The server of the settings. Raises SettingsError."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        parts, port = urlsplit(""), 0
    if (
        not parts.hostname
        or parts.path.strip("/")
        or parts.query
        or "@" not in sender
        or not sender.isascii()
    ):
        raise SettingsError(
            "subscription_mail: smtps://[USER@]HOST[:PORT], and subscription_mail_from an address"
        )
    return Server(
        parts.scheme == "smtps", parts.hostname, port, unquote(parts.username or ""), password, sender
    )


def text_of(base_url: str, told: Told) -> str:
    """What a notification without a payload says: nothing about anybody."""
    return f"There is something new for Subscription/{told.row.id} at {base_url}\n"


class Mail:
    """A Carrier. R4's own handshake sends nothing: that an address exists is seen with the first message."""

    def __init__(self, server: Server, tls: ssl.SSLContext, base_url: str) -> None:
        self._server = server
        self._tls = tls
        self._base_url = base_url
        self.client = ""

    async def carry(self, told: Told, make: Make, version: StoredVersion | None, limit_s: float) -> bool:
        """Connects, then has the notification made, then sends it."""
        if told.definition.is_silent(version):
            return True
        address = told.definition.address
        self.client = address.partition("@")[2]
        async with asyncio.timeout(limit_s):
            connection = await asyncio.to_thread(_refusing, self._open, limit_s)
            try:
                body = await make()
                if body is not None:
                    await asyncio.to_thread(_refusing, self._send, connection, told, version, body)
            except BaseException:
                _break_off(connection)
                raise
        await asyncio.to_thread(_end, connection)  # what was taken stays delivered, however long this takes
        return body is not None

    def _open(self, limit_s: float) -> smtplib.SMTP:
        server = self._server
        if server.is_tls:
            made: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=limit_s, context=self._tls
            )
        else:
            made = smtplib.SMTP(server.host, server.port, timeout=limit_s)
        try:
            if not server.is_tls:
                made.starttls(context=self._tls)
            if server.user:
                made.login(server.user, server.password)
        except BaseException:
            made.close()
            raise
        return made

    def _send(self, connection: smtplib.SMTP, told: Told, version: StoredVersion | None, body: bytes) -> None:
        message = EmailMessage()
        message["From"], message["To"] = self._server.sender, told.definition.address
        message["Subject"] = "FHIR notification"
        message["Date"] = formatdate(usegmt=True)
        message["Message-ID"] = _message_id(told, version, self._server.sender)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text_of(self._base_url, told))
        if body:
            main, _, kind = told.definition.format.partition("/")
            name = f"notification.{kind.rpartition('+')[2]}"
            message.add_attachment(body, maintype=main, subtype=kind, filename=name)
        connection.send_message(message)


def _message_id(told: Told, version: StoredVersion | None, sender: str) -> str:
    """Of an event always the same, so that a repeat is known as one."""
    if version is None:
        return f"<{uuid.uuid4()}@{sender.rpartition('@')[2]}>"
    made = uuid.uuid5(uuid.NAMESPACE_URL, f"{told.row.id} {version.leaf_index}")
    return f"<{made}@{sender.rpartition('@')[2]}>"


def _refusing(work: Callable[[Unpack[Given]], Made], *given: *Given) -> Made:
    """Raises NotDelivered for what the mail server, or the way to it, says no to."""
    try:
        return work(*given)
    except ssl.SSLCertVerificationError:
        raise NotDelivered("the mail server's certificate is not valid") from None
    except smtplib.SMTPNotSupportedError:
        raise NotDelivered("the mail server has no TLS, or takes no password") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        raise NotDelivered(f"the mail server answered {codes[0]}") from None
    except smtplib.SMTPResponseException as error:
        raise NotDelivered(f"the mail server answered {error.smtp_code}") from None
    except (smtplib.SMTPException, OSError, ValueError):
        raise NotDelivered("no connection to the mail server") from None


def _end(connection: smtplib.SMTP) -> None:
    sock: Any = connection.sock
    with contextlib.suppress(smtplib.SMTPException, OSError):
        if sock is not None:
            sock.settimeout(_BYE_S)
        connection.quit()
    connection.close()


def _break_off(connection: smtplib.SMTP) -> None:
    """A thread may be sending still: what it has not sent must not follow, and nothing may come in between."""
    sock: Any = connection.sock
    if sock is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
    connection.close()
