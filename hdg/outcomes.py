"""The outcome of a conversion as one flat bytes object, for the pipe from the helper process (converting.py).

The parent's reading is what counts: it runs one thread at a time. So nothing but tuples, texts and bytes goes
over (marshal), a few objects per resource; the content itself stays bytes. Only for the two ends of one pipe:
both run the same Python and the same code.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from hdg.errors import Issue
from hdg.ingestion.converted import Converted, Defaulted, Deletion, Source
from hdg.management.store.ready import Ready

__all__ = ["Outcome", "opened", "packed"]

Outcome = tuple[Converted, list[Ready]]
"""A Converted without its resources, and these made ready."""


def _values(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(field.name for field in fields(kind)))


_LISTS: dict[str, type[Any]] = {"deletions": Deletion, "defaulted": Defaulted, "issues": Issue}
_NAMES = tuple(field.name for field in fields(Converted) if field.name not in {"source", "resources"})
_LISTED = [(_NAMES.index(name), kind) for name, kind in _LISTS.items()]
_of_converted = attrgetter(*_NAMES)
_of_source = _values(Source)
_of_listed = {kind: _values(kind) for kind in _LISTS.values()}


def packed(converted: Converted, made: Iterable[Ready]) -> bytes:
    """The bytes of an outcome; ``made`` stands in for the resources. Raises ValueError for foreign types."""
    values: list[Any] = list(_of_converted(converted))
    for at, kind in _LISTED:
        if values[at]:
            values[at] = tuple(map(_of_listed[kind], values[at]))
    whole: Any = (_of_source(converted.source), tuple(values), tuple(map(tuple, made)))
    return marshal.dumps(whole)


def opened(data: bytes | memoryview) -> Outcome:
    """What ``packed`` packed. Raises ValueError, EOFError or TypeError for anything else."""
    source, values, resources = marshal.loads(data)  # noqa: S302  # from our own process
    named = dict(zip(_NAMES, values, strict=True))
    for name, kind in _LISTS.items():
        if named[name]:
            named[name] = tuple([kind(*each) for each in named[name]])
    return Converted(source=Source(*source), resources=(), **named), list(map(Ready._make, resources))
