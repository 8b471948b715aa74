"""kill -9 under load: what was acknowledged is there exactly once; the ledger verifies (20 rounds: bench/kill.py)."""

from __future__ import annotations

from bench import kill


def test_acknowledged_messages_survive_kill_9_exactly_once(capsys) -> None:
    assert kill.main(rounds=3, seed=3) == 0
    acknowledged = [int(line.split(": ")[1].split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(acknowledged) == 3
    assert sum(acknowledged) > 0
