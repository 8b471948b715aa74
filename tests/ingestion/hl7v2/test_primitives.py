"""Primitives that are kept or take a short way: numbers and base64."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir import json as fhir_json
from hdg.ingestion.hl7v2.primitives import number, packed_base64, plain_number
from hdg.mapping.context import Unfit


@given(st.text("0123456789.+-eE ٣", max_size=6))
def test_a_plain_number_is_what_the_number_is(text: str) -> None:
    found = plain_number(text)
    if found is not None:
        assert fhir_json.dumps(found) == fhir_json.dumps(number(text)) == text.encode()


def test_digits_without_end_are_no_plain_number() -> None:
    assert plain_number("1" * 101) is None
    with pytest.raises(Unfit):
        number("1" * 101)


@given(st.binary(max_size=60), st.sampled_from(["", " ", "\n", "\r\n", "\t"]), st.integers(1, 20))
def test_base64_loses_its_blanks_and_nothing_else(data: bytes, blank: str, width: int) -> None:
    packed = base64.b64encode(data).decode()
    lines = blank.join(packed[at : at + width] for at in range(0, len(packed), width))
    assert packed_base64(f"{blank}{lines}{blank}") == packed


@pytest.mark.parametrize("text", ["Q", "QUJ", "QU*D", "é", "QUJD\x00"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        packed_base64(text)
