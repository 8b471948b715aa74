"""What is kept of one PCD-01 message for the next: containment trees and places give what a new converter gives."""

from __future__ import annotations

import random

import pytest

from hdg.fhir.json import dumps
from hdg.ingestion.device.mdc import Mdc
from tests.ingestion.device.test_pcd_any import LINES
from tests.pcd_messages import BPM, CUFF, MMHG, MONITOR, PERCENT, PULSE, SPO2, converter, number, pcd

CHANNEL = "OBX|||70686^MDC_DEV_PRESS_BLD_NONINV_CHAN^MDC|1.1.1.0|||||||X"
ORDER = "OBR|2|A2^AHD|C2^AHD|182777000^monitoring of patient^SCT|||20260101120000+0000"
LAYOUTS = {
    "plain": [MONITOR, number(SPO2, "1.1.1.1", "97", PERCENT), number(PULSE, "1.1.1.2", "61.0", BPM)],
    "member before its whole": [
        CUFF,
        number("150021^MDC_PRESS_BLD_NONINV_SYS^MDC", "1.0.1.1", "120", MMHG),
        "OBX|||150020^MDC_PRESS_BLD_NONINV^MDC|1.0.1|||||||X",
    ],
    "component": [MONITOR, CHANNEL, number(PULSE, "1.1.1.3", "60", BPM)],
    "two of one key": [MONITOR, number(SPO2, "1.1.1.1", "97"), number(PULSE, "1.1.1.1", "61")],
    "two orders": [MONITOR, number(SPO2, "1.1.1.1", "97"), ORDER, number(SPO2, "1.1.1.1", "98")],
    "one order": [MONITOR, number(SPO2, "1.1.1.1", "97"), number(SPO2, "1.1.1.1", "98")],
    "short OBX": [MONITOR, f"OBX||NM|{SPO2}", number(SPO2, "", "98")],
    "attribute of nothing": ["OBX||ST|531969^MDC_ID_MODEL_NUMBER^MDC|1.0.0.2|M1"],
    "all": list(LINES),
}


def _said(raw: bytes) -> bytes:
    found = converter().convert(raw, at_us=0)
    return dumps(list(found.resources)) + repr((found.issues, found.deletions, found.defaulted)).encode()


def _said_at_first(raw: bytes) -> bytes:
    """What it gives when nothing is kept of any message before."""
    converter().tables(None)._shared.clear()
    return _said(raw)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_has_come_before_gives_what_a_new_converter_gives(layout: str) -> None:
    lines = LAYOUTS[layout]
    values = [line.replace("|97", "|88").replace("|61", "|59.50").replace("|120", "|") for line in lines]
    equipped = [line + "|" * (18 - line.count("|")) + "E7^ACME" for line in lines]
    messages = [pcd(*made) for made in (lines, values, lines, equipped, values)]
    expected = [_said_at_first(raw) for raw in messages]
    assert [_said(raw) for raw in messages] == expected


def test_layouts_that_differ_in_a_place_or_in_their_order_are_told_apart() -> None:
    rng = random.Random(4)
    messages = []
    for _ in range(30):
        lines = list(LINES)
        rng.shuffle(lines)
        messages.append(pcd(*lines[: rng.randrange(2, len(lines))]))
    expected = [_said_at_first(raw) for raw in messages]
    assert [_said(raw) for raw in messages] == expected
    assert [_said(raw) for raw in messages] == expected


def test_layouts_that_are_kept_are_bounded_in_number_and_size() -> None:
    mdc = Mdc()
    for index in range(500):
        mdc.keep_tree((str(index),), index)
    assert len(mdc.trees) <= 64
    mdc.keep_tree(("x" * 1_000_000,), 1)
    assert ("x" * 1_000_000,) not in mdc.trees
