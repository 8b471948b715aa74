"""What every bench starts is ended, also when it does not start as it should."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from bench.measure import start_gateway

STUCK = """
import os, pathlib, time
pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
print("MLLP  mllp://127.0.0.1:1", flush=True)
print("stop with Ctrl-C", flush=True)
time.sleep(600)
"""


def test_a_gateway_that_does_not_say_where_it_listens_is_ended(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    with pytest.raises(RuntimeError, match="did not start"):
        start_gateway(tmp_path / "data", module="stuck", PYTHONPATH=str(tmp_path))
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
