"""v2 dates and times: precision and offset kept. HL7 v2.9 §2.A.22; R4 datatypes.html#dateTime."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.errors import SettingsError
from hdg.ingestion import times
from hdg.ingestion.times import to_date, to_datetime, to_instant, to_time, zone
from hdg.mapping.context import Unfit


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2026", "2026"),
        ("202603", "2026-03"),
        ("20260314", "2026-03-14"),
        ("202603141530-0500", "2026-03-14T15:30:00-05:00"),
        ("20260314153045+0930", "2026-03-14T15:30:45+09:30"),
        ("20260314153045.1200+0000", "2026-03-14T15:30:45.1200+00:00"),
        ("20260314+0100", "2026-03-14"),
        ("20240229", "2024-02-29"),
    ],
)
def test_a_dtm_keeps_its_precision_and_offset(text: str, expected: str) -> None:
    assert to_datetime(text, None) == expected


@pytest.mark.parametrize("text", ["20260314153045", "202603141530", "2026031415", "2026031415-0500"])
def test_a_time_that_cannot_be_carried_is_cut_to_its_date_and_says_so(text: str) -> None:
    with pytest.raises(Unfit) as caught:
        to_datetime(text, None)
    assert caught.value.kept == "2026-03-14"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20261314",
        "20260230",
        "20260314250000+0000",
        "20260314156000+0000",
        "0000",
        "2026-03-14",
        "x",
        "202603141530-9900",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Unfit) as caught:
        to_datetime(text, None)
    assert caught.value.kept is None


def test_a_declared_zone_gives_the_offset_of_that_day() -> None:
    place = zone("America/New_York")
    assert to_datetime("20260115120000", place) == "2026-01-15T12:00:00-05:00"
    assert to_datetime("20260715120000", place) == "2026-07-15T12:00:00-04:00"
    assert to_datetime("20260715120000", zone("+05:30")) == "2026-07-15T12:00:00+05:30"
    assert to_datetime("20260715120000-0300", place) == "2026-07-15T12:00:00-03:00"


def test_a_zone_that_does_not_exist_is_a_settings_error() -> None:
    with pytest.raises(SettingsError):
        zone("Mars/Olympus")


def test_an_instant_needs_seconds_and_an_offset() -> None:
    assert to_instant("20260314153045-0500", None) == "2026-03-14T15:30:45-05:00"
    for text in ("202603141530-0500", "20260314", "20260314153045"):
        with pytest.raises(Unfit) as caught:
            to_instant(text, None)
        assert caught.value.kept is None


def test_a_date_leaves_the_time_out() -> None:
    assert to_date("20260314153045-0500") == "2026-03-14"


def test_a_time_of_day() -> None:
    assert to_time("0830") == "08:30:00"
    assert to_time("083015.25") == "08:30:15.25"
    for text in ("8", "2460", "2500", "083"):
        with pytest.raises(Unfit):
            to_time(text)


@given(st.text(alphabet="0123456789+-.Z", max_size=24))
def test_any_text_is_a_time_or_is_refused(text: str) -> None:
    try:
        found = to_datetime(text, None)
    except Unfit:
        return
    assert found[:4] == text[:4]


def test_the_short_way_for_usual_times_says_what_the_long_way_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Month ends, hours, offsets: what the short way takes must be a day and a time, and read alike."""
    days = [
        f"{year}{month:02}{day:02}"
        for year in (1900, 2024)
        for month in range(14)
        for day in (0, 1, 28, 29, 31, 32)
    ]
    clocks = ["000000", "235959", "240000", "236000", "235960", "2359"]
    offsets = ["+0000", "-0500", "+1359", "+1400", "-1500", "+0060", ""]
    texts = [*days, *(f"{days[13]}{clock}{offset}" for clock in clocks for offset in offsets), "٢٠٢٤٠١٠١"]

    def said(text: str) -> list[str]:
        found = []
        for convert in (to_date, lambda text: to_datetime(text, None)):
            try:
                found.append(convert(text))
            except Unfit as unfit:
                found.append(f"{unfit.text} {unfit.kept}")
        return found

    usual = [said(text) for text in texts]
    monkeypatch.setattr(times, "_usual", lambda text: "")
    assert [said(text) for text in texts] == usual
