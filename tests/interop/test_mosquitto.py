"""Eclipse Mosquitto as the broker of body-sensor gateways: nothing is lost or doubled when we are killed.

``tests/interop/tools.sh`` installs Debian's package.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from certificates import Authority

pytestmark = pytest.mark.interop

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "blood-pressure-gateway.json"
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Broker:
    def __init__(self, folder: Path, *lines: str) -> None:
        self.port, self.folder = free_port(), folder
        folder.mkdir(exist_ok=True)
        os.chmod(folder, 0o777)
        settings = [f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/"]
        settings += ["max_queued_messages 0", *(lines or ("allow_anonymous true",))]
        (folder / "mosquitto.conf").write_text("user root\n" + "\n".join(settings) + "\n")
        self.start()

    def start(self) -> None:
        command = [MOSQUITTO, "-c", str(self.folder / "mosquitto.conf")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() is None)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(300)


def until(is_so: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
        except (OSError, sqlite3.OperationalError):
            pass
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "broker")
    yield made
    made.stop()


class Served:
    """``hdg serve`` with a broker."""

    def __init__(self, data: Path, url: str, more: str = "") -> None:
        data.mkdir(exist_ok=True)
        self.data = data
        (data / "hdg.toml").write_text(
            f'institution = "north"\n[mqtt]\nurl = "{url}"\nclient_id = "hdg-test"\n{more}\n'
            '[[mqtt.topics]]\nfilter = "home/+/vitals"\n'
        )
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "hdg", "serve", "--data", str(self.data)]
        command += ["--http", "127.0.0.1:0", "--mllp", "127.0.0.1:0"]
        environment = {**os.environ, "HDG_DICOM": "127.0.0.1:0"}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(300)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(300)

    def rows(self, query: str) -> list[tuple]:
        database = self.data / "hdg.db"
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()

    def accepted(self) -> int:
        return self.rows("SELECT count(*) FROM inbox WHERE status = 'accepted'")[0][0]


def publisher(broker: Broker, *, context=None, user: str = "") -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    if context is not None:
        client.tls_set_context(context)
    if user:
        client.username_pw_set(user, "secret")
    client.connect("localhost", broker.port)
    client.loop_start()
    return client


def publish(client: mqtt.Client, numbers: range, qos: int = 1) -> None:
    envelope = json.loads(EXAMPLE.read_bytes())
    for number in numbers:
        envelope["received"] = (
            f"2026-02-27T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}+01:00"
        )
        envelope["measurements"] = [
            {"characteristic": "2A37", "encoding": "hex", "value": f"00{40 + number % 100:02x}"}
        ]
        client.publish("home/1/vitals", json.dumps(envelope), qos=qos).wait_for_publish(300)


def subscribed(served: Served, client: mqtt.Client) -> None:
    """Waits until our first message has come through."""
    publish(client, range(90_000, 90_001))
    until(lambda: served.accepted() >= 1 or publish(client, range(90_000, 90_001)) is not None)


def test_a_gateway_that_is_killed_again_and_again_loses_and_doubles_nothing(
    broker: Broker, tmp_path: Path
) -> None:
    served = Served(tmp_path / "data", f"mqtt://localhost:{broker.port}")
    client = publisher(broker)
    try:
        subscribed(served, client)
        total = 150
        for start in range(0, total, 50):
            publish(client, range(start, start + 50), qos=1 + start // 50 % 2)
            served.kill()
            served.start()
        until(lambda: served.accepted() == total + 1)
        time.sleep(1)
        assert served.accepted() == total + 1
        found = served.rows("SELECT count(*) FROM resource WHERE type = 'Observation'")
        assert found == [((total + 1) + 1,)]  # and the coincident time stamp, which all of them share
        assert served.rows("SELECT count(*) FROM version WHERE type = 'Observation'") == found
    finally:
        client.loop_stop()
        served.stop()


def test_what_is_published_without_acknowledgement_comes_in_on_one_connection(
    broker: Broker, tmp_path: Path
) -> None:
    served = Served(tmp_path / "data", f"mqtt://localhost:{broker.port}")
    client = publisher(broker)
    try:
        subscribed(served, client)
        publish(client, range(30), qos=0)
        publish(client, range(30, 40))
        until(lambda: served.accepted() == 41)
    finally:
        client.loop_stop()
        served.stop()


def test_what_comes_while_the_gateway_or_the_broker_is_away_comes_later(
    broker: Broker, tmp_path: Path
) -> None:
    served = Served(tmp_path / "data", f"mqtt://localhost:{broker.port}")
    client = publisher(broker)
    try:
        subscribed(served, client)
        served.stop()
        publish(client, range(20), qos=2)
        served.start()
        until(lambda: served.accepted() == 21)
        broker.stop()
        broker.start()
        until(client.is_connected)
        publish(client, range(20, 30))
        until(lambda: served.accepted() == 31)
    finally:
        client.loop_stop()
        served.stop()


def test_over_tls_with_credentials(tmp_path: Path) -> None:
    issuer = Authority(tmp_path / "certificates")
    pair = issuer.issue("localhost")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "hub", "secret"], check=True)
    lines = (f"cafile {issuer.ca}", f"certfile {pair.certificate}", f"keyfile {pair.key}")
    broker = Broker(tmp_path / "broker", *lines, "allow_anonymous false", f"password_file {passwords}")
    (tmp_path / "credentials").write_text("hub\nsecret\n")
    more = f'credentials = "{tmp_path / "credentials"}"\nca = "{issuer.ca}"'
    served = Served(tmp_path / "data", f"mqtts://localhost:{broker.port}", more)
    client = publisher(broker, context=ssl.create_default_context(cafile=issuer.ca), user="hub")
    try:
        subscribed(served, client)
    finally:
        client.loop_stop()
        served.stop()
        broker.stop()
