"""Where notifications may go: the operator's list, and never to addresses that nobody meant (SSRF).

OWASP SSRF prevention: an allow-list of scheme, host, port and path; the address that was checked is the one that
is connected to. A host that the list names exactly may lie in the own network; one that only a wildcard covers
may not. Link-local addresses (cloud metadata) are never used.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, urlsplit

from hdg.errors import BadRequest, SettingsError

__all__ = ["Endpoints", "Target", "relay"]

_PLACE = "Subscription.channel.endpoint"
_CHANNEL = "Subscription.channel.type"
_NAMED = ("mailto:", "tel:")
_URL = re.compile(r"[\x21-\x7e]{1,2048}")
_PORTS = {"https": 443, "http": 80}
_MAIL = re.compile(
    r"mailto:([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64})@((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63})",
    re.IGNORECASE,
)
_PHONE = re.compile(r"tel:(\+[0-9]{6,15})")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SCHEMES = {"email": "mailto:", "sms": "tel:"}


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint. ``path``: with the query, begins with a slash. ``is_named``: the list names its host."""

    is_tls: bool
    host: str
    port: int
    path: str
    is_named: bool

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    def may_use(self, address: str) -> bool:
        """Whether that IP address may be connected to."""
        found = _reached(ipaddress.ip_address(address.partition("%")[0]))
        if found.is_link_local or found.is_multicast or found.is_unspecified:
            return False
        return self.is_named or (found.is_global and not found.is_private and not found.is_reserved)


def _reached(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address leads to: mapped, by 6to4 (RFC 3056) or NAT64 (RFC 6052); else itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


@dataclass(frozen=True, slots=True)
class _Rule:
    scheme: str
    host: str
    port: int
    path: str

    def fits(self, scheme: str, host: str, port: int, path: str) -> bool:
        is_below = (
            path == self.path or path.startswith(self.path.rstrip("/") + "/") or not self.path.strip("/")
        )
        is_host = (
            host == self.host or self.host == "*" or (self.host[:2] == "*." and host.endswith(self.host[1:]))
        )
        return (scheme, port) == (self.scheme, self.port) and is_host and is_below


class Endpoints:
    """The setting ``subscription_endpoints``: ``https://host[:port][/path]``, the host may be ``*`` or ``*.x``;
    ``mailto:name@domain``, the name may be ``*``; ``tel:+number``, which may end with ``*``.

    ``channels``: those beside rest-hook and websocket that this gateway has a way for.
    """

    def __init__(self, allowed: Sequence[str], channels: Collection[str] = ()) -> None:
        self._rules = tuple(_rule(text) for text in allowed if not text.startswith(_NAMED))
        self._named = tuple(_named_rule(text) for text in allowed if text.startswith(_NAMED))
        self._channels = frozenset(channels)

    def address(self, kind: str, url: str) -> str:
        """The address that ``mailto:`` or ``tel:`` names. Raises BadRequest when the list does not allow it."""
        if kind not in self._channels:
            raise BadRequest("this gateway has no way to send that", code="not-supported", place=_CHANNEL)
        found = (_MAIL if kind == "email" else _PHONE).fullmatch(url)
        if found is None:
            raise BadRequest(f"{_SCHEMES[kind]}… is expected", code="value", place=_PLACE)
        text = f"mailto:{found[1]}@{found[2].lower()}" if kind == "email" else url
        if not any(rule.fullmatch(text) for rule in self._named):
            raise BadRequest(
                "this gateway does not send there (subscription_endpoints)",
                code="business-rule",
                place=_PLACE,
            )
        return text.partition(":")[2]

    def target(self, url: str) -> Target:
        """The endpoint of a URL. Raises BadRequest when the list does not allow it."""
        try:
            parts = _split(url)
        except ValueError:
            raise BadRequest("not a URL of an endpoint", code="value", place=_PLACE) from None
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]
        path = parts.path or "/"
        fitting = [rule for rule in self._rules if rule.fits(scheme, host, port, path)]
        if not fitting:
            text = "this gateway does not send there (subscription_endpoints)"
            raise BadRequest(text, code="business-rule", place=_PLACE)
        named = any(not rule.host.startswith("*") for rule in fitting)
        whole = f"{path}?{parts.query}" if parts.query else path
        return Target(scheme == "https", host, port, whole, named)


def _split(url: str) -> SplitResult:
    """Raises ValueError for what is no plain http(s) URL: with a user, a fragment, dot segments, …"""
    parts = urlsplit(url)
    if not _URL.fullmatch(url) or "\\" in url or parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("not an http URL")
    if "@" in parts.netloc or parts.fragment or "#" in url or parts.port == 0:
        raise ValueError("a user or a fragment")
    segments = parts.path.lower().replace("%2e", ".").replace("%2f", "/").split("/")
    if "." in segments or ".." in segments:
        raise ValueError("dot segments")
    return parts


def relay(url: str) -> Target:
    """An endpoint that the operator names. Raises SettingsError."""
    try:
        parts = _split(url)
    except ValueError:
        raise SettingsError("subscription_sms: https://HOST[:PORT][/PATH] is expected") from None
    whole = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    port = parts.port or _PORTS[parts.scheme]
    return Target(parts.scheme == "https", parts.hostname or "", port, whole, is_named=True)


def _named_rule(text: str) -> re.Pattern[str]:
    """Of a ``mailto:`` or ``tel:`` entry. Raises SettingsError."""
    whole = text.lower() if text.startswith("mailto:*@") else text
    if whole.startswith("mailto:*@") and _MAIL.fullmatch(whole.replace("*", "x", 1)):
        return re.compile(r"mailto:[^@]+" + re.escape(whole.removeprefix("mailto:*")))
    if found := _MAIL.fullmatch(text):
        return re.compile(re.escape(f"mailto:{found[1]}@{found[2].lower()}"))
    if re.fullmatch(r"tel:\+[0-9]{1,14}\*", text):
        return re.compile(re.escape(text[:-1]) + "[0-9]*")
    if _PHONE.fullmatch(text):
        return re.compile(re.escape(text))
    raise SettingsError(
        "subscription_endpoints: mailto:NAME@DOMAIN (NAME may be *), tel:+NUMBER (or +PREFIX*)"
    )


def _rule(text: str) -> _Rule:
    try:
        parts = _split(text)
    except ValueError:
        parts = None
    if parts is None or parts.query or "*" in (parts.hostname or "").removeprefix("*"):
        raise SettingsError("subscription_endpoints: https://HOST[:PORT][/PATH], HOST may be * or *.DOMAIN")
    return _Rule(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme], parts.path or "/")
