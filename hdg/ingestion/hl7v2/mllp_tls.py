"""TLS for MLLP, on both sides: contexts from files, and who a client certificate names.

IHE ITI-19 (Authenticate Node), RFC 9325 §3.1.1 (TLS 1.2 or newer), RFC 4514 (subjects as text).
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from cryptography import x509

from hdg.errors import SettingsError
from hdg.throttle import Throttle

_log = logging.getLogger("hdg.ingestion.hl7v2.mllp")


def server_context(certificate: Path, key: Path | None, client_ca: Path | None) -> ssl.SSLContext:
    """The listener's context; with ``client_ca`` every client must show a certificate of such an issuer.

    What a handshake over an event loop fails of is in the log: the event loops tell nobody.

    ``certificate``: PEM chain, own certificate first. ``key`` None: it lies in the same file. Raises
    SettingsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_own(context, certificate, key)
    if client_ca is not None:
        _load_issuers(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    context.sslobject_class = _telling(Throttle(_log))
    return context


def _telling(tell: Throttle) -> type[ssl.SSLObject]:
    """One side of connections that tells why a handshake failed: OpenSSL's reason, nothing of the other side's."""

    class Telling(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                why = getattr(error, "verify_message", None) or error.reason or type(error).__name__
                tell(logging.WARNING, f"a TLS connection was refused: {why}")
                raise

    return Telling


def client_context(
    ca: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """A sender's context. ``ca`` None: the system's issuers. Checks the host name. Raises SettingsError."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_issuers(context, ca)
    if certificate is not None:
        _load_own(context, certificate, key)
    return context


def subject_of(connection: ssl.SSLObject | ssl.SSLSocket | None) -> str:
    """The subject of the other side's verified certificate, such as ``CN=lab-1,O=North``; '' without one."""
    der = connection.getpeercert(binary_form=True) if connection is not None else None
    if not der:
        return ""
    try:
        return x509.load_der_x509_certificate(der).subject.rfc4514_string()
    except ValueError:
        return ""


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"certificate {certificate} and its key cannot be used: {_reason(error)}"
        ) from None


def _load_issuers(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"certificates of issuers {ca} cannot be used: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__
