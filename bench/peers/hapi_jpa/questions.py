"""Searches that both servers are asked, and whether both find the same. ``{label}`` is the id of an odd record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.peers.hapi_jpa.odd import LABELS
from bench.peers.hapi_jpa.peer import Server

_DATES = (
    "2019-06-30",
    "2019-06",
    "2019",
    "2019-06-30T22:00:00Z",
    "2019-07-01T00:00:00%2B02:00",
    "2019-06-15",
)
_PREFIXES = ("", "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb")
_QUANTITIES = (
    "5.4",
    "5.4||g",
    "5.4|http://unitsofmeasure.org|g",
    "5400|http://unitsofmeasure.org|mg",
    "-3",
    "5",
)

DATES = [
    f"{kind}={prefix}{date}"
    for kind in ("Observation?code=odd&date", "Encounter?date", "Condition?subject={bruno}&onset-date")
    for prefix in _PREFIXES
    for date in _DATES
]
BIRTHS = [
    f"Patient?birthdate={prefix}{date}" for prefix in _PREFIXES for date in ("1970-05-05", "1970-05", "1970")
]
QUANTITIES = [
    f"Observation?code=odd&value-quantity={prefix}{number}" for prefix in _PREFIXES for number in _QUANTITIES
]


def _listed() -> dict[str, list[str]]:
    """The searches of questions.txt, by section."""
    sections: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / "questions.txt").read_text().splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            sections[list(sections)[-1]].append(line)
    return sections


SETS = {"dates": [*DATES, *BIRTHS], "quantities": QUANTITIES, **_listed()}
SORTS = frozenset(SETS["sorts"])


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to a search. ``found`` names each resource, in order; ``total`` as it said, if it did."""

    status: int
    found: tuple[str, ...]
    total: int | None


def answered(server: Server, question: str, odd: int) -> Answer:
    """Asks ``question``, all pages of it. ``odd`` is the number of the odd records' bundle."""
    for index, label in enumerate(LABELS):
        question = question.replace(f"{{{label}}}", server.ids[odd, index])
    path = quote(f"/fhir/{question}", safe="/?=&%|,:$.+-")
    path += "" if "_count=" in path else "&_count=1000" if "?" in path else "?_count=1000"
    if "_summary" not in path:
        path += "&_total=accurate"
    status, body = server.ask("GET", path)
    found: list[str] = []
    total = body.get("total")
    while status == 200:
        found += [
            _name(server, entry["resource"], odd) for entry in body.get("entry", ()) if "resource" in entry
        ]
        following = next((link["url"] for link in body.get("link", ()) if link["relation"] == "next"), None)
        if following is None:
            break
        status, body = server.ask("GET", following[following.index("/fhir") :])
    return Answer(status, tuple(found), total)


def _name(server: Server, resource: dict[str, Any], odd: int) -> str:
    address = f"{resource['resourceType']}/{resource['id']}"
    bundle, index = server.names.get(address, (-1, -1))
    if bundle == odd:
        return LABELS[index]
    return f"{resource['resourceType']} {bundle}.{index}" if bundle >= 0 else resource["resourceType"]


def difference(question: str, one: Answer, other: Answer) -> str | None:
    """How the second differs from the first, or None."""
    if one.status != other.status:
        return f"status {one.status} and {other.status}"
    if question in SORTS and one.found != other.found and set(one.found) == set(other.found):
        return f"order {', '.join(one.found)} and {', '.join(other.found)}"
    if sorted(one.found) != sorted(other.found):
        first, second = sorted(set(one.found) - set(other.found)), sorted(set(other.found) - set(one.found))
        numbers = f"{len(one.found)} and {len(other.found)}"
        return f"{numbers}; only the first: {_some(first)}; only the second: {_some(second)}"
    if one.total is not None and other.total is not None and one.total != other.total:
        return f"total {one.total} and {other.total}"
    return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "") if names else "-"
