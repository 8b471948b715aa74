"""Pseudonyms: of one project, readable with its key alone (research/pseudonyms.py)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir import definitions
from hdg.management.store.values import hasher
from hdg.usage.research.pseudonyms import Pseudonyms

HASH = hasher(b"h" * 32)
ONE, OTHER = (Pseudonyms(bytes([number]) * 32, HASH) for number in (1, 2))
TYPES = st.sampled_from(sorted(definitions.resource_types()))
IDS = st.from_regex(r"[A-Za-z0-9\-.]{1,64}", fullmatch=True)


@given(TYPES, IDS)
def test_a_pseudonym_is_read_back_as_type_and_hash_of_the_id(type_: str, id_: str) -> None:
    text = ONE.of(type_, id_)
    assert re.fullmatch("[0-9a-f]{32}", text)
    assert ONE.opened(text) == (type_, HASH(id_))
    assert ONE.of(type_, id_) == text


@given(TYPES, IDS, IDS)
def test_pseudonyms_differ_by_id_type_and_project_and_mean_nothing_to_another(
    type_: str, id_: str, other: str
) -> None:
    text = ONE.of(type_, id_)
    assert (ONE.of(type_, other) == text) is (id_ == other)
    assert ONE.of("Basic" if type_ != "Basic" else "List", id_) != text
    assert OTHER.of(type_, id_) != text
    assert OTHER.opened(text) is None


@given(IDS, st.integers(0, 127))
def test_a_changed_pseudonym_is_none(id_: str, bit: int) -> None:
    changed = f"{int(ONE.of('Patient', id_), 16) ^ 1 << bit:032x}"
    assert ONE.opened(changed) is None


@pytest.mark.parametrize(
    "text", ["", "ann", "0" * 32, "g" * 32, "é" * 32, ONE.of("Patient", "a").upper() + "\n"]
)
def test_what_is_no_pseudonym_is_none(text: str) -> None:
    assert ONE.opened(text) is None
