"""Finds the data folders (``mappings``, ``terminology``, ``examples``) and digests them.

An installed wheel carries them in ``hdg/_data``; in a checkout (editable install) they lie beside ``hdg``.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from hdg.errors import SettingsError

_PACKAGE = Path(__file__).resolve().parent


@cache
def folder(name: str) -> Path:
    """The folder of that name (``mappings``, ``terminology`` or ``examples``).

    Raises SettingsError when neither the wheel's nor the checkout's place holds it.
    """
    for base in (_PACKAGE / "_data", _PACKAGE.parent):
        if (base / name).is_dir():
            return base / name
    raise SettingsError(f"the data folder {name!r} is neither in the installed package nor in a checkout")


def digest(*roots: Path, pattern: str = "*.csv") -> str:
    """SHA-256 (hex) over the relative names and bytes of all files below ``roots`` that match ``pattern``."""
    total = hashlib.sha256()
    for root in roots:
        for path in sorted(root.rglob(pattern)):
            content = path.read_bytes()
            total.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
            total.update(content)
    return total.hexdigest()
