"""The ``source`` column of DICOM tables: a path below the data set that a table reads, compiled once.

    path := '.' | step ('.' step)*
    step := (keyword | '(gggg,eeee)') ['[' number ']']

A step before the last leads into every item of a sequence, or into the one of that number (1-based). The last one gives
the values of an element as texts, or the items of a sequence; with a number, one of them. ``.`` is the data set itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.dictionary import tag_of, vr_of

__all__ = ["Hit", "Path", "PathError", "parse_path"]

Hit = str | Dataset
_STEP = re.compile(
    r"([A-Za-z][A-Za-z0-9]*|\([0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\))(?:\[([1-9]\d*)\])?(?:\.(?=.)|$)"
)


class PathError(ValueError):
    """The text is not a path."""


@dataclass(frozen=True, slots=True)
class Path:
    """``way``: tags of sequences with the number of an item (0: every one); ``tag``: what is read, 0 for ``.``."""

    text: str
    way: tuple[tuple[int, int], ...]
    tag: int
    number: int
    is_sequence: bool

    @property
    def first(self) -> int:
        """The tag without which nothing is found; 0 for ``.``."""
        return self.way[0][0] if self.way else self.tag

    def holders(self, dataset: Dataset) -> Sequence[Dataset]:
        """The data sets in which the last element may stand."""
        found: Sequence[Dataset] = (dataset,)
        for tag, number in self.way:
            inner = [one.items(tag) for one in found]
            found = [item for items in inner for item in (items[number - 1 : number] if number else items)]
        return found

    def hits(self, holder: Dataset) -> Sequence[Hit]:
        """What the last element of a holder gives."""
        if not self.tag:
            return (holder,)
        found: Sequence[Hit] = holder.items(self.tag) if self.is_sequence else holder.texts(self.tag)
        return found[self.number - 1 : self.number] if self.number else found


def parse_path(text: str) -> Path:
    """Raises PathError."""
    if text == ".":
        return Path(text, (), 0, 0, False)
    steps: list[tuple[int, int]] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise PathError(f"expected a keyword or (gggg,eeee) at {at + 1} in {text!r}")
        try:
            steps.append((tag_of(match[1]), int(match[2] or 0)))
        except ValueError as error:
            raise PathError(str(error)) from error
        at = match.end()
    if not steps:
        raise PathError("the path is empty")
    for tag, _ in steps[:-1]:
        if vr_of(tag) not in ("SQ", "UN"):
            raise PathError(f"a step of {text!r} leads into something that is no sequence")
    tag, number = steps[-1]
    return Path(text, tuple(steps[:-1]), tag, number, vr_of(tag) == "SQ")
