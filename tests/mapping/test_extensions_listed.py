"""mappings/extensions.md lists every extension of our own: nothing is invented without a word about it."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_list_of_our_extensions_is_what_the_tables_use() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "list_extensions.py"))
    listed = (ROOT / "mappings" / "extensions.md").read_text(encoding="utf-8")
    assert listed == script["document"](), "run scripts/list_extensions.py"


def test_the_readme_points_to_the_list() -> None:
    assert "(extensions.md)" in (ROOT / "mappings" / "README.md").read_text(encoding="utf-8")
