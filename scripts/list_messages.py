"""Writes docs/hl7v2-messages.md: which messages are understood, and what each segment of them becomes.

Made from the mapping tables alone, so that the page cannot say more than the tables do.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from hdg.mapping.table import Rule, load_table

_ROOT = Path(__file__).resolve().parents[1]
_TABLES = _ROOT / "mappings" / "hl7v2" / "messages"
_HEAD = """# HL7 v2 messages

Made by `scripts/list_messages.py` from `mappings/hl7v2/messages/`; edit the tables. A trigger event that is not
listed here is refused (AR). `when` is the table's own condition; *left out* says why a segment goes nowhere. What
each field becomes stands in the segment tables (`hdg map explain PID-3`).

## Trigger events

| message | what it is | structure | table |
|---|---|---|---|
"""


def document() -> str:
    """The text of docs/hl7v2-messages.md."""
    triggers = load_table(_TABLES / "triggers.csv").rules
    used: dict[str, list[str]] = defaultdict(list)
    for rule in triggers:
        if rule.as_:
            used[rule.as_].append(rule.source)
    lines = [_trigger(rule) for rule in triggers]
    sections = [_section(name, used[name]) for name in sorted(used)]
    return _HEAD + "\n".join(lines) + "\n" + "".join(sections)


def _trigger(rule: Rule) -> str:
    table = f"[{rule.as_}](#{rule.as_.lower()})" if rule.as_ else f"*refused:* {_cell(rule.note)}"
    return f"| {rule.source} | {rule.name} | {rule.target} | {table} |"


def _section(name: str, messages: list[str]) -> str:
    rules = load_table(_TABLES / f"{name}.csv").rules
    rows = "\n".join(_row(rule) for rule in rules)
    head = "| segment | becomes | by table | when |\n|---|---|---|---|"
    return f"\n## {name}\n\n{', '.join(messages)}\n\n{head}\n{rows}\n"


def _row(rule: Rule) -> str:
    becomes = f"`{rule.target}`" if rule.target else f"*left out:* {_cell(rule.note)}"
    return f"| {rule.source} | {becomes} | {rule.as_} | {_cell(rule.when)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (_ROOT / "docs" / "hl7v2-messages.md").write_text(document(), encoding="utf-8")
