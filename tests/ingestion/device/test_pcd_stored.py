"""PCD-01 through the gateway: what is acknowledged is there once, with its digits, however often it is sent."""

from __future__ import annotations

from pathlib import Path

from hdg.gateway import Gateway
from hdg.settings import Settings
from tests.pcd_messages import MONITOR, PERCENT, SPO2, number, pcd
from tests.stored import all_of, send


def snapshot(control: str, second: int, value: str) -> bytes:
    when = f"202601011200{second:02}+0000"
    return pcd(MONITOR, number(SPO2, "1.1.1.1", value, PERCENT), control=control, observed=when, sent=when)


def test_snapshots_of_a_monitor_are_each_there_once_and_its_device_is_one(tmp_path: Path) -> None:
    with Gateway.open(Settings(data=tmp_path / "data")) as gateway:
        send(
            gateway,
            snapshot("1", 1, "97.0"),
            snapshot("2", 2, "97.0"),
            snapshot("3", 2, "97.0"),
            snapshot("4", 3, "NaN"),
        )
        found = all_of(gateway, "Observation")
        assert len(found) == 3
        values = [one["valueQuantity"]["value"] for one in found if "valueQuantity" in one]
        assert [str(getattr(value, "literal", value)) for value in values] == ["97.0", "97.0"]
        assert len(all_of(gateway, "Device")) == 1
        assert len(all_of(gateway, "Patient")) == 1
        assert len(all_of(gateway, "DiagnosticReport")) == 3
