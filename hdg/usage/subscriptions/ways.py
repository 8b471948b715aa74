"""Which way a notification goes, by the channel of its Subscription and what this gateway is set up for."""

from __future__ import annotations

from hdg.settings import Settings
from hdg.usage.subscriptions.endpoints import relay
from hdg.usage.subscriptions.hook import Hook, tls_context
from hdg.usage.subscriptions.lane import Carrier
from hdg.usage.subscriptions.mail import Mail, server_of
from hdg.usage.subscriptions.sms import Sms

__all__ = ["Ways", "channels"]


def channels(settings: Settings) -> frozenset[str]:
    """The channels beside rest-hook and websocket that the settings give a way to."""
    given = {"email": settings.subscription_mail, "sms": settings.subscription_sms}
    return frozenset(name for name, value in given.items() if value)


class Ways:
    """Makes carriers. Raises SettingsError for what cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._tls = tls_context(settings.subscription_ca)
        self._base_url = settings.fhir_base
        password = settings.subscription_mail_password.get_secret_value()
        mail = settings.subscription_mail
        self._mail = server_of(mail, password, settings.subscription_mail_from) if mail else None
        self._sms = relay(settings.subscription_sms) if settings.subscription_sms else None
        self._authorization = settings.subscription_sms_authorization.get_secret_value()

    @property
    def channels(self) -> frozenset[str]:
        """Those that are sent to from here: not those that subscribers connect for."""
        given = {"rest-hook": True, "email": self._mail is not None, "sms": self._sms is not None}
        return frozenset(name for name, is_there in given.items() if is_there)

    def carrier(self, channel: str) -> Carrier:
        """Of one of ``channels``."""
        if channel == "email" and self._mail is not None:
            return Mail(self._mail, self._tls, self._base_url)
        if channel == "sms" and self._sms is not None:
            return Sms(self._sms, self._authorization, self._tls, self._base_url)
        return Hook(self._tls)
