"""What the writers of a document share: its resources, the rows of its narrative, and what is written already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hdg.usage.ccd.values import ids
from hdg.usage.ccd.xml import Node, node

__all__ = ["Book", "template"]

JsonObject = dict[str, Any]
T = "2.16.840.1.113883.10.20.22.4."


def template(number: str, version: str = "") -> list[Node]:
    """The template id of an entry; with its version also the one without, as C-CDA R2.1 wants it."""
    root = number if number.count(".") > 3 else T + number
    return [node("templateId", root=root)] + (
        [node("templateId", root=root, extension=version)] if version else []
    )


def _identifiers(resource: JsonObject) -> list[JsonObject]:
    given = resource.get("identifier", ())
    return [given] if isinstance(given, dict) else list(given)


def _number(identifier: JsonObject) -> tuple[str, str]:
    return identifier.get("system", ""), identifier.get("value", "")


class Book:
    """One document in the making; used once. ``base_url``: what names of resources without identifiers start with."""

    def __init__(self, resources: Iterable[JsonObject], base_url: str) -> None:
        self.resources = list(resources)
        self.base_url = base_url
        self.written: set[str] = set()
        self._at = {self.name(one): one for one in self.resources}
        self._rows: dict[str, Node] = {}
        self._sections: dict[str, list[Node]] = {}
        self._busy: set[str] = set()

    def name(self, resource: JsonObject) -> str:
        """Type and id."""
        return f"{resource['resourceType']}/{resource.get('id', '')}"

    def of(self, *types: str) -> list[JsonObject]:
        """The resources of some types, in their order."""
        return [one for one in self.resources if one["resourceType"] in types]

    def get(self, reference: JsonObject | None, within: JsonObject | None = None) -> JsonObject | None:
        """What a reference leads to; None when it is not here (hidden and absent look the same)."""
        text = (reference or {}).get("reference", "")
        if text.startswith("#") and within is not None:
            return next((one for one in within.get("contained", ()) if one.get("id") == text[1:]), None)
        text = text.removeprefix(self.base_url).lstrip("/").partition("/_history/")[0]
        return self._at.get(text)

    def ids(self, resource: JsonObject) -> list[Node]:
        """The identifiers of a resource; else one made of where it is."""
        return ids(_identifiers(resource), f"{self.base_url}/{self.name(resource)}")

    def is_alone(self, resource: JsonObject) -> bool:
        """Whether no other resource here has an identifier of this one."""
        mine = {_number(one) for one in _identifiers(resource)}
        others = (one for one in self.resources if one is not resource)
        return all(mine.isdisjoint(map(_number, _identifiers(one))) for one in others)

    def begin(self, resource: JsonObject) -> bool:
        """Whether a resource can be written here: not while it is being written (a circle of references)."""
        name = self.name(resource)
        if name in self._busy:
            return False
        self._busy.add(name)
        self.written.add(name)
        return True

    def end(self, resource: JsonObject) -> None:
        """The resource is written."""
        self._busy.discard(self.name(resource))

    # --- narrative ----------------------------------------------------------------------------------------------

    def row(self, section: str, resource: JsonObject, *cells: str) -> Node:
        """A row of the table of a section; the reference to it, for the text of an entry."""
        name = self.name(resource)
        if name not in self._rows:
            rows = self._sections.setdefault(section, [])
            self._rows[name] = node(
                "tr", [node("td", cell) for cell in cells], ID=f"{section}-{len(rows) + 1}"
            )
            rows.append(self._rows[name])
        return node("text", node("reference", value=f"#{self._rows[name].get('ID')}"))

    def rows(self, section: str) -> list[Node]:
        """The rows of a section."""
        return self._sections.get(section, [])
