"""Log lines that come in floods."""

from __future__ import annotations

import logging

from hdg.throttle import Throttle


def test_a_line_is_written_once_a_second_and_the_next_says_how_many_were_left_out(caplog) -> None:
    now = [100.0]
    tell = Throttle(logging.getLogger("hdg.test"), clock=lambda: now[0])
    for number in range(5):
        tell(logging.ERROR, "broken %d", number)
    tell(logging.ERROR, "something else")
    now[0] += 1.0
    tell(logging.ERROR, "broken %d", 9)
    assert caplog.messages == ["broken 0", "something else", "broken 9 (and 4 more like it)"]
