"""Writes mappings/extensions.md: the extensions of our own that the mapping tables use, and their sources."""

from __future__ import annotations

import re
from pathlib import Path

from hdg.mapping.table import Rule, load_table

_ROOT = Path(__file__).resolve().parents[1] / "mappings"
_OWN = "https://hdg.dev/fhir/StructureDefinition/"
_URL = re.compile(re.escape(_OWN) + r"([a-z0-9-]+)\](?:\[\])?\.?([A-Za-z]*)")
_BRACKET = re.compile(r"\[.*?\]")
_HEAD = f"""# Extensions of our own

Made by `scripts/list_extensions.py` from the tables; edit those. All URLs begin with
`{_OWN}`. They hold what a source says and R4 has no element for.

| extension | on | value | from |
|---|---|---|---|
"""


def _uses(rules: tuple[Rule, ...], on: str) -> list[tuple[str, str, str, str]]:
    found = []
    for rule in rules:
        if rule.target == "url" and rule.default.startswith(_OWN):
            parts = [
                f"{part.partition('url=')[2].partition(';')[0]} ({_value(other.target)})"
                for other in rules
                for part in (other.default,)
                if "url=" in part
            ]
            found.append(
                (rule.default.removeprefix(_OWN), "see the message tables", ", ".join(parts), rule.source)
            )
            continue
        path = rule.target if _OWN in rule.target else ""
        for match in _URL.finditer(path):
            place = path[: match.start()].rpartition("extension[")[0].rstrip(".")
            where = f"{on}.{_BRACKET.sub('', place)}" if place else on
            found.append((match[1], where, match[2] or "extension", f"{rule.source} {rule.name}"))
    return found


def _value(target: str) -> str:
    return target.rpartition(".")[2]


def document() -> str:
    """The text of mappings/extensions.md."""
    rows: dict[str, tuple[set[str], set[str], list[str]]] = {}
    for path in sorted(_ROOT.rglob("*.csv")):
        table = load_table(path)
        for name, on, value, source in _uses(table.rules, table.result.partition("-")[0]):
            ons, values, sources = rows.setdefault(name, (set(), set(), []))
            ons.add(on)
            values.add(value)
            if source not in sources:
                sources.append(source)
    lines = [
        f"| {name} | {', '.join(sorted(ons))} | {', '.join(sorted(values))} | {'; '.join(sources)} |"
        for name, (ons, values, sources) in sorted(rows.items())
    ]
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    (_ROOT / "extensions.md").write_text(document(), encoding="utf-8")
