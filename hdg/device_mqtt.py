"""Takes messages from an MQTT broker: each is acknowledged to the broker after its commit, and not before.

MQTT 5 (https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html) §4.3, §4.4. The session at the broker outlives us
(no clean start), so what was not acknowledged comes again after a crash, and is known by its digest. Everything is
subscribed at QoS 1, whatever it was published at: with QoS 2 a message is ours once we have said that it arrived
(PUBREC), before it could be stored; QoS 1 and the inbox, which knows repeats, give exactly once. What is published at
QoS 0 comes at QoS 0: there is nothing to acknowledge, and to do so all the same ends the connection (§2.2.1).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hdg.devices import Devices
from hdg.errors import SettingsError
from hdg.gateway import Gateway
from hdg.ingestion.sender import Origin
from hdg.settings import Mqtt

__all__ = ["Subscriber"]

KEEPALIVE_S = 30
RECONNECT_MAX_S = 30
RETRY_S = 1.0
RETRY_MAX_S = 60.0
QOS = 1
_PORTS = {"mqtt": 1883, "mqtts": 8883}

_log = logging.getLogger("hdg.mqtt")


class Subscriber:
    """One connection to one broker. ``start`` on the event loop; ``stop`` waits for what is under way."""

    def __init__(self, gateway: Gateway, devices: Devices, settings: Mqtt) -> None:
        """Raises SettingsError for credentials or certificates that cannot be read."""
        self._gateway, self._devices, self._settings = gateway, devices, settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[Future[None]] = set()
        self._generation = 0
        """Counts connections: an acknowledgement belongs to the one its message came by."""
        self._stopping = asyncio.Event()
        self._client = self._made()

    def start(self) -> None:
        """Begins to connect; goes on trying for as long as it takes."""
        self._loop = asyncio.get_running_loop()
        url = urlsplit(self._settings.url)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = self._settings.session_s
        properties.ReceiveMaximum = self._settings.in_flight
        self._client.connect_async(
            url.hostname or "",
            url.port or _PORTS[url.scheme],
            keepalive=KEEPALIVE_S,
            clean_start=False,
            properties=properties,
        )
        self._client.loop_start()

    async def stop(self) -> None:
        """What was begun is finished and acknowledged; then the connection ends, and the session stays."""
        self._stopping.set()
        pending = [asyncio.wrap_future(future) for future in list(self._under_way)]
        await asyncio.gather(*pending, return_exceptions=True)
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us."""
        return self._client.is_connected()

    def _made(self) -> mqtt.Client:
        settings = self._settings
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        try:
            if settings.credentials is not None:
                user, _, rest = settings.credentials.read_text(encoding="utf-8").partition("\n")
                client.username_pw_set(user.strip(), rest.partition("\n")[0].rstrip("\r") or None)
            if urlsplit(settings.url).scheme == "mqtts":
                context = ssl.create_default_context(cafile=settings.ca)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                if settings.certificate is not None:
                    context.load_cert_chain(settings.certificate, settings.key)
                client.tls_set_context(context)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"mqtt: credentials or certificates cannot be read ({type(error).__name__})"
            ) from None
        client.reconnect_delay_set(1, RECONNECT_MAX_S)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        return client

    # --- the client's thread ------------------------------------------------------------------------------------

    def _connected(self, client: mqtt.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            _log.error("the MQTT broker refused us: %s", reason)
            return
        self._generation += 1
        _log.info("connected to the MQTT broker; session kept: %s", flags.session_present)
        client.subscribe([(topic.filter, QOS) for topic in self._settings.topics])

    def _subscribed(self, client: mqtt.Client, _: Any, mid: int, reasons: Any, properties: Any) -> None:
        for number, reason in enumerate(reasons):
            if reason.is_failure:
                _log.error("the MQTT broker refused mqtt.topics[%d]: %s", number, reason)

    def _disconnected(self, client: mqtt.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not self._stopping.is_set():
            _log.warning("the connection to the MQTT broker ended: %s", reason)

    def _received(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        if self._loop is None or self._stopping.is_set():
            return  # not acknowledged: it comes again
        for number, topic in enumerate(self._settings.topics):
            if mqtt.topic_matches_sub(topic.filter, message.topic):
                mid = message.mid if message.qos else 0
                work = self._take(number, bytes(message.payload), mid, self._generation)
                future = asyncio.run_coroutine_threadsafe(work, self._loop)
                self._under_way.add(future)
                future.add_done_callback(self._under_way.discard)
                return
        _log.warning("a message of a topic that is not declared any more is left out")
        client.ack(message.mid, message.qos)

    # --- the event loop -----------------------------------------------------------------------------------------

    async def _take(self, number: int, data: bytes, mid: int, generation: int) -> None:
        """Takes a message in, again and again until it could be kept; then acknowledges it.

        ``mid``: 0 where there is nothing to acknowledge.
        """
        pause_s = RETRY_S
        while not await self._is_kept(number, data):
            try:
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            except TimeoutError:
                pause_s = min(2 * pause_s, RETRY_MAX_S)
            else:
                return  # not acknowledged: it comes again
        if not mid:
            return
        if generation == self._generation and self._client.ack(mid, QOS) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            _log.warning("a message of mqtt.topics[%d] could not be acknowledged: it will come again", number)

    async def _is_kept(self, number: int, data: bytes) -> bool:
        """Stored, or in quarantine, and committed."""
        topic = self._settings.topics[number]
        institution = topic.institution or self._gateway.settings.institution
        origin = Origin("mqtt", institution=institution, patient=topic.patient)
        try:
            if topic.format == "hl7v2":
                await self._gateway.receive(data, origin)
            elif data.strip():
                await self._devices.take(data, origin)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
            _log.error(
                "a message of mqtt.topics[%d] was not kept: %s at %s", number, type(error).__name__, place
            )
            return False
        return True
