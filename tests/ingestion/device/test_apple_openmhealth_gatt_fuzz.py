"""Whatever is done to personal health data, they give valid resources or a DeviceError, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hdg.errors import DeviceError
from hdg.fhir.validate import validate
from hdg.ingestion.device import gatt
from hdg.ingestion.device.convert import Converter, Input

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
INPUTS = [
    "apple-health-export.xml",
    "open-mhealth.json",
    "health-connect.json",
    "blood-pressure-gateway.json",
    "ecg-stream.json",
    "home-measurements.csv",
]
ROUNDS = 100
WORDS = [
    b"",
    b'"',
    b"<",
    b">",
    b"&",
    b"null",
    b"-1",
    b"1e400",
    b"1E-400",
    b"{}",
    b"[]",
    b"\x00",
    b"\xff",
    b",",
    b"Z",
]
CONVERTER = Converter(id_key=b"k" * 32)


def mutated(data: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(made) + 1)
        end = min(len(made), at + chance.choice((0, 1, 1, 3, 40)))
        start = chance.randrange(len(data))
        made[at:end] = chance.choice([*WORDS, data[start : start + 30], bytes([chance.randrange(256)])])
    return bytes(made)


@pytest.mark.parametrize("name", INPUTS)
def test_mutated_inputs(name: str) -> None:
    chance = random.Random(name)
    data = (EXAMPLES / name).read_bytes()
    for number in range(ROUNDS):
        patient = chance.choice(("", "p1"))
        try:
            made = mutated(data, chance)
            pieces = list(
                CONVERTER.pieces(Input.of_bytes(made, patient=patient, may_be_anonymous=True), at_us=1)
            )
        except DeviceError:
            continue
        for piece in pieces:
            assert [i for one in piece.resources for i in validate(one)] == [], number


@pytest.mark.parametrize("uuid", sorted(gatt.characteristics()))
def test_random_bytes_of_characteristics(uuid: str) -> None:
    chance = random.Random(uuid)
    for _ in range(400):
        data = chance.randbytes(chance.randrange(0, 24))
        try:
            said = gatt.read(uuid, data, has_crc=chance.random() < 0.1)
        except DeviceError:
            continue
        assert all(reading.key.startswith("2A") for reading in said.readings)
