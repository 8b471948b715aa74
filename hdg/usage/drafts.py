"""A resource that has passed validation and is ready to be stored: all that can be done before the writer's turn.

R4 http.html#create: meta.versionId and meta.lastUpdated are the server's; what the client says there is left
out. The index rows are made here too, off the writer's thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hdg.errors import Issue, ValidationFailed
from hdg.fhir.validate import validate
from hdg.management.store.index import Indexer
from hdg.management.store.merge import without_server_meta
from hdg.management.store.ready import Ready, ready

__all__ = ["Draft", "draft"]

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """``patients``: whose compartments its own references put it into."""

    type: str
    id: str
    ready: Ready = field(repr=False)
    given: JsonObject | None = field(default=None, repr=False)

    @property
    def content(self) -> JsonObject:
        """The resource, never to be changed."""
        return self.ready.resource() if self.given is None else self.given

    @property
    def patients(self) -> frozenset[str]:
        """Ids of the patients that the resource is about."""
        return self.ready.patients


def draft(content: JsonObject, id_: str, indexer: Indexer) -> Draft:
    """``content`` under ``id_``. Raises ValidationFailed with every finding (expressions, no values)."""
    head = {"resourceType": content.get("resourceType"), "id": id_}
    named = {**head, **{key: value for key, value in content.items() if key not in head}}
    issues = validate(named)
    if issues:
        raise ValidationFailed(issues)
    bare = without_server_meta(named)
    try:
        made = ready(bare, indexer)
    except RecursionError:
        raise ValidationFailed([Issue("error", "too-costly", "", "nested too deeply")]) from None
    return Draft(bare["resourceType"], id_, made, bare)
