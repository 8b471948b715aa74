"""Ids that the server gives (R4 datatypes.html#id, http.html#create)."""

from __future__ import annotations

import re
import time

import pytest

from hdg.usage.fhir_api.changes import new_id


def test_ids_that_are_made_together_begin_alike_and_are_each_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_ns = 5 << 40
    monkeypatch.setattr(time, "monotonic_ns", lambda: at_ns)
    some = {new_id() for _ in range(500)}
    assert len(some) == 500
    assert all(re.fullmatch(r"[0-9a-f]{32}", id_) for id_ in some)
    (begin,) = {id_[:6] for id_ in some}
    assert len({id_[6:14] for id_ in some}) == 500
    begins = set()
    for _ in range(8):
        at_ns += 1_000_000_000
        begins.add(new_id()[:6])
    assert len(begins | {begin}) > 7  # nothing of the time is in them


def test_an_import_is_spread_over_the_index_no_wider_than_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic_ns", lambda: 0)
    earlier = new_id()[:6]
    monkeypatch.setattr(time, "monotonic_ns", lambda: (1 << 28) - 1)
    assert new_id()[:6] == earlier
