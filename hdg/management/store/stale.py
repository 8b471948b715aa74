"""Which of two statements is the newer one, element by element. Pure.

The rule. A statement has a *stamp*: when its sender says it was made (HL7 v2 EVN-2, else MSH-7; never later
than its receipt, which also stands in when the sender does not say), then when it was received. Beside a
resource lies, for every top-level element, the stamp of the newest statement about it: a value or a
deletion. Then

- a statement about an element counts when nothing newer has been stated about that element; equal stamps:
  the later arrival counts. An older statement thus fills what nothing newer speaks of, and changes and
  deletes nothing else;
- of an element with one value there is one newest statement, whoever made it. A list is made of each
  sender's part (merge.py), and each part has its own newest statement. ``meta``'s elements count one by
  one;
- a value that only fills a gap (R4 requires it, the sender did not say it) is older than every real
  statement;
- lists that only grow (merge.ADDITIVE) take every statement.

So the order in which messages arrive does not matter for the content, only the stamps do. One exception is
made for speed: for what belongs to no patient (a Practitioner, a Location), hearing the same again, from
whomever, moves an element's stamp only when it is an hour newer.

``Said`` is kept inside the encrypted envelope: a row ``[stated_us, received_us, sender, elements]`` per
statement that is still the newest about something; ``elements`` None stands for all elements of the content
that no other row names.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple

from hdg.fhir import definitions
from hdg.fhir.canonical import canonical_bytes
from hdg.management.store.merge import (
    ADDITIVE,
    IDENTITY,
    SERVER_META,
    JsonObject,
    Parts,
    base_of,
    bases,
)

__all__ = [
    "Admitted",
    "Heard",
    "Said",
    "Stamp",
    "admit",
    "author_of",
    "gap",
    "is_apart",
    "is_outdated",
    "is_worth_noting",
    "newest_of",
    "said_again",
    "said_by",
]

Said = list[list[Any]]
_HOUR_US = 3_600_000_000
_GAP_US = -(1 << 61)
"""Added to the stamp of what only fills a gap: older than any real time, and in order among themselves."""


class Stamp(NamedTuple):
    """When a statement was made and received, µs since the epoch. The greater one is the newer one."""

    stated_us: int
    received_us: int

    @classmethod
    def of(cls, stated_us: int | None, received_us: int) -> Stamp:
        """A statement cannot be from after its receipt; one without a time of its own is from its receipt."""
        return cls(received_us if stated_us is None else min(stated_us, received_us), received_us)


def gap(stamp: Stamp) -> Stamp:
    """The stamp of a value that nobody stated."""
    return Stamp(stamp.stated_us + _GAP_US, stamp.received_us)


_NONE: dict[str, list[str]] = {}
_Key = tuple[str, str]
"""(sender, element); sender is '' for elements with one value."""


class Admitted(NamedTuple):
    """What is left of a statement, and a way to note it once it is merged."""

    statement: JsonObject
    deletions: Collection[str]
    clock: dict[_Key, tuple[Stamp, str]]
    whole: Said = []  # noqa: RUF012  # never changed
    """The rows already, when the statement speaks of everything."""
    left: Collection[str] = ()
    """The elements that were left out."""

    def said(self, content: JsonObject) -> Said:
        """The rows to keep with the merged ``content``."""
        if self.whole:
            return self.whole
        return _rows(self.clock, _elements(content))


class Heard(NamedTuple):
    """What is known of a statement that changes nothing in a content, so that it need not be read again."""

    stated: tuple[str, ...]
    """The elements it speaks of, but for those in ``left``."""
    present: tuple[str, ...]
    """The elements of the content."""
    is_all: bool
    """It speaks of everything that the content has, and fills no gap."""
    since: Stamp = Stamp(0, 0)
    until_us: int = 0
    """Of what belongs to no patient: from ``since`` to before ``until_us`` it is not worth noting."""
    left: tuple[str, ...] = ()
    """Elements that it would fill as a gap, of which something real was said."""

    @classmethod
    def of(
        cls, statement: JsonObject, stored: JsonObject, gaps: Collection[str], left: Collection[str] = ()
    ) -> Heard:
        """Pure, as all here."""
        is_all = not gaps and _names_all(stored, statement)
        stated = tuple([name for name in _elements(statement) if name not in left])
        return cls(stated, _elements(stored), is_all, left=tuple(left))

    def carried(self, before: JsonObject, after: JsonObject, parts: tuple[Parts, Parts]) -> Heard | None:
        """The same of another content, where nothing that it speaks of is another. None: something may be.

        ``parts`` of both contents. For types whose elements mean the same whatever the others say (``is_apart``).
        """
        if not all(_is_alike(element, before, after, parts) for element in (*self.stated, *self.left)):
            return None
        present = _elements(after)
        return self._replace(present=present, is_all=self.is_all and present == self.present)


def said_again(
    heard: Heard, said: Said, type_: str, gaps: Collection[str], *, sender: str, stamp: Stamp
) -> tuple[Said, int] | None:
    """What ``admit(…).said(stored)`` says of it; None when something newer speaks of any part of it.

    And until when (µs, excluded) a statement moves no stamp by an hour; 0 when it says something new.
    """
    if heard.is_all and _is_of_one(said, sender, stamp):
        return said_by(sender, stamp), said[0][0] + _HOUR_US
    clock = _clock(said, type_, heard.present)
    until_us = stamp.stated_us + _HOUR_US
    for element in heard.stated:
        at = gap(stamp) if element in gaps else stamp
        key = _key(type_, element, sender)
        known = clock.get(key)
        if known is None:
            until_us = 0
        elif known[0] <= at:
            until_us = min(until_us, known[0].stated_us + stamp.stated_us - at.stated_us + _HOUR_US)
        else:
            return None
        clock[key] = (at, sender)
    for element in heard.left:
        known = clock.get(_key(type_, element, sender))
        if known is None or not _is_real(known[0]):
            return None
    return _rows(clock, heard.present), until_us


def _is_real(stamp: Stamp) -> bool:
    """Not a gap's: what only fills a gap is never newer."""
    return stamp.stated_us > _GAP_US // 2


