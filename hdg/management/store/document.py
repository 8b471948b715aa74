"""What a Composition leads to: the content of a document. R4 documents.html#content, composition-operation-document.

References are followed from the Composition (all but ``relatesTo``, which names other documents) and on from
what they name, as far as the caller may see. What is hidden, absent, deleted or elsewhere is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from hdg.errors import BadRequest
from hdg.fhir.references import reference_texts
from hdg.management.store.values import split_reference

__all__ = ["DOCUMENT_MAX", "gathered"]

DOCUMENT_MAX = 1000
"""Resources in one document. One that is cut short would say less than its author meant, so more is refused."""
Name = tuple[str, str]


class _Named(Protocol):
    @property
    def type(self) -> str: ...
    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=_Named)


def gathered(
    root: Name, fetch: Callable[[Sequence[Name]], Iterable[N]], content: Callable[[N], dict[str, Any]]
) -> list[N]:
    """What has the name ``root``, then what it leads to: what is named first comes first. [] without a root.

    ``fetch``: those of the named resources that the caller may see, in any order. Raises BadRequest when there
    are too many.
    """
    found: dict[Name, N] = {}
    asked = {root}
    frontier = [root]
    while frontier:
        seen = {(one.type, one.id): one for one in fetch(frontier)}
        named: dict[Name, None] = {}
        for name in frontier:
            if name in seen:
                found[name] = seen[name]
                named.update(dict.fromkeys(_leading(content(seen[name]), is_root=name == root)))
        if len(found) > DOCUMENT_MAX:
            raise BadRequest(f"the document would hold more than {DOCUMENT_MAX} resources", code="too-costly")
        frontier = [name for name in named if name not in asked]
        asked.update(frontier)
    return list(found.values())


def _leading(content: dict[str, Any], *, is_root: bool) -> list[Name]:
    """The names of what a resource refers to, in their order."""
    if is_root:
        content = {key: value for key, value in content.items() if key != "relatesTo"}
    names = map(split_reference, reference_texts(content))
    return [name for name in names if name is not None]
