"""Fixtures that every part of the suite shares."""

from __future__ import annotations

from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of real inputs (marker ``corpus``); its absence is an error, never a skip."""
    if not CASES.is_dir():
        raise FileNotFoundError(f"corpus tests need {CASES}")
    return CASES