def is_apart(before: JsonObject, after: JsonObject) -> bool:
    """Whether what a change does not touch means the same as before: a Patient whose record stays in use as it was."""
    return before["resourceType"] == "Patient" and all(
        before.get(name) == after.get(name) for name in ("active", "link")
    )


def _is_alike(element: str, before: JsonObject, after: JsonObject, parts: tuple[Parts, Parts]) -> bool:
    """Whether an element, and whose it is, is the same in two contents."""
    old, new = _valued(element, before), _valued(element, after)
    if old != new or canonical_bytes(old) != canonical_bytes(new):
        return False
    own, since = parts
    if own == since:
        return True
    return all(
        (mine := own.get(sender, _NONE)) is not None
        and (now := since.get(sender, _NONE)) is not None
        and mine.get(element) == now.get(element)
        for sender in own.keys() | since.keys()
    )


def _valued(element: str, content: JsonObject) -> JsonObject:
    """All that a content holds of an element."""
    if element.startswith("meta."):
        meta, name = content.get("meta") or {}, element.removeprefix("meta.")
        return {name: meta[name]} if name in meta else {}
    names = bases(content["resourceType"], tuple(content)).get(element, ())
    return {name: content[name] for name in names}


def _rows(clock: dict[_Key, tuple[Stamp, str]], elements: Collection[str]) -> Said:
    groups: dict[tuple[int, int, str], list[str]] = {}
    for (_, element), (stamp, sender) in clock.items():
        groups.setdefault((*stamp, sender), []).append(element)
    rows: Said = [[*key, sorted(named)] for key, named in sorted(groups.items())]
    if len({sender for _, _, sender in groups}) == 1:
        present, each = set(elements), [set(row[3]) for row in rows]
        for row, own in sorted(zip(rows, each, strict=True), key=lambda pair: -len(pair[1])):
            if own <= present and present <= set().union(*each):
                row[3] = None
                break
    return rows


def is_outdated(said: Said, stamp: Stamp) -> bool:
    """Whether anything newer was said: what was deleted since, or moved to another patient, stays so."""
    return any((row[0], row[1]) > stamp for row in said)


def is_worth_noting(new: Said, old: Said, shared: JsonObject | None) -> bool:
    """Whether to write down that the same was said again; see the exception above.

    ``shared``: the content, if it belongs to no patient.
    """
    if new == old or shared is None:
        return new != old
    type_, present = shared["resourceType"], _elements(shared)
    clock, known = _clock(new, type_, present), _clock(old, type_, present)
    return clock.keys() != known.keys() or any(
        stamp.stated_us - known[key][0].stated_us >= _HOUR_US for key, (stamp, _) in clock.items()
    )


def said_by(sender: str, stamp: Stamp) -> Said:
    """One statement about all of a content."""
    return [[*stamp, sender, None]]


