"""What one validation carries along: where it is in the resource, and what was found so far."""

from __future__ import annotations

from typing import Any

from hdg.errors import Issue, Severity
from hdg.fhir.profiles.values import Item
from hdg.fhir.references import contained, reference_parts

__all__ = ["Run"]

JsonObject = dict[str, Any]


class Run:
    """``resource`` and ``root`` as in hdg.fhir.invariants; ``outermost``: what is validated, maybe a Bundle.

    ``active``: (identity, profile) of what is being checked, so that references in a circle end. ``told``: what
    is said once for a validation and not at every place.
    """

    __slots__ = ("_by_url", "active", "issues", "outermost", "resource", "root", "told")

    def __init__(self, resource: JsonObject) -> None:
        self.resource = resource
        self.root = resource
        self.outermost = resource
        self.issues: list[Issue] = []
        self.active: set[tuple[int, str]] = set()
        self.told: set[str] = set()
        self._by_url: dict[str, JsonObject] | None = None

    def _like(self) -> Run:
        made = Run(self.outermost)
        made.resource, made.root = self.resource, self.root
        made.active, made.told, made.issues = self.active, self.told, self.issues
        made._by_url = self._by_url
        return made

    def inside(self, resource: JsonObject, *, is_contained: bool) -> Run:
        """The run within a resource that is the value of an element."""
        made = self._like()
        made.resource = resource
        made.root = self.root if is_contained else resource
        return made

    def at(self, item: Item, name: str) -> Run:
        """The run for an item of an element of that name."""
        value = item.value
        if type(value) is dict and "resourceType" in value:
            return self.inside(value, is_contained=name == "contained")
        return self

    def trial(self) -> Run:
        """A run whose findings count for nothing yet."""
        made = self._like()
        made.issues, made.told = [], set()
        return made

    @property
    def has_errors(self) -> bool:
        """Whether something was found that a profile does not allow."""
        return any(issue.severity == "error" for issue in self.issues)

    def add(self, severity: Severity, code: str, place: str, text: str) -> None:
        """Notes a finding; ``text`` has no value of the resource."""
        self.issues.append(Issue(severity, code, place, text))

    def tell(self, severity: Severity, place: str, text: str) -> None:
        """Notes that something could not be checked: once, at the first place."""
        if text not in self.told:
            self.told.add(text)
            self.issues.append(Issue(severity, "not-supported", place, text))

    def resolved(self, reference: Item) -> Item | None:
        """The resource that a Reference (or canonical, uri) points to, if it came along; None if it did not."""
        value = reference.value
        text = value.get("reference") if type(value) is dict else value
        if type(text) is not str:
            return None
        found = contained(self.root, text) if text.startswith("#") else self._entries().get(text)
        if type(found) is not dict or type(found.get("resourceType")) is not str:
            return None
        return Item(found, None, found["resourceType"], reference.place + ".resolve()")

    def _entries(self) -> dict[str, JsonObject]:
        """The resources of the Bundle that is validated, by fullUrl and by ``Type/id``."""
        if self._by_url is None:
            self._by_url = {}
            listed = self.outermost.get("entry")
            for entry in listed if type(listed) is list else ():
                resource = entry.get("resource") if type(entry) is dict else None
                url = entry.get("fullUrl") if type(entry) is dict else None
                if type(resource) is not dict or type(url) is not str:
                    continue
                self._by_url[url] = resource
                tail = "/".join(url.rsplit("/", 2)[-2:])
                if reference_parts(tail) is not None:
                    self._by_url.setdefault(tail, resource)
        return self._by_url
