"""A pytest plugin (``-p compiled_only``, in `make compiled`): no test runs but with the compiled modules."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

_SCRIPT = str(Path(__file__).parents[1] / "scripts" / "compiled.py")


def pytest_configure(config: pytest.Config) -> None:
    """Looks at this process (each worker is one), and at one that is started as tests start theirs."""
    asked = subprocess.run([sys.executable, _SCRIPT, "--check"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise pytest.UsageError(asked.stderr)
    for name in subprocess.check_output([sys.executable, _SCRIPT], text=True).strip().split(","):
        file = str(import_module(name).__file__)
        if not file.endswith((".so", ".pyd")):
            raise pytest.UsageError(f"{name} is not compiled: {file}")