def admit(
    said: Said,
    stored: JsonObject,
    statement: JsonObject,
    deletions: Collection[str],
    *,
    sender: str,
    stamp: Stamp,
    gaps: Collection[str] = (),
) -> Admitted:
    """Leaves out of a statement whatever something newer was stated about. No argument is changed.

    ``stored``: the current content ({"resourceType": …} alone for none); ``gaps``: elements of the
    statement that only fill a gap.
    """
    type_ = statement["resourceType"]
    if _speaks_of_all(said, stored, statement, sender, stamp) and not gaps and not deletions:
        return Admitted(statement, (), {}, said_by(sender, stamp))
    clock = _clock(said, stored["resourceType"], _elements(stored))
    stated = _elements(statement)
    stale: set[str] = set()
    for element in stated:
        at = gap(stamp) if element in gaps else stamp
        if _is_newer(clock, type_, element, sender, at):
            clock[_key(type_, element, sender)] = (at, sender)
            if element == "deceased" and _is_vague_death(statement) and "deceasedDateTime" in stored:
                stale.add(element)
        elif element == "deceased" and _is_vague_death(stored) and "deceasedDateTime" in statement:
            pass  # what was said since does not contradict it
        elif (type_, element) not in ADDITIVE:
            stale.add(element)
    kept = []
    for name in deletions:
        element = base_of(type_, name.removesuffix("[x]"))
        if element in stated:
            if element not in stale:
                kept.append(name)
        elif _is_newer(clock, type_, element, sender, stamp):
            clock[_key(type_, element, sender)] = (stamp, sender)
            kept.append(name)
    return Admitted(_without(statement, stale) if stale else statement, kept, clock, left=stale)


def author_of(said: Said, stored: JsonObject, element: str) -> str:
    """The sender of the newest statement about an element that is no list; '' for nobody's."""
    entry = _clock(said, stored["resourceType"], _elements(stored)).get(
        _key(stored["resourceType"], element, "")
    )
    return entry[1] if entry is not None else ""


def newest_of(said: Said, stored: JsonObject, sender: str | None = None) -> dict[str, tuple[Stamp, str]]:
    """Element → stamp and sender of the newest statement about it, of a list whoever's: or only that of ``sender``."""
    found: dict[str, tuple[Stamp, str]] = {}
    for (author, element), entry in _clock(said, stored["resourceType"], _elements(stored)).items():
        if sender is not None and author not in ("", sender):
            continue
        if element not in found or entry[0] > found[element][0]:
            found[element] = entry
    return found


def _is_vague_death(content: JsonObject) -> bool:
    """Dead, without a date: it confirms a date that is known, and takes nothing from it."""
    return content.get("deceasedBoolean") is True and "deceasedDateTime" not in content


def _speaks_of_all(said: Said, stored: JsonObject, statement: JsonObject, sender: str, stamp: Stamp) -> bool:
    """The usual case, told quickly: the same sender says everything anew."""
    if not said:
        return len(stored) == 1
    return _is_of_one(said, sender, stamp) and _names_all(stored, statement)


def _is_of_one(said: Said, sender: str, stamp: Stamp) -> bool:
    """All was said by this sender at one time, not after ``stamp``."""
    stated_us, received_us, author, elements = said[0] if len(said) == 1 else (0, 0, None, ())
    return elements is None and author == sender and (stated_us, received_us) <= stamp


def _names_all(stored: JsonObject, statement: JsonObject) -> bool:
    meta = stored.get("meta") or ()
    return all(name in statement for name in stored if name != "meta") and SERVER_META.issuperset(meta)


def _is_newer(clock: dict[_Key, tuple[Stamp, str]], type_: str, element: str, sender: str, at: Stamp) -> bool:
    known = clock.get(_key(type_, element, sender))
    return known is None or known[0] <= at


def _key(type_: str, element: str, sender: str) -> _Key:
    return (sender if _is_list(type_, element) else "", element)


@lru_cache(maxsize=4096)
def _is_list(type_: str, element: str) -> bool:
    if element.startswith("meta."):
        return element in ("meta.profile", "meta.security", "meta.tag")
    try:
        info = definitions.element_info(type_, element)
    except KeyError:
        return False
    return info is not None and info.is_list


def _clock(said: Said, type_: str, present: Collection[str]) -> dict[_Key, tuple[Stamp, str]]:
    clock: dict[_Key, tuple[Stamp, str]] = {}
    rest: tuple[Stamp, str] | None = None
    for stated_us, received_us, sender, elements in said:
        entry = (Stamp(stated_us, received_us), sender)
        if elements is None:
            rest = entry
            continue
        for element in elements:
            clock[_key(type_, element, sender)] = entry
    if rest is not None:
        for element in present:
            clock.setdefault(_key(type_, element, rest[1]), rest)
    return clock


def _elements(content: JsonObject) -> tuple[str, ...]:
    """The elements that a content has: names of choices without their type, ``meta`` by its elements."""
    found = bases(content["resourceType"], tuple(content))
    meta = [f"meta.{name}" for name in content.get("meta") or () if name not in SERVER_META]
    return (*found, *meta)


def _without(statement: JsonObject, stale: set[str]) -> JsonObject:
    type_ = statement["resourceType"]
    kept = {
        name: value
        for name, value in statement.items()
        if name in IDENTITY or base_of(type_, name) not in stale
    }
    if "meta" in kept:
        kept["meta"] = {name: value for name, value in kept["meta"].items() if f"meta.{name}" not in stale}
        if not kept["meta"]:
            del kept["meta"]
    return kept
