"""IHE PCD-01 with 100 measurements: conversion on one core, and durable MLLP with such messages."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta

from bench import mllp_load
from bench.measure import Figure, gateway, median, rate
from hdg.fhir import bundle, ids
from hdg.fhir import json as fhir_json
from hdg.helper import tune_collector
from hdg.ingestion.hl7v2.convert import Converter

METRICS = 100
PATIENTS = 200
PROFILE = "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"
KINDS = (
    ("150456^MDC_PULS_OXIM_SAT_O2^MDC", "262688^MDC_DIM_PERCENT^MDC", 85, 100),
    ("149530^MDC_PULS_OXIM_PULS_RATE^MDC", "264864^MDC_DIM_BEAT_PER_MIN^MDC", 50, 140),
    ("147842^MDC_ECG_HEART_RATE^MDC", "264864^MDC_DIM_BEAT_PER_MIN^MDC", 50, 140),
    ("151562^MDC_RESP_RATE^MDC", "264928^MDC_DIM_RESP_PER_MIN^MDC", 8, 30),
    ("150364^MDC_TEMP_BODY^MDC", "268192^MDC_DIM_DEGC^MDC", 35, 41),
    ("150033^MDC_PRESS_BLD_ART_SYS^MDC", "266016^MDC_DIM_MMHG^MDC", 80, 180),
    ("150034^MDC_PRESS_BLD_ART_DIA^MDC", "266016^MDC_DIM_MMHG^MDC", 40, 110),
    ("150488^MDC_BLD_PERF_INDEX^MDC", "262688^MDC_DIM_PERCENT^MDC", 0, 20),
)


def messages(count: int, seed: int = 7) -> list[bytes]:
    """Snapshots of monitors of many patients: a device, five virtual devices, and METRICS numbers of them."""
    rng = random.Random(seed)
    begin = datetime(2026, 3, 14, 8, tzinfo=UTC)
    found = []
    for index in range(count):
        patient = rng.randrange(PATIENTS)
        when = (begin + timedelta(seconds=10 * index)).strftime("%Y%m%d%H%M%S+0000")
        eui = f"00A0370000{patient:06X}"
        lines = [
            f"MSH|^~\\&|MON^{eui}^EUI-64|ICU|||{when}||ORU^R01^ORU_R01|B{seed}-{index}|P|2.6|||AL|NE|||||{PROFILE}",
            f"PID|||{70000 + patient}^^^ICU^PI||Example{patient}^Ada^^^^^L",
            "PV1||I|ICU^1^7",
            f"OBR|1|{index}^MON^{eui}^EUI-64|{index}^MON^{eui}^EUI-64|182777000^monitoring of patient^SCT|||{when}",
            f"OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||{eui}^^{eui}^EUI-64",
        ]
        for number in range(METRICS):
            code, unit, low, high = KINDS[number % len(KINDS)]
            value = f"{rng.uniform(low, high):.1f}"
            path = f"1.{number // 20 + 1}.1.{number % 20 + 1}"
            lines.append(
                f"OBX|{number + 2}|NM|{code}|{path}|{value}|{unit}|||||R|||{when}||||{eui}^^{eui}^EUI-64"
            )
        found.append("\r".join(lines).encode() + b"\r")
    return found


def pcd_100() -> Figure:
    """PCD-01 with 100 numbers to validated FHIR JSON bytes; limit: splitting it and writing its resources as JSON.

    No message is converted twice; the median of ten chunks.
    """
    tune_collector()  # as hdg serve, its helper and the processes of hdg convert do
    chunk = 60
    texts = messages(11 * chunk)
    converter = Converter(id_key=ids.PUBLIC_KEY)
    results = [list(converter.convert(raw, at_us=0).resources) for raw in texts[:chunk]]
    rates = []
    for start in range(chunk, len(texts), chunk):
        started = time.perf_counter()
        for raw in texts[start : start + chunk]:
            fhir_json.dumps(bundle.transaction(converter.convert(raw, at_us=0).resources))
        rates.append(chunk / (time.perf_counter() - started))

    def bare() -> None:
        for raw, resources in zip(texts[:chunk], results, strict=True):
            [line.split("|") for line in raw.decode().split("\r")]
            fhir_json.dumps(resources)

    limit = rate(bare, chunk)
    return Figure("pcd_100", median(rates), "messages/s", limit, "split and write the same JSON", ">= 300")


def pcd_durable() -> Figure:
    """The same by MLLP from 8 monitors at once, ACK after fsync; limit: conversion alone, on one core."""
    texts = messages(440, seed=8)
    with gateway() as running:
        mllp_load.send_all(running.mllp, iter(texts[:40]), 8)
        load = mllp_load.send_all(running.mllp, iter(texts[40:]), 8)
    if load.refused:
        raise RuntimeError(f"{len(load.refused)} messages were refused, the first with {load.refused[0]!r}")
    converter = Converter(id_key=ids.PUBLIC_KEY)
    limit = rate(lambda: [converter.convert(raw, at_us=0) for raw in texts[:40]], 40, rounds=3)
    return Figure("pcd_durable", load.rate, "messages/s", limit, "conversion alone, one core", "")
