"""Orders: TQ1 beside older fields of timing, and controls that name no service (HL7 v2.9 §4.5.1, §4.5.4)."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.hl7v2.convert import Converter

HEAD = "MSH|^~\\&|A|B|||20260304103000+0100||{}|1|P|2.5.1\rPID|1||4711^^^B^MR||Probe^Petra\r"
RXE, RXO, RXR = "RXE|{}|D1^Drug^L|5||mg", "RXO|D1^Drug^L|5||mg", "RXR|PO^Oral^HL70162"


def requests(kind: str, *segments: str) -> list[dict[str, Any]]:
    data = (HEAD.format(kind) + "\r".join(segments)).encode()
    found = Converter(id_key=PUBLIC_KEY).convert(data, at_us=0)
    assert not [issue for issue in found.issues if "another value" in issue.text]
    return [item for item in found.resources if item["resourceType"] == "MedicationRequest"]


def codes(request: dict[str, Any]) -> list[str]:
    return [one["timing"]["code"]["coding"][-1]["code"] for one in request["dosageInstruction"]]


@pytest.mark.parametrize("old", ["^^^20260304", "1^BID^^20260304", ""])
def test_the_frequency_of_a_tq1_counts_and_the_start_of_rxe_1_stays_beside_it(old: str) -> None:
    [request] = requests("RDE^O11", "ORC|NW|1", RXE.format(old), "TQ1|1|1|Q6H", "TQ1|2|1|QHS", RXR)
    assert codes(request) == ["Q6H", "QHS"]
    start = [one["valuePeriod"]["start"] for one in request.get("extension", ()) if "valuePeriod" in one]
    assert start == ["2026-03-04"] * bool(old)


def test_rxe_1_counts_for_an_order_without_a_tq1_whatever_another_order_has() -> None:
    first, second = requests(
        "RDE^O11",
        *("ORC|NW|1", RXE.format("1^BID^^20260304"), RXR),
        *("ORC|NW|2", RXE.format("^^^20260304"), "TQ1|1|1|Q6H", RXR),
    )
    assert (codes(first), codes(second)) == (["BID"], ["Q6H"])
    assert first["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"]["start"] == "2026-03-04"


def test_a_tq1_counts_before_orc_7() -> None:
    [request] = requests("ORM^O01", "ORC|NW|1|||||1^Q8H^^20260304", "TQ1|1||BID", RXO, RXR)
    assert codes(request) == ["BID"]


@pytest.mark.parametrize(
    ("kind", "segments", "is_reported"),
    [
        ("ORM^O01", ("ORC|CA|1",), True),
        ("OML^O21", ("ORC|OC|1|F1",), True),
        ("ORM^O01", ("ORC|CA|1", "OBR|1|1||X^Y^LN"), False),
        ("ORM^O01", ("ORC|CA|1", RXO, RXR), False),
        ("ORU^R01", ("ORC|RE|1", "OBR|1|1||X^Y^LN"), False),
    ],
)
def test_a_cancellation_that_names_no_service_is_reported(
    kind: str, segments: tuple[str, ...], is_reported: bool
) -> None:
    data = (HEAD.format(kind) + "\r".join(segments)).encode()
    found = Converter(id_key=PUBLIC_KEY).convert(data, at_us=0)
    assert [issue.place for issue in found.issues if "without OBR" in issue.text] == ["ORC-1"] * is_reported
