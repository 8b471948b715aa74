"""A made-up Apple Health export of any size, by a seeded generator; nobody's data."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE HealthData [
<!-- HealthKit Export Version: 14 -->
<!ELEMENT HealthData (ExportDate,Me,(Record|Correlation|Workout|ActivitySummary)*)>
<!ATTLIST HealthData
  locale CDATA #REQUIRED
>
]>
<HealthData locale="en_US">
 <ExportDate value="2026-03-01 08:00:00 +0100"/>
 <Me HKCharacteristicTypeIdentifierDateOfBirth="1971-05-17"/>
"""
DEVICE = (
    "&lt;&lt;HKDevice: 0x{:x}&gt;, name:Apple Watch, manufacturer:Apple Inc., model:Watch, "
    "hardware:Watch6,2, software:{}.{}&gt;"
)
KINDS = (
    ("HeartRate", "count/min", 40, 180, 0),
    ("ActiveEnergyBurned", "Cal", 0, 20, 3),
    ("StepCount", "count", 1, 900, 0),
    ("DistanceWalkingRunning", "km", 0, 1, 5),
    ("BasalEnergyBurned", "Cal", 0, 20, 3),
    ("OxygenSaturation", "%", 0, 1, 2),
    ("RespiratoryRate", "count/min", 10, 20, 1),
)


def lines(seed: int) -> Iterator[str]:
    """Records without end."""
    chance = random.Random(seed)
    at = 0
    while True:
        at += chance.randrange(1, 300)
        kind, unit, least, most, places = chance.choice(KINDS)
        moment = f"20{10 + at // 31_536_000 % 16}-{1 + at // 2_592_000 % 12:02}-{1 + at // 86_400 % 28:02}"
        clock = f"{at // 3600 % 24:02}:{at // 60 % 60:02}:{at % 60:02} +0100"
        value = f"{chance.uniform(least, most):.{places}f}"
        device = DEVICE.format(0x280000000, 8 + at % 3, at % 2)
        inside = "/>"
        if kind == "HeartRate":
            inside = '>\n  <MetadataEntry key="HKMetadataKeyHeartRateMotionContext" value="1"/>\n </Record>'
        yield (
            f' <Record type="HKQuantityTypeIdentifier{kind}" sourceName="Watch" sourceVersion="{8 + at % 3}" '
            f'device="{device}" unit="{unit}" creationDate="{moment} {clock}" startDate="{moment} {clock}" '
            f'endDate="{moment} {clock}" value="{value}"{inside}\n'
        )


def write(path: Path, size: int, seed: int = 1) -> int:
    """Writes an export of at least ``size`` bytes; how many records it has."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        written = file.write(HEAD)
        for line in lines(seed):
            written += file.write(line)
            count += 1
            if written >= size:
                break
        file.write("</HealthData>\n")
    return count
