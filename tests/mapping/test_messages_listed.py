"""docs/hl7v2-messages.md says what the message tables say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_list_of_messages_is_what_the_tables_do() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "list_messages.py"))["document"]()
    assert (ROOT / "docs" / "hl7v2-messages.md").read_text(encoding="utf-8") == made, (
        "run scripts/list_messages.py"
    )
