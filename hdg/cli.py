"""The command line; see DESIGN §7."""

from __future__ import annotations


def main() -> None:
    """Entry point of ``hdg``."""
