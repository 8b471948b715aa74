"""Messages of a broker: acknowledged after the commit and not before, whatever goes wrong; settings are checked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from hdg import device_mqtt
from hdg.device_mqtt import Subscriber
from hdg.devices import Devices
from hdg.errors import SettingsError
from hdg.gateway import Gateway
from hdg.settings import Mqtt, MqttTopic, Settings, load

ENVELOPE = (Path(__file__).resolve().parents[2] / "examples" / "blood-pressure-gateway.json").read_bytes()


class Client:
    """What the subscriber does to its client."""

    def __init__(self) -> None:
        self.acknowledged: list[tuple[int, int]] = []

    def ack(self, mid: int, qos: int) -> MQTTErrorCode:
        self.acknowledged.append((mid, qos))
        return MQTTErrorCode.MQTT_ERR_SUCCESS


@pytest.fixture
def gateway(tmp_path):
    with Gateway.open(Settings(data=tmp_path / "data", institution="north")) as opened:
        yield opened


def subscriber(gateway: Gateway, **topic: Any) -> tuple[Subscriber, Client]:
    settings = Mqtt(url="mqtt://localhost", topics=(MqttTopic(filter="home/#", **topic),))
    made, client = Subscriber(gateway, Devices(gateway), settings), Client()
    made._client = client
    return made, client


def message(mid: int, payload: bytes = ENVELOPE, topic: str = "home/1/vitals") -> SimpleNamespace:
    return SimpleNamespace(topic=topic, payload=payload, mid=mid, qos=1)


def inbox(gateway: Gateway) -> list[Any]:
    with gateway.store.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT status FROM inbox").scalars().all()


async def deliver(made: Subscriber, client: Client, *messages: SimpleNamespace) -> None:
    made._loop = asyncio.get_running_loop()
    for one in messages:
        await asyncio.to_thread(made._received, client, None, one)
    while made._under_way:
        await asyncio.sleep(0.005)


def test_a_message_is_acknowledged_once_it_is_stored(gateway):
    made, client = subscriber(gateway)
    asyncio.run(deliver(made, client, message(7)))
    assert client.acknowledged == [(7, 1)]
    assert inbox(gateway) == ["accepted"]


def test_a_message_without_acknowledgement_is_stored_and_none_is_sent(gateway):
    """QoS 0 has no packet identifier: an acknowledgement of 0 would end the connection."""
    made, client = subscriber(gateway)
    unacknowledged = message(0)
    unacknowledged.qos = 0
    asyncio.run(deliver(made, client, unacknowledged))
    assert client.acknowledged == []
    assert inbox(gateway) == ["accepted"]


def test_a_topic_that_the_broker_refuses_is_told(gateway, caplog):
    made, client = subscriber(gateway)
    refused, granted = (ReasonCode(PacketTypes.SUBACK, identifier=code) for code in (0x87, 1))
    made._subscribed(client, None, 1, [granted, refused], None)
    assert [record.getMessage() for record in caplog.records] == [
        "the MQTT broker refused mqtt.topics[1]: Not authorized"
    ]


def test_a_repeat_is_acknowledged_and_changes_nothing(gateway):
    made, client = subscriber(gateway)
    asyncio.run(deliver(made, client, message(7), message(8)))
    assert sorted(client.acknowledged) == [(7, 1), (8, 1)]
    assert inbox(gateway) == ["accepted"]


def test_what_cannot_be_read_is_kept_and_acknowledged(gateway):
    made, client = subscriber(gateway)
    asyncio.run(deliver(made, client, message(7, b"nonsense"), message(8, b"")))
    assert sorted(client.acknowledged) == [(7, 1), (8, 1)]
    assert inbox(gateway) == ["quarantined"]


def test_what_could_not_be_kept_is_tried_again_and_acknowledged_only_then(gateway, monkeypatch):
    monkeypatch.setattr(device_mqtt, "RETRY_S", 0.01)
    made, client = subscriber(gateway)
    take, calls = made._devices.take, []

    async def failing(*args):
        calls.append(list(client.acknowledged))
        if len(calls) < 3:
            raise OSError("disk full")
        return await take(*args)

    monkeypatch.setattr(made._devices, "take", failing)
    asyncio.run(deliver(made, client, message(7)))
    assert calls == [[], [], []]
    assert client.acknowledged == [(7, 1)]


def test_a_message_of_an_earlier_connection_is_not_acknowledged_on_a_later_one(gateway):
    made, client = subscriber(gateway)

    async def run() -> None:
        made._loop = asyncio.get_running_loop()
        work = made._take(0, ENVELOPE, 7, made._generation)
        made._generation += 1
        await work

    asyncio.run(run())
    assert client.acknowledged == []
    assert inbox(gateway) == ["accepted"]


def test_a_message_that_waits_when_the_gateway_stops_is_not_acknowledged(gateway, monkeypatch):
    made, client = subscriber(gateway)

    async def failing(*args):
        raise OSError("disk full")

    async def run() -> None:
        made._loop = asyncio.get_running_loop()
        monkeypatch.setattr(made._devices, "take", failing)
        task = asyncio.create_task(made._take(0, ENVELOPE, 7, 0))
        await asyncio.sleep(0.05)
        made._stopping.set()
        await asyncio.wait_for(task, 120)

    asyncio.run(run())
    assert client.acknowledged == []


def test_hl7_v2_by_mqtt_goes_the_way_of_messages(gateway):
    made, client = subscriber(gateway, format="hl7v2", institution="north")
    text = b"MSH|^~\\&|HUB|NORTH|||20260227070000+0100||ADT^A04|1|P|2.5\rPID|1||4711^^^NORTH^MR\r"
    asyncio.run(deliver(made, client, message(7, text)))
    assert client.acknowledged == [(7, 1)]
    assert inbox(gateway) == ["accepted"]


def test_a_topic_that_is_not_declared_any_more_is_acknowledged_and_left_out(gateway):
    made, client = subscriber(gateway)
    asyncio.run(deliver(made, client, message(7, topic="office/1")))
    assert client.acknowledged == [(7, 1)]
    assert inbox(gateway) == []


def test_credentials_that_cannot_be_read_are_an_error_of_the_settings(gateway, tmp_path):
    topics = (MqttTopic(filter="x"),)
    for wrong in ({"credentials": tmp_path / "none"}, {"ca": tmp_path / "none"}):
        settings = Mqtt(url="mqtts://localhost", topics=topics, **wrong)
        with pytest.raises(SettingsError, match="mqtt"):
            Subscriber(gateway, Devices(gateway), settings)


@pytest.mark.parametrize(
    "toml",
    [
        '[mqtt]\nurl = "http://x"\ntopics = [{filter = "a"}]\n',
        '[mqtt]\nurl = "mqtt://user@x"\ntopics = [{filter = "a"}]\n',
        '[mqtt]\nurl = "mqtt://x"\ntopics = []\n',
        '[mqtt]\nurl = "mqtt://x"\ntopics = [{filter = "a", format = "x"}]\n',
        '[mqtt]\nurl = "mqtt://x"\npassword = "p"\ntopics = [{filter = "a"}]\n',
    ],
)
def test_wrong_settings_are_named(tmp_path, toml):
    (tmp_path / "hdg.toml").write_text(toml)
    with pytest.raises(SettingsError, match="mqtt"):
        load(data=tmp_path)


def test_the_settings_of_the_documentation_are_read(tmp_path):
    documented = (Path(__file__).resolve().parents[2] / "docs" / "devices.md").read_text()
    toml = documented.partition("```toml\n[mqtt]")[2].partition("```")[0]
    (tmp_path / "hdg.toml").write_text("[mqtt]" + toml)
    settings = load(data=tmp_path)
    assert settings.mqtt is not None
    assert len(settings.mqtt.topics) == 2
